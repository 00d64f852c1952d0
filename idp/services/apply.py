"""Applying files: what they say becomes true in one transaction, and a second time nothing changes.

Labs, memberships and clients are declared whole: what is absent is at its default. Of users only what is written is
touched, and passwords count on creation only. Sections that stand in no file are left alone.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from idp.crypto.password import PasswordHasher
from idp.domain.audit import AuditAction
from idp.domain.client import Client, ClientAuthMethod, ClientSecret
from idp.domain.clock import Clock
from idp.domain.lab import Lab, ManagedBy, Membership
from idp.domain.user import User
from idp.services.accounts import is_super_admin, password_credential, password_fault, save_user
from idp.services.apply_file import ApplyFile, ApplyRefused, Entry, Fault
from idp.services.audit import audit_event
from idp.services.client_input import ClientInput
from idp.services.clients import secret_hash
from idp.services.export import client_document, lab_document, membership_document, user_document
from idp.services.installation import DataKeys
from idp.store.errors import Conflict
from idp.store.store import Store, Transaction

ACTOR = "apply"
# The hasher's queue has at least this many places, whatever its settings are.
_HASHED_AT_A_TIME = 2


class ChangeKind(StrEnum):
    """What happens to one thing; the value is the mark in the diff."""

    CREATED = "+"
    CHANGED = "~"
    REMOVED = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One line of the diff: `fields` holds old and new values by name, secrets as `***`."""

    kind: ChangeKind
    noun: str
    key: str
    fields: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{self.kind} {self.noun} {self.key}"]
        lines += [f"    {name}: {_shown(old)} → {_shown(new)}" for name, (old, new) in self.fields.items()]
        return "\n".join(lines)

    def describe(self) -> dict[str, Any]:
        """Return the change for `--json`."""
        fields = {name: {"old": _jsonable(old), "new": _jsonable(new)} for name, (old, new) in self.fields.items()}
        return {"change": self.kind.name.lower(), "kind": self.noun, "key": self.key, "fields": fields}


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done, or with `dry_run` would be done."""

    changes: Sequence[Change]
    unchanged: int
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Step:
    """One row to write; `entry` is a new user's, whose password is still to be hashed."""

    change: Change
    before: Any
    after: Any
    entry: Entry[Any] | None = None


class Apply:
    """Makes what the files say true."""

    def __init__(
        self, store: Store, keys: DataKeys, hasher: PasswordHasher, clock: Clock, *, password_min_length: int
    ) -> None:
        self._store = store
        self._keys = keys
        self._hasher = hasher
        self._clock = clock
        self._min_length = password_min_length

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
        return self._applied(plan)

    async def _plan(self, tx: Transaction, files: ApplyFile, *, prune: bool) -> "_Plan":
        plan = _Plan(await _State.load(tx), self._keys, self._clock())
        plan.labs(files, [await tx.labs.slug_was_used(entry.given.slug) for entry in files.labs or ()], prune=prune)
        plan.users(files)
        plan.memberships(files, prune=prune)
        plan.clients(files, prune=prune)
        if plan.faults:
            raise ApplyRefused(plan.faults)
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

    async def _write(self, tx: Transaction, step: _Step, hashes: Mapping[str, str | None]) -> None:
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
        elif isinstance(step.before, Membership):
            await tx.memberships.delete(step.before.lab_id, step.before.user_id)
        else:
            await tx.clients.delete(step.before.client_id)
        if step.entry is not None:
            key = _entry_key(step.entry)
            if key not in hashes:
                raise Conflict("accounts changed while their passwords were hashed: apply again")
            encoded = hashes[key]
            if encoded is not None:
                await tx.credentials.add(password_credential(step.after, encoded, now=now))
        await tx.audit_events.add(_event(step, now))

    def _applied(self, plan: "_Plan") -> Applied:
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


