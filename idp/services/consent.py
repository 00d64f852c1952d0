"""Consent (OpenID Connect Core §3.1.2.4): what the page shows, and what was decided on it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from idp.crypto.opaque import hash_token, same
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.consent import LATER, Consent, unasked
from idp.domain.interaction import Interaction
from idp.domain.resource import Resource
from idp.protocol.authorization_request import AuthorizationRequest
from idp.protocol.authorization_response import AuthorizationResponse, Refused
from idp.protocol.errors import AccessDenied
from idp.protocol.lab_consent import LabChoices, decided
from idp.protocol.prompt import consent_tokens
from idp.services.audit import audit_event
from idp.services.authorization import Ask, Authorization, Progress
from idp.services.authorization_answer import InteractionGone
from idp.services.resources import Resources
from idp.services.sessions import Accounts, SignedIn
from idp.store.errors import NotFound
from idp.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentPage:
    """What the consent page shows; `tokens` are as in `consent_tokens`, `given` those already agreed to.

    `later_labs` is whether labs that the user joins later may be told, as far as that was decided.
    """

    request: AuthorizationRequest
    signed_in: SignedIn
    labs: LabChoices
    later_labs: bool
    resources: Mapping[str, Resource]
    tokens: tuple[str, ...]
    given: frozenset[str]

    @property
    def mark(self) -> str:
        """What the answer has to be about: the account, the application, where it goes, and what it may have."""
        return _mark(self.request, self.signed_in, self.labs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer of the consent page, whose `mark` is that of what was shown; `labs` are those that may be told."""

    mark: str
    allowed: bool
    labs: frozenset[str] = frozenset()
    later_labs: bool = False


class ConsentChanged(Exception):
    """What was shown is no longer what would be agreed to: the page is to be shown anew."""


class Consents:
    """Asks users what an application may have, and remembers it."""

    def __init__(self, store: Store, authorization: Authorization, resources: Resources, clock: Clock) -> None:
        self._store = store
        self._authorization = authorization
        self._resources = resources
        self._clock = clock

    async def page(self, handle: str, accounts: Accounts) -> ConsentPage | None:
        """Return what the consent page shows; None when nobody is signed in for this request any more.

        Raises:
            InteractionGone, UnknownClient, RedirectUriRefused, Refused: as for `Authorization.resume`.
        """
        pending = await self._authorization.pending(handle)
        progress = await self._authorization.progress(pending.request, accounts, pending.interaction)
        if progress.signed_in is None:
            return None
        consent = progress.consent
        return ConsentPage(
            request=progress.request,
            signed_in=progress.signed_in,
            labs=progress.labs,
            later_labs=consent is not None and LATER in (consent.labs or {}),
            resources=await self._resources.find_all(progress.request.resources),
            tokens=consent_tokens(progress.request),
            given=frozenset(() if consent is None else consent.scopes),
        )

    async def decide(self, handle: str, accounts: Accounts, decision: Decision) -> AuthorizationResponse | Ask:
        """Take the answer of the consent page and continue.

        Raises:
            ConsentChanged: the client registered otherwise meanwhile, the user's labs are not what they were, or
                another account was chosen in another tab.
            Refused: the user did not allow it; answered by redirect.
            InteractionGone, UnknownClient, RedirectUriRefused: as for `Authorization.resume`.
        """
        pending = await self._authorization.pending(handle)
        progress = await self._authorization.progress(pending.request, accounts, pending.interaction)
        if progress.signed_in is not None:
            if not same(decision.mark, _mark(progress.request, progress.signed_in, progress.labs)):
                raise ConsentChanged
            if not decision.allowed:
                await self._deny(pending.interaction, progress.request, progress.signed_in)
            await self._allow(pending.interaction, progress, progress.signed_in, decision)
        return await self._authorization.resume(handle, accounts)

    async def _deny(self, interaction: Interaction, request: AuthorizationRequest, signed_in: SignedIn) -> None:
        client_id, now = request.client.client_id, self._clock()
        event = audit_event(
            AuditAction.CONSENT_DENIED, actor=signed_in.user.id, target=client_id, now=now, succeeded=False
        )
        if not await self._store.commit.consume(Interaction, interaction.hash, now=now, then=[event]):
            raise InteractionGone(client_id)
        raise Refused(request.reply, AccessDenied("The user did not allow it."))

    async def _allow(
        self, interaction: Interaction, progress: Progress, signed_in: SignedIn, decision: Decision
    ) -> None:
        client_id, user_id, now = progress.request.client.client_id, signed_in.user.id, self._clock()
        tokens = consent_tokens(progress.request)
        async with self._store.write() as tx:
            # The first consent has no row to lock, and the user may press Allow in two tabs at once.
            await tx.users.lock(user_id)
            try:
                present = await tx.interactions.lock(interaction.hash)
            except NotFound:
                # The client was deleted meanwhile, and its requests with it.
                raise InteractionGone(client_id) from None
            await tx.interactions.save(replace(present, user_id=user_id, consented_at=now))
            held = await tx.consents.find(user_id, client_id)
            before = None if held is None else held.labs
            labs = decided(progress.labs, before, ticked=decision.labs, later=decision.later_labs)
            consent = Consent(
                user_id=user_id,
                client_id=client_id,
                scopes=tokens if held is None else tuple(dict.fromkeys((*held.scopes, *tokens))),
                created_at=now if held is None else held.created_at,
                updated_at=now,
                labs=labs,
            )
            await (tx.consents.add(consent) if held is None else tx.consents.save(consent))
            if labs is not None:
                # What is kept back from now on is not told on the strength of earlier answers either.
                kept = unasked(labs) if progress.request.client.trusted else labs
                await tx.grants.narrow_labs(user_id, client_id, kept)
            event = audit_event(
                AuditAction.CONSENT_GIVEN, actor=user_id, target=client_id, now=now, scopes=list(tokens), labs=labs
            )
            await tx.audit_events.add(event)


def _mark(request: AuthorizationRequest, signed_in: SignedIn, labs: LabChoices) -> str:
    client = request.client
    shown = (signed_in.session.id, client.client_id, client.client_name, request.redirect_uri.uri)
    return hash_token(json.dumps([*shown, consent_tokens(request), labs.mark]))
