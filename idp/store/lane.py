"""The hot path's way to the database: prepared statements, few at a time, for group commits and coalesced reads.

On PostgreSQL they run on the driver's own connections, held open; on SQLite through the same connections as all else.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Protocol

import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from idp.store.errors import UnknownOutcome, translate
from idp.store.prepared import Prepared

_LOST = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
# The server went away in the middle: what it was doing may have been done.
_SHUT_DOWN = (asyncpg.AdminShutdownError, asyncpg.CrashShutdownError)

Opener = Callable[[], AbstractAsyncContextManager[AsyncConnection]]


class LaneTransaction(Protocol):
    """Statements that are committed together."""

    async def fetch(self, statement: Prepared, values: Mapping[str, Any]) -> list[Sequence[Any]]:
        """Run a statement that returns rows."""
        ...

    async def execute_many(self, statement: Prepared, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run a statement for each row."""
        ...


class Lane(Protocol):
    """Runs prepared statements."""

    async def fetch(self, statement: Prepared, values: Mapping[str, Any]) -> list[Sequence[Any]]:
        """Run a query outside a transaction.

        Raises:
            Unavailable, Rejected: see `Database.read`.
        """
        ...

    def transaction(self, *, single: bool) -> AbstractAsyncContextManager[LaneTransaction]:
        """Open a transaction, committed at the end of the block; `single` promises one statement only.

        Raises:
            Unavailable, Rejected, UnknownOutcome: see `Database.write`.
        """
        ...

    async def close(self) -> None:
        """Close what is held open."""
        ...


class SqliteLane:
    """Through SQLAlchemy: SQLite's cost is its file, not the layers."""

    def __init__(self, read: Opener, write: Opener) -> None:
        self._read = read
        self._write = write

    async def fetch(self, statement: Prepared, values: Mapping[str, Any]) -> list[Sequence[Any]]:
        """Run a query outside a transaction."""
        async with self._read() as connection:
            return await _SqliteTransaction(connection).fetch(statement, values)

    @asynccontextmanager
    async def transaction(self, *, single: bool) -> AsyncIterator[LaneTransaction]:
        """Open a transaction."""
        async with self._write() as connection:
            yield _SqliteTransaction(connection)

    async def close(self) -> None:
        """Nothing is held open."""


class _SqliteTransaction:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def fetch(self, statement: Prepared, values: Mapping[str, Any]) -> list[Sequence[Any]]:
        result = await self._connection.execute(statement.statement, dict(values))
        return [tuple(row) for row in result]

    async def execute_many(self, statement: Prepared, rows: Sequence[Mapping[str, Any]]) -> None:
        await self._connection.execute(statement.statement, [dict(row) for row in rows])


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
                raise translate(error) from None
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
                raise translate(error) from None
            try:
                yield _PostgresTransaction(connection, self._timeout)
            except (asyncpg.PostgresError, *_LOST) as error:
                if not single:
                    await self._writer.rollback(self._timeout)
                elif isinstance(error, (*_LOST, *_SHUT_DOWN)):
                    raise UnknownOutcome(str(translate(error))) from None
                raise translate(error) from None
            except BaseException:
                if not single:
                    await self._writer.rollback(self._timeout)
                raise
            if not single:
                try:
                    await connection.execute("COMMIT", timeout=self._timeout)
                except Exception as error:
                    await self._writer.close()
                    raise UnknownOutcome(str(translate(error))) from None

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
                raise translate(error) from None
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
