"""The session cookies, the state beside them, and forms that only our own pages can send."""

from http.cookies import SimpleCookie
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from idp.crypto.opaque import hash_token
from idp.services.sessions import Accounts, SignedIn
from idp.web.cookies import Cookies, ForgedForm, StaleForm
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


def set_cookies(response: Response) -> dict[str, Any]:
    return {
        name: morsel
        for header in response.headers.getlist("set-cookie")
        for name, morsel in SimpleCookie(header).items()
    }


def set_cookie(response: Response) -> Any:
    ((name, morsel),) = set_cookies(response).items()
    return name, morsel


def stored(cookie: str, user_id: str) -> SignedIn:
    """Somebody who is signed in with this cookie."""
    session = make_session(id=f"s_{user_id}", hash=hash_token(cookie), user_id=user_id)
    return SignedIn(session, make_user(id=user_id))


def browser_of(response: Response, sent_before: str = "") -> Request[Any]:
    """The next request of a browser that got this answer."""
    kept = {name: morsel.value for name, morsel in SimpleCookie(sent_before).items()}
    for name, morsel in set_cookies(response).items():
        kept.pop(name, None)
        if morsel["max-age"] != "0":
            kept[name] = morsel.value
    return sent("; ".join(f"{name}={value}" for name, value in kept.items()))


# ── The session cookies ─────────────────────────────────────────────────────────────────────────────────────────────
def test_under_https_the_session_cookies_cannot_be_planted_read_by_script_or_sent_in_the_clear(cookies: Cookies):
    response = Response()
    cookies.set_session(response, "a-token", ["b-token", "c-token"])
    given = set_cookies(response)
    assert given.keys() == {"__Host-idp", "__Host-idp-accounts", "__Host-idp-state"}
    assert given["__Host-idp"].value == "a-token"
    assert given["__Host-idp-accounts"].value == "b-token.c-token"
    for name in ("__Host-idp", "__Host-idp-accounts"):
        # RFC 6265bis §4.1.3.2: the prefix demands Secure, the path / and no Domain.
        assert (given[name]["path"], given[name]["domain"]) == ("/", "")
        assert given[name]["secure"]
        assert given[name]["httponly"]
        assert given[name]["samesite"].lower() == "lax"


def test_the_session_cookies_end_with_the_browser(cookies: Cookies):
    response = Response()
    cookies.set_session(response, "a-token", ["b-token"])
    for morsel in set_cookies(response).values():
        assert (morsel["max-age"], morsel["expires"]) == ("", "")


def test_on_plain_loopback_the_cookies_have_no_prefix_and_are_not_secure():
    response = Response()
    Cookies(issuer=PLAIN, csrf_key=KEY).set_session(response, "a-token", ["b-token"])
    given = set_cookies(response)
    assert given.keys() == {"idp", "idp-accounts", "idp-state"}
    assert not any(morsel["secure"] for morsel in given.values())
    assert {morsel["samesite"].lower() for morsel in given.values()} == {"lax"}
    assert given["idp"]["httponly"]
    assert given["idp-accounts"]["httponly"]


@pytest.mark.parametrize("issuer", [ISSUER, PLAIN])
def test_taking_the_cookies_away_names_them_with_the_same_attributes(issuer: str):
    given, taken = Response(), Response()
    cookies = Cookies(issuer=issuer, csrf_key=KEY)
    cookies.set_session(given, "a-token", ["b-token"])
    cookies.set_session(taken, None)
    before, after = set_cookies(given), set_cookies(taken)
    assert before.keys() == after.keys()
    gone = [name for name, morsel in after.items() if (morsel.value, morsel["max-age"]) == ("", "0")]
    assert len(gone) == 2
    for name in after:
        for attribute in ("path", "domain", "secure", "httponly", "samesite"):
            assert after[name][attribute] == before[name][attribute]


def test_the_session_is_read_from_its_own_cookie_only(cookies: Cookies):
    assert cookies.session(sent("__Host-idp=a-token; idp=planted; x=y")) == "a-token"
    # What plain http or a subdomain could set does not sign anybody in.
    planted = sent("idp=planted; idp-accounts=planted; idp-state=planted")
    assert (cookies.session(planted), cookies.others(planted), cookies.browser_state(planted)) == (None, (), None)
    assert (cookies.session(sent()), cookies.others(sent()), cookies.browser_state(sent())) == (None, (), None)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("a", ("a",)),
        ("a.b.c.d", ("a", "b", "c", "d")),
        ("", ()),
        ("...", ()),
        (".a..b.", ("a", "b")),
        ("a.a.b.a", ("a", "b")),
        (".".join(f"c{number}" for number in range(20)), ("c0", "c1", "c2", "c3")),
        ("." * 5000 + "a", ()),
    ],
)
def test_of_further_accounts_no_more_are_looked_at_than_we_would_have_set(
    cookies: Cookies, value: str, read: tuple[str, ...]
):
    assert cookies.others(sent(f"__Host-idp-accounts={value}")) == read


def test_whoever_signs_in_becomes_active_beside_those_who_stay(cookies: Cookies):
    alice, bob = stored("a", "u_alice"), stored("b", "u_bob")
    response = Response()
    cookies.sign_in(response, sent("__Host-idp=a; __Host-idp-accounts=b.dead"), "new", [bob, alice])
    after = browser_of(response)
    assert (cookies.session(after), cookies.others(after)) == ("new", ("b", "a"))


