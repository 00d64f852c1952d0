"""Clients that sign (RFC 7523 §2.2, OpenID Connect Core §9), at every endpoint, with keys behind real addresses."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from idp.domain.client import Client, ClientAuthMethod, GrantType
from idp.services.clients import make_secret
from tests.support.app import ISSUER, VERIFIER, App, Browser, Installed, Start, add_all, basic
from tests.support.assertion import form_of_assertion, jwks, maced, private_key, signed
from tests.support.clock import START
from tests.support.factories import make_client

GRANT = {"grant_type": "client_credentials"}
SECRET = "a-shared-secret-of-more-than-32-characters"


def signer(client_id: str = "signer", **changes: Any) -> Client:
    defaults = {
        "client_name": "Signer",
        "token_endpoint_auth_method": ClientAuthMethod.PRIVATE_KEY_JWT,
        "redirect_uris": ("https://signer.example.org/callback",),
        "grant_types": tuple(GrantType),
        "scope": "openid profile data:read",
        "jwks": jwks("key-1"),
    }
    return make_client(client_id=client_id, **{**defaults, **changes})


async def post(app: App, assertion: str, path: str = "/token", headers: Any = None, **form: str) -> httpx2.Response:
    return await app.http().post(path, data=form_of_assertion(assertion, **(form or GRANT)), headers=headers)


def told(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


# ── Every endpoint ──────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_client_that_signs_gets_introspects_and_revokes_tokens_rfc7523_s2_2(app: App) -> None:
    await add_all(app.store, [signer()])
    tokens = await post(app, signed("signer"))
    assert tokens.status_code == 200, tokens.text
    token = tokens.json()["access_token"]

    async def is_active(**claims: Any) -> bool:
        answer = await post(app, signed("signer", **claims), "/introspect", token=token)
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["active"])

    assert await is_active()
    assert await is_active(aud=f"{ISSUER}/token")
    assert await is_active(aud=[f"{ISSUER}/introspect"])
    revoked = await post(app, signed("signer", aud=f"{ISSUER}/revoke"), "/revoke", token=token)
    assert (revoked.status_code, revoked.content) == (200, b"")
    assert not await is_active()


async def test_a_person_signs_in_to_a_client_that_signs(app: App, browser: Browser) -> None:
    await add_all(app.store, [signer()])
    redirect_uri = "https://signer.example.org/callback"
    answer = await browser.authorize("signer", redirect_uri=redirect_uri)
    now = app.clock()
    form = {
        "grant_type": "authorization_code",
        "code": answer.code,
        "redirect_uri": redirect_uri,
        "code_verifier": VERIFIER,
    }

    tokens = await post(app, signed("signer", now=now), **form, client_id="signer")

    assert tokens.status_code == 200, tokens.text
    refreshed = await post(
        app,
        signed("signer", now=now),
        grant_type="refresh_token",
        refresh_token=tokens.json()["refresh_token"],
    )
    assert refreshed.status_code == 200, refreshed.text


async def test_a_client_with_a_shared_secret_sends_a_mac_and_never_the_secret_oidc_core_s9(
    app: App, installed: Installed
) -> None:
    method = ClientAuthMethod.CLIENT_SECRET_JWT
    secret = make_secret(installed.data_keys, "mac", method, SECRET, START)
    await add_all(app.store, [signer("mac", jwks=None, token_endpoint_auth_method=method, secrets=(secret,))])

    assert (await post(app, maced("mac", SECRET))).status_code == 200
    http = app.http()
    for refused in (
        await post(app, maced("mac", SECRET[::-1])),
        await http.post("/token", data=GRANT, headers=basic("mac", SECRET)),
        await http.post("/token", data={**GRANT, "client_id": "mac", "client_secret": SECRET}),
        await http.post("/token", data={**GRANT, "client_id": "mac"}),
    ):
        assert told(refused) == (401, "invalid_client")


async def test_a_failed_assertion_is_a_401_that_may_be_read_by_the_clients_origin_rfc6749_s5_2(app: App) -> None:
    await add_all(app.store, [signer()])
    origin = {"Origin": "https://signer.example.org"}

    for assertion, readable in (
        (signed("signer", "stranger"), True),
        (signed("signer", aud="https://other.example"), True),
        (signed("unknown"), False),
        ("garbage", False),
    ):
        refused = await post(app, assertion, headers=origin)
        assert told(refused) == (401, "invalid_client")
        assert refused.headers["cache-control"] == "no-store"
        assert ("access-control-allow-origin" in refused.headers) == readable
    accepted = await post(app, signed("signer"), headers=origin)
    assert accepted.headers["access-control-allow-origin"] == origin["Origin"]
    elsewhere = await post(app, signed("signer"), headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in elsewhere.headers


async def test_two_credentials_half_of_one_or_two_clients_are_invalid_requests_rfc6749_s2_3(app: App) -> None:
    await add_all(app.store, [signer(), signer("other-signer")])
    http = app.http()
    whole = form_of_assertion(signed("signer"), **GRANT)

    for refused in (
        await http.post("/token", data=whole, headers=basic("signer", "x")),
        await http.post("/token", data={**whole, "client_secret": "x"}),
        await http.post("/token", data={**whole, "client_id": "other-signer"}),
        await http.post("/token", data={**whole, "client_assertion_type": ""}),
        await http.post("/token", data={**whole, "client_assertion": ""}),
        await http.post("/token", data={**whole, "client_assertion": [signed("signer"), signed("signer")]}),
    ):
        assert told(refused) == (400, "invalid_request"), refused.text
    # None of it used the assertion up.
    assert (await http.post("/token", data=whole)).status_code == 200


async def test_an_assertion_counts_once_whatever_the_request_came_to_rfc7523_s3(app: App) -> None:
    await add_all(app.store, [signer()])
    assertion = signed("signer")
    refused = await post(app, assertion, grant_type="authorization_code", code="x", redirect_uri="x")
    assert told(refused) == (400, "invalid_grant")

    again = await post(app, assertion)

    assert told(again) == (401, "invalid_client")
    assert "jti" in again.json()["error_description"]


async def test_an_assertion_gives_tokens_on_one_of_two_nodes_however_close_the_race(start: Start) -> None:
    nodes = [await start(), await start()]
    await add_all(nodes[0].store, [signer()])
    for _ in range(4):
        assertion = signed("signer")
        answers = await asyncio.gather(*(post(nodes[number % 2], assertion) for number in range(12)))
        assert sorted(answer.status_code for answer in answers) == [200, *[401] * 11]


async def test_a_node_that_starts_later_knows_what_was_used(start: Start) -> None:
    app = await start()
    await add_all(app.store, [signer()])
    assertion = signed("signer")
    assert (await post(app, assertion)).status_code == 200

    assert told(await post(await start(), assertion)) == (401, "invalid_client")


# ── Keys behind an address ──────────────────────────────────────────────────────────────────────────────────────────
Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class KeyServer:
    """A server of one document on loopback; `status` and `body` are what it answers with."""

    port: int = 0
    body: bytes = b""
    status: int = 200
    headers: str = ""
    hangs: bool = False
    requests: int = 0
    left: list[asyncio.Event] = field(default_factory=list)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}/jwks"

    def publish(self, *names: str) -> None:
        self.body = json.dumps(jwks(*names)).encode()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = asyncio.Event()
        self.left.append(left)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            if not self.hangs:
                head = f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(self.body)}\r\n{self.headers}\r\n"
                writer.write(head.encode() + self.body)
                await writer.drain()
            await reader.read()
        writer.transport.abort()
        left.set()


@pytest.fixture
async def key_server() -> AsyncIterator[KeyServer]:
    key_server = KeyServer()
    key_server.publish("key-1")
    server = await asyncio.start_server(key_server, "127.0.0.1", 0)
    key_server.port = server.sockets[0].getsockname()[1]
    yield key_server
    server.close()
    async with asyncio.timeout(30):
        await asyncio.gather(*(left.wait() for left in key_server.left))


@pytest.fixture
async def remote(start: Start, key_server: KeyServer) -> App:
    """A node that may reach the server of the client's keys, and gives it little time."""
    app = await start(outbound_allow=f"127.0.0.1:{key_server.port}", outbound_timeout_seconds="0.3")
    await add_all(app.store, [signer(jwks=None, jwks_uri=key_server.uri)])
    return app


