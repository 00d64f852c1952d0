"""Clients' keys: fetched rarely, kept a while, and never a way to make us ask a third party again and again."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from idp.crypto.jose import InvalidSignature
from idp.domain.client import Client
from idp.outbound.client import Fetched, Outbound, OutboundError
from idp.services.client_keys import MAX_AGE, MIN_AGE, PAUSE, STALE_FOR, ClientKeys, KeysUnavailable
from tests.support.assertion import compact, jwks, private_key, public_jwk
from tests.support.clock import START, FakeClock
from tests.support.factories import make_client

URI = "https://rp.example/jwks"
DAY = timedelta(days=1)


class Servers(Outbound):
    """Servers of key sets: each URI answers what it is told to, once the gate is open, and requests are counted."""

    def __init__(self) -> None:
        self.answers: dict[str, Fetched | OutboundError] = {}
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def get(self, url: str, *, accept: str, max_bytes: int | None = None) -> Fetched:
        self.asked.append(url)
        # Many clients' sets are kept in memory.
        assert max_bytes is not None
        assert max_bytes <= 65_536
        await self.gate.wait()
        answer = self.answers[url]
        if isinstance(answer, OutboundError):
            raise answer
        return answer

    def publish(self, *names: str, uri: str = URI, max_age: timedelta | None = None) -> None:
        self.answers[uri] = fetched(json.dumps(jwks(*names)).encode(), max_age=max_age)

    def fail(self, uri: str = URI) -> None:
        self.answers[uri] = OutboundError("https://rp.example cannot be reached")


def fetched(body: bytes, *, status: int = 200, max_age: timedelta | None = None) -> Fetched:
    return Fetched(status, "application/json", body, max_age)


@pytest.fixture
def servers() -> Servers:
    servers = Servers()
    servers.publish("key-1")
    return servers


@pytest.fixture
def client_keys(servers: Servers, clock: FakeClock) -> ClientKeys:
    return ClientKeys(servers, clock)


CLIENT = make_client(jwks_uri=URI)


async def kids(client_keys: ClientKeys, kid: str | None = None, client: Client = CLIENT) -> list[str]:
    keys = await (client_keys.all(client) if kid is None else client_keys.for_kid(client, kid))
    return [jwk["kid"] for jwk in keys]


# ── Registered keys ─────────────────────────────────────────────────────────────────────────────────────────────────
async def test_registered_keys_are_used_as_they_are_and_nobody_is_asked(
    client_keys: ClientKeys, servers: Servers
) -> None:
    client = make_client(jwks=jwks("key-1", "key-2"), jwks_uri=URI)

    assert await kids(client_keys, client=client) == ["key-1", "key-2"]
    assert await kids(client_keys, "unknown", client) == ["key-1", "key-2"]
    assert servers.asked == []


@pytest.mark.parametrize("registered", [None, {}, {"keys": []}, {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}])
async def test_a_client_without_usable_keys_has_none(client_keys: ClientKeys, registered: Any) -> None:
    client = make_client(jwks=registered)

    with pytest.raises(KeysUnavailable):
        await client_keys.all(client)
    with pytest.raises(KeysUnavailable):
        await client_keys.for_kid(client, "key-1")


# ── The cache ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("told", "kept"),
    [
        (None, MIN_AGE),
        (timedelta(), MIN_AGE),
        (timedelta(seconds=59), MIN_AGE),
        (timedelta(minutes=10), timedelta(minutes=10)),
        (MAX_AGE, MAX_AGE),
        (10_000 * DAY, MAX_AGE),
    ],
)
async def test_keys_are_kept_as_long_as_their_server_says_between_a_minute_and_an_hour_rfc9111_s5_2_2_1(
    client_keys: ClientKeys, servers: Servers, clock: FakeClock, told: timedelta | None, kept: timedelta
) -> None:
    servers.publish("key-1", max_age=told)
    assert await kids(client_keys) == ["key-1"]
    servers.publish("key-2")
    clock.advance(kept - timedelta(microseconds=1))
    assert await kids(client_keys) == ["key-1"]
    assert await kids(client_keys, "key-1") == ["key-1"]
    assert len(servers.asked) == 1

    clock.advance(timedelta(microseconds=1))

    assert await kids(client_keys) == ["key-2"]
    assert len(servers.asked) == 2


async def test_many_requests_at_once_make_one_fetch(client_keys: ClientKeys, servers: Servers) -> None:
    servers.gate.clear()
    asking = [asyncio.create_task(kids(client_keys, kid)) for kid in [None, "key-1", "unknown"] * 10]
    await asyncio.sleep(0)
    servers.gate.set()

    assert await asyncio.gather(*asking) == [["key-1"]] * 30
    assert servers.asked == [URI]


async def test_a_request_that_is_cancelled_takes_no_keys_from_the_others(
    client_keys: ClientKeys, servers: Servers
) -> None:
    servers.gate.clear()
    first, second = asyncio.create_task(kids(client_keys)), asyncio.create_task(kids(client_keys))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    servers.gate.set()

    assert await second == ["key-1"]
    assert servers.asked == [URI]


async def test_each_uri_has_keys_of_its_own(client_keys: ClientKeys, servers: Servers) -> None:
    other = "https://other.example/jwks"
    servers.publish("key-2", uri=other)

    assert await kids(client_keys) == ["key-1"]
    assert await kids(client_keys, client=make_client(client_id="other", jwks_uri=other)) == ["key-2"]
    assert await kids(client_keys, client=make_client(client_id="third", jwks_uri=URI)) == ["key-1"]
    assert servers.asked == [URI, other]


async def test_the_cache_stays_small_and_drops_what_was_asked_for_longest_ago(
    client_keys: ClientKeys, servers: Servers, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idp.services.client_keys._CACHE_SIZE", 3)

    async def asked_for(*names: str) -> list[str]:
        servers.asked.clear()
        for name in names:
            uri = f"https://rp.example/{name}"
            servers.publish("key-1", uri=uri, max_age=MAX_AGE)
            await kids(client_keys, client=make_client(jwks_uri=uri))
        return [uri.rpartition("/")[2] for uri in servers.asked]

    async def fetched_anew(name: str) -> None:
        clock.advance(PAUSE)
        await kids(client_keys, "unknown", make_client(jwks_uri=f"https://rp.example/{name}"))

    assert await asked_for("a", "b", "c", "a", "b") == ["a", "b", "c"]
    # That takes no other's place, and makes it the youngest.
    await fetched_anew("b")
    assert await asked_for("a", "b", "c") == []
    await fetched_anew("a")
    assert await asked_for("d", "e") == ["d", "e"]
    assert await asked_for("a", "d", "e", "c") == ["c"]


# ── Rotation ────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_an_unknown_kid_is_looked_for_again_so_that_keys_can_be_rotated_oidc_core_s10_1_1(
    client_keys: ClientKeys, servers: Servers, clock: FakeClock
) -> None:
    servers.publish("key-1", max_age=MAX_AGE)
    await kids(client_keys, "key-1")
    servers.publish("key-1", "key-2", max_age=MAX_AGE)
    clock.advance(PAUSE)

    assert await kids(client_keys, "key-1") == ["key-1"]
    assert await kids(client_keys, "key-2") == ["key-1", "key-2"]
    assert len(servers.asked) == 2


async def test_a_key_counts_as_soon_as_it_is_published_whenever_the_others_were_fetched_oidc_core_s10_1_1(
    client_keys: ClientKeys, servers: Servers, clock: FakeClock
) -> None:
    servers.publish("key-1", max_age=PAUSE + MIN_AGE)
    for old, new in (("key-1", "key-2"), ("key-2", "key-3")):
        assert await kids(client_keys, old) == [old]
        servers.publish(new)
        clock.advance(seconds=1)

        assert await kids(client_keys, new) == [new]

        # The cache ends, and the keys are fetched for that reason.
        clock.advance(MIN_AGE)
    assert len(servers.asked) == 4


async def test_a_flood_of_unknown_kids_makes_one_request_in_thirty_seconds(
    client_keys: ClientKeys, servers: Servers, clock: FakeClock
) -> None:
    servers.publish("key-1", max_age=MAX_AGE)
    for second in range(301):
        for number in range(5):
            assert await kids(client_keys, f"guess-{second}-{number}") == ["key-1"]
        clock.advance(seconds=1)

    assert len(servers.asked) == 11


async def test_a_flood_while_the_server_is_down_makes_no_more_requests_and_takes_no_keys_away(
    client_keys: ClientKeys, servers: Servers, clock: FakeClock
) -> None:
    servers.publish("key-1", max_age=MAX_AGE)
    await kids(client_keys)
    servers.fail()
    for second in range(301):
        assert await kids(client_keys, f"guess-{second}") == ["key-1"]
        clock.advance(seconds=1)

    assert len(servers.asked) == 11


async def test_who_uses_a_known_key_does_not_wait_for_what_an_unknown_kid_started(
    client_keys: ClientKeys, servers: Servers, clock: FakeClock
) -> None:
    servers.publish("key-1", max_age=MAX_AGE)
    await kids(client_keys)
    clock.advance(PAUSE)
    servers.gate.clear()
    stranger = asyncio.create_task(kids(client_keys, "guess"))
    await asyncio.sleep(0)

    assert await kids(client_keys, "key-1") == ["key-1"]

    servers.gate.set()
    assert await stranger == ["key-1"]


async def test_who_registers_keys_that_were_fetched_before_has_them_fetched_once_more(
    client_keys: ClientKeys, servers: Servers, clock: FakeClock
) -> None:
    await kids(client_keys)
    servers.publish("key-2")
    late = make_client(client_id="late", jwks_uri=URI, updated_at=clock.advance(seconds=1))
    clock.advance(seconds=1)

    assert await kids(client_keys, "key-2", late) == ["key-2"]
    servers.publish("key-3")
    assert await kids(client_keys, "key-3", late) == ["key-2"]
    assert len(servers.asked) == 2


async def test_a_node_whose_clock_is_ahead_makes_nobody_ask_each_time(
    client_keys: ClientKeys, servers: Servers
) -> None:
    ahead = make_client(jwks_uri=URI, updated_at=START + timedelta(seconds=20))

    for _ in range(3):
        await kids(client_keys, client=ahead)

    assert len(servers.asked) == 1


# ── Failures ────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_keys_are_used_for_another_hour_when_their_server_is_down(
    client_keys: ClientKeys, servers: Servers, clock: FakeClock
) -> None:
    await kids(client_keys)
    servers.fail()
    clock.advance(MIN_AGE + STALE_FOR - timedelta(microseconds=1))
    assert await kids(client_keys) == ["key-1"]
    clock.advance(timedelta(microseconds=1))

    with pytest.raises(KeysUnavailable, match="cannot be reached"):
        await client_keys.all(CLIENT)


async def test_a_server_that_is_down_is_asked_every_thirty_seconds_and_found_again(
    client_keys: ClientKeys, servers: Servers, clock: FakeClock
) -> None:
    servers.fail()
    for _ in range(29):
        with pytest.raises(KeysUnavailable):
            await client_keys.all(CLIENT)
        with pytest.raises(KeysUnavailable):
            await client_keys.for_kid(CLIENT, "key-1")
        clock.advance(seconds=1)
    assert len(servers.asked) == 1
    servers.publish("key-1")

    clock.advance(seconds=1)

    assert await kids(client_keys) == ["key-1"]


PRIVATE = private_key("key-1").as_dict(private=True)
BAD = {
    "nothing": b"",
    "a page": b"<!DOCTYPE html><title>Sign in</title>",
    "no UTF-8": b"\xff\xfe\x00",
    "a list": b"[]",
    "null": b"null",
    "a number of enormous length": b"1" * 60_000,
    "deeply nested": b"[" * 60_000,
    "no keys": b"{}",
    "an empty set": b'{"keys": []}',
    "keys that are no list": b'{"keys": {"kty": "EC"}}',
    "keys that are no objects": b'{"keys": ["key"]}',
    "private keys": json.dumps({"keys": [PRIVATE]}).encode(),
    "a private key beside a public one": json.dumps({"keys": [public_jwk("key-1"), PRIVATE]}).encode(),
    "a secret": b'{"keys": [{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}]}',
    "too many keys": json.dumps({"keys": [public_jwk("key-1")] * 51}).encode(),
    "a key off its curve": json.dumps({"keys": [public_jwk("key-1", x="AAAA")]}).encode(),
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
async def test_what_is_no_set_of_public_keys_is_refused_and_its_text_is_not_repeated_rfc7517_s5(
    client_keys: ClientKeys, servers: Servers, body: bytes
) -> None:
    servers.answers[URI] = fetched(body)

    with pytest.raises(KeysUnavailable) as unavailable:
        await client_keys.all(CLIENT)

    text = str(unavailable.value)
    assert text.startswith("jwks_uri: ")
    assert len(text) < 200
    assert str(PRIVATE["d"]) not in text


@pytest.mark.parametrize("status", [201, 204, 400, 401, 403, 404, 500, 503])
async def test_keys_come_with_status_200_only(client_keys: ClientKeys, servers: Servers, status: int) -> None:
    servers.answers[URI] = fetched(json.dumps(jwks("key-1")).encode(), status=status)

    with pytest.raises(KeysUnavailable, match=str(status)):
        await client_keys.all(CLIENT)


async def test_any_media_type_will_do_because_servers_of_files_know_none_for_key_sets(
    client_keys: ClientKeys, servers: Servers
) -> None:
    servers.answers[URI] = Fetched(200, "text/plain", json.dumps(jwks("key-1")).encode(), None)

    assert await kids(client_keys) == ["key-1"]


async def test_bad_keys_do_not_replace_good_ones(client_keys: ClientKeys, servers: Servers, clock: FakeClock) -> None:
    await kids(client_keys)
    servers.answers[URI] = fetched(BAD["a page"])
    clock.advance(MIN_AGE)

    assert await kids(client_keys) == ["key-1"]
    assert len(servers.asked) == 2


# ── Verifying ───────────────────────────────────────────────────────────────────────────────────────────────────────
def token_of(key: str, *, kid: str | None = None) -> str:
    header = {"alg": "ES256", **({} if kid is None else {"kid": kid})}
    return compact(header, {"iss": "portal"}, private_key(key, "ES256"))


@pytest.mark.parametrize("kid", [None, "key-1"])
async def test_a_key_rotated_without_a_kid_or_under_the_same_one_is_fetched_once(
    client_keys: ClientKeys, servers: Servers, clock: FakeClock, kid: str | None
) -> None:
    assert await client_keys.verify(CLIENT, token_of("key-1", kid=kid), algorithms=["ES256"])
    servers.answers[URI] = fetched(json.dumps({"keys": [{**public_jwk("key-2"), "kid": "key-1"}]}).encode())
    clock.advance(seconds=1)

    assert await client_keys.verify(CLIENT, token_of("key-2", kid=kid), algorithms=["ES256"])
    assert len(servers.asked) == 2


async def test_forged_signatures_make_us_ask_once_in_a_while(
    client_keys: ClientKeys, servers: Servers, clock: FakeClock
) -> None:
    for _ in range(20):
        with pytest.raises(InvalidSignature):
            await client_keys.verify(CLIENT, token_of("key-9", kid="key-1"), algorithms=["ES256"])
        clock.advance(seconds=1)
    assert len(servers.asked) == 2


async def test_registered_keys_that_did_not_sign_are_not_looked_for_elsewhere(
    client_keys: ClientKeys, servers: Servers
) -> None:
    with pytest.raises(InvalidSignature):
        await client_keys.verify(make_client(jwks=jwks("key-1")), token_of("key-2"), algorithms=["ES256"])
    assert servers.asked == []
