"""Answers of providers that are not to be believed: a page in plain words, an audit event, no account, no session."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest

from tests.support.app import App, Start
from tests.support.bent import ABSENT, body, failing, html, slow
from tests.support.clock import FakeClock
from tests.support.databases import one_database
from tests.support.evil_provider import EvilProvider, Key, evil_provider
from tests.support.factories import make_provider
from tests.support.upstream import Traveller, add_provider, failures, sealed_secret, sent, start_with_google

NEWCOMER = "nora@newcomers.example"
HOUR = 3600


@pytest.fixture
async def google(start: Start, evil: EvilProvider, clock: FakeClock) -> App:
    evil.user |= {"sub": "108", "email": NEWCOMER, "email_verified": True, "name": "Nora Newcomer"}
    return await start_with_google(start, evil, clock, outbound_timeout_seconds="0.5")


@pytest.fixture
def nora(google: App) -> Traveller:
    return Traveller(google.browser())


async def assert_nothing_came_of_it(app: App, page: httpx2.Response, traveller: Traveller, fault: str) -> None:
    assert page.status_code in {400, 403, 502, 503}, page.text
    assert "text/html" in page.headers["content-type"]
    assert "Google" in page.text
    assert f"upstream_{fault}" in page.text
    assert "idp" not in traveller.browser.cookies
    async with app.store.read() as tx:
        assert await tx.users.find_by_identifier(NEWCOMER) is None
        assert not await tx.linked_accounts.all()
        assert not await tx.sessions.all()
    (event,) = await failures(app)
    assert (event.detail["provider"], event.detail["fault"]) == ("google", fault)


def _id_token(**claims: Any) -> Callable[[EvilProvider], None]:
    return lambda evil: evil.id_token.update(claims)


def _signed_by_another(evil: EvilProvider) -> None:
    other = Key.new(evil.key.kid)
    evil.published, evil.key = [evil.key], other


def _hmac_with_the_public_key(evil: EvilProvider) -> None:
    evil.alg, evil.hmac_key = "HS256", evil.key.public_pem


BAD_TOKENS = {
    "another audience": _id_token(aud="somebody-else"),
    "another audience, with our azp": _id_token(aud="somebody-else", azp="lab-id"),
    "a foreign azp": _id_token(azp="somebody-else"),
    "a second audience": _id_token(aud=["lab-id", "somebody-else"]),
    "expired": _id_token(exp=lambda exp: exp - 2 * HOUR, iat=lambda iat: iat - 2 * HOUR),
    "of another issuer": _id_token(iss="https://accounts.google.com"),
    "of the future": _id_token(iat=lambda iat: iat + HOUR, exp=lambda exp: exp + HOUR),
    "another nonce": _id_token(nonce="x" * 43),
    "no nonce": _id_token(nonce=ABSENT),
    "no sub": _id_token(sub=ABSENT),
    "a sub that is no text": _id_token(sub=108),
    "alg none": lambda evil: setattr(evil, "alg", "none"),
    "HS256 with our secret": lambda evil: setattr(evil, "alg", "HS256"),
    "HS256 with the public key": _hmac_with_the_public_key,
    "another key": _signed_by_another,
    "another token's hash": _id_token(at_hash="A" * 22),
    "a megabyte of claims": _id_token(filler="x" * 1_000_000),
}


@pytest.mark.parametrize("bend", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
@one_database
async def test_an_id_token_that_proves_nothing_signs_nobody_in_oidc_core_s3_1_3_7(
    google: App, nora: Traveller, evil: EvilProvider, bend: Callable[[EvilProvider], None]
) -> None:
    key, published = evil.key, list(evil.published)
    try:
        bend(evil)
        page = await nora.sign_in()
    finally:
        evil.key, evil.published = key, published
    await assert_nothing_came_of_it(google, page, nora, "invalid")


BENT = {
    "HTML instead of JSON": html(),
    "a failure": failing(),
    "no JSON": body(b"{", "application/json", 200),
    "a list": body(b"[]", "application/json", 200),
    "deep JSON": body(b"[" * 100_000, "application/json", 200),
}


@pytest.mark.parametrize("endpoint", ["token", "jwks"])
@pytest.mark.parametrize("bent", BENT.values(), ids=BENT.keys())
@one_database
async def test_an_answer_that_is_none_names_the_provider_and_leaves_the_other_ways(
    google: App, nora: Traveller, evil: EvilProvider, endpoint: str, bent: Any
) -> None:
    evil.bend[endpoint] = bent
    page = await nora.sign_in()
    await assert_nothing_came_of_it(google, page, nora, "down")
    assert page.headers["retry-after"]
    login = await nora.browser.get("/login")
    assert (await nora.browser.sign_in(login)).url.path == "/"


@one_database
async def test_a_slow_body_is_not_waited_for(google: App, nora: Traveller, evil: EvilProvider) -> None:
    released = threading.Event()
    evil.bend["token"] = slow(released)
    try:
        await assert_nothing_came_of_it(google, await nora.sign_in(), nora, "down")
    finally:
        released.set()


@pytest.mark.parametrize(
    ("error", "fault"),
    [("access_denied", "denied"), ("server_error", "trouble"), ("invalid_scope", "refused"), ("<script>", "refused")],
)
@one_database
async def test_an_error_that_the_provider_sends_is_told_in_plain_words_rfc6749_s4_1_2_1(
    google: App, nora: Traveller, evil: EvilProvider, error: str, fault: str
) -> None:
    evil.refuse(error, error_description="<b>call 555-0100</b>")
    page = await nora.sign_in()
    await assert_nothing_came_of_it(google, page, nora, fault)
    assert "555" not in page.text
    assert "<script>" not in page.text


@one_database
async def test_a_token_endpoint_that_refuses_signs_nobody_in(google: App, nora: Traveller, evil: EvilProvider) -> None:
    evil.refuse_token("invalid_client", 401)
    await assert_nothing_came_of_it(google, await nora.sign_in(), nora, "refused")


@pytest.mark.parametrize("userinfo", [{"sub": "another"}, {"sub": ABSENT}], ids=["of somebody else", "of nobody"])
@one_database
async def test_userinfo_of_somebody_else_is_not_believed_oidc_core_s5_3_2(
    google: App, nora: Traveller, evil: EvilProvider, userinfo: dict[str, Any]
) -> None:
    evil.claims_in_id_token = False
    evil.userinfo |= userinfo
    await assert_nothing_came_of_it(google, await nora.sign_in(), nora, "invalid")


async def test_an_organisation_is_told_by_the_token_and_not_by_the_address(
    start: Start, evil: EvilProvider, clock: FakeClock
) -> None:
    evil.user |= {"sub": "108", "email": NEWCOMER, "email_verified": True}
    app = await start_with_google(start, evil, clock, google_hosted_domain="newcomers.example")
    nora = Traveller(app.browser())
    assert sent((await nora.leave()).headers["location"])["hd"] == "newcomers.example"
    await assert_nothing_came_of_it(app, await nora.sign_in(), nora, "wrong_domain")
    evil.user["hd"] = "newcomers.example"
    assert (await nora.sign_in()).url.path == "/"


# ── state (RFC 9700 §4.7) ───────────────────────────────────────────────────────────────────────────────────────────
async def test_an_answer_counts_once(google: App, nora: Traveller, evil: EvilProvider) -> None:
    callback = await nora.callback()
    assert (await nora.arrive(callback)).status_code == 303
    again = await nora.arrive(callback)
    assert again.status_code == 400
    assert evil.count("token") == 1


async def test_of_two_nodes_one_takes_the_answer(start: Start, evil: EvilProvider, clock: FakeClock) -> None:
    evil.user |= {"sub": "108", "email": NEWCOMER, "email_verified": True}
    nodes = [await start_with_google(start, evil, clock) for _ in range(2)]
    travellers = [Traveller(node.browser()) for node in nodes]
    callback = await travellers[0].callback()
    travellers[1].browser.http.cookies = travellers[0].browser.http.cookies
    import asyncio

    answers = await asyncio.gather(*(traveller.arrive(callback) for traveller in travellers for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [303] + [400] * 7
    assert evil.count("token") == 1


@pytest.mark.parametrize("sign_in_there_too", [False, True])
async def test_an_answer_is_for_the_browser_that_asked(
    google: App, nora: Traveller, evil: EvilProvider, sign_in_there_too: bool
) -> None:
    """Login CSRF: somebody sends their own answer to another's browser."""
    callback = await nora.callback()
    victim = Traveller(google.browser())
    await victim.browser.get("/login")
    if sign_in_there_too:
        await victim.leave()
    page = await victim.arrive(callback)
    await assert_nothing_came_of_it(google, page, victim, "lost")
    assert evil.count("token") == 0