async def test_keys_are_fetched_from_jwks_uri_and_again_when_they_were_rotated_oidc_core_s10_1_1(
    remote: App, key_server: KeyServer
) -> None:
    assert (await post(remote, signed("signer"))).status_code == 200
    assert (await post(remote, signed("signer"))).status_code == 200
    assert key_server.requests == 1
    key_server.publish("key-2")
    now = remote.clock.advance(seconds=31)

    assert (await post(remote, signed("signer", "key-2", now=now))).status_code == 200

    assert told(await post(remote, signed("signer", "key-1", now=now))) == (401, "invalid_client")
    assert key_server.requests == 2


async def test_strangers_cannot_make_us_hammer_the_server_of_a_clients_keys(remote: App, key_server: KeyServer) -> None:
    for second in range(45):
        now = remote.clock.advance(seconds=1)
        forged = signed("signer", "stranger", header={"kid": f"guess-{second}"}, now=now)
        assert told(await post(remote, forged)) == (401, "invalid_client")
    assert key_server.requests == 2
    for assertion in (signed("unknown"), signed("signer", alg="RS256", header={"alg": "none"})):
        await post(remote, assertion)
    assert key_server.requests == 2


async def test_a_client_is_served_while_the_server_of_its_keys_is_down(remote: App, key_server: KeyServer) -> None:
    assert (await post(remote, signed("signer"))).status_code == 200
    key_server.status = 503
    now = remote.clock.advance(seconds=3000)

    assert (await post(remote, signed("signer", now=now))).status_code == 200

    now = remote.clock.advance(seconds=700)
    assert told(await post(remote, signed("signer", now=now))) == (401, "invalid_client")
    key_server.status = 200
    now = remote.clock.advance(seconds=30)
    assert (await post(remote, signed("signer", now=now))).status_code == 200


