"""Subject and session identifiers."""

from typing import Any

import pytest

from idp.domain.client import SubjectType
from idp.protocol.subject import known_as, sector_of
from tests.support.factories import make_client


def mac(text: str) -> str:
    return f"mac({text})"


def pairwise(client_id: str = "portal", **changes: Any) -> str:
    return known_as(make_client(client_id=client_id, subject_type=SubjectType.PAIRWISE, **changes), "u_1", mac=mac)


def test_a_public_subject_is_the_users_id_oidc_core_s8():
    assert known_as(make_client(), "u_1", mac=mac) == "u_1"


def test_clients_of_one_sector_know_a_user_by_the_same_pairwise_subject_others_by_another_oidc_core_s8_1():
    a = pairwise(redirect_uris=("https://app.example.org/a",))
    b = pairwise("other", redirect_uris=("https://app.example.org/b", "https://app.example.org:8443/c"))
    c = pairwise(redirect_uris=("https://else.example.org/a",))
    assert a == b != c
    assert a != "u_1"


def test_a_sector_identifier_joins_several_hosts_oidc_core_s8_1():
    uris = ("https://a.example/cb", "https://b.example/cb")
    client = make_client(redirect_uris=uris, sector_identifier_uri="https://sector.example/uris.json")
    assert sector_of(client) == "sector.example"
    joined = pairwise(redirect_uris=uris, sector_identifier_uri="https://sector.example/uris.json")
    assert joined == pairwise("other", sector_identifier_uri="https://sector.example/other.json")


def test_without_a_single_host_there_is_no_sector_and_nobody_is_linked_oidc_core_s8_1():
    uris = ("https://a.example/cb", "https://b.example/cb")
    assert sector_of(make_client(redirect_uris=uris)) is None
    assert pairwise(redirect_uris=uris) != pairwise("other", redirect_uris=uris)


@pytest.mark.parametrize("uri", ["org.example.app:/cb", "http://[::1]/cb"])
def test_a_client_named_like_a_sector_shares_nothing_with_it(uri: str):
    assert pairwise("a.example", redirect_uris=(uri, "https://x.example/")) != pairwise(
        redirect_uris=("https://a.example/",)
    )
