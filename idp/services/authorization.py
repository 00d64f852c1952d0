"""The authorization endpoint (RFC 6749 §3.1, OpenID Connect Core §3.1.2): check, ask what must be asked, answer."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from idp.crypto.opaque import hash_token, mint_token
from idp.domain.acr import ACR_TWO_FACTORS
from idp.domain.client import Client
from idp.domain.clock import Clock
from idp.domain.consent import Consent
from idp.domain.interaction import Interaction
from idp.domain.lab_release import release_labs
from idp.domain.lab_scope import MAX_LAB_SCOPES, names_lab, read_lab_request
from idp.protocol.authorization_request import (
    PARAMETERS,
    AuthorizationRequest,
    check_authorization_request,
    reply_address,
)
from idp.protocol.authorization_response import AuthorizationResponse, Refused
from idp.protocol.errors import InvalidRequest, InvalidTarget, LoginRequired, OAuthError, TemporarilyUnavailable
from idp.protocol.lab_consent import (
    LabChoices,
    LabRequired,
    earlier_labs,
    lab_choices,
    lab_scope,
    meets_required_labs,
)
from idp.protocol.parameters import Parameters
from idp.protocol.prompt import Situation, Step, next_step, prefers_two_factors
from idp.protocol.resource import read_resources
from idp.protocol.response_type import CODE
from idp.protocol.scope import check_user_scope, provider_of, still_registered
from idp.protocol.token_exchange import may_use_api
from idp.services.audit import caller_address
from idp.services.authorization_answer import AuthorizationAnswer, InteractionGone
from idp.services.clients import Clients
from idp.services.hints import Hints
from idp.services.providers import Providers
from idp.services.rate_limit import RateLimits, TooManyRequests
from idp.services.request_objects import RequestObjects
from idp.services.resources import Resources
from idp.services.sessions import Accounts, SignedIn
from idp.services.sign_in import has_second_factor
from idp.services.subjects import Subjects
from idp.store.errors import Conflict
from idp.store.store import Store

LIMIT = "authorization"


class UnknownClient(Exception):
    """There is no such client; shown as a page, since there is nowhere safe to answer to."""


@dataclass(frozen=True, slots=True)
class Ask:
    """The user has to do something first; `handle` continues the request afterwards."""

    step: Step
    handle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """What a page within a transaction shows: the checked request and how far it is."""

    interaction: Interaction
    request: AuthorizationRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a request is: whose account it would be answered for, and what they said yes to before."""

    request: AuthorizationRequest
    signed_in: SignedIn | None
    consent: Consent | None
    labs: LabChoices
    step: Step


