"""Signing in through another provider: who gets in, with which account, and what is told of them."""

import asyncio
from datetime import timedelta

import pytest

from idp.domain.credential import CredentialKind
from idp.domain.user import UserStatus
from tests.support.app import ALICE, ALICE_ID, App, Browser, Start, answer_of, decoded
from tests.support.bent import ABSENT
from tests.support.clock import FakeClock
from tests.support.evil_provider import EvilProvider
from tests.support.factories import make_linked_account, make_provider
from tests.support.upstream import Traveller, add_provider, failures, sealed_secret, sent, start_with_google

NEWCOMER, DOMAIN = "nora@newcomers.example", "newcomers.example"


@pytest.fixture
async def google(start: Start, evil: EvilProvider, clock: FakeClock) -> App:
    evil.user |= {"sub": "108", "email": NEWCOMER, "email_verified": True, "name": "Nora Newcomer", "hd": DOMAIN}
    return await start_with_google(start, evil, clock)


@pytest.fixture
def nora(google: App) -> Traveller:
    return Traveller(google.browser())


async def link_alice(app: App, evil: EvilProvider, **changes: object) -> None:
    """Let Alice have connected her account at the provider, whose `sub` is 108."""
    linked = make_linked_account(
        issuer=evil.issuer, sub="108", provider="google", user_id=ALICE_ID, email=ALICE, **changes
    )
    evil.user |= {"sub": "108", "email": ALICE}
    async with app.store.write() as tx:
        await tx.linked_accounts.add(linked)


async def session_of(browser: Browser) -> object:
    app = browser.app
    return await app.services["sessions"].find(browser.cookies.get("idp"))


# ── The way there ───────────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_request_has_state_nonce_and_pkce_and_an_address_of_its_own_rfc9700_s2_1_1(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    params = sent((await nora.leave()).headers["location"])
    assert params["redirect_uri"] == f"{google.issuer}/login/google/callback"
    assert params["response_type"] == "code"
    assert params["client_id"] == evil.client_id
    assert params["code_challenge_method"] == "S256"
    assert params["prompt"] == "select_account"
    again = sent((await nora.leave()).headers["location"])
    for name in ("state", "nonce", "code_challenge"):
        assert len(params[name]) >= 43
        assert params[name] != again[name]


async def test_nothing_of_the_way_there_can_be_read_in_the_database_rfc9700_s4_7_1(
    google: App, nora: Traveller
) -> None:
    params = sent((await nora.leave()).headers["location"])
    async with google.store.read() as tx:
        (visit,) = await tx.upstream_visits.all()
    shown = repr(visit).encode() + visit.sealed
    assert not any(params[name].encode() in shown for name in ("state", "nonce", "code_challenge"))


async def test_another_site_cannot_send_somebody_there(google: App, nora: Traveller) -> None:
    page = await nora.browser.get("/login")
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    refused = await nora.browser.http.post("/login/google", data={"csrf": "x"}, headers=headers)
    assert refused.status_code == 403
    stale = await nora.browser.http.post("/login/google", data={"csrf": "x"}, headers={"Origin": google.issuer})
    assert stale.status_code == 403
    assert "Please try again" in stale.text
    assert page.status_code == 200
    async with google.store.read() as tx:
        assert not await tx.upstream_visits.all()


async def test_the_address_alone_leads_to_the_sign_in_page_and_an_unknown_provider_nowhere(nora: Traveller) -> None:
    assert (await nora.browser.get("/login/google")).url.path == "/login"
    assert (await nora.browser.get("/login/nobody")).status_code == 404
    assert (await nora.browser.get("/login/nobody/callback")).status_code == 404


async def test_the_hint_of_the_application_is_passed_on_oidc_core_s3_1_2_1(nora: Traveller) -> None:
    page = await nora.browser.request(login_hint=NEWCOMER)
    assert sent((await nora.leave(page)).headers["location"])["login_hint"] == NEWCOMER


