"""What every application of a run would make alike is made once for the process, in which a test starts a new one.

A server compiles its templates and statements and parses its keys once and then runs for months. The tests start
thousands of them, and spent half of their time there. Nothing is shared that a test could change.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, ClassVar

import pytest
from jinja2 import BytecodeCache, Environment
from jinja2.bccache import Bucket
from sqlalchemy import ColumnElement, Dialect
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.engine import Connection, Engine

from idp.services import signing_keys
from idp.store.prepared import Prepared
from idp.web import pages


class _Templates(BytecodeCache):
    """Compiled templates by their name and content; the environment still reads the files."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[str, str], bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if compiled := self._compiled.get((bucket.key, bucket.checksum)):
            bucket.bytecode_from_string(compiled)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._compiled[bucket.key, bucket.checksum] = bucket.bytecode_to_string()


class _Shared:
    """A dialect that all engines with the same options share, and with it every statement compiled for them.

    What it asks a server when it first connects (version, encoding, …) it asks once: the run has one PostgreSQL.
    """

    _of_all: ClassVar[dict[Any, Any]]
    _prepared = _initialized = False
    compiled: Any = None

    def __init_subclass__(cls) -> None:
        cls._of_all = {}
        # SQLAlchemy looks for this on the very class.
        cls.supports_statement_cache = True

    def __new__(cls, *, dbapi: Any = None, **options: Any) -> "_Shared":
        key = frozenset(options.items())
        if key not in cls._of_all:
            cls._of_all[key] = super().__new__(cls)
        return cls._of_all[key]

    def __init__(self, **options: Any) -> None:
        if not self._prepared:
            super().__init__(**options)
            self._prepared = True

    def initialize(self, connection: Connection) -> None:
        if not self._initialized:
            super().initialize(connection)
            self._initialized = True

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        super().engine_created(engine)
        dialect = engine.dialect
        if dialect.compiled is None:
            dialect.compiled = engine._compiled_cache
        engine._compiled_cache = dialect.compiled


class SharedSqlite(_Shared, SQLiteDialect_aiosqlite):
    """What `sqlite+aiosqlite` in an address means while this is in force."""


class SharedPostgresql(_Shared, PGDialect_asyncpg):
    """The same for `postgresql+asyncpg`."""


def _preparing_once(prepare: Callable[..., None]) -> Callable[..., None]:
    prepared: dict[Any, dict[str, Any]] = {}

    def init(self: Prepared, statement: Any, dialect: Dialect, *, returns: Sequence[ColumnElement[Any]] = ()) -> None:
        key = (statement._generate_cache_key().key, dialect, tuple(returns))
        if key not in prepared:
            prepare(self, statement, dialect, returns=returns)
            prepared[key] = vars(self)
        # Statements with one key may still hold values of their own.
        self.__dict__ = {**prepared[key], "statement": statement}

    return init


@contextmanager
def reusing() -> Iterator[None]:
    registry.register("sqlite.aiosqlite", __name__, SharedSqlite.__name__)
    registry.register("postgresql.asyncpg", __name__, SharedPostgresql.__name__)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "Environment", partial(Environment, bytecode_cache=_Templates()))
        patch.setattr(signing_keys, "Signer", cache(signing_keys.Signer))
        patch.setattr(Prepared, "__init__", _preparing_once(Prepared.__init__))
        yield
