"""Linking accounts: by proof and confirmation alone, and never the last way in taken away."""

import asyncio

import httpx2
import pytest

from idp.domain.mail import MailPurpose
from idp.domain.upstream import LinkedAccount
from tests.support.app import ALICE, ALICE_ID, BOB, BOB_ID, App, Browser, Start, form_of
from tests.support.clock import FakeClock
from tests.support.evil_provider import EvilProvider
from tests.support.factories import make_linked_account
from tests.support.upstream import Traveller, failures, start_with_google
from tests.support.upstreams import upstream_http

STRANGE = "somebody@strange.example"


@pytest.fixture
async def google(start: Start, evil: EvilProvider, clock: FakeClock) -> App:
    evil.user |= {"sub": "108", "email": ALICE, "email_verified": True, "name": "Alice at Google"}
    return await start_with_google(start, evil, clock)


@pytest.fixture
def alice(google: App) -> Traveller:
    return Traveller(google.browser())


async def links(app: App) -> list[LinkedAccount]:
    async with app.store.read() as tx:
        return await tx.linked_accounts.all()


async def link(app: App, evil: EvilProvider, user_id: str = ALICE_ID, **changes: object) -> None:
    values = {"issuer": evil.issuer, "sub": "108", "provider": "google", "user_id": user_id, "email": ALICE}
    async with app.store.write() as tx:
        await tx.linked_accounts.add(make_linked_account(**{**values, **changes}))


async def mails(app: App) -> list[MailPurpose]:
    async with app.store.read() as tx:
        return [mail.purpose for mail in await tx.mails.all()]


async def prove(browser: Browser, page: httpx2.Response, *, user: str = ALICE) -> httpx2.Response:
    """Follow the page's button, and sign in with a password."""
    (start,) = [part for part in page.text.split('"') if part.startswith("/login?")]
    return await browser.sign_in(await browser.get(start.replace("&amp;", "&")), user=user)


# ── An address that belongs to an account ───────────────────────────────────────────────────────────────────────────
async def test_an_address_alone_links_nothing_and_signs_nobody_in(google: App, alice: Traveller) -> None:
    page = await alice.sign_in()
    assert page.url.path.startswith("/login/google/link/")
    assert "You already have an account" in page.text
    assert "idp" not in alice.browser.cookies
    assert not await links(google)


async def test_whoever_proves_the_account_and_confirms_links_it_and_is_told_by_mail(
    google: App, alice: Traveller
) -> None:
    page = await prove(alice.browser, await alice.sign_in())
    assert "Connect" in page.text
    assert not await links(google)
    done = await alice.browser.submit(page, decision="link")
    assert done.url.path == "/"
    (linked,) = await links(google)
    assert (linked.user_id, linked.sub) == (ALICE_ID, "108")
    assert await mails(google) == [MailPurpose.LINKED_ACCOUNT_ADDED]
    again = Traveller(google.browser())
    assert (await again.sign_in()).url.path == "/"


async def test_within_an_authorization_request_it_goes_on_there(google: App, alice: Traveller) -> None:
    page = await prove(alice.browser, await alice.sign_in(await alice.browser.request(prompt="login")))
    page = await alice.browser.submit(page, decision="link")
    assert (await alice.browser.finish(page)).code


async def test_whoever_does_not_confirm_is_signed_in_and_nothing_is_linked(google: App, alice: Traveller) -> None:
    page = await prove(alice.browser, await alice.sign_in())
    assert (await alice.browser.submit(page, decision="cancel")).status_code == 200
    assert not await links(google)


async def test_another_account_proves_nothing_about_this_one(google: App, alice: Traveller) -> None:
    page = await prove(alice.browser, await alice.sign_in(), user=BOB)
    assert "You already have an account" in page.text
    forced = await alice.browser.http.post(
        str(page.url.path),
        data={"csrf": await _csrf(alice.browser), "decision": "link"},
        headers={"Origin": google.issuer},
    )
    assert forced.status_code in {400, 403}
    assert not await links(google)


