"""What every repository can do; each noun adds its own finders."""

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from idp.store.errors import Conflict, NotFound
from idp.store.mapping import Mapping

T = TypeVar("T")


class Repository(Generic[T]):
    """Values of one noun within one connection: reads see what the same transaction wrote."""

    mapping: ClassVar[Mapping[Any]]

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection

    def _same(self, key: tuple[Any, ...]) -> ColumnElement[bool]:
        table = self.mapping.table
        names = self.mapping.key
        return and_(*(table.columns[name] == part for name, part in zip(names, key, strict=True)))

    async def _one(self, query: Select[Any]) -> T | None:
        row = (await self.connection.execute(query)).first()
        return None if row is None else self.mapping.from_row(row)

    async def _many(self, query: Select[Any]) -> list[T]:
        return [self.mapping.from_row(row) for row in await self.connection.execute(query)]

    def _select(self) -> Select[Any]:
        return select(*self.mapping.columns)

    async def find(self, *key: Any) -> T | None:
        """Return the value with this key, or None."""
        return await self._one(self._select().where(self._same(key)))

    async def get(self, *key: Any) -> T:
        """Return the value with this key.

        Raises:
            NotFound: there is none.
        """
        value = await self.find(*key)
        if value is None:
            raise NotFound(f"{self.mapping.table.name} has no {key!r}")
        return value

    async def lock(self, *key: Any) -> T:
        """Return the value with this key and hold it against other writers until the transaction ends.

        SQLite needs no clause: its transaction already holds the only writer. On PostgreSQL the lock leaves the key
        alone, so that others may still insert rows that refer to this one.

        Raises:
            NotFound: there is none.
        """
        value = await self._one(self._select().where(self._same(key)).with_for_update(key_share=True))
        if value is None:
            raise NotFound(f"{self.mapping.table.name} has no {key!r}")
        return value

    async def all(self) -> list[T]:
        """Return every value in the order of the keys."""
        return await self._many(self._select().order_by(*self.mapping.table.primary_key.columns))

    async def add(self, value: T) -> None:
        """Insert the value.

        Raises:
            Conflict: its key or another unique value exists, or something it refers to does not.
        """
        try:
            await self.connection.execute(insert(self.mapping.table), self.mapping.to_row(value))
        except IntegrityError:
            raise Conflict(f"{self.mapping.table.name}: already exists, or refers to something missing") from None

    async def save(self, value: T) -> None:
        """Overwrite the row that has the value's key.

        Raises:
            NotFound: there is none.
            Conflict: another unique value exists already.
        """
        row = self.mapping.to_row(value)
        key = tuple(row.pop(name) for name in self.mapping.key)
        try:
            result = await self.connection.execute(update(self.mapping.table).where(self._same(key)).values(row))
        except IntegrityError:
            raise Conflict(f"{self.mapping.table.name}: another row has this value already") from None
        if result.rowcount != 1:
            raise NotFound(f"{self.mapping.table.name} has no {key!r}")

    async def delete(self, *key: Any) -> bool:
        """Delete the row with this key; False when there was none."""
        result = await self.connection.execute(delete(self.mapping.table).where(self._same(key)))
        return bool(result.rowcount)


def columns_of(*mappings: Mapping[Any]) -> Sequence[ColumnElement[Any]]:
    """Return the columns of several nouns side by side, for joined reads."""
    return [column for mapping in mappings for column in mapping.columns]
