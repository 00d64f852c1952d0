"""A sign-in link that an administrator made: once, for fifteen minutes, by its button alone."""

import asyncio

import pytest

from idp.domain.audit import AuditAction
from idp.domain.user import UserStatus
from idp.services.accounts import AccountRefused
from idp.services.sign_in_link import make_link
from idp.store.errors import NotFound
from tests.support.app import ALICE, ALICE_ID, BOB, ISSUER, MALLORY, App, Browser
from tests.support.clock import FakeClock


async def link(app: App, user: str = ALICE) -> str:
    _, url = await make_link(app.store, user, issuer=ISSUER, actor="cli", now=app.clock())
    return url.removeprefix(ISSUER)


async def test_the_button_signs_in_once_and_says_truthfully_how(app: App, browser: Browser) -> None:
    path = await link(app)
    for method in ("GET", "HEAD", "GET"):
        assert (await app.http().request(method, path)).status_code == 200
    page = await browser.get(path)
    assert f"<bdi>{ALICE}</bdi>" in page.text
    home = await browser.submit(page)
    assert f"<bdi>{ALICE}</bdi>" in home.text
    assert (await app.browser().get(path)).status_code == 410
    async with app.store.read() as tx:
        (session,) = await tx.sessions.all()
        made = [e for e in await tx.audit_events.all() if e.action is AuditAction.SIGN_IN_LINK_CREATED]
        (stored,) = await tx.one_time_links.all()
    assert (session.user_id, session.amr, session.acr) == (ALICE_ID, ("otp",), "1")
    assert [(event.actor, event.target) for event in made] == [("cli", ALICE_ID)]
    assert path.rpartition("/")[2] not in repr(stored)


async def test_of_two_at_once_one_is_signed_in(app: App) -> None:
    path = await link(app)
    browsers = [app.browser() for _ in range(3)]
    pages = [await browser.get(path) for browser in browsers]
    answers = await asyncio.gather(*(browser.post(page) for browser, page in zip(browsers, pages, strict=True)))
    assert sorted(answer.status_code for answer in answers) == [303, 410, 410]


async def test_it_works_for_fifteen_minutes(app: App, browser: Browser, clock: FakeClock) -> None:
    page = await browser.get(await link(app))
    clock.advance(seconds=900)
    gone = await browser.post(page)
    assert (gone.status_code, "Ask whoever gave it to you" in gone.text) == (410, True)
    assert (await browser.get("/login/link/invented")).status_code == 410


async def test_who_is_disabled_gets_none_and_cannot_use_one(app: App, browser: Browser) -> None:
    with pytest.raises(AccountRefused):
        await link(app, MALLORY)
    with pytest.raises(NotFound):
        await link(app, "nobody@example.org")
    page = await browser.get(await link(app))
    await app.change("users", [ALICE_ID], status=UserStatus.DISABLED)
    assert (await browser.post(page)).status_code == 410


async def test_a_setup_link_signs_nobody_in(app: App, browser: Browser) -> None:
    await app.change("users", ["u_bob"], roles=())
    token = await app.services["setup"].open_link()
    assert (await browser.get(f"/login/link/{token}")).status_code == 410
    assert (await browser.get((await link(app)).replace("/login/link/", "/setup/"))).status_code == 404


async def test_a_forged_form_signs_nobody_in(app: App, browser: Browser) -> None:
    page = await browser.get(await link(app, BOB))
    assert (await browser.post(page, csrf="x")).status_code == 403
    assert (await browser.post(page, {"Origin": "https://evil.example"})).status_code == 403
    assert (await browser.post(page)).status_code == 303
