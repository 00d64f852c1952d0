"""The page where consent is withdrawn, and logos, policy and terms of applications on the pages."""

import asyncio
import re
from hashlib import sha256
from io import BytesIO

import httpx2
import pytest
from PIL import Image

from idp.domain.audit import AuditAction
from idp.domain.client import ClientStatus
from idp.domain.lab import ManagedBy
from idp.domain.logo import Logo
from tests.support.app import ALICE, ALICE_ID, BOB, BOB_ID, App, Browser, Start, add_all, answer_of, form_of
from tests.support.clock import START

PAGE = "/account/apps"
EVIL = "<b>Evil</b>"


def listed(page: httpx2.Response) -> list[str]:
    """The applications of the page that may be withdrawn."""
    assert page.status_code == 200
    return re.findall(r'name="client_id" value="([^"]*)"', page.text)


async def withdraw(browser: Browser, client_id: str) -> httpx2.Response:
    return await browser.submit(await browser.get(PAGE), client_id=client_id)


async def withdrawals(app: App) -> list[tuple[str, str]]:
    async with app.store.read() as tx:
        events = await tx.audit_events.all()
    return [(event.actor, event.target) for event in events if event.action is AuditAction.CONSENT_WITHDRAWN]


# ── The page ────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_page_is_for_whoever_is_signed_in(app: App, browser: Browser) -> None:
    assert (await browser.get(PAGE)).url.path == "/login"
    posted = await browser.http.post(PAGE, data={"client_id": "portal"})
    assert (posted.status_code, posted.headers["location"]) == (303, "/login?next=%2Faccount%2Fapps")


async def test_it_says_so_in_words_when_there_is_nothing(browser: Browser) -> None:
    await browser.sign_in()

    page = await browser.get(PAGE)

    assert "No application may use your account" in page.text
    assert "<form" not in page.text


async def test_each_application_is_listed_with_what_it_may_have_in_words(app: App, browser: Browser) -> None:
    await browser.authorize(scope="openid email labs offline_access")
    app.clock.advance(seconds=3600)
    await browser.authorize("trusted", scope="openid")

    page = await browser.get(PAGE)

    assert listed(page) == ["portal", "trusted"]
    assert "Who you are · Your email · Your labs and your role in each · Stay connected" in page.text
    assert "portal.example.org" in page.text
    assert page.text.count("2026-01-05 12:00 UTC") == 2  # since, and last used
    assert page.text.count("2026-01-05 13:00 UTC") == 2
    assert page.text.count("it does not ask you when you use it") == 1
    assert page.headers["cache-control"] == "no-store"


async def test_single_claims_stand_under_their_titles_each_once_oidc_core_s5_5(browser: Browser) -> None:
    wanted = '{"userinfo": {"email": null, "email_verified": null, "phone_number": null}}'
    await browser.authorize(scope="openid", claims=wanted)

    page = await browser.get(PAGE)

    assert "Who you are · Your email · Your phone number</p>" in page.text


async def test_what_an_application_calls_itself_is_inert(app: App, browser: Browser) -> None:
    await app.change("clients", ["portal"], client_name=EVIL, client_uri="javascript:alert(1)")
    await browser.authorize(scope="openid")

    for path in (PAGE, "/"):
        page = await browser.get(path)
        assert EVIL not in page.text
        assert "&lt;b&gt;Evil" in page.text
        assert "javascript:" not in page.text


# ── Withdrawing ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_after_it_the_application_has_to_ask_again_and_its_tokens_are_dead(app: App, browser: Browser) -> None:
    online = await browser.tokens(scope="openid")
    offline = await browser.tokens(scope="openid offline_access", prompt="consent")
    code = await browser.authorize(scope="openid")

    page = await withdraw(browser, "portal")

    assert (page.url.path, listed(page) if "<form" in page.text else []) == (PAGE, [])
    assert "Done." in page.text
    assert answer_of(await browser.request(scope="openid", prompt="none")).error == "consent_required"
    assert (await browser.request(scope="openid")).url.path == "/consent"
    for tokens in (online, offline):
        assert not await app.is_alive(tokens["access_token"])
        refused = await app.refresh(tokens["refresh_token"])
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert (await app.redeem(code)).json()["error"] == "invalid_grant"
    assert await withdrawals(app) == [(ALICE_ID, "portal")]


