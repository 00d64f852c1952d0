"""Signed tokens: JWS compact serialization (RFC 7515), JWK (RFC 7517), their algorithms (RFC 7518, RFC 8037)."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from joserfc.errors import JoseError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import ECKey, JWKRegistry, OctKey, OKPKey, RSAKey, thumbprint
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode

from idp.domain.signing_key import SigningAlgorithm

_MAX_TOKEN_CHARS = 16 * 1024
# A key set of thousands must not make one request verify thousands of times.
_MAX_KEYS_TRIED = 16
# The hash inside each signature algorithm; Ed25519's is SHA-512 (RFC 8032 §5.1).
_HASHES = {"RS256": "sha256", "PS256": "sha256", "ES256": "sha256", "EdDSA": "sha512"}
_MIN_RSA_BITS = 2048
# 8192 bits in base64url; and an exponent of 64 bits. Beyond, one verification takes noticeable time.
_MAX_MEMBER_CHARS = 1366
_MAX_EXPONENT_CHARS = 11
_MAX_KEYS_IN_SET = 50

MAC_ALGORITHMS: tuple[str, ...] = ("HS256", "HS384", "HS512")

_PUBLIC_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
# RFC 7518 §6.2.2, §6.3.2, §6.4.1 and RFC 8037 §2; "priv" is that of AKP keys (ML-DSA).
_PRIVATE_MEMBERS = ("d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv")
_GENERATORS: dict[SigningAlgorithm, Callable[[], RSAKey | ECKey | OKPKey]] = {
    SigningAlgorithm.RS256: lambda: RSAKey.generate_key(2048),
    SigningAlgorithm.PS256: lambda: RSAKey.generate_key(2048),
    SigningAlgorithm.ES256: lambda: ECKey.generate_key("P-256"),
    SigningAlgorithm.EDDSA: lambda: OKPKey.generate_key("Ed25519"),
}
# joserfc files "none" and HMAC under the key type "oct", which is no public key: neither can ever be chosen here.
_MODELS = {name: model for name, model in JWSRegistry.algorithms.items() if model.key_type in _PUBLIC_MEMBERS}
_MACS = {name: JWSRegistry.algorithms[name] for name in MAC_ALGORITHMS}
# What public keys are asked for: the algorithms that clients can register, by the `use` of the key (RFC 7517 §4.2).
_ALGORITHMS_BY_USE = {"sig": tuple(SigningAlgorithm), "enc": ("RSA-OAEP-256", "ECDH-ES")}
_OPERATIONS = {"sig": ("verify",), "enc": ("encrypt", "wrapKey", "deriveKey", "deriveBits")}
_KEY_TYPES = {name: (model.key_type,) for name, model in _MODELS.items()} | {
    "RSA-OAEP-256": ("RSA",),
    "ECDH-ES": ("EC", "OKP"),
}
_CURVES = {
    "ES256": ("P-256",),
    # EdDSA stands for Ed25519 alone (FAPI 2.0 §5.4.1); left_half_hash relies on it.
    "EdDSA": ("Ed25519",),
    "ECDH-ES": ("P-256", "P-384", "P-521", "X25519"),
}
# Texts by which everybody can tell a public key from a secret.
_KEY_MARKERS = ("BEGIN ", "ssh-rsa ", "ssh-dss ", "ssh-ed25519 ", "ecdsa-sha2-")


# What RFC 9864 §2.2 calls EdDSA with Ed25519, which is all that EdDSA ever means here: newer clients write this.
_FULLY_SPECIFIED_EDDSA = "Ed25519"


class InvalidSignature(Exception):
    """The token is malformed, or none of the keys signed it with an accepted algorithm."""


class Verified(NamedTuple):
    """What a trusted key signed; whether the claims say the right things is not decided yet."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]


