"""Another provider's API in a person's name (RFC 8693): connecting it, exchanging, and everything that ends it."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from idp.domain.client import GrantType
from idp.domain.clock import system_clock
from idp.domain.provider import Provider, ProviderStatus
from idp.domain.upstream import LinkedAccount
from idp.domain.user import UserStatus
from idp.protocol.upstream import UpstreamFault, UpstreamRefused
from idp.services.upstream_tokens import ApiNotConnected, UpstreamTokens
from idp.upstream.connector import ApiToken
from tests.flows.test_no_secret_in_logs import Secrets, logged
from tests.support.app import ALICE, ALICE_ID, EVERY_SCOPE, App, Browser, Start, answer_of
from tests.support.bent import ABSENT, failing
from tests.support.clock import FakeClock
from tests.support.databases import one_database
from tests.support.evil_provider import EvilProvider
from tests.support.factories import make_linked_account, make_provider
from tests.support.upstream import Traveller, add_provider, sealed_secret, sent
from tests.support.upstreams import NpmProvider, Upstream, npm_provider, walk_npm

__all__ = ["logged"]

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
SCOPE = "provider:campus"
CALENDAR = "calendar.read"
SUB = "4711"

Ask = Callable[[str], Awaitable[ApiToken]]


async def set_up(app: App, upstream: EvilProvider | Upstream, **changes: Any) -> None:
    """Let there be Campus login, at which Alice has an account, and whose calendar the portal may read."""
    values = {
        "issuer": upstream.issuer,
        "client_id": upstream.client_id,
        "sealed_secret": sealed_secret(app, "campus", upstream.client_secret),
        "api_scope": CALENDAR,
        "api_clients": ("portal",),
    }
    await add_provider(app, make_provider(**{**values, **changes}))
    await app.change("clients", ["portal"], scope=f"{EVERY_SCOPE} {SCOPE}")
    async with app.store.write() as tx:
        linked = make_linked_account(issuer=upstream.issuer, sub=SUB, user_id=ALICE_ID, email=ALICE)
        await tx.linked_accounts.add(linked)
    if isinstance(upstream, EvilProvider):
        # As RFC 6749 §6 wants it: of the refresh token's scope, the part that is asked for.
        upstream.token["scope"] = lambda usual: upstream.last("token").form.get("scope", usual)


@pytest.fixture
async def campus(start: Start, evil: EvilProvider, clock: FakeClock) -> App:
    evil.clock = clock
    evil.user |= {"sub": SUB, "email": ALICE, "email_verified": True}
    app = await start(outbound_allow=urlsplit(evil.issuer).netloc)
    await set_up(app, evil)
    return app


async def sign_in(
    traveller: Traveller, scope: str = f"openid offline_access {SCOPE}", prompt: str | None = None
) -> dict[str, Any]:
    """Sign in at Campus login within a request of the portal, allow what it asks for, and return its tokens."""
    browser = traveller.browser
    page = await traveller.sign_in(await browser.request(scope=scope, prompt=prompt), "campus")
    response = await browser.app.redeem(await browser.finish(page))
    assert response.status_code == 200, response.text
    return dict(response.json())


async def exchange(
    app: App, subject_token: str | None, client_id: str = "portal", **changes: str | None
) -> httpx2.Response:
    (issuer,) = [provider.issuer for provider in await app.services["providers"].all()]
    form = {
        "grant_type": GRANT,
        "subject_token": subject_token,
        "subject_token_type": ACCESS_TOKEN,
        "audience": issuer,
        **changes,
    }
    return await app.post("/token", client_id, **form)


async def link_of(app: App) -> LinkedAccount:
    async with app.store.read() as tx:
        (linked,) = await tx.linked_accounts.all()
    return linked


async def released(app: App) -> list[Mapping[str, Any]]:
    async with app.store.read() as tx:
        return [event.detail for event in await tx.audit_events.all() if event.action == "upstream_token.released"]


async def change_provider(app: App, **changes: Any) -> None:
    await app.change("providers", ["campus"], **changes)
    app.services["providers"].forget()


@pytest.fixture
async def token(campus: App) -> str:
    """The portal's access token, with the calendar connected."""
    return str((await sign_in(Traveller(campus.browser())))["access_token"])


