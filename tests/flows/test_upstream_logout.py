"""Signing out at the provider as well, after signing out here (RP-Initiated Logout 1.0)."""

import re
from collections.abc import Iterator
from html import unescape
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from idp.domain.clock import system_clock
from idp.domain.provider import ProviderStatus
from tests.support.app import ALICE, ALICE_ID, BOB, BOB_ID, App, Browser, Start
from tests.support.bent import ABSENT, failing, slow
from tests.support.clock import FakeClock
from tests.support.databases import one_database
from tests.support.evil_provider import EvilProvider
from tests.support.factories import make_linked_account, make_provider
from tests.support.upstream import Traveller, add_provider, sealed_secret, sent
from tests.support.upstreams import NpmProvider, Upstream, leave_npm, npm_provider, upstream_http, walk_npm

BYE = "https://portal.example.org/bye"


async def set_up(app: App, upstream: EvilProvider | Upstream, **changes: Any) -> None:
    """Let there be Campus login, at which Alice has an account."""
    values = {
        "issuer": upstream.issuer,
        "client_id": upstream.client_id,
        "sealed_secret": sealed_secret(app, "campus", upstream.client_secret),
    }
    await add_provider(app, make_provider(**{**values, **changes}))
    async with app.store.write() as tx:
        linked = make_linked_account(issuer=upstream.issuer, sub="4711", user_id=ALICE_ID, email=ALICE)
        await tx.linked_accounts.add(linked)


@pytest.fixture
async def campus(start: Start, evil: EvilProvider, clock: FakeClock) -> App:
    evil.clock = clock
    evil.user |= {"sub": "4711", "email": ALICE, "email_verified": True}
    app = await start(outbound_allow=urlsplit(evil.issuer).netloc)
    await set_up(app, evil)
    return app


@pytest.fixture
async def alice(campus: App) -> Browser:
    """Alice's browser, signed in through Campus login."""
    traveller = Traveller(campus.browser())
    assert (await traveller.sign_in(None, "campus")).url.path == "/"
    return traveller.browser


async def sign_out(browser: Browser) -> httpx2.Response:
    return await browser.submit(await browser.get("/logout"))


def offered(page: httpx2.Response) -> list[str]:
    """Return where the page offers to sign out as well."""
    assert "You are signed out" in page.text
    links = re.findall(r'<a class="button" href="(https?://[^"]*)"', page.text)
    assert len(links) == page.text.count("Sign out there too")
    return [unescape(link) for link in links]


async def test_the_page_offers_to_sign_out_at_the_provider_with_its_id_token_s2(
    campus: App, alice: Browser, evil: EvilProvider
) -> None:
    page = await sign_out(alice)
    assert "still signed in at <b><bdi>Campus login" in page.text
    (url,) = offered(page)
    assert url.startswith(f"{evil.issuer}/end_session?")
    params = sent(url)
    assert params["post_logout_redirect_uri"] == f"{campus.issuer}/logout/done"
    assert params["client_id"] == evil.client_id
    # The ID token stands in that one address, and nobody is told of it by a Referer.
    assert page.text.count(params["id_token_hint"]) == 1
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.headers["cache-control"] == "no-store"


async def test_the_provider_leads_back_to_a_page_that_tells_nothing_but_that_s3(
    campus: App, alice: Browser, evil: EvilProvider
) -> None:
    (url,) = offered(await sign_out(alice))
    async with upstream_http() as http:
        back = await http.get(url)
    page = await alice.get(back.headers["location"], state="echoed-nowhere", error="echoed-nowhere")
    assert page.url.path == "/logout/done"
    assert offered(page) == []
    assert "echoed-nowhere" not in page.text


async def test_it_is_offered_once_and_nothing_is_kept_for_it(campus: App, alice: Browser) -> None:
    assert offered(await sign_out(alice))
    async with campus.store.read() as tx:
        assert await tx.upstream_sessions.all() == []
    assert offered(await alice.get("/logout")) == []


async def test_whoever_came_by_a_password_is_offered_nothing(campus: App, evil: EvilProvider) -> None:
    browser = campus.browser()
    await browser.sign_in()
    assert offered(await sign_out(browser)) == []
    assert evil.requests == []


async def test_an_application_that_wants_its_people_back_gets_them_at_once_s3(campus: App, evil: EvilProvider) -> None:
    traveller = Traveller(campus.browser())
    page = await traveller.sign_in(await traveller.browser.request(), "campus")
    tokens = (await campus.redeem(await traveller.browser.finish(page))).json()
    answer = await traveller.browser.get("/logout", id_token_hint=tokens["id_token"], post_logout_redirect_uri=BYE)
    assert answer.headers["location"] == BYE
    async with campus.store.read() as tx:
        assert await tx.upstream_sessions.all() == []


