"""Getting back in by a mailed link: once, for an hour, by POST, with the same answer for everybody."""

import asyncio

import httpx2
import pytest

from idp.domain.audit import AuditAction
from idp.domain.credential import CredentialKind
from idp.domain.mail import MailPurpose
from idp.domain.user import UserStatus
from tests.support.app import ALICE, ALICE_ID, BOB, BOB_ID, PASSWORD, App, Browser, Start
from tests.support.clock import FakeClock
from tests.support.evil_provider import EvilProvider
from tests.support.factories import make_linked_account
from tests.support.post import NEW_PASSWORD, Letter, PostOffice, sends
from tests.support.upstream import start_with_google

NOBODY = "nobody@example.org"


@pytest.fixture
async def app(post_office: PostOffice) -> App:
    return await post_office.node()


async def ask(browser: Browser, email: str = ALICE) -> httpx2.Response:
    return await browser.submit(await browser.get("/recover"), email=email)


async def link(browser: Browser, post_office: PostOffice, email: str = ALICE) -> str:
    await ask(browser, email)
    return (await post_office.letter()).path


async def purposes(app: App) -> list[MailPurpose]:
    async with app.store.read() as tx:
        return [mail.purpose for mail in await tx.mails.all()]


async def test_a_link_sets_a_new_password_and_ends_every_session_and_token(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    elsewhere = app.browser()
    tokens = await elsewhere.tokens(scope="openid offline_access", prompt="consent")
    page = await browser.get(await link(browser, post_office))
    assert f"<bdi>{ALICE}</bdi>" in page.text
    assert page.headers["referrer-policy"] == "same-origin"

    done = await browser.submit(page, password=NEW_PASSWORD)

    assert (done.status_code, "The new password is strong." in done.text) == (200, True)
    assert "idp" not in browser.cookies
    assert (await elsewhere.get("/account/apps")).url.path == "/login"
    assert not await app.is_alive(tokens["access_token"])
    assert (await app.refresh(tokens["refresh_token"])).status_code == 400
    assert (await browser.sign_in(password=PASSWORD)).status_code == 401
    assert (await browser.sign_in(password=NEW_PASSWORD)).status_code == 200
    told = await post_office.letter()
    assert (told.to, told.subject) == (ALICE, "Your password was changed")
    async with app.store.read() as tx:
        events = [event for event in await tx.audit_events.all() if event.action is AuditAction.PASSWORD_SET]
    assert [(event.actor, event.target) for event in events] == [(ALICE_ID, ALICE_ID)]


async def test_opening_the_link_changes_nothing_and_only_our_form_does(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    path = await link(browser, post_office)
    for method in ("GET", "HEAD", "GET"):
        assert (await app.http().request(method, path)).status_code == 200
    page = await browser.get(path)
    assert (await browser.post(page, password=NEW_PASSWORD, csrf="x")).status_code == 403
    elsewhere = {"Origin": "https://evil.example"}
    assert (await browser.post(page, elsewhere, password=NEW_PASSWORD)).status_code == 403
    assert (await browser.post(page, password=NEW_PASSWORD)).status_code == 200


async def test_the_link_works_once_and_of_two_at_once_one_wins(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    page = await browser.get(await link(browser, post_office))
    posts = [browser.post(page, password=password) for password in (NEW_PASSWORD, NEW_PASSWORD[::-1])]
    answers = await asyncio.gather(*posts)
    assert sorted(answer.status_code for answer in answers) == [200, 410]
    again = await browser.get(str(page.url))
    assert (again.status_code, "This link does not work any more" in again.text) == (410, True)
    assert sorted(await purposes(app)) == [MailPurpose.PASSWORD_CHANGED, MailPurpose.RECOVERY]


async def test_the_link_works_for_an_hour(browser: Browser, post_office: PostOffice, clock: FakeClock) -> None:
    page = await browser.get(await link(browser, post_office))
    clock.advance(seconds=3600)
    assert (await browser.get(str(page.url))).status_code == 410
    assert (await browser.post(page, password=NEW_PASSWORD)).status_code == 410
    assert (await browser.get("/recover/invented")).status_code == 410


async def test_a_password_that_may_not_be_used_leaves_the_link_as_it_is(
    browser: Browser, post_office: PostOffice
) -> None:
    page = await browser.get(await link(browser, post_office))
    for password, why in (
        ("short", "It must have at least 8 characters."),
        ("Password1", "tried first"),
        ("alice@example.org", "It is your name or address"),
        ("Alice Liddell 7!", "It is your name or address"),
        ("Lab-ID-Lab-ID", "guess"),
        ("zxcvbnm,./", "guess"),
    ):
        page = await browser.post(page, password=password)
        assert (page.status_code, why in page.text) == (422, True), (password, page.text)
        assert password not in page.text.replace(ALICE, "")
    assert (await browser.post(page, password=NEW_PASSWORD)).status_code == 200


async def test_the_answer_is_the_same_for_everybody_and_the_work_too(app: App, post_office: PostOffice) -> None:
    await app.change("users", [BOB_ID], status=UserStatus.DISABLED)
    answers = set()
    for number, email in enumerate((ALICE, NOBODY, BOB), start=1):
        answer = await ask(app.browser(), email)
        assert await sends(app) == (number, number)
        answers.add((answer.status_code, answer.text.replace(email, "…")))
    assert len(answers) == 1
    await ask(app.browser())
    assert {(await post_office.letter()).to for _ in range(2)} == {ALICE}
    assert set(post_office.recipients) == {ALICE}


async def test_somebody_with_a_provider_and_no_password_is_told_how_they_sign_in(
    start: Start, evil: EvilProvider, clock: FakeClock, post_office: PostOffice
) -> None:
    app = await start_with_google(start, evil, clock, smtp_url=f"smtp://127.0.0.1:{post_office.server.port}")
    async with app.store.write() as tx:
        await tx.credentials.delete(f"cred_{ALICE_ID}")
        await tx.linked_accounts.add(
            make_linked_account(user_id=ALICE_ID, issuer=evil.issuer, provider="google", email=ALICE)
        )
    await ask(app.browser())
    letter: Letter = await post_office.letter()
    assert "you sign in with Google." in letter.text
    assert letter.path == "/login"
    async with app.store.read() as tx:
        (proof,) = await tx.mailed_proofs.all()
    assert proof.user_id is None


async def test_somebody_who_never_had_a_password_sets_a_first_one_and_has_proved_their_address(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    async with app.store.write() as tx:
        await tx.credentials.delete(f"cred_{BOB_ID}")
    page = await browser.get(await link(browser, post_office, BOB))
    await browser.submit(page, password=NEW_PASSWORD)
    async with app.store.read() as tx:
        assert (await tx.users.get(BOB_ID)).email_verified
        assert await tx.credentials.find_of(BOB_ID, CredentialKind.PASSWORD) is not None


async def test_a_new_password_ends_links_and_codes_that_are_out(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    first = await link(browser, post_office)
    second = await link(app.browser(), post_office)
    await browser.submit(await browser.get(first), password=NEW_PASSWORD)
    assert (await browser.get(second)).status_code == 410


@pytest.mark.parametrize("change", [{"status": UserStatus.DISABLED}, {"email": "new@example.org"}])
async def test_a_link_of_an_account_that_changed_meanwhile_does_nothing(
    app: App, browser: Browser, post_office: PostOffice, change: dict[str, str]
) -> None:
    page = await browser.get(await link(browser, post_office))
    await app.change("users", [ALICE_ID], **change)
    assert (await browser.get(str(page.url))).status_code == 410
    assert (await browser.post(page, password=NEW_PASSWORD)).status_code == 410


async def test_one_goes_on_into_the_applications_request(app: App, browser: Browser, post_office: PostOffice) -> None:
    login = await browser.request()
    (address,) = [part for part in login.text.split('"') if part.startswith("/recover?")]
    await browser.submit(await browser.get(address.replace("&amp;", "&")), email=ALICE)
    done = await browser.submit(await browser.get((await post_office.letter()).path), password=NEW_PASSWORD)
    (onward,) = [part for part in done.text.split('"') if part.startswith("/login?")]
    page = await browser.sign_in(await browser.get(onward.replace("&amp;", "&")), password=NEW_PASSWORD)
    assert (await browser.finish(page)).error is None


async def test_a_password_that_leaked_is_refused_and_a_silent_service_stops_nobody(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    # The port answers nobody, and http is not what may be reached.
    node = await post_office.node(breached_passwords="http://127.0.0.1:9/range/")
    browser = node.browser()
    page = await browser.get(await link(browser, post_office))
    assert (await browser.post(page, password=NEW_PASSWORD)).status_code == 200


async def test_without_a_mail_server_nothing_that_needs_one_is_offered(start: Start) -> None:
    app = await start(issuer="https://id.example.org")
    browser = app.browser()
    login = (await browser.get("/login")).text
    for path in ("/recover", "/signup", "/login/code"):
        assert (await browser.get(path)).status_code == 404
        assert f'"{path}' not in login
