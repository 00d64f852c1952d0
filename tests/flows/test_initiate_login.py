"""Login initiated by a third party, which is us (OpenID Connect Core §4)."""

import re
from datetime import timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest

from idp.domain.client import ClientStatus
from idp.domain.lab import ManagedBy
from idp.protocol.initiate_login import initiate_login_address
from tests.support.app import ISSUER, App, Browser, answer_of
from tests.support.factories import make_client

START_URI = "https://portal.example.org/start"


async def links(browser: Browser) -> dict[str, str]:
    """The applications of the first page by name, and where their links lead."""
    page = await browser.get("/")
    found = re.findall(r'<a href="([^"]+)" rel="noopener noreferrer"><bdi>([^<]+)</bdi></a>', page.text)
    return {name: href.replace("&amp;", "&") for href, name in found}


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (START_URI, [("iss", ISSUER)]),
        (f"{START_URI}?tenant=1&x=", [("tenant", "1"), ("x", ""), ("iss", ISSUER)]),
        (f"{START_URI}?", [("iss", ISSUER)]),
    ],
)
def test_the_address_names_the_issuer_and_keeps_its_query_oidc_core_s4(
    uri: str, expected: list[tuple[str, str]]
) -> None:
    address = initiate_login_address(make_client(initiate_login_uri=uri), issuer=ISSUER)

    assert address is not None
    assert address.startswith(START_URI)
    assert parse_qsl(urlsplit(address).query, keep_blank_values=True) == expected


def test_without_a_registered_address_there_is_none() -> None:
    assert initiate_login_address(make_client(), issuer=ISSUER) is None


async def test_the_first_page_starts_a_sign_in_at_an_application_that_one_uses_oidc_core_s4(
    app: App, browser: Browser
) -> None:
    await app.change("clients", ["portal"], initiate_login_uri=START_URI, client_uri="https://portal.example.org/")
    await browser.authorize(scope="openid")

    address = (await links(browser))["Lab Portal"]

    # What the application makes of it: a request to the issuer that it is told, which is answered without a question.
    assert urlsplit(address)._replace(query="").geturl() == START_URI
    assert dict(parse_qsl(urlsplit(address).query)) == {"iss": app.issuer}
    assert answer_of(await browser.request(scope="openid")).error is None


async def test_another_one_is_linked_to_its_own_page_or_only_named(app: App, browser: Browser) -> None:
    await app.change("clients", ["other"], client_uri="https://other.example.org/")
    for client_id in ("other", "spa", "trusted"):
        await browser.authorize(client_id, scope="openid")

    assert await links(browser) == {"Other": "https://other.example.org/"}
    page = (await browser.get("/")).text
    assert [name for name in ("Other", "Single Page", "Trusted") if name in page] == ["Other", "Single Page", "Trusted"]


async def test_one_that_registered_itself_is_named_by_its_host_and_marked(app: App, browser: Browser) -> None:
    await app.change(
        "clients",
        ["portal"],
        managed_by=ManagedBy.REGISTRATION,
        client_name="Lab ID: your password expires today",
        client_uri="https://evil.example/",
    )
    await browser.authorize(scope="openid")

    page = (await browser.get("/")).text

    assert "<bdi>portal.example.org</bdi>" in page
    assert "Not checked by Lab ID" in page
    assert "your password expires" not in page
    assert await links(browser) == {}
    await app.change("clients", ["portal"], initiate_login_uri="https://start.example.org/in")
    assert await links(browser) == {"start.example.org": f"https://start.example.org/in?{urlencode({'iss': ISSUER})}"}
    gone = await lost(app.browser())
    assert "Start again at <b><bdi>start.example.org</bdi></b>" in gone.text
    assert "your password expires" not in gone.text


async def test_one_that_was_checked_is_not_marked(app: App, browser: Browser) -> None:
    await browser.authorize(scope="openid")

    assert "Not checked by Lab ID" not in (await browser.get("/")).text
    assert "Not checked by Lab ID" not in (await browser.get("/account/apps")).text


async def test_an_application_that_nobody_used_or_that_is_withdrawn_is_not_shown(app: App, browser: Browser) -> None:
    await app.change("clients", ["portal"], initiate_login_uri=START_URI)
    assert await links(browser) == {}
    await browser.sign_in()
    assert await links(browser) == {}
    await browser.authorize(scope="openid")
    assert list(await links(browser)) == ["Lab Portal"]
    assert await links(app.browser()) == {}

    await browser.submit(await browser.get("/account/apps"), client_id="portal")

    assert await links(browser) == {}


async def test_an_application_that_is_switched_off_starts_nothing(app: App, browser: Browser) -> None:
    await app.change("clients", ["portal"], initiate_login_uri=START_URI)
    await browser.authorize(scope="openid")

    await app.change("clients", ["portal"], status=ClientStatus.DISABLED)

    assert await links(browser) == {}


# ── A sign-in that was lost ─────────────────────────────────────────────────────────────────────────────────────────
async def lost(browser: Browser) -> httpx2.Response:
    """Come back to a sign-in page that was left open for too long."""
    page = await browser.request(scope="openid")
    browser.app.clock.advance(timedelta(hours=2))
    gone = await browser.http.get(str(page.url))
    assert gone.status_code == 400
    assert "This sign-in has expired" in gone.text
    return gone


async def test_a_sign_in_that_has_expired_can_be_started_again_at_its_application(app: App, browser: Browser) -> None:
    await app.change("clients", ["portal"], initiate_login_uri=f"{START_URI}?tenant=1", client_name="<b>Portal</b>")

    gone = await lost(browser)

    (href,) = re.findall(r'<a class="button primary" href="([^"]+)" rel="noopener noreferrer">', gone.text)
    assert parse_qsl(urlsplit(href.replace("&amp;", "&")).query) == [("tenant", "1"), ("iss", ISSUER)]
    assert "<span>Start again at <b><bdi>&lt;b&gt;Portal&lt;/b&gt;</bdi></b></span>" in gone.text


async def test_one_that_was_answered_already_can_be_started_again_too(app: App, browser: Browser) -> None:
    await app.change("clients", ["portal"], initiate_login_uri=START_URI)
    page = await browser.sign_in(await browser.request(scope="openid"))
    await browser.submit(page, decision="allow")

    again = await browser.post(page, decision="allow")

    assert again.status_code == 400
    assert f'href="{START_URI}?iss=' in again.text


async def test_without_such_an_address_or_with_an_unknown_request_there_is_no_such_link(
    app: App, browser: Browser
) -> None:
    assert "Start again at" not in (await lost(browser)).text
    await app.change("clients", ["portal"], initiate_login_uri=START_URI)
    unknown = await browser.get("/login", interaction="unknown")
    assert "This sign-in has expired" in unknown.text
    assert "Start again at" not in unknown.text
    page = await browser.request(scope="openid")
    await app.change("clients", ["portal"], status=ClientStatus.DISABLED)
    app.clock.advance(timedelta(hours=2))
    gone = await browser.http.get(str(page.url))
    assert "This sign-in has expired" in gone.text
    assert "Start again at" not in gone.text
