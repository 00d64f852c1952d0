"""Audit events: who did what, from where, in which request."""

from contextvars import ContextVar
from datetime import datetime
from typing import Any

from idp.crypto.opaque import mint_id
from idp.domain.audit import AuditAction, AuditEvent
from idp.observe.request_id import current_request_id

# The address of the caller, set by the outermost middleware; empty on the command line.
caller_address: ContextVar[str | None] = ContextVar("caller_address", default=None)
# The application that acts for the actor, while it does.
acting_application: ContextVar[str | None] = ContextVar("acting_application", default=None)


def audit_event(
    action: AuditAction, *, actor: str, target: str, now: datetime, succeeded: bool = True, **detail: Any
) -> AuditEvent:
    """Return an event with the caller's address and request id, and the application through which the actor acts."""
    through = acting_application.get()
    return AuditEvent(
        id=mint_id("a"),
        at=now,
        action=action,
        actor=actor,
        target=target,
        succeeded=succeeded,
        address=caller_address.get(),
        request_id=current_request_id(),
        detail=detail if through is None else {**detail, "through": through},
    )
