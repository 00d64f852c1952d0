"""What the user must still do before an authorization request is answered (OpenID Connect Core §3.1.2.3, §3.1.2.4)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from idp.domain.acr import ACR_LADDER, ACR_TWO_FACTORS
from idp.domain.claims import SCOPE_OF_CLAIM
from idp.domain.consent import Consent
from idp.domain.interaction import Interaction
from idp.domain.lab_scope import names_lab
from idp.domain.session import Session
from idp.protocol.authorization_request import AuthorizationRequest
from idp.protocol.claims_request import registered_wishes
from idp.protocol.errors import (
    AccountSelectionRequired,
    ConsentRequired,
    InteractionRequired,
    LoginRequired,
    UnmetAuthenticationRequirements,
)
from idp.protocol.redirect_uri import is_impersonable


class Step(StrEnum):
    """The next thing to happen."""

    LOGIN = "login"
    SELECT_ACCOUNT = "select_account"
    STEP_UP = "step_up"
    CONSENT = "consent"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known about the browser and its user.

    `session` is the account that would be answered for, `accounts` how many are signed in. `hinted` is true or false
    where the request names a user: whether `session` is that user's; None where it names nobody. `labs_undecided` is
    whether the user has not said yet which labs may be told, `unconnected` whether a provider's API is asked for that
    they have not connected by signing in through it, `acr_offered` whether there is a way to sign in that gives one of
    the `acr` that are demanded, `second_factor` whether the user has a second factor here.
    """

    session: Session | None
    accounts: int
    consent: Consent | None
    interaction: Interaction | None
    hinted: bool | None = None
    labs_undecided: bool = False
    unconnected: bool = False
    acr_offered: bool = False
    second_factor: bool = False


def next_step(request: AuthorizationRequest, situation: Situation, *, now: datetime) -> Step:
    """Decide what comes next.

    Raises:
        LoginRequired, AccountSelectionRequired, ConsentRequired: something is needed, and prompt=none forbids asking.
        UnmetAuthenticationRequirements, InteractionRequired: the user signed in, but not in the way that is demanded.
    """
    silent = "none" in request.prompt
    if situation.hinted is False and _signed_in_for_this(situation):
        # §3.1.2.2: only the hinted user may be answered for; asking once more would ask forever.
        raise LoginRequired("Another user signed in than the one the request names.")
    if _needs_selection(request, situation):
        if silent:
            raise AccountSelectionRequired
        return Step.SELECT_ACCOUNT
    if _needs_login(request, situation, now):
        if silent:
            raise LoginRequired
        return Step.LOGIN
    if situation.unconnected and not silent and not _signed_in_for_this(situation):
        # Once: whoever signs in another way all the same has answered.
        return Step.LOGIN
    if (stronger := _stronger(request, situation)) is not None:
        return stronger
    if _needs_consent(request, situation):
        if silent:
            raise ConsentRequired
        return Step.CONSENT
    return Step.ANSWER


def _stronger(request: AuthorizationRequest, situation: Situation) -> Step | None:
    """Return how the user gets the `acr` that is demanded or preferred; None where they have it, or need not.

    Raises:
        UnmetAuthenticationRequirements, InteractionRequired: see `next_step`.
    """
    session, silent = situation.session, "none" in request.prompt
    demanded = request.claims.essential_acr
    if session is None or session.acr in demanded:
        return None
    if demanded:
        if silent:
            raise InteractionRequired
        if ACR_TWO_FACTORS in demanded and situation.second_factor:
            return Step.STEP_UP
        if situation.acr_offered and not _signed_in_for_this(situation):
            return Step.LOGIN
        if ACR_TWO_FACTORS in demanded:
            # The page leads to where one is set up.
            return Step.STEP_UP
        raise UnmetAuthenticationRequirements
    # A preference is met where that takes no more than a code (RFC 9470 §4), and never fails (§3.1.2.1).
    preferred = prefers_two_factors(request) and session.acr != ACR_TWO_FACTORS
    return Step.STEP_UP if preferred and situation.second_factor and not silent else None


def prefers_two_factors(request: AuthorizationRequest) -> bool:
    """Whether the first of the `acr` that a request prefers, among those there are here, is that of two factors."""
    wish = request.claims.id_token.get("acr") or {}
    voluntary = wish.get("values", [wish["value"]] if "value" in wish else [])
    known = [value for value in (*voluntary, *request.acr_values) if value in ACR_LADDER]
    return known[:1] == [ACR_TWO_FACTORS]


