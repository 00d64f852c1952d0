"""What the metadata announces is what is mounted, and nothing else (OpenID Connect Discovery §3, RFC 8414 §2)."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oauth2.rfc9207 import AuthorizationServerMetadata as IssuerMetadata
from authlib.oidc.discovery import OpenIDProviderMetadata
from authlib.oidc.rpinitiated import OpenIDProviderMetadata as LogoutMetadata

from idp.domain.client import ClientSecret, GrantType
from idp.features import FEATURES
from idp.opening import open_store
from idp.services.clients import secret_hash
from idp.setting_sources import load_settings
from idp.web.oauth.wellknown import DISCOVERY_PATHS, JWKS_PATH
from tests.support.app import USUAL, App, basic, running
from tests.support.clock import START, FakeClock
from tests.support.factories import ISSUER, make_client

# The methods that the specifications give each endpoint.
METHODS = {
    "authorization_endpoint": {"GET", "POST"},
    "token_endpoint": {"POST"},
    "userinfo_endpoint": {"GET", "POST"},
    "introspection_endpoint": {"POST"},
    "revocation_endpoint": {"POST"},
    "end_session_endpoint": {"GET", "POST"},
    "registration_endpoint": {"POST"},
    "jwks_uri": {"GET"},
}
CROSS_ORIGIN = {"token_endpoint", "userinfo_endpoint", "revocation_endpoint"}
ROUTES = [route for feature in FEATURES for route in feature.routes]
GRANTS = [grant for feature in FEATURES for grant in feature.grants]


@pytest.fixture
async def node(tmp_path: Path, clock: FakeClock) -> AsyncIterator[App]:
    """A server under https with one client that may do everything."""
    files = {"IDP_DATABASE_URL": f"sqlite:///{tmp_path}/idp.db", "IDP_KEYS_DIR": str(tmp_path / "keys")}
    switched_on = {"IDP_DYNAMIC_REGISTRATION": "open"}
    settings = load_settings({**USUAL, **files, **switched_on, "IDP_ISSUER": ISSUER}, cwd=tmp_path)
    async with open_store(settings, clock=clock, create=True) as opened:
        secret = ClientSecret(hash=secret_hash(opened.keys, "secret"), created_at=START)
        await opened.store.commit.append(make_client(grant_types=tuple(GrantType), secrets=(secret,)))
    async with running(settings, clock) as node:
        yield node


async def metadata(node: App, path: str = DISCOVERY_PATHS[0]) -> dict[str, Any]:
    response = await node.http().get(path)
    assert response.status_code == 200
    return dict(response.json())


def endpoints(document: dict[str, Any]) -> dict[str, str]:
    return {name: url for name, url in document.items() if name.endswith(("_endpoint", "_uri"))}


# ── Announced and mounted ───────────────────────────────────────────────────────────────────────────────────────────
async def test_every_announced_endpoint_answers_the_methods_of_its_specification_rfc8414_s2(node: App):
    announced = endpoints(await metadata(node))
    assert announced.keys() == METHODS.keys()
    for name, url in announced.items():
        assert url.startswith(f"{ISSUER}/")
        for method in METHODS[name]:
            response = await node.http().request(method, url)
            assert response.status_code not in {404, 405}, (method, url)
            assert response.status_code < 500, (method, url)


async def test_an_endpoint_takes_no_other_method_rfc9110_s15_5_6(node: App):
    every = {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
    for name, url in endpoints(await metadata(node)).items():
        for method in every - METHODS[name] - ({"OPTIONS"} if name in {*CROSS_ORIGIN, "jwks_uri"} else set()):
            assert (await node.http().request(method, url)).status_code == 405, (method, url)


def test_every_announced_path_is_mounted_once():
    paths = Counter(route.path for route in ROUTES)
    announced = Counter(path for feature in FEATURES for path in feature.metadata.values())
    assert set(paths.values()) == set(announced.values()) == {1}
    assert announced.keys() - {JWKS_PATH} <= paths.keys()


def test_every_specification_with_routes_is_announced():
    silent = [feature.spec for feature in FEATURES if feature.routes and not feature.metadata]
    # What no metadata has a name for.
    assert set(silent) == {
        "Account labs",
        "Labs",
        "Labs API (OpenAPI 3.1, RFC 9457)",
        "Mailed codes and links",
        "Sign in through other providers: OpenID Connect Core, RFC 6749",
        "pages and operations",
    }


# ── Grants ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_each_grant_type_has_one_handler():
    assert len({grant.grant_type for grant in GRANTS}) == len(GRANTS)
    # What the authorization endpoint gives by itself never comes to the token endpoint (OpenID Connect Core §3.2).
    assert {grant.grant_type for grant in GRANTS} == set(GrantType) - {GrantType.IMPLICIT}


async def test_every_announced_grant_type_reaches_its_handler_and_no_other_does_rfc6749_s5_2(node: App):
    announced = (await metadata(node))["grant_types_supported"]
    assert announced == [*(str(grant.grant_type) for grant in GRANTS), "implicit"]
    announced.remove("implicit")
    headers = basic("portal", "secret")
    others = ["implicit", "password", "urn:ietf:params:oauth:grant-type:device_code", "Authorization_Code", "x"]
    for grant_type in [*announced, *others]:
        response = await node.http().post("/token", data={"grant_type": grant_type}, headers=headers)
        unsupported = response.json().get("error") == "unsupported_grant_type"
        assert unsupported is (grant_type in others), (grant_type, response.text)
        assert response.json().get("error") != "unauthorized_client"


# ── The document itself ─────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_metadata_is_valid_for_authlib_oidc_discovery_s3_and_rfc8414_s2(node: App):
    document = await metadata(node)
    OpenIDProviderMetadata(document).validate(metadata_classes=[LogoutMetadata, IssuerMetadata])
    AuthorizationServerMetadata(document).validate()


async def test_both_well_known_addresses_give_the_same_document_rfc8414_s5(node: App):
    first, second = [await metadata(node, path) for path in DISCOVERY_PATHS]
    assert first == second
    assert first["issuer"] == ISSUER
