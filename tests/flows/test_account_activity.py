"""The page of what happened in one's own account."""

import re

from idp.domain.audit import AuditAction
from idp.services.activity import BY_THEM, MOST, TO_THEM
from idp.services.audit import audit_event
from idp.web.account_activity import WORDS
from tests.support.app import ALICE_ID, BOB, BOB_ID, App, Browser, add_all
from tests.support.clock import START

PAGE = "/account/activity"


def told(page: str) -> list[str]:
    """What the page says, line by line, without the spaces of its markup."""
    return [" ".join(re.sub("<[^>]+>", "", row).split()) for row in re.findall("<h2>(.*?)</h2>", page, re.DOTALL)]


async def test_the_page_is_for_whoever_is_signed_in(browser: Browser) -> None:
    assert (await browser.get(PAGE)).url.path == "/login"


async def test_it_tells_what_one_did_and_what_was_tried_the_last_first(app: App, browser: Browser) -> None:
    await app.browser().sign_in(password="wrong")
    app.clock.advance(seconds=1)
    await browser.authorize(scope="openid email")
    app.clock.advance(seconds=1)
    assert told((await browser.get(PAGE)).text) == [
        "Allowed an application: Lab Portal",
        "Signed in",
        "Failed sign-in failed",
    ]


async def test_what_others_did_to_it_is_marked_and_what_they_did_elsewhere_is_not_told(
    app: App, browser: Browser
) -> None:
    await browser.sign_in()
    await app.browser().sign_in(user=BOB)
    events = [
        (AuditAction.ROLE_GRANTED, BOB_ID, ALICE_ID),
        (AuditAction.ROLE_GRANTED, ALICE_ID, BOB_ID),
        (AuditAction.LAB_CREATED, ALICE_ID, "bio"),
    ]
    await add_all(
        app.store,
        [audit_event(action, actor=actor, target=target, now=app.clock()) for action, actor, target in events],
    )
    assert set(told((await browser.get(PAGE)).text)) == {"Role given to you not by you", "Signed in"}


async def test_of_much_the_last_is_told(app: App, browser: Browser) -> None:
    await browser.sign_in()
    failed = [
        audit_event(AuditAction.LOGIN_FAILED, actor="anonymous", target=ALICE_ID, now=START, succeeded=False)
        for _ in range(MOST + 20)
    ]
    await add_all(app.store, failed)
    lines = told((await browser.get(PAGE)).text)
    assert len(lines) == MOST
    assert lines[0] == "Signed in"


def test_whatever_is_told_has_words() -> None:
    assert set(WORDS) == BY_THEM | TO_THEM
    assert not BY_THEM & TO_THEM
