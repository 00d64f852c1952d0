"""Signing in through another provider: going there, and what becomes of whoever comes back (OpenID Connect Core §3.1).

The key is (`iss`, `sub`) and nothing else. A known pair signs in; an unknown one gets an account where the policy
allows it; one whose address belongs to an account here is never linked to it before that account has been proven.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from idp.crypto.opaque import mint_token
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.provider import Provider
from idp.domain.upstream import UpstreamIdentity
from idp.observe.logs import get_logger
from idp.observe.metrics import Metrics
from idp.protocol.authorization_request import AuthorizationRequest
from idp.protocol.authorization_response import Refused
from idp.protocol.errors import LoginRequired
from idp.protocol.prompt import Freshness, demanded_freshness
from idp.protocol.upstream import UpstreamFault, UpstreamRefused
from idp.services.audit import audit_event, caller_address
from idp.services.authorization import Authorization
from idp.services.login import MAX_IDENTIFIER_CHARS
from idp.services.providers import Providers
from idp.services.rate_limit import RateLimits
from idp.services.sessions import Accounts, NewSession, SignedIn
from idp.services.upstream_arrival import UpstreamArrival
from idp.services.upstream_tokens import asks_for_api
from idp.services.upstream_visits import Left, Onward, Purpose, Returned, UpstreamVisits, VisitGone
from idp.store.store import Store
from idp.upstream.connector import Departure

LIMIT = "upstream"
METHOD = "upstream"
# So that nobody links whichever account was left open there.
_CHOOSE = ("select_account",)
# Where it only matters that the time is told.
_ANY_AGE = timedelta(days=3650)
_log = get_logger(__name__)


class Then(StrEnum):
    """What comes next for somebody who came back."""

    ONWARD = "onward"
    # To say whether the two accounts are to be linked; `handle` is the page's.
    LINK = "link"
    # To say what becomes of an address that changed.
    ADDRESS = "address"
    # To prove it here: the provider does not say when the person signed in there. `label` is whose account it is.
    PASSWORD = "password"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What came of coming back: `new` is the session that began, if one did."""

    provider: Provider
    onward: Onward
    then: Then = Then.ONWARD
    new: NewSession | None = None
    handle: str | None = None
    label: str | None = None


class UnprovenLogin(LoginRequired):
    """Nobody can say when the user signed in, which the request demands (OpenID Connect Core §3.1.2.1)."""

    default_description = "The provider through which the user signs in does not say that they have just done so."


class ArrivalRefused(Exception):
    """Whoever came back is not signed in; `onward` is where they wanted to go, `detail` for those who may know.

    `email` is the address that the provider vouches for, which is the person's own to see.
    """

    def __init__(
        self, fault: UpstreamFault, provider: Provider, onward: Onward, *, detail: str = "", email: str | None = None
    ) -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.provider = provider
        self.onward = onward
        self.detail = detail
        self.email = email