class Authorization:
    """Carries an authorization request from its arrival to its answer."""

    def __init__(
        self,
        store: Store,
        clients: Clients,
        resources: Resources,
        providers: Providers,
        request_objects: RequestObjects,
        hints: Hints,
        subjects: Subjects,
        answer: AuthorizationAnswer,
        rate_limits: RateLimits,
        clock: Clock,
        *,
        issuer: str,
        interaction_ttl: timedelta,
        entitlements: bool,
    ) -> None:
        self._store = store
        self._clients = clients
        self._resources = resources
        self._providers = providers
        self._request_objects = request_objects
        self._hints = hints
        self._subjects = subjects
        self._answer = answer
        self._rate_limits = rate_limits
        self._clock = clock
        self._issuer = issuer
        self._entitlements = entitlements
        self._interaction_ttl = interaction_ttl

    async def start(self, params: Parameters, accounts: Accounts) -> AuthorizationResponse | Ask:
        """Take a new request.

        Raises:
            UnknownClient, RedirectUriRefused: there is nowhere safe to answer to.
            Refused: answered by redirect.
        """
        client = await self._client(params)
        params = await self._request_objects.resolve(client, params)
        progress = await self.progress(await self._check(client, params), accounts, None)
        if progress.step is Step.ANSWER and progress.signed_in is not None:
            return await self._answer.give(
                progress.request, progress.signed_in, progress.consent, None, browser_state=accounts.browser_state
            )
        if not accounts.all:
            await self._count(progress.request)
        return Ask(progress.step, await self._remember(client, params))

    async def remember(self, params: Parameters) -> str:
        """Store a request that came by POST, without our cookie, and return its handle (OpenID Connect Core §3.1.2.1).

        Raises:
            UnknownClient, RedirectUriRefused, Refused: as for `start`.
        """
        client = await self._client(params)
        params = await self._request_objects.resolve(client, params)
        await self._count(await self._check(client, params))
        return await self._remember(client, params)

    async def resume(self, handle: str, accounts: Accounts) -> AuthorizationResponse | Ask:
        """Continue a stored request.

        Raises:
            InteractionGone, UnknownClient, RedirectUriRefused, Refused: as for `start`.
        """
        pending = await self.pending(handle)
        progress = await self.progress(pending.request, accounts, pending.interaction)
        if progress.step is Step.ANSWER and progress.signed_in is not None:
            return await self._answer.give(
                progress.request,
                progress.signed_in,
                progress.consent,
                pending.interaction,
                browser_state=accounts.browser_state,
            )
        return Ask(progress.step, handle)

    async def pending(self, handle: str) -> Pending:
        """Return a stored request, checked against the client as it is now.

        Raises:
            InteractionGone, UnknownClient, RedirectUriRefused, Refused: as for `resume`.
        """
        async with self._store.read() as tx:
            interaction = await tx.interactions.find(hash_token(handle))
        if interaction is None or interaction.used_at is not None or self._clock() >= interaction.expires_at:
            raise InteractionGone(None if interaction is None else interaction.client_id)
        params = Parameters(interaction.params)
        return Pending(interaction=interaction, request=await self._check(await self._client(params), params))

    async def select(self, handle: str, accounts: Accounts, sid: str) -> None:
        """Remember for which of a browser's accounts the request is to be answered; a foreign `sid` changes nothing.

        Raises:
            InteractionGone, UnknownClient, RedirectUriRefused, Refused: as for `resume`.
        """
        pending = await self.pending(handle)
        if any(account.session.id == sid for account in accounts.all):
            async with self._store.write() as tx:
                await tx.interactions.select_session(pending.interaction.hash, session_id=sid)

    async def progress(
        self, request: AuthorizationRequest, accounts: Accounts, interaction: Interaction | None
    ) -> Progress:
        """Return how far a request is in this browser.

        Raises:
            Refused: it cannot be answered; answered by redirect.
        """
        try:
            signed_in, hinted = await self._choose(request, accounts, interaction)
            consent = None
            if signed_in is not None:
                consent = await self._store.find_consent(signed_in.user.id, request.client.client_id)
            request = _with_earlier_scopes(request, consent, await self._usable_by(request.client))
            labs = await self._lab_choices(request, signed_in, consent)
            situation = Situation(
                session=None if signed_in is None else signed_in.session,
                accounts=len(accounts.all),
                consent=consent,
                interaction=interaction,
                hinted=hinted,
                labs_undecided=labs.undecided,
                acr_offered=await self._offers(request.claims.essential_acr),
                second_factor=await self._has_second_factor(request, signed_in),
                unconnected=await self._is_unconnected(request, signed_in, consent),
            )
            step = next_step(request, situation, now=self._clock())
            if step is Step.CONSENT and signed_in is not None:
                await self._check_required_labs(request, signed_in)
        except OAuthError as error:
            raise Refused(request.reply, error) from error
        return Progress(request=request, signed_in=signed_in, consent=consent, labs=labs, step=step)

    async def _offers(self, demanded: Collection[str]) -> bool:
        """Whether a provider through which people sign in gives one of the `acr` that are demanded."""
        return bool(demanded) and any(
            ours in demanded for provider in await self._providers.shown() for ours in provider.acr.values()
        )

    async def _has_second_factor(self, request: AuthorizationRequest, signed_in: SignedIn | None) -> bool:
        """Whether the user can prove a second factor, where the request makes something of it."""
        asked = request.claims.essential_acr or prefers_two_factors(request)
        if not asked or signed_in is None or signed_in.session.acr == ACR_TWO_FACTORS:
            return False
        async with self._store.read() as tx:
            return await has_second_factor(tx, signed_in.user.id)

    async def _is_unconnected(
        self, request: AuthorizationRequest, signed_in: SignedIn | None, consent: Consent | None
    ) -> bool:
        """Whether the request asks for a provider's API that the user has not connected.

        Nobody is asked twice: whoever agreed before, and whose provider gave no token, goes on as they are.
        """
        agreed = () if consent is None else consent.scopes
        asked = {name for token in request.scope if (name := provider_of(token)) is not None and token not in agreed}
        if not asked or signed_in is None or request.client.trusted:
            return False
        async with self._store.read() as tx:
            held = await tx.linked_accounts.of_user(signed_in.user.id)
        return not asked <= {linked.provider for linked in held if linked.sealed_refresh_token is not None}

    async def _lab_choices(
        self, request: AuthorizationRequest, signed_in: SignedIn | None, consent: Consent | None
    ) -> LabChoices:
        if signed_in is None or not lab_scope(request):
            return LabChoices()
        # All of the user's, and never those that the request names: how long it takes must not tell which labs exist.
        memberships = await self._store.find_memberships(signed_in.user.id)
        before = None if consent is None else consent.labs
        return lab_choices(request, memberships, before, acr=signed_in.session.acr, now=self._clock())

    async def _check_required_labs(self, request: AuthorizationRequest, signed_in: SignedIn) -> None:
        """Ask nobody for consent whom no answer would let in.

        Raises:
            LabRequired: the user is in none of the labs that the client insists on.
        """
        client, acr, now = request.client, signed_in.session.acr, self._clock()
        if client.require_lab is not None:
            held = await self._store.find_memberships(signed_in.user.id)
            asked = read_lab_request(lab_scope(request))
            most = release_labs(held, asked, allowed=client.allowed_labs, consent=None, now=now, acr=acr)
            if not meets_required_labs(client, most, held, acr=acr, now=now):
                raise LabRequired

    async def _choose(
        self, request: AuthorizationRequest, accounts: Accounts, interaction: Interaction | None
    ) -> tuple[SignedIn | None, bool | None]:
        """Return the account to answer for, and whether it is the one that the request names, if it names any."""
        try:
            hint = await self._hints.read(request.id_token_hint)
        except InvalidRequest as error:
            if "none" in request.prompt:
                # §3.1.2.1: what cannot be verified names nobody who is signed in here.
                raise LoginRequired(detail=error.detail or error.description) from error
            raise
        names = []
        if hint is not None:
            names.append((await self._clients.find(hint.client_id) or request.client, hint.sub))
        if request.claims.sub is not None:
            names.append((request.client, request.claims.sub))
        if names:
            for account in accounts.all:
                if all(self._subjects.of(client, account.user.id) == sub for client, sub in names):
                    return account, True
            return accounts.active, False
        selected = None if interaction is None else interaction.selected_session_id
        wanted = (request.login_hint or "").casefold()
        hinted = next((account for account in accounts.all if wanted in _identifiers(account)), accounts.active)
        return next((account for account in accounts.all if account.session.id == selected), hinted), None

    async def _client(self, params: Parameters) -> Client:
        client: Client | None = None
        if "client_id" not in params.repeated:
            client = await self._clients.find(params.get("client_id") or "")
        if client is None:
            raise UnknownClient
        return client

    async def _check(self, client: Client, params: Parameters) -> AuthorizationRequest:
        try:
            resources = await self._resources.find_all(read_resources(params))
        except InvalidTarget as error:
            raise Refused(reply_address(client, params, issuer=self._issuer), error) from error
        return check_authorization_request(
            client,
            params,
            issuer=self._issuer,
            resources=resources,
            entitlements=self._entitlements,
            providers=await self._usable_by(client),
        )

    async def _usable_by(self, client: Client) -> frozenset[str]:
        """Return the names of the providers whose APIs a client may use."""
        if not any(map(provider_of, client.scopes)):
            return frozenset()
        return frozenset(each.name for each in await self._providers.shown() if may_use_api(client, each))

    async def _count(self, request: AuthorizationRequest) -> None:
        """Count a request that is stored though nobody has signed in yet: anybody can send any number of them.

        Raises:
            Refused: the caller's network sent too many.
        """
        try:
            await self._rate_limits.hit(LIMIT, caller_address.get())
        except TooManyRequests as error:
            raise Refused(request.reply, TemporarilyUnavailable(detail=str(error))) from error

    async def _remember(self, client: Client, params: Parameters) -> str:
        now = self._clock()
        handle = mint_token()
        interaction = Interaction(
            hash=hash_token(handle),
            client_id=client.client_id,
            params={name: value for name in PARAMETERS if (value := params.get(name)) is not None},
            created_at=now,
            expires_at=now + self._interaction_ttl,
        )
        try:
            await self._store.commit.append(interaction)
        except Conflict:
            # The client was deleted, and is known here only from the cache.
            self._clients.forget(client.client_id)
            raise UnknownClient from None
        return handle


