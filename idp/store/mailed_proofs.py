"""Codes and links that were mailed, or would have been."""

from datetime import datetime

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, String, Table, func, select, text, update

from idp.domain.mailed_proof import MailedProof, ProofPurpose
from idp.store.columns import Instant, OneOf, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository

mailed_proofs = Table(
    "mailed_proofs",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("purpose", OneOf(ProofPurpose), nullable=False),
    Column("address", String(64), nullable=False),
    Column("browser", String(64), nullable=False),
    Column("user_id", String(40), ForeignKey("users.id", ondelete="CASCADE")),
    Column("sealed", LargeBinary, nullable=False),
    Column("secret", String(64), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("sends", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("sent_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("used_at", Instant),
)
Index(None, mailed_proofs.c.address, mailed_proofs.c.sent_at)
Index(None, mailed_proofs.c.user_id)
Index(None, mailed_proofs.c.expires_at)

MAILED_PROOFS = Mapping(MailedProof, mailed_proofs)


class MailedProofs(Repository[MailedProof]):
    """Proofs by the hash of their handle or link."""

    mapping = MAILED_PROOFS

    async def hold_address(self, address: str) -> None:
        """Let one transaction at a time count and mail what is for an address; SQLite has one writer anyhow."""
        if self.connection.dialect.name == "postgresql":
            held = text("SELECT pg_advisory_xact_lock(hashtextextended(:address, 0))")
            await self.connection.execute(held, {"address": address})

    async def count_sent(self, address: str, *, since: datetime) -> tuple[int, datetime | None]:
        """Return how many mails were asked for an address since a time, and when the first of those proofs was sent."""
        query = select(func.sum(mailed_proofs.c.sends), func.min(mailed_proofs.c.sent_at))
        query = query.where(mailed_proofs.c.address == address, mailed_proofs.c.sent_at > since)
        row = (await self.connection.execute(query)).one()
        return int(row[0] or 0), row[1]

    async def use(self, hash: str, *, now: datetime) -> bool:
        """Use a proof up within this transaction, and forget what it was for; False when it was used or is gone."""
        unused = update(mailed_proofs).where(mailed_proofs.c.hash == hash, mailed_proofs.c.used_at.is_(None))
        return bool((await self.connection.execute(unused.values(used_at=now, sealed=b""))).rowcount)

    async def end_of_user(self, user_id: str, *, now: datetime) -> None:
        """Let none that is out for somebody count any more."""
        unused = update(mailed_proofs).where(mailed_proofs.c.user_id == user_id, mailed_proofs.c.used_at.is_(None))
        await self.connection.execute(unused.values(used_at=now, sealed=b""))
