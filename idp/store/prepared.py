"""Statements of the hot path, compiled once.

SQLAlchemy says what the SQL is and how values are converted; on PostgreSQL the driver then runs it, which costs a
fraction of a run through SQLAlchemy's layers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Dialect, Select, UpdateBase

Converter = Callable[[Any], Any]


class Prepared:
    """One statement for one dialect: its text, how parameters are bound, and how result columns are read."""

    def __init__(
        self, statement: Select[Any] | UpdateBase, dialect: Dialect, *, returns: Sequence[ColumnElement[Any]] = ()
    ) -> None:
        self.statement = statement
        compiled = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        self.names: tuple[str, ...] = tuple(compiled.positiontup or ())
        types = [compiled.binds[name].type.dialect_impl(dialect) for name in self.names]
        self._binders: list[Converter | None] = [type_.bind_processor(dialect) for type_ in types]
        readers = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in returns]
        self._readers = [(position, reader) for position, reader in enumerate(readers) if reader is not None]

    def bind(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the parameters in the order of the text, as the driver wants them."""
        return [
            values[name] if binder is None else binder(values[name])
            for name, binder in zip(self.names, self._binders, strict=True)
        ]

    def read(self, row: Sequence[Any]) -> list[Any]:
        """Return a row as Python values."""
        cells = list(row)
        for position, reader in self._readers:
            cells[position] = reader(cells[position])
        return cells
