"""A person with an account."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class UserStatus(StrEnum):
    """Whether the account may be used."""

    ACTIVE = "active"
    DISABLED = "disabled"


class AdminRole(StrEnum):
    """Roles in the administration of the installation; roles in labs are `lab.LabRole`."""

    SUPER_ADMIN = "super_admin"
    ADMIN = "admin"
    VIEWER = "viewer"


# OpenID Connect Core §5.1 without `sub`, what has a column of its own, and what follows from `updated_at`.
PROFILE_CLAIMS = (
    "given_name",
    "family_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "phone_number",
    "phone_number_verified",
    "address",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An account; `profile` holds the further standard claims by their own names (OpenID Connect Core §5.1)."""

    id: str
    email: str | None
    created_at: datetime
    updated_at: datetime
    username: str | None = None
    email_verified: bool = False
    name: str | None = None
    profile: Mapping[str, Any] = field(default_factory=dict)
    roles: tuple[AdminRole, ...] = ()
    status: UserStatus = UserStatus.ACTIVE

    @property
    def active(self) -> bool:
        """Whether the person may sign in and use what was issued."""
        return self.status is UserStatus.ACTIVE

    @property
    def label(self) -> str:
        """How pages call the person: the address, else the user name."""
        return self.email or self.username or self.id