async def test_it_can_be_allowed_again(app: App, browser: Browser) -> None:
    await browser.authorize(scope="openid profile")
    await withdraw(browser, "portal")

    page = await browser.request(scope="openid")
    assert "allowed before" not in page.text
    answer = await browser.finish(page)

    assert (await app.redeem(answer)).status_code == 200
    assert listed(await browser.get(PAGE)) == ["portal"]


async def test_other_applications_and_other_people_are_not_concerned(app: App, browser: Browser) -> None:
    other = await browser.tokens("other", scope="openid")
    bobs = app.browser()
    of_bob = await bobs.tokens(user=BOB, scope="openid")
    await browser.authorize(scope="openid")

    await withdraw(browser, "portal")

    assert await app.is_alive(other["access_token"], "other")
    assert await app.is_alive(of_bob["access_token"])
    assert listed(await bobs.get(PAGE)) == ["portal"]
    assert listed(await browser.get(PAGE)) == ["other"]


async def test_naming_an_application_that_somebody_else_uses_changes_nothing(app: App, browser: Browser) -> None:
    bobs = app.browser()
    of_bob = await bobs.tokens("other", user=BOB, scope="openid")
    await browser.authorize(scope="openid")

    for client_id in ("other", "unknown", "", "portal\x00", "x" * 3000):
        await withdraw(browser, client_id)

    assert await app.is_alive(of_bob["access_token"], "other")
    assert listed(await browser.get(PAGE)) == ["portal"]
    assert await withdrawals(app) == []


async def test_an_application_that_need_not_ask_loses_what_it_holds_and_gets_no_question(
    app: App, browser: Browser
) -> None:
    tokens = await browser.tokens("trusted", scope="openid")

    page = await withdraw(browser, "trusted")

    assert "No application may use your account" in page.text
    assert not await app.is_alive(tokens["access_token"], "trusted")
    assert answer_of(await browser.request("trusted", scope="openid", prompt="none")).error is None


async def test_an_application_that_is_switched_off_can_still_be_withdrawn_from(app: App, browser: Browser) -> None:
    await browser.authorize(scope="openid")
    await app.change("clients", ["portal"], status=ClientStatus.DISABLED)

    assert listed(await browser.get(PAGE)) == ["portal"]
    assert "Lab Portal" not in (await browser.get("/")).text
    await withdraw(browser, "portal")

    assert await withdrawals(app) == [(ALICE_ID, "portal")]


async def test_an_application_that_is_deleted_while_the_page_is_open_is_simply_gone(app: App, browser: Browser) -> None:
    await browser.authorize(scope="openid")
    page = await browser.get(PAGE)
    async with app.store.write() as tx:
        await tx.clients.delete("portal")

    after = await browser.submit(page, client_id="portal")

    assert (after.status_code, after.url.path) == (200, PAGE)
    assert await withdrawals(app) == []


async def test_pressing_twice_withdraws_once(app: App, browser: Browser) -> None:
    await browser.authorize(scope="openid")
    page = await browser.get(PAGE)

    responses = await asyncio.gather(*(browser.post(page, client_id="portal") for _ in range(4)))

    assert [response.status_code for response in responses] == [200] * 4
    assert await withdrawals(app) == [(ALICE_ID, "portal")]


