"""Lab ID on both databases, with the clients of these tests."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from idp.demo.relying_party import create_relying_party
from tests.support.postgresql import PostgreSQL
from tests.support.server import Provider, listen, provider, served, url_of

SECRET = "a-secret-of-the-tests"
CALLBACK = "http://localhost:1/callback"
AFTER_LOGOUT = "http://localhost:1/bye"
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
SCOPE = "openid profile email labs groups offline_access"


@dataclass(frozen=True)
class World:
    """A provider and the demo application that signs in there."""

    provider: Provider
    demo_url: str


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("provider")
    if request.param == "sqlite":
        database_url = f"sqlite:///{folder / 'idp.db'}"
    else:
        database_url = _new_postgresql_database(request, f"relying_parties_{worker_id}")
    with ExitStack() as stack:
        listener = stack.enter_context(listen())
        demo_url = url_of(listener)
        running = stack.enter_context(provider(folder, database_url, clients=_clients(demo_url)))
        port = listener.getsockname()[1]
        stack.enter_context(served(create_relying_party(issuer=running.issuer, port=port), listener))
        yield World(running, demo_url)


@pytest.fixture
def idp(world: World) -> Provider:
    return world.provider


def _new_postgresql_database(request: pytest.FixtureRequest, name: str) -> str:
    server: PostgreSQL = request.getfixturevalue("postgresql_server")
    asyncio.run(server.execute(f"CREATE DATABASE {name}"))
    return server.url(name)


def _clients(demo_url: str) -> list[dict[str, Any]]:
    web: dict[str, Any] = {
        "client_secret": SECRET,
        "redirect_uris": [CALLBACK],
        "post_logout_redirect_uris": [AFTER_LOGOUT],
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": SCOPE,
        "allowed_labs": "*",
    }
    clients = [
        web | {"client_id": f"web-{alg}", "client_name": f"Web {alg}", "id_token_signed_response_alg": alg}
        for alg in ALGORITHMS
    ]
    clients.append(
        web | {"client_id": "post", "client_name": "Post", "token_endpoint_auth_method": "client_secret_post"}
    )
    public = {name: value for name, value in web.items() if name != "client_secret"}
    clients.append(public | {"client_id": "public", "client_name": "Public", "token_endpoint_auth_method": "none"})
    clients.append(
        {
            "client_id": "service",
            "client_name": "Service",
            "client_secret": SECRET,
            "grant_types": ["client_credentials"],
            "response_types": [],
            "scope": "measurements:read",
        }
    )
    clients.append(
        web
        | {
            "client_id": "demo",
            "client_name": "Demo application",
            "client_secret": "demo-secret",
            "redirect_uris": [f"{demo_url}/callback"],
            "post_logout_redirect_uris": [f"{demo_url}/"],
        }
    )
    return clients
