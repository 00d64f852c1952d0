"""Column types that carry domain values: instants, enumerations and tuples."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    ColumnElement,
    DateTime,
    Dialect,
    MetaData,
    String,
    Text,
    any_,
    bindparam,
    func,
    select,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Instant(TypeDecorator[datetime]):
    """A moment in UTC; SQLite keeps it without a zone, so the zone is taken off and put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Convert on SQLite only: PostgreSQL's driver gives moments in UTC."""
        return None if dialect.name == "postgresql" else super().result_processor(dialect, coltype)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive values, which would mean whatever zone the machine is in."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant needs a time zone")
        return value if dialect.name == "postgresql" else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the value in UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


class OneOf(TypeDecorator[StrEnum]):
    """A member of a closed set, stored as its text so that a set can grow without a migration."""

    impl = String(40)
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:
        """Return the member's text."""
        return None if value is None else str(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Look members up: to call their class takes ten times as long, and a token may need hundreds of them."""
        return _Members(self.kind).__getitem__


class _Members(dict[str | None, StrEnum | None]):
    """The members of a set by their texts."""

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__({member.value: member for member in kind})
        self[None] = None
        self._kind = kind

    def __missing__(self, text: str) -> StrEnum:
        # Which says what is wrong with it.
        return self._kind(text)


def _json(dialect: Dialect) -> TypeEngine[Any]:
    """Return the type that a database has for JSON."""
    if dialect.name != "postgresql":
        return dialect.type_descriptor(JSON(none_as_null=True))
    # Loaded only here, which a variant of JSON could not be: an installation on SQLite needs none of it.
    from sqlalchemy.dialects.postgresql import JSONB

    return dialect.type_descriptor(JSONB(none_as_null=True))


class TupleOf(TypeDecorator[tuple[Any, ...]]):
    """A tuple stored as a JSON array."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the database's own type for JSON."""
        return _json(dialect)

    def __init__(self, item: Callable[[Any], Any] = str) -> None:
        super().__init__()
        self.item = item

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> list[str] | None:
        """Return a list of texts."""
        return None if value is None else [str(item) for item in value]

    def process_result_value(self, value: Sequence[Any] | None, dialect: Dialect) -> tuple[Any, ...] | None:
        """Return the tuple of items."""
        return None if value is None else tuple(map(self.item, value))


class Document(TypeDecorator[Mapping[str, Any]]):
    """A JSON object."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the database's own type for JSON."""
        return _json(dialect)

    def process_bind_param(self, value: Mapping[str, Any] | None, dialect: Dialect) -> dict[str, Any] | None:
        """Return a plain dictionary."""
        return None if value is None else dict(value)


def any_of(column: ColumnElement[str], name: str, dialect: str) -> ColumnElement[bool]:
    """`column` is one of the values bound as `name` (see `many`): one statement text for any number of values."""
    if dialect == "postgresql":
        return column == any_(bindparam(name, type_=ARRAY(String)))
    return column.in_(select(func.json_each(bindparam(name, type_=Text)).table_valued("value").c.value))


def many(values: Sequence[str], dialect: str) -> Any:
    """Return `values` as `any_of` wants them bound."""
    return list(values) if dialect == "postgresql" else json.dumps(list(values))


def storable(text: str) -> bool:
    """Whether a database can hold the text: PostgreSQL knows no NUL, and UTF-8 no lone surrogates."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False
