import base64
import hashlib
import hmac
import json
from functools import cache
from math import gcd
from types import MappingProxyType

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import OKPKey

from idp.crypto.jose import (
    MAC_ALGORITHMS,
    InvalidSignature,
    Signer,
    Unverified,
    generate_key,
    left_half_hash,
    public_key,
    read_unverified,
    unsecured,
    usable_keys,
    verify,
    verify_mac,
    verify_unsecured,
)
from idp.domain.signing_key import SigningAlgorithm
from tests.support.strategies import documents

ALGORITHMS = [str(alg) for alg in SigningAlgorithm]
CLAIMS = {"iss": "https://id.example", "sub": "usr_1", "exp": 1300819380, "labs": ["bio", "chem"]}

# RFC 7515 appendix A.2 and A.3: the same claims, signed with RS256 and with ES256.
RFC7515_CLAIMS = {"iss": "joe", "exp": 1300819380, "http://example.com/is_root": True}
RFC7515_PAYLOAD = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
RFC7515_RSA_KEY = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS"
    "-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV"
    "MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    "e": "AQAB",
}
RFC7515_RS256 = (
    f"eyJhbGciOiJSUzI1NiJ9.{RFC7515_PAYLOAD}."
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZ"
    "cAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-e"
    "OkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)
RFC7515_EC_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
RFC7515_ES256 = (
    f"eyJhbGciOiJFUzI1NiJ9.{RFC7515_PAYLOAD}."
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)
# RFC 7515 appendix A.1: the same claims with HS256, by octets that are no text; and A.5: not signed at all.
RFC7515_OCTETS = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
RFC7515_HS256 = (
    f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{RFC7515_PAYLOAD}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)
RFC7515_UNSECURED = f"eyJhbGciOiJub25lIn0.{RFC7515_PAYLOAD}."
# RFC 8037 appendix A.1, A.3 and A.4; what is signed there is no JSON object.
RFC8037_PRIVATE = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
RFC8037_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
RFC8037_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
RFC8037_EDDSA = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)


@cache
def numbered_pair(alg, number):
    return generate_key(SigningAlgorithm(alg))


def pair(alg, number=0):
    return numbered_pair(alg, number)


def signer(alg, number=0):
    private, public = pair(alg, number)
    return Signer(public["kid"], SigningAlgorithm(alg), private)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def sign(header, payload=CLAIMS, *, private=None):
    """A token with any header and payload, rightly signed with Ed25519."""
    segments = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    signing_input = ".".join(b64(segment) for segment in segments)
    key = serialization.load_der_private_key(private or pair("EdDSA")[0], None)
    return f"{signing_input}.{b64(key.sign(signing_input.encode()))}"


SECRET = "a shared secret of sixty-four octets, long enough for every hash"


def mac(header, payload=CLAIMS, *, secret=SECRET, digest="sha256"):
    """A token with any header and payload and a MAC made by hand; text is encoded as UTF-8."""
    segments = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    signing_input = ".".join(b64(segment) for segment in segments)
    key = secret.encode() if isinstance(secret, str) else secret
    return f"{signing_input}.{b64(hmac.digest(key, signing_input.encode(), digest))}"


def outcome(function, argument, refusal):
    """What a function returns, or the text of its refusal; anything else that it raises is a defect."""
    try:
        return function(argument)
    except refusal as raised:
        return str(raised)


def without(jwk, *names):
    return {name: value for name, value in jwk.items() if name not in names}


def refused(token, keys=None, algorithms=ALGORITHMS):
    with pytest.raises(InvalidSignature) as refusal:
        verify(token, [pair("EdDSA")[1]] if keys is None else keys, algorithms=algorithms)
    return str(refusal.value)


# Vectors of the specifications.


@pytest.mark.parametrize(
    ("token", "key", "alg"),
    [(RFC7515_RS256, RFC7515_RSA_KEY, "RS256"), (RFC7515_ES256, RFC7515_EC_KEY, "ES256")],
    ids=["A.2", "A.3"],
)
def test_published_signature_is_accepted_rfc7515_a2_a3(token, key, alg):
    assert verify(token, [key], algorithms=[alg]) == ({"alg": alg}, RFC7515_CLAIMS)
    assert "not signed" in refused(token[:-4] + "AAAA", [key], [alg])


def test_published_ed25519_key_makes_signatures_that_its_public_half_verifies_rfc8037_a1_a4():
    private = ed25519.Ed25519PrivateKey.from_private_bytes(unb64(RFC8037_PRIVATE)).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert sign(b'{"alg":"EdDSA"}', b"Example of Ed25519 signing", private=private) == RFC8037_EDDSA
    by_hand = sign({"alg": "EdDSA"}, RFC7515_CLAIMS, private=private)
    by_signer = Signer("k", SigningAlgorithm.EDDSA, private).sign(RFC7515_CLAIMS, typ="JWT")
    for token in (by_hand, by_signer):
        assert verify(token, [RFC8037_KEY], algorithms=["EdDSA"]).claims == RFC7515_CLAIMS


def test_signed_text_that_is_no_object_is_refused_though_its_signature_is_right_rfc8037_a4():
    assert refused(RFC8037_EDDSA, [RFC8037_KEY]) == "malformed token"


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y", "77QmUPtjPfzWtF2AnpK9RQ"),
        ("Qcb0Orv1zh30vL1MPRsbm-diHiMwcLyZvn1arpZv-Jxf_11jnpEX3Tgfvk", "LDktKdoQak3Pk0cnXxCltA"),
    ],
    ids=["at_hash", "c_hash"],
)
def test_half_hash_is_the_published_one_oidc_core_a4_a6(token, expected):
    for alg in ("RS256", "PS256", "ES256"):
        assert left_half_hash(token, alg) == expected


def test_half_hash_for_ed25519_is_half_a_sha512_oidc_core_s3_3_2_11():
    assert left_half_hash("token", "EdDSA") == b64(hashlib.sha512(b"token").digest()[:32])


def test_half_hash_of_a_state_is_of_its_octets_though_it_is_no_ascii_fapi1_part2_s5_1_1():
    for state in ("af0ifjsldkj", "Zustand ä 🔬"):
        assert left_half_hash(state, "PS256") == b64(hashlib.sha256(state.encode("utf-8")).digest()[:16])
        assert left_half_hash(state, "EdDSA") == b64(hashlib.sha512(state.encode("utf-8")).digest()[:32])


@pytest.mark.parametrize("alg", ["none", "unknown", ""])
def test_half_hash_of_an_algorithm_without_a_hash_is_an_error(alg):
    with pytest.raises(ValueError, match="names no hash"):
        left_half_hash("token", alg)


# Keys and signing.