async def test_an_old_sign_in_is_no_proof(google: App, alice: Traveller, clock: FakeClock) -> None:
    await alice.browser.sign_in()
    clock.advance(seconds=360)
    page = await alice.sign_in(await alice.browser.get("/login", add="1"))
    assert "sign in to it first" in page.text
    await alice.browser.http.post(
        str(page.url.path),
        data={"csrf": await _csrf(alice.browser), "decision": "link"},
        headers={"Origin": google.issuer},
    )
    assert not await links(google)


async def test_an_account_whose_address_was_never_verified_is_not_linked(google: App, alice: Traveller) -> None:
    """Somebody may have made it in the name of whom the address belongs to (pre-hijacking)."""
    await google.change("users", [ALICE_ID], email_verified=False)
    page = await alice.sign_in()
    assert page.status_code == 403
    assert "never verified" in page.text
    assert not await links(google)
    (event,) = await failures(google)
    assert event.detail["fault"] == "unverified_account"


async def test_an_account_that_loses_its_proof_while_the_page_is_open_is_not_linked(
    google: App, alice: Traveller
) -> None:
    page = await prove(alice.browser, await alice.sign_in())
    await google.change("users", [ALICE_ID], email_verified=False)
    assert (await alice.browser.submit(page, decision="link")).status_code == 403
    assert not await links(google)


async def test_an_address_that_the_provider_did_not_verify_is_nobodys(
    google: App, alice: Traveller, evil: EvilProvider
) -> None:
    evil.user["email_verified"] = False
    page = await alice.sign_in()
    assert page.status_code == 403
    assert "not verified" in page.text
    assert not await links(google)


async def test_the_page_of_one_browser_is_not_for_another(google: App, alice: Traveller) -> None:
    page = await alice.sign_in()
    thief = google.browser()
    await thief.sign_in()
    assert (await thief.get(str(page.url.path))).status_code == 400
    assert (await alice.browser.get(str(page.url.path).replace("google", "nobody"))).status_code == 404


async def test_a_confirmation_counts_once(google: App, alice: Traveller) -> None:
    page = await prove(alice.browser, await alice.sign_in())
    assert (await alice.browser.submit(page, decision="link")).status_code == 200
    assert (await alice.browser.submit(page, decision="link")).status_code == 400
    assert len(await links(google)) == 1


async def test_an_account_that_was_made_anew_there_is_another_one_and_the_page_says_so(
    google: App, alice: Traveller, evil: EvilProvider
) -> None:
    await link(google, evil, sub="before")
    page = await alice.sign_in()
    assert "made anew" in page.text
    assert len(await links(google)) == 1


async def test_who_comes_without_an_address_may_prove_any_account(
    google: App, alice: Traveller, evil: EvilProvider
) -> None:
    del evil.user["email"]
    page = await alice.sign_in()
    assert "No account here is connected" in page.text
    page = await prove(alice.browser, page, user=BOB)
    await alice.browser.submit(page, decision="link")
    (linked,) = await links(google)
    assert linked.user_id == BOB_ID


# ── On the page of connected accounts ───────────────────────────────────────────────────────────────────────────────
async def test_an_account_is_connected_by_whoever_is_signed_in_whatever_its_address(
    google: App, alice: Traveller, evil: EvilProvider
) -> None:
    evil.user["email"] = STRANGE
    await alice.browser.sign_in()
    page = await alice.browser.get("/account/linked")
    page = await _connect(alice, page)
    assert "Connect" in page.text
    assert STRANGE in page.text
    assert not await links(google)
    page = await alice.browser.submit(page, decision="link")
    assert page.url.path == "/account/linked"
    assert STRANGE in page.text
    (linked,) = await links(google)
    assert (linked.user_id, linked.email) == (ALICE_ID, STRANGE)


async def test_it_needs_a_sign_in_of_the_last_minutes(google: App, alice: Traveller, clock: FakeClock) -> None:
    await alice.browser.sign_in()
    clock.advance(seconds=360)
    page = await alice.browser.submit(await alice.browser.get("/account/linked"), link="google")
    assert page.url.path == "/login"
    assert "sign in again" in page.text
    assert (await alice.browser.sign_in(page)).url.path == "/account/linked"


