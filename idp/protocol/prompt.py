"""What the user must still do before an authorization request is answered (OpenID Connect Core §3.1.2.3, §3.1.2.4)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from idp.domain.consent import Consent
from idp.domain.interaction import Interaction
from idp.domain.session import Session
from idp.protocol.authorization_request import AuthorizationRequest
from idp.protocol.errors import ConsentRequired, LoginRequired
from idp.protocol.redirect_uri import is_impersonable


class Step(StrEnum):
    """The next thing to happen."""

    LOGIN = "login"
    CONSENT = "consent"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known about the browser and its user; `hinted_sub` is whom a valid id_token_hint names."""

    session: Session | None
    consent: Consent | None
    interaction: Interaction | None
    hinted_sub: str | None = None


def next_step(request: AuthorizationRequest, situation: Situation, *, now: datetime) -> Step:
    """Decide what comes next.

    Raises:
        LoginRequired, ConsentRequired: something is needed, and prompt=none forbids asking.
    """
    silent = "none" in request.prompt
    if _somebody_else_signed_in(situation):
        # §3.1.2.2: only the hinted user may be answered for; asking once more would ask forever.
        raise LoginRequired("Another user signed in than the one the id_token_hint names.")
    if _needs_login(request, situation, now):
        if silent:
            raise LoginRequired
        return Step.LOGIN
    if _needs_consent(request, situation):
        if silent:
            raise ConsentRequired
        return Step.CONSENT
    return Step.ANSWER


def _signed_in_for_this(situation: Situation) -> bool:
    session, interaction = situation.session, situation.interaction
    # Remembered, and not concluded from the time alone: another tab or browser may have signed in meanwhile.
    return (
        session is not None
        and interaction is not None
        and interaction.session_id == session.id
        and session.auth_time >= interaction.created_at
    )


def _somebody_else_signed_in(situation: Situation) -> bool:
    session, hinted = situation.session, situation.hinted_sub
    other = session is not None and hinted is not None and hinted != session.user_id
    return other and _signed_in_for_this(situation)


def _needs_login(request: AuthorizationRequest, situation: Situation, now: datetime) -> bool:
    session = situation.session
    if session is None or situation.hinted_sub not in {None, session.user_id}:
        return True
    # A sign-in within this very request satisfies whatever asked for it.
    if _signed_in_for_this(situation):
        return False
    # With one account a browser, choosing another account is signing in again.
    if request.prompt & {"login", "select_account"}:
        return True
    # max_age=0 is the same as prompt=login (§3.1.2.1).
    return request.max_age is not None and (not request.max_age or now - session.auth_time > request.max_age)


def _needs_consent(request: AuthorizationRequest, situation: Situation) -> bool:
    session, interaction = situation.session, situation.interaction
    consented_now = (
        interaction is not None
        and interaction.consented_at is not None
        and session is not None
        and interaction.user_id == session.user_id
    )
    if consented_now:
        return False
    if "consent" in request.prompt:
        return True
    if request.client.public and is_impersonable(request.redirect_uri):
        # RFC 8252 §8.6: another program could pose as this client, so neither trust nor a remembered consent is enough.
        return True
    if request.client.trusted:
        return False
    return situation.consent is None or not set(request.scope) <= set(situation.consent.scopes)
