"""The authorization endpoint (RFC 6749 §3.1, OpenID Connect Core §3.1.2): check, ask what must be asked, answer."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from idp.crypto.jose import InvalidSignature, verify
from idp.crypto.opaque import hash_token, mint_id, mint_token
from idp.domain.audit import AuditAction
from idp.domain.client import Client
from idp.domain.clock import Clock
from idp.domain.consent import Consent
from idp.domain.grant import AuthorizationCode, Grant
from idp.domain.interaction import Interaction
from idp.domain.lab import LabMembership
from idp.domain.signing_key import SigningAlgorithm
from idp.protocol.authorization_request import PARAMETERS, AuthorizationRequest, check_authorization_request
from idp.protocol.authorization_response import AuthorizationResponse, Refused
from idp.protocol.errors import AccessDenied, InvalidRequest, OAuthError
from idp.protocol.logout import LogoutHint, read_logout_hint
from idp.protocol.parameters import Parameters
from idp.protocol.prompt import Situation, Step, next_step
from idp.services.audit import audit_event
from idp.services.clients import Clients
from idp.services.sessions import SignedIn
from idp.services.signing_keys import SigningKeys
from idp.services.token_issuer import TokenTimes
from idp.store.store import Store


class UnknownClient(Exception):
    """There is no such client; shown as a page, since there is nowhere safe to answer to."""


class InteractionGone(Exception):
    """The stored request has expired or was answered already, or its handle is wrong."""


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
class ConsentPage:
    """What the consent page shows."""

    request: AuthorizationRequest
    signed_in: SignedIn
    memberships: tuple[LabMembership, ...]


class Authorization:
    """Carries an authorization request from its arrival to its answer."""

    def __init__(
        self,
        store: Store,
        clients: Clients,
        signing_keys: SigningKeys,
        clock: Clock,
        *,
        issuer: str,
        times: TokenTimes,
        interaction_ttl: timedelta,
    ) -> None:
        self._store = store
        self._clients = clients
        self._signing_keys = signing_keys
        self._clock = clock
        self._issuer = issuer
        self._times = times
        self._interaction_ttl = interaction_ttl

    async def start(self, params: Parameters, signed_in: SignedIn | None) -> AuthorizationResponse | Ask:
        """Take a new request.

        Raises:
            UnknownClient, RedirectUriRefused: there is nowhere safe to answer to.
            Refused: answered by redirect.
        """
        request = await self._check(params)
        step = await self._next(request, signed_in, None)
        if step is Step.ANSWER and signed_in is not None:
            return await self._answer(request, signed_in, None)
        return Ask(step, await self._remember(request, params))

    async def remember(self, params: Parameters) -> str:
        """Store a request that came by POST, without our cookie, and return its handle (OpenID Connect Core §3.1.2.1).

        Raises:
            UnknownClient, RedirectUriRefused, Refused: as for `start`.
        """
        return await self._remember(await self._check(params), params)

    async def resume(self, handle: str, signed_in: SignedIn | None) -> AuthorizationResponse | Ask:
        """Continue a stored request.

        Raises:
            InteractionGone, UnknownClient, RedirectUriRefused, Refused: as for `start`.
        """
        pending = await self.pending(handle)
        step = await self._next(pending.request, signed_in, pending.interaction)
        if step is Step.ANSWER and signed_in is not None:
            return await self._answer(pending.request, signed_in, pending.interaction)
        return Ask(step, handle)

    async def pending(self, handle: str) -> Pending:
        """Return a stored request, checked against the client as it is now.

        Raises:
            InteractionGone, UnknownClient, RedirectUriRefused, Refused: as for `resume`.
        """
        async with self._store.read() as tx:
            interaction = await tx.interactions.find(hash_token(handle))
        if interaction is None or interaction.used_at is not None or self._clock() >= interaction.expires_at:
            raise InteractionGone
        return Pending(interaction=interaction, request=await self._check(Parameters(interaction.params)))

    async def consent_page(self, handle: str, signed_in: SignedIn) -> ConsentPage:
        """Return what the consent page shows.

        Raises:
            InteractionGone, UnknownClient, RedirectUriRefused, Refused: as for `resume`.
        """
        pending = await self.pending(handle)
        memberships = tuple(await self._store.find_memberships(signed_in.user.id))
        return ConsentPage(request=pending.request, signed_in=signed_in, memberships=memberships)

    async def decide(self, handle: str, signed_in: SignedIn, *, allowed: bool) -> AuthorizationResponse | Ask:
        """Take the answer of the consent page and continue.

        Raises:
            Refused: the user did not allow it; answered by redirect.
            InteractionGone, UnknownClient, RedirectUriRefused: as for `resume`.
        """
        pending = await self.pending(handle)
        client, now = pending.request.client, self._clock()
        if not allowed:
            event = audit_event(
                AuditAction.CONSENT_DENIED, actor=signed_in.user.id, target=client.client_id, now=now, succeeded=False
            )
            if not await self._store.commit.consume(Interaction, pending.interaction.hash, now=now, then=[event]):
                raise InteractionGone
            raise Refused(pending.request.reply, AccessDenied("The user did not allow it."))
        async with self._store.write() as tx:
            # The first consent has no row to lock, and the user may press Allow in two tabs at once.
            await tx.users.lock(signed_in.user.id)
            interaction = await tx.interactions.lock(pending.interaction.hash)
            await tx.interactions.save(replace(interaction, user_id=signed_in.user.id, consented_at=now))
            scopes = pending.request.scope
            held = await tx.consents.find(signed_in.user.id, client.client_id)
            consent = Consent(
                user_id=signed_in.user.id,
                client_id=client.client_id,
                scopes=scopes if held is None else tuple(dict.fromkeys((*held.scopes, *scopes))),
                created_at=now if held is None else held.created_at,
                updated_at=now,
            )
            await (tx.consents.add(consent) if held is None else tx.consents.save(consent))
            await tx.audit_events.add(
                audit_event(
                    AuditAction.CONSENT_GIVEN,
                    actor=signed_in.user.id,
                    target=client.client_id,
                    now=now,
                    scopes=list(scopes),
                )
            )
        return await self.resume(handle, signed_in)

    async def hint(self, id_token_hint: str | None) -> LogoutHint | None:
        """Return what an id_token_hint says; None when there is none.

        Expired hints count, foreign or unsigned ones do not; keys that left JWKS are remembered for a year.

        Raises:
            InvalidRequest: it was not issued here.
        """
        if id_token_hint is None:
            return None
        try:
            verified = verify(
                id_token_hint,
                await self._signing_keys.verification_keys(),
                algorithms=[str(a) for a in SigningAlgorithm],
            )
        except InvalidSignature as error:
            raise InvalidRequest("The id_token_hint was not issued here.", detail=str(error)) from error
        if verified.header.get("typ") not in {None, "JWT"}:
            # An access token is signed by the same keys, and is no ID token (RFC 8725 §3.11).
            raise InvalidRequest("The id_token_hint is not an ID token.")
        return read_logout_hint(verified.claims, issuer=self._issuer)

    async def _check(self, params: Parameters) -> AuthorizationRequest:
        client: Client | None = None
        if "client_id" not in params.repeated:
            client = await self._clients.find(params.get("client_id") or "")
        if client is None:
            raise UnknownClient
        return check_authorization_request(client, params, issuer=self._issuer)

    async def _next(
        self, request: AuthorizationRequest, signed_in: SignedIn | None, interaction: Interaction | None
    ) -> Step:
        consent = None
        if signed_in is not None:
            async with self._store.read() as tx:
                consent = await tx.consents.find(signed_in.user.id, request.client.client_id)
        try:
            hint = await self.hint(request.id_token_hint)
            situation = Situation(
                session=None if signed_in is None else signed_in.session,
                consent=consent,
                interaction=interaction,
                hinted_sub=None if hint is None else hint.sub,
            )
            return next_step(request, situation, now=self._clock())
        except OAuthError as error:
            raise Refused(request.reply, error) from error

    async def _remember(self, request: AuthorizationRequest, params: Parameters) -> str:
        now = self._clock()
        handle = mint_token()
        await self._store.commit.append(
            Interaction(
                hash=hash_token(handle),
                client_id=request.client.client_id,
                params={name: value for name in PARAMETERS if (value := params.get(name)) is not None},
                created_at=now,
                expires_at=now + self._interaction_ttl,
            )
        )
        return handle

    async def _answer(
        self, request: AuthorizationRequest, signed_in: SignedIn, interaction: Interaction | None
    ) -> AuthorizationResponse:
        now = self._clock()
        code = mint_token()
        grant = self._grant(request, signed_in, now)
        row = AuthorizationCode(
            hash=hash_token(code),
            grant_id=grant.id,
            redirect_uri=request.redirect_uri.uri if request.redirect_uri.given else None,
            code_challenge=request.code_challenge,
            created_at=now,
            expires_at=now + self._times.code,
        )
        if interaction is None:
            await self._store.commit.append(grant, row)
        elif not await self._store.commit.consume(Interaction, interaction.hash, now=now, then=(grant, row)):
            raise InteractionGone
        return request.reply.success(code=code)

    def _grant(self, request: AuthorizationRequest, signed_in: SignedIn, now: datetime) -> Grant:
        session = signed_in.session
        offline = "offline_access" in request.scope
        return Grant(
            id=mint_id("g"),
            client_id=request.client.client_id,
            user_id=signed_in.user.id,
            session_id=session.id,
            scope=" ".join(request.scope),
            auth_time=session.auth_time,
            acr=session.acr,
            amr=session.amr,
            nonce=request.nonce,
            offline=offline,
            created_at=now,
            # An offline grant lives as long as its refresh tokens are used; each use is checked against their own end.
            expires_at=now + _OFFLINE_GRANT if offline else session.expires_at,
        )


# Consent to act while the user is away is asked again after a year at the latest.
_OFFLINE_GRANT = timedelta(days=366)
