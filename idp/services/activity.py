"""What happened in somebody's account, as its owner is told: what they did, and what was done to it."""

from collections.abc import Sequence

from idp.domain.audit import AuditAction, AuditEvent
from idp.domain.user import User
from idp.store.store import Store

MOST = 100
# Whose target is a session or an application.
BY_THEM = frozenset(
    {
        AuditAction.LOGIN_SUCCEEDED,
        AuditAction.LOGOUT,
        AuditAction.CONSENT_GIVEN,
        AuditAction.CONSENT_DENIED,
        AuditAction.CONSENT_CHANGED,
        AuditAction.CONSENT_WITHDRAWN,
    }
)
# Whose target is the account, whoever did it. All else is about labs or the installation, or follows from these.
TO_THEM = frozenset(
    {
        AuditAction.LOGIN_FAILED,
        AuditAction.CLAIMS_PREVIEWED,
        AuditAction.UPSTREAM_TOKEN_RELEASED,
        AuditAction.USER_CREATED,
        AuditAction.USER_UPDATED,
        AuditAction.USER_DISABLED,
        AuditAction.USER_ENABLED,
        AuditAction.PASSWORD_SET,
        AuditAction.ROLE_GRANTED,
        AuditAction.ROLE_REVOKED,
        AuditAction.LINKED_ACCOUNT_ADDED,
        AuditAction.LINKED_ACCOUNT_REMOVED,
        AuditAction.SIGN_IN_LINK_CREATED,
        AuditAction.SECOND_FACTOR_ADDED,
        AuditAction.SECOND_FACTOR_REMOVED,
        AuditAction.SECOND_FACTOR_FAILED,
        AuditAction.SECOND_FACTORS_RESET,
        AuditAction.RECOVERY_CODES_CREATED,
        AuditAction.RECOVERY_CODE_USED,
    }
)


class Activity:
    """Reads the audit log for those whom it is about."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def of(self, user: User) -> Sequence[AuditEvent]:
        """Return the last events in somebody's account, the last one first."""
        async with self._store.read() as tx:
            events = [
                *await tx.audit_events.by(user.id, BY_THEM, limit=MOST),
                *await tx.audit_events.to(user.id, TO_THEM, limit=MOST),
            ]
        return sorted(events, key=lambda event: (event.at, event.id), reverse=True)[:MOST]