async def test_consent_that_is_given_on_one_node_while_it_is_withdrawn_on_another_is_never_half_there(
    start: Start,
) -> None:
    nodes = [await start(), await start()]
    browsers = [node.browser() for node in nodes]
    await browsers[0].authorize(scope="openid")
    asked = await browsers[1].sign_in(await browsers[1].request(scope="openid email"))
    page = await browsers[0].get(PAGE)

    answered, _ = await asyncio.gather(
        browsers[1].post(asked, decision="allow"), browsers[0].post(page, client_id="portal")
    )

    answer = answer_of(answered)
    assert answer.error in {None, "access_denied"}
    alive = answer.error is None and (await nodes[0].redeem(answer)).status_code == 200
    consented = answer_of(await browsers[1].request(scope="email", prompt="none")).error is None
    assert alive or not consented
    async with nodes[0].store.read() as tx:
        consent = await tx.consents.find(ALICE_ID, "portal")
    assert (consent is not None) == consented
    if consent is not None:
        assert set(consent.scopes) <= {"openid", "email"}


# ── Forms ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_only_who_withdrew_something_is_told_that_it_is_done(app: App, browser: Browser) -> None:
    await browser.authorize(scope="openid")

    assert "Done." in (await withdraw(browser, "portal")).text
    for query in ("", "?withdrawn=1", "?withdrawn=portal"):
        assert "Done." not in (await browser.get(f"{PAGE}{query}")).text


async def test_one_that_registered_itself_is_marked(app: App, browser: Browser) -> None:
    await app.change("clients", ["portal"], managed_by=ManagedBy.REGISTRATION)
    await browser.authorize(scope="openid")
    await browser.authorize("other", scope="openid")

    assert (await browser.get(PAGE)).text.count("Not checked by Lab ID") == 1


async def test_nothing_is_withdrawn_without_our_own_form(app: App, browser: Browser) -> None:
    await browser.authorize(scope="openid")
    csrf = form_of(await browser.get(PAGE)).fields["csrf"]
    evil = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}

    for data, headers in (
        ({"client_id": "portal"}, {}),
        ({"client_id": "portal", "csrf": ""}, {}),
        ({"client_id": "portal", "csrf": "x"}, {}),
        ({"client_id": "portal", "csrf": csrf}, evil),
    ):
        refused = await browser.http.post(PAGE, data=data, headers=headers)
        assert refused.status_code == 403
    assert listed(await browser.get(PAGE)) == ["portal"]


async def test_a_form_of_one_account_withdraws_nothing_of_the_next(app: App, browser: Browser) -> None:
    await browser.authorize(scope="openid")
    page = await browser.get(PAGE)
    await browser.sign_in(await browser.get("/login", add="1"), user=BOB)
    await browser.authorize(user=BOB, scope="openid")

    refused = await browser.post(page, client_id="portal")

    assert refused.status_code == 403
    async with app.store.read() as tx:
        assert {consent.user_id for consent in await tx.consents.all()} == {ALICE_ID, BOB_ID}
    # The page is shown anew, for whoever is signed in now.
    assert "Somebody signed in or out in another window" in refused.text
    assert BOB in refused.text
    await browser.submit(refused, client_id="portal")
    assert await withdrawals(app) == [(BOB_ID, "portal")]


async def test_a_form_from_another_site_is_refused_and_lists_nothing(app: App, browser: Browser) -> None:
    await browser.authorize(scope="openid")
    page = await browser.get(PAGE)

    refused = await browser.post(page, {"Origin": "https://evil.example"}, client_id="portal", csrf="x")

    assert (refused.status_code, "Lab Portal" in refused.text) == (403, False)
    assert await withdrawals(app) == []


async def test_two_values_of_a_field_are_refused(browser: Browser) -> None:
    await browser.authorize(scope="openid")
    csrf = form_of(await browser.get(PAGE)).fields["csrf"]

    refused = await browser.http.post(PAGE, data={"csrf": csrf, "client_id": ["portal", "other"]})

    assert refused.status_code == 400
    assert listed(await browser.get(PAGE)) == ["portal"]