def interfere(app: App, patch: pytest.MonkeyPatch, call: Callable[[Ask, str], Awaitable[ApiToken]]) -> None:
    """Let something happen, once, around what the provider is asked."""
    providers = app.services["providers"]
    usual = providers.connector

    def connector(provider: Provider) -> Any:
        patch.setattr(providers, "connector", usual)
        found = usual(provider)
        ask = found.api_token

        async def api_token(refresh_token: str, *, scope: str) -> ApiToken:
            return await call(lambda token: ask(token, scope=scope), refresh_token)

        patch.setattr(found, "api_token", api_token, raising=True)
        return found

    patch.setattr(providers, "connector", connector)


# ── Connecting ──────────────────────────────────────────────────────────────────────────────────────────────────────
@one_database
async def test_a_sign_in_for_the_scope_asks_the_provider_for_its_api_and_for_a_refresh_token(
    campus: App, evil: EvilProvider
) -> None:
    traveller = Traveller(campus.browser())
    asked = sent(
        (await traveller.leave(await traveller.browser.request(scope=f"openid {SCOPE}"), "campus")).headers["location"]
    )
    assert {CALENDAR, "offline_access"} <= set(asked["scope"].split())
    assert "consent" in asked["prompt"].split()


@pytest.mark.parametrize("reason", ["not asked for", "another client", "no client may", "no scope is set"])
@one_database
async def test_any_other_sign_in_asks_for_neither_and_keeps_nothing(
    campus: App, evil: EvilProvider, reason: str
) -> None:
    changes: dict[str, dict[str, Any]] = {
        "another client": {"api_clients": ("other",)},
        "no client may": {"api_clients": ()},
        "no scope is set": {"api_scope": ""},
    }
    await change_provider(campus, **changes.get(reason, {}))
    traveller = Traveller(campus.browser())
    scope = "openid profile" if reason == "not asked for" else f"openid {SCOPE}"
    await sign_in(traveller, scope)
    asked = evil.last("authorize").query
    assert not {CALENDAR, "offline_access"} & set(asked["scope"].split())
    linked = await link_of(campus)
    assert (linked.sealed_refresh_token, linked.api_scope) == (None, "")


@pytest.mark.parametrize("prompt", ["login", "select_account"])
@one_database
async def test_whoever_is_signed_in_already_connects_it_by_signing_in_there_once_more(campus: App, prompt: str) -> None:
    traveller = Traveller(campus.browser())
    browser = traveller.browser
    await browser.sign_in()
    tokens = await browser.tokens(scope=f"openid {SCOPE}")
    refused = await exchange(campus, tokens["access_token"])
    assert (refused.json()["error"], refused.json()["error_description"]) == (
        "invalid_grant",
        ApiNotConnected.default_description,
    )
    page = await browser.request(scope=f"openid {SCOPE}", prompt=prompt)
    if prompt == "select_account":
        (another,) = re.findall(r'href="(/login[^"]*)"', page.text)
        page = await browser.get(unescape(another))
    await browser.finish(await traveller.sign_in(page, "campus"))
    assert (await exchange(campus, tokens["access_token"])).status_code == 200


async def test_whoever_is_signed_in_and_has_not_connected_it_is_asked_once(campus: App) -> None:
    traveller = Traveller(campus.browser())
    browser = traveller.browser
    await browser.sign_in()
    page = await browser.request(scope=f"openid {SCOPE}")
    assert page.url.path == "/login"
    assert "wants to use an account that you have elsewhere" in page.text
    silent = answer_of(await browser.request(scope=f"openid {SCOPE}", prompt="none"))
    assert silent.error == "consent_required"
    answer = await browser.finish(await traveller.sign_in(page, "campus"))
    token = (await campus.redeem(answer)).json()["access_token"]
    assert (await exchange(campus, token)).status_code == 200
    # Once it is connected nobody is asked again, and whoever signs in another way has answered.
    assert (await browser.request(scope=f"openid {SCOPE}")).status_code == 303


