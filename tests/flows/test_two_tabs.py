"""Stored requests that are opened again, elsewhere or too late: explained by a page, never answered twice, no loops."""

import asyncio

import httpx2
import pytest

from tests.support.app import ALICE_ID, BOB, BOB_ID, App, Browser, answer_of, decoded

PAGES = ("/authorize/resume", "/login", "/consent", "/select-account")


def is_explained(response: httpx2.Response) -> bool:
    """Whether this is the page that says that the request was finished, and leads on."""
    return response.status_code == 400 and "This sign-in has expired" in response.text


def query_of(page: httpx2.Response) -> str:
    return page.url.query.decode()


async def codes(app: App) -> int:
    async with app.store.read() as tx:
        return len(await tx.authorization_codes.all())


async def user_of(app: App, response: httpx2.Response) -> str:
    tokens = (await app.redeem(answer_of(response))).json()
    return str(decoded(tokens["id_token"])[1]["sub"])


async def test_every_page_of_an_answered_request_is_explained(app: App, browser: Browser) -> None:
    login = await browser.request()
    consent = await browser.sign_in(login)
    assert answer_of(await browser.submit(consent, decision="allow")).error is None

    for path in PAGES:
        assert is_explained(await browser.get(f"{path}?{query_of(login)}")), path
    for decision in ("allow", "deny"):
        assert is_explained(await browser.submit(consent, decision=decision))
    again = await browser.submit(login, username="alice", password="correct-horse-battery")
    assert is_explained(again)
    assert await codes(app) == 1


async def test_the_back_button_after_signing_in_leads_on_and_not_round_in_circles(app: App, browser: Browser) -> None:
    login = await browser.request()
    await browser.sign_in(login)

    back = await browser.get(f"/login?{query_of(login)}")
    assert back.status_code == 200
    page = back if back.url.path == "/consent" else await browser.sign_in(back)
    assert (await app.redeem(answer_of(await browser.submit(page, decision="allow")))).status_code == 200


async def test_two_tabs_of_one_application_finish_in_either_order(app: App, browser: Browser) -> None:
    first, second = await browser.request(state="first"), await browser.request(state="second")
    consent = await browser.sign_in(second)
    assert answer_of(await browser.submit(consent, decision="allow")).params["state"] == "second"

    answered = answer_of(await browser.get(f"/authorize/resume?{query_of(first)}"))
    assert (answered.params["state"], answered.error) == ("first", None)


async def test_a_request_that_waits_in_one_browser_names_nobody_in_another(app: App, browser: Browser) -> None:
    login = await browser.request()
    consent = await browser.sign_in(login)
    bobs = app.browser()

    # Whoever gets hold of the address sees no more than who starts a request of their own.
    elsewhere = await bobs.get(f"/consent?{query_of(login)}")
    assert elsewhere.url.path == "/login"
    assert "Alice" not in elsewhere.text
    answered = await bobs.submit(await bobs.sign_in(elsewhere, user=BOB), decision="allow")
    assert await user_of(app, answered) == BOB_ID
    assert is_explained(await browser.submit(consent, decision="allow"))


async def test_consent_given_in_one_browser_is_not_another_users(app: App, browser: Browser) -> None:
    await browser.authorize()
    login = await browser.request(prompt="consent")
    bobs = app.browser()
    await bobs.sign_in(user=BOB)

    page = await bobs.get(f"/authorize/resume?{query_of(login)}")
    assert page.url.path == "/consent"
    # Nor does the form of one browser count in the other.
    cross = await bobs.http.post(f"/consent?{query_of(login)}", data={"csrf": "x", "decision": "allow"})
    assert (cross.status_code, cross.text.count(BOB) > 0) == (403, True)
    assert await user_of(app, await browser.submit(login, decision="allow")) == ALICE_ID


async def test_cookies_that_are_deleted_half_way_mean_signing_in_again(app: App, browser: Browser) -> None:
    login = await browser.request()
    consent = await browser.sign_in(login)
    browser.http.cookies.clear()

    lost = await browser.submit(consent, decision="allow")

    assert (lost.status_code, lost.url.path) == (200, "/login")
    page = await browser.get(f"/consent?{query_of(login)}")
    assert page.url.path == "/login"
    assert (await app.redeem(await browser.finish(page))).status_code == 200


async def test_cookies_that_are_deleted_on_the_sign_in_page_mean_one_more_try(app: App, browser: Browser) -> None:
    login = await browser.request()
    browser.http.cookies.clear()
    refused = await browser.sign_in(login)
    assert (refused.status_code, "Please try again" in refused.text) == (403, True)
    assert (await app.redeem(await browser.finish(refused))).status_code == 200


async def test_signing_out_in_another_tab_means_signing_in_again(app: App, browser: Browser) -> None:
    login = await browser.request()
    consent = await browser.sign_in(login)
    await browser.submit(await browser.get("/logout"))

    page = await browser.submit(consent, decision="allow")

    assert "code=" not in str(page.headers)
    assert await codes(app) == 0
    assert (await browser.get(f"/consent?{query_of(login)}")).url.path == "/login"


async def test_allow_and_deny_at_once_give_one_answer(app: App, browser: Browser) -> None:
    page = await browser.sign_in(await browser.request())

    responses = await asyncio.gather(*(browser.post(page, decision=decision) for decision in ("allow", "deny") * 2))

    answers = [answer_of(response) for response in responses if response.status_code == 303]
    assert len(answers) == 1
    assert await codes(app) == (answers[0].error is None)
    assert all(is_explained(response) for response in responses if response.status_code != 303)


@pytest.mark.parametrize("path", PAGES)
async def test_a_handle_that_was_made_up_is_explained(browser: Browser, path: str) -> None:
    await browser.sign_in()
    for handle in ("", "x", "x" * 5000, "%00", "\N{KEY}"):
        response = await browser.get(path, interaction=handle)
        # Without a handle the two pages stand for themselves.
        assert is_explained(response) or (handle == "" and response.status_code == 200), (path, handle)
