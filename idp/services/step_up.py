"""A second factor within an authorization request (RFC 9470): who is asked for it, and who would rather not."""

from dataclasses import dataclass

from idp.domain.clock import Clock
from idp.domain.interaction import Interaction
from idp.protocol.authorization_request import AuthorizationRequest
from idp.protocol.authorization_response import Refused
from idp.protocol.errors import AccessDenied, UnmetAuthenticationRequirements
from idp.protocol.prompt import Step
from idp.services.authorization import Authorization
from idp.services.authorization_answer import InteractionGone
from idp.services.sessions import Accounts, SignedIn
from idp.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whose second factor a request asks for."""

    request: AuthorizationRequest
    signed_in: SignedIn


class StepUp:
    """Looks after authorization requests that ask for a second factor."""

    def __init__(self, store: Store, authorization: Authorization, clock: Clock) -> None:
        self._store = store
        self._authorization = authorization
        self._clock = clock

    async def asked(self, handle: str, accounts: Accounts) -> Asked | None:
        """Return whom the request waits for; None where it waits for nothing of the kind.

        Raises:
            InteractionGone, UnknownClient, RedirectUriRefused, Refused: as for `Authorization.resume`.
        """
        pending = await self._authorization.pending(handle)
        progress = await self._authorization.progress(pending.request, accounts, pending.interaction)
        if progress.step is not Step.STEP_UP or progress.signed_in is None:
            return None
        return Asked(request=progress.request, signed_in=progress.signed_in)

    async def decline(self, handle: str) -> None:
        """Answer the application that the person does not prove more than they did.

        Raises:
            Refused: always, or why it cannot be answered; answered by redirect.
            InteractionGone, UnknownClient, RedirectUriRefused: as for `Authorization.resume`.
        """
        pending = await self._authorization.pending(handle)
        if not await self._store.commit.consume(Interaction, pending.interaction.hash, now=self._clock()):
            raise InteractionGone(pending.interaction.client_id)
        essential = bool(pending.request.claims.essential_acr)
        raise Refused(pending.request.reply, UnmetAuthenticationRequirements() if essential else AccessDenied())
