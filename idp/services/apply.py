"""Applying files: what they say becomes true in one transaction, and a second time nothing changes."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from idp.crypto.password import PasswordHasher
from idp.domain.audit import AuditAction, AuditEvent
from idp.domain.clock import Clock
from idp.domain.lab import Lab, Membership
from idp.domain.lab_grant import LabGrant
from idp.domain.lab_rule import LabRule
from idp.domain.user import User
from idp.services.accounts import password_credential, password_fault, save_user
from idp.services.apply_advice import advice
from idp.services.apply_file import ApplyFile, ApplyRefused, Entry
from idp.services.apply_plan import Plan
from idp.services.apply_steps import ACTOR, Change, ChangeKind, State, Step
from idp.services.audit import audit_event
from idp.services.installation import DataKeys
from idp.services.lab_members import close_invitations
from idp.services.lab_rules import settle_rule
from idp.services.providers import GOOGLE
from idp.store.errors import Conflict
from idp.store.store import Store, Transaction

# The hasher's queue has at least this many places, whatever its settings are.
_HASHED_AT_A_TIME = 2


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done, or with `dry_run` would be done."""

    changes: Sequence[Change]
    unchanged: int
    warnings: Sequence[str]


class Apply:
    """Makes what the files say true; `google` is the issuer of the provider that the settings name so, if they do."""

    def __init__(
        self,
        store: Store,
        keys: DataKeys,
        hasher: PasswordHasher,
        clock: Clock,
        *,
        issuer: str,
        password_min_length: int,
        entitlements: bool,
        google: str | None = None,
    ) -> None:
        self._store = store
        self._keys = keys
        self._hasher = hasher
        self._clock = clock
        self._issuer = issuer
        self._min_length = password_min_length
        self._entitlements = entitlements
        self._google = google

    async def run(self, files: ApplyFile, *, dry_run: bool = False, prune: bool = False) -> Applied:
        """Apply the files; `prune` removes what an earlier apply created and their sections no longer list.

        Raises:
            ApplyRefused: with every fault; nothing was written.
            Conflict: somebody else changed the same things meanwhile; nothing was written.
        """
        async with self._store.read() as tx:
            plan = await self._plan(tx, files, prune=prune)
        if dry_run:
            return self._applied(plan)
        hashes = await self._hash([step.entry for step in plan.steps if step.entry is not None])
        async with self._store.write() as tx:
            # One apply at a time, and none beside somebody who changes roles.
            await tx.installations.lock(1)
            plan = await self._plan(tx, files, prune=prune)
            for step in plan.steps:
                await self._write(tx, step, hashes)
            await self._settle(tx, [step.before for step in plan.steps if isinstance(step.before, LabRule)])
        return self._applied(plan)

    async def _plan(self, tx: Transaction, files: ApplyFile, *, prune: bool) -> Plan:
        state = await State.load(tx)
        plan = Plan(state, self._keys, self._clock())
        buried = [await tx.labs.slug_was_used(entry.given.slug) for entry in files.labs or ()]
        plan.compare(files, buried, issuer=self._issuer, google=self._google, prune=prune)
        if plan.faults:
            raise ApplyRefused(plan.faults)
        plan.warnings += advice(files, state, entitlements=self._entitlements, google=self._google is not None)
        return plan

    async def _hash(self, entries: Sequence[Entry[Any]]) -> dict[str, str | None]:
        free = asyncio.Semaphore(_HASHED_AT_A_TIME)

        async def encode(entry: Entry[Any]) -> str | None:
            if entry.given.password is None:
                encoded: str | None = entry.given.password_hash
                return encoded
            async with free:
                return await self._hasher.hash(entry.given.password)

        encoded = await asyncio.gather(*map(encode, entries))
        return dict(zip(map(_entry_key, entries), encoded, strict=True))

    async def _write(self, tx: Transaction, step: Step, hashes: Mapping[str, str | None]) -> None:
        now = self._clock()
        noun, kind = step.change.noun, step.change.kind
        repository = getattr(tx, f"{noun}s")
        if kind is ChangeKind.CREATED:
            await repository.add(step.after)
        elif kind is ChangeKind.CHANGED and isinstance(step.after, User):
            await save_user(tx, step.after, before=step.before)
        elif kind is ChangeKind.CHANGED:
            await repository.save(step.after)
        elif isinstance(step.before, Lab):
            await tx.labs.bury(step.before, now=now)
        else:
            await repository.delete(*(getattr(step.before, name) for name in repository.mapping.key))
        if isinstance(step.after, Membership):
            # Whoever asked for it need not wait for an answer any more.
            await tx.join_requests.delete(step.after.lab_id, step.after.user_id)
        membership = step.after or step.before
        if isinstance(membership, Membership):
            await close_invitations(tx, membership, actor=ACTOR, now=now)
        if step.entry is not None:
            key = _entry_key(step.entry)
            if key not in hashes:
                raise Conflict("accounts changed while their passwords were hashed: apply again")
            encoded = hashes[key]
            if encoded is not None:
                await tx.credentials.add(password_credential(step.after, encoded, now=now))
        await tx.audit_events.add(_event(step, now))

    async def _settle(self, tx: Transaction, rules: Sequence[LabRule]) -> None:
        """Settle rules as they were, once all and their providers are as they will be: whom another takes in stays."""
        issuers = {provider.name: provider.issuer for provider in await tx.providers.all()}
        if self._google is not None:
            issuers[GOOGLE] = self._google
        for rule in rules:
            await settle_rule(tx, rule, issuers, actor=ACTOR, now=self._clock())

    def _applied(self, plan: Plan) -> Applied:
        new = [step.entry for step in plan.steps if step.entry is not None]
        weak = [
            entry.fault("password", fault.replace("must", "should"))
            for entry in new
            if entry.given.password is not None
            and (fault := password_fault(entry.given.password, min_length=self._min_length)) is not None
        ]
        return Applied(
            [step.change for step in plan.steps], plan.unchanged, [str(fault) for fault in [*weak, *plan.warnings]]
        )


_VERBS = {ChangeKind.CREATED: "created", ChangeKind.CHANGED: "updated", ChangeKind.REMOVED: "deleted"}


def _event(step: Step, now: datetime) -> AuditEvent:
    value = step.after or step.before
    detail: dict[str, Any] = {"fields": sorted(step.change.fields)} if step.change.fields else {}
    if isinstance(value, Membership | LabGrant):
        detail |= {"lab": value.lab_id, "role": str(value.role)}
    if isinstance(value, LabRule):
        told = ("provider", "claim", "value")
        detail |= {"lab": value.lab_id, **{name: getattr(value, name) for name in told}, "role": str(value.role)}
    if isinstance(value, User) and (step.before is None or step.before.roles != value.roles):
        detail["roles"] = [str(role) for role in value.roles]
    action = AuditAction(f"{step.change.noun}.{_VERBS[step.change.kind]}")
    return audit_event(action, actor=ACTOR, target=_target(value, step.change.key), now=now, **detail)


def _target(value: Any, key: str) -> str:
    match value:
        case Membership():
            return value.user_id
        case LabGrant():
            return value.client_id
    # Clients and resources are known by what the diff calls them.
    target: str = getattr(value, "id", key)
    return target


def _entry_key(entry: Entry[Any]) -> str:
    return str(entry.fault("password", ""))
