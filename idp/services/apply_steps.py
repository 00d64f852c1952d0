"""One change after the other: what applying files writes, and the diff that shows it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from idp.domain.client import Client
from idp.domain.lab import Lab, Membership
from idp.domain.lab_grant import LabGrant
from idp.domain.lab_rule import LabRule
from idp.domain.provider import Provider
from idp.domain.resource import Resource
from idp.domain.user import User
from idp.services.apply_file import Entry, Fault
from idp.store.store import Transaction
from idp.store.ways_in import WayIn, ways_in

ACTOR = "apply"


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
        fields = {name: {"old": old, "new": new} for name, (old, new) in self.fields.items()}
        return {"change": self.kind.name.lower(), "kind": self.noun, "key": self.key, "fields": fields}


@dataclass(frozen=True, slots=True)
class Step:
    """One row to write; `entry` is a new user's, whose password is still to be hashed."""

    change: Change
    before: Any
    after: Any
    entry: Entry[Any] | None = None


@dataclass(slots=True)
class State:
    """What the store holds, and step by step what it will hold."""

    labs: dict[str, Lab]
    users: dict[str, User]
    memberships: dict[tuple[str, str], Membership]
    clients: dict[str, Client]
    lab_grants: dict[tuple[str, str], LabGrant]
    resources: dict[str, Resource]
    providers: dict[str, Provider]
    lab_rules: dict[str, LabRule]
    ways_in: Sequence[WayIn]

    @classmethod
    async def load(cls, tx: Transaction) -> "State":
        """Return what the store holds."""
        providers = {provider.name: provider for provider in await tx.providers.all()}
        return cls(
            labs={lab.slug: lab for lab in await tx.labs.all()},
            users={user.id: user for user in await tx.users.all()},
            memberships={(held.lab_id, held.user_id): held for held in await tx.memberships.all()},
            clients={client.client_id: client for client in await tx.clients.all()},
            lab_grants={(grant.client_id, grant.lab_id): grant for grant in await tx.lab_grants.all()},
            resources={resource.audience: resource for resource in await tx.resources.all()},
            providers=providers,
            lab_rules={rule.id: rule for rule in await tx.lab_rules.all()},
            # For those who are told what hangs on one of them.
            ways_in=await ways_in(tx.linked_accounts.connection) if providers else (),
        )


@dataclass(slots=True)
class Steps:
    """What is to be written, and what there is to say of the files; a warning that is of no line is a plain text."""

    steps: list[Step] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault | str] = field(default_factory=list)
    unchanged: int = 0

    def add(
        self,
        noun: str,
        key: str,
        before: Any,
        after: Any,
        document: Callable[[Any], Mapping[str, Any]],
        *,
        entry: Entry[Any] | None = None,
    ) -> None:
        """Note that a thing becomes another one, or nothing; `document` is how a file writes it."""
        if before == after:
            self.unchanged += 1
            return
        if before is None or after is None:
            kind = ChangeKind.CREATED if before is None else ChangeKind.REMOVED
            self.steps.append(Step(Change(kind=kind, noun=noun, key=key), before, after, entry))
            return
        fields = _differences(document(before), document(after))
        old, new = _secret_of(before), _secret_of(after)
        if old != new:
            fields["client_secret"] = ("***" if old else None, "***" if new else None)
        self.steps.append(Step(Change(kind=ChangeKind.CHANGED, noun=noun, key=key, fields=fields), before, after))


def _secret_of(value: Any) -> Any:
    match value:
        case Client():
            return value.secrets
        case Provider():
            return value.sealed_secret
    return None


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys((*old, *new))
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


def _shown(value: Any) -> str:
    return "none" if value is None else json.dumps(value, default=str, ensure_ascii=False)
