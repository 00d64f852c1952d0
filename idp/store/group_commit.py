"""Many concurrent writers share one transaction, and each is answered only after its own row is committed.

A flush is one transaction: first a look at who may sign in, then every `consume` as one UPDATE per table, then the
rows of the winners. While it runs, further operations gather for the next. On a statement error the flush is rolled
back and each operation is tried alone, so that a bad row fails only itself. When the outcome of a commit is unknown,
nobody is told of success and nothing is tried again.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Table, bindparam, insert, select, update

from idp.domain.upstream import LinkedAccount
from idp.domain.user import UserStatus
from idp.store.columns import Instant, any_of, many, metadata
from idp.store.database import Database
from idp.store.errors import Contended, Rejected, StoreError, Unavailable, UnknownOutcome
from idp.store.interactions import SIGN_IN, sign_in_values
from idp.store.lane import LaneTransaction
from idp.store.mapping import mapping_of
from idp.store.prepared import Prepared
from idp.store.upstream import linked_accounts
from idp.store.users import users


@dataclass(slots=True, eq=False)
class _Operation:
    rows: Sequence[tuple[Table, dict[str, Any]]]
    done: asyncio.Future[bool]
    consumes: tuple[Table, str] | None = None
    now: datetime | None = None
    link: tuple[str, str] | None = None
    signs_in: dict[str, str] | None = None
    won: bool = field(default=True)


class GroupCommit:
    """Appends rows and consumes single-use rows, many callers at a time.

    `on_flush` is told the size of each batch.
    """

    def __init__(
        self, database: Database, *, max_batch: int = 256, on_flush: Callable[[int], None] = lambda size: None
    ) -> None:
        self._database = database
        self._max_batch = max_batch
        self._on_flush = on_flush
        self._queue: deque[_Operation] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self._closed = False
        self._inserts: dict[Table, Prepared] = {}
        self._updates: dict[Table, Prepared] = {}
        dialect = database.sqlalchemy_dialect
        # Nobody waits here for somebody else's transaction: what is locked is not found. The link is locked as well: of
        # one that is being taken away only its user is held by whoever does that.
        keys = (linked_accounts.c.id, users.c.id)
        linked = select(*keys).join_from(users, linked_accounts).where(users.c.status == bindparam("status"))
        linked = linked.where(any_of(linked_accounts.c.id, "ids", database.dialect))
        linked = linked.with_for_update(read=True, skip_locked=True, of=(users, linked_accounts))
        self._linked = Prepared(linked, dialect, returns=keys)
        self._sign_in = Prepared(SIGN_IN, dialect)
        self._order = {table: position for position, table in enumerate(metadata.sorted_tables)}

    @property
    def depth(self) -> int:
        """How many operations wait."""
        return len(self._queue)

    async def append(self, *values: object) -> None:
        """Insert values together and return once they are committed.

        Raises:
            Conflict: a key exists already, or a value refers to something that is gone; nothing was saved.
            Rejected: the database refused a value; nothing was saved.
            Unavailable: nothing was saved.
            UnknownOutcome: they may or may not have been saved.
        """
        await self._enqueue(_Operation(rows=_rows(values), done=self._future()))

    async def consume(self, kind: type[Any], hash: str, *, now: datetime, then: Sequence[object] = ()) -> bool:
        """Mark the single-use row with this hash as used and insert what follows from it, both or neither.

        Returns True for exactly one caller per row, ever; the others' values are not inserted.

        Raises:
            Conflict, Rejected, Unavailable, UnknownOutcome: as for `append`; the row is then still unused, or unknown.
        """
        table = mapping_of(kind).table
        operation = _Operation(rows=_rows(then), done=self._future(), consumes=(table, hash), now=now)
        return await self._enqueue(operation)

    async def sign_in(self, link: LinkedAccount, *values: object, session_id: str, interaction: str | None) -> bool:
        """Insert values that sign in whose link this is, also within the authorization request with this hash.

        Returns False, with nothing saved, where the link is not theirs any more, the user is disabled or gone, or
        either is being changed at this moment: then a transaction of its own finds out which.

        Raises:
            Conflict, Rejected, Unavailable, UnknownOutcome: as for `append`.
        """
        signs_in = None if interaction is None else sign_in_values(interaction, session_id)
        return await self._enqueue(
            _Operation(rows=_rows(values), done=self._future(), link=(link.id, link.user_id), signs_in=signs_in)
        )

    async def close(self) -> None:
        """Refuse new operations and return when all that were accepted are done."""
        self._closed = True
        while self._flusher is not None:
            await asyncio.shield(self._flusher)

    def _future(self) -> "asyncio.Future[bool]":
        return asyncio.get_running_loop().create_future()

    async def _enqueue(self, operation: _Operation) -> bool:
        if self._closed:
            raise Unavailable("the server is shutting down")
        self._queue.append(operation)
        if self._flusher is None:
            self._flusher = asyncio.get_running_loop().create_task(self._flush_all())
        # A cancelled request cancels only this future; its operation stays in the queue and is carried out.
        return await operation.done

    async def _flush_all(self) -> None:
        try:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._max_batch))]
                self._on_flush(len(batch))
                await self._flush(batch)
        finally:
            self._flusher = None

    async def _flush(self, batch: list[_Operation]) -> None:
        try:
            await self._commit(batch)
        except Unavailable as error:
            # Somebody else's transaction was preferred to one of many operations: none of them waits for two things.
            if isinstance(error, Contended) and len(batch) > 1:
                for operation in batch:
                    await self._flush([operation])
                return
            _fail(batch, error)
        except Exception as error:
            if len(batch) == 1:
                _fail(batch, error if isinstance(error, StoreError) else Rejected(type(error).__name__))
                return
            for operation in batch:
                await self._flush([operation])
        except BaseException as error:
            _fail(batch, UnknownOutcome(f"the flush was ended: {type(error).__name__}"))
            raise
        else:
            for operation in batch:
                if not operation.done.done():
                    operation.done.set_result(operation.won)

    async def _commit(self, batch: list[_Operation]) -> None:
        tables = {table for operation in batch for table, _ in operation.rows}
        single = len(tables) == 1 and all(operation.consumes is None is operation.link for operation in batch)
        async with self._database.lane.transaction(single=single) as transaction:
            await self._check_links(transaction, batch)
            await self._consume(transaction, batch)
            rows: dict[Table, list[dict[str, Any]]] = defaultdict(list)
            for operation in batch:
                if operation.won:
                    for table, row in operation.rows:
                        rows[table].append(row)
            for table in sorted(rows, key=self._order.__getitem__):
                await transaction.execute_many(self._insert(table), rows[table])
            signed_in = [operation.signs_in for operation in batch if operation.won and operation.signs_in is not None]
            if signed_in:
                # In one order everywhere, as below.
                await transaction.execute_many(self._sign_in, sorted(signed_in, key=lambda values: values["handle"]))

    async def _check_links(self, transaction: LaneTransaction, batch: list[_Operation]) -> None:
        ids = {operation.link[0] for operation in batch if operation.link is not None}
        if ids:
            keys = {"ids": many(tuple(ids), self._database.dialect), "status": UserStatus.ACTIVE}
            held = {(link_id, user_id) for link_id, user_id in await transaction.fetch(self._linked, keys)}
            for operation in batch:
                operation.won = operation.link is None or operation.link in held

    async def _consume(self, transaction: LaneTransaction, batch: list[_Operation]) -> None:
        consumers: dict[Table, dict[str, list[_Operation]]] = defaultdict(lambda: defaultdict(list))
        for operation in batch:
            if operation.consumes is not None:
                table, hash = operation.consumes
                consumers[table][hash].append(operation)
        # In one order everywhere: two servers that take the same rows in two orders would wait for each other.
        for table in sorted(consumers, key=self._order.__getitem__):
            by_hash = consumers[table]
            hashes = many(tuple(by_hash), self._database.dialect)
            now = max(operation.now for operations in by_hash.values() for operation in operations if operation.now)
            unused = {hash for (hash,) in await transaction.fetch(self._update(table), {"hashes": hashes, "now": now})}
            for hash, operations in by_hash.items():
                for position, operation in enumerate(operations):
                    operation.won = position == 0 and hash in unused

    def _insert(self, table: Table) -> Prepared:
        statement = self._inserts.get(table)
        if statement is None:
            statement = self._inserts[table] = Prepared(insert(table), self._database.sqlalchemy_dialect)
        return statement

    def _update(self, table: Table) -> Prepared:
        statement = self._updates.get(table)
        if statement is None:
            query = (
                update(table)
                .where(any_of(table.c.hash, "hashes", self._database.dialect), table.c.used_at.is_(None))
                .values(used_at=bindparam("now", type_=Instant))
                .returning(table.c.hash)
            )
            dialect = self._database.sqlalchemy_dialect
            statement = self._updates[table] = Prepared(query, dialect, returns=[table.c.hash])
        return statement


def _rows(values: Sequence[object]) -> list[tuple[Table, dict[str, Any]]]:
    rows = []
    for value in values:
        mapping = mapping_of(type(value))
        rows.append((mapping.table, mapping.to_row(value)))
    return rows


def _fail(batch: Sequence[_Operation], error: StoreError) -> None:
    for operation in batch:
        if not operation.done.done():
            own = type(error)(*error.args)
            own.__cause__ = error
            operation.done.set_exception(own)
            # A cancelled request never asks for its outcome; that is no forgotten error.
            operation.done.exception()