def test_switching_exchanges_the_cookies_and_signing_one_out_leaves_the_rest(cookies: Cookies):
    alice, bob, carol = stored("a", "u_alice"), stored("b", "u_bob"), stored("c", "u_carol")
    before = "__Host-idp=a; __Host-idp-accounts=b.c"
    accounts = Accounts(alice, (bob, carol))
    for kept, active, others in (
        (accounts.with_active(carol), "c", ("a", "b")),
        (accounts.without("s_u_bob"), "a", ("c",)),
        (accounts.without("s_u_alice"), None, ("b", "c")),
        (accounts.without("s_u_alice").without("s_u_bob").without("s_u_carol"), None, ()),
    ):
        response = Response()
        cookies.set_accounts(response, sent(before), kept)
        after = browser_of(response, before)
        assert (cookies.session(after), cookies.others(after)) == (active, others)


# ── The state that scripts may watch ────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("issuer", "secure", "site"), [(ISSUER, True, "none"), (PLAIN, "", "lax")])
def test_the_state_is_readable_by_script_and_under_https_in_frames_session_management_s3_2(
    issuer: str, secure: bool | str, site: str
):
    response = Response()
    cookies = Cookies(issuer=issuer, csrf_key=KEY)
    cookies.set_session(response, "a-token")
    name, morsel = next(item for item in set_cookies(response).items() if item[0].endswith("idp-state"))
    assert (morsel["secure"], morsel["httponly"], morsel["samesite"]) == (secure, "", site)
    assert len(morsel.value) == 43
    assert "a-token" not in morsel.value
    assert cookies.browser_state(sent(f"{name}={morsel.value}")) == morsel.value


def test_the_state_changes_when_somebody_signs_in_out_or_to_another_account_session_management_s3_2(cookies: Cookies):
    alice, bob = stored("a", "u_alice"), stored("b", "u_bob")
    request = sent("__Host-idp=a; __Host-idp-accounts=b")
    responses = [Response() for _ in range(5)]
    cookies.set_session(responses[0], "a")
    cookies.sign_in(responses[1], request, "c", [alice])
    cookies.set_accounts(responses[2], request, Accounts(bob, (alice,)))
    cookies.set_accounts(responses[3], request, Accounts(None, (alice,)))
    cookies.set_session(responses[4], None)
    assert len({set_cookies(response)["__Host-idp-state"].value for response in responses}) == 5


def test_a_browser_without_the_state_gets_it_once_somebody_is_signed_in(cookies: Cookies):
    alice = stored("a", "u_alice")
    for accounts, given in (
        (Accounts(None), False),
        (Accounts(alice, browser_state="known"), False),
        (Accounts(alice), True),
        (Accounts(None, (alice,)), True),
    ):
        response = Response()
        cookies.set_missing_state(response, accounts)
        assert bool(set_cookies(response)) is given


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
    with pytest.raises(ForgedForm) as refused:
        cookies.check_form(sent(cookie, Origin=origin), token, None)
    assert not isinstance(refused.value, StaleForm), "another site gets no second chance"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "SAME-ORIGIN"])
def test_a_form_from_another_site_or_subdomain_is_refused_fetch_metadata_s2_3(cookies: Cookies, site: str):
    cookie, token = form(cookies)
    with pytest.raises(ForgedForm) as refused:
        cookies.check_form(sent(cookie, Sec_Fetch_Site=site), token, None)
    assert not isinstance(refused.value, StaleForm), "another site gets no second chance"


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_a_form_from_here_or_by_the_users_own_hand_is_accepted_fetch_metadata_s2_3(cookies: Cookies, site: str):
    cookie, token = form(cookies)
    cookies.check_form(sent(cookie, Sec_Fetch_Site=site), token, None)


@pytest.mark.parametrize("token", [None, "", "x", "é", "\ud800", "0" * 64])
def test_a_form_without_its_token_is_refused(cookies: Cookies, token: str | None):
    cookie, _ = form(cookies)
    with pytest.raises(StaleForm):
        cookies.check_form(sent(cookie), token, None)


@pytest.mark.parametrize("cookie", ["", "__Host-idp-form=", "idp-form=x", "__Host-idp=x"])
def test_a_form_without_the_cookie_is_refused(cookies: Cookies, cookie: str):
    _, token = form(cookies)
    with pytest.raises(StaleForm):
        cookies.check_form(sent(cookie), token, None)


def test_a_token_for_an_empty_cookie_is_worth_nothing(cookies: Cookies):
    token, fresh = cookies.form_token(sent("__Host-idp-form="), None)
    assert fresh
    with pytest.raises(StaleForm):
        cookies.check_form(sent("__Host-idp-form="), token, None)


def test_the_token_of_another_browser_is_refused(cookies: Cookies):
    (cookie, _), (_, other_token) = form(cookies), form(cookies)
    with pytest.raises(StaleForm):
        cookies.check_form(sent(cookie), other_token, None)


def test_the_cookie_itself_is_no_token(cookies: Cookies):
    cookie, _ = form(cookies)
    with pytest.raises(StaleForm):
        cookies.check_form(sent(cookie), cookie.partition("=")[2], None)


def test_a_form_that_was_opened_before_signing_in_or_out_is_refused(cookies: Cookies):
    cookie, before = form(cookies)
    after, _ = cookies.form_token(sent(cookie), ALICE)
    cookies.check_form(sent(cookie), after, ALICE)
    for token, signed_in in ((before, ALICE), (after, None)):
        with pytest.raises(StaleForm):
            cookies.check_form(sent(cookie), token, signed_in)


def test_a_form_of_another_session_is_refused(cookies: Cookies):
    cookie, token = form(cookies, ALICE)
    other = SignedIn(make_session(id="s_other"), make_user())
    with pytest.raises(StaleForm):
        cookies.check_form(sent(cookie), token, other)


def test_another_installations_key_makes_other_tokens(cookies: Cookies):
    cookie, token = form(cookies)
    with pytest.raises(StaleForm):
        Cookies(issuer=ISSUER, csrf_key=b"x" * 32).check_form(sent(cookie), token, None)
