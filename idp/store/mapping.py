"""Rows into frozen values and back: column names equal field names."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Table

T = TypeVar("T")

# Every noun's mapping by its class, so that values alone say where they belong.
_mappings: dict[type[Any], "Mapping[Any]"] = {}


class Mapping(Generic[T]):
    """How the values of one noun lie in one table.

    A noun that grows often keeps some columns and the rest in a JSON column: it overrides the two conversions.
    """

    def __init__(self, kind: type[T], table: Table, *, columns: Sequence[str] | None = None) -> None:
        names = tuple(columns) if columns is not None else tuple(field.name for field in fields(kind))  # type: ignore[arg-type]  # T is a dataclass
        if set(names) != set(table.columns.keys()):
            raise TypeError(f"{table.name} and {kind.__name__} differ: {set(names) ^ set(table.columns.keys())}")
        self.kind = kind
        self.table = table
        self.names = names
        self.columns: tuple[ColumnElement[Any], ...] = tuple(table.columns[name] for name in names)
        self.key: tuple[str, ...] = tuple(column.name for column in table.primary_key.columns)
        _mappings[kind] = self

    def to_row(self, value: T) -> dict[str, Any]:
        """Return the row that holds `value`."""
        return {name: getattr(value, name) for name in self.names}

    def from_row(self, row: Sequence[Any]) -> T:
        """Return the value held by `row`, whose columns stand in the order of `columns`."""
        return self.kind(**dict(zip(self.names, row, strict=True)))

    def from_optional_row(self, row: Sequence[Any]) -> T | None:
        """Return the value held by `row`, or None where an outer join found nothing."""
        return None if row[0] is None else self.from_row(row)


def mapping_of(kind: type[T]) -> Mapping[T]:
    """Return the mapping of a noun."""
    return _mappings[kind]
