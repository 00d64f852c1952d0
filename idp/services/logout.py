"""RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0), and whom a sign-out reaches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from idp.domain.client import Client
from idp.domain.clock import Clock
from idp.domain.session import Session
from idp.protocol.errors import InvalidRequest
from idp.protocol.logout import LogoutDecision, LogoutHint, decide_logout, frontchannel_logout_address
from idp.protocol.parameters import Parameters
from idp.services.backchannel_logout import is_told
from idp.services.clients import Clients
from idp.services.hints import Hints
from idp.services.sessions import Accounts, Sessions
from idp.services.subjects import Subjects


@dataclass(frozen=True, slots=True)
class LogoutRequest:
    """A checked request: what was decided, and for which application, if any."""

    decision: LogoutDecision
    client: Client | None


@dataclass(frozen=True, slots=True)
class SignedOut:
    """Whom a sign-out reaches: the names of applications that are told, and the frames that tell some of them.

    A frame is an address to be loaded in the browser (Front-Channel Logout §3); the rest is told server to server.
    """

    applications: tuple[str, ...]
    frames: tuple[str, ...]


class Logout:
    """Ends the browser's sessions, asking first unless the application proved that it means one of them."""

    def __init__(
        self, clients: Clients, sessions: Sessions, hints: Hints, subjects: Subjects, clock: Clock, *, issuer: str
    ) -> None:
        self._clients = clients
        self._sessions = sessions
        self._hints = hints
        self._subjects = subjects
        self._clock = clock
        self._issuer = issuer

    async def check(self, params: Parameters, accounts: Accounts, cookies: Sequence[str]) -> LogoutRequest:
        """Decide what to do; nothing is ended yet.

        Only what the session `cookies` of the browser open can end: ID tokens lie in logs and histories, and whoever
        finds one must not sign anybody out with it.

        Raises:
            InvalidRequest: the hint is not ours, or the redirect is not registered; shown as a page.
        """
        params.check_single()
        hint = await self._hints.read(params.get("id_token_hint"))
        client_id = params.get("client_id")
        if hint is not None and client_id is not None and client_id != hint.client_id:
            raise InvalidRequest("client_id differs from the client of the id_token_hint.")
        named = hint.client_id if hint is not None else client_id
        client = await self._clients.find(named) if named is not None else None

        def hint_of(session: Session) -> LogoutHint | None:
            if client is None:
                return None
            sub = self._subjects.of(client, session.user_id)
            return LogoutHint(client.client_id, sub, self._subjects.sid(client, session.id))

        decision = decide_logout(
            client=client,
            hint=hint,
            sessions=[account.session for account in accounts.all],
            hint_of=hint_of,
            post_logout_redirect_uri=params.get("post_logout_redirect_uri"),
            state=params.get("state"),
        )
        if hint is not None and not accounts.all:
            # Gone idle meanwhile: it signs nobody in any more, but what hangs on it may still live.
            idle = await self._sessions.of_cookies(cookies)
            decision = replace(decision, ending=tuple(session for session in idle if hint_of(session) == hint))
        return LogoutRequest(decision, client)

    async def end(self, ending: Sequence[Session]) -> SignedOut:
        """End sessions, and say whom that reaches: those that are told server to server are told from now on."""
        applications, frames = [], []
        for session in ending:
            for client in await self._sessions.end(session, now=self._clock()):
                sid = self._subjects.sid(client, session.id)
                frame = frontchannel_logout_address(client, issuer=self._issuer, sid=sid)
                if frame is not None:
                    frames.append(frame)
                if frame is not None or is_told(client):
                    applications.append(client.client_name)
        return SignedOut(applications=tuple(dict.fromkeys(applications)), frames=tuple(frames))
