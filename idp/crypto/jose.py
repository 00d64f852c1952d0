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
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey, thumbprint
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

_PUBLIC_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_GENERATORS: dict[SigningAlgorithm, Callable[[], RSAKey | ECKey | OKPKey]] = {
    SigningAlgorithm.RS256: lambda: RSAKey.generate_key(2048),
    SigningAlgorithm.PS256: lambda: RSAKey.generate_key(2048),
    SigningAlgorithm.ES256: lambda: ECKey.generate_key("P-256"),
    SigningAlgorithm.EDDSA: lambda: OKPKey.generate_key("Ed25519"),
}
# joserfc files "none" and HMAC under the key type "oct", which is no public key: neither can ever be chosen here.
_MODELS = {name: model for name, model in JWSRegistry.algorithms.items() if model.key_type in _PUBLIC_MEMBERS}


class InvalidSignature(Exception):
    """The token is malformed, or none of the keys signed it with an accepted algorithm."""


class Verified(NamedTuple):
    """What a trusted key signed; whether the claims say the right things is not decided yet."""

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
    try:
        if len(token) > _MAX_TOKEN_CHARS:
            raise ValueError
        protected, payload, signature = token.encode("ascii").split(b".")
        header, claims, signature_bytes = _decode(protected), _decode(payload), urlsafe_b64decode(signature)
    except (ValueError, RecursionError):
        raise InvalidSignature("malformed token") from None
    # No extension is understood here, so none may be critical (RFC 7515 §4.1.11, RFC 7797 §6).
    if "crit" in header or header.get("b64", True) is not True:
        raise InvalidSignature("unsupported header parameter")
    alg, kid = header.get("alg"), header.get("kid", "")
    if not isinstance(alg, str) or alg not in algorithms or alg not in _MODELS:
        raise InvalidSignature("algorithm not accepted")
    if not isinstance(kid, str):
        raise InvalidSignature("malformed token")
    fitting = [jwk for jwk in keys if _fits(jwk, alg)]
    named = [jwk for jwk in fitting if kid and jwk.get("kid") == kid]
    signing_input = protected + b"." + payload
    for jwk in (named or fitting)[:_MAX_KEYS_TRIED]:
        if _signed_by(jwk, _MODELS[alg], signing_input, signature_bytes):
            return Verified(header, claims)
    raise InvalidSignature("not signed by any of the keys")


def left_half_hash(token: str, alg: str) -> str:
    """The `at_hash` or `c_hash` of a token (OpenID Connect Core §3.3.2.11) for an ID token signed with `alg`.

    Raises:
        ValueError: the algorithm names no hash.
    """
    name = _HASHES.get(alg)
    if name is None:
        raise ValueError(f"{alg} names no hash")
    digest = hashlib.new(name, token.encode("ascii")).digest()
    return _base64url(digest[: len(digest) // 2]).decode("ascii")


def _fits(jwk: Mapping[str, Any], alg: str) -> bool:
    return (
        isinstance(jwk, Mapping)
        and jwk.get("kty") == _MODELS[alg].key_type
        # RFC 7517 §4.2–4.4: a key may say what it is for.
        and jwk.get("use", "sig") == "sig"
        and jwk.get("alg", alg) == alg
        and ("key_ops" not in jwk or (isinstance(jwk["key_ops"], list) and "verify" in jwk["key_ops"]))
        # EdDSA stands for Ed25519 alone (FAPI 2.0 §5.4.1); left_half_hash relies on it.
        and (alg != "EdDSA" or jwk.get("crv") == "Ed25519")
    )


def _signed_by(jwk: Mapping[str, Any], model: JWSAlgModel, signing_input: bytes, signature: bytes) -> bool:
    try:
        # Only the public members: importing a private RSA key takes as long as hundreds of verifications.
        key = _import_public(model.key_type, *(jwk[name] for name in _PUBLIC_MEMBERS[model.key_type]))
        model.check_key(key)
        return model.verify(signing_input, signature, key)
    except (JoseError, KeyError, TypeError, ValueError, UnsupportedAlgorithm):
        # A client's key set may hold anything; what is no usable key has signed nothing.
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