@one_database
async def test_an_application_that_proved_nothing_is_offered_beside_it(campus: App, alice: Browser) -> None:
    page = await alice.get("/logout", client_id="portal", post_logout_redirect_uri=BYE)
    page = await alice.submit(page)
    assert f'href="{BYE}"' in page.text
    assert "Sign out there too" in page.text


async def test_each_provider_of_several_accounts_is_offered_once(
    campus: App, alice: Browser, evil: EvilProvider
) -> None:
    async with campus.store.write() as tx:
        bob = make_linked_account(id="la_bob", issuer=evil.issuer, sub="4712", user_id=BOB_ID, email=BOB)
        await tx.linked_accounts.add(bob)
    evil.user |= {"sub": "4712", "email": BOB}
    await Traveller(alice).sign_in(await alice.get("/login", add="1"), "campus")
    async with campus.store.read() as tx:
        assert len(await tx.upstream_sessions.all()) == 2
    assert len(offered(await sign_out(alice))) == 1


@pytest.mark.parametrize(
    "changes", [{"logout": False}, {"status": ProviderStatus.DISABLED}, {"issuer": "https://another.example"}]
)
@one_database
async def test_nothing_is_offered_where_it_is_switched_off(
    campus: App, alice: Browser, changes: dict[str, Any]
) -> None:
    await campus.change("providers", ["campus"], **changes)
    campus.services["providers"].forget()
    assert offered(await sign_out(alice)) == []


@one_database
async def test_nor_where_the_provider_has_no_such_page(start: Start, evil: EvilProvider, clock: FakeClock) -> None:
    evil.clock = clock
    evil.user |= {"sub": "4711", "email": ALICE, "email_verified": True}
    evil.metadata["end_session_endpoint"] = ABSENT
    app = await start(outbound_allow=urlsplit(evil.issuer).netloc)
    await set_up(app, evil)
    traveller = Traveller(app.browser())
    await traveller.sign_in(None, "campus")
    assert offered(await sign_out(traveller.browser)) == []


@pytest.mark.parametrize("fault", ["slow", "down", "altered"])
@one_database
async def test_nobody_waits_to_sign_out_for_a_provider_that_is_down(
    campus: App, alice: Browser, evil: EvilProvider, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known of it is as old as can be, so that it would have to be asked anew."""
    released = Event()
    if fault == "altered":
        (session_id,) = await _sessions(campus)
        await campus.change("upstream_sessions", [session_id], sealed_id_token=b"x" * 60)
    else:
        evil.bend["discovery"] = slow(released) if fault == "slow" else failing(503)
        providers = campus.services["providers"]
        monkeypatch.setattr(providers._documents, "_cache", {})
        async with campus.store.write() as tx:
            for kept in await tx.kept_documents.all():
                await tx.kept_documents.delete(kept.uri)
    began = system_clock()
    assert offered(await sign_out(alice)) == []
    assert (system_clock() - began).total_seconds() < 4
    released.set()
    async with campus.store.read() as tx:
        assert await tx.upstream_sessions.all() == []


async def test_a_provider_that_failed_several_times_is_not_even_asked(
    campus: App, alice: Browser, evil: EvilProvider
) -> None:
    for _ in range(5):
        campus.services["providers"].circuit.failed("campus", campus.clock())
    assert offered(await sign_out(alice)) == []


async def _sessions(app: App) -> list[str]:
    async with app.store.read() as tx:
        return [held.session_id for held in await tx.upstream_sessions.all()]


# ── Another vendor's provider ───────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def vendor() -> Iterator[NpmProvider]:
    with npm_provider(accounts={"4711": {"email": ALICE, "email_verified": True}}) as running:
        yield running


@one_database
async def test_npm_oidc_provider_signs_out_and_leads_back(start: Start, vendor: NpmProvider, clock: FakeClock) -> None:
    clock.now = system_clock()
    app = await start(outbound_allow=urlsplit(vendor.issuer).netloc)
    await set_up(app, vendor)
    vendor.set_redirect_uris(f"{app.issuer}/login/campus/callback", f"{app.issuer}/logout/done")
    async with upstream_http() as person:

        async def walk(http: httpx2.AsyncClient, url: str) -> str:
            return await walk_npm(person, url, "4711")

        traveller = Traveller(app.browser(), walk)
        await traveller.sign_in(None, "campus")
        (url,) = offered(await sign_out(traveller.browser))
        back = await leave_npm(person, url)
    assert back.startswith(f"{app.issuer}/logout/done")
    assert offered(await traveller.browser.get(back)) == []
