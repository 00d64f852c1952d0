"""What a lab gives to a service: a client that acts for itself (RFC 6749 §4.4) may say that it belongs to the lab."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from idp.domain.lab import LabRole, ManagedBy, Membership

MAX_GRANT = timedelta(days=366)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabGrant:
    """A role in a lab for a client, for a year at most; `granted_by` is who gave it."""

    client_id: str
    lab_id: str
    role: LabRole
    granted_by: str
    created_at: datetime
    expires_at: datetime
    managed_by: ManagedBy = ManagedBy.ADMIN

    def valid(self, *, now: datetime) -> bool:
        """Whether the grant counts at `now`."""
        return now < self.expires_at

    @property
    def membership(self) -> Membership:
        """The grant as a membership, of which claims are made alike."""
        return Membership(
            lab_id=self.lab_id,
            user_id=self.client_id,
            role=self.role,
            created_at=self.created_at,
            expires_at=self.expires_at,
            granted_by=self.granted_by,
        )
