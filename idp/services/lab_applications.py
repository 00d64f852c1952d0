"""Which applications may be told of a lab (`allowed_labs`), as far as the lab's own admins decide it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from idp.domain.audit import AuditAction
from idp.domain.client import Client, RequireLab
from idp.domain.clock import Clock
from idp.domain.lab import Lab
from idp.services.audit import audit_event
from idp.services.clients import Clients
from idp.services.lab_members import locked_lab
from idp.services.lab_permissions import Actor, Forbidden, check_not_its_own, managed_lab
from idp.store.errors import NotFound
from idp.store.store import Store, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class LabApplication:
    """An application that may be told of a lab: because it is named for it, or because it may see all labs."""

    client: Client
    named: bool


class LabApplications:
    """Lets a lab's admins name the applications that may be told of it."""

    def __init__(self, store: Store, clients: Clients, clock: Clock) -> None:
        self._store = store
        self._clients = clients
        self._clock = clock

    async def of_lab(self, actor: Actor, slug: str) -> tuple[LabApplication, ...]:
        """Return the applications that may be told of the lab, by name.

        Raises:
            NotFound, Forbidden: the actor does not look after such a lab.
        """
        async with self._store.read() as tx:
            lab = await managed_lab(tx, actor, slug)
            known = [client for client in await tx.clients.all() if client.may_see(lab.slug)]
        known.sort(key=lambda client: (client.client_name.casefold(), client.client_id))
        return tuple(LabApplication(client=client, named=client.allowed_labs != "*") for client in known)

    async def allow(self, actor: Actor, slug: str, client_id: str) -> None:
        """Let an application be told of the lab; nothing happens when it may be.

        Raises:
            NotFound: there is no such lab for the actor, or no such application.
            Forbidden: they may not decide it: nobody has checked the application, or it lets people in by their labs.
        """
        async with self._store.write() as tx:
            now = self._clock()
            lab = await locked_lab(tx, actor, slug, now=now)
            check_not_its_own(actor, client_id)
            client = await tx.clients.lock(client_id)
            if client.self_registered:
                raise Forbidden("Nobody has checked this application: it registered itself.")
            if client.may_see(lab.slug):
                return
            if client.require_lab is not None and not actor.manages_all:
                # To name a lab for it is to let in all who belong to that one.
                raise Forbidden("This application lets people in by their labs. Ask whoever runs it to add yours.")
            allowed = (*client.allowed_labs, lab.slug)
            await _save(tx, client, allowed, AuditAction.LAB_APPLICATION_ALLOWED, actor, lab, now)
        self._clients.forget(client_id)

    async def disallow(self, actor: Actor, slug: str, client_id: str) -> None:
        """Keep an application from being told of the lab from now on.

        Raises:
            NotFound: there is no such lab for the actor, or no such application that is named for it.
            Forbidden: it may see all labs, or lets in only who belongs to all that it may see.
        """
        async with self._store.write() as tx:
            now = self._clock()
            lab = await locked_lab(tx, actor, slug, now=now)
            client = await tx.clients.lock(client_id)
            if client.allowed_labs == "*":
                raise Forbidden("This application may see all labs. Ask whoever runs this server to change that.")
            if lab.slug not in client.allowed_labs:
                raise NotFound(f"{client_id} is not named for {slug}")
            if client.require_lab is RequireLab.ALL and not actor.manages_all:
                raise Forbidden("This application lets in only who belongs to all of its labs. Ask whoever runs it.")
            left = [slug for slug in client.allowed_labs if slug != lab.slug]
            await _save(tx, client, left, AuditAction.LAB_APPLICATION_DISALLOWED, actor, lab, now)
        self._clients.forget(client_id)


async def _save(
    tx: Transaction, client: Client, allowed: Sequence[str], action: AuditAction, actor: Actor, lab: Lab, now: datetime
) -> None:
    await tx.clients.save(replace(client, allowed_labs=tuple(allowed), updated_at=now))
    await tx.audit_events.add(audit_event(action, actor=actor.id, target=client.client_id, now=now, lab=lab.id))
