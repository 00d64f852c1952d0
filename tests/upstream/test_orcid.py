"""ORCID, the preset for researchers: "ORCID and OpenID Connect" of its documentation."""

from dataclasses import replace
from typing import Any

import pytest

from idp.domain.provider import ProviderKind
from idp.protocol.upstream import UpstreamFault
from idp.upstream.connector import Connector
from tests.support.bent import ABSENT
from tests.support.evil_provider import EvilProvider, evil, evil_server
from tests.upstream.connecting import LEFT, Side, query, side

__all__ = ["evil", "evil_server", "side"]

IRIS = "0000-0002-1825-0097"


@pytest.fixture
def orcid(side: Side, evil: EvilProvider) -> Connector:
    evil.id_token |= {"sub": IRIS, "given_name": "Josiah", "family_name": "Carberry"}
    return side.connect(evil, ProviderKind.ORCID)


async def test_orcid_is_asked_for_no_more_than_it_knows(orcid: Connector) -> None:
    asked = query(await orcid.authorization_url(replace(LEFT, prompt=("login",), max_age=0)))
    assert (asked["scope"], asked["prompt"], asked["max_age"]) == ("openid", "login", "0")


async def test_an_own_scope_of_orcid_is_passed_on(side: Side, evil: EvilProvider) -> None:
    orcid = side.connect(evil, ProviderKind.ORCID, scope="openid email /read-limited", api_scope="/activities/update")
    asked = query(await orcid.authorization_url(replace(LEFT, api=True)))
    assert asked["scope"] == "openid /read-limited /activities/update"


async def test_a_researcher_is_their_orcid_id_with_a_name_and_no_address(
    side: Side, orcid: Connector, evil: EvilProvider
) -> None:
    identity = await side.identify(orcid)
    assert identity.key == (evil.issuer, IRIS)
    assert (identity.claims["name"], identity.email, identity.proven_email) == ("Josiah Carberry", None, None)
    assert evil.count("userinfo") == 0
    # It takes the secret in the body only, whatever it may list.
    assert evil.last("token").form["client_secret"] == evil.client_secret
    assert "authorization" not in evil.last("token").headers


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"family_name": ABSENT}, "Josiah"),
        ({"given_name": ABSENT}, "Carberry"),
        ({"name": "J. Carberry"}, "J. Carberry"),
        ({"given_name": ABSENT, "family_name": ABSENT}, None),
        ({"given_name": None, "family_name": ["Carberry"]}, None),
    ],
)
async def test_a_name_is_what_the_researcher_shows(
    side: Side, orcid: Connector, evil: EvilProvider, told: dict[str, Any], name: str | None
) -> None:
    evil.id_token |= told
    assert (await side.identify(orcid)).claims.get("name") == name


@pytest.mark.parametrize(("amr", "read"), [("mfa", ("mfa",)), (["pwd"], ("pwd",)), (ABSENT, ())])
async def test_the_one_word_for_how_somebody_signed_in_counts_as_a_list_of_one(
    side: Side, orcid: Connector, evil: EvilProvider, amr: Any, read: tuple[str, ...]
) -> None:
    evil.id_token["amr"] = amr
    assert (await side.identify(orcid)).amr == read


async def test_orcid_is_believed_no_more_than_others(side: Side, orcid: Connector, evil: EvilProvider) -> None:
    for changes in ({"nonce": "another"}, {"aud": "another"}, {"amr": 1}):
        evil.id_token |= changes
        assert (await side.refusal(orcid)).fault is UpstreamFault.INVALID
        evil.id_token = {"sub": IRIS}