def thumbprint(jwk):
    members = {"RSA": "e kty n", "EC": "crv kty x y", "OKP": "crv kty x"}[jwk["kty"]].split()
    text = json.dumps({name: jwk[name] for name in members}, separators=(",", ":"))
    return b64(hashlib.sha256(text.encode()).digest())


def test_thumbprint_of_these_tests_is_the_published_one_rfc8037_a3():
    assert thumbprint(RFC8037_KEY) == RFC8037_THUMBPRINT


@pytest.mark.parametrize(
    ("alg", "members"),
    [
        ("RS256", {"kty", "n", "e"}),
        ("PS256", {"kty", "n", "e"}),
        ("ES256", {"kty", "crv", "x", "y"}),
        ("EdDSA", {"kty", "crv", "x"}),
    ],
)
def test_generated_public_key_holds_public_members_and_its_thumbprint_rfc7517_s4_rfc7638_s3(alg, members):
    _, public = pair(alg)
    assert set(public) == members | {"use", "alg", "kid"}
    assert (public["use"], public["alg"], public["kid"]) == ("sig", alg, thumbprint(public))
    assert json.loads(json.dumps(public)) == public


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_generated_private_key_is_pkcs8_of_the_right_kind_and_size(alg):
    key = serialization.load_der_private_key(pair(alg)[0], None)
    expected = {"RS256": rsa.RSAPrivateKey, "PS256": rsa.RSAPrivateKey, "ES256": ec.EllipticCurvePrivateKey}
    assert isinstance(key, expected.get(alg, ed25519.Ed25519PrivateKey))
    assert getattr(key, "key_size", 256) == {"RSA": 2048}.get(pair(alg)[1]["kty"], 256)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_signature_is_the_algorithms_own_rfc7518_s3(alg):
    signing_input, _, signature = signer(alg).sign(CLAIMS, typ="JWT").rpartition(".")
    key = serialization.load_der_private_key(pair(alg)[0], None).public_key()
    data, sig = signing_input.encode(), unb64(signature)
    if alg == "RS256":
        key.verify(sig, data, padding.PKCS1v15(), hashes.SHA256())
    elif alg == "PS256":
        key.verify(sig, data, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    elif alg == "ES256":
        assert len(sig) == 64
        der = encode_dss_signature(int.from_bytes(sig[:32], "big"), int.from_bytes(sig[32:], "big"))
        key.verify(der, data, ec.ECDSA(hashes.SHA256()))
    else:
        key.verify(sig, data)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_what_was_signed_is_verified_with_the_public_half(alg):
    token = signer(alg).sign(CLAIMS, typ="at+jwt")
    header, claims = verify(token, [pair(alg)[1]], algorithms=[alg])
    assert header == {"alg": alg, "kid": pair(alg)[1]["kid"], "typ": "at+jwt"}
    assert claims == CLAIMS


def test_each_type_has_its_own_header_rfc8725_s3_11():
    one = signer("ES256")
    tokens = {typ: one.sign(CLAIMS, typ=typ) for typ in ("JWT", "at+jwt", "JWT", "logout+jwt")}
    for typ, token in tokens.items():
        assert verify(token, [pair("ES256")[1]], algorithms=["ES256"]).header["typ"] == typ


def test_payload_is_compact_utf8_without_escapes():
    token = signer("ES256").sign({"name": "Zoë 🔬", "n": [1, True, None]}, typ="JWT")
    assert unb64(token.split(".")[1]).decode() == '{"name":"Zoë 🔬","n":[1,true,null]}'


def test_any_mapping_can_be_signed():
    token = signer("ES256").sign(MappingProxyType(CLAIMS), typ="JWT")
    assert verify(token, [pair("ES256")[1]], algorithms=["ES256"]).claims == CLAIMS


def test_numbers_that_json_lacks_are_never_signed():
    with pytest.raises(ValueError, match="JSON"):
        signer("ES256").sign({"exp": float("nan")}, typ="JWT")


@pytest.mark.parametrize(("alg", "other"), [("RS256", "ES256"), ("ES256", "RS256"), ("EdDSA", "ES256")])
def test_private_key_of_another_kind_is_refused_at_once(alg, other):
    with pytest.raises(Exception, match="Not a key of"):
        Signer("k", SigningAlgorithm(alg), pair(other)[0])


# Choosing the key.


def test_key_is_chosen_by_kid_rfc7515_s4_1_4():
    keys = [pair("EdDSA", number)[1] for number in range(3)]
    for number in range(3):
        token = signer("EdDSA", number).sign({"number": number}, typ="JWT")
        assert verify(token, keys, algorithms=["EdDSA"]).claims == {"number": number}


def test_signature_by_another_key_than_kid_names_is_refused():
    impostor = Signer(pair("EdDSA")[1]["kid"], SigningAlgorithm.EDDSA, pair("EdDSA", 1)[0])
    refused(impostor.sign(CLAIMS, typ="JWT"), [pair("EdDSA")[1], pair("EdDSA", 1)[1]])


@pytest.mark.parametrize("header", [{"alg": "EdDSA"}, {"alg": "EdDSA", "kid": "unknown"}])
def test_without_a_known_kid_the_keys_that_fit_are_tried(header):
    keys = [pair("RS256")[1], pair("EdDSA", 1)[1], without(pair("EdDSA")[1], "kid")]
    assert verify(sign(header), keys, algorithms=ALGORITHMS).claims == CLAIMS


def test_of_two_keys_with_one_kid_either_may_have_signed():
    keys = [{**pair("EdDSA", number)[1], "kid": "same"} for number in (1, 0)]
    assert verify(sign({"alg": "EdDSA", "kid": "same"}), keys, algorithms=["EdDSA"]).claims == CLAIMS


def test_kid_of_a_key_for_another_algorithm_does_not_hide_the_right_one():
    keys = [{**pair("RS256")[1], "kid": "same"}, {**pair("EdDSA")[1], "kid": "same"}]
    assert verify(sign({"alg": "EdDSA", "kid": "same"}), keys, algorithms=ALGORITHMS).claims == CLAIMS


def test_signature_by_a_key_that_is_not_listed_is_refused():
    refused(signer("EdDSA", 1).sign(CLAIMS, typ="JWT"))
    refused(signer("EdDSA").sign(CLAIMS, typ="JWT"), keys=[])


@pytest.mark.parametrize("members", [{"use": "enc"}, {"alg": "ES256"}, {"key_ops": ["sign"]}, {"key_ops": "verify"}])
def test_key_that_is_meant_for_something_else_is_not_used_rfc7517_s4(members):
    refused(sign({"alg": "EdDSA"}), [{**pair("EdDSA")[1], **members}])


def test_key_that_says_nothing_of_its_use_is_used_rfc7517_s4():
    key = without(pair("EdDSA")[1], "use", "alg", "kid")
    for jwk in (key, {**key, "key_ops": ["verify"]}, {**key, "use": "sig", "key_ops": ["sign", "verify"]}):
        assert verify(sign({"alg": "EdDSA"}), [jwk], algorithms=["EdDSA"]).claims == CLAIMS


def test_work_is_bounded_however_many_keys_there_are():
    filler = [{**RFC8037_KEY, "kid": str(number)} for number in range(16)]
    token = sign({"alg": "EdDSA"})
    assert verify(token, [*filler[1:], pair("EdDSA")[1]], algorithms=["EdDSA"]).claims == CLAIMS
    refused(token, [*filler, pair("EdDSA")[1]])
    named = sign({"alg": "EdDSA", "kid": pair("EdDSA")[1]["kid"]})
    assert verify(named, [*filler, pair("EdDSA")[1]], algorithms=["EdDSA"]).claims == CLAIMS


def test_private_members_of_a_published_key_are_not_even_read():
    key = {**pair("RS256")[1], "d": "not base64!", "p": 7}
    token = signer("RS256").sign(CLAIMS, typ="JWT")
    assert verify(token, [key], algorithms=["RS256"]).claims == CLAIMS


# Confusing the algorithm.


def public_texts():
    _, jwk = pair("RS256")
    key = serialization.load_der_private_key(pair("RS256")[0], None).public_key()
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return {
        "PEM": key.public_bytes(serialization.Encoding.PEM, spki),
        "PEM without its last line break": key.public_bytes(serialization.Encoding.PEM, spki).strip(),
        "DER": key.public_bytes(serialization.Encoding.DER, spki),
        "JWK": json.dumps(jwk).encode(),
        "compact JWK": json.dumps(jwk, separators=(",", ":")).encode(),
        "modulus": unb64(jwk["n"]),
        "nothing": b"",
    }


@pytest.mark.parametrize("algorithms", [["RS256"], ["HS256"], ["RS256", "HS256"]])
@pytest.mark.parametrize("text", public_texts())
def test_hmac_with_the_public_key_is_refused_rfc8725_s2_1(text, algorithms):
    secret = public_texts()[text]
    signing_input = f"{b64(json.dumps({'alg': 'HS256', 'kid': pair('RS256')[1]['kid']}).encode())}.{RFC7515_PAYLOAD}"
    token = f"{signing_input}.{b64(hmac.digest(secret, signing_input.encode(), 'sha256'))}"
    symmetric = {"kty": "oct", "k": b64(secret), "kid": pair("RS256")[1]["kid"]}
    refused(token, [pair("RS256")[1]], algorithms)
    refused(token, [pair("RS256")[1], symmetric], algorithms)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("algorithms", [["RS256"], ["none"], ["none", "None", "NONE", "nOnE", "", "RS256"], []])
def test_unsigned_token_is_refused_even_where_none_is_listed_rfc8725_s2_1(alg, algorithms):
    unsigned = f"{b64(json.dumps({'alg': alg}).encode())}.{RFC7515_PAYLOAD}."
    _, _, signature = signer("RS256").sign(CLAIMS, typ="JWT").rpartition(".")
    for token in (unsigned, unsigned + signature):
        for keys in ([], [pair("RS256")[1]], [{"kty": "oct", "k": ""}]):
            refused(token, keys, algorithms)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_algorithm_that_was_not_asked_for_is_refused_rfc8725_s3_1(alg):
    token = signer(alg).sign(CLAIMS, typ="JWT")
    others = [other for other in ALGORITHMS if other != alg]
    assert refused(token, [pair(alg)[1]], others) == "algorithm not accepted"
    assert refused(token, [pair(alg)[1]], []) == "algorithm not accepted"


def test_rsa_key_for_one_padding_does_not_verify_the_other():
    private, public = pair("RS256")
    token = Signer(public["kid"], SigningAlgorithm.PS256, private).sign(CLAIMS, typ="JWT")
    refused(token, [public])
    assert verify(token, [without(public, "alg")], algorithms=["PS256"]).claims == CLAIMS


def test_es256_with_a_key_of_another_curve_is_refused_rfc7518_s3_4():
    key = ec.generate_private_key(ec.SECP384R1())
    numbers = key.public_key().public_numbers()
    jwk = {
        "kty": "EC",
        "crv": "P-384",
        "x": b64(numbers.x.to_bytes(48, "big")),
        "y": b64(numbers.y.to_bytes(48, "big")),
    }

    def token(alg, size, digest):
        signing_input = f"{b64(json.dumps({'alg': alg}).encode())}.{RFC7515_PAYLOAD}"
        r, s = decode_dss_signature(key.sign(signing_input.encode(), ec.ECDSA(digest)))
        return f"{signing_input}.{b64(r.to_bytes(size, 'big') + s.to_bytes(size, 'big'))}"

    assert verify(token("ES384", 48, hashes.SHA384()), [jwk], algorithms=["ES384"]).claims == RFC7515_CLAIMS
    refused(token("ES256", 48, hashes.SHA256()), [jwk])
    refused(token("ES384", 48, hashes.SHA384()), [RFC7515_EC_KEY], ["ES384"])


def test_eddsa_means_ed25519_alone_fapi2_s5_4_1():
    key = ed448.Ed448PrivateKey.generate()
    jwk = {"kty": "OKP", "crv": "Ed448", "x": b64(key.public_key().public_bytes_raw())}
    signing_input = f"{b64(json.dumps({'alg': 'EdDSA'}).encode())}.{RFC7515_PAYLOAD}"
    refused(f"{signing_input}.{b64(key.sign(signing_input.encode()))}", [jwk])


@cache
def rsa_jwk(bits, e=65537):
    """A private RSA key and its public JWK; an exponent of any size is swapped in."""
    numbers = rsa.generate_private_key(65537, bits).private_numbers()
    while gcd(e, (numbers.p - 1) * (numbers.q - 1)) != 1:
        numbers = rsa.generate_private_key(65537, bits).private_numbers()
    d = pow(e, -1, (numbers.p - 1) * (numbers.q - 1))
    n = numbers.p * numbers.q
    jwk = {"kty": "RSA", "n": b64(n.to_bytes(bits // 8, "big")), "e": b64(e.to_bytes((e.bit_length() + 7) // 8, "big"))}
    return (n, d), jwk


def rs256(private, bits):
    signing_input = f"{b64(json.dumps({'alg': 'RS256'}).encode())}.{RFC7515_PAYLOAD}"
    digest_info = bytes.fromhex("3031300d060960864801650304020105000420")
    hashed = digest_info + hashlib.sha256(signing_input.encode()).digest()
    padded = b"\x00\x01" + b"\xff" * (bits // 8 - 3 - len(hashed)) + b"\x00" + hashed
    n, d = private
    return f"{signing_input}.{b64(pow(int.from_bytes(padded, 'big'), d, n).to_bytes(bits // 8, 'big'))}"


def test_rsa_key_below_2048_bits_is_refused_rfc7518_s3_3():
    private, jwk = rsa_jwk(1024)
    refused(rs256(private, 1024), [jwk])
    refused(rs256(private, 1024), [{**jwk, "n": b64(bytes(128) + unb64(jwk["n"]))}])
    private, jwk = rsa_jwk(2048)
    assert verify(rs256(private, 2048), [jwk], algorithms=["RS256"]).claims == RFC7515_CLAIMS


def test_rsa_key_whose_exponent_makes_verification_slow_is_refused():
    private, jwk = rsa_jwk(2048, 2**63 + 29)
    assert verify(rs256(private, 2048), [jwk], algorithms=["RS256"]).claims == RFC7515_CLAIMS
    private, jwk = rsa_jwk(2048, 2**2000 + 1)
    refused(rs256(private, 2048), [jwk])


def test_key_of_excessive_length_is_refused_though_it_would_verify():
    shorter = {**RFC7515_EC_KEY, "x": b64(bytes(32) + unb64(RFC7515_EC_KEY["x"]))}
    longer = {**RFC7515_EC_KEY, "x": b64(bytes(1024) + unb64(RFC7515_EC_KEY["x"]))}
    assert len(longer["x"]) > 1366
    assert verify(RFC7515_ES256, [shorter], algorithms=["ES256"]).claims == RFC7515_CLAIMS
    refused(RFC7515_ES256, [longer])


# Tampering and malformed tokens.


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_every_altered_segment_is_refused(alg):
    header, payload, signature = signer(alg).sign(CLAIMS, typ="JWT").split(".")
    _, other_payload, other_signature = signer(alg).sign({**CLAIMS, "sub": "usr_2"}, typ="JWT").split(".")
    other_header = signer(alg).sign(CLAIMS, typ="at+jwt").split(".")[0]
    flipped = bytearray(unb64(signature))
    flipped[-1] ^= 1
    for forged in (
        f"{header}.{other_payload}.{signature}",
        f"{header}.{payload}.{other_signature}",
        f"{other_header}.{payload}.{signature}",
        f"{header}.{payload}.{b64(bytes(flipped))}",
        f"{header}.{payload}.{b64(unb64(signature)[:-1])}",
        f"{header}.{payload}.{b64(unb64(signature) + bytes(1))}",
        f"{header}.{payload}.",
    ):
        assert refused(forged, [pair(alg)[1]]) == "not signed by any of the keys"


def test_ecdsa_signature_of_zeros_is_refused_cve_2022_21449():
    header, payload, _ = signer("ES256").sign(CLAIMS, typ="JWT").split(".")
    refused(f"{header}.{payload}.{b64(bytes(64))}", [pair("ES256")[1]])


GOOD = sign({"alg": "EdDSA"})
GOOD_HEADER, GOOD_PAYLOAD, GOOD_SIGNATURE = GOOD.split(".")


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "token",
        GOOD_PAYLOAD,
        f"{GOOD_HEADER}.{GOOD_PAYLOAD}",
        f"{GOOD}.",
        f"{GOOD}.{GOOD_SIGNATURE}.{GOOD_SIGNATURE}",
        f" {GOOD}",
        f"{GOOD}\n",
        f"{GOOD}=",
        f"{GOOD_HEADER}=.{GOOD_PAYLOAD}.{GOOD_SIGNATURE}",
        f"{GOOD_HEADER}..{GOOD_SIGNATURE}",
        f"{GOOD_HEADER}.{GOOD_PAYLOAD}.{GOOD_SIGNATURE[:-1]}",
        f"{GOOD_HEADER}.{GOOD_PAYLOAD}.{GOOD_SIGNATURE[:-1]}{chr(ord(GOOD_SIGNATURE[-1]) + 1)}",
        f"{GOOD_HEADER}.{GOOD_PAYLOAD}.{GOOD_SIGNATURE[:5]}+{GOOD_SIGNATURE[6:]}",
        f"{GOOD_HEADER}.{GOOD_PAYLOAD}.ä",
        "\ud800",
        '{"payload":"e30","signatures":[]}',
    ],
)
def test_what_is_no_compact_jws_is_malformed_rfc7515_s7_1(token):
    assert refused(token) == "malformed token"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b"{",
        b"{}{}",
        b"{'sub': 1}",
        b'{"sub":"a","sub":"b"}',
        b'{"cnf":{"jkt":"a","jkt":"b"}}',
        b'{"su\\u0062":"a","sub":"b"}',
        b'{"exp":NaN}',
        b'{"exp":Infinity}',
        b'{"exp":-Infinity}',
        b'{"exp":1e999}',
        b'{"exp":-1e999}',
        b'{"exp":' + b"9" * 5000 + b"}",
        b'{"sub":"\xff"}',
        b'{"sub":"\\ud800"}',
        b'{"sub":"\xed\xa0\x80"}',
        '{"sub":"a"}'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b'{"a":' * 1500 + b"1" + b"}" * 1500,
        b"[" * 11_000,
    ],
)
def test_payload_that_is_no_sane_json_object_is_malformed_rfc7519_s7_2(payload):
    assert refused(sign({"alg": "EdDSA"}, payload)) == "malformed token"


@pytest.mark.parametrize(
    "header",
    [
        b"{}",
        b"[]",
        b'{"alg":"EdDSA","alg":"EdDSA"}',
        {"alg": None},
        {"alg": 1},
        {"alg": ["EdDSA"]},
        {"alg": {"EdDSA": 1}},
        {"alg": "EdDSA", "kid": 1},
        {"alg": "EdDSA", "kid": None},
        {"alg": "EdDSA", "kid": ["a"]},
    ],
)
def test_header_with_members_of_the_wrong_type_is_refused_rfc7515_s4_1(header):
    refused(sign(header))


@pytest.mark.parametrize(
    "extension",
    [
        {"crit": []},
        {"crit": ["exp"], "exp": 1},
        {"crit": ["b64"], "b64": False},
        {"crit": ["b64"], "b64": True},
        {"crit": None},
        {"b64": False},
        {"b64": 0},
        {"b64": "true"},
    ],
)
def test_critical_extensions_and_unencoded_payloads_are_refused_rfc7515_s4_1_11_rfc7797_s6(extension):
    assert refused(sign({"alg": "EdDSA", **extension})) == "unsupported header parameter"


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "EdDSA", "jwk": pair("EdDSA", 1)[1]},
        {"alg": "EdDSA", "jku": "https://attacker.example/jwks", "x5u": "https://attacker.example/x5u"},
    ],
)
def test_keys_that_the_token_itself_offers_are_not_used_rfc8725_s3_10(header):
    refused(sign(header, private=pair("EdDSA", 1)[0]))
    assert verify(sign(header), [pair("EdDSA")[1]], algorithms=["EdDSA"]).header == header