def _with_earlier_scopes(
    request: AuthorizationRequest, consent: Consent | None, providers: Collection[str]
) -> AuthorizationRequest:
    """Return the request with what the user gave this client before, where it asks for that (include_granted_scopes).

    The client gets of it what it could ask for itself today.
    """
    if not request.include_granted_scopes or consent is None:
        return request
    # What was agreed to one by one is no scope: it holds a space.
    joined = tuple(dict.fromkeys((*request.scope, *(name for name in consent.scopes if " " not in name))))
    scope = still_registered(request.client, (*joined, *earlier_labs(consent.labs, joined)))
    code = CODE in request.response_type
    few = " ".join(_few_labs(scope))
    return replace(request, scope=check_user_scope(request.client, few, code=code, providers=providers))


def _few_labs(scope: Iterable[str]) -> list[str]:
    """Return a scope without the labs that are too many, which only those of earlier requests can be."""
    tokens = list(dict.fromkeys(scope))
    beyond = [token for token in tokens if names_lab(token)][MAX_LAB_SCOPES:]
    return [token for token in tokens if token not in beyond]


def _identifiers(account: SignedIn) -> set[str]:
    """Return what a login_hint may call the user (OpenID Connect Core §3.1.2.1)."""
    return {name.casefold() for name in (account.user.email, account.user.username) if name is not None}
