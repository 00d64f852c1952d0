"""The providers' page of the administration in the browser: who sees it, what it shows, and the test."""

import re
from datetime import timedelta
from html import unescape
from urllib.parse import parse_qsl

import httpx2
import pytest

from idp.domain.provider import ProviderStatus
from idp.domain.user import AdminRole
from tests.support.app import BOB, ISSUER, App, Browser, Start, add_all
from tests.support.clock import FakeClock
from tests.support.evil_provider import EvilProvider
from tests.support.factories import make_credential, make_linked_account, make_provider, make_user
from tests.support.upstream import start_with_google

PATH = "/admin/providers"
DORA = "dora@example.org"


def text_of(page: httpx2.Response) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


async def signed_in(app: App, user: str) -> Browser:
    browser = app.browser()
    await browser.sign_in(user=user)
    return browser


@pytest.fixture
async def google(start: Start, evil: EvilProvider, clock: FakeClock) -> App:
    """A node with Google and two rows; its clock is months apart from Google's."""
    app = await start_with_google(start, evil, clock)
    campus = make_provider(display_name="<b>Campus</b> login", status=ProviderStatus.DISABLED)
    await add_all(app.store, [campus, make_provider(name="other", display_name="Other"), make_linked_account()])
    app.services["providers"].forget()
    return app


async def test_whoever_is_not_signed_in_signs_in_first(app: App):
    answer = await app.browser().http.get(PATH)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fadmin%2Fproviders")


async def test_for_whoever_has_no_role_there_is_no_such_page(app: App, browser: Browser):
    await browser.sign_in()
    for answer in (await browser.http.get(PATH), await browser.http.post(PATH, data={"test": "google"})):
        assert answer.status_code == 404
    app.clock.advance(timedelta(hours=2))
    assert (await browser.http.get(PATH)).status_code == 404


async def test_an_administrator_sees_what_each_provider_is_and_where_to_register_us(google: App):
    page = await (await signed_in(google, BOB)).get(PATH)
    assert page.status_code == 200
    shown = text_of(page)
    assert shown.index("Google") < shown.index("<b>Campus</b> login") < shown.index("Other")
    assert "<b>Campus" not in page.text
    for name in ("google", "campus", "other"):
        address = f"{ISSUER}/login/{name}/callback".replace("/", "/<wbr>")
        assert f'id="callback-{name}">{address}<' in page.text
    assert "the settings" in shown
    assert "an administrator" in shown
    assert shown.count("disabled") == 1
    assert "Linked accounts 1" in shown
    assert "does not answer" not in shown
    assert page.headers["cache-control"] == "no-store"
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert google.settings.google_client_secret is not None
    assert google.settings.google_client_secret.get_secret_value() not in page.text


async def test_what_is_asked_for_and_taken_over_is_shown_where_it_is_not_as_usual(
    start: Start, evil: EvilProvider, clock: FakeClock
):
    app = await start_with_google(start, evil, clock, google_hosted_domain="example.org,lab.example")
    mapped = make_provider(scope="openid groups", claims={"name": "displayName", "email": "<mail>", "locale": "locale"})
    nothing = make_provider(name="other", display_name="Other", issuer="https://other.example", claims={})
    await add_all(app.store, [mapped, nothing])
    app.services["providers"].forget()
    page = await (await signed_in(app, BOB)).get(PATH)
    google, campus, other = text_of(page).split(" Kind ")[1:]
    assert "Scope openid profile email Hosted domains example.org , lab.example Linked accounts" in google
    assert "Scope openid groups Taken over email from <mail> , locale , name from displayName Linked accounts" in campus
    assert "Taken over nothing" in other
    assert "Hosted domains" not in campus
    assert "<mail>" not in page.text


