"""Second factors, and sign-ins that wait for one."""

from datetime import datetime

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, String, Table, delete, func, select, update

from idp.domain.second_factor import PendingSignIn, RecoveryCode, Totp
from idp.store.columns import Instant, TupleOf, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository

totps = Table(
    "totps",
    metadata,
    Column("user_id", String(40), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("last_step", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("failed_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("last_used_at", Instant),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("user_id", String(40), ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("used_at", Instant),
)
Index(None, recovery_codes.c.user_id)

pending_sign_ins = Table(
    "pending_sign_ins",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("user_id", String(40), ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("browser", String(64), nullable=False),
    Column("method", String(40), nullable=False),
    Column("acr", String(200), nullable=False),
    Column("amr", TupleOf(), nullable=False),
    Column("interaction", String(64)),
    Column("attempts", Integer, nullable=False),
    Column("used_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)
Index(None, pending_sign_ins.c.user_id)
Index(None, pending_sign_ins.c.expires_at)

TOTPS = Mapping(Totp, totps)
RECOVERY_CODES = Mapping(RecoveryCode, recovery_codes)
PENDING_SIGN_INS = Mapping(PendingSignIn, pending_sign_ins)


class Totps(Repository[Totp]):
    """People's apps by whose they are; whoever changes one holds its user."""

    mapping = TOTPS


class RecoveryCodes(Repository[RecoveryCode]):
    """Recovery codes by hash."""

    mapping = RECOVERY_CODES

    async def use(self, hash: str, *, now: datetime) -> bool:
        """Use a code up; False when it was used, or there is none."""
        unused = update(recovery_codes).where(recovery_codes.c.hash == hash, recovery_codes.c.used_at.is_(None))
        return bool((await self.connection.execute(unused.values(used_at=now))).rowcount)

    async def count_left(self, user_id: str) -> int:
        """Return how many codes a person can still use."""
        query = select(func.count()).select_from(recovery_codes)
        left = query.where(recovery_codes.c.user_id == user_id, recovery_codes.c.used_at.is_(None))
        return (await self.connection.execute(left)).scalar_one()

    async def delete_of(self, user_id: str) -> None:
        """Delete all codes of a person."""
        await self.connection.execute(delete(recovery_codes).where(recovery_codes.c.user_id == user_id))


class PendingSignIns(Repository[PendingSignIn]):
    """Sign-ins that wait for a second factor, by the hash of their handle."""

    mapping = PENDING_SIGN_INS

    async def use(self, hash: str, *, now: datetime) -> bool:
        """Use one up within this transaction; False when it was used or is gone."""
        unused = update(pending_sign_ins).where(pending_sign_ins.c.hash == hash, pending_sign_ins.c.used_at.is_(None))
        return bool((await self.connection.execute(unused.values(used_at=now))).rowcount)

    async def delete_of(self, user_id: str) -> None:
        """Forget all that a person began."""
        await self.connection.execute(delete(pending_sign_ins).where(pending_sign_ins.c.user_id == user_id))
