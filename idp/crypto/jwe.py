"""Encrypted tokens: JWE compact serialization of signed ones (RFC 7516 §3.1, RFC 7519 §5.2; RFC 7518 §4.3, §4.6)."""

from collections.abc import Mapping, Sequence
from typing import Any

from joserfc.jwe import encrypt_compact

from idp.crypto.jose import is_usable, public_key

ENCRYPTION_ALGS = ("RSA-OAEP-256", "ECDH-ES")
ENCRYPTION_ENCS = ("A128GCM", "A256GCM")


class CannotEncrypt(Exception):
    """The client's key set has no key for this."""


def encryption_key(keys: Sequence[Mapping[str, Any]], alg: str) -> Mapping[str, Any] | None:
    """Return the first key that tokens can be encrypted to with `alg`, None when there is none.

    RSA-OAEP-256 takes RSA keys of 2048 bits or more, ECDH-ES those on P-256, P-384, P-521 and X25519, unless their
    `use`, `alg` or `key_ops` say that they are for something else (RFC 7517 §4.2–4.4).
    """
    if alg not in ENCRYPTION_ALGS:
        return None
    return next((jwk for jwk in keys if is_usable(jwk, alg, use="enc")), None)


def encrypt(token: str, keys: Sequence[Mapping[str, Any]], *, alg: str, enc: str, cty: str = "JWT") -> str:
    """Return a compact JWE (RFC 7516 §7.1) that only the owner of one of the public keys can read.

    The content is a signed JWT (nested, OpenID Connect Core §10.2) unless `cty` says otherwise. It is never
    compressed: lengths would tell about the content (RFC 8725 §3.6).

    Raises:
        CannotEncrypt: no key fits `alg`, or `alg` or `enc` is not on offer.
    """
    jwk = encryption_key(keys, alg)
    if jwk is None or enc not in ENCRYPTION_ENCS:
        raise CannotEncrypt("no key to encrypt to")
    header = {"alg": alg, "enc": enc, "cty": cty}
    kid = jwk.get("kid")
    if isinstance(kid, str):
        header["kid"] = kid
    try:
        return encrypt_compact(header, token, public_key(jwk), algorithms=[alg, enc])
    except ValueError:
        # A key can be well-formed and yet useless, such as a point of small order (RFC 7748 §6.1).
        raise CannotEncrypt("no key to encrypt to") from None
