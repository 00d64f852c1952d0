"""Signing in with a mailed code: bound to the browser, once, five attempts, and the same for whoever is unknown."""

import asyncio
from collections import Counter

import httpx2
import pytest

from idp.domain.audit import AuditAction
from idp.domain.user import UserStatus
from tests.support.app import ALICE, ALICE_ID, BOB, BOB_ID, App, Browser, decoded, form_of
from tests.support.clock import FakeClock
from tests.support.factories import make_linked_account
from tests.support.post import PostOffice, sends

NOBODY = "nobody@example.org"


@pytest.fixture
async def app(post_office: PostOffice) -> App:
    return await post_office.node()


async def ask(browser: Browser, email: str = ALICE, page: httpx2.Response | None = None) -> httpx2.Response:
    """Ask for a code, and return the page that takes it."""
    return await browser.submit(page or await browser.get("/login/code"), username=email)


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06}"


async def events(app: App, action: AuditAction) -> list[str]:
    async with app.store.read() as tx:
        return [event.target for event in await tx.audit_events.all() if event.action is action]


async def test_a_code_signs_in_and_says_truthfully_how_rfc8176(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    page = await ask(browser)
    letter = await post_office.letter()
    assert (letter.to, letter.subject) == (ALICE, "Your code for Lab ID")
    assert letter.code not in letter.subject

    home = await browser.submit(page, code=f" {letter.code[:3]} {letter.code[3:]} ")

    assert f"<bdi>{ALICE}</bdi>" in home.text
    async with app.store.read() as tx:
        (session,) = await tx.sessions.all()
    assert (session.user_id, session.amr, session.acr) == (ALICE_ID, ("otp",), "1")


async def test_the_sign_in_pages_own_form_asks_for_a_code_within_the_applications_request(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    login = await browser.request(prompt="login", login_hint=ALICE)
    assert 'formaction="/login/code?interaction=' in login.text
    form = form_of(login, "username")
    address = login.text.split('formaction="')[1].split('"')[0]
    page = await browser.follow(await browser.http.post(address, data={**form.fields, "password": "ignored"}))
    consent = await browser.submit(page, code=(await post_office.letter()).code)
    answer = await browser.finish(consent)
    claims = decoded((await app.redeem(answer)).json()["id_token"])[1]
    assert (claims["sub"], claims["amr"]) == (ALICE_ID, ["otp"])


@pytest.mark.parametrize("typed", ["alice", "", "no address@", "a b@example.org"])
async def test_what_is_no_address_is_asked_for_again(browser: Browser, typed: str) -> None:
    page = await ask(browser, typed)
    assert (page.status_code, page.url.path) == (422, "/login/code")
    assert ("That is no email address." in page.text) is ("@" in typed)


async def test_whoever_is_unknown_gets_the_same_page_and_nothing_is_sent(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    await app.change("users", [BOB_ID], status=UserStatus.DISABLED)
    pages = []
    for number, email in enumerate((ALICE, NOBODY, BOB), start=1):
        page = await ask(app.browser(), email)
        # The same is written for everybody, so that the time is the same.
        assert await sends(app) == (number, number)
        pages.append(_without_secrets(page.text, email))
    assert len(set(pages)) == 1
    assert await ask(browser)
    assert {(await post_office.letter()).to, (await post_office.letter()).to} == {ALICE}
    assert set(post_office.recipients) == {ALICE}


def _without_secrets(text: str, email: str) -> str:
    form = [part for part in text.split('"') if len(part) == 64 or part.startswith("/login/code/")]
    for secret in form:
        text = text.replace(secret, "…")
    return text.replace(email, "…")


async def test_a_wrong_code_is_a_wrong_code_for_the_unknown_too(app: App, post_office: PostOffice) -> None:
    answers = []
    for email in (ALICE, NOBODY):
        browser = app.browser()
        page = await ask(browser, email)
        guess = wrong((await post_office.letter()).code) if email == ALICE else "000000"
        for _ in range(4):
            page = await browser.submit(page, code=guess)
        answers.append((page.status_code, _without_secrets(page.text, email)))
        ended = await browser.submit(page, code=guess)
        answers[-1] += (ended.status_code, _without_secrets(ended.text, email))
    assert answers[0] == answers[1]
    assert answers[0][0] == 401
    assert "You can try 1 more time." in answers[0][1]
    assert answers[0][2] == 410
    assert Counter(await events(app, AuditAction.LOGIN_FAILED)) == {ALICE_ID: 5, "unknown": 5}


async def test_after_five_wrong_ones_the_right_one_is_refused(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    page = await ask(browser)
    code = (await post_office.letter()).code
    for _ in range(5):
        answer = await browser.post(page, code=wrong(code))
    assert answer.status_code == 410
    assert (await browser.post(page, code=code)).status_code == 410
    assert not await events(app, AuditAction.LOGIN_SUCCEEDED)


async def test_guesses_at_the_same_time_are_five_at_most(app: App, browser: Browser, post_office: PostOffice) -> None:
    page = await ask(browser)
    code = (await post_office.letter()).code
    guesses = [browser.post(page, code=f"{(int(code) + 1 + n) % 1_000_000:06}") for n in range(12)]
    statuses = Counter(answer.status_code for answer in await asyncio.gather(*guesses))
    async with app.store.read() as tx:
        (proof,) = await tx.mailed_proofs.all()
    assert proof.attempts == 5
    assert statuses[401] + statuses[410] == 12
    assert (await browser.post(page, code=code)).status_code == 410


async def test_the_right_code_twice_at_the_same_time_signs_in_once(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    page = await ask(browser)
    code = (await post_office.letter()).code
    answers = await asyncio.gather(browser.post(page, code=code), browser.post(page, code=code))
    assert sorted(answer.status_code for answer in answers) == [303, 410]
    async with app.store.read() as tx:
        assert len(await tx.sessions.all()) == 1


async def test_another_browser_cannot_use_the_page_or_the_code(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    page = await ask(browser)
    code = (await post_office.letter()).code
    stranger = app.browser()
    own = await ask(stranger, NOBODY)
    assert (await stranger.http.get(str(page.url))).status_code == 410
    form = form_of(own, "code")
    sent = {**form.fields, "code": code}
    assert (await stranger.http.post(str(page.url), data=sent)).status_code == 410
    assert (await stranger.post(own, code=code)).status_code == 401
    assert (await browser.post(page, code=code)).status_code == 303


async def test_a_code_ends_after_ten_minutes(browser: Browser, post_office: PostOffice, clock: FakeClock) -> None:
    page = await ask(browser)
    code = (await post_office.letter()).code
    clock.advance(seconds=600)
    answer = await browser.post(page, code=code)
    assert (answer.status_code, "That code does not work any more" in answer.text) == (410, True)


async def test_another_code_is_sent_after_a_minute_and_alone_counts(
    browser: Browser, post_office: PostOffice, clock: FakeClock
) -> None:
    page = await ask(browser)
    first = (await post_office.letter()).code
    assert 'data-resend="60"' in page.text
    soon = await browser.post(page, resend="1")
    assert (soon.status_code, "A code was sent a moment ago" in soon.text) == (429, True)
    clock.advance(seconds=60)
    again = await browser.post(page, resend="1")
    assert (again.status_code, "Only the newest one counts" in again.text) == (200, True)
    second = (await post_office.letter()).code
    if first != second:
        assert (await browser.post(again, code=first)).status_code == 401
    assert (await browser.post(again, code=second)).status_code == 303


@pytest.mark.parametrize("email", [ALICE, NOBODY])
async def test_one_address_is_sent_five_an_hour_whoever_asks(
    app: App, post_office: PostOffice, clock: FakeClock, email: str
) -> None:
    asked = [await ask(app.browser(), email) for _ in range(5)]
    assert {page.status_code for page in asked} == {200}
    refused = await ask(app.browser(), email)
    assert (refused.status_code, "was sent several mails" in refused.text) == (429, True)
    clock.advance(seconds=3600)
    assert (await ask(app.browser(), email)).status_code == 200


async def test_many_who_ask_at_once_for_one_address_get_five(app: App) -> None:
    browsers = [app.browser() for _ in range(9)]
    pages = [await browser.get("/login/code") for browser in browsers]
    asked = zip(browsers, pages, strict=True)
    answers = await asyncio.gather(*(browser.post(page, username=ALICE) for browser, page in asked))
    assert Counter(answer.status_code for answer in answers) == {303: 5, 429: 4}


async def test_one_network_asks_so_often(post_office: PostOffice) -> None:
    app = await post_office.node(mail_limit="2/hour", rate_limit_exempt=",")
    browser = app.browser()
    assert [(await ask(browser, f"a{n}@example.org")).status_code for n in range(3)] == [200, 200, 429]
    for path in ("/recover", "/signup"):
        page = await browser.post(
            await browser.get(path), email=NOBODY, **({} if path == "/recover" else {"password": "maple-window-otter"})
        )
        assert page.status_code in {429, 403}


async def test_a_code_verifies_the_address(app: App, browser: Browser, post_office: PostOffice) -> None:
    async with app.store.read() as tx:
        assert not (await tx.users.get(BOB_ID)).email_verified
    await browser.submit(await ask(browser, BOB), code=(await post_office.letter()).code)
    async with app.store.read() as tx:
        assert (await tx.users.get(BOB_ID)).email_verified


async def test_an_unverified_address_that_came_from_a_provider_lets_its_owner_into_nobodys_account(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    async with app.store.write() as tx:
        await tx.linked_accounts.add(make_linked_account(user_id=BOB_ID, email=BOB))
    await ask(browser, BOB)
    await ask(app.browser(), ALICE)
    assert (await post_office.letter()).to == ALICE
    assert post_office.recipients == [ALICE]
    # Whoever is in the account already shows that both are theirs.
    await browser.sign_in(user=BOB)
    page = await ask(browser, BOB)
    await browser.submit(page, code=(await post_office.letter()).code)
    async with app.store.read() as tx:
        assert (await tx.users.get(BOB_ID)).email_verified


async def test_an_address_that_changed_meanwhile_signs_nobody_in(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    page = await ask(browser)
    code = (await post_office.letter()).code
    await app.change("users", [ALICE_ID], email="new@example.org")
    assert (await browser.post(page, code=code)).status_code == 410
    assert not await events(app, AuditAction.LOGIN_SUCCEEDED)


async def test_nothing_of_a_code_can_be_read_in_the_database(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    page = await ask(browser)
    letter = await post_office.letter()
    async with app.store.read() as tx:
        (proof,) = await tx.mailed_proofs.all()
    shown = repr(proof)
    assert ALICE not in shown
    assert letter.code not in shown
    assert page.url.path.rpartition("/")[2] not in shown


async def test_a_forged_form_mails_nothing(app: App, browser: Browser) -> None:
    page = await browser.get("/login/code")
    assert (await browser.post(page, username=ALICE, csrf="x")).status_code == 403
    elsewhere = await browser.post(page, {"Origin": "https://evil.example"}, username=ALICE)
    assert elsewhere.status_code == 403
    assert await sends(app) == (0, 0)


async def test_where_codes_are_off_there_is_no_page_and_no_button(post_office: PostOffice) -> None:
    app = await post_office.node(email_codes="false")
    browser = app.browser()
    assert (await browser.get("/login/code")).status_code == 404
    assert "/login/code" not in (await browser.get("/login")).text
