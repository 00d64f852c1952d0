"""Labs and memberships as they are written down: in forms, files, calls of the API and on the command line."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator

from idp.crypto.opaque import mint_id
from idp.domain.acr import ACR_LADDER
from idp.domain.lab import RESERVED_SLUGS, Lab, LabRole, LabStatus, ManagedBy, Membership, is_lab_slug
from idp.domain.lab_rule import given_by_rule
from idp.domain.user import User
from idp.services.input import Begins, Ends, Input, Lines, Text, WebAddress


def check_slug(slug: str) -> str:
    """Return the slug of a lab.

    Raises:
        ValueError: no lab may be called that.
    """
    if slug in RESERVED_SLUGS:
        raise ValueError("it is reserved")
    if not is_lab_slug(slug):
        raise ValueError("it must be at most 39 lower-case letters and digits, with single hyphens between them")
    return slug


def _check_acr(acr: str) -> str:
    if acr not in ACR_LADDER:
        raise ValueError(f"it must be {' or '.join(ACR_LADDER)}")
    return acr


def _check_name(name: str) -> str:
    if len(name.encode()) > 200:
        raise ValueError("it must have at most 200 bytes in UTF-8: letters with accents take two, emoji four")
    # Names stand in mails, where programs make links of what looks like one.
    if any(mark in name.lower() for mark in ("://", "www.")):
        raise ValueError("it must not hold an address: neither :// nor www.")
    return name


_Name = Annotated[Text, AfterValidator(_check_name)]
_Acr = Annotated[str, AfterValidator(_check_acr)]


class LabInput(Input):
    """A lab as it is written down."""

    slug: Annotated[str, AfterValidator(check_slug)]
    name: _Name
    description: Lines | None = None
    homepage: WebAddress | None = None
    contact: Text | None = None
    logo_uri: WebAddress | None = None
    admin_acr: _Acr | None = None
    accepts_join_requests: bool = False
    status: LabStatus = LabStatus.ACTIVE

    def lab(self, present: Lab | None, *, now: datetime, managed_by: ManagedBy = ManagedBy.ADMIN) -> Lab:
        """Return the lab: a new one, or `present` as it is written down here; what is absent is at its default."""
        base = present or Lab(id=mint_id("lab"), slug=self.slug, name=self.name, created_at=now, managed_by=managed_by)
        return replace(base, **dict(self))


class LabChanges(Input):
    """What is to become different about a lab; what is not given stays as it is, and None clears it."""

    name: _Name = Field(default="", validate_default=False)
    description: Lines | None = None
    homepage: WebAddress | None = None
    contact: Text | None = None
    logo_uri: WebAddress | None = None
    admin_acr: _Acr | None = None
    accepts_join_requests: bool = False
    status: LabStatus = LabStatus.ACTIVE

    def lab(self, present: Lab) -> Lab:
        """Return the lab as it becomes."""
        return replace(present, **{name: getattr(self, name) for name in self.model_fields_set})


class MembershipInput(Input):
    """A membership as it is written down; a date ends or begins that day in UTC."""

    lab: str
    user: Text
    role: LabRole = LabRole.MEMBER
    not_before: Begins | None = None
    expires_at: Ends | None = None

    @field_validator("expires_at")
    @classmethod
    def _check_order(cls, expires_at: datetime | None, info: Any) -> datetime | None:
        not_before = info.data.get("not_before")
        if expires_at is not None and not_before is not None and expires_at <= not_before:
            raise ValueError("it must be later than not_before")
        return expires_at

    def membership(
        self,
        present: Membership | None,
        lab: Lab,
        user: User,
        *,
        now: datetime,
        granted_by: str,
        managed_by: ManagedBy = ManagedBy.ADMIN,
    ) -> Membership:
        """Return the membership: a new one, or `present` as it is written down here."""
        base = present or Membership(
            lab_id=lab.id, user_id=user.id, role=self.role, created_at=now, granted_by=granted_by, managed_by=managed_by
        )
        # Whoever gave the role that somebody has now; what somebody writes down does not end with a rule.
        kept = base.role is self.role and not given_by_rule(base.granted_by)
        giver = base.granted_by if kept else granted_by
        return replace(base, role=self.role, not_before=self.not_before, expires_at=self.expires_at, granted_by=giver)
