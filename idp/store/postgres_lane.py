"""The hot path's way to PostgreSQL: on the driver's own connections, held open.

A module of its own because the driver is loaded with it, which an installation on SQLite does without.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from idp.store.errors import StoreError, UnknownOutcome, translate, translate_driver
from idp.store.lane import LaneTransaction
from idp.store.prepared import Prepared

_LOST = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
# The server went away in the middle: what it was doing may have been done.
_SHUT_DOWN = (asyncpg.AdminShutdownError, asyncpg.CrashShutdownError)


class PostgresLane:
    """On connections of the driver: a writer for the group commit, which is one flush at a time, and some readers."""

    def __init__(self, engine: AsyncEngine, *, timeout: float, readers: int = 3) -> None:
        self._engine = engine
        # The server's statement timeout comes first; this one is for a network that says nothing any more.
        self._timeout = timeout + 5
        self._readers = [_Held(engine) for _ in range(readers)]
        self._free = asyncio.Semaphore(readers)
        self._writer = _Held(engine)
        self._writing = asyncio.Lock()

    async def fetch(self, statement: Prepared, values: Mapping[str, Any]) -> list[Sequence[Any]]:
        """Run a query outside a transaction."""
        async with self._free:
            held = self._readers.pop()
            try:
                connection = await held.open()
                return await _PostgresTransaction(connection, self._timeout).fetch(statement, values)
            except (asyncpg.PostgresError, *_LOST) as error:
                raise _translated(error) from None
            finally:
                self._readers.append(held)

    @asynccontextmanager
    async def transaction(self, *, single: bool) -> AsyncIterator[LaneTransaction]:
        """Open a transaction; a single statement is one by itself, without BEGIN and COMMIT."""
        async with self._writing:
            try:
                connection = await self._writer.open()
                if not single:
                    await connection.execute("BEGIN", timeout=self._timeout)
            except (asyncpg.PostgresError, *_LOST) as error:
                raise _translated(error) from None
            try:
                yield _PostgresTransaction(connection, self._timeout)
            except (asyncpg.PostgresError, *_LOST) as error:
                if not single:
                    await self._writer.rollback(self._timeout)
                elif isinstance(error, (*_LOST, *_SHUT_DOWN)):
                    raise UnknownOutcome(str(_translated(error))) from None
                raise _translated(error) from None
            except BaseException:
                if not single:
                    await self._writer.rollback(self._timeout)
                raise
            if not single:
                try:
                    await connection.execute("COMMIT", timeout=self._timeout)
                except Exception as error:
                    await self._writer.close()
                    raise UnknownOutcome(str(_translated(error))) from None

    async def close(self) -> None:
        """Give the connections back."""
        for held in (*self._readers, self._writer):
            await held.close()
        await self._engine.dispose()


class _PostgresTransaction:
    def __init__(self, connection: "asyncpg.Connection", timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout

    async def fetch(self, statement: Prepared, values: Mapping[str, Any]) -> list[Sequence[Any]]:
        records = await self._connection.fetch(statement.sql, *statement.bind(values), timeout=self._timeout)
        return [statement.read(record) for record in records]

    async def execute_many(self, statement: Prepared, rows: Sequence[Mapping[str, Any]]) -> None:
        # The driver makes it one implicit transaction.
        await self._connection.executemany(statement.sql, [statement.bind(row) for row in rows], timeout=self._timeout)


class _Held:
    """One connection held open, opened by SQLAlchemy so that it is set up like every other, and again when lost."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._outer: AsyncConnection | None = None
        self._driver: asyncpg.Connection | None = None

    async def open(self) -> "asyncpg.Connection":
        if self._driver is None or self._driver.is_closed():
            await self.close()
            try:
                self._outer = await self._engine.connect()
                self._driver = (await self._outer.get_raw_connection()).driver_connection
            except SQLAlchemyError as error:
                raise _translated(error) from None
        return self._driver

    async def rollback(self, timeout: float) -> None:
        """End a transaction that failed; when even that fails the connection is given up."""
        if self._driver is not None:
            try:
                await self._driver.execute("ROLLBACK", timeout=timeout)
            except (asyncpg.PostgresError, *_LOST):
                await self.close()

    async def close(self) -> None:
        outer, self._outer, self._driver = self._outer, None, None
        if outer is not None:
            with suppress(SQLAlchemyError, OSError):
                await outer.close()


def _translated(error: Exception) -> StoreError:
    is_the_drivers = isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError)
    return translate_driver(error) if is_the_drivers else translate(error)
