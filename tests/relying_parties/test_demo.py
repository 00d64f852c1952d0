"""The demo application, end to end: every button of it."""

import re
from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.relying_parties.conftest import World
from tests.support.forms import FormBrowser, Page
from tests.support.server import PASSWORD


@pytest.fixture
async def browser() -> AsyncIterator[FormBrowser]:
    async with FormBrowser() as browser:
        yield browser


async def signed_in(browser: FormBrowser, world: World, *, email: str | None = None) -> Page:
    start = await browser.open(world.demo_url)
    login = await browser.submit(start, "Sign in with Lab ID")
    return await browser.consent(
        await browser.submit(login, "Sign in", username=email or world.provider.new_person(), password=PASSWORD)
    )


def value(page: Page, claim: str) -> list[str]:
    found: list[str] = re.findall(rf"<dt><code>{claim}</code></dt>\n<dd><code dir=\"ltr\">([^<]*)</code>", page.text)
    return found


async def test_it_shows_who_signed_in_and_the_labs(world: World, browser: FormBrowser) -> None:
    email = world.provider.new_person()
    page = await signed_in(browser, world, email=email)
    assert page.url == f"{world.demo_url}/"
    assert "Hello, <bdi>Person " in page.text
    assert value(page, "email") == [email]
    assert re.findall(r'<th scope="row"><bdi>(\w+)</bdi>.*?<td>(\w+)</td>', page.text, re.S) == [
        ("Biology", "admin"),
        ("Chemistry", "viewer"),
    ]
    assert "2099-06-30 23:59 UTC" in page.text
    assert set(value(page, "iss")) == {world.provider.issuer}
    assert value(page, "typ") == ["JWT", "at+jwt"]


async def test_no_token_reaches_the_browser_whole(world: World, browser: FormBrowser) -> None:
    page = await signed_in(browser, world)
    shown = [*value(page, "access_token"), *value(page, "id_token"), *value(page, "refresh_token")]
    assert len(shown) == 3
    assert all(re.fullmatch(r"\S{12}… \(\d+ characters\)", token) for token in shown)
    assert not re.search(r"\beyJ[\w-]+\.[\w-]+\.", page.text)


async def test_refreshing_shows_other_tokens_of_the_same_user(world: World, browser: FormBrowser) -> None:
    before = await signed_in(browser, world)
    after = await browser.submit(before, "Refresh tokens")
    assert value(before, "jti") != value(after, "jti")
    assert value(before, "sub") == value(after, "sub")
    assert value(before, "nonce")
    assert not value(after, "nonce")


async def test_userinfo_is_asked_again(world: World, browser: FormBrowser) -> None:
    before = await signed_in(browser, world)
    assert (await browser.submit(before, "Ask UserInfo again")).text == before.text


async def test_signing_out_ends_both_sessions(world: World, browser: FormBrowser) -> None:
    page = await browser.submit(await signed_in(browser, world), "Sign out")
    assert "You are signed out" in page.text
    assert "Sign in with Lab ID" in page.forms[0].buttons
    login = await browser.submit(page, "Sign in with Lab ID")
    assert "Sign in" in login.forms[0].buttons


async def test_only_the_chosen_scopes_are_asked_for(world: World, browser: FormBrowser) -> None:
    start = await browser.open(world.demo_url)
    start.forms[0].fields.clear()
    login = await browser.submit(start, "Sign in with Lab ID", scope="email")
    consent = await browser.submit(login, "Sign in", username=world.provider.new_person(), password=PASSWORD)
    page = await browser.consent(consent)
    assert set(value(page, "scope")) == {"openid email"}
    assert "it did not get the scope labs" in page.text


async def test_access_while_away_is_consented_to_each_time_oidc_core_s11(world: World, browser: FormBrowser) -> None:
    email = world.provider.new_person()
    start = await browser.submit(await signed_in(browser, world, email=email), "Sign out")
    start.forms[0].fields.clear()
    login = await browser.submit(start, "Sign in with Lab ID", scope="offline_access")
    for _ in range(2):
        consent = await browser.submit(login, "Sign in", username=email, password=PASSWORD)
        page = await browser.submit(consent, "Allow")
        assert set(value(page, "scope")) == {"openid offline_access"}
        start = await browser.submit(page, "Sign out")
        start.forms[0].fields.clear()
        login = await browser.submit(start, "Sign in with Lab ID", scope="offline_access")


async def test_a_refusal_is_shown_in_words(world: World, browser: FormBrowser) -> None:
    start = await browser.open(world.demo_url)
    login = await browser.submit(start, "Sign in with Lab ID")
    consent = await browser.submit(login, "Sign in", username=world.provider.new_person(), password=PASSWORD)
    page = await browser.submit(consent, "Don’t allow")
    assert page.status == 400
    assert "<code>access_denied</code>" in page.text
    assert "The user did not allow it." in page.text


@pytest.mark.parametrize(
    "query",
    ["", "?state=unknown&code=x&iss=ISSUER", "?state=STATE&code=x", "?state=STATE&code=x&iss=https://other.example"],
)
async def test_an_answer_that_was_not_asked_for_signs_nobody_in(query: str, world: World, browser: FormBrowser) -> None:
    start = await browser.open(world.demo_url)
    async with FormBrowser(stop_at=world.provider.issuer) as impatient:
        left = await impatient.submit(start, "Sign in with Lab ID")
        state = httpx2.URL(left.url).params["state"]
        text = query.replace("STATE", state).replace("ISSUER", world.provider.issuer)
        assert (await impatient.open(f"{world.demo_url}/callback{text}")).status == 400
        assert "Sign in with Lab ID" in (await impatient.open(world.demo_url)).text


async def test_signing_in_changes_the_cookie_and_the_old_one_is_worth_nothing(
    world: World, browser: FormBrowser
) -> None:
    start = await browser.open(world.demo_url)
    login = await browser.submit(start, "Sign in with Lab ID")
    before = browser.cookie("demo")
    consent = await browser.submit(login, "Sign in", username=world.provider.new_person(), password=PASSWORD)
    await browser.consent(consent)
    assert before
    assert browser.cookie("demo") not in {None, before}
    async with httpx2.AsyncClient(trust_env=False, cookies={"demo": before}) as thief:
        assert "Sign in with Lab ID" in (await thief.get(world.demo_url)).text


async def test_the_cookie_is_hidden_from_scripts_and_other_sites(world: World) -> None:
    async with httpx2.AsyncClient(trust_env=False) as http:
        started = await http.post(f"{world.demo_url}/login", headers={"Origin": world.demo_url})
    cookie = started.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


@pytest.mark.parametrize("origin", [None, "http://localhost:1", "null"])
async def test_forms_from_elsewhere_are_refused(origin: str | None, world: World) -> None:
    headers = {} if origin is None else {"Origin": origin}
    async with httpx2.AsyncClient(trust_env=False) as http:
        for path in ("/login", "/refresh", "/userinfo", "/logout"):
            assert (await http.post(f"{world.demo_url}{path}", headers=headers)).status_code == 403


async def test_another_name_of_this_machine_leads_to_the_registered_one(world: World) -> None:
    async with httpx2.AsyncClient(trust_env=False) as http:
        response = await http.get(world.demo_url.replace("localhost", "127.0.0.1"))
    assert response.headers["location"] == world.demo_url