# ── Logos, policy and terms ─────────────────────────────────────────────────────────────────────────────────────────
def picture() -> bytes:
    written = BytesIO()
    Image.new("RGBA", (8, 8), "teal").save(written, "PNG")
    return written.getvalue()


@pytest.fixture
async def logo(app: App) -> str:
    """Give the portal a logo and return where it is served."""
    content = picture()
    digest = sha256(content).hexdigest()
    uri = "https://portal.example.org/logo.svg"
    await app.change("clients", ["portal"], logo_uri=uri)
    await add_all(app.store, [Logo(client_id="portal", uri=uri, fetched_at=START, digest=digest, content=content)])
    return f"/logo/{digest}.png"


async def test_the_logo_stands_beside_the_name_from_our_own_origin_on_every_page(browser: Browser, logo: str) -> None:
    pages = [await browser.request(scope="openid")]
    pages.append(await browser.sign_in(pages[0]))
    await browser.finish(pages[1])
    pages += [await browser.get("/"), await browser.get(PAGE)]

    assert [page.url.path for page in pages] == ["/login", "/consent", "/", PAGE]
    for page in pages:
        assert f'<img class="logo" src="{logo}" alt="" width="40" height="40">' in page.text
        assert "logo.svg" not in page.text


async def test_a_logo_is_a_picture_for_good_and_nothing_else(app: App, logo: str) -> None:
    response = await app.http().get(logo)

    assert response.content == picture()
    assert response.headers["content-type"] == "image/png"
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    assert (await app.http().head(logo)).content == b""
    assert (await app.http().post(logo)).status_code == 405


@pytest.mark.parametrize(
    "name", ["0" * 64, "", "0", "A" * 64, "%00" * 64, "..%2f..%2fetc%2fpasswd", "0" * 64 + "%0a", "é" * 64]
)
async def test_a_digest_of_nothing_is_not_found(app: App, logo: str, name: str) -> None:
    assert (await app.http().get(f"/logo/{name}.png")).status_code == 404


async def test_a_logo_on_the_loopback_is_never_asked_for_however_often_the_page_is_opened(
    app: App, browser: Browser
) -> None:
    asked = []

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/logo.png"
    await app.change("clients", ["portal"], logo_uri=uri)
    for _ in range(3):
        page = await browser.request(scope="openid")
        assert 'class="logo"' not in page.text
    await app.services["logos"].fetch_due()
    server.close()
    await server.wait_closed()

    assert asked == []
    async with app.store.read() as tx:
        assert (await tx.logos.get("portal")).digest is None


async def test_policy_and_terms_are_linked_before_anybody_decides(app: App, browser: Browser) -> None:
    uris = {"policy_uri": "https://portal.example.org/privacy", "tos_uri": "https://portal.example.org/terms"}
    await app.change("clients", ["portal"], **uris)
    login = await browser.request(scope="openid")
    consent = await browser.sign_in(login)

    for page in (login, consent):
        for uri in uris.values():
            assert f'<a href="{uri}" rel="noopener noreferrer">' in page.text
    assert "privacy" not in (await browser.get("/login", add="1")).text


async def test_an_application_that_registered_itself_is_warned_of(app: App, browser: Browser) -> None:
    warning = "Nobody at Lab ID has checked this application"
    assert warning not in (await browser.sign_in(await browser.request(scope="openid"))).text

    await app.change("clients", ["portal"], managed_by=ManagedBy.REGISTRATION)

    page = await browser.request(scope="openid")
    assert warning in page.text
    assert (await browser.finish(page)).error is None


async def test_what_was_agreed_to_before_is_marked(browser: Browser) -> None:
    await browser.authorize(scope="openid")

    page = await browser.request(scope="openid email")

    chips = re.findall(r'<span class="chip[^"]*">(\w+)</span>\s*(allowed|<span[^>]*>allowed before)?', page.text)
    assert [(name, bool(before)) for name, before in chips] == [("openid", True), ("email", False)]
    assert ALICE in page.text
