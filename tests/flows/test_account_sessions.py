"""The page of one's own sign-ins: what is listed, and what ending one of them ends."""

import re
from datetime import timedelta

import httpx2

from idp.crypto.opaque import hash_token
from idp.domain.session import Session
from tests.support.app import ALICE, BOB, App, Browser, form_of

PAGE = "/account/sessions"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"


def listed(page: httpx2.Response) -> list[str]:
    """The ids of the sessions on the page."""
    assert page.status_code == 200
    return re.findall(r'name="end" value="([^"]*)"', page.text)


async def elsewhere(app: App, email: str = ALICE, agent: str = FIREFOX) -> Browser:
    """Another browser in which somebody is signed in."""
    other = app.browser()
    other.http.headers["User-Agent"] = agent
    await other.sign_in(user=email)
    return other


async def session_of(app: App, browser: Browser) -> Session:
    found = await app.store.find_session(hash_token(browser.cookies["idp"]))
    assert found is not None
    return found[0]


async def is_signed_in(browser: Browser) -> bool:
    return (await browser.http.get(PAGE)).status_code == 200


async def test_the_page_is_for_whoever_is_signed_in(browser: Browser) -> None:
    assert (await browser.get(PAGE)).url.path == "/login"
    posted = await browser.http.post(PAGE, data={"end_others": "yes"})
    assert (posted.status_code, posted.headers["location"]) == (303, "/login?next=%2Faccount%2Fsessions")


async def test_each_sign_in_is_listed_and_this_one_is_marked(app: App, browser: Browser) -> None:
    await browser.sign_in()
    app.clock.advance(seconds=60)
    other = await elsewhere(app)
    await elsewhere(app, BOB)

    page = await browser.get(PAGE)

    assert len(listed(page)) == 2
    assert "Firefox on Linux" in page.text
    assert page.text.count("this browser") == 1
    assert listed(await other.get(PAGE)) == listed(page)


async def test_what_a_browser_calls_itself_is_only_text(app: App, browser: Browser) -> None:
    await browser.sign_in()
    await elsewhere(app, agent="<script>alert(1)</script>")
    page = await browser.get(PAGE)
    assert "Unknown browser" in page.text
    assert "alert(1)" not in page.text


async def test_a_sign_in_that_is_over_is_not_listed(app: App, browser: Browser) -> None:
    await elsewhere(app)
    app.clock.advance(seconds=int(timedelta(days=1).total_seconds()))
    await browser.sign_in()
    assert len(listed(await browser.get(PAGE))) == 1


async def test_ending_one_signs_out_there_and_takes_what_applications_got_there(app: App, browser: Browser) -> None:
    other = await elsewhere(app)
    tokens = await other.tokens(scope="openid profile")
    third = await elsewhere(app)
    await browser.sign_in()
    page = await browser.get(PAGE)
    sid = (await session_of(app, other)).id

    done = await browser.submit(page, end=sid)

    assert "Done. It is signed out" in done.text
    assert sid not in listed(done)
    assert not await is_signed_in(other)
    assert await is_signed_in(third)
    assert await is_signed_in(browser)
    answer = await app.http().get("/userinfo", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert answer.status_code == 401


async def test_ending_all_others_leaves_this_one(app: App, browser: Browser) -> None:
    others = [await elsewhere(app) for _ in range(2)]
    bob = await elsewhere(app, BOB)
    await browser.sign_in()

    done = await browser.submit(await browser.get(PAGE), end_others="yes")

    assert len(listed(done)) == 1
    assert "Sign out everywhere else" not in done.text
    assert [await is_signed_in(each) for each in (*others, bob, browser)] == [False, False, True, True]


async def test_ending_this_one_leads_to_signing_out(app: App, browser: Browser) -> None:
    await browser.sign_in()
    sid = (await session_of(app, browser)).id
    answered = await browser.http.post(PAGE, data={**form_of(await browser.get(PAGE)).fields, "end": sid})
    assert (answered.status_code, answered.headers["location"]) == (303, "/logout")
    assert await is_signed_in(browser)


async def test_nobody_ends_what_is_somebody_elses(app: App, browser: Browser) -> None:
    bob = await elsewhere(app, BOB)
    await browser.sign_in()
    sid = (await session_of(app, bob)).id
    refused = await browser.http.post(PAGE, data={**form_of(await browser.get(PAGE)).fields, "end": sid})
    assert refused.status_code == 409
    assert await is_signed_in(bob)


async def test_a_form_of_another_session_ends_nothing(app: App, browser: Browser) -> None:
    other = await elsewhere(app)
    await browser.sign_in()
    form = form_of(await other.get(PAGE)).fields
    stale = await browser.http.post(PAGE, data={**form, "end_others": "yes"})
    assert stale.status_code == 403
    assert await is_signed_in(other)
