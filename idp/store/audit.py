"""The audit log: rows are inserted and never changed."""

from sqlalchemy import Boolean, Column, Index, String, Table

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

AUDIT_EVENTS = Mapping(AuditEvent, audit_events)


class AuditEvents(Repository[AuditEvent]):
    """Events by id; services only ever `add`."""

    mapping = AUDIT_EVENTS
