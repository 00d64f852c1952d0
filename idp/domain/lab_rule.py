"""Memberships by what another provider tells: rules that an admin wrote for a lab."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from idp.domain.lab import LabRole, ManagedBy
from idp.domain.upstream import LinkedAccount

HOSTED_DOMAIN = "hd"
LONGEST_VALUE = 200
_PREFIX = "lr_"
_MOST_VALUES = 500
_MOST_BYTES = 16 * 1024
# What describes a token, or a person in their own words: nothing that a provider vouches for.
NEVER_KEPT = frozenset(
    [
        "name",
        "given_name",
        "middle_name",
        "family_name",
        "nickname",
        "preferred_username",
        "picture",
        "profile",
        "website",
        "blog",
        "bio",
        "company",
        "location",
        "locale",
        "zoneinfo",
        "birthdate",
        "gender",
        "address",
        "phone_number",
        "nonce",
        "at_hash",
        "c_hash",
        "s_hash",
        "iat",
        "exp",
        "nbf",
        "auth_time",
        "jti",
        "aud",
        "azp",
        "iss",
        "sid",
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabRule:
    """Whoever signs in through `provider` with `value` in `claim` gets `role` in the lab, for as long as that is so."""

    id: str
    lab_id: str
    provider: str
    claim: str
    value: str
    role: LabRole
    created_by: str
    created_at: datetime
    managed_by: ManagedBy = ManagedBy.ADMIN

    def matches(self, linked: LinkedAccount, issuers: Mapping[str, str]) -> bool:
        """Whether the rule takes in whose account this is; its claims are compared exactly, as they were told.

        `issuers` holds the issuer of each provider by its name, as it is now: what another one told, when the name was
        that one's, says nothing about this one's people.
        """
        if linked.provider != self.provider or linked.issuer != issuers.get(self.provider):
            return False
        told = linked.claims.get(self.claim)
        return told == self.value or (isinstance(told, list) and self.value in told)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabDeparture:
    """That somebody ended a membership by hand, the member or an admin: no rule begins it again."""

    lab_id: str
    user_id: str
    ended_by: str
    ended_at: datetime


def given_by_rule(granted_by: str | None) -> bool:
    """Whether what gave a membership is a rule; people, clients and commands are called otherwise."""
    return granted_by is not None and granted_by.startswith(_PREFIX)


def best_rule(rules: Iterable[LabRule], *, present: str | None = None) -> LabRule | None:
    """Return the rule that gives the highest role; among equals the one that gave the `present` one, else the first."""
    order = list(LabRole)
    return min(rules, key=lambda rule: (order.index(rule.role), rule.id != present), default=None)


def kept_claims(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a provider's claims that rules may look at: short texts and lists of them, 16 KiB at most.

    The hosted domain comes first, so that nothing else takes its room; what does not fit as a whole is left out.
    An address counts only where the provider says that it is verified.
    """
    kept: dict[str, Any] = {}
    room = _MOST_BYTES
    for name in sorted(claims, key=lambda name: (name != HOSTED_DOMAIN, name)):
        value = claims[name]
        if not (_may_be_kept(name, claims) and _is_short(name) and _is_kept(value)):
            continue
        size = len(json.dumps({name: value}))
        if size <= room:
            kept[name] = value
            room -= size
    return kept


def _may_be_kept(name: str, claims: Mapping[str, Any]) -> bool:
    return name not in NEVER_KEPT and (name != "email" or claims.get("email_verified") is True)


def _is_kept(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= _MOST_VALUES and all(map(_is_short, value))
    return _is_short(value)


def _is_short(value: Any) -> bool:
    """Whether it is a text that rules can name and every database stores."""
    if not isinstance(value, str) or len(value) > LONGEST_VALUE:
        return False
    return "\0" not in value and not any("\ud800" <= mark <= "\udfff" for mark in value)
