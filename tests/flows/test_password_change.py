"""Changing one's own password: after a proof of the last minutes, told by mail, and the others signed out."""

import asyncio

import pytest

from idp.domain.credential import CredentialKind
from tests.support.app import ALICE, ALICE_ID, BOB, App, Browser
from tests.support.clock import FakeClock
from tests.support.post import NEW_PASSWORD, PostOffice

PAGE = "/account/security/password"


@pytest.fixture
async def app(post_office: PostOffice) -> App:
    return await post_office.node()


@pytest.fixture
async def alice(browser: Browser) -> Browser:
    await browser.sign_in()
    return browser


async def test_a_new_password_counts_at_once_and_the_others_are_signed_out(
    app: App, alice: Browser, post_office: PostOffice
) -> None:
    elsewhere = app.browser()
    tokens = await elsewhere.tokens(scope="openid offline_access", prompt="consent")
    done = await alice.submit(await alice.get(PAGE), password=NEW_PASSWORD)
    assert (done.status_code, "Saved." in done.text, "strong" in done.text) == (200, True, True)
    assert (await alice.get(PAGE)).url.path == PAGE
    assert (await elsewhere.get("/account/apps")).url.path == "/login"
    assert (await app.refresh(tokens["refresh_token"])).status_code == 400
    assert (await app.browser().sign_in()).status_code == 401
    assert (await app.browser().sign_in(password=NEW_PASSWORD)).status_code == 200
    letter = await post_office.letter()
    assert (letter.to, letter.subject, letter.path) == (ALICE, "Your password was changed", "/recover")


async def test_the_others_stay_where_the_box_is_not_ticked(app: App, alice: Browser) -> None:
    elsewhere = app.browser()
    await elsewhere.sign_in()
    await alice.submit(await alice.get(PAGE), password=NEW_PASSWORD, end_others=None)
    assert (await elsewhere.get("/account/apps")).url.path == "/account/apps"


async def test_it_needs_a_sign_in_of_the_last_minutes(app: App, alice: Browser, clock: FakeClock) -> None:
    page = await alice.get(PAGE)
    clock.advance(seconds=301)
    assert (await alice.post(page, password=NEW_PASSWORD)).headers["location"].startswith("/login?again=1&next=")
    login = await alice.get(PAGE)
    assert (login.url.path, "Please sign in again" in login.text) == ("/login", True)
    page = await alice.sign_in(login)
    assert page.url.path == PAGE
    assert (await alice.submit(page, password=NEW_PASSWORD)).status_code == 200


async def test_a_mailed_code_is_a_proof_as_well(alice: Browser, post_office: PostOffice, clock: FakeClock) -> None:
    clock.advance(seconds=301)
    login = await alice.get(PAGE)
    address = login.text.split('formaction="')[1].split('"')[0].replace("&amp;", "&")
    code_page = await alice.submit(await alice.get(address), username=ALICE)
    page = await alice.submit(code_page, code=(await post_office.letter()).code)
    assert page.url.path == PAGE


async def test_somebody_without_a_password_sets_a_first_one(app: App, alice: Browser) -> None:
    async with app.store.write() as tx:
        await tx.credentials.delete(f"cred_{ALICE_ID}")
    page = await alice.get(PAGE)
    assert "Set a password" in page.text
    await alice.submit(page, password=NEW_PASSWORD)
    async with app.store.read() as tx:
        assert await tx.credentials.find_of(ALICE_ID, CredentialKind.PASSWORD) is not None


@pytest.mark.parametrize("password", ["short", "password1", "Alice Liddell"])
async def test_what_the_policy_refuses_changes_nothing(app: App, alice: Browser, password: str) -> None:
    page = await alice.post(await alice.get(PAGE), password=password)
    assert (page.status_code, 'id="password-error"' in page.text) == (422, True)
    assert (await app.browser().sign_in()).status_code == 200


async def test_only_our_own_form_of_this_account_changes_it(app: App, alice: Browser) -> None:
    page = await alice.get(PAGE)
    assert (await alice.post(page, password=NEW_PASSWORD, csrf="x")).status_code == 403
    evil = {"Origin": "https://evil.example"}
    assert (await alice.post(page, evil, password=NEW_PASSWORD)).status_code == 403
    await alice.sign_in(await alice.get("/login", add="1"), user=BOB)
    assert (await alice.post(page, password=NEW_PASSWORD)).status_code == 403
    assert (await app.browser().sign_in()).status_code == 200
    assert (await app.browser().sign_in(user=BOB)).status_code == 200


async def test_of_two_tabs_at_once_one_password_counts(app: App, alice: Browser) -> None:
    page = await alice.get(PAGE)
    passwords = (NEW_PASSWORD, NEW_PASSWORD[::-1])
    await asyncio.gather(*(alice.post(page, password=password) for password in passwords))
    signed_in = [(await app.browser().sign_in(password=password)).status_code for password in passwords]
    assert sorted(signed_in) == [200, 401]
