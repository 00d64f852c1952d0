"""The key-encryption key: made once, by whoever was first, and never silently another one."""

import asyncio
import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from idp.crypto.key_file import KEY_FILE_NAME, KeyFileError
from idp.domain.audit import AuditAction
from idp.services import installation
from idp.services.installation import DataKeys, KeySource, WrongKey, open_keys, rewrap
from idp.store.database import Database
from idp.store.errors import Unavailable, UnknownOutcome
from idp.store.store import Store
from tests.support.clock import FakeClock

Folder = Callable[[str], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return lambda name: tmp_path / name


def source(keys_dir: Path) -> KeySource:
    return KeySource(keys_dir)


async def fingerprint(store: Store) -> str:
    async with store.read() as tx:
        return (await tx.installations.get(1)).key_fingerprint


# ── The first start ─────────────────────────────────────────────────────────────────────────────────────────────────
async def test_an_empty_database_gets_keys_that_the_next_start_finds(
    store: Store, clock: FakeClock, folder: Folder
) -> None:
    made = await open_keys(store, source(folder("keys")), clock, create=True)

    assert (folder("keys") / KEY_FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert await open_keys(store, source(folder("keys")), clock, create=False) == made
    assert await open_keys(store, source(folder("keys")), clock, create=True) == made
    assert len({made.lookup, made.refresh, made.csrf, made.seal}) == 4
    assert "b'" not in repr(made)


async def test_without_being_asked_nothing_is_made(store: Store, clock: FakeClock, folder: Folder) -> None:
    with pytest.raises(WrongKey, match=r"no keys yet: run `idp init`"):
        await open_keys(store, source(folder("keys")), clock, create=False)

    assert not folder("keys").exists()
    async with store.read() as tx:
        assert await tx.installations.all() == []


async def test_a_key_that_an_operator_put_there_is_taken(store: Store, clock: FakeClock, folder: Folder) -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    folder("keys").mkdir()
    (folder("keys") / KEY_FILE_NAME).write_text(key)
    (folder("keys") / KEY_FILE_NAME).chmod(0o600)

    made = await open_keys(store, source(folder("keys")), clock, create=True)

    assert (folder("keys") / KEY_FILE_NAME).read_text() == key
    assert await open_keys(store, KeySource(folder("none"), key), clock, create=False) == made


async def test_of_two_nodes_with_folders_of_their_own_one_wins_and_the_other_names_the_key_that_is_needed(
    database_url: str, clock: FakeClock, folder: Folder
) -> None:
    stores = [Store(Database(database_url)) for _ in range(2)]
    folders = [folder("first"), folder("second")]

    results = await asyncio.gather(
        *(open_keys(store, source(keys), clock, create=True) for store, keys in zip(stores, folders, strict=True)),
        return_exceptions=True,
    )

    (made,) = [result for result in results if isinstance(result, DataKeys)]
    (refused,) = [result for result in results if isinstance(result, WrongKey)]
    winner, loser = folders if results[0] == made else folders[::-1]
    needed = await fingerprint(stores[0])
    assert f"put the key with fingerprint {needed} into {loser / KEY_FILE_NAME}" in str(refused)
    # The loser made no key that somebody could later take for the right one.
    assert not loser.exists()
    loser.mkdir()
    (winner / KEY_FILE_NAME).rename(loser / KEY_FILE_NAME)
    assert await open_keys(stores[1], source(loser), clock, create=False) == made
    for store in stores:
        await store.close()


async def test_two_nodes_with_one_folder_both_start(database_url: str, clock: FakeClock, folder: Folder) -> None:
    stores = [Store(Database(database_url)) for _ in range(2)]

    made = await asyncio.gather(*(open_keys(store, source(folder("keys")), clock, create=True) for store in stores))

    assert made[0] == made[1]
    for store in stores:
        await store.close()


async def test_a_folder_that_cannot_be_written_leaves_the_database_empty(
    store: Store, clock: FakeClock, folder: Folder
) -> None:
    folder("keys").write_text("a file where the folder should be")

    with pytest.raises(KeyFileError):
        await open_keys(store, source(folder("keys")), clock, create=True)

    folder("keys").unlink()
    assert isinstance(await open_keys(store, source(folder("keys")), clock, create=True), DataKeys)


# ── Later starts ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("create", [False, True])
async def test_a_missing_key_is_named_and_never_replaced(
    store: Store, clock: FakeClock, folder: Folder, create: bool
) -> None:
    await open_keys(store, source(folder("keys")), clock, create=True)
    needed = await fingerprint(store)

    with pytest.raises(WrongKey, match=f"missing: put the key with fingerprint {needed} into") as refused:
        await open_keys(store, source(folder("lost")), clock, create=create)

    assert str(folder("lost") / KEY_FILE_NAME) in str(refused.value)
    assert not folder("lost").exists()


@pytest.mark.parametrize("create", [False, True])
async def test_another_databases_key_is_refused_with_both_fingerprints(
    store: Store, clock: FakeClock, folder: Folder, create: bool
) -> None:
    await open_keys(store, source(folder("keys")), clock, create=True)
    foreign = base64.b64encode(b"f" * 32).decode()

    with pytest.raises(WrongKey, match=f"this database needs {await fingerprint(store)}") as refused:
        await open_keys(store, KeySource(folder("keys"), foreign), clock, create=create)

    assert "IDP_KEY_ENCRYPTION_KEY has fingerprint" in str(refused.value)
    assert foreign not in str(refused.value)


async def test_a_corrupt_key_file_says_so(store: Store, clock: FakeClock, folder: Folder) -> None:
    await open_keys(store, source(folder("keys")), clock, create=True)
    (folder("keys") / KEY_FILE_NAME).write_text("not a key")

    with pytest.raises(KeyFileError, match=r"is not base64 of 32 bytes: restore the file from its backup"):
        await open_keys(store, source(folder("keys")), clock, create=False)


async def test_the_environments_key_counts_before_the_file(store: Store, clock: FakeClock, folder: Folder) -> None:
    key = base64.b64encode(b"e" * 32).decode()

    made = await open_keys(store, KeySource(folder("keys"), key), clock, create=True)

    assert not folder("keys").exists()
    assert await open_keys(store, KeySource(folder("keys"), key), clock, create=False) == made
    with pytest.raises(KeyFileError, match="IDP_KEY_ENCRYPTION_KEY"):
        await open_keys(store, KeySource(folder("keys"), "too short"), clock, create=False)


@pytest.mark.parametrize("damage", ["altered", "swapped", "missing"])
async def test_damaged_data_keys_are_noticed(store: Store, clock: FakeClock, folder: Folder, damage: str) -> None:
    await open_keys(store, source(folder("keys")), clock, create=True)
    async with store.write() as tx:
        first, second = (await tx.data_keys.all())[:2]
        if damage == "missing":
            await tx.data_keys.delete(first.purpose)
        else:
            altered = bytes([first.wrapped[0] ^ 1]) + first.wrapped[1:]
            await tx.data_keys.save(replace(first, wrapped=altered if damage == "altered" else second.wrapped))

    with pytest.raises(WrongKey, match="damaged: restore a backup"):
        await open_keys(store, source(folder("keys")), clock, create=False)


# ── Rewrapping ──────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_rewrapping_changes_the_key_and_nothing_that_it_protects(
    store: Store, clock: FakeClock, folder: Folder
) -> None:
    made = await open_keys(store, source(folder("keys")), clock, create=True)
    old_text = (folder("keys") / KEY_FILE_NAME).read_text()

    old, new = await rewrap(store, source(folder("keys")), clock)

    assert old != new == await fingerprint(store)
    assert await open_keys(store, source(folder("keys")), clock, create=False) == made
    assert (folder("keys") / f"{KEY_FILE_NAME}.{old}").read_text() == old_text
    with pytest.raises(WrongKey, match=f"fingerprint {old}, this database needs {new}"):
        await open_keys(store, KeySource(folder("none"), old_text.strip()), clock, create=False)
    async with store.read() as tx:
        (event,) = await tx.audit_events.all()
    assert (event.action, event.target) == (AuditAction.KEYS_REWRAPPED, new)


async def test_rewrapping_twice_at_once_leaves_a_key_that_opens(
    database_url: str, clock: FakeClock, folder: Folder
) -> None:
    stores = [Store(Database(database_url)) for _ in range(2)]
    made = await open_keys(stores[0], source(folder("keys")), clock, create=True)

    await asyncio.gather(*(rewrap(store, source(folder("keys")), clock) for store in stores))

    assert await open_keys(stores[0], source(folder("keys")), clock, create=False) == made
    for store in stores:
        await store.close()


@pytest.mark.parametrize(
    ("broken", "error"),
    [("create_key", KeyFileError("disk full")), ("audit_event", Unavailable("gone")), ("_wrap", RuntimeError("bug"))],
)
async def test_a_rewrapping_that_fails_leaves_everything_as_it_was(
    store: Store,
    clock: FakeClock,
    folder: Folder,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    error: Exception,
) -> None:
    made = await open_keys(store, source(folder("keys")), clock, create=True)
    before = {path.name: path.read_text() for path in folder("keys").iterdir()}

    def fail(*arguments: object, **named: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(installation, broken, fail)
        with pytest.raises(type(error)):
            await rewrap(store, source(folder("keys")), clock)

    assert {path.name: path.read_text() for path in folder("keys").iterdir()} == before
    assert await open_keys(store, source(folder("keys")), clock, create=False) == made


async def test_a_rewrapping_whose_outcome_is_unknown_keeps_both_keys(
    store: Store, clock: FakeClock, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await open_keys(store, source(folder("keys")), clock, create=True)
    needed = await fingerprint(store)

    def fail(*arguments: object, **named: object) -> None:
        raise UnknownOutcome("the answer to the commit was lost")

    with monkeypatch.context() as patch:
        patch.setattr(installation, "audit_event", fail)
        with pytest.raises(UnknownOutcome):
            await rewrap(store, source(folder("keys")), clock)

    # It was not saved: the next start says which of the two is needed.
    with pytest.raises(WrongKey, match=f"this database needs {needed}"):
        await open_keys(store, source(folder("keys")), clock, create=False)
    (folder("keys") / f"{KEY_FILE_NAME}.{needed}").rename(folder("keys") / KEY_FILE_NAME)
    assert await open_keys(store, source(folder("keys")), clock, create=False) == made


async def test_a_key_from_the_environment_cannot_be_rewrapped(store: Store, clock: FakeClock, folder: Folder) -> None:
    key = base64.b64encode(b"e" * 32).decode()
    await open_keys(store, KeySource(folder("keys"), key), clock, create=True)

    with pytest.raises(WrongKey, match="IDP_KEY_ENCRYPTION_KEY is set: unset it"):
        await rewrap(store, KeySource(folder("keys"), key), clock)


async def test_a_foreign_key_file_cannot_be_rewrapped(store: Store, clock: FakeClock, folder: Folder) -> None:
    await open_keys(store, source(folder("keys")), clock, create=True)
    foreign = folder("foreign")
    foreign.mkdir()
    (foreign / KEY_FILE_NAME).write_text(base64.b64encode(b"f" * 32).decode())
    (foreign / KEY_FILE_NAME).chmod(0o600)

    with pytest.raises(WrongKey):
        await rewrap(store, source(foreign), clock)

    assert (foreign / KEY_FILE_NAME).exists()
