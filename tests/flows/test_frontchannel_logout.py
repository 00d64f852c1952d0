"""Signing out of applications in the browser (OpenID Connect Front-Channel Logout 1.0)."""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from tests.support.app import ALICE, BOB, App, Browser, answer_of, decoded

BYE = "https://portal.example.org/bye"
PORTAL, OTHER = "https://portal.example.org/frames/out?tenant=1", "https://other.example.org:8443/out"


def frames(page: httpx2.Response) -> list[str]:
    return [source.replace("&amp;", "&") for source in re.findall(r'<iframe src="([^"]+)"', page.text)]


def frame_sources(page: httpx2.Response) -> list[str]:
    directives = [directive.split() for directive in page.headers["content-security-policy"].split(";")]
    return [source for name, *sources in directives if name == "frame-src" for source in sources]


@pytest.fixture(autouse=True)
async def _told_in_frames(app: App) -> None:
    await app.change("clients", ("portal",), frontchannel_logout_uri=PORTAL)
    await app.change("clients", ("other",), frontchannel_logout_uri=OTHER)


async def sign_out(browser: Browser, **params: str) -> httpx2.Response:
    page = await browser.get("/logout", **params)
    return await browser.submit(page) if "Sign out?" in page.text else page


async def test_every_application_of_the_session_is_framed_with_iss_and_sid_s3(app: App, browser: Browser) -> None:
    sid = decoded((await browser.tokens())["id_token"])[1]["sid"]
    await browser.tokens("other", scope="openid profile")
    await browser.tokens("trusted", scope="openid")

    page = await sign_out(browser)

    found = {
        urlsplit(address)._replace(query="").geturl(): parse_qs(urlsplit(address).query) for address in frames(page)
    }
    assert found == {
        "https://portal.example.org/frames/out": {"tenant": ["1"], "iss": [app.issuer], "sid": [sid]},
        OTHER: {"iss": [app.issuer], "sid": [sid]},
    }
    assert all(name in page.text for name in ("Lab Portal", "Other"))
    assert "Trusted" not in page.text


async def test_the_page_may_frame_exactly_their_origins(browser: Browser) -> None:
    await browser.tokens()
    await browser.tokens("other", scope="openid profile")

    page = await sign_out(browser)

    assert sorted(frame_sources(page)) == ["https://other.example.org:8443", "https://portal.example.org"]
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cache-control"] == "no-store"


async def test_an_application_that_had_no_part_in_the_session_is_not_framed(app: App, browser: Browser) -> None:
    await app.browser().tokens("other", scope="openid profile")
    await browser.tokens()

    page = await sign_out(browser)

    assert [urlsplit(address).netloc for address in frames(page)] == ["portal.example.org"]


async def test_the_way_back_leads_by_the_page_with_exactly_the_state(browser: Browser) -> None:
    hint = (await browser.tokens())["id_token"]

    page = await browser.get("/logout", id_token_hint=hint, post_logout_redirect_uri=BYE, state="a&b")

    assert (page.status_code, "location" in page.headers) == (200, False)
    assert len(frames(page)) == 1
    target = f"{BYE}?state=a%26b"
    assert re.search(rf'<a [^>]*id="onwards" href="{re.escape(target)}"', page.text)
    assert f'<noscript><meta http-equiv="refresh" content="5; url={target}"></noscript>' in page.text
    assert re.search(r'<script src="/static/logout\.\w+\.js" defer>', page.text)
    # A second time there is nobody left to tell, and the browser goes straight on.
    again = await browser.http.get("/logout", params={"id_token_hint": hint, "post_logout_redirect_uri": BYE})
    assert answer_of(again).location == BYE


@pytest.mark.parametrize("uri", ["https://portal.example.org;script-src/out", "https://user@portal.example.org/out"])
async def test_an_address_that_could_change_the_policy_is_never_framed(app: App, browser: Browser, uri: str) -> None:
    await app.change("clients", ("portal",), frontchannel_logout_uri=uri)
    await browser.tokens()

    page = await sign_out(browser)

    assert (frames(page), frame_sources(page)) == ([], [])
    assert "Lab Portal" not in page.text


async def test_each_session_of_several_accounts_is_told_by_itself(app: App, browser: Browser) -> None:
    sids: list[Any] = [decoded((await browser.tokens())["id_token"])[1]["sid"]]
    await browser.sign_in(await browser.get("/login", add="1"), user=BOB)
    sids.append(decoded((await browser.tokens(user=BOB))["id_token"])[1]["sid"])

    page = await sign_out(browser)

    assert sorted(parse_qs(urlsplit(address).query)["sid"][0] for address in frames(page)) == sorted(sids)
    assert page.text.count("Lab Portal") == 1
    assert frame_sources(page) == ["https://portal.example.org"]


async def test_one_account_that_is_signed_out_among_several_is_told_too(browser: Browser) -> None:
    sid = decoded((await browser.tokens())["id_token"])[1]["sid"]
    await browser.sign_in(await browser.get("/login", add="1"), user=BOB)

    page = await browser.submit(await browser.get("/select-account"), sign_out=sid)

    assert [parse_qs(urlsplit(address).query)["sid"] for address in frames(page)] == [[sid]]
    assert re.search(r'<a [^>]*id="onwards" href="/"', page.text)
    assert (ALICE in page.text, BOB in page.text) == (False, True)


async def test_without_such_applications_the_browser_goes_straight_back(app: App, browser: Browser) -> None:
    await app.change("clients", ("portal",), frontchannel_logout_uri=None)
    hint = (await browser.tokens())["id_token"]

    response = await browser.get("/logout", id_token_hint=hint, post_logout_redirect_uri=BYE)

    assert answer_of(response).location == BYE