async def test_an_account_that_signs_in_somebody_else_is_not_taken_from_them(
    google: App, alice: Traveller, evil: EvilProvider
) -> None:
    await link(google, evil, BOB_ID)
    await alice.browser.sign_in()
    page = await _connect(alice, await alice.browser.get("/account/linked"))
    page = await alice.browser.submit(page, decision="link")
    assert page.status_code == 409
    assert "connected with another account" in page.text
    (linked,) = await links(google)
    assert linked.user_id == BOB_ID


async def test_of_two_accounts_that_want_the_same_one_at_once_one_gets_it(
    google: App, alice: Traveller, evil: EvilProvider
) -> None:
    bob = Traveller(google.browser())
    pages = []
    for traveller, user in ((alice, ALICE), (bob, BOB)):
        await traveller.browser.sign_in(user=user)
        pages.append(await _connect(traveller, await traveller.browser.get("/account/linked")))
    answers = await asyncio.gather(
        *(
            traveller.browser.http.post(
                form_of(page).action,
                data={**form_of(page).fields, "decision": "link"},
                headers={"Origin": google.issuer},
            )
            for traveller, page in zip((alice, bob), pages, strict=True)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [303, 409]
    assert len(await links(google)) == 1


async def test_a_session_that_ended_meanwhile_links_nothing(google: App, alice: Traveller) -> None:
    await alice.browser.sign_in()
    page = await alice.browser.get("/account/linked")
    callback = await _callback_of_link(alice, page)
    signed_out = await alice.browser.submit(await alice.browser.get("/logout"))
    assert signed_out.status_code == 200
    page = await alice.browser.follow(await alice.arrive(callback))
    assert page.status_code == 400
    assert not await links(google)


async def test_nobody_loses_their_last_way_in(google: App, alice: Traveller, evil: EvilProvider) -> None:
    evil.user |= {"sub": "nora", "email": STRANGE}
    page = await alice.sign_in(await alice.browser.request(prompt="login"))
    assert page.url.path == "/consent"
    page = await alice.browser.get("/account/linked")
    assert "only way to sign in" in page.text
    (linked,) = await links(google)
    forced = await alice.browser.http.post(
        "/account/linked",
        data={"csrf": form_of(page).fields["csrf"], "unlink": linked.id},
        headers={"Origin": google.issuer},
    )
    assert forced.status_code == 409
    assert await links(google)


async def test_what_is_taken_away_signs_nobody_in_any_more(google: App, alice: Traveller, evil: EvilProvider) -> None:
    await link(google, evil)
    await alice.browser.sign_in()
    page = await alice.browser.get("/account/linked")
    page = await alice.browser.submit(page, unlink="la_campus")
    assert "Done" in page.text
    assert not await links(google)
    assert await mails(google) == [MailPurpose.LINKED_ACCOUNT_REMOVED]
    again = await Traveller(google.browser()).sign_in()
    assert again.url.path.startswith("/login/google/link/")


async def test_of_two_ways_in_that_are_taken_away_at_once_one_stays(
    google: App, alice: Traveller, evil: EvilProvider
) -> None:
    evil.user |= {"sub": "nora", "email": STRANGE}
    page = await alice.sign_in(await alice.browser.request(prompt="login"))
    (first,) = await links(google)
    await link(google, evil, first.user_id, id="la_second", sub="second")
    page = await alice.browser.get("/account/linked")
    answers = await asyncio.gather(
        *(
            alice.browser.http.post(
                "/account/linked",
                data={"csrf": form_of(page).fields["csrf"], "unlink": link_id},
                headers={"Origin": google.issuer},
            )
            for link_id in (first.id, "la_second")
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert len(await links(google)) == 1


async def test_another_persons_link_cannot_be_taken_away(google: App, alice: Traveller, evil: EvilProvider) -> None:
    await link(google, evil, BOB_ID)
    await alice.browser.sign_in()
    page = await alice.browser.get("/account/linked")
    forced = await alice.browser.http.post(
        "/account/linked",
        data={"csrf": form_of(page).fields["csrf"], "unlink": "la_campus"},
        headers={"Origin": google.issuer},
    )
    assert forced.status_code == 409
    assert await links(google)


# ── An address that changed there ───────────────────────────────────────────────────────────────────────────────────
async def test_an_address_that_changed_there_is_taken_over_only_if_the_person_says_so(
    google: App, alice: Traveller, evil: EvilProvider
) -> None:
    await link(google, evil)
    evil.user["email"] = "alice@new.example"
    page = await alice.sign_in()
    assert page.url.path.startswith("/login/google/address/")
    assert ALICE in page.text
    assert "alice@new.example" in page.text
    page = await alice.browser.submit(page, decision="keep")
    assert page.url.path == "/"
    assert await _address(google) == ALICE
    assert (await Traveller(google.browser()).sign_in()).url.path == "/"


async def test_the_new_address_is_used_from_then_on(google: App, alice: Traveller, evil: EvilProvider) -> None:
    await link(google, evil)
    evil.user["email"] = "alice@new.example"
    await alice.browser.submit(await alice.sign_in(), decision="use")
    assert await _address(google) == "alice@new.example"


async def test_it_is_asked_again_until_it_was_answered(google: App, alice: Traveller, evil: EvilProvider) -> None:
    await link(google, evil)
    evil.user["email"] = "alice@new.example"
    for _ in range(2):
        assert (await alice.sign_in(await alice.browser.get("/login", add="1"))).url.path.startswith(
            "/login/google/address/"
        )


async def test_an_address_of_another_account_is_never_taken_over(
    google: App, alice: Traveller, evil: EvilProvider
) -> None:
    await link(google, evil)
    evil.user["email"] = BOB
    page = await alice.sign_in()
    assert "another account" in page.text
    await alice.browser.submit(page, decision="use")
    assert await _address(google) == ALICE


async def test_an_address_that_did_not_come_from_there_is_left_alone(
    google: App, alice: Traveller, evil: EvilProvider
) -> None:
    await link(google, evil, email="alice@gmail.example")
    evil.user["email"] = "alice@new.example"
    assert (await alice.sign_in()).url.path == "/"
    assert await _address(google) == ALICE


async def _address(app: App) -> str | None:
    async with app.store.read() as tx:
        return (await tx.users.get(ALICE_ID)).email


async def _callback_of_link(traveller: Traveller, page: httpx2.Response) -> str:
    left = await traveller.browser.post(page, link="google")
    assert left.status_code == 303, left.text
    async with upstream_http() as http:
        return await traveller.walk(http, left.headers["location"])


async def _connect(traveller: Traveller, page: httpx2.Response) -> httpx2.Response:
    """Press the button that connects another account, go there, and come back."""
    return await traveller.browser.follow(await traveller.arrive(await _callback_of_link(traveller, page)))


async def _csrf(browser: Browser) -> str:
    return form_of(await browser.get("/logout")).fields["csrf"]


async def test_nobody_stays_in_by_a_link_that_is_taken_away_while_they_come(google: App, evil: EvilProvider) -> None:
    owner, survivors = google.browser(), []
    await owner.sign_in(await owner.get("/login"), user=ALICE)
    signed_in = await google.services["sessions"].find(owner.cookies.get("idp"))
    for turn in range(6):
        await link(google, evil)
        await Traveller(google.browser()).sign_in()
        (held,) = await links(google)
        traveller = Traveller(google.browser())
        callback = await traveller.callback()

        async def unlink(held: LinkedAccount = held, turn: int = turn) -> object:
            # At another moment of the way back each time.
            for _ in range(turn * 5):
                await asyncio.sleep(0)
            return await google.services["linked_accounts"].unlink(signed_in, held.id)

        await asyncio.gather(unlink(), traveller.arrive(callback))
        survivors.append(await google.services["sessions"].find(traveller.browser.cookies.get("idp")))
    assert survivors == [None] * 6
