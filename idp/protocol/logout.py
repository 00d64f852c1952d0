"""RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from idp.domain.client import Client
from idp.domain.session import Session
from idp.protocol.authorization_response import with_query
from idp.protocol.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class LogoutHint:
    """An id_token_hint whose signature was verified: for which client, user and session it was issued."""

    client_id: str
    sub: str
    sid: str | None


@dataclass(frozen=True, slots=True)
class LogoutDecision:
    """`confirmed` when the user need not be asked; `location` where the browser goes afterwards, None for our page."""

    confirmed: bool
    location: str | None


def read_logout_hint(claims: Mapping[str, Any], *, issuer: str) -> LogoutHint:
    """Return what a verified ID token says; expired ones count (§4).

    Raises:
        InvalidRequest: it is not one of ours.
    """
    client_id, sub, sid = claims.get("aud"), claims.get("sub"), claims.get("sid")
    if claims.get("iss") != issuer or not isinstance(client_id, str) or not isinstance(sub, str):
        raise InvalidRequest("The id_token_hint was not issued here.")
    return LogoutHint(client_id, sub, sid if isinstance(sid, str) else None)


def decide_logout(
    *,
    client: Client | None,
    hint: LogoutHint | None,
    session: Session | None,
    post_logout_redirect_uri: str | None,
    state: str | None,
) -> LogoutDecision:
    """Decide whether to ask, and where to go (§2, §3).

    Without a hint, or with one of another session, the user is asked and stays here: anybody can name a client. Where
    nobody is signed in, a hint of whichever session leads back.

    Raises:
        InvalidRequest: the URI is not registered for the client; shown as a page, never a redirect.
    """
    if post_logout_redirect_uri is not None and (client is not None or hint is not None):
        registered = () if client is None else client.post_logout_redirect_uris
        if post_logout_redirect_uri not in registered:
            raise InvalidRequest("post_logout_redirect_uri is not registered for this client.")
    meant = hint is not None and (session is None or (hint.sub == session.user_id and hint.sid == session.id))
    location = None
    if meant and post_logout_redirect_uri is not None:
        location = post_logout_redirect_uri if state is None else with_query(post_logout_redirect_uri, {"state": state})
    return LogoutDecision(confirmed=session is None or meant, location=location)
