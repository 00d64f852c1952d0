"""A lab's members as a table: taken along, and read in after a look at what would come of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, time

from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.lab import LabMember
from idp.services.audit import audit_event
from idp.services.csv_table import CsvRow, read_table, write_rows
from idp.services.input import END_OF_DAY, InputRefused
from idp.services.invitations import Invitations
from idp.services.lab_import import COLUMNS, DATES, ImportOutcome, ImportPlan, plan_import
from idp.services.lab_members import locked_lab, write_membership
from idp.services.lab_permissions import Actor, check_open, managed_lab
from idp.services.labs import Labs
from idp.store.errors import Conflict
from idp.store.store import Store

_EXPORTED_AT_A_TIME = 100
_START_OF_DAY = time(0, tzinfo=UTC)


class LabCsv:
    """Writes and reads the members of a lab as a table."""

    def __init__(self, store: Store, labs: Labs, invitations: Invitations, clock: Clock) -> None:
        self._store = store
        self._labs = labs
        self._invitations = invitations
        self._clock = clock

    async def dry_run(self, actor: Actor, slug: str, content: bytes) -> ImportPlan:
        """Return what would become of a table; nothing is done.

        Raises:
            NotFound, Forbidden: the actor does not look after such a lab, or it is archived.
            InputRefused: it is no such table.
        """
        async with self._store.read() as tx:
            lab = await managed_lab(tx, actor, slug)
            check_open(lab)
        rows = await asyncio.to_thread(_read, content)
        async with self._store.read() as tx:
            return await plan_import(tx, actor, lab, rows, now=self._clock())

    async def run(self, actor: Actor, slug: str, content: bytes, *, digest: str) -> ImportPlan:
        """Do what a plan said: everything, or where anything is in the way nothing.

        Who is no member yet is invited; for whoever administers the installation, those who have an account join.

        Raises:
            NotFound, Forbidden: as for `dry_run`.
            InputRefused: it is no such table, or rows of it are refused.
            Conflict: it would not be what the plan with this digest said.
        """
        rows = await asyncio.to_thread(_read, content)
        async with self._store.write() as tx:
            now = self._clock()
            lab = await locked_lab(tx, actor, slug, now=now)
            check_open(lab)
            plan = await plan_import(tx, actor, lab, rows, now=now)
            if plan.faults:
                raise InputRefused(plan.faults)
            if plan.digest != digest:
                raise Conflict("what would come of it has changed meanwhile: look at it again")
            for row in plan.rows:
                if row.outcome in {ImportOutcome.CHANGED, ImportOutcome.ADDED} and row.membership is not None:
                    await write_membership(tx, row.before, row.membership, actor=actor.id, now=now)
                elif row.outcome is ImportOutcome.INVITED and row.invitation is not None:
                    await self._invitations.add(tx, actor, lab, row.invitation, now=now)
        return plan

    async def export(self, actor: Actor, slug: str) -> AsyncIterator[str]:
        """Return the table of a lab's members in parts, page by page, as `run` reads it.

        Raises:
            NotFound, Forbidden: see `Labs.members`.
        """
        first = await self._labs.members(actor, slug, limit=_EXPORTED_AT_A_TIME)
        lab = await self._labs.find(actor, slug)
        async with self._store.write() as tx:
            event = audit_event(AuditAction.LAB_EXPORTED, actor=actor.id, target=lab.id, now=self._clock())
            await tx.audit_events.add(event)

        async def parts() -> AsyncIterator[str]:
            page = first
            yield write_rows([(*COLUMNS, *DATES)])
            while True:
                yield write_rows(map(_written, page.items))
                if page.next is None:
                    return
                page = await self._labs.members(actor, slug, after=page.next, limit=_EXPORTED_AT_A_TIME)

        return parts()


def _read(content: bytes) -> list[CsvRow]:
    return read_table(content, required=COLUMNS, optional=DATES)


def _written(member: LabMember) -> Sequence[str]:
    held = member.membership
    dates = (_date(held.not_before, whole=_START_OF_DAY), _date(held.expires_at, whole=END_OF_DAY))
    return member.user.label, str(held.role), *dates


def _date(moment: datetime | None, *, whole: time) -> str:
    """Return a moment as people write it: a mere date where that means the same."""
    if moment is None:
        return ""
    return moment.date().isoformat() if moment.timetz() == whole else moment.isoformat()
