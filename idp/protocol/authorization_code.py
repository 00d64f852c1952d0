"""The authorization code grant at the token endpoint (RFC 6749 §4.1.3)."""

from datetime import datetime

from idp.domain.client import Client
from idp.domain.grant import AuthorizationCode, Grant
from idp.domain.user import User
from idp.protocol.errors import InvalidGrant
from idp.protocol.pkce import check_code_verifier


class CodeReplayed(InvalidGrant):
    """The code was used before: whoever holds it may have stolen it, so its grant is to be revoked (§4.1.2)."""


def redeem_code(
    code: AuthorizationCode,
    grant: Grant,
    user: User,
    client: Client,
    *,
    redirect_uri: str | None,
    code_verifier: str | None,
    now: datetime,
) -> None:
    """Decide whether the code may be exchanged; it still has to be consumed, which only one caller can.

    Raises:
        CodeReplayed: it was used before, by the client it belongs to.
        InvalidGrant: it is another client's, expired, revoked, or does not match redirect_uri or code_verifier.
    """
    if grant.client_id != client.client_id:
        raise InvalidGrant(detail="the code belongs to another client")
    if code.used_at is not None:
        raise CodeReplayed(detail="the code was used before")
    if now >= code.expires_at:
        raise InvalidGrant(detail="the code has expired")
    if not grant.valid(now=now):
        raise InvalidGrant(detail="the grant was revoked or has expired")
    if not user.active:
        raise InvalidGrant(detail="the account is disabled")
    # §4.1.3: required when the authorization request had it, and then identical.
    if code.redirect_uri is not None and redirect_uri != code.redirect_uri:
        raise InvalidGrant("redirect_uri differs from the one in the authorization request.")
    check_code_verifier(code.code_challenge, code_verifier)