async def test_a_network_may_begin_so_many(start: Start, evil: EvilProvider, clock: FakeClock) -> None:
    app = await start_with_google(start, evil, clock, authorization_limit="1/hour", rate_limit_exempt="10.9.9.9")
    traveller = Traveller(app.browser())
    assert (await traveller.leave()).status_code == 303
    refused = await traveller.leave()
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0


# ── Who gets in ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_newcomer_gets_an_account_with_what_the_provider_tells_s5_7(google: App, nora: Traveller) -> None:
    page = await nora.sign_in()
    assert page.status_code == 200
    assert page.url.path == "/"
    async with google.store.read() as tx:
        user = await tx.users.find_by_identifier(NEWCOMER)
        assert user is not None
        (linked,) = await tx.linked_accounts.of_user(user.id)
        assert await tx.credentials.find_of(user.id, CredentialKind.PASSWORD) is None
    assert (user.name, user.email_verified, user.roles) == ("Nora Newcomer", True, ())
    assert (linked.sub, linked.provider, linked.email) == ("108", "google", NEWCOMER)


async def test_whoever_is_known_signs_in_to_their_account_whatever_their_address_is_now(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    await link_alice(google, evil)
    evil.user["email"] = ALICE
    await nora.sign_in()
    found = await session_of(nora.browser)
    assert found.user.id == ALICE_ID
    assert found.session.amr == ("fed",)
    assert found.session.acr == "1"


async def test_the_application_gets_its_code_and_truthful_claims_oidc_core_s2(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    page = await nora.sign_in(await nora.browser.request(scope="openid email"))
    answer = await nora.browser.finish(page)
    tokens = (await google.redeem(answer)).json()
    _, claims = decoded(tokens["id_token"])
    assert claims["amr"] == ["fed"]
    # The provider did not say when they signed in there, so nobody is told a time.
    assert "auth_time" not in claims
    assert (await google.userinfo(tokens["access_token"])).json()["email"] == NEWCOMER


async def test_a_page_of_ours_is_gone_on_to(nora: Traveller) -> None:
    page = await nora.sign_in(await nora.browser.get("/account/labs"))
    assert page.url.path == "/account/labs"


async def test_a_disabled_account_stays_out(google: App, nora: Traveller, evil: EvilProvider) -> None:
    await link_alice(google, evil)
    await google.change("users", [ALICE_ID], status=UserStatus.DISABLED)
    page = await nora.sign_in()
    assert page.status_code == 403
    assert "cannot be used" in page.text
    assert "idp" not in nora.browser.cookies
    (event,) = await failures(google)
    assert event.detail == {"provider": "google", "fault": "disabled"}


async def test_of_two_who_come_first_at_the_same_time_one_account_is_made(google: App, evil: EvilProvider) -> None:
    travellers = [Traveller(google.browser()) for _ in range(4)]
    callbacks = [await traveller.callback() for traveller in travellers]
    answers = await asyncio.gather(
        *(traveller.arrive(callback) for traveller, callback in zip(travellers, callbacks, strict=True))
    )
    assert [answer.headers["location"] for answer in answers] == ["/"] * 4
    async with google.store.read() as tx:
        user = await tx.users.find_by_identifier(NEWCOMER)
        assert len(await tx.linked_accounts.all()) == 1
        assert len([session for session in await tx.sessions.all() if session.user_id == user.id]) == 4


async def test_other_accounts_stay_signed_in_beside(google: App, nora: Traveller) -> None:
    await nora.browser.sign_in(user="bob@example.org")
    await nora.sign_in(await nora.browser.get("/login", add="1"))
    assert "bob@example.org" in (await nora.browser.get("/select-account")).text


async def test_the_same_person_keeps_the_session_with_a_new_cookie(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    await link_alice(google, evil)
    await nora.browser.sign_in()
    before = await session_of(nora.browser)
    cookie = nora.browser.cookies["idp"]
    await nora.sign_in(await nora.browser.get("/login", add="1"))
    after = await session_of(nora.browser)
    assert after.session.id == before.session.id
    assert nora.browser.cookies["idp"] != cookie


# ── The policy ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("settings", "let_in"),
    [
        ({"registration": "closed"}, False),
        ({"registration": "invite"}, False),
        ({"registration": "domains", "registration_domains": "newcomers.example"}, True),
        ({"registration": "domains", "registration_domains": "other.example,rs.example"}, False),
    ],
)
async def test_an_account_is_made_where_the_policy_allows_it(
    start: Start, evil: EvilProvider, clock: FakeClock, settings: dict[str, str], let_in: bool
) -> None:
    evil.user |= {"sub": "108", "email": NEWCOMER, "email_verified": True, "hd": DOMAIN}
    app = await start_with_google(start, evil, clock, **settings)
    page = await Traveller(app.browser()).sign_in()
    assert page.status_code == (200 if let_in else 403)
    async with app.store.read() as tx:
        assert (await tx.users.find_by_identifier(NEWCOMER) is not None) == let_in
        assert bool(await tx.linked_accounts.all()) == let_in
    if not let_in:
        assert "There is no account for you yet" in page.text


async def test_whoever_is_invited_by_mail_or_link_may_make_one(
    start: Start, evil: EvilProvider, clock: FakeClock
) -> None:
    app = await start_with_google(start, evil, clock, registration="invite")
    alice = app.browser()
    await alice.sign_in()
    page = await alice.submit(await alice.get("/labs/bio/invitations"), email=NEWCOMER, role="member")
    assert page.status_code == 200
    evil.user |= {"sub": "108", "email": NEWCOMER, "email_verified": True, "hd": DOMAIN}
    assert (await Traveller(app.browser()).sign_in()).status_code == 200


# ── What is taken over ──────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_profile_is_taken_over_by_the_mapping_and_what_cannot_be_stored_is_not(
    start: Start, evil: EvilProvider, clock: FakeClock
) -> None:
    app = await start_with_google(start, evil, clock)
    campus = make_provider(
        issuer=evil.issuer,
        client_id=evil.client_id,
        sealed_secret=sealed_secret(app, "campus", evil.client_secret),
        claims={"name": "displayName", "given_name": "given_name", "picture": "picture", "locale": "locale"},
        update_profile=True,
    )
    await add_provider(app, campus)
    evil.user |= {
        "sub": "108",
        "email": NEWCOMER,
        "displayName": "Nora N.",
        "given_name": "No‮ra",
        "picture": "javascript:alert(1)",
        "locale": "de-AT",
        "phone_number": "+43 1",
    }
    traveller = Traveller(app.browser())
    await traveller.sign_in(provider="campus")
    async with app.store.read() as tx:
        user = await tx.users.find_by_identifier(NEWCOMER)
    assert (user.name, user.profile) == ("Nora N.", {"locale": "de-AT"})
    evil.user |= {"displayName": "Nora Newname", "picture": "https://campus.example/nora.png"}
    await Traveller(app.browser()).sign_in(provider="campus")
    async with app.store.read() as tx:
        user = await tx.users.find_by_identifier(NEWCOMER)
    assert user.name == "Nora Newname"
    assert user.profile == {"locale": "de-AT", "picture": "https://campus.example/nora.png"}


async def test_a_profile_is_not_overwritten_unless_the_provider_is_set_up_so(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    await nora.sign_in()
    evil.user["name"] = "Somebody Else"
    await Traveller(google.browser()).sign_in()
    async with google.store.read() as tx:
        assert (await tx.users.find_by_identifier(NEWCOMER)).name == "Nora Newcomer"


async def test_only_translated_words_say_how_somebody_signed_in(
    start: Start, evil: EvilProvider, clock: FakeClock
) -> None:
    app = await start_with_google(start, evil, clock)
    campus = make_provider(
        issuer=evil.issuer,
        client_id=evil.client_id,
        sealed_secret=sealed_secret(app, "campus", evil.client_secret),
        acr={"https://refeds.org/profile/mfa": "2"},
        amr={"mfa": "mfa", "smartcard": "hwk"},
    )
    await add_provider(app, campus)
    evil.user |= {"sub": "108", "email": NEWCOMER}
    evil.id_token |= {"acr": "https://refeds.org/profile/mfa", "amr": ["smartcard", "magic", "smartcard"]}
    traveller = Traveller(app.browser())
    await traveller.sign_in(provider="campus")
    session = (await session_of(traveller.browser)).session
    assert (session.acr, session.amr) == ("2", ("fed", "hwk"))
    evil.id_token |= {"acr": "2", "amr": ["hwk"]}
    other = Traveller(app.browser())
    await other.sign_in(provider="campus")
    session = (await session_of(other.browser)).session
    assert (session.acr, session.amr) == ("1", ("fed",))


# ── Freshness ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"prompt": "login"}, {"prompt": "login", "max_age": "0"}),
        ({"max_age": "300"}, {"max_age": "300"}),
        ({"max_age": "0"}, {"prompt": "login", "max_age": "0"}),
    ],
)
async def test_what_is_demanded_of_the_sign_in_is_passed_on_s3_1_2_1(
    google: App, nora: Traveller, evil: EvilProvider, asked: dict[str, str], told: dict[str, str]
) -> None:
    await add_provider(google, make_provider(issuer=evil.issuer, client_id=evil.client_id))
    page = await nora.browser.request(**asked)
    params = sent((await nora.leave(page, "campus")).headers["location"])
    assert {name: params[name] for name in told} == told


