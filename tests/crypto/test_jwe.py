import base64
import json
import struct
from functools import cache
from types import MappingProxyType

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.jwk import JWKRegistry

from idp.crypto.jose import Signer, generate_key, unsecured, usable_keys, verify
from idp.crypto.jwe import ENCRYPTION_ALGS, ENCRYPTION_ENCS, CannotEncrypt, encrypt, encryption_key
from idp.domain.signing_key import SigningAlgorithm
from tests.support.strategies import documents, texts

TOKEN = unsecured({"iss": "https://id.example", "sub": "usr_1", "name": "Zoë 🔬"}, typ="JWT")
CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(), "secp256k1": ec.SECP256K1()}
CEK_OCTETS = {"A128GCM": 16, "A256GCM": 32}

# RFC 7516 appendix A.1; only its content is read here, its key encryption (SHA-1) is not on offer.
RFC7516_CEK = bytes.fromhex("b1a1f480548fe1733fb403ff6b9ad4f68a076e5b702e22692f82cb2e7aea40fc")
RFC7516_HEADER = "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ"
RFC7516_IV = "48V1_ALb6US04U3b"
RFC7516_CIPHERTEXT = "5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6jiSdiwkIr3ajwQzaBtQD_A"
RFC7516_TAG = "XFBoMYUZodetZdvTiFvSkQ"
# RFC 7518 appendix C.
RFC7518_ALICE = {
    "kty": "EC",
    "crv": "P-256",
    "x": "gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0",
    "y": "SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps",
}
RFC7518_BOB_X = "weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ"
RFC7518_BOB_Y = "e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck"
RFC7518_BOB_D = "VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw"
RFC7518_DERIVED = "VqqN6vgjbSBcIijNcacQGg"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@cache
def numbered_pair(kind, number):
    """A private key of `cryptography`, and its public JWK."""
    if kind == "X25519":
        key = x25519.X25519PrivateKey.generate()
        return key, {"kty": "OKP", "crv": kind, "x": b64(key.public_key().public_bytes_raw())}
    if kind in CURVES:
        key = ec.generate_private_key(CURVES[kind])
        return key, {"kty": "EC", "crv": kind, **point(key.public_key().public_numbers())}
    key = rsa.generate_private_key(65537, int(kind))
    n = key.public_key().public_numbers().n
    return key, {"kty": "RSA", "n": b64(n.to_bytes(int(kind) // 8, "big")), "e": "AQAB"}


def pair(kind, number=0):
    return numbered_pair(kind, number)


def point(numbers):
    octets = (numbers.curve.key_size + 7) // 8
    return {name: b64(getattr(numbers, name).to_bytes(octets, "big")) for name in ("x", "y")}


# Decryption by hand, with the primitives alone.


def concat_kdf(secret, enc, octets, apu=b"", apv=b""):
    """RFC 7518 §4.6.2; one round of SHA-256 is enough for up to 32 octets."""
    other = b"".join(struct.pack(">I", len(part)) + part for part in (enc.encode(), apu, apv))
    digest = hashes.Hash(hashes.SHA256())
    digest.update(struct.pack(">I", 1) + secret + other + struct.pack(">I", octets * 8))
    return digest.finalize()[:octets]


def agree(private, epk):
    if isinstance(private, x25519.X25519PrivateKey):
        assert set(epk) == {"kty", "crv", "x"}
        assert (epk["kty"], epk["crv"]) == ("OKP", "X25519")
        return private.exchange(x25519.X25519PublicKey.from_public_bytes(unb64(epk["x"])))
    assert set(epk) == {"kty", "crv", "x", "y"}
    assert epk["kty"] == "EC"
    # RFC 7518 §6.2.1.2: coordinates have the full length.
    assert {len(unb64(epk[name])) for name in ("x", "y")} == {(private.curve.key_size + 7) // 8}
    x, y = (int.from_bytes(unb64(epk[name]), "big") for name in ("x", "y"))
    return private.exchange(ec.ECDH(), ec.EllipticCurvePublicNumbers(x, y, CURVES[epk["crv"]]).public_key())


def open_content(cek, header, iv, ciphertext, tag):
    return AESGCM(cek).decrypt(unb64(iv), unb64(ciphertext) + unb64(tag), header.encode())


def decrypt(token, private):
    """The header and the content of a compact JWE."""
    protected, encrypted_key, iv, ciphertext, tag = token.split(".")
    header = json.loads(unb64(protected))
    if header["alg"] == "RSA-OAEP-256":
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        cek = private.decrypt(unb64(encrypted_key), oaep)
    else:
        assert header["alg"] == "ECDH-ES"
        assert encrypted_key == ""
        cek = concat_kdf(agree(private, header["epk"]), header["enc"], CEK_OCTETS[header["enc"]])
    assert (len(cek), len(unb64(iv)), len(unb64(tag))) == (CEK_OCTETS[header["enc"]], 12, 16)
    return header, open_content(cek, protected, iv, ciphertext, tag).decode()


def test_content_decryption_of_these_tests_opens_the_published_token_rfc7516_a1():
    content = open_content(RFC7516_CEK, RFC7516_HEADER, RFC7516_IV, RFC7516_CIPHERTEXT, RFC7516_TAG)
    assert content == b"The true sign of intelligence is not knowledge but imagination."


def test_key_agreement_of_these_tests_derives_the_published_key_rfc7518_c():
    x, y, d = (int.from_bytes(unb64(text), "big") for text in (RFC7518_BOB_X, RFC7518_BOB_Y, RFC7518_BOB_D))
    numbers = ec.EllipticCurvePublicNumbers(x, y, CURVES["P-256"])
    bob = ec.EllipticCurvePrivateNumbers(d, numbers).private_key()
    assert b64(concat_kdf(agree(bob, RFC7518_ALICE), "A128GCM", 16, b"Alice", b"Bob")) == RFC7518_DERIVED


# What is encrypted can be read.

RECIPIENTS = [("RSA-OAEP-256", "2048"), ("RSA-OAEP-256", "3072")] + [
    ("ECDH-ES", curve) for curve in ("P-256", "P-384", "P-521", "X25519")
]


@pytest.mark.parametrize("enc", ENCRYPTION_ENCS)
@pytest.mark.parametrize(("alg", "kind"), RECIPIENTS)
def test_owner_of_the_key_reads_the_token_rfc7516_s5_rfc7518_s4_3_s4_6_s5_3(alg, kind, enc):
    private, jwk = pair(kind)
    header, content = decrypt(encrypt(TOKEN, [jwk], alg=alg, enc=enc), private)
    assert content == TOKEN
    header.pop("epk", None)
    assert header == {"alg": alg, "enc": enc, "cty": "JWT"}


@pytest.mark.parametrize("enc", ENCRYPTION_ENCS)
@pytest.mark.parametrize(("alg", "kind"), RECIPIENTS)
def test_another_implementation_reads_the_token(alg, kind, enc):
    private, jwk = pair(kind)
    key = JWKRegistry.key_types[jwk["kty"]].import_key(private_jwk(private, jwk))
    message = jwe.decrypt_compact(encrypt(TOKEN, [jwk], alg=alg, enc=enc), key, algorithms=[alg, enc])
    assert message.plaintext == TOKEN.encode()


def private_jwk(private, jwk):
    if jwk["kty"] == "OKP":
        return {**jwk, "d": b64(private.private_bytes_raw())}
    numbers = private.private_numbers()
    if jwk["kty"] == "EC":
        return {**jwk, "d": b64(numbers.private_value.to_bytes((private.key_size + 7) // 8, "big"))}
    members = {"d": numbers.d, "p": numbers.p, "q": numbers.q}
    members |= {"dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp}
    return {
        **jwk,
        **{name: b64(value.to_bytes((value.bit_length() + 7) // 8, "big")) for name, value in members.items()},
    }


def test_signed_token_inside_still_verifies_oidc_core_s10_2():
    key, public = generate_key(SigningAlgorithm.ES256)
    signed = Signer(public["kid"], SigningAlgorithm.ES256, key).sign({"sub": "usr_1"}, typ="JWT")
    private, jwk = pair("2048")
    _, content = decrypt(encrypt(signed, [jwk], alg="RSA-OAEP-256", enc="A256GCM"), private)
    assert verify(content, [public], algorithms=["ES256"]).claims == {"sub": "usr_1"}


def test_content_that_is_no_token_says_so_rfc7516_s4_1_12():
    private, jwk = pair("P-256")
    header, content = decrypt(encrypt('{"sub":"Zoë"}', [jwk], alg="ECDH-ES", enc="A128GCM", cty="json"), private)
    assert (header["cty"], content) == ("json", '{"sub":"Zoë"}')


def test_header_names_the_key_that_has_a_name_rfc7516_s4_1_6():
    private, jwk = pair("X25519")
    for kid in ("enc-1", "schlüssel", ""):
        header, _ = decrypt(encrypt(TOKEN, [{**jwk, "kid": kid}], alg="ECDH-ES", enc="A128GCM"), private)
        assert header["kid"] == kid
    for kid in (None, 1, ["a"], {}):
        header, _ = decrypt(encrypt(TOKEN, [{**jwk, "kid": kid}], alg="ECDH-ES", enc="A128GCM"), private)
        assert "kid" not in header


@pytest.mark.parametrize(("alg", "kind"), [("RSA-OAEP-256", "2048"), ("ECDH-ES", "P-256"), ("ECDH-ES", "X25519")])
def test_no_two_encryptions_share_a_key_or_an_initialization_vector_rfc7518_s8_4(alg, kind):
    tokens = [encrypt(TOKEN, [pair(kind)[1]], alg=alg, enc="A128GCM").split(".") for _ in range(5)]
    for segment in (0 if alg == "ECDH-ES" else 1, 2, 3, 4):
        assert len({token[segment] for token in tokens}) == 5


def test_content_is_never_compressed_rfc8725_s3_6():
    private, jwk = pair("P-256")
    token = encrypt("x" * 5000, [jwk], alg="ECDH-ES", enc="A128GCM")
    header, _ = decrypt(token, private)
    assert "zip" not in header
    assert len(unb64(token.split(".")[3])) == 5000


def test_token_of_any_length_is_encrypted():
    private, jwk = pair("P-256")
    for length in (0, 1, 200_000):
        assert decrypt(encrypt("x" * length, [jwk], alg="ECDH-ES", enc="A128GCM"), private)[1] == "x" * length


def test_private_members_of_a_key_travel_nowhere():
    private, jwk = pair("P-256")
    token = encrypt(TOKEN, [{**private_jwk(private, jwk), "kid": "k"}], alg="ECDH-ES", enc="A128GCM")
    header, content = decrypt(token, private)
    assert set(header) == {"alg", "enc", "cty", "kid", "epk"}
    assert header["epk"]["x"] != jwk["x"]
    assert content == TOKEN


@settings(max_examples=40, deadline=None, database=None)
@given(documents, st.sampled_from(RECIPIENTS), st.sampled_from(ENCRYPTION_ENCS), texts)
def test_any_claims_arrive_under_any_name_of_the_key(claims, recipient, enc, kid):
    alg, kind = recipient
    private, jwk = pair(kind)
    token = unsecured(claims, typ="JWT")
    header, content = decrypt(encrypt(token, [{**jwk, "kid": kid}], alg=alg, enc=enc), private)
    assert (header["kid"], content) == (kid, token)


# Choosing the key.


def cannot(keys, alg="ECDH-ES", enc="A128GCM"):
    with pytest.raises(CannotEncrypt) as refusal:
        encrypt(TOKEN, keys, alg=alg, enc=enc)
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None
    assert str(refusal.value) == "no key to encrypt to"


def test_first_key_that_fits_is_taken():
    keys = [pair("2048")[1], pair("P-384")[1], pair("X25519")[1], pair("2048", 1)[1]]
    assert encryption_key(keys, "RSA-OAEP-256") is keys[0]
    assert encryption_key(keys, "ECDH-ES") is keys[1]
    assert encryption_key(keys[::-1], "RSA-OAEP-256") is keys[3]
    assert encryption_key(keys[::-1], "ECDH-ES") is keys[2]


def test_broken_key_before_the_right_one_is_passed_over():
    private, right = pair("P-256")
    broken = [None, {}, {**right, "y": right["x"]}, {**right, "use": "sig"}, pair("secp256k1")[1], right]
    assert encryption_key(broken, "ECDH-ES") is right
    assert decrypt(encrypt(TOKEN, broken, alg="ECDH-ES", enc="A256GCM"), private)[1] == TOKEN


@pytest.mark.parametrize(
    "members",
    [
        {"use": "enc"},
        {"use": "enc", "alg": "{alg}"},
        {"alg": "{alg}"},
        {"key_ops": ["encrypt", "deriveKey"]},
        {"key_ops": ["wrapKey", "deriveBits"], "use": "enc"},
        {"ext": True, "x5c": "not read", "n2": {}},
    ],
)
def test_key_that_says_that_it_is_for_this_or_says_nothing_is_used_rfc7517_s4(members):
    for alg, kind in RECIPIENTS:
        jwk = pair(kind)[1] | {k: v.format(alg=alg) if isinstance(v, str) else v for k, v in members.items()}
        assert encryption_key([jwk], alg) is jwk
        assert encryption_key([MappingProxyType(jwk)], alg) == jwk


@pytest.mark.parametrize(
    "members",
    [
        {"use": "sig"},
        {"use": None},
        {"use": ["enc"]},
        {"alg": "RS256"},
        {"alg": "RSA-OAEP"},
        {"alg": "RSA1_5"},
        {"alg": "ECDH-ES+A128KW"},
        {"alg": None},
        {"key_ops": ["verify"]},
        {"key_ops": ["decrypt", "unwrapKey"]},
        {"key_ops": "encrypt deriveKey"},
        {"key_ops": [["encrypt"]]},
        {"key_ops": None},
    ],
)
def test_key_that_is_meant_for_something_else_is_not_used_rfc7517_s4(members):
    for alg, kind in RECIPIENTS:
        assert encryption_key([pair(kind)[1] | members], alg) is None
        cannot([pair(kind)[1] | members], alg)


def test_public_key_as_browsers_export_it_is_used_for_key_agreement_alone_webcrypto_s24():
    exported = {"ext": True, "key_ops": []}
    assert encryption_key([pair("P-256")[1] | exported], "ECDH-ES")
    assert encryption_key([pair("2048")[1] | exported], "RSA-OAEP-256") is None


@pytest.mark.parametrize(
    "alg", ["RSA1_5", "RSA-OAEP", "ECDH-ES+A128KW", "dir", "A128KW", "PBES2-HS256+A128KW", "none", ""]
)
def test_algorithm_that_is_not_on_offer_has_no_key_rfc8725_s3_2(alg):
    keys = [*(pair(kind)[1] for _, kind in RECIPIENTS), {"kty": "oct", "k": b64(bytes(16))}]
    assert encryption_key(keys, alg) is None
    cannot(keys, alg)


@pytest.mark.parametrize("enc", ["A192GCM", "A128CBC-HS256", "A256CBC-HS512", "none", "", "DEF"])
def test_content_encryption_that_is_not_on_offer_is_refused(enc):
    for alg, kind in RECIPIENTS:
        cannot([pair(kind)[1]], alg, enc)


def test_without_a_key_nothing_is_encrypted():
    for alg in ENCRYPTION_ALGS:
        cannot([], alg)
    cannot([pair("2048")[1]], "ECDH-ES")
    cannot([pair("P-256")[1]], "RSA-OAEP-256")
    edwards = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    cannot([{"kty": "OKP", "crv": "Ed25519", "x": b64(edwards)}])


# Keys that would give the content away.


def test_rsa_key_below_2048_bits_is_not_used_rfc7518_s4_3():
    _, short = pair("1024")
    padded = {**short, "n": b64(bytes(128) + unb64(short["n"]))}
    for jwk in (short, padded):
        assert encryption_key([jwk], "RSA-OAEP-256") is None
        cannot([jwk], "RSA-OAEP-256")


@pytest.mark.parametrize("e", [1, 2, 65536])
def test_rsa_key_with_an_exponent_that_hides_nothing_is_not_used(e):
    cannot([{**pair("2048")[1], "e": b64(e.to_bytes(3, "big"))}], "RSA-OAEP-256")


@pytest.mark.parametrize("n", [2**2047, 2**2048 - 2, 2**2047 + 2])
def test_even_modulus_is_not_used(n):
    cannot([{**pair("2048")[1], "n": b64(n.to_bytes(256, "big"))}], "RSA-OAEP-256")


def off_curve(curve):
    """Points that are none: on another curve, beyond the field, and at infinity."""
    _, jwk = pair(curve)
    octets = (CURVES[curve].key_size + 7) // 8
    x, y = (int.from_bytes(unb64(jwk[name]), "big") for name in ("x", "y"))
    for wrong_x, wrong_y in ((x, y ^ 1), (x ^ 1, y), (y, x), (0, 0), (x, 0), (256**octets - 1, y), (1, 1)):
        yield {**jwk, "x": b64(wrong_x.to_bytes(octets, "big")), "y": b64(wrong_y.to_bytes(octets, "big"))}
    yield {**jwk, "crv": "P-384" if curve == "P-256" else "P-256"}
    yield {**jwk, "crv": "X25519"}
    yield {**jwk, "y": ""}


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
def test_point_off_the_curve_is_not_used_rfc8725_s3_4(curve):
    for jwk in off_curve(curve):
        assert encryption_key([jwk], "ECDH-ES") is None
        cannot([jwk])


def test_curve_that_is_not_on_offer_is_not_used():
    cannot([pair("secp256k1")[1]])


@pytest.mark.parametrize(
    "octets",
    [
        bytes(32),
        b"\x01" + bytes(31),
        bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        b"\xec" + b"\xff" * 30 + b"\x7f",
    ],
    ids=["zero", "one", "order 8", "other order 8", "minus one"],
)
def test_point_of_small_order_that_makes_the_shared_secret_zero_is_refused_rfc7748_s6_1(octets):
    cannot([{"kty": "OKP", "crv": "X25519", "x": b64(octets)}])


@pytest.mark.parametrize("octets", [0, 31, 33, 56])
def test_x25519_key_of_another_length_is_not_used_rfc8037_s2(octets):
    cannot([{"kty": "OKP", "crv": "X25519", "x": b64(b"\x09" * octets)}])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(ENCRYPTION_ALGS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=80, deadline=None, database=None)
@given(
    st.sampled_from(RECIPIENTS),
    st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "use", "key_ops", "alg", "kid", "d"]), JSON),
)
def test_no_key_raises_anything_but_cannot_encrypt(recipient, members):
    alg, kind = recipient
    private, jwk = pair(kind)
    keys = [jwk | members]
    if encryption_key(keys, alg) is None:
        cannot(keys, alg)
    elif {"crv", "x", "y", "n", "e"}.isdisjoint(members):
        assert decrypt(encrypt(TOKEN, keys, alg=alg, enc="A128GCM"), private)[1] == TOKEN


@pytest.mark.parametrize(("alg", "kind"), RECIPIENTS)
def test_key_that_can_encrypt_counts_as_usable_at_registration(alg, kind):
    jwk = {**pair(kind)[1], "use": "enc", "alg": alg}
    assert encryption_key(usable_keys({"keys": [jwk]}), alg) == jwk
