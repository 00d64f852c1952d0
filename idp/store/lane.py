"""The hot path's way to the database: prepared statements, few at a time, for group commits and coalesced reads.

On SQLite they run through the same connections as all else; for PostgreSQL see `postgres_lane`.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from idp.store.prepared import Prepared

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
