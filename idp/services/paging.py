"""Lists in pages: each page tells where the next one begins, so that a late one costs what the first does."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from idp.services.input import InputRefused
from idp.store.columns import storable
from idp.store.members import LABEL_KINDS
from idp.store.words import is_word

LONGEST_PAGE = 200
_LONGEST_CURSOR = 1000
_LONGEST_SEARCH = 200

Item = TypeVar("Item")
Part = str | int


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some of a list's items; `next` is the cursor of those behind them, None where there are none."""

    items: tuple[Item, ...]
    next: str | None


def page_of(found: Sequence[Item], *, limit: int, position: Callable[[Item], Sequence[Part]]) -> Page[Item]:
    """Return the page of what was found, which is one item more where others follow."""
    items = tuple(found[:limit])
    return Page(items, write_cursor(*position(items[-1])) if len(found) > limit else None)


def checked_limit(limit: int) -> int:
    """Return how long a page gets.

    Raises:
        InputRefused: it is nothing, or too much at once.
    """
    if not 1 <= limit <= LONGEST_PAGE:
        raise InputRefused({("limit",): f"it must be a number from 1 to {LONGEST_PAGE}"})
    return limit


def write_cursor(*parts: Part) -> str:
    """Return a position as text that fits into a URL."""
    return urlsafe_b64encode(json.dumps(parts, separators=(",", ":")).encode()).rstrip(b"=").decode()


def read_cursor(cursor: str, *kinds: type[Part]) -> tuple[Part, ...]:
    """Return the parts of a position, which are of these kinds.

    Raises:
        InputRefused: no list gave this cursor.
    """
    try:
        if len(cursor) > _LONGEST_CURSOR:
            raise ValueError
        parts = json.loads(urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
        fits = isinstance(parts, list) and [type(part) for part in parts] == list(kinds)
        if not fits or not all(storable(part) for part in parts if isinstance(part, str)):
            raise ValueError
    except (ValueError, RecursionError):
        raise refused_cursor() from None
    return tuple(parts)


def moment_in(part: Part) -> datetime:
    """Return the moment at which a page ended.

    Raises:
        InputRefused: no list gave the cursor.
    """
    try:
        return datetime.fromisoformat(str(part)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise refused_cursor() from None


def word_position_in(cursor: str, begin: str) -> tuple[str, str]:
    """Return the word, which begins with `begin`, and the id at which a page of a search ended.

    Raises:
        InputRefused: no search for this gave the cursor.
    """
    word, id = map(str, read_cursor(cursor, str, str))
    if not word.startswith(begin) or not is_word(word):
        raise refused_cursor()
    return word, id


def label_position_in(cursor: str) -> tuple[int, str]:
    """Return the label at which a page of people ended.

    Raises:
        InputRefused: no list of people gave the cursor.
    """
    kind, label = read_cursor(cursor, int, str)
    if kind not in range(LABEL_KINDS):
        raise refused_cursor()
    return int(kind), str(label)


def checked_search(search: str | None) -> str:
    """Return what is searched for; empty where nothing is.

    Raises:
        InputRefused: it is too long, or nothing that is stored could hold it.
    """
    text = (search or "").strip()
    if len(text) > _LONGEST_SEARCH or not storable(text):
        raise InputRefused({("search",): f"it must be text of at most {_LONGEST_SEARCH} characters"})
    return text


def refused_cursor() -> InputRefused:
    """Return the refusal of a cursor that no list gave."""
    return InputRefused({("after",): "it is no page of this list"})