class UpstreamSignIn:
    """Sends browsers to providers and receives them back."""

    def __init__(
        self,
        store: Store,
        providers: Providers,
        visits: UpstreamVisits,
        arrival: UpstreamArrival,
        authorization: Authorization,
        rate_limits: RateLimits,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._providers = providers
        self._visits = visits
        self._arrival = arrival
        self._authorization = authorization
        self._rate_limits = rate_limits
        self._clock = clock
        self._metrics = metrics

    async def leave(
        self,
        provider: Provider,
        onward: Onward,
        *,
        browser: str,
        active: SignedIn | None = None,
        linking: bool = False,
        login_hint: str | None = None,
    ) -> str:
        """Return where the browser goes, which `browser` names by the hash of its cookie.

        What the authorization request demands of its sign-in is demanded there; a proof of an account is a new one.
        With `linking`, the `active` account is to be connected with one there.

        Raises:
            ArrivalRefused: the provider cannot be reached (DOWN).
            TooManyRequests: the caller's network began too many.
            InteractionGone, UnknownClient, RedirectUriRefused, Refused: see `Authorization.pending`.
        """
        await self._rate_limits.hit(LIMIT, caller_address.get())
        request = None if onward.handle is None else (await self._authorization.pending(onward.handle)).request
        demand = _demand(request, onward)
        departure = _departure(
            provider, self._providers.redirect_uri(provider), request, demand, login_hint, linking=linking
        )
        try:
            url = await self._providers.connector(provider).authorization_url(departure)
        except UpstreamRefused as refused:
            await self._record(provider, refused)
            raise ArrivalRefused(
                refused.fault, provider, onward, detail=refused.detail, email=refused.email
            ) from refused
        left = Left(
            purpose=Purpose.LINK if linking else Purpose.SIGN_IN,
            departure=departure,
            onward=onward,
            left_at=self._clock(),
            session_id=active.session.id if active is not None and (linking or onward.again) else None,
        )
        await self._visits.leave(provider, left, browser=browser)
        return url

    async def arrive(
        self,
        provider: Provider,
        answer: Mapping[str, str],
        *,
        browser: str | None,
        accounts: Accounts,
        user_agent: str | None,
    ) -> Arrival:
        """Take the provider's answer (RFC 6749 §4.1.2), once.

        Raises:
            ArrivalRefused: nobody is signed in by it, and no account was made or linked.
            TooManyRequests: the caller's network brought too many answers that are nobody's.
            Refused: the authorization request cannot be answered; by redirect.
        """
        try:
            left = await self._visits.take_back(provider, answer.get("state", ""), browser=browser or "")
        except VisitGone:
            # Anybody can send browsers here, and each time leaves a row.
            await self._rate_limits.hit(LIMIT, caller_address.get())
            await self._record(provider, UpstreamRefused(UpstreamFault.LOST))
            raise ArrivalRefused(UpstreamFault.LOST, provider, Onward()) from None
        try:
            connector = self._providers.connector(provider)
            identity = await connector.identify(answer, left.departure, now=self._clock())
            return await self.receive(
                provider, identity, left, browser=browser or "", accounts=accounts, user_agent=user_agent
            )
        except UpstreamRefused as refused:
            await self._record(provider, refused)
            raise ArrivalRefused(
                refused.fault, provider, left.onward, detail=refused.detail, email=refused.email
            ) from refused

    async def receive_token(
        self,
        provider: Provider,
        identify: Callable[[], Awaitable[UpstreamIdentity]],
        onward: Onward,
        *,
        browser: str,
        accounts: Accounts,
        user_agent: str | None,
    ) -> Arrival:
        """Take what a browser brought that did not leave: `identify` returns whom it vouches for.

        What the authorization request demands is demanded as of somebody who left now.

        Raises:
            ArrivalRefused: as for `arrive`.
            TooManyRequests, InteractionGone, UnknownClient, RedirectUriRefused, Refused: as for `leave`.
        """
        await self._rate_limits.hit(LIMIT, caller_address.get())
        request = None if onward.handle is None else (await self._authorization.pending(onward.handle)).request
        demand = _demand(request, onward)
        departure = _departure(provider, self._providers.redirect_uri(provider), request, demand, None)
        session_id = accounts.active.session.id if onward.again and accounts.active is not None else None
        left = Left(
            purpose=Purpose.SIGN_IN,
            departure=departure,
            onward=onward,
            left_at=self._clock(),
            session_id=session_id,
        )
        try:
            return await self.receive(
                provider, await identify(), left, browser=browser, accounts=accounts, user_agent=user_agent
            )
        except UpstreamRefused as refused:
            await self._record(provider, refused)
            raise ArrivalRefused(
                refused.fault, provider, onward, detail=refused.detail, email=refused.email
            ) from refused

    async def receive(
        self,
        provider: Provider,
        identity: UpstreamIdentity,
        left: Left,
        *,
        browser: str,
        accounts: Accounts,
        user_agent: str | None,
    ) -> Arrival:
        """Sign in whom the provider vouches for, or say what they have to answer first.

        Raises:
            UpstreamRefused: they are not to be signed in.
            Refused: the authorization request cannot be answered without a proof that nobody can give.
        """
        now = self._clock()
        returned = Returned(
            purpose=Purpose.LINK, provider=provider.name, identity=identity, onward=left.onward, returned_at=now
        )
        if left.purpose is Purpose.LINK:
            account = accounts.find(left.session_id or "")
            if account is None:
                # Signed out, or somebody else has signed in meanwhile.
                raise UpstreamRefused(UpstreamFault.LOST, detail="the session that was to be linked has ended")
            return await self._ask(provider, replace(returned, user_id=account.user.id), Then.LINK, browser=browser)
        if left.onward.proves:
            await self._check_proves(identity, left, accounts)
        demand = _demanded(left.departure)
        if demand is not None and not demand.met(identity.auth_time, since=left.left_at, now=now):
            return await self._prove_here(provider, returned, left, browser=browser)
        if left.departure.api and (user_id := await self._connects(identity, left, accounts)) is not None:
            # An application of whoever is signed in wants it: it is theirs to connect, and no reason for a new account.
            return await self._ask(provider, replace(returned, user_id=user_id), Then.LINK, browser=browser)
        arrived = await self._arrival.sign_in(provider, identity, left.onward, accounts=accounts, user_agent=user_agent)
        if arrived.new is None:
            returned = replace(
                returned, user_id=arrived.user_id, by_address=arrived.user_id is not None, recreated=arrived.recreated
            )
            return await self._ask(provider, returned, Then.LINK, browser=browser)
        self._metrics.login(METHOD, "succeeded")
        if not arrived.email_changed:
            return Arrival(provider=provider, onward=left.onward, new=arrived.new)
        returned = replace(returned, purpose=Purpose.ADDRESS, user_id=arrived.user_id)
        return replace(await self._ask(provider, returned, Then.ADDRESS, browser=browser), new=arrived.new)

    async def _connects(self, identity: UpstreamIdentity, left: Left, accounts: Accounts) -> str | None:
        """Return who is signed in and connects an account that nobody else has, here or by its address."""
        if accounts.active is None or left.onward.add:
            return None
        active, email = accounts.active.user, identity.proven_email
        async with self._store.read() as tx:
            known = await tx.linked_accounts.find_by_key(*identity.key)
            owner = None if email is None else await tx.users.find_by_identifier(email)
        return active.id if known is None and (owner is None or owner.id == active.id) else None

    async def _ask(self, provider: Provider, returned: Returned, then: Then, *, browser: str) -> Arrival:
        handle = await self._visits.hold(returned, browser=browser)
        return Arrival(provider=provider, onward=returned.onward, then=then, handle=handle)

    async def _check_proves(self, identity: UpstreamIdentity, left: Left, accounts: Accounts) -> None:
        """Check that whoever came back has an account here, and the one that is to be proven.

        Raises:
            UpstreamRefused: OTHER_ACCOUNT: nobody who proves an account gets another one by the way.
        """
        async with self._store.read() as tx:
            found = await tx.linked_accounts.find_by_key(*identity.key)
        meant = None if left.session_id is None else accounts.find(left.session_id)
        if found is None or (left.session_id is not None and (meant is None or meant.user.id != found[1].id)):
            raise UpstreamRefused(UpstreamFault.OTHER_ACCOUNT, detail="it does not sign in to the account to be proven")

    async def _prove_here(self, provider: Provider, returned: Returned, left: Left, *, browser: str) -> Arrival:
        """Let somebody prove by a password that they are there, whom the provider does not say to have asked.

        Raises:
            UpstreamRefused: NOT_FRESH, NEVER_FRESH: they have none; or whatever keeps them from having an account.
            Refused: the first two, within an authorization request (OpenID Connect Core §3.1.2.6).
        """
        identity = returned.identity
        known = await self._arrival.find(provider, identity, left.onward)
        if known.label is not None and known.has_password:
            return Arrival(provider=provider, onward=left.onward, then=Then.PASSWORD, label=known.label)
        if known.user_id is not None and known.label is None:
            # Their account here is to be proven and linked, and that is proof enough.
            asked = replace(returned, user_id=known.user_id, by_address=True, recreated=known.recreated)
            return await self._ask(provider, asked, Then.LINK, browser=browser)
        fault = UpstreamFault.NEVER_FRESH if identity.auth_time is None else UpstreamFault.NOT_FRESH
        refused = UpstreamRefused(fault, detail="no auth_time, or one before it was asked for")
        if left.onward.handle is None:
            raise refused
        await self._record(provider, refused)
        request = (await self._authorization.pending(left.onward.handle)).request
        raise Refused(request.reply, UnprovenLogin(detail=f"{provider.name} does not say when the user signed in"))

    async def _record(self, provider: Provider, refused: UpstreamRefused) -> None:
        _log.info("upstream.refused", provider=provider.name, fault=str(refused.fault), detail=refused.detail)
        event = audit_event(
            AuditAction.LOGIN_FAILED,
            actor="anonymous",
            target="unknown",
            now=self._clock(),
            succeeded=False,
            provider=provider.name,
            fault=str(refused.fault),
        )
        await self._store.commit.append(event)
        self._metrics.login(METHOD, "failed")


def _demand(request: AuthorizationRequest | None, onward: Onward) -> Freshness | None:
    if onward.proves:
        return Freshness(anew=True)
    return None if request is None else demanded_freshness(request)


def _demanded(departure: Departure) -> Freshness | None:
    """Return what was demanded of a sign-in at a provider, by what the browser took along."""
    if departure.max_age is None:
        return None
    return Freshness(anew="login" in departure.prompt, max_age=timedelta(seconds=departure.max_age))


def _departure(
    provider: Provider,
    redirect_uri: str,
    request: AuthorizationRequest | None,
    demand: Freshness | None,
    login_hint: str | None,
    *,
    linking: bool = False,
) -> Departure:
    prompt: tuple[str, ...] = _CHOOSE if linking else ()
    acr_values: tuple[str, ...] = ()
    max_age = None
    if demand is not None:
        # A provider that is told a max_age has to say when the person signed in (§2, `auth_time`).
        age = timedelta(0) if demand.anew else demand.max_age or _ANY_AGE
        prompt, max_age = ("login",) if demand.anew else (), int(age.total_seconds())
    if request is not None:
        if not prompt and "select_account" in request.prompt:
            prompt = _CHOOSE
        wanted = request.claims.essential_acr
        acr_values = tuple(theirs for theirs, ours in provider.acr.items() if ours in wanted)
        login_hint = login_hint or request.login_hint
    return Departure(
        redirect_uri=redirect_uri,
        state=mint_token(),
        nonce=mint_token(),
        code_verifier=mint_token(),
        prompt=prompt,
        max_age=max_age,
        acr_values=acr_values,
        login_hint=None if login_hint is None else login_hint[:MAX_IDENTIFIER_CHARS],
        api=asks_for_api(provider, request),
    )
