"""Any value of a noun, read off the types of its fields, so that a new field is tested as soon as it is there."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

T = TypeVar("T")

# What both databases can hold: PostgreSQL has no NUL, and UTF-8 no lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=38)
instants = st.datetimes(
    datetime(1970, 1, 1),  # noqa: DTZ001 -- hypothesis adds the zone
    datetime(2199, 12, 31),  # noqa: DTZ001 -- hypothesis adds the zone
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=9.5))]),
)
_scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e6, 1e6, width=32) | texts
documents = st.dictionaries(
    texts, st.recursive(_scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
)
_scalar_strategies: dict[Any, st.SearchStrategy[Any]] = {
    str: texts,
    bool: st.booleans(),
    int: st.integers(0, 2**31 - 1),
    bytes: st.binary(max_size=64),
    datetime: instants,
    NoneType: st.none(),
}


def values_of(kind: type[T]) -> st.SearchStrategy[T]:
    """Return values of a dataclass with every field chosen."""
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: _of(hints[field.name]) for field in fields(kind)})


def _of(hint: Any) -> st.SearchStrategy[Any]:
    if hint in _scalar_strategies:
        return _scalar_strategies[hint]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    if is_dataclass(hint):
        return values_of(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {Union, UnionType}:
        return st.one_of(*map(_of, arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple and arguments[1:] == (...,):
        return st.lists(_of(arguments[0]), max_size=3).map(tuple)
    if origin is Mapping:
        return documents if arguments[1] is Any else st.dictionaries(texts, _of(arguments[1]), max_size=4)
    raise TypeError(f"no strategy for {hint!r}: teach tests/support/strategies.py")
