"""Users and their credentials."""

from collections.abc import Iterable

from sqlalchemy import Boolean, Column, ForeignKey, Index, String, Table, Text, cast, func, or_, select

from idp.domain.credential import Credential, CredentialKind
from idp.domain.user import AdminRole, User, UserStatus
from idp.store.columns import Document, Instant, OneOf, TupleOf, any_of, many, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository
from idp.store.words import index_words, words_of

users = Table(
    "users",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("email", String(320), unique=True),
    Column("email_verified", Boolean, nullable=False),
    Column("username", String(100), unique=True),
    Column("name", String(300)),
    Column("profile", Document, nullable=False),
    Column("roles", TupleOf(AdminRole), nullable=False),
    Column("status", OneOf(UserStatus), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
)
# In the order of their labels: lists of people are read off it.
Index(None, users.c.email, users.c.username, users.c.id)

credentials = Table(
    "credentials",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("user_id", String(40), ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("kind", OneOf(CredentialKind), nullable=False),
    Column("secret", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("last_used_at", Instant),
)
Index(None, credentials.c.user_id, credentials.c.kind)

USERS = Mapping(User, users)
CREDENTIALS = Mapping(Credential, credentials)


class Users(Repository[User]):
    """People by id, address or user name; both are stored and looked up in lower case."""

    mapping = USERS

    async def find_by_identifier(self, identifier: str) -> User | None:
        """Return whom a sign-in form means: an address holds an `@`, a user name never does."""
        column = users.c.email if "@" in identifier else users.c.username
        return await self._one(self._select().where(column == identifier.lower()))

    async def find_by_identifiers(self, identifiers: Iterable[str]) -> list[User]:
        """Return those whom lower-case addresses and user names mean."""
        names = sorted(set(identifiers))
        values, dialect = many(names, self.connection.dialect.name), self.connection.dialect.name
        query = self._select().where(
            or_(any_of(users.c.email, "names", dialect), any_of(users.c.username, "names", dialect))
        )
        rows = await self.connection.execute(query, {"names": values})
        return [USERS.from_row(row) for row in rows]

    async def add(self, value: User) -> None:
        """Insert the user, and let them be found by name.

        Raises:
            Conflict: see `Repository.add`.
        """
        await super().add(value)
        await index_words(self.connection, value.id, _words(value), new=True)

    async def save(self, value: User) -> None:
        """Overwrite the user, and let them be found by their new name.

        Raises:
            NotFound, Conflict: see `Repository.save`.
        """
        await super().save(value)
        await index_words(self.connection, value.id, _words(value))

    async def any_with_role(self, role: AdminRole) -> bool:
        """Whether somebody holds the role; the few who hold any are read and judged here, alike on both databases."""
        holders = await self.connection.execute(select(users.c.roles).where(func.length(cast(users.c.roles, Text)) > 2))
        return any(role in roles for (roles,) in holders)


def _words(user: User) -> frozenset[str]:
    return words_of(user.email, user.username, user.name)


class Credentials(Repository[Credential]):
    """What proves a user."""

    mapping = CREDENTIALS

    async def find_of(self, user_id: str, kind: CredentialKind) -> Credential | None:
        """Return the user's newest credential of a kind."""
        query = self._select().where(credentials.c.user_id == user_id, credentials.c.kind == kind)
        return await self._one(query.order_by(credentials.c.created_at.desc()).limit(1))