async def test_it_is_connected_to_whoever_is_signed_in_and_makes_no_other_account(
    campus: App, evil: EvilProvider
) -> None:
    evil.user |= {"sub": "somewhere", "email": "alice@elsewhere.example", "email_verified": True}
    traveller = Traveller(campus.browser())
    browser = traveller.browser
    await browser.sign_in()
    page = await traveller.sign_in(await browser.request(scope=f"openid {SCOPE}"), "campus")
    assert page.url.path.startswith("/login/campus/link/")
    answer = await browser.finish(await browser.submit(page, decision="link"))
    token = (await campus.redeem(answer)).json()["access_token"]
    assert (await exchange(campus, token)).status_code == 200
    async with campus.store.read() as tx:
        assert await tx.users.find_by_identifier("alice@elsewhere.example") is None


@one_database
async def test_consent_and_connected_applications_say_what_may_be_used_and_where(campus: App) -> None:
    traveller = Traveller(campus.browser())
    page = await traveller.sign_in(await traveller.browser.request(scope=f"openid {SCOPE}"), "campus")
    assert "Use your Campus login account: calendar.read" in page.text
    await traveller.browser.finish(page)
    assert "Use your Campus login account: calendar.read" in (await traveller.browser.get("/account/apps")).text


@one_database
async def test_an_application_that_may_not_use_it_cannot_ask_for_it_either_rfc6749_s3_3(campus: App) -> None:
    browser = campus.browser()
    assert (await browser.authorize(scope=SCOPE)).code
    await change_provider(campus, api_clients=("other",))
    assert (await browser.authorize(scope=SCOPE)).error == "invalid_scope"
    tokens = await browser.tokens(scope=f"openid {SCOPE}", include_granted_scopes="true")
    assert tokens["scope"] == "openid"


async def test_an_account_that_was_proven_and_linked_on_the_way_is_connected_with_it(
    campus: App, evil: EvilProvider
) -> None:
    async with campus.store.write() as tx:
        await tx.linked_accounts.delete((await link_of(campus)).id)
    traveller = Traveller(campus.browser())
    page = await traveller.sign_in(await traveller.browser.request(scope=f"openid {SCOPE}"), "campus")
    (proof,) = re.findall(r'href="(/login\?[^"]*prove=1[^"]*)"', page.text)
    page = await traveller.browser.sign_in(await traveller.browser.get(unescape(proof)))
    page = await traveller.browser.submit(page, decision="link")
    tokens = (await campus.redeem(await traveller.browser.finish(page))).json()
    assert (await exchange(campus, tokens["access_token"])).status_code == 200


@one_database
async def test_a_later_sign_in_without_it_leaves_what_is_kept(campus: App, token: str) -> None:
    before = await link_of(campus)
    assert before.api_scope == CALENDAR
    await sign_in(Traveller(campus.browser()), "openid")
    after = await link_of(campus)
    assert after.sealed_refresh_token == before.sealed_refresh_token
    assert (await exchange(campus, token)).status_code == 200


@one_database
async def test_a_person_who_allows_none_of_it_there_connects_nothing(campus: App, evil: EvilProvider) -> None:
    evil.token["scope"] = "openid"
    tokens = await sign_in(Traveller(campus.browser()))
    assert (await link_of(campus)).sealed_refresh_token is None
    assert (await exchange(campus, tokens["access_token"])).json()["error"] == "invalid_grant"


@one_database
async def test_a_new_account_is_connected_with_its_first_sign_in(
    start: Start, evil: EvilProvider, clock: FakeClock
) -> None:
    evil.clock = clock
    evil.user |= {"sub": "new", "email": "nora@newcomers.example", "email_verified": True}
    app = await start(outbound_allow=urlsplit(evil.issuer).netloc, registration="open")
    await set_up(app, evil)
    tokens = await sign_in(Traveller(app.browser()))
    assert (await exchange(app, tokens["access_token"])).status_code == 200


# ── The exchange ────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_application_gets_a_token_of_the_provider_and_nothing_else_rfc8693_s2_2_1(
    campus: App, token: str, evil: EvilProvider
) -> None:
    response = await exchange(campus, token, requested_token_type=ACCESS_TOKEN)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    answer = response.json()
    assert answer["issued_token_type"] == ACCESS_TOKEN
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == 3600
    assert answer["scope"] == CALENDAR
    assert set(answer) == {"access_token", "issued_token_type", "token_type", "expires_in", "scope"}
    told = httpx2.get(f"{evil.issuer}/userinfo", headers={"Authorization": f"Bearer {answer['access_token']}"})
    assert told.json()["sub"] == SUB
    assert not await campus.is_alive(answer["access_token"])
    assert await released(campus) == [{"provider": "campus", "link": (await link_of(campus)).id}]


