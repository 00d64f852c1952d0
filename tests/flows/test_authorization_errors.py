"""What is wrong with an authorization request is told by redirect, else by a page (RFC 6749 §4.1.2.1)."""

import html
import re

import pytest

from idp.domain.client import GrantType
from idp.protocol.refusal import shown
from tests.support.app import CHALLENGE, ISSUER, App, Browser, answer_of

# What is changed in a good request → the error that the application gets.
BY_REDIRECT = [
    ({"response_type": None}, "invalid_request"),
    ({"response_type": ""}, "invalid_request"),
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"response_type": "<script>"}, "unsupported_response_type"),
    ({"claims": "{"}, "invalid_request"),
    ({"resource": "https://data.example.org"}, "invalid_target"),
    ({"response_mode": "nonsense"}, "invalid_request"),
    ({"scope": None}, "invalid_scope"),
    ({"scope": "unregistered"}, "invalid_scope"),
    ({"scope": 'op"enid'}, "invalid_scope"),
    ({"scope": " ".join(f"s{number}" for number in range(200))}, "invalid_scope"),
    ({"prompt": "nonsense"}, "invalid_request"),
    ({"prompt": "none login"}, "invalid_request"),
    ({"prompt": "none"}, "login_required"),
    ({"max_age": "soon"}, "invalid_request"),
    ({"max_age": "-1"}, "invalid_request"),
    ({"max_age": "1e3"}, "invalid_request"),
    ({"max_age": "٣"}, "invalid_request"),
    ({"max_age": "9" * 40}, "invalid_request"),
    ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
    ({"code_challenge": None}, "invalid_request"),
    ({"code_challenge_method": None}, "invalid_request"),
    ({"code_challenge_method": "plain"}, "invalid_request"),
    ({"code_challenge": CHALLENGE[:-1]}, "invalid_request"),
    ({"code_challenge": CHALLENGE + "="}, "invalid_request"),
    ({"request": "eyJhbGciOiJub25lIn0.e30."}, "request_not_supported"),
    ({"request_uri": "https://portal.example.org/request.jwt"}, "request_uri_not_supported"),
    ({"registration": "{}"}, "registration_not_supported"),
    ({"nonce": "n" * 1025}, "invalid_request"),
    ({"id_token_hint": "not.a.token"}, "invalid_request"),
]