@dataclass(frozen=True, slots=True)
class Freshness:
    """What a request demands about when its user proved who they are: `anew`, not longer ago, or only known."""

    anew: bool = False
    max_age: timedelta | None = None

    def met(self, auth_time: datetime | None, *, since: datetime, now: datetime) -> bool:
        """Whether somebody who proved it at `auth_time`, in whole seconds, may be answered for.

        `since` is when they were asked to. Nobody who does not say when has proved anything (§2, `auth_time`).
        """
        if auth_time is None:
            return False
        if self.anew:
            return auth_time >= since.replace(microsecond=0)
        return self.max_age is None or now - auth_time <= self.max_age or auth_time >= since.replace(microsecond=0)


def demanded_freshness(request: AuthorizationRequest) -> Freshness | None:
    """Return what a request demands; None where any sign-in will do (OpenID Connect Core §3.1.2.1)."""
    # max_age=0 is the same as prompt=login.
    if "login" in request.prompt or request.max_age == timedelta(0):
        return Freshness(anew=True)
    if request.max_age is not None:
        return Freshness(max_age=request.max_age)
    told = request.client.require_auth_time or request.claims.essential_auth_time
    return Freshness() if told else None


def consent_tokens(request: AuthorizationRequest) -> tuple[str, ...]:
    """Return what the user must have agreed to: scopes, `claim NAME` and `resource URI`.

    A claim that was asked for by name needs no consent of its own where its scope was requested. An API does, or a
    scope that was given for one of them would be given for all. No scope holds a space, so they are never confused.
    """
    wishes = {**request.claims.userinfo, **request.claims.id_token}
    names = registered_wishes(wishes, set(request.client.scopes) - set(request.scope))
    apis = (uri for uri in request.resources if uri != request.reply.issuer)
    scopes = (name for name in request.scope if not names_lab(name))
    return (*scopes, *(f"claim {name}" for name in names), *(f"resource {uri}" for uri in apis))


def covers(held: Iterable[str], asked: Iterable[str]) -> bool:
    """Whether a consent says yes to all of it; one to a scope covers the claims of that scope."""
    held = set(held)
    return all(
        token in held or (token.startswith("claim ") and SCOPE_OF_CLAIM[token.removeprefix("claim ")] in held)
        for token in asked
    )


def _signed_in_for_this(situation: Situation) -> bool:
    session, interaction = situation.session, situation.interaction
    # Remembered, and not concluded from the time: another tab may have signed in meanwhile, and with another provider
    # nobody need have proved anything anew.
    return session is not None and interaction is not None and interaction.session_id == session.id


def _asked_at(situation: Situation) -> datetime:
    # In whole seconds, as `auth_time` is told.
    interaction = situation.interaction
    return datetime.max.replace(tzinfo=UTC) if interaction is None else interaction.created_at.replace(microsecond=0)


def _needs_selection(request: AuthorizationRequest, situation: Situation) -> bool:
    session, interaction = situation.session, situation.interaction
    if not situation.accounts or situation.hinted is not None:
        return False
    if session is None:
        # Somebody is signed in here, though nobody was said to be the one in use; signing in anew is never forbidden.
        return "login" not in request.prompt
    if "select_account" not in request.prompt or _signed_in_for_this(situation):
        return False
    return interaction is None or interaction.selected_session_id != session.id


def _needs_login(request: AuthorizationRequest, situation: Situation, now: datetime) -> bool:
    session = situation.session
    if session is None or situation.hinted is False:
        return True
    demand = demanded_freshness(request)
    if demand is None:
        return False
    if not session.auth_time_known:
        return True
    # A proof within this very request satisfies whatever asked for it, however long the person took to go on.
    if _signed_in_for_this(situation) and session.proven_since(_asked_at(situation)):
        return False
    return demand.anew or (demand.max_age is not None and now - session.auth_time > demand.max_age)


def _needs_consent(request: AuthorizationRequest, situation: Situation) -> bool:
    session, interaction = situation.session, situation.interaction
    consented_now = (
        interaction is not None
        and interaction.consented_at is not None
        and session is not None
        and interaction.user_id == session.user_id
    )
    if not consented_now:
        if "consent" in request.prompt:
            return True
        if request.client.public and is_impersonable(request.redirect_uri):
            # RFC 8252 §8.6: another program could pose as this client; neither trust nor an earlier consent is enough.
            return True
    if request.client.trusted:
        return False
    # What was agreed to a moment ago is remembered too, unless it was withdrawn since.
    if situation.consent is None or not covers(situation.consent.scopes, consent_tokens(request)):
        return True
    # Silently, labs that nobody has decided on are left out instead.
    return situation.labs_undecided and "none" not in request.prompt