@dataclass(slots=True)
class _State:
    """What the store holds, and step by step what it will hold."""

    labs: dict[str, Lab]
    users: dict[str, User]
    memberships: dict[tuple[str, str], Membership]
    clients: dict[str, Client]

    @classmethod
    async def load(cls, tx: Transaction) -> "_State":
        return cls(
            labs={lab.slug: lab for lab in await tx.labs.all()},
            users={user.id: user for user in await tx.users.all()},
            memberships={(held.lab_id, held.user_id): held for held in await tx.memberships.all()},
            clients={client.client_id: client for client in await tx.clients.all()},
        )


class _Plan:
    """Compares files and store, section by section; later sections see what earlier ones will have done."""

    def __init__(self, state: _State, keys: DataKeys, now: datetime) -> None:
        self._state = state
        self._keys = keys
        self._now = now
        self._ids = {
            identifier: user.id
            for user in state.users.values()
            for identifier in (user.email, user.username)
            if identifier is not None
        }
        self.steps: list[_Step] = []
        self.faults: list[Fault] = []
        self.warnings: list[Fault] = []
        self.unchanged = 0

    def labs(self, files: ApplyFile, buried: Sequence[bool], *, prune: bool) -> None:
        if files.labs is None:
            return
        for entry, was_used in zip(files.labs, buried, strict=True):
            present = self._state.labs.get(entry.given.slug)
            if present is None and was_used:
                self.faults.append(entry.fault("slug", "it was a deleted lab's, and slugs are never given out again"))
                continue
            lab = entry.given.lab(present, now=self._now, managed_by=ManagedBy.APPLY)
            self._state.labs[lab.slug] = lab
            self._step("lab", lab.slug, present, lab, lab_document)
        listed = {entry.given.slug for entry in files.labs}
        for lab in list(self._state.labs.values()):
            if prune and lab.managed_by is ManagedBy.APPLY and lab.slug not in listed:
                del self._state.labs[lab.slug]
                for key in [key for key in self._state.memberships if key[0] == lab.id]:
                    del self._state.memberships[key]
                self._step("lab", lab.slug, lab, None, lab_document)

    def users(self, files: ApplyFile) -> None:
        met: set[str] = set()
        demoted: Entry[Any] | None = None
        for entry in files.users or ():
            ids = {name: self._ids.get(identifier) for name, identifier in _identifiers(entry.given)}
            found = next((id for id in ids.values() if id is not None), None)
            for name, id in ids.items():
                if id is not None and (id != found or id in met):
                    self.faults.append(entry.fault(name, "it belongs to another account"))
            present = None if found is None else self._state.users[found]
            user = entry.given.user(present, now=self._now)
            met.add(user.id)
            self._state.users[user.id] = user
            self._ids |= {identifier: user.id for _, identifier in _identifiers(user)}
            self._step("user", user.label, present, user, user_document, entry=entry if present is None else None)
            if present is not None and is_super_admin(present) and not is_super_admin(user):
                demoted = entry
        if demoted is not None and not any(map(is_super_admin, self._state.users.values())):
            self.faults.append(demoted.fault("roles", "it would leave no active super_admin"))

    def memberships(self, files: ApplyFile, *, prune: bool) -> None:
        if files.memberships is None:
            return
        slugs = {lab.id: lab for lab in self._state.labs.values()}
        listed = set()
        for entry in files.memberships:
            lab = self._state.labs.get(entry.given.lab)
            user_id = self._ids.get(entry.given.user.lower())
            if lab is None:
                self.faults.append(entry.fault("lab", f"there is no lab {entry.given.lab}"))
            if user_id is None:
                self.faults.append(entry.fault("user", f"there is no user {entry.given.user}"))
            if lab is None or user_id is None:
                continue
            user = self._state.users[user_id]
            if (lab.id, user.id) in listed:
                self.faults.append(entry.fault("user", "it stands there already, by another name"))
                continue
            listed.add((lab.id, user.id))
            present = self._state.memberships.get((lab.id, user.id))
            membership = entry.given.membership(
                present, lab, user, now=self._now, granted_by=ACTOR, managed_by=ManagedBy.APPLY
            )
            # Only once: files keep the memberships that ended as planned.
            if membership != present and membership.expires_at is not None and membership.expires_at <= self._now:
                self.warnings.append(entry.fault("expires_at", "it is in the past: the membership does not count"))
            self._membership(present, membership, lab, user)
        for key, held in self._state.memberships.items():
            if prune and held.managed_by is ManagedBy.APPLY and key not in listed:
                self._membership(held, None, slugs[held.lab_id], self._state.users[held.user_id])

    def _membership(self, before: Membership | None, after: Membership | None, lab: Lab, user: User) -> None:
        self._step(
            "membership",
            f"{user.label} in {lab.slug}",
            before,
            after,
            lambda membership: membership_document(membership, lab, user),
        )

    def clients(self, files: ApplyFile, *, prune: bool) -> None:
        if files.clients is None:
            return
        for entry in files.clients:
            present = self._state.clients.get(entry.given.client_id)
            secrets = self._secrets(entry, present)
            client = entry.given.client(present, secrets=secrets, now=self._now, managed_by=ManagedBy.APPLY)
            self._step("client", client.client_id, present, client, client_document)
        listed = {entry.given.client_id for entry in files.clients}
        for client in self._state.clients.values():
            if prune and client.managed_by is ManagedBy.APPLY and client.client_id not in listed:
                self._step("client", client.client_id, client, None, client_document)

    def _secrets(self, entry: Entry[ClientInput], present: Client | None) -> tuple[ClientSecret, ...]:
        held = () if present is None else present.secrets
        if entry.given.token_endpoint_auth_method is ClientAuthMethod.NONE:
            return ()
        if entry.given.client_secret is None:
            if not held:
                self.faults.append(
                    entry.fault("client_secret", "it is missing; public clients say token_endpoint_auth_method: none")
                )
            return held
        hashed = secret_hash(self._keys, entry.given.client_secret)
        if any(secret.hash == hashed and secret.valid(now=self._now) for secret in held):
            return held
        return (ClientSecret(hash=hashed, created_at=self._now),)

    def _step(
        self, noun: str, key: str, before: Any, after: Any, document: Any, *, entry: Entry[Any] | None = None
    ) -> None:
        if before == after:
            self.unchanged += 1
            return
        if before is None or after is None:
            kind = ChangeKind.CREATED if before is None else ChangeKind.REMOVED
            self.steps.append(_Step(Change(kind=kind, noun=noun, key=key), before, after, entry))
            return
        fields = _differences(document(before), document(after))
        if isinstance(before, Client) and before.secrets != after.secrets:
            fields["client_secret"] = ("***" if before.secrets else None, "***" if after.secrets else None)
        self.steps.append(_Step(Change(kind=ChangeKind.CHANGED, noun=noun, key=key, fields=fields), before, after))


