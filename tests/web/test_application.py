"""What the pages show of an application."""

import pytest

from idp.domain.client import Client
from idp.domain.lab import ManagedBy
from idp.web.application import host_of, known_as, title_of
from tests.support.factories import make_client


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("https://portal.example.org/callback?a=1", "portal.example.org"),
        ("http://localhost:9000/callback", "localhost:9000"),
        ("org.example.native:/callback", "org.example.native:/callback"),
        ("org.evil.app://accounts.google.com/callback", "org.evil.app://…"),
        ("urn:example:data", "urn:example:data"),
        (f"org.example.native:/{'x' * 100}", f"org.example.native:/{'x' * 40}…"),
    ],
)
def test_an_address_is_shown_by_its_host_and_never_by_what_only_looks_like_one_rfc8252_s7_1(uri: str, host: str):
    assert host_of(uri) == host


@pytest.mark.parametrize(
    ("client", "name"),
    [
        (make_client(), "Lab Portal"),
        (make_client(managed_by=ManagedBy.REGISTRATION), "portal.example.org"),
        (
            make_client(managed_by=ManagedBy.REGISTRATION, initiate_login_uri="https://start.example.org/in"),
            "start.example.org",
        ),
        (make_client(managed_by=ManagedBy.REGISTRATION, redirect_uris=()), make_client().client_id),
    ],
)
def test_our_links_never_say_what_a_client_calls_itself(client: Client, name: str):
    assert known_as(client) == name


@pytest.mark.parametrize(
    ("scope", "title"),
    [
        ("labs", "Your labs and your role in each"),
        ("lab:bio", "Lab bio"),
        ("lab:bio:member", "Lab bio, at most as member"),
        ("wlcg.groups:/bio/viewer", "Lab bio, at most as viewer"),
        ("data:read", "data:read"),
    ],
)
def test_a_scope_is_told_in_words_where_we_know_what_it_means(scope: str, title: str):
    assert title_of(scope) == title
