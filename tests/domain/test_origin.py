"""Web origins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.domain.origin import origin_of


@pytest.mark.parametrize(
    ("uri", "origin"),
    [
        ("https://portal.example.org/callback?x=1", "https://portal.example.org"),
        ("https://portal.example.org", "https://portal.example.org"),
        ("https://PORTAL.Example.org:443/", "https://portal.example.org"),
        ("http://localhost:80/cb", "http://localhost"),
        ("https://portal.example.org:8443/", "https://portal.example.org:8443"),
        ("http://localhost:443/", "http://localhost:443"),
        ("http://127.0.0.1:8000/cb", "http://127.0.0.1:8000"),
        ("http://[0:0::1]:8000/cb", "http://[::1]:8000"),
        ("https://my_app.example.org./", "https://my_app.example.org."),
    ],
)
def test_an_origin_is_written_as_browsers_write_it_rfc6454_s6_2(uri: str, origin: str):
    assert origin_of(uri) == origin


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/callback",
        "org.example.app:/callback",
        "javascript:alert(1)",
        "ftp://portal.example.org/",
        "https:///callback",
        "https://user@portal.example.org/",
        "https://portal.example.org;script-src/",
        "https://portal.example.org,default-src/",
        "https://portal.example.org'/",
        "https://a..b/",
        "https://*.example.org/",
        "https://%70ortal.example.org/",
        "https://pörtal.example.org/",
        "https://portal.example.org:99999/",
        "https://portal.example.org:x/",
        "https://[::1/",
        "https://[::1%25eth0]/",
        "https://[v1.x]/",
    ],
)
def test_what_has_no_origin_or_an_ambiguous_one_has_none(uri: str):
    assert origin_of(uri) is None


@given(st.text())
def test_an_origin_is_safe_in_a_header_whatever_the_uri_was(text: str):
    for uri in (text, f"https://{text}", f"https://{text}/callback", f"https://a.example{text}"):
        origin = origin_of(uri)
        assert origin is None or (origin.isascii() and not set(origin) & set(" ;,'\"*\r\n\t"))
