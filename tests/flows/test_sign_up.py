"""Signing up: nothing is an account before its address is proven, and the answer is the same for everybody."""

import asyncio
from typing import Any

import httpx2
import pytest

from idp.domain.audit import AuditAction
from idp.domain.credential import CredentialKind
from idp.domain.mail import MailPurpose
from idp.domain.user import User
from idp.services.invitations import InvitationInput
from idp.services.lab_permissions import OPERATOR
from tests.support.app import ALICE, ISSUER, App, Browser, decoded
from tests.support.clock import FakeClock
from tests.support.post import NEW_PASSWORD, PostOffice, sends

NEW = "carol@new.example.org"


@pytest.fixture
async def app(post_office: PostOffice) -> App:
    return await post_office.node(registration="open")


async def sign_up(
    browser: Browser, email: str = NEW, page: httpx2.Response | None = None, **fields: str
) -> httpx2.Response:
    values = {"email": email, "name": "Carol Danvers", "password": NEW_PASSWORD, **fields}
    return await browser.submit(page or await browser.get("/signup"), **values)


async def find(app: App, email: str = NEW) -> User | None:
    async with app.store.read() as tx:
        return await tx.users.find_by_identifier(email)


async def invite(app: App, **given: Any) -> str:
    read = InvitationInput.read({"lab": "bio", **given})
    _, url = await app.services["invitations"].invite(OPERATOR, read)
    return url.removeprefix(ISSUER)