async def test_each_successor_of_the_refresh_token_is_kept_sealed_rfc6749_s6(
    campus: App, token: str, evil: EvilProvider
) -> None:
    kept = set()
    for _ in range(3):
        assert (await exchange(campus, token)).status_code == 200
        used = evil.last("token").form["refresh_token"]
        sealed = (await link_of(campus)).sealed_refresh_token
        assert sealed is not None
        assert used.encode() not in sealed
        kept |= {sealed}
    assert len(kept) == 3


async def test_many_at_once_wait_for_each_other_and_none_is_lost_rfc6749_s6(campus: App, token: str) -> None:
    answers = await asyncio.gather(*(exchange(campus, token) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["access_token"] for answer in answers}) == 6
    assert len(await released(campus)) == 6


async def test_a_node_that_was_too_late_uses_the_successor_that_another_one_saved(
    campus: App, start: Start, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await start(outbound_allow=urlsplit((await link_of(campus)).issuer).netloc)

    async def after_the_other(ask: Ask, refresh_token: str) -> ApiToken:
        assert (await exchange(other, token)).status_code == 200
        return await ask(refresh_token)

    interfere(campus, monkeypatch, after_the_other)
    assert (await exchange(campus, token)).status_code == 200
    assert (await exchange(other, token)).status_code == 200


async def test_what_another_node_forgot_by_mistake_is_kept_again(
    campus: App, start: Start, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await start(outbound_allow=urlsplit((await link_of(campus)).issuer).netloc)

    async def before_the_other(ask: Ask, refresh_token: str) -> ApiToken:
        given = await ask(refresh_token)
        assert (await exchange(other, token)).json()["error"] == "invalid_grant"
        return given

    interfere(campus, monkeypatch, before_the_other)
    assert (await exchange(campus, token)).status_code == 200
    assert (await exchange(other, token)).status_code == 200


async def test_a_sign_in_meanwhile_brings_a_token_that_is_newer_and_stays(
    campus: App, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def meanwhile(ask: Ask, refresh_token: str) -> ApiToken:
        given = await ask(refresh_token)
        await sign_in(Traveller(campus.browser()))
        kept.append((await link_of(campus)).sealed_refresh_token)
        return given

    kept: list[bytes | None] = []
    interfere(campus, monkeypatch, meanwhile)
    assert (await exchange(campus, token)).status_code == 200
    assert [(await link_of(campus)).sealed_refresh_token] == kept


async def test_a_successor_is_kept_though_nobody_waits_for_it_any_more(
    campus: App, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    async def slowly(ask: Ask, refresh_token: str) -> ApiToken:
        given = await ask(refresh_token)
        asked.set()
        await answered.wait()
        return given

    interfere(campus, monkeypatch, slowly)
    providers = campus.services["providers"]
    tokens = UpstreamTokens(campus.store, providers._keys, providers)
    (provider,) = await providers.shown()
    release = asyncio.create_task(tokens.release(provider, ALICE_ID, "portal", scope=(), now=campus.clock()))
    await asked.wait()
    release.cancel()
    with pytest.raises(asyncio.CancelledError):
        await release
    (call,) = tokens._calls
    answered.set()
    await call
    assert (await exchange(campus, token)).status_code == 200


@one_database
async def test_no_database_connection_waits_for_the_provider(
    campus: App, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []

    async def counted(ask: Ask, refresh_token: str) -> ApiToken:
        held.append(campus.store.database.connections_in_use)
        return await ask(refresh_token)

    interfere(campus, monkeypatch, counted)
    assert (await exchange(campus, token)).status_code == 200
    assert held == [0]


@one_database
async def test_the_application_may_name_all_of_the_scope_but_not_a_part_rfc8693_s2_1(campus: App, token: str) -> None:
    assert (await exchange(campus, token, scope=CALENDAR)).status_code == 200
    refused = await exchange(campus, token, scope="calendar.write")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")


@one_database
async def test_no_more_is_asked_for_and_released_than_the_person_allowed_rfc6749_s6(
    campus: App, token: str, evil: EvilProvider
) -> None:
    """The refresh token is good for openid, profile and email too, whatever the application may know."""
    assert (await exchange(campus, token)).json()["scope"] == CALENDAR
    assert evil.last("token").form["scope"] == CALENDAR
    # What the provider does not say is as it was asked for (§5.1).
    evil.token["scope"] = ABSENT
    assert (await exchange(campus, token)).json()["scope"] == CALENDAR


@one_database
async def test_less_than_was_allowed_is_released_as_what_it_is_rfc6749_s5_1(campus: App, evil: EvilProvider) -> None:
    await change_provider(campus, api_scope=f"{CALENDAR} mail.read")
    token = (await sign_in(Traveller(campus.browser())))["access_token"]
    evil.token["scope"] = CALENDAR
    assert (await exchange(campus, token)).json()["scope"] == CALENDAR


@pytest.mark.parametrize("scope", [f"openid {CALENDAR}", "mail.read", f"{CALENDAR} mail.read"])
async def test_a_token_for_more_than_was_allowed_is_kept_from_the_application_and_its_successor_is_not_lost(
    campus: App, token: str, evil: EvilProvider, scope: str
) -> None:
    usual, evil.token["scope"] = evil.token["scope"], scope
    response = await exchange(campus, token)
    assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
    assert "access_token" not in response.json()
    assert await released(campus) == []
    evil.token["scope"] = usual
    assert (await exchange(campus, token)).json()["scope"] == CALENDAR


# ── Who may not ─────────────────────────────────────────────────────────────────────────────────────────────────────
@one_database
async def test_a_request_that_is_not_right_never_reaches_the_provider_rfc8693_s2_2_2(
    campus: App, token: str, evil: EvilProvider
) -> None:
    before = evil.count("token")
    changes: list[tuple[dict[str, str | None], str]] = [
        ({"subject_token": "garbage"}, "invalid_request"),
        ({"subject_token": None}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}, "invalid_request"),
        ({"actor_token": "garbage"}, "invalid_request"),
        ({"audience": "https://elsewhere.example"}, "invalid_target"),
        ({"audience": "campus"}, "invalid_target"),
        ({"resource": "https://elsewhere.example"}, "invalid_target"),
    ]
    for change, error in changes:
        form = {"subject_token": token, **change}
        response = await exchange(campus, **form)
        assert (response.status_code, response.json()["error"]) == (400, error), change
        assert "garbage" not in response.text
    assert evil.count("token") == before


@one_database
async def test_a_token_is_of_no_use_to_another_client(campus: App, token: str) -> None:
    await campus.change("clients", ["other"], scope=f"openid {SCOPE}")
    # Not among those that may use the API, public, and not registered for the grant.
    refused = {"other": "invalid_target", "spa": "unauthorized_client", "legacy": "unauthorized_client"}
    for client_id, error in refused.items():
        assert (await exchange(campus, token, client_id)).json()["error"] == error


@one_database
async def test_nor_to_another_one_that_may_use_the_same_api(campus: App, token: str, evil: EvilProvider) -> None:
    await campus.change("clients", ["other"], scope=f"openid {SCOPE}")
    await change_provider(campus, api_clients=("portal", "other"))
    before = evil.count("token")
    assert (await exchange(campus, token, "other")).json()["error"] == "invalid_request"
    assert evil.count("token") == before


@one_database
async def test_a_public_client_gets_nothing_though_it_be_registered_for_the_grant(campus: App, token: str) -> None:
    await campus.change("clients", ["spa"], scope=f"openid {SCOPE}", grant_types=tuple(GrantType))
    await change_provider(campus, api_clients=("spa",))
    assert (await exchange(campus, token, "spa")).json()["error"] == "unauthorized_client"


@one_database
async def test_a_clients_own_token_is_nobodys(campus: App, token: str) -> None:
    own = await campus.post("/token", "portal", grant_type="client_credentials", scope=SCOPE)
    assert own.json()["error"] == "invalid_scope"
    own = await campus.post("/token", "portal", grant_type="client_credentials")
    assert (await exchange(campus, own.json()["access_token"])).json()["error"] == "invalid_request"


@one_database
async def test_a_token_without_the_scope_is_not_enough(campus: App, token: str) -> None:
    plain = await sign_in(Traveller(campus.browser()), "openid")
    assert (await exchange(campus, plain["access_token"])).json()["error"] == "invalid_request"


@one_database
async def test_a_narrower_refreshed_token_is_not_enough(campus: App) -> None:
    tokens = await sign_in(Traveller(campus.browser()))
    narrow = (await campus.refresh(tokens["refresh_token"], scope="openid")).json()
    assert (await exchange(campus, narrow["access_token"])).json()["error"] == "invalid_request"
    full = (await campus.refresh(narrow["refresh_token"])).json()
    assert (await exchange(campus, full["access_token"])).status_code == 200


# ── What ends it ────────────────────────────────────────────────────────────────────────────────────────────────────
async def _expire(app: App) -> None:
    app.clock.advance(seconds=601)


async def _disable_user(app: App) -> None:
    await app.change("users", [ALICE_ID], status=UserStatus.DISABLED)


async def _withdraw(app: App) -> None:
    await app.services["applications"].withdraw(ALICE_ID, "portal")


async def _deregister(app: App) -> None:
    await app.change("clients", ["portal"], scope="openid offline_access")


async def _take_client_away(app: App) -> None:
    await change_provider(app, api_clients=())


async def _disable_provider(app: App) -> None:
    await change_provider(app, status=ProviderStatus.DISABLED)


async def _unlink(app: App) -> None:
    async with app.store.write() as tx:
        await tx.linked_accounts.delete((await link_of(app)).id)


async def _allow_less(app: App) -> None:
    await change_provider(app, api_scope="mail.read")


async def _move(app: App) -> None:
    await change_provider(app, issuer="https://another.example")


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (_expire, "invalid_request"),
        (_disable_user, "invalid_request"),
        (_withdraw, "invalid_request"),
        (_deregister, "invalid_target"),
        (_take_client_away, "invalid_target"),
        (_disable_provider, "invalid_target"),
        (_unlink, "invalid_grant"),
        (_allow_less, "invalid_grant"),
        # What one issuer gave is never sent to another one.
        (_move, "invalid_grant"),
    ],
)
async def test_it_is_judged_at_each_exchange_and_the_provider_is_not_asked(
    campus: App, token: str, evil: EvilProvider, end: Callable[[App], Awaitable[None]], error: str
) -> None:
    await end(campus)
    before = evil.count("token")
    assert (await exchange(campus, token)).json()["error"] == error
    assert evil.count("token") == before
    assert await released(campus) == []


@pytest.mark.parametrize("end", [_unlink, _disable_user])
async def test_what_ends_while_the_provider_is_asked_ends_it_too(
    campus: App, token: str, monkeypatch: pytest.MonkeyPatch, end: Callable[[App], Awaitable[None]]
) -> None:
    async def meanwhile(ask: Ask, refresh_token: str) -> ApiToken:
        given = await ask(refresh_token)
        await end(campus)
        return given

    interfere(campus, monkeypatch, meanwhile)
    assert (await exchange(campus, token)).json()["error"] == "invalid_grant"
    assert await released(campus) == []


@one_database
async def test_what_was_taken_back_there_is_forgotten_and_the_application_told_what_to_do_rfc6749_s5_2(
    campus: App, token: str, evil: EvilProvider
) -> None:
    evil.refuse_token()
    response = await exchange(campus, token)
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_grant"
    assert response.json()["error_description"] == ApiNotConnected.default_description
    assert (await link_of(campus)).sealed_refresh_token is None
    asked = evil.count("token")
    assert (await exchange(campus, token)).json()["error"] == "invalid_grant"
    assert evil.count("token") == asked
    evil.bend.clear()
    # The advice works.
    tokens = await sign_in(Traveller(campus.browser()))
    assert (await exchange(campus, tokens["access_token"])).status_code == 200


@one_database
async def test_a_link_that_is_gone_when_the_provider_refuses_is_no_failure_of_ours(
    campus: App, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def meanwhile(ask: Ask, refresh_token: str) -> ApiToken:
        await _unlink(campus)
        raise UpstreamRefused(UpstreamFault.DENIED)

    interfere(campus, monkeypatch, meanwhile)
    assert (await exchange(campus, token)).json()["error"] == "invalid_grant"


@one_database
async def test_a_token_that_others_replace_again_and_again_is_not_run_after_for_ever(
    campus: App, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    async def replaced(ask: Ask, refresh_token: str) -> ApiToken:
        calls.append(refresh_token)
        assert len(calls) < 5
        await sign_in(Traveller(campus.browser()))
        interfere(campus, monkeypatch, replaced)
        raise UpstreamRefused(UpstreamFault.DENIED)

    interfere(campus, monkeypatch, replaced)
    response = await exchange(campus, token)
    assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
    assert len(set(calls)) == 2
    assert (await link_of(campus)).sealed_refresh_token is not None


@pytest.mark.parametrize("fault", ["down", "refuses us"])
@one_database
async def test_a_provider_that_is_down_or_refuses_us_costs_nobody_what_is_kept(
    campus: App, token: str, evil: EvilProvider, fault: str
) -> None:
    before = await link_of(campus)
    if fault == "down":
        evil.bend["token"] = failing(503)
    else:
        evil.refuse_token("invalid_client", 401)
    response = await exchange(campus, token)
    assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
    assert await link_of(campus) == before
    assert await released(campus) == []


@one_database
async def test_what_was_sealed_for_another_link_or_altered_opens_nothing(
    campus: App, token: str, evil: EvilProvider
) -> None:
    linked = await link_of(campus)
    await campus.change("linked_accounts", [linked.id], sealed_refresh_token=b"x" * 60)
    asked = evil.count("token")
    assert (await exchange(campus, token)).json()["error"] == "invalid_grant"
    assert evil.count("token") == asked


async def test_of_several_links_the_one_that_was_used_last_counts(campus: App, token: str, evil: EvilProvider) -> None:
    first = await link_of(campus)
    second = replace(first, id="la_second", sub="4712", last_used_at=None, sealed_refresh_token=b"x" * 60)
    async with campus.store.write() as tx:
        await tx.linked_accounts.add(second)
    assert (await exchange(campus, token)).status_code == 200


# ── Secrets ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("logged", ["json"], indirect=True)
@pytest.mark.usefixtures("logged")
@one_database
async def test_no_token_of_the_provider_reaches_logs_or_audit(
    start: Start, evil: EvilProvider, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    evil.clock = clock
    evil.user |= {"sub": SUB, "email": ALICE, "email_verified": True}
    app = await start(outbound_allow=urlsplit(evil.issuer).netloc, access_log="all", log_level="debug")
    await set_up(app, evil)
    token = (await sign_in(Traveller(app.browser())))["access_token"]
    secrets = Secrets({token})
    for refuse in (False, False, True):
        if refuse:
            evil.refuse_token()
        response = await exchange(app, token)
        secrets.add(evil.last("token").form["refresh_token"], response.json().get("access_token", ""))
    captured = capsys.readouterr()
    async with app.store.read() as tx:
        audited = repr(await tx.audit_events.all())
    assert "upstream.token_refused" in captured.err + captured.out
    assert len(secrets.values) >= 5
    assert secrets.found_in(captured.out + captured.err + audited) == []


# ── Another vendor's provider ───────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def vendor() -> Iterator[NpmProvider]:
    with npm_provider(accounts={SUB: {"email": ALICE, "email_verified": True, "groups": ["staff"]}}) as running:
        yield running


@one_database
async def test_npm_oidc_provider_gives_a_refresh_token_for_offline_access_and_rotates_it(
    start: Start, vendor: NpmProvider, clock: FakeClock
) -> None:
    clock.now = system_clock()
    app = await start(outbound_allow=urlsplit(vendor.issuer).netloc)
    await set_up(app, vendor, api_scope="openid groups")
    vendor.set_redirect_uris(f"{app.issuer}/login/campus/callback")

    async def walk(http: httpx2.AsyncClient, url: str) -> str:
        return await walk_npm(http, url, SUB)

    token = (await sign_in(Traveller(Browser(app), walk)))["access_token"]
    for _ in range(2):
        response = await exchange(app, token)
        assert response.status_code == 200, response.text
        answer = response.json()
        # Though the person also allowed profile, email and offline_access.
        assert set(answer["scope"].split()) == {"openid", "groups"}
        told = httpx2.get(f"{vendor.issuer}/me", headers={"Authorization": f"Bearer {answer['access_token']}"})
        assert told.json()["groups"] == ["staff"]
