"""Who belongs to a lab, page by page: in the order of their labels, or by the beginnings of words.

Each page begins where the one before it ended, and is read off an index: a late page costs what the first one does.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    FromClause,
    Select,
    and_,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from idp.domain.lab import LabMember, LabRole, Membership
from idp.domain.user import User, UserStatus
from idp.store.columns import any_of, many
from idp.store.labs import MEMBERSHIPS, counting, memberships
from idp.store.repository import columns_of
from idp.store.users import USERS, users
from idp.store.words import end_of, user_words

# Where a page begins: behind a label of its kind, or behind a word and whoever has it.
LabelPosition = tuple[int, str]
WordPosition = tuple[str, str]

# Those with an address come first, then those with a user name alone, then those with neither (see `User.label`).
_LABELS: Sequence[tuple[ColumnElement[Any], ColumnElement[bool]]] = (
    (users.c.email, users.c.email.is_not(None)),
    (users.c.username, and_(users.c.email.is_(None), users.c.username.is_not(None))),
    (users.c.id, and_(users.c.email.is_(None), users.c.username.is_(None))),
)
LABEL_KINDS = len(_LABELS)
_ORDER = (users.c.email, users.c.username, users.c.id)
_MEMBER = columns_of(USERS, MEMBERSHIPS)
_JOINED = memberships.c.user_id == users.c.id


def label_position(user: User) -> LabelPosition:
    """Return where the page behind a user begins."""
    if user.email is not None:
        return 0, user.email
    return (2, user.id) if user.username is None else (1, user.username)


class Members:
    """The members of labs with their accounts."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def page(
        self, lab_id: str, *, after: LabelPosition | None = None, limit: int, role: LabRole | None = None
    ) -> list[LabMember]:
        """Return up to `limit` members behind a position, in the order of their labels."""
        kind, label = after or (0, "")
        found: list[LabMember] = []
        for column, of_this_kind in _LABELS[kind:]:
            if len(found) < limit:
                chosen = (
                    select(users.c.id)
                    .join(memberships, _JOINED)
                    .where(*_of(lab_id, role), of_this_kind, column > label)
                    .order_by(*_ORDER)
                    .limit(limit - len(found))
                    .subquery()
                )
                query = select(*_MEMBER).join_from(chosen, users, users.c.id == chosen.c.id).join(memberships, _JOINED)
                found += await self._many(query.where(*_of(lab_id)).order_by(*_ORDER))
            label = ""
        return found

    async def search(
        self,
        lab_id: str,
        words: Sequence[str],
        *,
        after: WordPosition | None = None,
        limit: int,
        role: LabRole | None = None,
    ) -> list[tuple[str, LabMember]]:
        """Return up to `limit` members behind a position who have a word with each of the beginnings.

        They come in the order of the word, returned with them, that begins with the first of `words`; a position must
        be one that was returned (see `words.is_word`).
        """
        first, *others = words
        word, user_id = user_words.c.word, user_words.c.user_id
        last_word, last_user_id = after or (first, "")
        behind = tuple_(word, user_id) > tuple_(_planned(last_word, word), literal(last_user_id))
        # Whoever has several such words is found by the first of them in the alphabet.
        earlier = user_words.alias()
        chosen = (
            select(word, user_id)
            .join(memberships, memberships.c.user_id == user_id)
            .where(*_of(lab_id, role))
            .where(behind, word < _planned(end_of(first), word))
            .where(~exists().where(*_begins(earlier, first), earlier.c.word < word))
            .where(*(exists().where(*_begins(user_words.alias(), other)) for other in others))
            .order_by(word, user_id)
            .limit(limit)
            .subquery()
        )
        query = select(chosen.c.word, *_MEMBER).join_from(chosen, users, users.c.id == chosen.c.user_id)
        query = query.join(memberships, _JOINED).where(*_of(lab_id)).order_by(chosen.c.word, chosen.c.user_id)
        return [(row[0], _member(row[1:])) for row in await self._connection.execute(query)]

    async def count(self, lab_id: str) -> int:
        """Return how many members a lab has."""
        query = select(func.count()).select_from(memberships).where(*_of(lab_id))
        return int((await self._connection.execute(query)).scalar_one())

    async def admins(self, lab_id: str, *, now: datetime, limit: int | None = None) -> list[LabMember]:
        """Return those who look after a lab now, in the order of their labels."""
        query = select(*_MEMBER).join_from(users, memberships, _JOINED).where(*_of(lab_id, LabRole.ADMIN))
        query = query.where(*counting(now), users.c.status == UserStatus.ACTIVE)
        return await self._many(query.order_by(*(column.nulls_last() for column in _ORDER)).limit(limit))

    async def have_another_admin(self, membership: Membership, *, now: datetime) -> bool:
        """Whether somebody else looks after the lab of a membership now, and for at least as long as that lasts."""
        ends = memberships.c.expires_at
        lasting: ColumnElement[bool] = ends.is_(None)
        if membership.expires_at is not None:
            lasting = or_(lasting, ends >= membership.expires_at)
        query = select(users.c.id).join(memberships, _JOINED).where(*_of(membership.lab_id, LabRole.ADMIN))
        query = query.where(users.c.id != membership.user_id, users.c.status == UserStatus.ACTIVE)
        return (await self._connection.execute(query.where(*counting(now), lasting).limit(1))).first() is not None

    async def find(self, lab_id: str, identifier: str) -> LabMember | None:
        """Return the member whom an id, an address or a user name means."""
        name = users.c.email if "@" in identifier else users.c.username
        other = users.alias()
        # Nobody takes another's place by a user name that is their id.
        named = and_(name == identifier.lower(), ~exists().where(other.c.id == identifier))
        query = select(*_MEMBER).join_from(users, memberships, _JOINED).where(memberships.c.lab_id == lab_id)
        found = await self._many(query.where(or_(users.c.id == identifier, named)))
        return found[0] if found else None

    async def of_users(self, lab_id: str, user_ids: Sequence[str]) -> list[LabMember]:
        """Return those of the users who are members."""
        dialect = self._connection.dialect.name
        query = select(*_MEMBER).join_from(users, memberships, _JOINED)
        query = query.where(memberships.c.lab_id == lab_id, any_of(users.c.id, "user_ids", dialect))
        return await self._many(query, {"user_ids": many(user_ids, dialect)})

    async def of_labs(self, user_id: str, lab_ids: Sequence[str], *, now: datetime) -> User | None:
        """Return the user with an id who belongs to one of the labs now."""
        dialect = self._connection.dialect.name
        query = select(*columns_of(USERS)).join(memberships, _JOINED).where(users.c.id == user_id, *counting(now))
        query = query.where(any_of(memberships.c.lab_id, "lab_ids", dialect)).limit(1)
        row = (await self._connection.execute(query, {"lab_ids": many(lab_ids, dialect)})).first()
        return None if row is None else USERS.from_row(row)

    async def given_by(self, lab_id: str, granted_by: str, *, after: str = "", limit: int) -> list[LabMember]:
        """Return up to `limit` members behind an id whose role somebody or some rule gave, in the order of ids."""
        query = select(*_MEMBER).join_from(users, memberships, _JOINED).where(*_of(lab_id), users.c.id > after)
        query = query.where(memberships.c.granted_by == granted_by)
        return await self._many(query.order_by(users.c.id).limit(limit))

    async def counts_by_giver(self, lab_id: str, givers: Sequence[str]) -> dict[str, int]:
        """Return how many members of a lab have their role of each of those who gave some, people or rules."""
        dialect = self._connection.dialect.name
        query = select(memberships.c.granted_by, func.count()).where(*_of(lab_id))
        query = query.where(any_of(memberships.c.granted_by, "givers", dialect)).group_by(memberships.c.granted_by)
        rows = await self._connection.execute(query, {"givers": many(givers, dialect)})
        return {str(giver): int(count) for giver, count in rows}

    async def _many(self, query: Select[Any], values: dict[str, Any] | None = None) -> list[LabMember]:
        return [_member(row) for row in await self._connection.execute(query, values)]


def _begins(other: FromClause, begin: str) -> list[ColumnElement[bool]]:
    """Return the conditions of a word of the same user that begins so."""
    word = other.c.word
    same = other.c.user_id == user_words.c.user_id
    return [same, word >= _planned(begin, word), word < _planned(end_of(begin), word)]


def _of(lab_id: str, role: LabRole | None = None) -> list[ColumnElement[bool]]:
    """Return the conditions of a lab's memberships."""
    conditions = [memberships.c.lab_id == _planned(lab_id, memberships.c.lab_id)]
    return conditions if role is None else [*conditions, memberships.c.role == _planned(role, memberships.c.role)]


def _planned(value: str, column: ColumnElement[Any]) -> BindParameter[Any]:
    """Let a value stand in the statement: PostgreSQL has one plan for five members and another for 100,000."""
    return bindparam(None, value, type_=column.type, literal_execute=True)


def _member(row: Sequence[Any]) -> LabMember:
    width = len(USERS.columns)
    return LabMember(user=USERS.from_row(row[:width]), membership=MEMBERSHIPS.from_row(row[width:]))