async def test_the_link_makes_the_account_and_signs_in_where_it_was_asked_for(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    login = await browser.get("/login")
    assert 'href="/signup"' in login.text
    sent = await sign_up(browser)
    assert (sent.status_code, f"<bdi>{NEW}</bdi>" in sent.text) == (200, True)
    assert await find(app) is None
    letter = await post_office.letter()
    assert letter.to == NEW

    page = await browser.get(letter.path)
    assert await find(app) is None
    home = await browser.submit(page)

    assert f"<bdi>{NEW}</bdi>" in home.text
    user = await find(app)
    assert user is not None
    assert (user.email_verified, user.name, user.roles) == (True, "Carol Danvers", ())
    async with app.store.read() as tx:
        (session,) = await tx.sessions.all()
        created = [event for event in await tx.audit_events.all() if event.action is AuditAction.USER_CREATED]
    assert (session.amr, session.acr) == (("otp",), "1")
    assert [(event.actor, event.target) for event in created] == [("sign_up", user.id)]
    assert (await app.browser().sign_in(user=NEW, password=NEW_PASSWORD)).status_code == 200


async def test_the_answer_is_the_same_for_who_has_an_account_and_the_work_too(
    app: App, post_office: PostOffice
) -> None:
    answers = set()
    for number, email in enumerate((NEW, ALICE), start=1):
        answer = await sign_up(app.browser(), email)
        assert await sends(app) == (number, number)
        answers.add((answer.status_code, answer.text.replace(email, "…")))
    assert len(answers) == 1
    letters = {letter.to: letter for letter in [await post_office.letter(), await post_office.letter()]}
    assert "There is an account with it already" in letters[ALICE].text
    assert letters[ALICE].path == "/login"
    async with app.store.read() as tx:
        held = await tx.credentials.find_of("u_alice", CredentialKind.PASSWORD)
    assert held is not None
    assert (await app.browser().sign_in(user=ALICE)).status_code == 200


async def test_elsewhere_the_link_asks_for_the_password_so_that_nobody_confirms_anothers_account(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    await sign_up(browser)
    path = (await post_office.letter()).path
    victim = app.browser()
    page = await victim.get(path)
    refused = await victim.post(page, password="what-they-would-take")
    assert (refused.status_code, "not the password that was chosen" in refused.text) == (401, True)
    assert await find(app) is None
    done = await victim.post(refused, password=NEW_PASSWORD)
    assert (done.status_code, "Your account is ready" in done.text) == (200, True)
    assert "idp" not in victim.cookies
    assert await find(app) is not None


async def test_a_link_works_once_and_of_two_at_once_one_wins(
    app: App, browser: Browser, post_office: PostOffice, clock: FakeClock
) -> None:
    await sign_up(browser)
    page = await browser.get((await post_office.letter()).path)
    answers = await asyncio.gather(browser.post(page), browser.post(page), browser.post(page))
    assert sorted(answer.status_code for answer in answers) == [303, 410, 410]
    assert (await app.browser().get(str(page.url))).status_code == 410
    async with app.store.read() as tx:
        assert len([user for user in await tx.users.all() if user.email == NEW]) == 1


async def test_of_two_links_for_one_address_one_makes_an_account(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    await sign_up(browser)
    await sign_up(browser)
    pages = [await browser.get((await post_office.letter()).path) for _ in range(2)]
    answers = await asyncio.gather(*(browser.post(page) for page in pages))
    assert sorted(answer.status_code for answer in answers) == [303, 410]


async def test_the_link_works_for_a_day(browser: Browser, post_office: PostOffice, clock: FakeClock) -> None:
    await sign_up(browser)
    path = (await post_office.letter()).path
    clock.advance(seconds=24 * 3600)
    assert (await browser.get(path)).status_code == 410


async def test_nothing_of_a_sign_up_can_be_read_in_the_database(
    app: App, browser: Browser, post_office: PostOffice
) -> None:
    await sign_up(browser)
    letter = await post_office.letter()
    async with app.store.read() as tx:
        (proof,) = await tx.mailed_proofs.all()
    for secret in (NEW, "Carol", "argon2", letter.path.rpartition("/")[2]):
        assert secret not in repr(proof)


async def test_whatever_is_wrong_is_told_beside_its_field_before_anything_is_looked_up(
    app: App, browser: Browser
) -> None:
    page = await sign_up(browser, "carol", password="carol", name="a\u202eb")
    assert page.status_code == 422
    for field in ("email", "name", "password"):
        assert f'id="{field}-error"' in page.text
    for email in (ALICE, NEW):
        assert (await sign_up(browser, email, password="password1")).status_code == 422
    assert await sends(app) == (0, 0)


async def test_one_goes_on_into_the_applications_request(app: App, browser: Browser, post_office: PostOffice) -> None:
    login = await browser.request()
    (address,) = [part for part in login.text.split('"') if part.startswith("/signup?")]
    await sign_up(browser, page=await browser.get(address.replace("&amp;", "&")))
    page = await browser.submit(await browser.get((await post_office.letter()).path))
    answer = await browser.finish(page)
    user = await find(app)
    assert user is not None
    assert decoded((await app.redeem(answer)).json()["id_token"])[1]["sub"] == user.id


# ── Who may ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("settings", "purpose"),
    [
        ({"registration": "open"}, MailPurpose.SIGN_UP),
        ({"registration": "domains", "registration_domains": "new.example.org"}, MailPurpose.SIGN_UP),
        ({"registration": "domains", "registration_domains": "example.org"}, MailPurpose.SIGN_UP_REFUSED),
        ({"registration": "invite"}, MailPurpose.SIGN_UP_REFUSED),
    ],
)
async def test_the_policy_decides_and_only_the_mail_tells(
    post_office: PostOffice, settings: dict[str, str], purpose: MailPurpose
) -> None:
    app = await post_office.node(**settings)
    assert (await sign_up(app.browser())).status_code == 200
    letter = await post_office.letter()
    async with app.store.read() as tx:
        assert [mail.purpose for mail in await tx.mails.all()] == [purpose]
    assert letter.path.startswith("/verify-email/") is (purpose is MailPurpose.SIGN_UP)


async def test_where_nobody_may_the_page_says_so_and_takes_nothing(post_office: PostOffice) -> None:
    app = await post_office.node(registration="closed")
    browser = app.browser()
    page = await browser.get("/signup")
    assert (page.status_code, "Nobody can create an account here" in page.text) == (403, True)
    posted = await browser.http.post("/signup", data={"email": NEW, "password": NEW_PASSWORD})
    assert posted.status_code == 403
    assert await sends(app) == (0, 0)
    assert "/signup" not in (await browser.get("/login")).text


async def test_whoever_was_invited_by_mail_makes_an_account_and_accepts(post_office: PostOffice) -> None:
    app = await post_office.node(registration="invite")
    browser = app.browser()
    assert "/signup" not in (await browser.get("/login")).text
    path = await invite(app, email=NEW)
    assert (await post_office.letter()).to == NEW
    login = await browser.get(path)
    (address,) = [part for part in login.text.split('"') if part.startswith("/signup?")]
    await sign_up(browser, page=await browser.get(address.replace("&amp;", "&")))
    invitation = await browser.submit(await browser.get((await post_office.letter()).path))
    assert invitation.url.path == path
    accepted = await browser.submit(invitation, decision="accept")
    assert "Welcome to" in accepted.text


async def test_an_invitation_link_makes_one_account(post_office: PostOffice) -> None:
    app = await post_office.node(registration="invite")
    path = await invite(app)
    pages = []
    for email in (NEW, "dave@new.example.org"):
        browser = app.browser()
        form = await browser.get("/signup", next=path)
        await sign_up(browser, email, form)
        pages.append((browser, await browser.get((await post_office.letter()).path)))
    answers = await asyncio.gather(*(browser.post(page) for browser, page in pages))
    assert sorted(answer.status_code for answer in answers) == [303, 410]
    async with app.store.read() as tx:
        assert len([user for user in await tx.users.all() if str(user.email).endswith("new.example.org")]) == 1


async def test_an_invitation_that_was_taken_back_meanwhile_makes_none(post_office: PostOffice) -> None:
    app = await post_office.node(registration="invite")
    browser = app.browser()
    form = await browser.get("/signup", next=await invite(app))
    await sign_up(browser, page=form)
    page = await browser.get((await post_office.letter()).path)
    async with app.store.write() as tx:
        (invitation,) = await tx.invitations.all()
        await tx.invitations.delete(invitation.id)
    assert (await browser.post(page)).status_code == 410
    assert await find(app) is None
