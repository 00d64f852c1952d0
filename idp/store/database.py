"""The database: SQLite embedded, PostgreSQL for real installations."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Dialect, event, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from idp.store.errors import UnknownOutcome, translate
from idp.store.lane import Lane, SqliteLane

SQLITE_BUSY_TIMEOUT_SECONDS = 10
_JSON = json.JSONDecoder()


class Database:
    """Connections for reading, which never wait for writers, and transactions for writing.

    SQLite has one writer connection behind a lock, whose transactions begin IMMEDIATE: with deferred ones, concurrent
    read-modify-writes are lost. PostgreSQL reads outside transactions, which saves two round trips.
    """

    def __init__(self, url: str, *, pool_size: int = 5, statement_timeout_seconds: float = 10) -> None:
        self.url = make_url(url)
        self.statement_timeout_seconds = statement_timeout_seconds
        self.dialect = self.url.get_backend_name()
        self._writing = asyncio.Lock()
        if self.dialect == "sqlite":
            Path(self.url.database or "").parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._open_sqlite(pool_size=1, query_only=False)
            self._reader = self._open_sqlite(pool_size=pool_size, query_only=True)
            self.lane: Lane = SqliteLane(self.read, self.write)
        else:
            self._writer = self._open_postgresql(
                pool_size=pool_size, max_overflow=pool_size, pool_timeout=statement_timeout_seconds, pool_use_lifo=True
            )
            self._reader = self._writer.execution_options(isolation_level="AUTOCOMMIT")
            # Loaded only here: the driver is large, and an installation on SQLite needs none of it.
            from idp.store.postgres_lane import PostgresLane

            beside_the_pool = self._open_postgresql(poolclass=NullPool)
            self.lane = PostgresLane(beside_the_pool, timeout=statement_timeout_seconds)

    def _open_postgresql(self, **pooling: Any) -> AsyncEngine:
        milliseconds = str(int(self.statement_timeout_seconds * 1000))
        settings = {"application_name": "lab-id", "statement_timeout": milliseconds}
        connect_args = {"server_settings": settings, "timeout": self.statement_timeout_seconds}
        return create_async_engine(
            self.url, hide_parameters=True, connect_args=connect_args, json_deserializer=_read_json, **pooling
        )

    @property
    def sqlalchemy_dialect(self) -> Dialect:
        """What SQLAlchemy compiles statements for."""
        return self._writer.dialect

    def _open_sqlite(self, *, pool_size: int, query_only: bool) -> AsyncEngine:
        engine = create_async_engine(
            self.url,
            poolclass=AsyncAdaptedQueuePool,
            pool_size=pool_size,
            max_overflow=0,
            pool_reset_on_return=None if query_only else "rollback",
            hide_parameters=True,
            # The driver's own transaction handling is off: `write` says BEGIN IMMEDIATE itself.
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "isolation_level": None},
        )

        @event.listens_for(engine.sync_engine, "connect")
        def prepare(connection: Any, _record: Any) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA foreign_keys=ON")
            if query_only:
                cursor.execute("PRAGMA query_only=ON")
            cursor.close()

        return engine

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection for reading; each statement sees what was committed before it.

        Raises:
            Unavailable: the database cannot be reached.
            Rejected: it refused the query.
        """
        try:
            async with self._reader.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError, UnicodeEncodeError) as error:
            raise translate(error).with_traceback(error.__traceback__) from None

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction: committed at the end of the block, rolled back when it raises.

        Raises:
            Unavailable: the database cannot be reached or is full; nothing was saved.
            Rejected, Conflict: it refused a statement; nothing was saved.
            UnknownOutcome: the commit was sent and its answer lost.
        """
        if self.dialect == "sqlite":
            async with self._writing, self._transaction() as connection:
                yield connection
        else:
            async with self._transaction() as connection:
                yield connection

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._writer.connect() as connection:
                if self.dialect == "sqlite":
                    await connection.exec_driver_sql("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    await connection.rollback()
                    raise
                try:
                    await connection.commit()
                except Exception as error:
                    raise UnknownOutcome(str(translate(error))).with_traceback(error.__traceback__) from None
        except (SQLAlchemyError, OSError, UnicodeEncodeError) as error:
            raise translate(error).with_traceback(error.__traceback__) from None

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction for changing the schema.

        On SQLite foreign keys are off, set before BEGIN as it must be: rebuilding a parent table would otherwise delete
        its children. On PostgreSQL the statement timeout is off.
        """
        if self.dialect == "sqlite":
            async with self._writing:
                async with self._writer.connect() as connection:
                    await connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
                    await connection.rollback()
                try:
                    async with self._transaction() as connection:
                        yield connection
                finally:
                    async with self._writer.connect() as connection:
                        await connection.exec_driver_sql("PRAGMA foreign_keys=ON")
                        await connection.rollback()
        else:
            async with self._transaction() as connection:
                await connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                yield connection

    @property
    def connections_in_use(self) -> int:
        """How many pooled connections are handed out, for the metrics."""
        pools = {id(engine.pool): engine.pool for engine in (self._reader, self._writer)}
        return sum(pool.checkedout() for pool in pools.values() if isinstance(pool, AsyncAdaptedQueuePool))

    async def close(self) -> None:
        """Close all connections."""
        await self.lane.close()
        await self._reader.dispose()
        await self._writer.dispose()


def _read_json(text: str) -> Any:
    # What json.loads does besides, such as looking for space around it, costs more than reading our few members, and
    # PostgreSQL writes a jsonb value in one way only.
    return _JSON.raw_decode(text)[0]