BAD_ANSWERS: dict[str, dict[str, Any]] = {
    "an error": {"status": 404},
    "a redirect": {"status": 302, "headers": "Location: http://127.0.0.1/\r\n"},
    "a page": {"body": b"<!DOCTYPE html><title>Not here</title>", "headers": "Content-Type: text/html\r\n"},
    "private keys": {"body": json.dumps({"keys": [private_key("key-1").as_dict(private=True)]}).encode()},
    "ten megabytes": {"body": b" " * 10_000_000},
    "nothing, ever": {"hangs": True},
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
async def test_whatever_the_server_of_the_keys_answers_the_client_is_refused_as_any_other(
    remote: App, key_server: KeyServer, answer: dict[str, Any]
) -> None:
    stranger = await post(remote, signed("unknown"))
    for name, value in answer.items():
        setattr(key_server, name, value)

    refused = await post(remote, signed("signer"))

    assert told(refused) == (401, "invalid_client")
    # Each refusal has a reference of its own.
    assert refused.json() | {"error_uri": None} == stranger.json() | {"error_uri": None}
    assert key_server.requests == 1


async def test_keys_at_an_address_that_is_not_allowed_are_never_asked_for(start: Start, key_server: KeyServer) -> None:
    app = await start()
    await add_all(app.store, [signer(jwks=None, jwks_uri=key_server.uri)])

    assert told(await post(app, signed("signer"))) == (401, "invalid_client")
    assert key_server.requests == 0
