"""Labs and their memberships."""

from datetime import datetime

from sqlalchemy import Column, ForeignKey, Index, String, Table, Text, select

from idp.domain.lab import Lab, LabMembership, LabRole, LabStatus, ManagedBy, Membership
from idp.store.columns import Instant, OneOf, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository, columns_of

labs = Table(
    "labs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("slug", String(40), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("description", Text),
    Column("homepage", Text),
    Column("contact", Text),
    Column("status", OneOf(LabStatus), nullable=False),
    Column("managed_by", OneOf(ManagedBy), nullable=False),
    Column("created_at", Instant, nullable=False),
)

# A slug is never reissued: what a relying party once knew as `bio` must not become another lab.
lab_tombstones = Table(
    "lab_tombstones",
    metadata,
    Column("slug", String(40), primary_key=True),
    Column("deleted_at", Instant, nullable=False),
)

memberships = Table(
    "memberships",
    metadata,
    Column("lab_id", String(40), ForeignKey("labs.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", String(40), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("role", OneOf(LabRole), nullable=False),
    Column("not_before", Instant),
    Column("expires_at", Instant),
    Column("granted_by", String(200)),
    Column("managed_by", OneOf(ManagedBy), nullable=False),
    Column("created_at", Instant, nullable=False),
)
Index(None, memberships.c.user_id)

LABS = Mapping(Lab, labs)
MEMBERSHIPS = Mapping(Membership, memberships)


class Labs(Repository[Lab]):
    """Labs by id or slug."""

    mapping = LABS

    async def find_by_slug(self, slug: str) -> Lab | None:
        """Return the lab with this slug."""
        return await self._one(self._select().where(labs.c.slug == slug))

    async def slug_was_used(self, slug: str) -> bool:
        """Whether a deleted lab had this slug."""
        query = select(lab_tombstones.c.slug).where(lab_tombstones.c.slug == slug)
        return (await self.connection.execute(query)).first() is not None

    async def bury(self, lab: Lab, *, now: datetime) -> None:
        """Delete a lab with its memberships and keep its slug from being issued again."""
        await self.connection.execute(lab_tombstones.insert().values(slug=lab.slug, deleted_at=now))
        await self.delete(lab.id)


class Memberships(Repository[Membership]):
    """Memberships by lab and user."""

    mapping = MEMBERSHIPS

    async def of_user(self, user_id: str) -> list[LabMembership]:
        """Return a user's memberships with their labs, in the order of the slugs."""
        query = select(*columns_of(LABS, MEMBERSHIPS)).join_from(labs, memberships)
        rows = await self.connection.execute(query.where(memberships.c.user_id == user_id).order_by(labs.c.slug))
        return [lab_membership(row) for row in rows]


def lab_membership(row: object) -> LabMembership:
    """Return the value of a row that holds a lab's columns, then a membership's."""
    cells = tuple(row)  # type: ignore[arg-type, var-annotated]  # SQLAlchemy's Row is a tuple of unknown width
    width = len(LABS.columns)
    return LabMembership(lab=LABS.from_row(cells[:width]), membership=MEMBERSHIPS.from_row(cells[width:]))
