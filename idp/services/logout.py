"""RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0)."""

from dataclasses import dataclass

from idp.domain.client import Client
from idp.domain.clock import Clock
from idp.protocol.errors import InvalidRequest
from idp.protocol.logout import LogoutDecision, LogoutHint, decide_logout
from idp.protocol.parameters import Parameters
from idp.services.authorization import Authorization
from idp.services.clients import Clients
from idp.services.sessions import Sessions, SignedIn


@dataclass(frozen=True, slots=True)
class LogoutRequest:
    """A checked request: what was decided, and for which application, if any."""

    decision: LogoutDecision
    client: Client | None
    hint: LogoutHint | None


class Logout:
    """Ends the browser's session, asking first unless the application proved that it means this session."""

    def __init__(self, clients: Clients, sessions: Sessions, authorization: Authorization, clock: Clock) -> None:
        self._clients = clients
        self._sessions = sessions
        self._authorization = authorization
        self._clock = clock

    async def check(self, params: Parameters, signed_in: SignedIn | None) -> LogoutRequest:
        """Decide what to do; nothing is ended yet.

        Raises:
            InvalidRequest: the hint is not ours, or the redirect is not registered; shown as a page.
        """
        params.check_single()
        hint = await self._authorization.hint(params.get("id_token_hint"))
        client_id = params.get("client_id")
        if hint is not None and client_id is not None and client_id != hint.client_id:
            raise InvalidRequest("client_id differs from the client of the id_token_hint.")
        named = hint.client_id if hint is not None else client_id
        client = await self._clients.find(named) if named is not None else None
        decision = decide_logout(
            client=client,
            hint=hint,
            session=None if signed_in is None else signed_in.session,
            post_logout_redirect_uri=params.get("post_logout_redirect_uri"),
            state=params.get("state"),
        )
        return LogoutRequest(decision, client, hint)

    async def end(self, request: LogoutRequest, signed_in: SignedIn | None) -> None:
        """End the browser's session; where it has gone idle meanwhile, the one that the hint names."""
        hint = request.hint
        if signed_in is not None:
            await self._sessions.end(signed_in.session, now=self._clock())
        elif hint is not None and hint.sid is not None:
            session = await self._sessions.find_by_id(hint.sid)
            if session is not None and session.user_id == hint.sub:
                await self._sessions.end(session, now=self._clock())
