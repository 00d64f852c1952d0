"""Proving an account that there is makes no other one; and what ends with a link."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from idp.crypto.opaque import hash_token
from idp.domain.mail import MailPurpose
from tests.support.app import ALICE, ALICE_ID, BOB, BOB_ID, App, Start, add_all, decoded, form_of
from tests.support.bent import ABSENT
from tests.support.clock import FakeClock
from tests.support.databases import one_database
from tests.support.evil_provider import EvilProvider, evil_provider
from tests.support.factories import make_invitation, make_linked_account, make_provider
from tests.support.upstream import Traveller, add_provider, failures, sealed_secret, sent, start_with_google

NORA = "nora@newcomers.example"
HOUR = 3600


@pytest.fixture
async def google(start: Start, evil: EvilProvider, clock: FakeClock) -> App:
    evil.user |= {"sub": "108", "email": NORA, "email_verified": True, "name": "Nora", "hd": "newcomers.example"}
    return await start_with_google(start, evil, clock, outbound_allow="127.0.0.0/8,::1")


@pytest.fixture
def nora(google: App) -> Traveller:
    return Traveller(google.browser())


@pytest.fixture
async def campus(google: App, clock: FakeClock) -> AsyncIterator[EvilProvider]:
    with evil_provider(clock=clock) as campus:
        campus.user = {"sub": "c1", "email": "nora@campus.example", "email_verified": True}
        secret = sealed_secret(google, "campus", campus.client_secret)
        row = make_provider(issuer=campus.issuer, client_id=campus.client_id, sealed_secret=secret)
        await add_provider(google, row)
        yield campus


async def link(app: App, evil: EvilProvider, user_id: str = ALICE_ID, **changes: object) -> None:
    values = {"issuer": evil.issuer, "sub": "108", "provider": "google", "user_id": user_id, "email": ALICE}
    await add_all(app.store, [make_linked_account(**{**values, **changes})])


def described(answer: httpx2.Response) -> str:
    return parse_qs(urlsplit(answer.headers["location"]).query)["error_description"][0]


# ── Once more as the same person ────────────────────────────────────────────────────────────────────────────────────
async def test_signing_in_again_offers_what_is_connected_and_never_makes_a_second_account(
    google: App, nora: Traveller, campus: EvilProvider, clock: FakeClock
) -> None:
    await nora.sign_in()
    clock.advance(seconds=600)
    again = await nora.browser.submit(await nora.browser.get("/account/linked"), link="campus")
    assert again.url.path == "/login"
    assert "/login/google?" in again.text
    assert "/login/campus?" not in again.text
    elsewhere = await nora.browser.get("/login")
    assert elsewhere.url.path == "/"
    # Somebody who comes by the other provider all the same, as by a page that was open before.
    form = form_of(again, "username")
    token = {"csrf": form.fields["csrf"]}
    path = "/login/campus?next=%2Faccount%2Flinked&again=1"
    left = await nora.browser.http.post(path, data=token, headers={"Origin": google.issuer})
    async with httpx2.AsyncClient(trust_env=False) as http:
        callback = await nora.walk(http, left.headers["location"])
    page = await nora.arrive(callback)
    assert page.status_code == 403
    assert "upstream_other_account" in page.text
    async with google.store.read() as tx:
        assert await tx.users.find_by_identifier("nora@campus.example") is None


async def test_signing_in_again_by_what_is_connected_is_a_proof(google: App, nora: Traveller, clock: FakeClock) -> None:
    await nora.sign_in()
    clock.advance(seconds=600)
    page = await nora.browser.get("/login", again="1", next="/account/linked")
    assert (await nora.sign_in(page)).url.path == "/account/linked"
    found = await google.services["sessions"].find(nora.browser.cookies["idp"])
    assert found.session.proven_since(google.clock() - timedelta(minutes=1))


async def test_the_account_of_somebody_else_is_no_proof(
    google: App, nora: Traveller, evil: EvilProvider, clock: FakeClock
) -> None:
    await nora.sign_in()
    await link(google, evil, BOB_ID, sub="bob", email=BOB)
    clock.advance(seconds=600)
    evil.user |= {"sub": "bob", "email": BOB}
    page = await nora.sign_in(await nora.browser.get("/login", again="1", next="/account/linked"))
    assert "upstream_other_account" in page.text
    assert NORA in (await nora.browser.get("/account/linked")).text


async def test_proving_an_account_to_link_it_makes_no_other_one_either(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    evil.user["email"] = ALICE
    page = await nora.sign_in()
    assert "whoever runs" in page.text
    (start,) = [part for part in page.text.split('"') if part.startswith("/login?")]
    login = await nora.browser.get(start.replace("&amp;", "&"))
    assert "the account that you have here" in login.text
    evil.user |= {"sub": "another", "email": "another@newcomers.example"}
    assert "upstream_other_account" in (await nora.sign_in(login)).text
    async with google.store.read() as tx:
        assert await tx.users.find_by_identifier("another@newcomers.example") is None


@one_database
async def test_trying_again_goes_on_as_it_began(google: App, nora: Traveller, evil: EvilProvider) -> None:
    await nora.browser.sign_in()
    evil.refuse()
    page = await nora.sign_in(await nora.browser.get("/login", add="1"))
    assert 'href="/login?add=1"' in page.text


# ── Freshness that nobody proves ────────────────────────────────────────────────────────────────────────────────────
async def test_the_application_is_told_what_is_true_oidc_core_s3_1_2_6(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    evil.id_token["auth_time"] = ABSENT
    await nora.sign_in()
    answer = await nora.arrive(await nora.callback(await nora.browser.request(max_age="60")))
    assert "prompt=none" not in described(answer)
    assert "does not say" in described(answer)


async def test_whoever_has_an_account_with_a_password_proves_it_the_first_time_too(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    evil.user["email"] = ALICE
    evil.id_token["auth_time"] = ABSENT
    page = await nora.sign_in(await nora.browser.request(max_age="60"))
    assert page.url.path.startswith("/login/google/link/")


@pytest.mark.parametrize(("auth_time", "fault"), [(True, "not_fresh"), (False, "never_fresh")])
@one_database
async def test_the_page_tells_whether_to_try_again_helps(
    google: App, nora: Traveller, evil: EvilProvider, clock: FakeClock, auth_time: bool, fault: str
) -> None:
    await nora.sign_in()
    clock.advance(seconds=HOUR)
    if auth_time:
        evil.auth_time = clock() - timedelta(minutes=30)
    else:
        evil.id_token["auth_time"] = ABSENT
    page = await nora.sign_in(await nora.browser.get("/login", again="1", next="/account/linked"))
    assert f"upstream_{fault}" in page.text
    assert "password" in page.text


@one_database
async def test_the_page_that_asks_for_a_password_leads_back_to_the_other_ways(
    google: App, nora: Traveller, evil: EvilProvider, clock: FakeClock
) -> None:
    await link(google, evil)
    evil.user["email"] = ALICE
    evil.auth_time = clock() - timedelta(hours=1)
    page = await nora.sign_in(await nora.browser.request(prompt="login"))
    (back,) = [part for part in page.text.split('"') if part.startswith("/login?") and "proof" not in part]
    assert "/login/google?" in (await nora.browser.get(back.replace("&amp;", "&"))).text


# ── Who may make an account ─────────────────────────────────────────────────────────────────────────────────────────
@one_database
async def test_whom_it_is_about_stands_on_the_page_that_refuses_an_account(
    start: Start, evil: EvilProvider, clock: FakeClock
) -> None:
    evil.user |= {"sub": "108", "email": NORA, "email_verified": True}
    app = await start_with_google(start, evil, clock, registration="invite")
    page = await Traveller(app.browser()).sign_in()
    assert page.status_code == 403
    assert NORA in page.text


@pytest.mark.parametrize("domain", ["gmail.com", "guests.example"])
async def test_a_link_for_whoever_gets_it_makes_one_account(
    start: Start, evil: EvilProvider, clock: FakeClock, domain: str
) -> None:
    app = await start_with_google(start, evil, clock, registration="invite")
    token = "T" * 43
    await add_all(app.store, [make_invitation(hash=hash_token(token), lab_id="lab_bio", invited_by=BOB_ID)])
    pages, travellers = [], [Traveller(app.browser()) for _ in range(3)]
    for number, traveller in enumerate(travellers):
        evil.user |= {"sub": f"s{number}", "email": f"s{number}@{domain}", "email_verified": True}
        page = await traveller.browser.get("/login", next=f"/invitations/{token}")
        pages.append(await traveller.sign_in(page))
    assert [page.status_code for page in pages] == [200, 403, 403]
    joined = await travellers[0].browser.submit(pages[0], decision="accept")
    assert "Biology" in joined.text
    # Whoever has an account and gets the same link is too late.
    alice = app.browser()
    await alice.sign_in()
    assert (await alice.get(f"/invitations/{token}")).status_code == 410


@pytest.mark.parametrize(("hd", "let_in"), [(None, False), ("lab.example", True)])
@one_database
async def test_a_domain_opens_only_to_addresses_that_google_can_know_of(
    start: Start, evil: EvilProvider, clock: FakeClock, hd: str | None, let_in: bool
) -> None:
    """Somebody who left has a private Google account on the address that they had."""
    app = await start_with_google(start, evil, clock, registration="domains", registration_domains="lab.example")
    evil.user |= {"sub": "ex", "email": "gone@lab.example", "email_verified": True} | ({"hd": hd} if hd else {})
    assert (await Traveller(app.browser()).sign_in()).status_code == (200 if let_in else 403)
    async with app.store.read() as tx:
        assert (await tx.users.find_by_identifier("gone@lab.example") is not None) == let_in


async def test_an_address_that_google_cannot_know_of_stays_unverified_here(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    del evil.user["hd"]
    await nora.sign_in()
    async with google.store.read() as tx:
        assert not (await tx.users.find_by_identifier(NORA)).email_verified


@pytest.mark.parametrize("name", ["a\x00b", "‮evil", "x" * 9000, {"a": ["b"]}, 5], ids=str)
async def test_a_name_that_cannot_be_stored_keeps_nobody_out(
    google: App, nora: Traveller, evil: EvilProvider, name: object
) -> None:
    evil.user["name"] = name
    assert (await nora.sign_in()).status_code == 200
    del evil.user["email"]
    evil.user["sub"] = "another"
    page = await Traveller(google.browser()).sign_in()
    assert page.status_code == 200
    assert len(page.text) < 9000


# ── What ends ───────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_whoever_came_in_by_a_link_is_out_once_it_is_taken_away(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    await link(google, evil)
    await nora.sign_in(await nora.browser.request(prompt="login"))
    alice = google.browser()
    await alice.sign_in()
    page = await alice.submit(await alice.get("/account/linked"), unlink="la_campus")
    assert "signed out in other browsers" in page.text
    assert (await nora.browser.get("/account/linked")).url.path == "/login"
    assert (await alice.get("/account/linked")).status_code == 200


async def test_a_page_that_was_answered_with_no_asks_nobody_again(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    evil.user["email"] = ALICE
    path = (await nora.sign_in()).url.path
    await nora.browser.sign_in()
    await nora.browser.submit(await nora.browser.get(path), decision="cancel")
    assert (await nora.browser.get(path)).status_code == 400


@one_database
async def test_a_page_answers_only_what_it_was_made_for(google: App, nora: Traveller, evil: EvilProvider) -> None:
    await link(google, evil)
    evil.user["email"] = "alice@new.example"
    path = (await nora.sign_in()).url.path
    assert path.startswith("/login/google/address/")
    assert (await nora.browser.get(path.replace("/address/", "/link/"))).status_code == 400


async def test_a_change_of_address_is_told_to_the_old_one(google: App, nora: Traveller, evil: EvilProvider) -> None:
    await link(google, evil)
    evil.user["email"] = "alice@new.example"
    await nora.browser.submit(await nora.sign_in(), decision="use")
    async with google.store.read() as tx:
        assert [mail.purpose for mail in await tx.mails.all()] == [MailPurpose.EMAIL_CHANGED]


async def test_of_two_who_take_the_same_address_at_once_one_gets_it(google: App, evil: EvilProvider) -> None:
    pages = []
    for number, (user_id, email) in enumerate(((ALICE_ID, ALICE), (BOB_ID, BOB))):
        await link(google, evil, user_id, id=f"la_{number}", sub=f"s{number}", email=email)
        evil.user |= {"sub": f"s{number}", "email": "same@new.example"}
        traveller = Traveller(google.browser())
        pages.append((traveller, form_of(await traveller.sign_in())))
    answers = await asyncio.gather(
        *(
            traveller.browser.http.post(
                form.action, data={**form.fields, "decision": "use"}, headers={"Origin": google.issuer}
            )
            for traveller, form in pages
        )
    )
    assert [answer.status_code for answer in answers] == [303, 303]
    async with google.store.read() as tx:
        emails = [(await tx.users.get(each)).email for each in (ALICE_ID, BOB_ID)]
    assert emails.count("same@new.example") == 1


async def test_an_address_that_is_verified_only_later_is_asked_about_then(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    await link(google, evil)
    evil.user |= {"email": "alice@new.example", "email_verified": False}
    assert (await nora.sign_in()).url.path == "/"
    evil.user["email_verified"] = True
    page = await Traveller(google.browser()).sign_in()
    assert page.url.path.startswith("/login/google/address/")


async def test_an_address_that_google_cannot_know_of_becomes_an_unverified_one_here(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    await link(google, evil)
    evil.user["email"] = "gone@lab.example"
    del evil.user["hd"]
    await nora.browser.submit(await nora.sign_in(), decision="use")
    async with google.store.read() as tx:
        alice = await tx.users.get(ALICE_ID)
    assert (alice.email, alice.email_verified) == ("gone@lab.example", False)


async def test_what_a_session_gave_for_later_ends_with_the_link_by_which_it_began(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    await link(google, evil, email=NORA)
    page = await nora.sign_in(await nora.browser.request(scope="openid offline_access", prompt="consent"))
    tokens = (await google.redeem(await nora.browser.finish(page))).json()
    alice = google.browser()
    await alice.sign_in()
    await alice.submit(await alice.get("/account/linked"), unlink="la_campus")
    assert (await google.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


# ── On the way ──────────────────────────────────────────────────────────────────────────────────────────────────────
@one_database
async def test_linking_lets_the_person_choose_there(google: App, nora: Traveller, campus: EvilProvider) -> None:
    await nora.browser.sign_in()
    left = await nora.browser.post(await nora.browser.get("/account/linked"), link="campus")
    assert sent(left.headers["location"])["prompt"] == "select_account"


async def test_answers_that_are_nobodys_leave_so_many_rows(start: Start, evil: EvilProvider, clock: FakeClock) -> None:
    app = await start_with_google(start, evil, clock, authorization_limit="3/hour", rate_limit_exempt="10.9.9.9")
    http = app.http()
    answers = [(await http.get(f"/login/google/callback?state={number}")).status_code for number in range(5)]
    assert answers == [400, 400, 400, 429, 429]
    assert len(await failures(app)) == 3


@one_database
async def test_a_provider_that_is_switched_off_meanwhile_says_so_and_leads_on(
    google: App, nora: Traveller, campus: EvilProvider
) -> None:
    callback = await nora.callback(provider="campus")
    await google.change("providers", ["campus"], status="disabled")
    google.services["providers"].forget()
    page = await nora.arrive(callback)
    assert page.status_code == 404
    assert "switched off" in page.text
    assert 'href="/login"' in page.text


@one_database
async def test_letters_beyond_ascii_lead_nowhere(google: App, nora: Traveller) -> None:
    await nora.browser.sign_in()
    for path in ("/login/google/link/%C3%BC", "/login/google/link/%E4%B8%AD"):
        answer = await nora.browser.http.get(f"/login?next={path}")
        assert answer.headers["location"] == "/"


@pytest.mark.parametrize("hd", ["newcomers.example", None])
async def test_first_sign_ins_at_once_all_succeed(google: App, evil: EvilProvider, hd: str | None) -> None:
    evil.user["hd"] = hd
    for person in range(4):
        evil.user |= {"sub": f"s{person}", "email": f"same{person}@newcomers.example"}
        arrivals = []
        for _ in range(4):
            traveller = Traveller(google.browser())
            arrivals.append((traveller, await traveller.callback()))
        answers = await asyncio.gather(*(traveller.arrive(callback) for traveller, callback in arrivals))
        assert [answer.headers.get("location") for answer in answers] == ["/"] * 4


# ── A stronger sign-in ──────────────────────────────────────────────────────────────────────────────────────────────
async def test_who_signed_in_by_one_factor_is_sent_to_a_provider_that_has_two_oidc_core_s5_5_1_1(
    google: App, nora: Traveller, campus: EvilProvider
) -> None:
    async with google.store.write() as tx:
        await tx.providers.save(replace(await tx.providers.get("campus"), acr={"mfa": "2"}))
    google.services["providers"].forget()
    await nora.sign_in()
    await link(
        google,
        campus,
        (await google.services["sessions"].find(nora.browser.cookies["idp"])).user.id,
        sub="c1",
        provider="campus",
        email=None,
    )
    wish = json.dumps({"id_token": {"acr": {"essential": True, "values": ["2"]}}})
    page = await nora.browser.request(claims=wish, scope="openid")
    assert page.url.path == "/login"
    campus.id_token["acr"] = "mfa"
    left = await nora.leave(page, "campus")
    assert sent(left.headers["location"])["acr_values"] == "mfa"
    answer = await nora.browser.finish(await nora.sign_in(page, "campus"))
    _, claims = decoded((await google.redeem(answer)).json()["id_token"])
    assert claims["acr"] == "2"
