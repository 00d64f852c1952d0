"""Authorization requests that wait for their user."""

from sqlalchemy import Column, ForeignKey, Index, String, Table, bindparam, update

from idp.domain.interaction import Interaction
from idp.store.columns import Document, Instant, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository

interactions = Table(
    "interactions",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("client_id", String(2048), ForeignKey("clients.client_id", ondelete="CASCADE"), nullable=False),
    Column("params", Document, nullable=False),
    Column("session_id", String(64)),
    Column("selected_session_id", String(64)),
    Column("user_id", String(40), ForeignKey("users.id", ondelete="CASCADE")),
    Column("consented_at", Instant),
    Column("used_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)
Index(None, interactions.c.expires_at)

INTERACTIONS = Mapping(Interaction, interactions)
SIGN_IN = (
    update(interactions)
    .where(interactions.c.hash == bindparam("handle"), interactions.c.used_at.is_(None))
    .values(session_id=bindparam("sid"), selected_session_id=bindparam("chosen"))
)


def sign_in_values(hash: str, session_id: str) -> dict[str, str]:
    """Return the parameters of `SIGN_IN`."""
    return {"handle": hash, "sid": session_id, "chosen": session_id}


class Interactions(Repository[Interaction]):
    """Interactions by the hash of their handle."""

    mapping = INTERACTIONS

    async def sign_in(self, hash: str, *, session_id: str) -> None:
        """Remember whose sign-in happened within this request, who is thereby chosen among several accounts.

        Nothing happens when the request is gone or answered.
        """
        await self.connection.execute(SIGN_IN, sign_in_values(hash, session_id))

    async def select_session(self, hash: str, *, session_id: str) -> None:
        """Remember which of several accounts was chosen; nothing happens when the request is gone or answered."""
        query = update(interactions).where(interactions.c.hash == hash, interactions.c.used_at.is_(None))
        await self.connection.execute(query.values(selected_session_id=session_id))