class Unverified(NamedTuple):
    """What a token says of itself; anybody can have written it. It serves to find a key: never trust it."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]


class Signer:
    """Signs tokens with one private key, which is parsed once (36 ms for RSA)."""

    def __init__(self, kid: str, alg: SigningAlgorithm, private_key: bytes) -> None:
        self.kid = kid
        self.alg = alg
        self._model = _MODELS[alg]
        self._key = JWKRegistry.import_key(private_key, self._model.key_type)
        self._model.check_key(self._key)
        self._headers: dict[str, bytes] = {}

    def sign(self, claims: Mapping[str, Any], *, typ: str) -> str:
        """Return the claims as a compact JWS with the header parameters `alg`, `kid` and `typ`."""
        header = self._headers.get(typ)
        if header is None:
            header = self._headers[typ] = _encode({"alg": self.alg, "kid": self.kid, "typ": typ})
        signing_input = header + b"." + _encode(claims)
        return (signing_input + b"." + _base64url(self._model.sign(signing_input, self._key))).decode("ascii")


def generate_key(alg: SigningAlgorithm) -> tuple[bytes, dict[str, Any]]:
    """Make a key pair: the private half as PKCS #8 DER, the public half as JWK named by its thumbprint (RFC 7638)."""
    key = _GENERATORS[alg]()
    public: dict[str, Any] = {"kty": key.key_type}
    public |= {member: key[member] for member in _PUBLIC_MEMBERS[key.key_type]}
    return key.as_der(private=True), {**public, "use": "sig", "alg": str(alg), "kid": thumbprint(public)}


def verify(token: str, keys: Sequence[Mapping[str, Any]], *, algorithms: Sequence[str]) -> Verified:
    """Check the signature of a compact JWS with a JSON object inside, against public keys.

    The key is chosen by `kid`. Without one, or where no key bears it, every key that fits the algorithm is tried,
    since `kid` is only a hint (RFC 7515 §4.1.4). Private members of a key are ignored.

    Raises:
        InvalidSignature: for whatever reason; nothing else is ever raised for any `token` or content of `keys`.
    """
    jws = _read(token)
    model = _accepted(jws.header, algorithms, _MODELS)
    kid = jws.header.get("kid", "")
    if not isinstance(kid, str):
        raise InvalidSignature("malformed token")
    fitting = [jwk for jwk in keys if _fits(jwk, model.name, "sig")]
    named = [jwk for jwk in fitting if kid and jwk.get("kid") == kid]
    for jwk in (named or fitting)[:_MAX_KEYS_TRIED]:
        if _signed_by(jwk, model, jws):
            return Verified(jws.header, jws.claims)
    raise InvalidSignature("not signed by any of the keys")


def verify_mac(token: str, secrets: Sequence[str], *, algorithms: Sequence[str]) -> Verified:
    """Check the MAC of a compact JWS, made with any of the shared secrets (RFC 7515 §3.2, OpenID Connect Core §10.1).

    A secret that is shorter than the hash (RFC 7518 §3.2), or is the text of a public key (RFC 8725 §2.1), is passed
    over.

    Raises:
        InvalidSignature: for whatever reason, be it no secret that fits.
    """
    jws = _read(token)
    model = _accepted(jws.header, algorithms, _MACS)
    keys = [key for secret in secrets if (key := _mac_key(secret, model)) is not None]
    if not keys:
        raise InvalidSignature("no secret is fit for this algorithm")
    for key in keys:
        if model.verify(jws.signing_input, jws.signature, key):
            return Verified(jws.header, jws.claims)
    raise InvalidSignature("not made with any of the secrets")


def verify_unsecured(token: str) -> Verified:
    """Read a token that is not signed, where a client registered exactly that (RFC 7515 appendix A.5).

    Raises:
        InvalidSignature: it is malformed, or is or pretends to be signed.
    """
    jws = _read(token)
    _check_extensions(jws.header)
    if jws.header.get("alg") != "none" or jws.signature:
        raise InvalidSignature("not an unsecured token")
    return Verified(jws.header, jws.claims)


def read_unverified(token: str) -> Unverified:
    """Read a compact JWS without checking who made it, as strictly as `verify` reads it.

    Raises:
        InvalidSignature: it is malformed.
    """
    jws = _read(token)
    return Unverified(jws.header, jws.claims)