@pytest.mark.parametrize(("roles", "linked"), [((), False), *(((role,), True) for role in AdminRole)])
async def test_the_first_page_leads_whoever_administers_there(
    app: App, password_hash: str, roles: tuple[AdminRole, ...], linked: bool
):
    dora = make_user(id="u_dora", email=DORA, roles=roles)
    await add_all(app.store, [dora, make_credential(id="cred_dora", user_id="u_dora", secret=password_hash)])
    browser = await signed_in(app, DORA)
    assert (f'href="{PATH}"' in (await browser.get("/")).text) is linked
    assert (await browser.http.get(PATH)).status_code == (200 if linked else 404)


async def test_where_there_are_none_it_says_where_they_come_from(app: App):
    assert "IDP_GOOGLE_CLIENT_ID" in text_of(await (await signed_in(app, BOB)).get(PATH))


async def test_a_provider_that_is_left_alone_is_marked(google: App):
    for _ in range(5):
        google.services["providers"].circuit.failed("google", google.clock())
    assert "does not answer" in text_of(await (await signed_in(google, BOB)).get(PATH))


async def test_the_test_shows_each_step_and_what_to_change(google: App, evil: EvilProvider):
    browser = await signed_in(google, BOB)
    page = await browser.submit(await browser.get(PATH), test="google")
    shown = text_of(page)
    assert "1 step of the test failed." in shown
    assert re.search(r"failed clock The clock here and the provider's differ by \d+ seconds", shown)
    assert "ok client The provider knows the client, and takes its secret." in shown
    assert f"ok callback {ISSUER}/login/google/callback is registered: the provider answers there." in shown
    # In view at once: the button leads to the section, and what was found stands first in it.
    assert f'formaction="{PATH}#provider-google"' in page.text
    section = page.text[page.text.index('id="provider-google"') :]
    assert (
        section.index("of the test failed")
        < section.index(">clock<")
        < section.index(">status<")
        < section.index("<dl")
    )
    # Nothing of it stays: the address shows the page without a test.
    assert "of the test" not in text_of(await browser.get(PATH))


async def test_what_the_provider_says_is_only_text(google: App, evil: EvilProvider):
    evil.refuse_token("<script>alert(1)</script>", status=400)
    browser = await signed_in(google, BOB)
    page = await browser.submit(await browser.get(PATH), test="google")
    assert "<script>alert" not in page.text


async def test_a_provider_that_is_gone_is_told(google: App):
    browser = await signed_in(google, BOB)
    page = await browser.submit(await browser.get(PATH), test="nobody")
    assert (page.status_code, "no longer there" in text_of(page)) == (409, True)


async def test_an_old_sign_in_is_proven_again_first(google: App):
    browser = await signed_in(google, BOB)
    page = await browser.get(PATH)
    google.clock.advance(timedelta(hours=1, seconds=1))
    for answer in (await browser.http.get(PATH), await browser.post(page, test="google")):
        assert answer.status_code == 303
        place, _, query = answer.headers["location"].partition("?")
        assert (place, dict(parse_qsl(query))) == ("/login", {"again": "1", "next": PATH})
    again = await browser.get(PATH)
    assert (await browser.sign_in(again, user=BOB)).url.path == PATH


async def test_nobody_elses_page_presses_the_button(google: App, evil: EvilProvider):
    browser = await signed_in(google, BOB)
    page = await browser.get(PATH)
    assert (await browser.post(page, csrf="another", test="google")).status_code == 403
    cross = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert (await browser.post(page, cross, test="google")).status_code == 403
    assert evil.requests == []


async def test_a_viewer_looks_and_has_nobody_asked(google: App, evil: EvilProvider, password_hash: str):
    dora = make_user(id="u_dora", email=DORA, roles=(AdminRole.VIEWER,))
    await add_all(google.store, [dora, make_credential(id="cred_dora", user_id="u_dora", secret=password_hash)])
    browser = await signed_in(google, DORA)
    page = await browser.get(PATH)
    assert page.status_code == 200
    assert 'name="test"' not in page.text
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert csrf is not None
    sent = {"csrf": csrf[1], "test": "google"}
    assert (await browser.http.post(PATH, data=sent, headers={"Origin": ISSUER})).status_code == 403
    assert evil.requests == []
