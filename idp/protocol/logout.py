"""RP-initiated and front-channel logout (OpenID Connect RP-Initiated Logout 1.0, Front-Channel Logout 1.0)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from idp.domain.client import Client
from idp.domain.origin import origin_of
from idp.domain.session import Session
from idp.protocol.authorization_response import with_query
from idp.protocol.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class LogoutHint:
    """An id_token_hint whose signature was verified: for which client, user and session it was issued.

    User and session are called as the client knows them, which may be its sector's own way (Core §8.1).
    """

    client_id: str
    sub: str
    sid: str | None


@dataclass(frozen=True, slots=True)
class LogoutDecision:
    """What a logout request comes to.

    `confirmed` when the user need not be asked; `ending` are the sessions that end then, or once the user has agreed.
    `location` is where the browser may go on to afterwards: by itself when the request was `meant` for a session of
    ours, else only as a link on our page.
    """

    confirmed: bool
    ending: tuple[Session, ...]
    location: str | None
    meant: bool


def read_logout_hint(claims: Mapping[str, Any], *, issuer: str) -> LogoutHint:
    """Return what a verified ID token says; expired ones count (§4).

    Raises:
        InvalidRequest: it is not one of ours.
    """
    client_id, sub, sid = claims.get("aud"), claims.get("sub"), claims.get("sid")
    # Signed answers of userinfo bear no time, which every ID token does (OpenID Connect Core §2).
    is_id_token = isinstance(claims.get("iat"), int)
    if claims.get("iss") != issuer or not isinstance(client_id, str) or not isinstance(sub, str) or not is_id_token:
        raise InvalidRequest("The id_token_hint was not issued here.")
    return LogoutHint(client_id, sub, sid if isinstance(sid, str) else None)


def decide_logout(
    *,
    client: Client | None,
    hint: LogoutHint | None,
    sessions: Sequence[Session],
    hint_of: Callable[[Session], LogoutHint | None],
    post_logout_redirect_uri: str | None,
    state: str | None,
) -> LogoutDecision:
    """Decide whether to ask, what ends, and where to go (RP-Initiated Logout §2, §3).

    `sessions` are those of the browser, `hint_of` tells what the client's hint of one of them says. A hint of one of
    them ends exactly that one. Without a hint, or with one of another session, the user is asked about all of them and
    stays here: anybody can name a client. Where nobody is signed in, a hint of whichever session leads back.

    Raises:
        InvalidRequest: the URI is not registered for the client; shown as a page, never a redirect.
    """
    location = None
    if post_logout_redirect_uri is not None and (client is not None or hint is not None):
        registered = () if client is None else client.post_logout_redirect_uris
        if post_logout_redirect_uri not in registered:
            raise InvalidRequest("post_logout_redirect_uri is not registered for this client.")
        location = post_logout_redirect_uri if state is None else with_query(post_logout_redirect_uri, {"state": state})
    hinted = tuple(session for session in sessions if hint is not None and hint_of(session) == hint)
    if hinted:
        return LogoutDecision(confirmed=True, ending=hinted, location=location, meant=True)
    nobody = not sessions
    return LogoutDecision(
        confirmed=nobody, ending=tuple(sessions), location=location, meant=nobody and hint is not None
    )


def frontchannel_logout_address(client: Client, *, issuer: str, sid: str) -> str | None:
    """Return what a frame has to load so that the client ends its session (Front-Channel Logout §3).

    `iss` and `sid` are always sent, whether or not the client requires them. None where the client is not told so.
    """
    uri = client.frontchannel_logout_uri
    if not client.active or uri is None or origin_of(uri) is None:
        return None
    return with_query(uri, {"iss": issuer, "sid": sid})
