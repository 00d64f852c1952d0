"""Random tokens and their hashes (RFC 6749 §10.10, RFC 9700 §4.14.2)."""

import base64
import hashlib
import hmac
import secrets

# Read aloud on the telephone: no 0/O, no 1/I/L, no U.
_REFERENCE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"


def mint_token() -> str:
    """A bearer secret: 256 random bits as 43 base64url characters."""
    return secrets.token_urlsafe(32)


def mint_id(prefix: str) -> str:
    """An identifier that cannot be guessed or collide: the prefix, `_` and 96 random bits in hexadecimal."""
    return f"{prefix}_{secrets.token_hex(12)}"


def mint_reference() -> str:
    """A reference that leads from an error page to the log, such as `K7Q2-M9XD`."""
    letters = "".join(secrets.choice(_REFERENCE_ALPHABET) for _ in range(8))
    return f"{letters[:4]}-{letters[4:]}"


def read_reference(text: str) -> str | None:
    """Return a reference as it was minted, however it was typed; None when it cannot be one."""
    letters = text.replace("-", "").replace(" ", "").upper()
    if len(letters) != 8 or not set(letters) <= set(_REFERENCE_ALPHABET):
        return None
    return f"{letters[:4]}-{letters[4:]}"


def mint_recovery_code() -> str:
    """A code to be written down, such as `K7Q2M-9XD4T`: 49 random bits, which no limited guessing finds."""
    letters = "".join(secrets.choice(_REFERENCE_ALPHABET) for _ in range(10))
    return f"{letters[:5]}-{letters[5:]}"


def hash_token(token: str) -> str:
    """The hex SHA-256 under which a token of full entropy is stored and found."""
    return hashlib.sha256(_bytes(token)).hexdigest()


def mac(key: bytes, text: str) -> str:
    """The hex HMAC-SHA-256 under which short or chosen secrets are stored."""
    return hmac.digest(key, _bytes(text), "sha256").hex()


def derive_successor(key: bytes, token: str) -> str:
    """The refresh token that follows `token`: always the same one, so that a retried rotation changes nothing."""
    return base64.urlsafe_b64encode(hmac.digest(key, _bytes(token), "sha256")).rstrip(b"=").decode()


def same(a: str, b: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(_bytes(a), _bytes(b))


def _bytes(text: str) -> bytes:
    # Requests can carry lone surrogates; they are wrong secrets, not crashes.
    return text.encode("utf-8", "surrogatepass")
