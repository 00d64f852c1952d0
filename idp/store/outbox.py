"""Durable outboxes: what is due is taken by one node at a time, under a lease."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, ClassVar, TypeVar

from sqlalchemy import Column, Index, Integer, Table, Text, and_, func, or_, select, update

from idp.domain.outbox import Owed
from idp.store.columns import Instant
from idp.store.repository import Repository

T = TypeVar("T", bound=Owed)


def outbox_columns() -> list[Column[Any]]:
    """Return the columns that every outbox has beside its id."""
    return [
        Column("attempts", Integer, nullable=False),
        Column("next_attempt_at", Instant),
        Column("claimed_until", Instant),
        Column("delivered_at", Instant),
        Column("last_error", Text),
        Column("created_at", Instant, nullable=False),
        Column("expires_at", Instant, nullable=False),
    ]


def index_outbox(table: Table) -> None:
    """Give an outbox the indices by which it is worked off and swept."""
    Index(None, table.c.next_attempt_at)
    Index(None, table.c.expires_at)


class Outbox(Repository[T]):
    """What is owed, by id; `receiver` names the column of whoever takes one thing at a time, if there are many."""

    receiver: ClassVar[str | None] = None

    async def claim_due(self, *, now: datetime, until: datetime, limit: int, busy: Collection[str] = ()) -> list[T]:
        """Take what is due, for this node alone until a time; on PostgreSQL others skip what is taken.

        At most one for each receiver and none for the `busy` ones, so that one that hangs holds up only its own; fewer
        attempts go first, so that those that hang again and again hold up nobody's first one.
        """
        table = self.mapping.table
        is_due = and_(
            table.c.next_attempt_at <= now, or_(table.c.claimed_until.is_(None), table.c.claimed_until <= now)
        )
        order = (table.c.attempts, table.c.next_attempt_at, table.c.id)
        due = select(table.c.id)
        if self.receiver is not None:
            column = table.c[self.receiver]
            is_due = and_(is_due, column.not_in(busy))
            turn = func.row_number().over(partition_by=column, order_by=order)
            ranked = select(table.c.id, turn.label("turn")).where(is_due).subquery()
            due = due.where(table.c.id.in_(select(ranked.c.id).where(ranked.c.turn == 1)))
        # Where they were ranked, once more that they are due: another node may have taken one since.
        due = due.where(is_due).order_by(*order).limit(limit).with_for_update(skip_locked=True)
        ids = list((await self.connection.execute(due)).scalars())
        if not ids:
            return []
        await self.connection.execute(update(table).where(table.c.id.in_(ids)).values(claimed_until=until))
        return await self._many(self._select().where(table.c.id.in_(ids)).order_by(*order))

    async def count_given_up(self) -> int:
        """Return how many were given up and not yet swept."""
        table = self.mapping.table
        query = select(func.count()).select_from(table)
        query = query.where(table.c.next_attempt_at.is_(None), table.c.delivered_at.is_(None))
        return int((await self.connection.execute(query)).scalar_one())
