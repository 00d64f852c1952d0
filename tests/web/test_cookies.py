"""The session cookie, and forms that only our own pages can send."""

from http.cookies import SimpleCookie
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from idp.services.sessions import SignedIn
from idp.web.cookies import Cookies, ForgedForm
from tests.support.factories import ISSUER, make_session, make_user
from tests.support.requests import make_request

PLAIN = "http://localhost:8000"
ALICE = SignedIn(make_session(), make_user())
KEY = b"k" * 32


@pytest.fixture
def cookies() -> Cookies:
    return Cookies(issuer=ISSUER, csrf_key=KEY)


def sent(cookie: str = "", **headers: str) -> Request[Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_request(headers={**({"Cookie": cookie} if cookie else {}), **named})


def set_cookie(response: Response) -> Any:
    (header,) = response.headers.getlist("set-cookie")
    ((name, morsel),) = SimpleCookie(header).items()
    return name, morsel


# ── The session cookie ──────────────────────────────────────────────────────────────────────────────────────────────
def test_under_https_the_session_cookie_cannot_be_planted_read_by_script_or_sent_in_the_clear(cookies: Cookies):
    response = Response()
    cookies.set_session(response, "a-token")
    name, morsel = set_cookie(response)
    # RFC 6265bis §4.1.3.2: the prefix demands Secure, the path / and no Domain.
    assert (name, morsel.value, morsel["path"], morsel["domain"]) == ("__Host-idp", "a-token", "/", "")
    assert morsel["secure"]
    assert morsel["httponly"]
    assert morsel["samesite"].lower() == "lax"


def test_the_session_cookie_ends_with_the_browser(cookies: Cookies):
    response = Response()
    cookies.set_session(response, "a-token")
    _, morsel = set_cookie(response)
    assert (morsel["max-age"], morsel["expires"]) == ("", "")


def test_on_plain_loopback_the_cookie_has_no_prefix_and_is_not_secure():
    response = Response()
    Cookies(issuer=PLAIN, csrf_key=KEY).set_session(response, "a-token")
    name, morsel = set_cookie(response)
    assert name == "idp"
    assert not morsel["secure"]
    assert morsel["httponly"]
    assert morsel["samesite"].lower() == "lax"


@pytest.mark.parametrize("issuer", [ISSUER, PLAIN])
def test_taking_the_cookie_away_names_it_with_the_same_attributes(issuer: str):
    given, taken = Response(), Response()
    cookies = Cookies(issuer=issuer, csrf_key=KEY)
    cookies.set_session(given, "a-token")
    cookies.clear_session(taken)
    (name, before), (cleared, after) = set_cookie(given), set_cookie(taken)
    assert cleared == name
    assert after.value == ""
    assert after["max-age"] == "0"
    for attribute in ("path", "domain", "secure", "httponly", "samesite"):
        assert after[attribute] == before[attribute]


def test_the_session_is_read_from_its_own_cookie_only(cookies: Cookies):
    assert cookies.session(sent("__Host-idp=a-token; idp=planted; x=y")) == "a-token"
    # What plain http or a subdomain could set does not sign anybody in.
    assert cookies.session(sent("idp=planted")) is None
    assert cookies.session(sent()) is None


# ── Forms ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def form(cookies: Cookies, signed_in: SignedIn | None = None) -> tuple[str, str]:
    """Open a page for the first time: the cookie that it sets, and its hidden field."""
    token, fresh = cookies.form_token(sent(), signed_in)
    response = Response()
    cookies.set_form(response, fresh)
    name, morsel = set_cookie(response)
    return f"{name}={morsel.value}", token


def test_the_form_cookie_is_as_well_kept_as_the_session_cookie(cookies: Cookies):
    _, fresh = cookies.form_token(sent(), None)
    response = Response()
    cookies.set_form(response, fresh)
    name, morsel = set_cookie(response)
    assert (name, morsel["path"], morsel["domain"]) == ("__Host-idp-form", "/", "")
    assert morsel["secure"]
    assert morsel["httponly"]
    assert morsel["samesite"].lower() == "lax"


def test_a_form_of_ours_is_accepted(cookies: Cookies):
    cookie, token = form(cookies)
    cookies.check_form(sent(cookie), token, None)
    cookies.check_form(sent(cookie, Origin=ISSUER, Sec_Fetch_Site="same-origin"), token, None)


def test_a_second_page_keeps_the_cookie_so_that_the_first_ones_form_still_counts(cookies: Cookies):
    cookie, token = form(cookies)
    again, fresh = cookies.form_token(sent(cookie), None)
    assert again == token
    assert fresh is None
    response = Response()
    cookies.set_form(response, fresh)
    assert "set-cookie" not in response.headers


def test_two_browsers_have_different_forms(cookies: Cookies):
    assert form(cookies)[1] != form(cookies)[1]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "http://idp.example.org",
        "https://idp.example.org.evil.example",
        "https://idp.example.org:8443",
        "https://IDP.example.org",
        "https://sub.idp.example.org",
        f"{ISSUER}/",
    ],
)
def test_a_form_from_another_origin_is_refused_whatever_it_holds(cookies: Cookies, origin: str):
    cookie, token = form(cookies)
    with pytest.raises(ForgedForm):
        cookies.check_form(sent(cookie, Origin=origin), token, None)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "SAME-ORIGIN"])
