"""Consent: asked for and taken by whoever is signed in for the request (OpenID Connect Core §3.1.2.4)."""

from typing import Any

import pytest

from idp.domain.audit import AuditAction
from idp.protocol.authorization_response import AuthorizationResponse, Refused
from idp.protocol.parameters import Parameters
from idp.protocol.prompt import Step
from idp.services.authorization import Ask
from idp.services.authorization_answer import InteractionGone
from idp.services.consent import ConsentChanged, Consents, Decision
from idp.services.sessions import Accounts, SignedIn
from tests.support.app import ALICE_ID, BOB, BOB_ID, App, Browser


@pytest.fixture
def consents(app: App) -> Consents:
    return app.services["consents"]


async def signed_in(app: App, browser: Browser, **who: str) -> SignedIn:
    await browser.sign_in(**who)
    found = await app.services["sessions"].find(browser.cookies["idp"])
    assert found is not None
    return found


@pytest.fixture
async def alice(app: App, browser: Browser) -> SignedIn:
    return await signed_in(app, browser)


async def waiting(app: App, **changes: str | None) -> str:
    request = Parameters(app.authorization_request(**changes))
    return str(await app.services["authorization"].remember(request))


async def decide(consents: Consents, handle: str, accounts: Accounts, *, allowed: bool) -> Any:
    """Decide on what the page shows."""
    page = await consents.page(handle, accounts)
    return await consents.decide(handle, accounts, Decision(mark="" if page is None else page.mark, allowed=allowed))


async def given(app: App) -> dict[str, set[str]]:
    """Return what each user agreed to."""
    async with app.store.read() as tx:
        return {consent.user_id: set(consent.scopes) for consent in await tx.consents.all()}


async def test_the_page_shows_what_is_asked_for_and_what_of_it_was_given(
    app: App, consents: Consents, alice: SignedIn
) -> None:
    await decide(consents, await waiting(app, scope="openid"), Accounts(alice), allowed=True)

    page = await consents.page(await waiting(app, scope="openid email"), Accounts(alice))

    assert page is not None
    assert (page.signed_in, page.tokens, page.given) == (alice, ("openid", "email"), {"openid"})
    assert not page.labs.asked
    page = await consents.page(await waiting(app, scope="openid labs"), Accounts(alice))
    assert page is not None
    assert [choice.slug for choice in page.labs.labs] == ["bio", "chem"]


async def test_nobody_signed_in_decides_nothing_and_is_asked_to_sign_in(app: App, consents: Consents) -> None:
    handle = await waiting(app)
    assert await consents.page(handle, Accounts(None)) is None
    for allowed in (True, False):
        outcome = await decide(consents, handle, Accounts(None), allowed=allowed)
        assert isinstance(outcome, Ask)
        assert outcome.step is Step.LOGIN
    assert await given(app) == {}


async def test_a_decision_is_that_users_for_whom_the_request_is_answered(
    app: App, consents: Consents, alice: SignedIn
) -> None:
    bob = await signed_in(app, app.browser(), user=BOB)
    handle = await waiting(app, scope="openid")
    await app.services["authorization"].select(handle, Accounts(alice, (bob,)), bob.session.id)

    outcome = await decide(consents, handle, Accounts(alice, (bob,)), allowed=True)

    assert isinstance(outcome, AuthorizationResponse)
    assert await given(app) == {BOB_ID: {"openid"}}
    async with app.store.read() as tx:
        assert [grant.user_id for grant in await tx.grants.all()] == [BOB_ID]


async def test_consent_without_the_sign_in_that_is_demanded_gives_no_answer_yet(
    app: App, consents: Consents, alice: SignedIn
) -> None:
    app.clock.advance(seconds=1)
    handle = await waiting(app, prompt="login")
    outcome = await decide(consents, handle, Accounts(alice), allowed=True)
    assert isinstance(outcome, Ask)
    assert outcome.step is Step.LOGIN


async def test_a_decision_is_taken_once_and_recorded_once(app: App, consents: Consents, alice: SignedIn) -> None:
    handle = await waiting(app)
    with pytest.raises(Refused) as refused:
        await decide(consents, handle, Accounts(alice), allowed=False)
    assert refused.value.error.error == "access_denied"
    for allowed in (True, False):
        with pytest.raises(InteractionGone):
            await decide(consents, handle, Accounts(alice), allowed=allowed)

    assert await given(app) == {}
    async with app.store.read() as tx:
        events = [event for event in await tx.audit_events.all() if event.target == "portal"]
    assert [(event.action, event.actor) for event in events] == [(AuditAction.CONSENT_DENIED, ALICE_ID)]


async def test_a_decision_on_another_page_than_the_one_that_would_be_shown_now_is_none(
    app: App, consents: Consents, alice: SignedIn
) -> None:
    handle = await waiting(app, scope="openid email")
    other = await consents.page(await waiting(app, scope="openid"), Accounts(alice))
    assert other is not None
    for mark in ("", "x", other.mark):
        for allowed in (True, False):
            with pytest.raises(ConsentChanged):
                await consents.decide(handle, Accounts(alice), Decision(mark=mark, allowed=allowed))
    assert await given(app) == {}
