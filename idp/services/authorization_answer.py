"""Answering an authorization request with a code, tokens or both (RFC 6749 §4.1.2 and §4.2.2, OIDC Core §3.2, §3.3)."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from idp.crypto.opaque import hash_token, mint_id, mint_token
from idp.domain.clock import Clock
from idp.domain.consent import Consent, LabConsent, covers_labs, unasked
from idp.domain.grant import AuthorizationCode, Grant
from idp.domain.interaction import Interaction
from idp.domain.lab_release import release_labs
from idp.domain.lab_scope import read_lab_request
from idp.domain.origin import origin_of
from idp.protocol.authorization_request import AuthorizationRequest
from idp.protocol.authorization_response import AuthorizationResponse, Refused
from idp.protocol.errors import AccessDenied, InvalidScope, LoginRequired, OAuthError
from idp.protocol.lab_consent import LabRequired, consent_to, lab_scope, meets_required_labs
from idp.protocol.prompt import consent_tokens, covers
from idp.protocol.response_type import CODE, ID_TOKEN, TOKEN
from idp.protocol.session_state import session_state
from idp.services.sessions import SignedIn
from idp.services.token_issuer import TokenIssuer
from idp.store.errors import Conflict
from idp.store.store import Store

# Consent to act while the user is away is asked again after a year at the latest.
_OFFLINE_GRANT = timedelta(days=366)


class InteractionGone(Exception):
    """The stored request has expired or was answered already, or its handle is wrong; `client_id` where it is known."""

    def __init__(self, client_id: str | None = None) -> None:
        super().__init__("the interaction is gone")
        self.client_id = client_id


class AuthorizationAnswer:
    """Makes the grant and what the client gets of it, and commits both before the browser carries them away."""

    def __init__(self, store: Store, issuer: TokenIssuer, clock: Clock) -> None:
        self._store = store
        self._issuer = issuer
        self._clock = clock

    async def give(
        self,
        request: AuthorizationRequest,
        signed_in: SignedIn,
        consent: Consent | None,
        interaction: Interaction | None,
        *,
        browser_state: str | None,
    ) -> AuthorizationResponse:
        """Return the answer; `browser_state` is what session management watches (Session Management §2).

        A lab that the scope names and that cannot be told is left out of what is granted.

        Raises:
            InteractionGone: somebody was first with the same request, or the client was deleted.
            Refused: nothing is left of the scope, or the user is in none of the labs that the client insists on; or the
                answer cannot be made, such as encrypted for a client whose keys cannot be had; or the user signed out,
                or withdrew the consent, meanwhile.
        """
        now = self._clock()
        try:
            labs = _lab_consent(request, consent)
            granted = await self._granted(request, signed_in, labs, now)
            grant = _grant(request, signed_in, granted, labs, now)
            params, rows = await self._issue(request, grant, signed_in, now)
        except OAuthError as error:
            raise Refused(request.reply, error) from error
        try:
            if interaction is None:
                await self._store.commit.append(grant, *rows)
            elif not await self._store.commit.consume(Interaction, interaction.hash, now=now, then=(grant, *rows)):
                raise InteractionGone(request.client.client_id)
        except Conflict:
            # The client was deleted meanwhile.
            raise InteractionGone(request.client.client_id) from None
        await self._check_still_meant(request, signed_in, grant)
        origin = origin_of(request.redirect_uri.uri)
        if browser_state is not None and origin is not None and "openid" in request.scope:
            params["session_state"] = session_state(
                client_id=request.client.client_id, origin=origin, browser_state=browser_state, salt=mint_token()
            )
        return request.reply.success(**params)

    async def _granted(
        self, request: AuthorizationRequest, signed_in: SignedIn, consent: LabConsent | None, now: datetime
    ) -> tuple[str, ...]:
        """Return what is granted of the scope.

        Raises:
            InvalidScope: nothing; whether a lab does not exist, the user is not in it, or keeps it back, is not told.
            LabRequired: the user is in none of the labs that the client insists on.
        """
        client, acr = request.client, signed_in.session.acr
        asked = read_lab_request(lab_scope(request))
        if not asked.claims and client.require_lab is None:
            return request.scope
        memberships = await self._store.find_memberships(signed_in.user.id)
        released = release_labs(memberships, asked, allowed=client.allowed_labs, consent=consent, now=now, acr=acr)
        if not meets_required_labs(client, released, memberships, acr=acr, now=now):
            raise LabRequired
        granted = released.scope(request.scope)
        if not granted:
            raise InvalidScope(detail="no lab that the scope names can be told")
        return granted

    async def _check_still_meant(self, request: AuthorizationRequest, signed_in: SignedIn, grant: Grant) -> None:
        """Take back what was given at the moment of a sign-out, or of a withdrawal of the consent.

        Whoever ends a session or withdraws a consent commits that first, and then revokes what there is: of the two
        that happen at once, one always sees the other.

        Raises:
            Refused: the user meant otherwise meanwhile.
        """
        session = await self._store.find_session_by_id(signed_in.session.id)
        error: OAuthError | None = None
        if session is None or session.ended_at is not None:
            error = LoginRequired("The user signed out at the same time.")
        elif not request.client.trusted:
            consent = await self._store.find_consent(signed_in.user.id, request.client.client_id)
            if (
                consent is None
                or not covers(consent.scopes, consent_tokens(request))
                or not covers_labs(consent.labs or {}, grant.labs or {})
            ):
                error = AccessDenied("The user withdrew the consent at the same time.")
        if error is not None:
            async with self._store.write() as tx:
                await tx.grants.revoke(grant.id, now=self._clock())
            raise Refused(request.reply, error)

    async def _issue(
        self, request: AuthorizationRequest, grant: Grant, signed_in: SignedIn, now: datetime
    ) -> tuple[dict[str, str], Sequence[object]]:
        client, state = request.client, request.reply.state
        params: dict[str, str] = {}
        rows: list[object] = []
        code = access_token = None
        if CODE in request.response_type:
            code = params["code"] = mint_token()
            rows.append(
                AuthorizationCode(
                    hash=hash_token(code),
                    grant_id=grant.id,
                    redirect_uri=request.redirect_uri.uri if request.redirect_uri.given else None,
                    code_challenge=request.code_challenge,
                    created_at=now,
                    expires_at=now + self._issuer.times.code,
                )
            )
        if TOKEN in request.response_type:
            issued = await self._issuer.access_token(
                client, grant, grant.scope.split(), audience=request.resources, now=now
            )
            access_token = issued.token
            rows.append(issued.row)
            params |= {name: str(value) for name, value in issued.response(now=now).items()}
        if ID_TOKEN in request.response_type:
            params["id_token"] = await self._issuer.id_token(
                client,
                grant,
                signed_in.user,
                granted=grant.scope.split(),
                # §5.4: with nothing to ask userinfo with, the claims of the scopes stand here.
                scope=grant.scope.split() if request.response_type == {ID_TOKEN} else (),
                access_token=access_token,
                code=code,
                state=state,
                with_nonce=True,
                now=now,
            )
        return params, rows


def _lab_consent(request: AuthorizationRequest, consent: Consent | None) -> LabConsent | None:
    """Return which of the labs that are asked for may be told; None where the user is not asked, and was not."""
    answered = None if consent is None else consent.labs
    if not request.client.trusted:
        answered = answered or {}
    elif answered is not None:
        answered = unasked(answered)
    return consent_to(read_lab_request(lab_scope(request)), answered)


def _grant(
    request: AuthorizationRequest,
    signed_in: SignedIn,
    scope: Sequence[str],
    labs: LabConsent | None,
    now: datetime,
) -> Grant:
    session = signed_in.session
    offline = "offline_access" in scope
    return Grant(
        id=mint_id("g"),
        client_id=request.client.client_id,
        user_id=signed_in.user.id,
        session_id=session.id,
        scope=" ".join(scope),
        auth_time=session.auth_time,
        auth_time_known=session.auth_time_known,
        acr=session.acr,
        amr=session.amr,
        nonce=request.nonce,
        # As the client is registered now, which is what the user saw: a later registration adds nothing to it.
        claims=request.claims.of_scopes(request.client.scopes).document,
        resources=request.resources,
        labs=labs,
        offline=offline,
        created_at=now,
        # An offline grant lives as long as its refresh tokens are used; each use is checked against their own end.
        expires_at=now + _OFFLINE_GRANT if offline else session.expires_at,
    )