def test_a_form_from_another_site_or_subdomain_is_refused_fetch_metadata_s2_3(cookies: Cookies, site: str):
    cookie, token = form(cookies)
    with pytest.raises(ForgedForm):
        cookies.check_form(sent(cookie, Sec_Fetch_Site=site), token, None)


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_a_form_from_here_or_by_the_users_own_hand_is_accepted_fetch_metadata_s2_3(cookies: Cookies, site: str):
    cookie, token = form(cookies)
    cookies.check_form(sent(cookie, Sec_Fetch_Site=site), token, None)


@pytest.mark.parametrize("token", [None, "", "x", "é", "\ud800", "0" * 64])
def test_a_form_without_its_token_is_refused(cookies: Cookies, token: str | None):
    cookie, _ = form(cookies)
    with pytest.raises(ForgedForm):
        cookies.check_form(sent(cookie), token, None)


@pytest.mark.parametrize("cookie", ["", "__Host-idp-form=", "idp-form=x", "__Host-idp=x"])
def test_a_form_without_the_cookie_is_refused(cookies: Cookies, cookie: str):
    _, token = form(cookies)
    with pytest.raises(ForgedForm):
        cookies.check_form(sent(cookie), token, None)


def test_a_token_for_an_empty_cookie_is_worth_nothing(cookies: Cookies):
    token, fresh = cookies.form_token(sent("__Host-idp-form="), None)
    assert fresh
    with pytest.raises(ForgedForm):
        cookies.check_form(sent("__Host-idp-form="), token, None)


def test_the_token_of_another_browser_is_refused(cookies: Cookies):
    (cookie, _), (_, other_token) = form(cookies), form(cookies)
    with pytest.raises(ForgedForm):
        cookies.check_form(sent(cookie), other_token, None)


def test_the_cookie_itself_is_no_token(cookies: Cookies):
    cookie, _ = form(cookies)
    with pytest.raises(ForgedForm):
        cookies.check_form(sent(cookie), cookie.partition("=")[2], None)


def test_a_form_that_was_opened_before_signing_in_or_out_is_refused(cookies: Cookies):
    cookie, before = form(cookies)
    after, _ = cookies.form_token(sent(cookie), ALICE)
    cookies.check_form(sent(cookie), after, ALICE)
    for token, signed_in in ((before, ALICE), (after, None)):
        with pytest.raises(ForgedForm):
            cookies.check_form(sent(cookie), token, signed_in)


def test_a_form_of_another_session_is_refused(cookies: Cookies):
    cookie, token = form(cookies, ALICE)
    other = SignedIn(make_session(id="s_other"), make_user())
    with pytest.raises(ForgedForm):
        cookies.check_form(sent(cookie), token, other)


def test_another_installations_key_makes_other_tokens(cookies: Cookies):
    cookie, token = form(cookies)
    with pytest.raises(ForgedForm):
        Cookies(issuer=ISSUER, csrf_key=b"x" * 32).check_form(sent(cookie), token, None)
