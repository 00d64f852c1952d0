"""What would come of a table of members: each row judged against the lab as it is, before anything is done."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

from idp.domain.invitation import Invitation
from idp.domain.lab import Lab, LabMember, LabRole, Membership
from idp.domain.user import User
from idp.services.csv_table import CsvRow
from idp.services.input import InputRefused, Place, place_text
from idp.services.invitation_room import InvitationRoom, invitation_room
from idp.services.invitations import InvitationInput
from idp.services.lab_input import MembershipInput
from idp.services.lab_members import NO_ADMIN, NO_MEMBER, end_of, gives_up, looks_after
from idp.services.lab_permissions import Actor
from idp.store.store import Transaction

# Without a role everybody would become a member by accident, admins too; a column of dates that is not there says
# nothing about them.
COLUMNS = ("email", "role")
DATES = ("not_before", "expires_at")


class ImportOutcome(StrEnum):
    """What becomes of a row."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    ADDED = "added"
    INVITED = "invited"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRow:
    """One row of a table: whom it is about, and what becomes of it; `fault` is why it is refused.

    `before` is the membership that there is, `membership` the one that there will be, `invitation` what is sent.
    """

    line: int
    user: str
    outcome: ImportOutcome = ImportOutcome.REFUSED
    fault: str | None = None
    before: Membership | None = None
    membership: Membership | None = None
    invitation: InvitationInput | None = None

    @property
    def role(self) -> LabRole | None:
        """The role that is given."""
        given = self.membership or self.invitation
        return None if given is None else given.role

    @property
    def expires_at(self) -> datetime | None:
        """When what is given ends."""
        if self.membership is not None:
            return self.membership.expires_at
        return None if self.invitation is None else self.invitation.ends_at


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What becomes of a table, row by row; `digest` stands for exactly this."""

    lab: Lab
    rows: tuple[ImportRow, ...]

    @property
    def faults(self) -> Mapping[Place, str]:
        """Why rows are refused, by their lines; as long as there are any, nothing is done."""
        return {("line", row.line): row.fault for row in self.rows if row.fault is not None}

    @property
    def counts(self) -> Mapping[ImportOutcome, int]:
        """How many rows come out how."""
        return {outcome: sum(row.outcome is outcome for row in self.rows) for outcome in ImportOutcome}

    @property
    def digest(self) -> str:
        """What tells this plan from every other one."""
        told = [
            [row.line, row.user, row.outcome, row.role, row.expires_at, *_told(row.before), *_told(row.membership)]
            for row in self.rows
        ]
        return sha256(json.dumps([self.lab.id, told], default=str).encode()).hexdigest()


async def plan_import(tx: Transaction, actor: Actor, lab: Lab, rows: Sequence[CsvRow], *, now: datetime) -> ImportPlan:
    """Return what becomes of the rows of a table, by an actor who was found to look after the lab."""
    names = sorted({row.cells["email"].lower() for row in rows if row.fault is None})
    users = {user.id: user for user in await tx.users.find_by_identifiers(names)}
    # Whoever has neither address nor user name stands in a table by their id.
    members = {member.user.id: member for member in await tx.members.of_users(lab.id, [*users, *names])}
    users |= {id: member.user for id, member in members.items()}
    called = {name: user for user in users.values() for name in (user.username, user.email) if name is not None}
    waiting = await tx.invitations.open_to(names, lab_id=lab.id, now=now)
    invited = {each.email: each for each in waiting if each.email is not None}
    planner = _Planner(actor, lab, now, called | users, members, invited)
    planned = [planner.row(row) for row in rows]
    if not actor.manages_all:
        _limit_invitations(planned, invited, await invitation_room(tx, lab.id, names, now=now))
        _keep_an_admin(planned, users, await tx.members.admins(lab.id, now=now), now=now)
    return ImportPlan(lab, tuple(planned))


@dataclass(slots=True)
class _Planner:
    actor: Actor
    lab: Lab
    now: datetime
    users: Mapping[str, User]
    members: Mapping[str, LabMember]
    invited: Mapping[str, Invitation]
    met: dict[str, int] = field(default_factory=dict)

    def row(self, row: CsvRow) -> ImportRow:
        """Return what becomes of one row."""
        name = row.cells.get("email", "")
        refused = ImportRow(line=row.line, user=name)
        if row.fault is not None:
            return replace(refused, fault=row.fault)
        dates = {column: row.cells[column] or None for column in DATES if column in row.cells}
        try:
            given = MembershipInput.read(
                {"lab": self.lab.slug, "user": name, "role": row.cells["role"].lower(), **dates}
            )
            return self._judged(refused, given)
        except InputRefused as error:
            return replace(refused, fault=_as_one(error.faults))

    def _judged(self, row: ImportRow, given: MembershipInput) -> ImportRow:
        user = self.users.get(given.user.lower())
        member = None if user is None else self.members.get(user.id)
        # Whether somebody who is no member has an account is told to those only who may see all accounts.
        known = user if member is not None or self.actor.manages_all else None
        line = self.met.setdefault(given.user.lower() if known is None else known.id, row.line)
        if line != row.line:
            raise InputRefused({("email",): f"it stands in line {line} already"})
        if known is not None:
            return self._membership(row, given, known, None if member is None else member.membership)
        return self._invitation(row, given)

    def _membership(self, row: ImportRow, given: MembershipInput, user: User, before: Membership | None) -> ImportRow:
        after = given.membership(before, self.lab, user, now=self.now, granted_by=self.actor.id)
        if before is not None:
            absent = {name: getattr(before, name) for name in DATES if name not in given.model_fields_set}
            after = replace(after, **absent)
        row = replace(row, before=before, membership=after)
        if after == before:
            return replace(row, outcome=ImportOutcome.UNCHANGED)
        if after.expires_at is not None and after.expires_at <= max(self.now, after.not_before or self.now):
            late = "it is in the past" if after.expires_at <= self.now else "it must be later than not_before"
            raise InputRefused({("expires_at",): late})
        return replace(row, outcome=ImportOutcome.ADDED if before is None else ImportOutcome.CHANGED)

    def _invitation(self, row: ImportRow, given: MembershipInput) -> ImportRow:
        if "@" not in given.user:
            raise InputRefused({("email",): NO_MEMBER})
        if given.not_before is not None:
            raise InputRefused({("not_before",): "whoever is invited begins when they accept"})
        if given.expires_at is not None and given.expires_at <= self.now:
            raise InputRefused({("expires_at",): "it is in the past"})
        raw = {"lab": self.lab.slug, "email": given.user, "role": given.role, "ends_at": given.expires_at}
        invitation = InvitationInput.read(raw)
        waiting = self.invited.get(invitation.email or "")
        same = waiting is not None and (waiting.role, waiting.ends_at) == (invitation.role, invitation.ends_at)
        # Whoever has the same mail already is not sent another one.
        outcome = ImportOutcome.UNCHANGED if same else ImportOutcome.INVITED
        return replace(row, outcome=outcome, invitation=invitation)


def _limit_invitations(rows: list[ImportRow], invited: Mapping[str, Invitation], room: InvitationRoom) -> None:
    """Refuse the rows that would invite more people than a lab may."""
    for place, row in enumerate(rows):
        if row.outcome is ImportOutcome.INVITED and row.invitation is not None:
            email = row.invitation.email
            # A new one takes the place of an older one to the same address.
            full = room.take(email, in_place_of_another=email in invited)
            if full is not None:
                rows[place] = replace(row, outcome=ImportOutcome.REFUSED, fault=full)


def _keep_an_admin(
    rows: list[ImportRow], users: Mapping[str, User], admins: Sequence[LabMember], *, now: datetime
) -> None:
    """Refuse the rows that together would leave nobody to look after the lab, or not for as long."""
    written = [row.membership for row in rows if row.membership is not None]
    held = {admin.user.id: admin.membership for admin in admins}
    held |= {each.user_id: each for each in written if users[each.user_id].active}
    last = max((end_of(each) for each in held.values() if looks_after(each, now=now)), default=now)
    for place, row in enumerate(rows):
        if row.before is None or row.membership is None or not gives_up(row.before, row.membership, now=now):
            continue
        if end_of(row.before) > last:
            rows[place] = replace(row, outcome=ImportOutcome.REFUSED, fault=NO_ADMIN)


def _told(membership: Membership | None) -> list[Any]:
    if membership is None:
        return []
    return [membership.user_id, membership.role, membership.not_before, membership.expires_at]


def _as_one(faults: Mapping[Place, str]) -> str:
    columns = {"user": "email", "ends_at": "expires_at"}
    named = ((place_text(place), fault) for place, fault in faults.items())
    return "; ".join(f"{columns.get(name, name)}: {fault}" for name, fault in named)
