"""Answers of the authorization endpoint."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.protocol.authorization_response import Refused, ReplyAddress, ResponseMode, with_query
from idp.protocol.errors import AccessDenied, InvalidScope
from idp.protocol.redirect_uri import RedirectUri
from tests.support.factories import ISSUER, REDIRECT_URI


def reply_to(
    uri: str = REDIRECT_URI, state: str | None = "a-state", mode: ResponseMode = ResponseMode.QUERY
) -> ReplyAddress:
    return ReplyAddress(RedirectUri(uri, given=True), mode, state, ISSUER)


def query(location: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(location).query, keep_blank_values=True, strict_parsing=True)


def test_a_code_comes_with_state_and_issuer_in_the_query_rfc9207_s2():
    location = reply_to().success(code="a-code").location
    assert location == (
        "https://portal.example.org/callback?code=a-code&state=a-state&iss=https%3A%2F%2Fidp.example.org"
    )


def test_no_state_is_invented_rfc6749_s4_1_2():
    assert query(reply_to(state=None).success(code="a-code").location) == [("code", "a-code"), ("iss", ISSUER)]


def test_a_refusal_tells_code_and_fixed_description_with_state_and_issuer_rfc6749_s4_1_2_1():
    location = reply_to().refusal(AccessDenied("The user did not allow it.", detail="for the log only")).location
    assert query(location) == [
        ("error", "access_denied"),
        ("error_description", "The user did not allow it."),
        ("state", "a-state"),
        ("iss", ISSUER),
    ]


@pytest.mark.parametrize(
    ("registered", "begins"),
    [
        ("https://a.example/cb", "https://a.example/cb?code="),
        ("https://a.example", "https://a.example?code="),
        ("https://a.example/cb?tenant=1", "https://a.example/cb?tenant=1&code="),
        ("https://a.example/cb?b=%20+&a=1&b=2", "https://a.example/cb?b=%20+&a=1&b=2&code="),
        ("https://a.example/cb?", "https://a.example/cb?code="),
        ("https://a.example/cb?a=1&", "https://a.example/cb?a=1&code="),
        # The & belongs to the path: there is no query yet.
        ("https://a.example/cb&", "https://a.example/cb&?code="),
        ("https://a.example/a&b", "https://a.example/a&b?code="),
        ("org.example.app:/cb", "org.example.app:/cb?code="),
    ],
)
def test_a_registered_query_is_kept_on_success_and_on_error_rfc6749_s3_1_2(registered: str, begins: str):
    assert reply_to(registered).success(code="x").location.startswith(f"{begins}x&state=")
    failed = reply_to(registered).refusal(InvalidScope()).location
    assert failed.startswith(begins.replace("code=", "error=invalid_scope&error_description="))


@pytest.mark.parametrize(
    "state",
    [
        "x&code=stolen",
        "x#code=stolen",
        "x\r\nSet-Cookie: a=b",
        "x\n\n<script>",
        "x;code=stolen",
        "%26code=stolen",
        "+ +",
        "ünïcödé 🧪",
        "\x00",
        pytest.param("y" * 100_000, id="enormous"),
    ],
)
def test_state_comes_back_unchanged_and_injects_nothing_rfc6749_s4_1_2(state: str):
    location = reply_to(state=state).success(code="a-code").location
    assert location.isascii()
    assert location.isprintable()
    assert "#" not in location
    assert query(location) == [("code", "a-code"), ("state", state), ("iss", ISSUER)]


@given(state=st.text(), value=st.text(), registered=st.sampled_from([REDIRECT_URI, f"{REDIRECT_URI}?a=b", "a.b:/c&"]))
def test_any_state_is_one_parameter_of_a_clean_header_rfc6749_s10_12(state: str, value: str, registered: str):
    location = reply_to(registered, state).success(code=value).location
    assert location.startswith(registered)
    assert location.isascii()
    assert location.isprintable()
    assert " " not in location
    assert query(location)[-3:] == [("code", value), ("state", state), ("iss", ISSUER)]


def test_a_query_is_begun_or_continued():
    assert with_query("https://a.example/", {"a": "1", "b": "2 3"}) == "https://a.example/?a=1&b=2+3"
    assert with_query("https://a.example/?x", {"a": "1"}) == "https://a.example/?x&a=1"


def test_a_refused_request_knows_its_error_and_where_to_answer():
    reply, error = reply_to(), InvalidScope(detail="not for the client")
    refused = Refused(reply, error)
    assert (refused.reply, refused.error, str(refused)) == (reply, error, "invalid_scope")


# ── Fragment and form_post ──────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("uri", [REDIRECT_URI, f"{REDIRECT_URI}?tenant=1"])
def test_in_the_fragment_nothing_stands_in_the_query_oauth_multiple_response_types_s3(uri: str):
    location = reply_to(uri, mode=ResponseMode.FRAGMENT).success(access_token="t").location
    target, _, fragment = location.partition("#")
    assert target == uri
    assert parse_qsl(fragment) == [("access_token", "t"), ("state", "a-state"), ("iss", ISSUER)]


def test_a_form_is_posted_to_the_bare_registered_uri_oauth_form_post_s2():
    answer = reply_to(f"{REDIRECT_URI}?tenant=1", mode=ResponseMode.FORM_POST).success(code="x")
    assert answer.location == f"{REDIRECT_URI}?tenant=1"
    assert answer.params == {"code": "x", "state": "a-state", "iss": ISSUER}


def test_a_refusal_may_lead_to_its_explanation_rfc6749_s4_1_2_1():
    answer = reply_to().refusal(AccessDenied(), error_uri="https://idp.example.org/explain/K7Q2-M9XD")
    assert answer.params["error_uri"] == "https://idp.example.org/explain/K7Q2-M9XD"
    assert "error_uri" not in reply_to().refusal(AccessDenied()).params