def test_long_headers_such_as_those_of_dpop_proofs_are_read_rfc9449_s4_2():
    header = {"alg": "EdDSA", "typ": "dpop+jwt", "jwk": pair("RS256")[1]}
    assert verify(sign(header), [pair("EdDSA")[1]], algorithms=["EdDSA"]).header == header


def test_escaped_and_plain_unicode_arrive_alike():
    token = sign({"alg": "EdDSA"}, b'{"name":"Zo\\u00eb \\ud83d\\udd2c"}')
    assert verify(token, [pair("EdDSA")[1]], algorithms=["EdDSA"]).claims == {"name": "Zoë 🔬"}


def test_fractions_are_numbers_too_rfc7519_s2():
    token = sign({"alg": "EdDSA"}, b'{"exp":1300819380.5}')
    assert verify(token, [pair("EdDSA")[1]], algorithms=["EdDSA"]).claims == {"exp": 1300819380.5}


def test_tokens_up_to_16_kib_are_read_and_no_longer_ones():
    def token_of(length):
        fill = (length - len(sign({"alg": "EdDSA"}, {"fill": ""}))) * 3 // 4
        return next(
            token
            for extra in range(-4, 5)
            if len(token := sign({"alg": "EdDSA"}, {"fill": "x" * (fill + extra)})) == length
        )

    assert verify(token_of(16 * 1024), [pair("EdDSA")[1]], algorithms=["EdDSA"])
    assert refused(token_of(16 * 1024 + 1)) == "malformed token"


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        [],
        None,
        "text",
        {"kty": "OKP"},
        {"kty": ["OKP"]},
        {"kty": "OKP", "crv": "Ed25519"},
        {"kty": "OKP", "crv": "Ed25519", "x": None},
        {"kty": "OKP", "crv": "Ed25519", "x": 5},
        {"kty": "OKP", "crv": "Ed25519", "x": ["a"]},
        {"kty": "OKP", "crv": "Ed25519", "x": ""},
        {"kty": "OKP", "crv": "Ed25519", "x": "!"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
        {"kty": "OKP", "crv": "Ed25519", "x": "\ud800"},
        {"kty": "OKP", "crv": "X25519", "x": RFC8037_KEY["x"]},
        {"kty": "OKP", "crv": ["Ed25519"], "x": RFC8037_KEY["x"]},
        {**RFC8037_KEY, "use": {}},
        {**RFC8037_KEY, "key_ops": {"verify": 1}},
        {**RFC8037_KEY, "key_ops": None},
        {**RFC8037_KEY, "kid": {}},
        {**RFC7515_EC_KEY, "y": "AAAA"},
        {**RFC7515_EC_KEY, "crv": "P-1024"},
        {**RFC7515_EC_KEY, "crv": {}},
        {**RFC7515_EC_KEY, "crv": "P-521"},
        {**RFC7515_RSA_KEY, "e": ""},
        {**RFC7515_RSA_KEY, "e": "AA"},
        {**RFC7515_RSA_KEY, "e": "Ag"},
        {**RFC7515_RSA_KEY, "e": 65537},
        {**RFC7515_RSA_KEY, "n": ""},
        {**RFC7515_RSA_KEY, "n": "AAAA"},
        {"kty": "RSA", "n": {}, "e": []},
    ],
)
def test_broken_key_beside_the_right_one_is_passed_over(jwk):
    tokens = {"EdDSA": sign({"alg": "EdDSA"}), "ES256": RFC7515_ES256, "RS256": RFC7515_RS256}
    right = {"EdDSA": pair("EdDSA")[1], "ES256": RFC7515_EC_KEY, "RS256": RFC7515_RSA_KEY}
    for alg, token in tokens.items():
        assert verify(token, [jwk, right[alg]], algorithms=[alg]).claims
        refused(token, [jwk], [alg])


