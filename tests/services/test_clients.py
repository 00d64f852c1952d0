"""Clients: a few seconds old at most, with secrets that overlap."""

from dataclasses import replace
from datetime import timedelta

import pytest

from idp.crypto.envelope import CannotUnseal
from idp.domain.audit import AuditAction
from idp.domain.client import ClientAuthMethod, ClientSecret, ClientStatus
from idp.services.clients import CACHE_AGE, Clients, make_secret, metadata_of, open_secret, secret_hash
from idp.services.installation import DataKeys
from idp.store.errors import NotFound
from idp.store.store import Store
from tests.support.app import Installed, add_all
from tests.support.clock import START, FakeClock
from tests.support.factories import make_client

SECRET = "correct"


@pytest.fixture
def keys(installed: Installed) -> DataKeys:
    return installed.data_keys


@pytest.fixture
async def clients(store: Store, clock: FakeClock, keys: DataKeys) -> Clients:
    secret = ClientSecret(hash=secret_hash(keys, SECRET), created_at=START)
    await add_all(
        store,
        [
            make_client(secrets=(secret,)),
            make_client(client_id="spa", token_endpoint_auth_method=ClientAuthMethod.NONE),
            make_client(client_id="retired", status=ClientStatus.DISABLED, secrets=(secret,)),
        ],
    )
    return Clients(store, keys, clock)


async def rename(store: Store, name: str) -> None:
    async with store.write() as tx:
        await tx.clients.save(replace(await tx.clients.get("portal"), client_name=name))


async def name(clients: Clients) -> str:
    client = await clients.find("portal")
    assert client is not None
    return client.client_name


async def test_what_another_node_changed_is_seen_within_five_seconds(
    clients: Clients, store: Store, clock: FakeClock
) -> None:
    assert await name(clients) == "Lab Portal"
    await rename(store, "Renamed")
    clock.advance(CACHE_AGE - timedelta(milliseconds=1))
    assert await name(clients) == "Lab Portal"

    clock.advance(timedelta(milliseconds=1))

    assert await name(clients) == "Renamed"


async def test_what_this_process_changed_is_seen_at_once(clients: Clients, store: Store) -> None:
    await name(clients)
    await rename(store, "Renamed")

    clients.forget("portal")

    assert await name(clients) == "Renamed"


async def test_a_client_is_found_as_soon_as_it_exists_though_it_was_asked_for_before(
    clients: Clients, store: Store
) -> None:
    assert await clients.find("late") is None
    await add_all(store, [make_client(client_id="late")])

    assert await clients.find("late") is not None


@pytest.mark.parametrize("client_id", ["", "unknown", "retired", "PORTAL", "por\x00tal", "p" * 3000, "\udcff"])
async def test_who_is_not_served_is_not_found(clients: Clients, client_id: str) -> None:
    assert await clients.find(client_id) is None


async def test_asking_for_many_names_does_not_fill_the_memory(clients: Clients) -> None:
    for number in range(200):
        await clients.find(f"guess-{number}")

    assert len(clients._cache) <= 1  # what is not there is not remembered


async def test_the_cache_stays_small_however_many_clients_there_are(
    clients: Clients, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idp.services.clients._CACHE_SIZE", 3)
    await add_all(store, [make_client(client_id=f"c-{number}") for number in range(10)])

    for number in range(10):
        assert await clients.find(f"c-{number}") is not None

    assert len(clients._cache) <= 3


async def test_a_secret_is_stored_as_a_keyed_hash_only(clients: Clients, store: Store, keys: DataKeys) -> None:
    client = await clients.find("portal")

    assert client is not None
    assert SECRET not in repr(client)
    assert secret_hash(keys, SECRET) != secret_hash(replace(keys, lookup=bytes(32)), SECRET)


async def test_rotations_overlap_and_an_old_end_is_never_put_off(
    clients: Clients, store: Store, clock: FakeClock, keys: DataKeys
) -> None:
    second = await clients.rotate_secret("portal", overlap=timedelta(hours=1), actor="u_admin")
    clock.advance(timedelta(minutes=50))
    third = await clients.rotate_secret("portal", overlap=timedelta(hours=1), actor="u_admin")

    async def accepted() -> list[bool]:
        client = await clients.find("portal")
        assert client is not None
        valid = {held.hash for held in client.secrets if held.valid(now=clock())}
        return [secret_hash(keys, secret) in valid for secret in (SECRET, second, third)]

    assert await accepted() == [True, True, True]
    clock.advance(timedelta(minutes=10))
    assert await accepted() == [False, True, True]
    clock.advance(timedelta(minutes=50))
    assert await accepted() == [False, False, True]
    async with store.read() as tx:
        events = await tx.audit_events.all()
    assert {(event.action, event.actor, event.target) for event in events} == {
        (AuditAction.CLIENT_SECRET_ROTATED, "u_admin", "portal")
    }
    assert not any(secret in repr(events) for secret in (second, third))


async def test_rotating_drops_secrets_that_have_ended(clients: Clients, store: Store, clock: FakeClock) -> None:
    for _ in range(5):
        await clients.rotate_secret("portal", overlap=timedelta(seconds=1), actor="u_admin")
        clock.advance(seconds=2)

    async with store.read() as tx:
        assert len((await tx.clients.get("portal")).secrets) == 2


async def test_an_unknown_client_has_no_secret_to_rotate(clients: Clients) -> None:
    with pytest.raises(NotFound):
        await clients.rotate_secret("unknown", overlap=timedelta(), actor="u_admin")


async def test_a_secret_that_checks_macs_is_kept_readable_under_encryption_for_its_client_alone(
    clients: Clients, store: Store, keys: DataKeys
) -> None:
    method = ClientAuthMethod.CLIENT_SECRET_JWT
    await add_all(store, [make_client(client_id="mac", token_endpoint_auth_method=method)])

    secret = await clients.rotate_secret("mac", overlap=timedelta(), actor="u_admin")

    client = await clients.find("mac")
    assert client is not None
    (held,) = client.secrets
    assert held.hash == secret_hash(keys, secret)
    assert held.sealed is not None
    assert secret not in repr(client)
    assert open_secret(keys, "mac", held.sealed) == secret
    for other_keys, client_id in ((keys, "portal"), (replace(keys, seal=bytes(32)), "mac")):
        with pytest.raises(CannotUnseal):
            open_secret(other_keys, client_id, held.sealed)


@pytest.mark.parametrize("method", [method for method in ClientAuthMethod if method != "client_secret_jwt"])
def test_any_other_secret_is_kept_as_a_hash_alone(keys: DataKeys, method: ClientAuthMethod) -> None:
    assert make_secret(keys, "portal", method, SECRET, START) == ClientSecret(
        hash=secret_hash(keys, SECRET), created_at=START
    )


def test_the_public_settings_leave_out_secrets_and_defaults(keys: DataKeys) -> None:
    secret = ClientSecret(hash="hash", created_at=START)

    assert dict(metadata_of(make_client(secrets=(secret,), scope="openid", trusted=True))) == {
        "client_id": "portal",
        "client_name": "Lab Portal",
        "redirect_uris": ("https://portal.example.org/callback",),
        "grant_types": ("authorization_code", "refresh_token"),
        "trusted": True,
    }
