"""Labs and who belongs to them."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from idp.domain.user import User

_SLUG = re.compile(r"[a-z0-9](?:-?[a-z0-9]){0,38}")
RESERVED_SLUGS = frozenset({"system", "admin", "root", "all", "none", "me"})


class LabRole(StrEnum):
    """A role in a lab; each role contains those below it: admin ⊃ member ⊃ viewer."""

    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"

    # An enumeration's own is written in Python, and hundreds of roles are looked up for one token.
    __hash__ = str.__hash__

    @property
    def expanded(self) -> tuple["LabRole", ...]:
        """The role and all that it contains, highest first."""
        return _EXPANDED[self]

    def contains(self, other: "LabRole") -> bool:
        """Whether whoever holds this role holds the other one as well."""
        return other in _EXPANDED[self]

    def capped(self, cap: "LabRole") -> "LabRole":
        """The lower of the two roles."""
        return _LOWER[self, cap]


_EXPANDED = {role: tuple(LabRole)[position:] for position, role in enumerate(LabRole)}
_LOWER = {(role, other): other if other in _EXPANDED[role] else role for role in LabRole for other in LabRole}


class LabStatus(StrEnum):
    """Whether the lab takes part; an archived one is released to nobody."""

    ACTIVE = "active"
    ARCHIVED = "archived"


class ManagedBy(StrEnum):
    """Who created a row: an apply file (`--prune` removes only such), an administrator, or a client itself.

    What comes from the settings has no row.
    """

    APPLY = "apply"
    ADMIN = "admin"
    REGISTRATION = "registration"
    SETTINGS = "settings"


def is_lab_slug(text: str) -> bool:
    """Whether `text` may name a lab: at most 39 lower-case letters and digits, single hyphens between, not reserved."""
    return _SLUG.fullmatch(text) is not None and text not in RESERVED_SLUGS


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A research lab; the slug is for display and never changes or returns, relying parties key on the id.

    Where `admin_acr` is set, whoever signed in more weakly than that counts as a member, not as an admin.
    `accepts_join_requests` shows the profile to everybody who is signed in, and lets them ask to join;
    `join_requests_told_at` is when its admins were last mailed that somebody does.
    """

    id: str
    slug: str
    name: str
    created_at: datetime
    description: str | None = None
    homepage: str | None = None
    contact: str | None = None
    logo_uri: str | None = None
    admin_acr: str | None = None
    accepts_join_requests: bool = False
    join_requests_told_at: datetime | None = None
    status: LabStatus = LabStatus.ACTIVE
    managed_by: ManagedBy = ManagedBy.ADMIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """One user's role in one lab, for a time; the time is judged on read.

    `reminded_of` is the end of which those concerned were told last, so that they are told once.
    """

    lab_id: str
    user_id: str
    role: LabRole
    created_at: datetime
    not_before: datetime | None = None
    expires_at: datetime | None = None
    granted_by: str | None = None
    managed_by: ManagedBy = ManagedBy.ADMIN
    reminded_of: datetime | None = None

    def valid(self, *, now: datetime) -> bool:
        """Whether the membership counts at `now`."""
        return (self.not_before is None or self.not_before <= now) and (
            self.expires_at is None or now < self.expires_at
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LabMembership:
    """A membership together with its lab, as claims are made of it."""

    lab: Lab
    membership: Membership


@dataclass(frozen=True, slots=True, kw_only=True)
class LabMember:
    """A membership together with its user, as a lab lists it."""

    user: User
    membership: Membership
