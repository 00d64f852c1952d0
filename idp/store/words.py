"""The words by which people are found: the beginnings of those in their address, user name and name.

An index of words answers a search among 150,000 people at once, whether it finds all of them or nobody, which neither
database can do for texts that merely contain something.
"""

import re
import unicodedata
from collections.abc import Sequence

from sqlalchemy import Column, ForeignKey, Index, String, Table, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from idp.store.columns import metadata

MAX_WORD_CHARS = 40
# Whoever searches for more is told as much as by the longest of them.
_MAX_WORDS_SOUGHT = 6
_WORD = re.compile(r"[^\W_]+")
# Byte by byte on both databases: what begins with some letters stands together then.
_WORD_TYPE = String(MAX_WORD_CHARS).with_variant(String(MAX_WORD_CHARS, collation="C"), "postgresql")
_LAST = "\U0010ffff"

user_words = Table(
    "user_words",
    metadata,
    Column("user_id", String(40), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("word", _WORD_TYPE, primary_key=True),
)
Index(None, user_words.c.word, user_words.c.user_id)


def words_of(*texts: str | None) -> frozenset[str]:
    """Return the words of texts, without case and accents."""
    words: set[str] = set()
    for text in texts:
        if text is not None:
            bare = unicodedata.normalize("NFKD", text.casefold())
            letters = "".join(mark for mark in bare if unicodedata.category(mark) != "Mn")
            words.update(word[:MAX_WORD_CHARS] for word in _WORD.findall(letters.casefold()))
    return frozenset(words)


def sought(text: str) -> Sequence[str]:
    """Return the words of a search, the longest and so mostly the rarest first."""
    return sorted(words_of(text), key=lambda word: (-len(word), word))[:_MAX_WORDS_SOUGHT]


def is_word(text: str) -> bool:
    """Whether a text may be one of the words."""
    return len(text) <= MAX_WORD_CHARS and _WORD.fullmatch(text) is not None


def end_of(prefix: str) -> str:
    """Return what stands behind every word with this beginning."""
    return prefix + _LAST


async def index_words(connection: AsyncConnection, user_id: str, words: frozenset[str], *, new: bool = False) -> None:
    """Let a user be found by exactly these words; a new one has none yet."""
    held: set[str] = set()
    if not new:
        held = set(await connection.scalars(select(user_words.c.word).where(user_words.c.user_id == user_id)))
    if gone := held - words:
        await connection.execute(delete(user_words).where(user_words.c.user_id == user_id, user_words.c.word.in_(gone)))
    if added := words - held:
        await connection.execute(insert(user_words), [{"user_id": user_id, "word": word} for word in sorted(added)])
