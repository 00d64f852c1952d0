"""The database: how it is opened, what readers may do, and what is left when a transaction fails."""

import asyncio
import logging
import sqlite3
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from idp.store import database as database_module
from idp.store.database import Database
from idp.store.errors import Conflict, Rejected, StoreError, Unavailable
from idp.store.store import Store
from tests.support.factories import USER_ID, make_user


@pytest.fixture
async def sqlite(sqlite_url: str) -> AsyncIterator[Store]:
    store = Store(Database(sqlite_url))
    yield store
    await store.close()


async def pragma(connection: AsyncConnection, name: str) -> object:
    return (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()


async def user_ids(store: Store) -> list[str]:
    async with store.read() as tx:
        return [user.id for user in await tx.users.all()]


async def add_user(store: Store, id: str = USER_ID) -> None:
    async with store.write() as tx:
        await tx.users.add(make_user(id=id, email=None))


# ── SQLite ──────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_sqlite_writes_ahead_waits_for_the_disk_and_keeps_foreign_keys(sqlite: Store):
    for open_connection in (sqlite.database.read, sqlite.database.write):
        async with open_connection() as connection:
            assert await pragma(connection, "journal_mode") == "wal"
            assert await pragma(connection, "synchronous") == 2  # FULL
            assert await pragma(connection, "foreign_keys") == 1
            assert await pragma(connection, "busy_timeout") == 10_000


async def test_the_folder_of_a_new_sqlite_file_is_made(tmp_path: Path):
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/a/b/idp.db")
    async with database.write() as connection:
        await connection.exec_driver_sql("CREATE TABLE things (id TEXT)")
    await database.close()

    assert (tmp_path / "a" / "b" / "idp.db").is_file()


async def test_a_reader_of_sqlite_cannot_write(sqlite: Store):
    with pytest.raises(StoreError):
        async with sqlite.read() as tx:
            await tx.users.add(make_user())

    assert await user_ids(sqlite) == []


async def test_reads_neither_wait_for_a_write_nor_see_it_before_it_is_committed(store: Store):
    await add_user(store, "u_before")
    async with store.write() as tx:
        await tx.users.add(make_user(id="u_in_the_making"))
        async with asyncio.timeout(5):
            assert await user_ids(store) == ["u_before"]
            assert await store.find_session("none") is None

    assert await user_ids(store) == ["u_before", "u_in_the_making"]


async def test_each_statement_of_a_reader_sees_what_was_committed_before_it(store: Store):
    async with store.read() as tx:
        assert await tx.users.all() == []
        await add_user(store)
        assert [user.id for user in await tx.users.all()] == [USER_ID]


async def test_writers_of_sqlite_take_turns(sqlite: Store):
    order = []

    async def write(number: int) -> None:
        async with sqlite.write() as tx:
            order.append(f"{number} begins")
            await tx.users.add(make_user(id=f"u_{number}", email=None))
            order.append(f"{number} ends")

    await asyncio.gather(*map(write, range(3)))

    assert order == [f"{number} {what}" for number in range(3) for what in ("begins", "ends")]


async def test_a_full_disk_loses_nothing_and_is_told(sqlite: Store):
    await add_user(sqlite, "u_before")
    async with sqlite.database._writer.connect() as connection:
        pages = await pragma(connection, "page_count")
        await pragma(connection, f"max_page_count={pages}")

    with pytest.raises(Unavailable):
        await sqlite.commit.append(make_user(id="u_big", profile={"picture": "x" * 100_000}))
    with pytest.raises(Unavailable):
        await fill(sqlite)
    assert await user_ids(sqlite) == ["u_before"]

    async with sqlite.database._writer.connect() as connection:
        await pragma(connection, "max_page_count=100000")
    await fill(sqlite)
    assert await user_ids(sqlite) == ["u_before", "u_big"]
    async with sqlite.read() as tx:
        assert (await tx.users.connection.exec_driver_sql("PRAGMA integrity_check")).scalar() == "ok"


async def fill(store: Store) -> None:
    async with store.write() as tx:
        await tx.users.add(make_user(id="u_big", profile={"picture": "x" * 100_000}))


async def test_a_lock_that_another_process_holds_too_long_is_told(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database_module, "SQLITE_BUSY_TIMEOUT_SECONDS", 0.05)
    store = Store(Database(sqlite_url))
    other = sqlite3.connect(str(store.database.url.database), isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            await add_user(store)
        other.execute("ROLLBACK")
        await add_user(store)
        assert await user_ids(store) == [USER_ID]
    finally:
        other.close()
        await store.close()


# ── Both ────────────────────────────────────────────────────────────────────────────────────────────────────────────
class Mishap(Exception):
    """Something in the middle of a transaction."""


async def fail_midway(store: Store) -> None:
    async with store.write() as tx:
        await tx.users.add(make_user())
        raise Mishap


async def test_a_write_that_raises_is_rolled_back_and_the_next_one_works(store: Store):
    for _ in range(12):  # more often than the pool has connections
        with pytest.raises(Mishap):
            await fail_midway(store)

    await add_user(store)
    assert await user_ids(store) == [USER_ID]


async def test_a_write_that_is_refused_is_rolled_back_and_the_next_one_works(store: Store):
    await add_user(store)

    async def refused() -> None:
        async with store.write() as tx:
            await tx.users.add(make_user(id="u_lost", email=None))
            await tx.users.add(make_user())

    for _ in range(12):
        with pytest.raises(Conflict):
            await refused()

    await add_user(store, "u_next")
    assert await user_ids(store) == [USER_ID, "u_next"]


async def test_a_write_that_is_cancelled_is_rolled_back_and_the_next_one_works(store: Store):
    for _ in range(12):
        inside = asyncio.Event()

        async def write(inside: asyncio.Event = inside) -> None:
            async with store.write() as tx:
                await tx.users.add(make_user())
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(write())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    await add_user(store)
    assert await user_ids(store) == [USER_ID]


async def test_wherever_a_write_is_cancelled_it_is_whole_or_absent_and_the_next_one_works(store: Store):
    async def write() -> None:
        async with store.write() as tx:
            await tx.users.add(make_user(id="u_one", email=None))
            await tx.users.add(make_user(id="u_two", email=None))

    finished = False
    step = 0
    while not finished:
        step += 1
        task = asyncio.create_task(write())
        for _ in range(step):
            await asyncio.wait([task], timeout=0.0005)
        finished = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await user_ids(store) in ([], ["u_one", "u_two"])
        async with store.write() as tx:
            await tx.users.delete("u_one")
            await tx.users.delete("u_two")

    assert step > 1
    assert store.database.connections_in_use == 0


async def test_a_read_that_is_cancelled_leaves_its_connection_usable(store: Store):
    await add_user(store)
    for turns in range(12):
        task = asyncio.create_task(user_ids(store))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert await asyncio.gather(*(user_ids(store) for _ in range(12))) == [[USER_ID]] * 12
    assert store.database.connections_in_use == 0


async def test_connections_in_use_are_counted(store: Store):
    assert store.database.connections_in_use == 0
    async with store.read():
        assert store.database.connections_in_use == 1
        async with store.write():
            assert store.database.connections_in_use == 2
    assert store.database.connections_in_use == 0


async def test_a_statement_that_takes_too_long_is_given_up_and_the_connection_works_on(postgresql_url: str):
    store = Store(Database(postgresql_url, pool_size=1, statement_timeout_seconds=0.2))
    try:
        for open_connection in (store.database.read, store.database.write):
            with pytest.raises(Unavailable, match="statement timeout"):
                await sleep_long(open_connection)
            async with open_connection() as connection:
                assert (await connection.execute(text("SELECT 1"))).scalar() == 1
    finally:
        await store.close()


async def sleep_long(open_connection: object) -> None:
    async with open_connection() as connection:
        await connection.execute(text("SELECT pg_sleep(30)"))


async def test_a_database_that_nobody_serves_is_unavailable(tmp_path: Path):
    database = Database(f"postgresql+asyncpg://postgres@/none?host={tmp_path}")
    try:
        with pytest.raises(Unavailable):
            await read_one(database)
    finally:
        await database.close()


async def test_a_database_that_does_not_exist_is_unavailable(postgresql_url: str):
    database = Database(postgresql_url.replace("@/", "@/no_such_"))
    try:
        with pytest.raises(Unavailable, match="does not exist"):
            await read_one(database)
    finally:
        await database.close()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path):
    (tmp_path / "idp.db").write_bytes(b"something else" * 1000)
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/idp.db")
    try:
        with pytest.raises(Unavailable, match="not a database"):
            await read_one(database)
    finally:
        await database.close()
    assert (tmp_path / "idp.db").read_bytes() == b"something else" * 1000


async def read_one(database: Database) -> None:
    async with database.read() as connection:
        await connection.execute(text("SELECT 1"))


SECRET = "correct-horse-battery"


@pytest.mark.parametrize(
    "user",
    [
        pytest.param(make_user(id=SECRET, email=SECRET), id="a key that exists"),
        pytest.param(make_user(id="u_2", email=SECRET), id="a unique value that exists"),
        pytest.param(make_user(id=f"{SECRET}\ud800"), id="a text that is no UTF-8"),
        pytest.param(make_user(email=None, id="u_2", profile={"a": {SECRET}}), id="a document that is no JSON"),
        pytest.param(make_user(email=None, id="u_2", name=[SECRET]), id="a value of another type"),
    ],
)
async def test_no_error_tells_the_values_of_a_statement(store: Store, caplog: pytest.LogCaptureFixture, user: object):
    caplog.set_level(logging.DEBUG, logger="sqlalchemy")
    await store.commit.append(make_user(id=SECRET, email=SECRET))

    async def write() -> None:
        async with store.write() as tx:
            await tx.users.connection.execute(tx.users.mapping.table.insert(), tx.users.mapping.to_row(user))

    async def add() -> None:
        async with store.write() as tx:
            await tx.users.add(user)

    for attempt in (write, add, lambda: store.commit.append(user)):
        (outcome,) = await asyncio.gather(attempt(), return_exceptions=True)
        assert isinstance(outcome, Rejected)
        assert SECRET not in "".join(traceback.format_exception(outcome))
    assert SECRET not in caplog.text
