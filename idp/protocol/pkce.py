"""Proof Key for Code Exchange (RFC 7636), S256 only, checked at the authorization endpoint already."""

import re
from base64 import urlsafe_b64encode
from hashlib import sha256
from hmac import compare_digest

from idp.domain.client import Client
from idp.protocol.errors import InvalidGrant, InvalidRequest
from idp.protocol.parameters import Parameters

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def check_code_challenge(client: Client, params: Parameters) -> str | None:
    """Return the code challenge (RFC 7636 §4.3); None where the client may do without and did.

    Raises:
        InvalidRequest: it is missing while required, malformed, or its method is not S256.
    """
    challenge = params.get("code_challenge")
    method = params.get("code_challenge_method")
    if challenge is None:
        if method is not None:
            raise InvalidRequest("code_challenge_method was sent without code_challenge.")
        if client.require_pkce or client.public:
            raise InvalidRequest("PKCE is required: send code_challenge and code_challenge_method=S256.")
        return None
    if method != "S256":
        # §4.3 reads an omitted method as plain, which RFC 9700 §2.1.1 advises against.
        raise InvalidRequest("Only code_challenge_method=S256 is supported.")
    if _CHALLENGE.fullmatch(challenge) is None:
        raise InvalidRequest("code_challenge must be 43 characters of base64url: the SHA-256 of the verifier.")
    return challenge


def check_code_verifier(challenge: str | None, verifier: str | None) -> None:
    """Check the verifier against the stored challenge (RFC 7636 §4.6).

    Raises:
        InvalidGrant: it is missing or wrong, or was sent though there was no challenge (RFC 9700 §4.8.2).
    """
    if challenge is None:
        if verifier is not None:
            raise InvalidGrant("A code_verifier was sent, but the authorization request had no code_challenge.")
        return
    if verifier is None:
        raise InvalidGrant("The code_verifier is missing.")
    if _VERIFIER.fullmatch(verifier) is None:
        raise InvalidGrant("The code_verifier must be 43 to 128 unreserved characters.")
    derived = urlsafe_b64encode(sha256(verifier.encode("ascii")).digest()).rstrip(b"=")
    if not compare_digest(derived, challenge.encode("ascii")):
        raise InvalidGrant("The code_verifier does not match the code_challenge.")