def test_algorithm_that_this_build_of_openssl_lacks_verifies_nothing(monkeypatch):
    def unsupported(value):
        raise UnsupportedAlgorithm("Ed25519 is not supported by this version of OpenSSL")

    fresh = generate_key(SigningAlgorithm.EDDSA)
    token = Signer("k", SigningAlgorithm.EDDSA, fresh[0]).sign(CLAIMS, typ="JWT")
    monkeypatch.setattr(OKPKey, "import_key", unsupported)
    refused(token, [fresh[1]])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(ALGORITHMS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None, database=None)
@given(
    st.text(max_size=60)
    | st.text("eyJ.", max_size=20)
    | st.builds("{}.{}.{}".format, *[st.text("aAeyJ019-_=", max_size=9)] * 3)
)
def test_no_text_raises_anything_but_invalid_signature(token):
    refused(token, [pair("EdDSA")[1], RFC7515_RSA_KEY, RFC7515_EC_KEY])


@settings(max_examples=60, deadline=None, database=None)
@given(st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64", "typ", "jwk"]), JSON), JSON)
def test_no_json_raises_anything_but_invalid_signature(header, payload):
    refused(sign(header, payload, private=pair("EdDSA", 1)[0]), [pair("EdDSA")[1], RFC7515_RSA_KEY, RFC7515_EC_KEY])


@settings(max_examples=60, deadline=None, database=None)
@given(
    st.sampled_from([RFC8037_KEY, RFC7515_EC_KEY, RFC7515_RSA_KEY]),
    st.dictionaries(st.sampled_from(["crv", "x", "y", "n", "e", "use", "key_ops", "alg", "kid"]), JSON, min_size=1),
)
def test_no_key_raises_anything_but_invalid_signature(jwk, members):
    for token in (sign({"alg": "EdDSA", "kid": "k"}), RFC7515_ES256[:-4] + "AAAA", RFC7515_RS256[:-4] + "AAAA"):
        refused(token, [{**jwk, **members}])


def test_refusals_never_repeat_the_token():
    for token in (GOOD + "x", f"{GOOD_HEADER}.{GOOD_PAYLOAD}.AAAA", sign({"alg": "EdDSA"}, b'{"secret": tru}')):
        with pytest.raises(InvalidSignature) as refusal:
            verify(token, [pair("EdDSA", 1)[1]], algorithms=["EdDSA"])
        assert refusal.value.__suppress_context__ or refusal.value.__context__ is None
        assert not any(part in str(refusal.value) for part in token.split("."))


# Shared secrets.


def mac_refused(token, secrets=(SECRET,), algorithms=MAC_ALGORITHMS):
    with pytest.raises(InvalidSignature) as refusal:
        verify_mac(token, secrets, algorithms=algorithms)
    return str(refusal.value)


def test_mac_of_these_tests_is_the_published_one_rfc7515_a1():
    header = b'{"typ":"JWT",\r\n "alg":"HS256"}'
    assert mac(header, unb64(RFC7515_PAYLOAD), secret=unb64(RFC7515_OCTETS)) == RFC7515_HS256


@pytest.mark.parametrize("alg", MAC_ALGORITHMS)
def test_mac_by_a_shared_secret_is_accepted_rfc7518_s3_2(alg):
    token = mac({"alg": alg}, RFC7515_CLAIMS, digest=f"sha{alg[2:]}")
    assert verify_mac(token, [SECRET], algorithms=[alg]) == ({"alg": alg}, RFC7515_CLAIMS)
    assert verify_mac(token, ["x" * 64, SECRET], algorithms=MAC_ALGORITHMS).claims == RFC7515_CLAIMS
    assert mac_refused(token, ["x" * 64]) == "not made with any of the secrets"


@pytest.mark.parametrize("alg", MAC_ALGORITHMS)
def test_mac_algorithm_that_was_not_asked_for_is_refused_rfc8725_s3_1(alg):
    token = mac({"alg": alg}, digest=f"sha{alg[2:]}")
    for algorithms in ([], [other for other in MAC_ALGORITHMS if other != alg], ["none", *ALGORITHMS]):
        assert mac_refused(token, algorithms=algorithms) == "algorithm not accepted"


@pytest.mark.parametrize("alg", ["none", "None", "", "hs256", "HS1", "RS256", "PS256", "ES256", "EdDSA", None, 1, {}])
def test_what_is_no_mac_is_refused_even_where_it_is_listed(alg):
    anything = [*ALGORITHMS, *MAC_ALGORITHMS, "none", "None", "", "hs256", "HS1"]
    for token in (mac({"alg": alg}), mac({"alg": alg}).rpartition(".")[0] + "."):
        assert mac_refused(token, algorithms=anything) == "algorithm not accepted"


def test_hash_that_the_header_does_not_name_is_refused():
    for alg in MAC_ALGORITHMS:
        for digest in {"sha256", "sha384", "sha512"} - {f"sha{alg[2:]}"}:
            assert mac_refused(mac({"alg": alg}, digest=digest)) == "not made with any of the secrets"


@pytest.mark.parametrize(("alg", "octets"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_secret_shorter_than_the_hash_is_not_used_rfc7518_s3_2(alg, octets):
    def token(secret):
        return mac({"alg": alg}, secret=secret, digest=f"sha{alg[2:]}")

    for secret in (SECRET[:octets], "ä" * (octets // 2)):
        assert verify_mac(token(secret), [secret], algorithms=[alg]).claims == CLAIMS
    for secret in (SECRET[: octets - 1], "short", ""):
        assert mac_refused(token(secret), [secret]) == "no secret is fit for this algorithm"
    assert mac_refused(token(SECRET), []) == "no secret is fit for this algorithm"
    assert verify_mac(token(SECRET), ["", "short", SECRET], algorithms=[alg]).claims == CLAIMS


@cache
def known_texts():
    """Texts of keys, or what is left of them, that are long enough to be secrets."""
    key = serialization.load_der_private_key(pair("RS256")[0], None).public_key()
    edwards = serialization.load_der_private_key(pair("EdDSA")[0], None).public_key()
    openssh = (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    jwk = pair("RS256")[1]
    return {
        "PEM": pem,
        "PEM after other text": f"the key: {pem}",
        "PEM with other line breaks": pem.replace("\n", "\r\n"),
        "PEM without its lines": pem.replace("\n", ""),
        "PEM cut short": pem[:100],
        "private PEM": "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----",
        "PKCS #1 PEM": key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1).decode(),
        "OpenSSH RSA": key.public_bytes(*openssh).decode(),
        "OpenSSH Ed25519": edwards.public_bytes(*openssh).decode(),
        "OpenSSH cut short": key.public_bytes(*openssh).decode()[:60],
        "JWK": json.dumps(jwk),
        "JWK in lines": f"\n{json.dumps(jwk, indent=2)}\n",
        "JWK Set": json.dumps({"keys": [jwk]}),
    }


@pytest.mark.parametrize("text", known_texts())
def test_public_key_is_never_taken_for_a_secret_rfc8725_s2_1(text):
    known = known_texts()[text]
    assert mac_refused(mac({"alg": "HS256"}, secret=known), [known]) == "no secret is fit for this algorithm"
    assert verify_mac(mac({"alg": "HS256"}), [known, SECRET], algorithms=["HS256"]).claims == CLAIMS


@pytest.mark.parametrize(
    "secret",
    ["{vR7#mK2@pQ9!xL4$nT6%wZ8&yB1*cD3(", "1234567890" * 4, '"a quoted text of some forty characters"', "[" * 99_999],
)
def test_secret_that_merely_looks_like_json_is_used(secret):
    assert verify_mac(mac({"alg": "HS256"}, secret=secret), [secret], algorithms=["HS256"]).claims == CLAIMS


def test_every_altered_segment_of_a_mac_is_refused():
    header, payload, tag = mac({"alg": "HS256"}).split(".")
    other_header, other_payload, other_tag = mac({"alg": "HS256", "typ": "JWT"}, {"sub": "usr_2"}).split(".")
    flipped = bytearray(unb64(tag))
    flipped[-1] ^= 1
    for forged in (
        f"{other_header}.{payload}.{tag}",
        f"{header}.{other_payload}.{tag}",
        f"{header}.{payload}.{other_tag}",
        f"{header}.{payload}.{b64(bytes(flipped))}",
        f"{header}.{payload}.{b64(unb64(tag)[:16])}",
        f"{header}.{payload}.{b64(unb64(tag) + bytes(1))}",
        f"{header}.{payload}.",
    ):
        assert mac_refused(forged) == "not made with any of the secrets"


# Tokens that nobody signed.


def test_published_unsecured_token_is_read_rfc7515_a5():
    assert verify_unsecured(RFC7515_UNSECURED) == ({"alg": "none"}, RFC7515_CLAIMS)


def test_unsecured_token_ends_with_its_second_dot_rfc7519_s6():
    token = unsecured({"name": "Zoë 🔬"}, typ="JWT")
    header, payload, signature = token.split(".")
    assert unb64(header).decode() == '{"alg":"none","typ":"JWT"}'
    assert unb64(payload).decode() == '{"name":"Zoë 🔬"}'
    assert signature == ""


@settings(max_examples=60, deadline=None, database=None)
@given(documents)
def test_any_claims_come_back_from_an_unsecured_token(claims):
    token = unsecured(MappingProxyType(claims), typ="JWT")
    assert verify_unsecured(token) == ({"alg": "none", "typ": "JWT"}, claims)
    assert read_unverified(token).claims == claims


@pytest.mark.parametrize("alg", ["None", "NONE", "nOnE", "none ", "", "HS256", "RS256", None, 0, ["none"], {"none": 1}])
def test_only_exactly_none_is_unsecured_rfc7515_a5(alg):
    header = b64(json.dumps({"alg": alg}).encode())
    with pytest.raises(InvalidSignature, match="not an unsecured token"):
        verify_unsecured(f"{header}.{RFC7515_PAYLOAD}.")


def test_unsecured_token_without_an_algorithm_is_refused_rfc7515_s4_1_1():
    with pytest.raises(InvalidSignature, match="not an unsecured token"):
        verify_unsecured(f"{b64(b'{}')}.{RFC7515_PAYLOAD}.")


@pytest.mark.parametrize("signature", ["AA", pytest.param(GOOD_SIGNATURE, id="made by a key")])
def test_unsecured_token_with_signature_octets_is_refused_rfc7518_s3_6(signature):
    with pytest.raises(InvalidSignature, match="not an unsecured token"):
        verify_unsecured(RFC7515_UNSECURED + signature)


def test_unsecured_token_is_no_signed_one_and_no_mac_rfc8725_s2_1():
    refused(RFC7515_UNSECURED, [RFC7515_RSA_KEY], ["none", *ALGORITHMS])
    mac_refused(RFC7515_UNSECURED, algorithms=["none", *MAC_ALGORITHMS])


# All readers read alike.


READERS = {
    "verify_mac": lambda token: verify_mac(token, [SECRET], algorithms=MAC_ALGORITHMS),
    "verify_unsecured": verify_unsecured,
    "read_unverified": read_unverified,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "token",
    [
        "",
        "..",
        f"{GOOD_HEADER}.{GOOD_PAYLOAD}",
        f"{GOOD}.",
        f" {GOOD}",
        f"{GOOD}=",
        f"{GOOD_HEADER}.{GOOD_PAYLOAD}.ä",
        f"{RFC7515_UNSECURED}=",
        f"{RFC7515_UNSECURED}A",
        "\ud800",
        '{"payload":"e30","signatures":[]}',
        mac(b'{"alg":"HS256","alg":"HS256"}'),
        mac({"alg": "HS256"}, b'{"sub":"a","sub":"b"}'),
        mac({"alg": "HS256"}, b'{"exp":NaN}'),
        mac({"alg": "HS256"}, b'{"exp":1e999}'),
        mac({"alg": "HS256"}, b'{"sub":"\\ud800"}'),
        mac({"alg": "HS256"}, b"[]"),
        mac({"alg": "HS256"}, b'{"a":' * 1500 + b"1" + b"}" * 1500),
        mac({"alg": "HS256"}, {"fill": "x" * 12_300}),
        unsecured({"fill": "x" * 12_300}, typ="JWT"),
        f"{b64(b'[]')}.{RFC7515_PAYLOAD}.",
        f"{b64(b'none')}.{RFC7515_PAYLOAD}.",
    ],
)
def test_what_no_verifier_would_read_is_malformed_for_every_reader(reader, token):
    with pytest.raises(InvalidSignature, match=r"^malformed token$"):
        READERS[reader](token)


@pytest.mark.parametrize(
    "extension", [{"crit": []}, {"crit": ["b64"], "b64": True}, {"crit": None}, {"b64": False}, {"b64": 0}]
)
def test_critical_extensions_are_refused_however_a_token_is_secured_rfc7515_s4_1_11_rfc7797_s6(extension):
    assert mac_refused(mac({"alg": "HS256", **extension})) == "unsupported header parameter"
    header = b64(json.dumps({"alg": "none", **extension}).encode())
    with pytest.raises(InvalidSignature, match="unsupported header parameter"):
        verify_unsecured(f"{header}.{RFC7515_PAYLOAD}.")


@pytest.mark.parametrize("token", [GOOD, RFC7515_HS256, RFC7515_UNSECURED, GOOD[:-4] + "AAAA"])
def test_token_tells_who_it_claims_to_be_from_whether_or_not_it_is(token):
    header, payload, _ = token.split(".")
    assert read_unverified(token) == (json.loads(unb64(header)), json.loads(unb64(payload)))


def test_header_with_extensions_can_be_read_to_say_what_was_refused():
    assert read_unverified(sign({"alg": "EdDSA", "crit": ["b64"], "b64": False})).header["crit"] == ["b64"]


@settings(max_examples=60, deadline=None, database=None)
@given(
    st.text(max_size=60)
    | st.text("eyJ.", max_size=20)
    | st.builds(mac, st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64"]), JSON), JSON)
    | st.builds("{}.{}.".format, st.text("aAeyJ019-_=", max_size=9), st.just(RFC7515_PAYLOAD))
)
def test_no_text_raises_anything_but_invalid_signature_in_any_reader(token):
    for reader in ("verify_mac", "verify_unsecured"):
        with pytest.raises(InvalidSignature):
            READERS[reader](token)
    assert isinstance(outcome(read_unverified, token, InvalidSignature), Unverified | str)


@settings(max_examples=60, deadline=None, database=None)
@given(st.text(st.characters()), st.text(min_size=32, max_size=80))
def test_no_secret_raises_anything_but_invalid_signature(short, long):
    mac_refused(mac({"alg": "HS256"}), [short, long, "\ud800" * 40])


def test_refusals_never_repeat_the_token_or_a_secret():
    forged = mac({"alg": "HS256"}, secret="x" * 64)
    for read in (lambda: verify_mac(forged, [SECRET], algorithms=["HS256"]), lambda: verify_unsecured(forged)):
        with pytest.raises(InvalidSignature) as refusal:
            read()
        assert refusal.value.__suppress_context__ or refusal.value.__context__ is None
        assert not any(part in str(refusal.value) for part in (*forged.split("."), SECRET))


# Key sets of clients.


@cache
def curve_jwk(curve):
    if curve == "X25519":
        public = x25519.X25519PrivateKey.generate().public_key()
        return {"kty": "OKP", "crv": curve, "x": b64(public.public_bytes_raw())}
    kind = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(), "secp256k1": ec.SECP256K1()}
    numbers = ec.generate_private_key(kind[curve]).public_key().public_numbers()
    octets = (kind[curve].key_size + 7) // 8
    point = {name: b64(getattr(numbers, name).to_bytes(octets, "big")) for name in ("x", "y")}
    return {"kty": "EC", "crv": curve, **point}


def not_usable(jwks):
    with pytest.raises(ValueError, match=r"^Th.*\.$") as refusal:
        usable_keys(jwks)
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None
    return str(refusal.value)


@pytest.mark.parametrize(
    "jwk",
    [
        RFC7515_RSA_KEY,
        RFC7515_EC_KEY,
        RFC8037_KEY,
        *(pair(alg)[1] for alg in ALGORITHMS),
        curve_jwk("P-384"),
        {**curve_jwk("P-521"), "use": "enc", "alg": "ECDH-ES"},
        {**curve_jwk("X25519"), "kid": "x", "key_ops": []},
        {**RFC7515_RSA_KEY, "use": "enc", "alg": "RSA-OAEP-256", "key_ops": ["encrypt"]},
        {**RFC7515_RSA_KEY, "ext": True, "x5c": ["AAAA"]},
    ],
    ids=lambda jwk: "-".join(str(jwk[name]) for name in ("kty", "crv", "use", "alg") if name in jwk),
)
def test_keys_that_verify_or_encrypt_are_usable_as_they_are_rfc7517_s5(jwk):
    assert usable_keys({"keys": [jwk], "more": "members"}) == [jwk]
    assert usable_keys(MappingProxyType({"keys": [MappingProxyType(jwk)]})) == [jwk]


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"},
        {"kty": ["RSA"]},
        {"kty": "oct", "kid": "named only"},
        {"kty": "OKP", "crv": "Ed25519"},
        {**RFC8037_KEY, "crv": "Ed448"},
        {**RFC8037_KEY, "crv": ["Ed25519"]},
        {**RFC8037_KEY, "x": "AAAA"},
        {**RFC8037_KEY, "use": "enc"},
        {**RFC8037_KEY, "key_ops": []},
        {**curve_jwk("X25519"), "use": "sig"},
        {**curve_jwk("P-384"), "use": "sig"},
        {**curve_jwk("P-384"), "crv": "X25519"},
        curve_jwk("secp256k1"),
        {**RFC7515_EC_KEY, "y": RFC7515_EC_KEY["x"]},
        {**RFC7515_EC_KEY, "alg": "ES384"},
        {**RFC7515_EC_KEY, "alg": "ECDH-ES+A128KW"},
        {**RFC7515_RSA_KEY, "use": "tls"},
        {**RFC7515_RSA_KEY, "alg": "RSA1_5", "use": "enc"},
        {**RFC7515_RSA_KEY, "alg": "RS256", "use": "enc"},
        {**RFC7515_RSA_KEY, "key_ops": ["sign"]},
        {**RFC7515_RSA_KEY, "e": "AA"},
        rsa_jwk(1024)[1],
    ],
)
def test_key_that_is_good_for_nothing_here_is_ignored_beside_others_rfc7517_s5(jwk):
    assert usable_keys({"keys": [jwk, RFC7515_EC_KEY, jwk]}) == [RFC7515_EC_KEY]
    not_usable({"keys": [jwk]})


@pytest.mark.parametrize(
    "jwks",
    [
        {},
        [],
        None,
        "keys",
        RFC7515_RSA_KEY,
        [RFC7515_RSA_KEY],
        {"keys": None},
        {"keys": RFC7515_RSA_KEY},
        {"keys": "text"},
        {"keys": [RFC7515_RSA_KEY, None]},
        {"keys": [[RFC7515_RSA_KEY]]},
        {"Keys": [RFC7515_RSA_KEY]},
    ],
)
def test_document_that_is_no_jwk_set_is_refused_rfc7517_s5(jwks):
    assert not_usable(jwks) == "This is not a JWK Set."


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"])
@pytest.mark.parametrize("jwk", [RFC7515_RSA_KEY, RFC7515_EC_KEY, {"kty": "unknown"}])
def test_key_set_that_tells_a_private_key_is_refused_whole_rfc7518_s6(jwk, member):
    for value in ("AAAA", "", None):
        assert not_usable({"keys": [RFC8037_KEY, {**jwk, member: value}]}) == (
            "The JWK Set holds private or symmetric keys."
        )


def test_key_set_with_a_symmetric_key_is_refused_rfc7517_s5():
    symmetric = {"kty": "oct", "k": RFC7515_OCTETS}
    assert not_usable({"keys": [RFC8037_KEY, symmetric]}) == "The JWK Set holds private or symmetric keys."
    assert not_usable({"keys": [symmetric, {"kty": "oct"}]}) == "The JWK Set holds only symmetric keys."


def test_key_set_holds_fifty_keys_and_no_more():
    assert len(usable_keys({"keys": [RFC8037_KEY] * 50})) == 50
    assert not_usable({"keys": [RFC8037_KEY] * 51}) == "The JWK Set holds more than 50 keys."


def test_key_set_without_a_usable_key_is_refused():
    for keys in ([], [{}], [rsa_jwk(1024)[1]]):
        assert not_usable({"keys": keys}) == "The JWK Set holds no usable key."


@pytest.mark.parametrize(
    "jwk", [{}, {"kty": "oct", "k": "AAAA"}, {"kty": "EC"}, {**RFC7515_EC_KEY, "y": ["a"]}, rsa_jwk(1024)[1]]
)
def test_key_that_cannot_be_imported_is_refused_without_a_reason(jwk):
    with pytest.raises(ValueError, match=r"^not a usable key$") as refusal:
        public_key(jwk)
    assert refusal.value.__suppress_context__


@settings(max_examples=60, deadline=None, database=None)
@given(
    st.sampled_from([RFC8037_KEY, RFC7515_EC_KEY, RFC7515_RSA_KEY, {}]),
    st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "use", "key_ops", "alg", "kid", "d"]), JSON),
)
def test_no_key_makes_a_key_set_raise_anything_but_a_sentence(jwk, members):
    broken = {**jwk, **members}
    result = outcome(usable_keys, {"keys": [broken]}, ValueError)
    assert result == [broken] or str(result).startswith("The JWK Set holds ")


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_keys_of_this_server_would_be_usable_keys_of_a_client(alg):
    jwk = pair(alg)[1]
    assert verify(signer(alg).sign(CLAIMS, typ="JWT"), usable_keys({"keys": [jwk]}), algorithms=[alg]).claims == CLAIMS


def test_the_fully_specified_name_of_eddsa_means_the_same_rfc9864_s2_2():
    private, public = pair("EdDSA")
    token = sign({"alg": "Ed25519", "kid": public["kid"]}, private=private)
    for jwk in (public, {**public, "alg": "Ed25519"}):
        assert verify(token, [jwk], algorithms=["EdDSA"]).header["alg"] == "EdDSA"
    with pytest.raises(InvalidSignature):
        verify(token, [public], algorithms=["ES256"])
    with pytest.raises(InvalidSignature):
        verify(sign({"alg": "Ed448"}, private=private), [public], algorithms=["EdDSA"])