async def test_a_provider_that_says_when_they_signed_in_proves_it(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    page = await nora.sign_in(await nora.browser.request(prompt="login", scope="openid"))
    answer = await nora.browser.finish(page)
    _, claims = decoded((await google.redeem(answer)).json()["id_token"])
    assert claims["auth_time"] == int(google.clock().timestamp()) - 1


async def test_google_is_asked_only_what_it_documents_and_for_the_time(nora: Traveller) -> None:
    params = sent((await nora.leave(await nora.browser.request(prompt="login"))).headers["location"])
    assert (params["prompt"], params["max_age"]) == ("select_account", "0")
    assert "auth_time" in params["claims"]


@pytest.mark.parametrize("asked", [{"prompt": "login"}, {"max_age": "60"}])
async def test_a_silent_session_there_never_passes_for_a_new_sign_in(
    google: App, nora: Traveller, evil: EvilProvider, asked: dict[str, str]
) -> None:
    evil.auth_time = google.clock() - timedelta(hours=1)
    answer = answer_of(await nora.sign_in(await nora.browser.request(**asked)))
    assert answer.error == "login_required"
    assert "idp" not in nora.browser.cookies
    (event,) = await failures(google)
    assert event.detail["fault"] == "not_fresh"


async def test_a_provider_that_does_not_say_when_proves_nothing(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    evil.id_token["auth_time"] = ABSENT
    answer = answer_of(await nora.sign_in(await nora.browser.request(max_age="600")))
    assert answer.error == "login_required"


async def test_whoever_has_a_password_proves_it_here_instead(google: App, nora: Traveller, evil: EvilProvider) -> None:
    await link_alice(google, evil)
    evil.auth_time = google.clock() - timedelta(hours=1)
    page = await nora.sign_in(await nora.browser.request(prompt="login", scope="openid"))
    assert page.url.path == "/login"
    assert "without having been asked who you are" in page.text
    assert f'value="{ALICE}"' in page.text
    assert "/login/google" not in page.text
    assert "idp" not in nora.browser.cookies
    answer = await nora.browser.finish(await nora.browser.sign_in(page))
    _, claims = decoded((await google.redeem(answer)).json()["id_token"])
    assert claims["amr"] == ["pwd"]


async def test_an_earlier_sign_in_whose_time_nobody_knows_does_not_satisfy_max_age(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    await nora.sign_in()
    assert (await nora.browser.request(max_age="3600")).url.path == "/login"
    assert answer_of(await nora.browser.request(max_age="3600", prompt="none")).error == "login_required"
