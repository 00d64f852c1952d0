"""What the API shows of labs and of whoever belongs to them; the document's schemas are made of these models."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict

from idp.domain import client, invitation, join_request, lab, lab_grant
from idp.domain.user import User as Account
from idp.services import lab_applications


class Shown(BaseModel):
    """Base of what is shown."""

    # Built when the first one is shown: most servers are never asked for some of them.
    model_config = ConfigDict(from_attributes=True, frozen=True, defer_build=True)


class Lab(Shown):
    """A lab."""

    id: str
    slug: str
    name: str
    description: str | None
    homepage: str | None
    contact: str | None
    logo_uri: str | None
    admin_acr: str | None
    accepts_join_requests: bool
    status: lab.LabStatus
    created_at: datetime


class User(Shown):
    """Who somebody is."""

    id: str
    email: str | None
    username: str | None
    name: str | None


class Member(Shown):
    """Somebody's membership in a lab."""

    user: User
    role: lab.LabRole
    not_before: datetime | None
    expires_at: datetime | None
    granted_by: str | None
    created_at: datetime

    @classmethod
    def of(cls, member: lab.LabMember) -> Self:
        """Return what is shown of a member."""
        held = member.membership
        return cls(
            user=User.model_validate(member.user),
            role=held.role,
            not_before=held.not_before,
            expires_at=held.expires_at,
            granted_by=held.granted_by,
            created_at=held.created_at,
        )


class Invitation(Shown):
    """An invitation into a lab."""

    id: str
    email: str | None
    role: lab.LabRole
    status: invitation.InvitationStatus
    invited_by: str
    created_at: datetime
    expires_at: datetime
    ends_at: datetime | None

    @classmethod
    def of(cls, given: invitation.Invitation, *, now: datetime) -> Self:
        """Return what is shown of an invitation at `now`; never the hash of its token."""
        return cls(
            id=given.id,
            email=given.email,
            role=given.role,
            status=given.status(now=now),
            invited_by=given.invited_by,
            created_at=given.created_at,
            expires_at=given.expires_at,
            ends_at=given.ends_at,
        )


class OpenedInvitation(Invitation):
    """A new invitation with its link, which is told this once."""

    url: str


class JoinRequest(Shown):
    """Somebody's wish to join a lab."""

    user: User
    message: str | None
    created_at: datetime

    @classmethod
    def of(cls, asked: join_request.JoinRequest, asker: Account) -> Self:
        """Return what is shown of a request."""
        return cls(user=User.model_validate(asker), message=asked.message, created_at=asked.created_at)


class ServiceGrant(Shown):
    """A role in a lab for a service."""

    client_id: str
    client_name: str
    role: lab.LabRole
    expires_at: datetime
    granted_by: str
    created_at: datetime

    @classmethod
    def of(cls, given: lab_grant.LabGrant, service: client.Client) -> Self:
        """Return what is shown of a grant."""
        return cls(
            client_id=given.client_id,
            client_name=service.client_name,
            role=given.role,
            expires_at=given.expires_at,
            granted_by=given.granted_by,
            created_at=given.created_at,
        )


class Application(Shown):
    """An application that may be told of a lab; `named` is whether by the lab's name, or as one of all labs."""

    client_id: str
    client_name: str
    named: bool

    @classmethod
    def of(cls, application: lab_applications.LabApplication) -> Self:
        """Return what is shown of an application."""
        seen = application.client
        return cls(client_id=seen.client_id, client_name=seen.client_name, named=application.named)


class LabPage(Shown):
    """A part of the labs; `next` is the `after` of the part that follows, null at the end."""

    items: tuple[Lab, ...]
    next: str | None


class MemberPage(Shown):
    """A part of a lab's members; `next` is the `after` of the part that follows, null at the end."""

    items: tuple[Member, ...]
    next: str | None


class InvitationPage(Shown):
    """A part of the invitations into a lab; `next` is the `after` of the part that follows, null at the end."""

    items: tuple[Invitation, ...]
    next: str | None


class JoinRequestPage(Shown):
    """A part of the requests that wait; `next` is the `after` of the part that follows, null at the end."""

    items: tuple[JoinRequest, ...]
    next: str | None


class ServiceGrants(Shown):
    """What a lab gives to services."""

    items: tuple[ServiceGrant, ...]


class Applications(Shown):
    """The applications that may be told of a lab."""

    items: tuple[Application, ...]
