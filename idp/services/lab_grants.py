"""What labs give to services: a client that acts for itself may say that it belongs to a lab (RFC 6749 §4.4)."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator

from idp.domain.audit import AuditAction
from idp.domain.client import Client, GrantType
from idp.domain.clock import Clock
from idp.domain.lab import Lab, LabRole, ManagedBy
from idp.domain.lab_grant import MAX_GRANT, LabGrant
from idp.services.audit import audit_event
from idp.services.client_fields import ClientId
from idp.services.clients import Clients
from idp.services.input import Ends, Input, InputRefused
from idp.services.lab_input import check_slug
from idp.services.lab_members import locked_lab
from idp.services.lab_permissions import Actor, check_not_its_own, check_open, managed_lab
from idp.store.errors import NotFound
from idp.store.store import Store

_USUAL = timedelta(days=365)
_RENEWED = timedelta(days=30)


class ServiceRole(Input):
    """A role in a lab as a client has it in an apply file; a mere date ends with that day."""

    lab: Annotated[str, AfterValidator(check_slug)]
    role: LabRole = LabRole.MEMBER
    expires_at: Ends | None = None

    def grant(
        self,
        present: LabGrant | None,
        lab: Lab,
        client_id: str,
        *,
        now: datetime,
        granted_by: str,
        managed_by: ManagedBy = ManagedBy.ADMIN,
    ) -> LabGrant:
        """Return the grant: a new one, or `present` as it is written down here.

        Where nothing is said of its end, that is a year away; the one that it has stays, unless it is near.

        Raises:
            InputRefused: it would last for more than a year.
        """
        if self.expires_at is not None:
            if self.expires_at > now + MAX_GRANT:
                raise InputRefused({("expires_at",): "it must be within a year"})
            expires_at = self.expires_at
        elif present is not None and present.expires_at > now + _RENEWED:
            expires_at = present.expires_at
        else:
            expires_at = now + _USUAL
        base = present or LabGrant(
            client_id=client_id,
            lab_id=lab.id,
            role=self.role,
            granted_by=granted_by,
            created_at=now,
            expires_at=expires_at,
            managed_by=managed_by,
        )
        return replace(base, role=self.role, expires_at=expires_at)


class LabGrantInput(ServiceRole):
    """A role in a lab for a service."""

    client_id: ClientId


class LabGrants:
    """Lets a lab's admins give services a role in it."""

    def __init__(self, store: Store, clients: Clients, clock: Clock) -> None:
        self._store = store
        self._clients = clients
        self._clock = clock

    async def give(self, actor: Actor, given: LabGrantInput) -> LabGrant:
        """Give a service a role, or change the one that it has.

        Raises:
            NotFound: there is no such lab for the actor.
            Forbidden: they may not give this role, or the lab is archived.
            InputRefused: there is no such service, or the end is in the past or more than a year away.
        """
        client = await self._clients.find(given.client_id)
        async with self._store.write() as tx:
            now = self._clock()
            lab = await locked_lab(tx, actor, given.lab, now=now, granting=given.role)
            check_open(lab)
            check_not_its_own(actor, given.client_id)
            if client is None or GrantType.CLIENT_CREDENTIALS not in client.grant_types:
                raise InputRefused({("client_id",): "there is no service with this client_id that acts for itself"})
            if given.expires_at is not None and given.expires_at <= now:
                raise InputRefused({("expires_at",): "it is in the past"})
            present = await tx.lab_grants.find(client.client_id, lab.id)
            grant = given.grant(present, lab, client.client_id, now=now, granted_by=actor.id)
            if grant == present:
                return present
            grant = replace(grant, granted_by=actor.id)
            if present is None:
                await tx.lab_grants.add(grant)
            else:
                await tx.lab_grants.save(grant)
            action = AuditAction.LAB_GRANT_CREATED if present is None else AuditAction.LAB_GRANT_UPDATED
            event = audit_event(
                action, actor=actor.id, target=client.client_id, now=now, lab=lab.id, role=str(grant.role)
            )
            await tx.audit_events.add(event)
        return grant

    async def withdraw(self, actor: Actor, slug: str, client_id: str) -> None:
        """Take back what the lab gave to a service.

        Raises:
            NotFound: there is no such lab for the actor, or it gave this service nothing.
            Forbidden: the actor does not look after the lab.
        """
        async with self._store.write() as tx:
            now = self._clock()
            lab = await locked_lab(tx, actor, slug, now=now)
            if not await tx.lab_grants.delete(client_id, lab.id):
                raise NotFound(f"{slug} has no grant for {client_id}")
            event = audit_event(AuditAction.LAB_GRANT_DELETED, actor=actor.id, target=client_id, now=now, lab=lab.id)
            await tx.audit_events.add(event)

    async def find(self, actor: Actor, slug: str, client_id: str) -> tuple[LabGrant, Client]:
        """Return what the lab gives to a service, what has ended included.

        Raises:
            NotFound: there is no such lab for the actor, or it gave this service nothing.
            Forbidden: the actor does not look after the lab.
        """
        async with self._store.read() as tx:
            lab = await managed_lab(tx, actor, slug)
            return await tx.lab_grants.get(client_id, lab.id), await tx.clients.get(client_id)

    async def of_lab(self, actor: Actor, slug: str) -> tuple[tuple[LabGrant, Client], ...]:
        """Return what the lab gives to which services, what has ended included, in the order of their names.

        Raises:
            NotFound, Forbidden: the actor does not look after such a lab.
        """
        async with self._store.read() as tx:
            lab = await managed_lab(tx, actor, slug)
            return tuple(await tx.lab_grants.of_lab(lab.id))
