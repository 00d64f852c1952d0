"""Lab ID on both databases with the applications of these tests, what they publish, and Node, which plays them."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from idp.demo.relying_party import create_relying_party
from tests.outbound.conftest import Authority
from tests.prerequisites import find_node
from tests.relying_parties.clients import AFTER_LOGOUT, CALLBACK, SCOPE, clients
from tests.support.postgresql import PostgreSQL
from tests.support.server import PASSWORD, Provider, listen, provider, served, url_of

FOLDER = Path(__file__).parent


class Documents:
    """What applications publish over https, under a certificate of the private authority: keys and request objects."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._documents: dict[str, bytes] = {}
        self.app = Starlette(routes=[Route("/{name}", self._answer, methods=["GET", "PUT"])])

    def publish(self, name: str, document: Any) -> None:
        self._documents[name] = json.dumps(document).encode()

    async def _answer(self, request: Request) -> Response:
        name = request.path_params["name"]
        if request.method == "PUT":
            self._documents[name] = await request.body()
            return Response(status_code=204)
        return Response(self._documents[name])


@dataclass(frozen=True)
class World:
    """A provider, the demo application that signs in there, and what other applications publish."""

    provider: Provider
    demo_url: str
    documents: Documents


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, worker_id: str, authority: Authority
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("provider")
    if request.param == "sqlite":
        database_url = f"sqlite:///{folder / 'idp.db'}"
    else:
        database_url = _new_postgresql_database(request, f"relying_parties_{worker_id}")
    with ExitStack() as stack:
        demo, published = (stack.enter_context(listen()) for _ in range(2))
        demo_url, documents = url_of(demo), Documents(url_of(published, "https"))
        stack.enter_context(served(documents.app, published, authority.server("localhost")))
        settings = {
            "IDP_OUTBOUND_ALLOW": documents.url.removeprefix("https://"),
            "IDP_OUTBOUND_CA_FILE": str(authority.ca_file),
            "IDP_DYNAMIC_REGISTRATION": "open",
        }
        registered = clients(demo_url, documents.url)
        running = stack.enter_context(provider(folder, database_url, clients=registered, settings=settings))
        port = demo.getsockname()[1]
        stack.enter_context(served(create_relying_party(issuer=running.issuer, port=port), demo))
        yield World(running, demo_url, documents)


@pytest.fixture
def idp(world: World) -> Provider:
    return world.provider


@pytest.fixture
def documents(world: World) -> Documents:
    return world.documents


class Walk(Protocol):
    """Walks one of journeys.mjs and returns what it saw; without a `username` a new person walks."""

    def __call__(self, journey: str, idp: Provider, client_id: str | None = None, /, **options: Any) -> Any: ...


@pytest.fixture(scope="session")
def walk(authority: Authority) -> Iterator[Walk]:
    """One Node for all journeys: starting one takes longer than most of them."""
    node = find_node()
    assert node is not None, "tests/prerequisites.py test installs Node"
    command = [node, "openid_client.mjs"]
    env = {**os.environ, "NODE_EXTRA_CA_CERTS": str(authority.ca_file)}
    with subprocess.Popen(
        command, cwd=FOLDER, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said, heard = process.stdin, process.stdout

        def walk(journey: str, idp: Provider, client_id: str | None = None, /, **options: Any) -> Any:
            usual = {
                "issuer": idp.issuer,
                "clientId": client_id,
                "callback": CALLBACK,
                "afterLogout": AFTER_LOGOUT,
                "scope": SCOPE,
                "username": options.get("username") or idp.new_person(),
                "password": PASSWORD,
            }
            print(json.dumps({"journey": journey, "options": {**usual, **options}}), file=said, flush=True)
            told = json.loads(heard.readline())
            assert "failed" not in told, told["failed"]
            return told["seen"]

        yield walk


def _new_postgresql_database(request: pytest.FixtureRequest, name: str) -> str:
    server: PostgreSQL = request.getfixturevalue("postgresql_server")
    asyncio.run(server.execute(f"CREATE DATABASE {name}"))
    return server.url(name)
