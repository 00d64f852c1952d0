"""Cross-origin requests of browser applications."""

from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from idp.domain.client import Client
from idp.web.cors import allow_origin
from tests.support.factories import make_client
from tests.support.requests import make_request

PORTAL = "https://portal.example.org"


def from_origin(origin: str | None, method: str = "POST") -> Request[Any]:
    return make_request(method, headers={} if origin is None else {"Origin": origin})


def answered(origin: str | None, client: Client | None) -> Response:
    return allow_origin(from_origin(origin), Response(status_code=400), client)


# ── Which origins ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_clients_origins_are_those_of_its_redirect_uris_by_default():
    client = make_client(
        redirect_uris=(
            "https://portal.example.org/callback?x=y",
            "https://portal.example.org/other",
            "http://localhost:9000/cb",
            "http://[::1]:9000/cb",
            "org.example.app:/cb",
        )
    )
    assert client.origins == {PORTAL, "http://localhost:9000", "http://[::1]:9000"}


@pytest.mark.parametrize(
    ("uri", "origin"),
    [
        ("https://Portal.Example.org/cb", "https://portal.example.org"),
        ("HTTPS://portal.example.org/cb", "https://portal.example.org"),
        ("https://portal.example.org:443/cb", "https://portal.example.org"),
        ("http://localhost:80/cb", "http://localhost"),
        ("http://[::1]:80/cb", "http://[::1]"),
        ("https://portal.example.org:80/cb", "https://portal.example.org:80"),
        ("http://localhost:443/cb", "http://localhost:443"),
        ("https://portal.example.org:8443/cb", "https://portal.example.org:8443"),
    ],
)
def test_an_origin_is_compared_as_browsers_write_it_fetch_s3_1(uri: str, origin: str):
    assert make_client(redirect_uris=(uri,)).origins == {origin}


def test_registered_origins_replace_those_of_the_redirect_uris():
    assert make_client(web_origins=("https://app.example.org",)).origins == {"https://app.example.org"}
    assert make_client(web_origins=()).origins == set()


# ── The answer ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_page_of_the_client_may_read_the_answer_fetch_s3_2_3():
    response = answered(PORTAL, make_client())
    assert response.headers["Access-Control-Allow-Origin"] == PORTAL
    assert response.headers["Access-Control-Expose-Headers"] == "WWW-Authenticate"
    assert response.headers["Vary"] == "Origin"
    assert response.status_code == 400


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://portal.example.org.evil.example",
        "https://evil.portal.example.org",
        "https://portal.example.org:8443",
        "http://portal.example.org",
        "https://portal.example.org/",
        "https://portal.example.org@evil.example",
        "null",
        "*",
        "",
    ],
)
def test_a_page_of_any_other_origin_may_not_fetch_s3_2_3(origin: str):
    response = answered(origin, make_client())
    assert "Access-Control-Allow-Origin" not in response.headers
    # A cache that keeps this answer must not give it to the client's own pages.
    assert response.headers["Vary"] == "Origin"


def test_the_opaque_origin_of_a_private_scheme_is_never_allowed_fetch_s3_2_5():
    client = make_client(redirect_uris=("org.example.app:/cb",))
    for origin in ("null", "org.example.app://", "org.example.app:"):
        assert "Access-Control-Allow-Origin" not in answered(origin, client).headers


def test_an_unknown_client_lets_nobody_read():
    assert "Access-Control-Allow-Origin" not in answered(PORTAL, None).headers


def test_a_request_that_is_not_cross_origin_is_answered_as_it_was():
    assert dict(answered(None, make_client()).headers) == dict(Response(status_code=400).headers)


def test_an_answer_about_no_client_may_be_read_by_the_pages_of_any():
    response = allow_origin(from_origin(PORTAL), Response(status_code=401), None, known=True)
    assert response.headers["Access-Control-Allow-Origin"] == PORTAL


def test_cookies_are_never_let_across_fetch_s3_2_5():
    response = answered(PORTAL, make_client())
    assert "Access-Control-Allow-Origin" in response.headers
    assert "Access-Control-Allow-Credentials" not in response.headers
