"""The audit log: rows are inserted and never changed."""

from collections.abc import Collection, Sequence

from sqlalchemy import Boolean, Column, ColumnElement, Index, String, Table

from idp.domain.audit import AuditAction, AuditEvent
from idp.store.columns import Document, Instant, OneOf, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository

audit_events = Table(
    "audit_events",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("action", OneOf(AuditAction), nullable=False),
    Column("actor", String(2048), nullable=False),
    Column("target", String(2048), nullable=False),
    Column("succeeded", Boolean, nullable=False),
    Column("address", String(45)),
    Column("request_id", String(64)),
    Column("detail", Document, nullable=False),
)
Index(None, audit_events.c.at)
Index(None, audit_events.c.actor, audit_events.c.at)
Index(None, audit_events.c.target, audit_events.c.at)

AUDIT_EVENTS = Mapping(AuditEvent, audit_events)


class AuditEvents(Repository[AuditEvent]):
    """Events by id; services only ever `add`."""

    mapping = AUDIT_EVENTS

    async def by(self, actor: str, actions: Collection[AuditAction], *, limit: int) -> Sequence[AuditEvent]:
        """Return the last events of some kinds that somebody caused, the last one first."""
        return await self._last(audit_events.c.actor == actor, actions, limit)

    async def to(self, target: str, actions: Collection[AuditAction], *, limit: int) -> Sequence[AuditEvent]:
        """Return the last events of some kinds that happened to something, the last one first."""
        return await self._last(audit_events.c.target == target, actions, limit)

    async def _last(
        self, chosen: ColumnElement[bool], actions: Collection[AuditAction], limit: int
    ) -> Sequence[AuditEvent]:
        query = self._select().where(chosen, audit_events.c.action.in_(actions))
        return await self._many(query.order_by(audit_events.c.at.desc(), audit_events.c.id.desc()).limit(limit))