def unsecured(claims: Mapping[str, Any], *, typ: str) -> str:
    """Return the claims as an unsecured JWS, for clients registered for `none` (OpenID Connect Core §2)."""
    return (_encode({"alg": "none", "typ": typ}) + b"." + _encode(claims) + b".").decode("ascii")


def left_half_hash(token: str, alg: str) -> str:
    """The `at_hash`, `c_hash` or `s_hash` of a value (OpenID Connect Core §3.3.2.11) for a token signed with `alg`.

    A `state` need not be ASCII; it is hashed as UTF-8, which is the same where it is.

    Raises:
        ValueError: the algorithm names no hash.
    """
    name = _HASHES.get(alg)
    if name is None:
        raise ValueError(f"{alg} names no hash")
    digest = hashlib.new(name, token.encode("utf-8")).digest()
    return _base64url(digest[: len(digest) // 2]).decode("ascii")


def usable_keys(jwks: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the keys of a client's JWK Set (RFC 7517 §5) that can verify or encrypt here; others are ignored.

    Raises:
        ValueError: with a fixed sentence, when this is no JWK Set, tells secrets, is too long, or no key is usable.
    """
    keys = jwks.get("keys") if isinstance(jwks, Mapping) else None
    if not isinstance(keys, list) or not all(isinstance(jwk, Mapping) for jwk in keys):
        raise ValueError("This is not a JWK Set.")
    if len(keys) > _MAX_KEYS_IN_SET:
        raise ValueError(f"The JWK Set holds more than {_MAX_KEYS_IN_SET} keys.")
    if keys and all(jwk.get("kty") == "oct" for jwk in keys):
        raise ValueError("The JWK Set holds only symmetric keys.")
    if any(member in jwk for jwk in keys for member in _PRIVATE_MEMBERS):
        raise ValueError("The JWK Set holds private or symmetric keys.")
    uses = [(use, alg) for use, algorithms in _ALGORITHMS_BY_USE.items() for alg in algorithms]
    usable = [jwk for jwk in keys if any(is_usable(jwk, alg, use=use) for use, alg in uses)]
    if not usable:
        raise ValueError("The JWK Set holds no usable key.")
    return usable


def is_usable(jwk: Mapping[str, Any], alg: str, *, use: str) -> bool:
    """Whether a key is one for `alg` and `use` (RFC 7517 §4.1–4.4), and a sound one (see `public_key`)."""
    if not _fits(jwk, alg, use):
        return False
    try:
        public_key(jwk)
    except ValueError:
        return False
    return True


def public_key(jwk: Mapping[str, Any]) -> RSAKey | ECKey | OKPKey:
    """Import the public half of a key; RSA needs 2048 bits, and a point has to lie on its curve (RFC 7518 §6).

    Raises:
        ValueError: for whatever reason; nothing else is ever raised for any JSON object.
    """
    try:
        # Only the public members: importing a private RSA key takes as long as hundreds of verifications.
        return _import_public(jwk["kty"], *(jwk[name] for name in _PUBLIC_MEMBERS[jwk["kty"]]))
    except (JoseError, KeyError, TypeError, ValueError, UnsupportedAlgorithm):
        raise ValueError("not a usable key") from None


class _Jws(NamedTuple):
    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signing_input: bytes
    signature: bytes


def _read(token: str) -> _Jws:
    try:
        if len(token) > _MAX_TOKEN_CHARS:
            raise ValueError
        protected, payload, signature = token.encode("ascii").split(b".")
        header = _decode(protected)
        if header.get("alg") == _FULLY_SPECIFIED_EDDSA:
            header["alg"] = str(SigningAlgorithm.EDDSA)
        return _Jws(header, _decode(payload), protected + b"." + payload, urlsafe_b64decode(signature))
    except (ValueError, RecursionError):
        raise InvalidSignature("malformed token") from None


def _check_extensions(header: Mapping[str, Any]) -> None:
    # No extension is understood here, so none may be critical (RFC 7515 §4.1.11, RFC 7797 §6).
    if "crit" in header or header.get("b64", True) is not True:
        raise InvalidSignature("unsupported header parameter")


def _accepted(header: Mapping[str, Any], algorithms: Sequence[str], models: Mapping[str, JWSAlgModel]) -> JWSAlgModel:
    _check_extensions(header)
    alg = header.get("alg")
    if not isinstance(alg, str) or alg not in algorithms or alg not in models:
        raise InvalidSignature("algorithm not accepted")
    return models[alg]


def _fits(jwk: Mapping[str, Any], alg: str, use: str) -> bool:
    return (
        isinstance(jwk, Mapping)
        and jwk.get("kty") in _KEY_TYPES[alg]
        # RFC 7517 §4.2–4.4: a key may say what it is for.
        and jwk.get("use", use) == use
        and jwk.get("alg", alg) in ((alg, _FULLY_SPECIFIED_EDDSA) if alg == SigningAlgorithm.EDDSA else (alg,))
        and ("key_ops" not in jwk or _allows(jwk["key_ops"], alg, use))
        and (alg not in _CURVES or jwk.get("crv") in _CURVES[alg])
    )


def _allows(key_ops: Any, alg: str, use: str) -> bool:
    if key_ops == [] and alg == "ECDH-ES":
        # The Web Cryptography API writes a public key for key agreement so, and reads it no other way.
        return True
    return isinstance(key_ops, list) and any(operation in key_ops for operation in _OPERATIONS[use])


def _signed_by(jwk: Mapping[str, Any], model: JWSAlgModel, jws: _Jws) -> bool:
    try:
        key = public_key(jwk)
        model.check_key(key)
        return model.verify(jws.signing_input, jws.signature, key)
    except (JoseError, ValueError, UnsupportedAlgorithm):
        # A client's key set may hold anything; what is no usable key has signed nothing.
        return False


def _mac_key(secret: str, model: JWSAlgModel) -> OctKey | None:
    try:
        octets = secret.encode("utf-8")
        if len(octets) * 8 < model.algorithm_security or _is_public(secret):
            return None
        return OctKey.import_key(octets)
    except ValueError:
        return None


def _is_public(secret: str) -> bool:
    if any(marker in secret for marker in _KEY_MARKERS):
        return True
    try:
        return isinstance(json.loads(secret), dict)
    except (ValueError, RecursionError):
        return False


@lru_cache(maxsize=256)
def _import_public(key_type: str, *values: str) -> RSAKey | ECKey | OKPKey:
    if max(map(len, values)) > _MAX_MEMBER_CHARS:
        raise ValueError("not a usable key")
    members: dict[str, str | list[str]] = {"kty": key_type, **dict(zip(_PUBLIC_MEMBERS[key_type], values, strict=True))}
    if key_type == "EC":
        return ECKey.import_key(members)
    if key_type == "OKP":
        return OKPKey.import_key(members)
    # RSAKey.import_key only warns of a short key.
    raw: RSAPublicKey = RSAKey.binding.import_from_dict(members)
    if raw.key_size < _MIN_RSA_BITS or len(members["e"]) > _MAX_EXPONENT_CHARS:
        raise ValueError("not a usable key")
    return RSAKey(raw, members)


def _refuse(constant: str) -> NoReturn:
    raise ValueError("no JSON number")


def _finite(literal: str) -> float:
    number = float(literal)
    return number if abs(number) != float("inf") else _refuse(literal)


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(members)
    if len(result) != len(members):
        raise ValueError("duplicate member")
    return result


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _decode(segment: bytes) -> dict[str, Any]:
    text = urlsafe_b64decode(segment).decode("utf-8")
    value = _DECODER.decode(text)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    if "\\u" in text:
        # Escapes can smuggle in lone surrogates, which no database or answer can take (RFC 7493 §2.1).
        _ENCODER.encode(value).encode("utf-8")
    return value


def _encode(value: Mapping[str, Any]) -> bytes:
    return _base64url(_ENCODER.encode(dict(value)).encode("utf-8"))


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