@pytest.mark.parametrize(
    "change",
    [{"state": ABSENT}, {"state": ""}, {"state": "x" * 43}, {"state": "\x00"}],
    ids=["missing", "empty", "another", "binary"],
)
@one_database
async def test_without_its_state_an_answer_is_nobodys(google: App, nora: Traveller, change: dict[str, Any]) -> None:
    callback = await nora.callback()
    params = {name: value for name, value in {**sent(callback), **change}.items() if value is not ABSENT}
    page = await nora.arrive(f"{callback.partition('?')[0]}?{urlencode(params)}")
    assert page.status_code == 400
    assert "idp" not in nora.browser.cookies


async def test_an_answer_with_a_state_twice_is_nobodys(google: App, nora: Traveller) -> None:
    callback = await nora.callback()
    page = await nora.arrive(f"{callback}&state={sent(callback)['state']}")
    await assert_nothing_came_of_it(google, page, nora, "lost")


async def test_an_answer_that_took_too_long_is_over(google: App, nora: Traveller, clock: FakeClock) -> None:
    callback = await nora.callback()
    clock.advance(seconds=901)
    await assert_nothing_came_of_it(google, await nora.arrive(callback), nora, "lost")


async def test_a_code_of_another_sign_in_is_bound_to_its_verifier_rfc9700_s4_5(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    """Code injection: the code of one visit with the state of another."""
    stolen = sent(await Traveller(google.browser()).callback())["code"]
    callback = await nora.callback()
    params = {**sent(callback), "code": stolen}
    page = await nora.arrive(f"{callback.partition('?')[0]}?{urlencode(params)}")
    await assert_nothing_came_of_it(google, page, nora, "refused")


# ── Mix-up (RFC 9700 §4.4, RFC 9207) ────────────────────────────────────────────────────────────────────────────────
async def test_an_answer_belongs_to_the_provider_that_was_asked(
    google: App, nora: Traveller, evil: EvilProvider
) -> None:
    campus = make_provider(
        issuer=evil.issuer,
        client_id=evil.client_id,
        sealed_secret=sealed_secret(google, "campus", evil.client_secret),
    )
    await add_provider(google, campus)
    callback = (await nora.callback()).replace("/login/google/", "/login/campus/")
    assert (await nora.arrive(callback)).status_code == 400
    assert evil.count("token") == 0


@pytest.mark.parametrize("iss", ["https://other.example", ABSENT], ids=["of another", "missing though announced"])
@one_database
async def test_the_answer_says_who_gives_it_rfc9207_s2_4(
    google: App, nora: Traveller, evil: EvilProvider, iss: Any
) -> None:
    evil.callback["iss"] = iss
    await assert_nothing_came_of_it(google, await nora.sign_in(), nora, "invalid")
    assert evil.count("token") == 0


@one_database
async def test_a_provider_whose_metadata_are_anothers_is_not_spoken_with(start: Start, clock: FakeClock) -> None:
    with evil_provider(clock) as rogue:
        rogue.metadata["issuer"] = "https://accounts.google.com"
        app = await start_with_google(start, rogue, clock)
        traveller = Traveller(app.browser())
        page = await traveller.leave()
        assert page.status_code == 502
        assert "upstream_invalid" in page.text


# ── Down ────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_provider_that_is_down_again_and_again_is_not_asked_for_a_while(
    google: App, nora: Traveller, evil: EvilProvider, clock: FakeClock
) -> None:
    evil.bend["token"] = failing()
    for _ in range(5):
        assert (await nora.sign_in()).status_code == 503
    asked = evil.count("token")
    page = await nora.leave()
    assert page.status_code == 503
    assert "Google" in page.text
    assert evil.count("token") == asked
    del evil.bend["token"]
    clock.advance(seconds=31)
    assert (await nora.sign_in()).url.path == "/"


async def test_a_restart_needs_no_provider(start: Start, evil: EvilProvider, clock: FakeClock) -> None:
    evil.user |= {"sub": "108", "email": NEWCOMER, "email_verified": True}
    before = await start_with_google(start, evil, clock)
    assert (await Traveller(before.browser()).sign_in()).url.path == "/"
    evil.bend["discovery"] = evil.bend["jwks"] = failing()
    clock.advance(seconds=int(timedelta(hours=30).total_seconds()))
    after = await start_with_google(start, evil, clock)
    assert (await Traveller(after.browser()).sign_in()).url.path == "/"


async def test_rotated_keys_are_fetched_once_they_are_met_oidc_core_s10_1_1(
    google: App, nora: Traveller, evil: EvilProvider, clock: FakeClock
) -> None:
    assert (await nora.sign_in()).url.path == "/"
    evil.rotate()
    clock.advance(seconds=31)
    assert (await Traveller(google.browser()).sign_in()).url.path == "/"