async def test_a_fault_is_told_by_redirect_with_state_and_iss(browser: Browser) -> None:
    state = "s" * 200 + " ü&="
    for changes, error in BY_REDIRECT:
        response = await browser.request(**changes, state=state)

        answer = answer_of(response)
        assert answer.location.startswith("https://portal.example.org/callback?"), changes
        assert answer.params.keys() == {"error", "error_description", "error_uri", "state", "iss"}, changes
        assert (answer.error, answer.params["state"], answer.params["iss"]) == (error, state, ISSUER), changes
        # RFC 6749 §4.1.2.1: printable ASCII without quote and backslash; and never what was sent.
        assert re.fullmatch(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+", answer.params["error_description"]), changes
        assert "<script>" not in answer.location
        assert response.headers["cache-control"] == "no-store"


async def test_a_fault_of_a_posted_request_is_told_by_redirect_too(app: App) -> None:
    for changes in ({"response_type": None}, {"max_age": "soon"}, {"request": "x"}):
        posted = await app.http().post("/authorize", data=app.authorization_request(**changes))

        assert answer_of(posted).error in {"invalid_request", "invalid_request_object"}
        assert answer_of(posted).params["state"] == "state-1"


async def test_a_repeated_parameter_is_refused_rfc6749_s3_1(app: App) -> None:
    for name in ("response_type", "scope", "state", "nonce", "code_challenge", "prompt", "unknown"):
        pairs = [*app.authorization_request(prompt="login").items(), (name, "a"), (name, "a")]

        answer = answer_of(await app.http().get("/authorize", params=pairs))

        assert answer.error == "invalid_request", name
        # Which of two states is meant nobody knows, so neither is sent.
        assert answer.params.get("state") == (None if name == "state" else "state-1")


async def test_resource_and_audience_may_be_repeated_rfc8707_s2_and_unknown_parameters_are_ignored(
    app: App, browser: Browser
) -> None:
    pairs = [("resource", app.issuer), ("resource", app.issuer), ("audience", "c"), ("audience", "d"), ("unknown", "e")]
    pairs += [("display", "popup"), ("ui_locales", "de fr"), ("claims_locales", "en"), ("acr_values", "9 8")]

    page = await browser.follow(
        await browser.http.get("/authorize", params=[*app.authorization_request().items(), *pairs])
    )

    assert (await browser.finish(page)).error is None


async def test_an_empty_parameter_counts_as_omitted_rfc6749_s3_1(browser: Browser) -> None:
    answer = await browser.authorize(state="", prompt="", max_age="", nonce="", request="", response_mode="")

    assert answer.params.keys() == {"code", "iss", "session_state"}


async def test_an_unknown_client_sees_a_page_and_no_redirect(app: App) -> None:
    for client_id in ("", "unknown", "retired", "Portal", "portal ", "p" * 5000):
        params = {**app.authorization_request(), "client_id": client_id}
        for response in (
            await app.http().get("/authorize", params=params),
            await app.http().post("/authorize", data=params),
        ):
            assert (response.status_code, "location" in response.headers) == (400, False), client_id
            assert "invalid_client" in response.text


NOT_REGISTERED = [
    "https://portal.example.org/callback/",
    "https://portal.example.org/callback?x=1",
    "https://portal.example.org/callback?",
    "https://portal.example.org/callback#f",
    "https://portal.example.org/Callback",
    "https://portal.example.org:443/callback",
    "https://PORTAL.example.org/callback",
    "http://portal.example.org/callback",
    "https://portal.example.org/callback/../callback",
    "https://portal.example.org/%63allback",
    "https://portal.example.org.evil.example/callback",
    "https://portal.example.org@evil.example/callback",
    "https://portal.example.org\\@evil.example/callback",
    "https://other.example.org/callback",
    "//portal.example.org/callback",
    "/callback",
    "javascript:alert(1)",
    "data:text/html,x",
    " https://portal.example.org/callback",
    "https://portal.example.org/callback\r\nX-Injected: 1",
    "http://127.0.0.1:8080/callback",
    '"><script>alert(1)</script>',
]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_redirect_uri_that_is_not_exactly_registered_is_a_page_and_never_a_redirect(
    app: App, method: str
) -> None:
    for redirect_uri in NOT_REGISTERED:
        sent = {"params" if method == "GET" else "data": app.authorization_request(redirect_uri=redirect_uri)}

        response = await app.http().request(method, "/authorize", **sent)

        assert response.status_code == 400, redirect_uri
        assert "location" not in response.headers, redirect_uri
        assert "x-injected" not in response.headers
        assert "invalid_redirect_uri" in response.text
        assert "<script>alert" not in response.text
        # What is registered is told to nobody.
        assert "portal.example.org/callback" not in response.text.replace(html.escape(shown(redirect_uri)), "")


async def test_of_a_native_application_only_the_port_on_the_loopback_may_vary_rfc8252_s7_3(app: App) -> None:
    for redirect_uri in (
        "http://127.0.0.1:8080/other",
        "http://127.0.0.1:8080/callback?x=1",
        "http://127.0.0.1:99999/callback",
        "http://127.0.0.1:x/callback",
        "http://localhost:8080/callback",
        "http://127.0.0.2:8080/callback",
        "http://user@127.0.0.1:8080/callback",
        "https://127.0.0.1:8080/callback",
        "org.example.native:/other",
        "org.example.other:/callback",
    ):
        params = app.authorization_request("native", redirect_uri=redirect_uri)

        response = await app.http().get("/authorize", params=params)

        assert (response.status_code, "location" in response.headers) == (400, False), redirect_uri


async def test_a_redirect_uri_may_not_be_omitted_when_two_are_registered_nor_be_sent_twice(app: App) -> None:
    omitted = await app.http().get("/authorize", params=app.authorization_request("other", redirect_uri=None))
    pairs = [*app.authorization_request().items(), ("redirect_uri", "https://portal.example.org/callback")]
    twice = await app.http().get("/authorize", params=pairs)
    pairs = [*app.authorization_request().items(), ("client_id", "portal")]
    two_clients = await app.http().get("/authorize", params=pairs)

    for response in (omitted, twice, two_clients):
        assert response.status_code == 400
        assert "location" not in response.headers


async def test_an_administrator_alone_sees_the_difference_to_what_is_registered(browser: Browser) -> None:
    wrong = "https://portal.example.org/calback"
    await browser.sign_in(user="bob@example.org")

    page = await browser.request(redirect_uri=wrong)

    assert page.status_code == 400
    assert "Closest registered" in page.text
    assert "<mark>l</mark>" in page.text


@pytest.mark.parametrize("client_id", ["robot", "portal"])
async def test_a_client_without_the_grant_is_told_so(app: App, client_id: str) -> None:
    uris = ("https://x.example/",)
    await app.change("clients", [client_id], grant_types=(GrantType.CLIENT_CREDENTIALS,), redirect_uris=uris)
    params = {**app.authorization_request(), "client_id": client_id, "redirect_uri": uris[0]}

    response = await app.http().get("/authorize", params=params)

    assert answer_of(response).error == "unauthorized_client"


@pytest.mark.parametrize("path", ["/login", "/consent", "/authorize/resume"])
async def test_a_request_that_was_answered_or_left_open_too_long_is_over(app: App, browser: Browser, path: str) -> None:
    page = await browser.request()
    query = page.url.query.decode()
    answered = await browser.finish(page)
    assert answered.error is None
    second = await browser.request(prompt="consent")
    query_of_second = second.url.query.decode()
    app.clock.advance(seconds=3601)

    for over in (query, query_of_second, "interaction=unknown", "interaction=", ""):
        if (path, over) in {("/login", ""), ("/login", "interaction=")}:
            continue  # the sign-in that belongs to no application
        response = await browser.get(f"{path}?{over}")
        assert (response.status_code, "location" in response.headers) == (400, False), over
        assert "expired" in response.text


async def test_an_administrators_change_counts_for_requests_that_are_under_way(app: App, browser: Browser) -> None:
    page = await browser.request()
    await app.change("clients", ["portal"], redirect_uris=("https://new.example.org/callback",))

    signed_in = await browser.sign_in(page)

    assert signed_in.status_code == 400
    assert "invalid_redirect_uri" in signed_in.text