_VERBS = {ChangeKind.CREATED: "created", ChangeKind.CHANGED: "updated", ChangeKind.REMOVED: "deleted"}


def _event(step: _Step, now: datetime) -> Any:
    value = step.after or step.before
    target = value.user_id if isinstance(value, Membership) else getattr(value, "id", None) or value.client_id
    detail: dict[str, Any] = {"fields": sorted(step.change.fields)} if step.change.fields else {}
    if isinstance(value, Membership):
        detail |= {"lab": value.lab_id, "role": str(value.role)}
    if isinstance(value, User) and (step.before is None or step.before.roles != value.roles):
        detail["roles"] = [str(role) for role in value.roles]
    action = AuditAction(f"{step.change.noun}.{_VERBS[step.change.kind]}")
    return audit_event(action, actor=ACTOR, target=target, now=now, **detail)


def _identifiers(user: Any) -> list[tuple[str, str]]:
    pairs = (("email", user.email), ("username", user.username))
    return [(name, identifier) for name, identifier in pairs if identifier is not None]


def _entry_key(entry: Entry[Any]) -> str:
    return str(entry.fault("password", ""))


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys((*old, *new))
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


def _jsonable(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _shown(value: Any) -> str:
    return "none" if value is None else json.dumps(value, default=str, ensure_ascii=False)
