"""Rules that make members of a lab by what another provider tells: how they are written, and what follows from them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo, field_validator

from idp.crypto.opaque import mint_id
from idp.domain.lab import Lab, LabMember, LabRole, LabStatus, ManagedBy, Membership
from idp.domain.lab_rule import HOSTED_DOMAIN, LONGEST_VALUE, NEVER_KEPT, LabRule, best_rule, given_by_rule
from idp.domain.upstream import LinkedAccount
from idp.services.input import Input, Text, longest
from idp.services.lab_members import end_membership, write_membership
from idp.store.errors import NotFound
from idp.store.store import Transaction

# How many members change between two looks at the rest.
BATCH = 200
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}")
_CLAIM = re.compile(r"[A-Za-z0-9_.:/-]{1,200}")
_PROVIDER = re.compile(r"[a-z0-9](?:-?[a-z0-9]){0,38}")
# Anybody gets an address there: they are no organisation's.
_PUBLIC_DOMAINS = frozenset(
    [
        "gmail.com",
        "googlemail.com",
        "outlook.com",
        "hotmail.com",
        "live.com",
        "msn.com",
        "yahoo.com",
        "aol.com",
        "icloud.com",
        "me.com",
        "mac.com",
        "gmx.de",
        "gmx.net",
        "gmx.com",
        "web.de",
        "t-online.de",
        "mail.com",
        "mail.ru",
        "yandex.ru",
        "qq.com",
        "163.com",
        "proton.me",
        "protonmail.com",
        "fastmail.com",
        "zoho.com",
    ]
)


def _check_provider(name: str) -> str:
    if _PROVIDER.fullmatch(name) is None:
        raise ValueError("it must be the name of a provider, such as google")
    return name


def _check_claim(claim: str) -> str:
    if _CLAIM.fullmatch(claim) is None:
        raise ValueError("it must be 1 to 200 letters, digits and _ . : / -")
    if claim in NEVER_KEPT:
        raise ValueError("no rule looks at it: people choose it themselves, or it is about the token")
    return claim


def _check_role(role: LabRole) -> LabRole:
    if role is LabRole.ADMIN:
        raise ValueError("it must be member or viewer: who looks after a lab is for people to say")
    return role


def _check_domain(value: str) -> str:
    domain = value.lower()
    if _DOMAIN.fullmatch(domain) is None:
        raise ValueError("it must be a domain such as example.org")
    if domain in _PUBLIC_DOMAINS:
        raise ValueError("anybody gets an address there: it is no organisation's domain")
    return domain


class LabRuleInput(Input):
    """A rule as it is written down; the value is compared exactly, a hosted domain in lower case."""

    provider: Annotated[str, AfterValidator(_check_provider)]
    claim: Annotated[str, AfterValidator(_check_claim)]
    value: Annotated[Text, longest(LONGEST_VALUE)]
    role: Annotated[LabRole, AfterValidator(_check_role)] = LabRole.MEMBER

    @field_validator("value")
    @classmethod
    def _check_value(cls, value: str, info: ValidationInfo) -> str:
        return _check_domain(value) if info.data.get("claim") == HOSTED_DOMAIN else value

    def rule(
        self,
        present: LabRule | None,
        lab: Lab,
        *,
        now: datetime,
        created_by: str,
        managed_by: ManagedBy = ManagedBy.ADMIN,
    ) -> LabRule:
        """Return the rule: a new one, or `present`, which is of the same claim and value, with this role."""
        base = present or LabRule(
            id=mint_id("lr"),
            lab_id=lab.id,
            created_by=created_by,
            created_at=now,
            managed_by=managed_by,
            **dict(self),
        )
        return replace(base, role=self.role)


# ── What follows from rules ─────────────────────────────────────────────────────────────────────────────────────────
async def follow_rules(
    tx: Transaction, user_id: str, linked: LinkedAccount, issuers: Mapping[str, str], *, now: datetime
) -> None:
    """Make, change and end a user's memberships as rules say, once a provider told anew who they are.

    What people gave is not touched, and whoever was removed or left is not taken in again. A rule holds if any of the
    user's linked accounts matches it, by what its provider told last; here and below `issuers` says which issuer each
    provider is now (`Providers.issuers`), and what another one told, or a provider that is gone, counts no more.
    """
    rules = await tx.lab_rules.of_provider(linked.provider)
    if rules:
        others = [each for each in await tx.linked_accounts.of_user(user_id) if each.id != linked.id]
        for provider in sorted({each.provider for each in others} - {linked.provider}):
            rules = [*rules, *await tx.lab_rules.of_provider(provider)]
        await _follow(tx, user_id, [*others, linked], rules, issuers, now=now)


async def forget_linked(tx: Transaction, linked: LinkedAccount, issuers: Mapping[str, str], *, now: datetime) -> None:
    """End what only this account gave its user, who does not sign in with it any more."""
    held = await tx.memberships.of_user(linked.user_id)
    if any(given_by_rule(each.membership.granted_by) for each in held):
        others = [each for each in await tx.linked_accounts.of_user(linked.user_id) if each.id != linked.id]
        rules: list[LabRule] = []
        for provider in sorted({each.provider for each in others}):
            rules += await tx.lab_rules.of_provider(provider)
        await _follow(tx, linked.user_id, others, rules, issuers, now=now)


async def settle_rule(tx: Transaction, rule: LabRule, issuers: Mapping[str, str], *, actor: str, now: datetime) -> int:
    """End or change what a rule gave that was deleted, or changed, in this transaction; return how many were ended.

    Whom another rule of the lab takes in stays by that one.
    """
    lab = await _locked(tx, rule.lab_id)
    if lab is None:
        return 0
    rules = await tx.lab_rules.of_lab(lab.id)
    ended, after = 0, ""
    while members := await tx.members.given_by(lab.id, rule.id, after=after, limit=BATCH):
        ended += await settle_members(tx, lab, members, rules, issuers, actor=actor, now=now)
        after = members[-1].user.id
    return ended


async def _follow(
    tx: Transaction,
    user_id: str,
    accounts: Sequence[LinkedAccount],
    rules: Iterable[LabRule],
    issuers: Mapping[str, str],
    *,
    now: datetime,
) -> None:
    held = {each.lab.id: each.membership for each in await tx.memberships.of_user(user_id)}
    met: dict[str, list[LabRule]] = {}
    for rule in _matching(rules, accounts, issuers):
        met.setdefault(rule.lab_id, []).append(rule)
    given = {lab_id for lab_id, membership in held.items() if given_by_rule(membership.granted_by)}
    # In one order, so that no two who sign in wait for each other.
    for lab_id in sorted(given | met.keys()):
        present = held.get(lab_id)
        if _as_it_is(present, best_rule(met.get(lab_id, ()), present=_giver(present))):
            continue
        lab = await _locked(tx, lab_id)
        if lab is None:
            continue
        # Nobody changes them any more: neither another sign-in of the same person, nor whoever deletes a rule.
        valid = _matching(await tx.lab_rules.of_lab(lab_id), accounts, issuers)
        await _settle(tx, lab, user_id, await tx.memberships.find(lab_id, user_id), valid, now=now)


async def settle_members(
    tx: Transaction,
    lab: Lab,
    members: Sequence[LabMember],
    rules: Sequence[LabRule],
    issuers: Mapping[str, str],
    *,
    actor: str,
    now: datetime,
) -> int:
    """Give members what rules give that are left, or end what rules gave; return how many memberships were ended.

    The caller holds the lab's lock.
    """
    ended = 0
    for member in members:
        accounts = await tx.linked_accounts.of_user(member.user.id) if rules else ()
        valid = _matching(rules, accounts, issuers)
        ended += not valid
        await _settle(tx, lab, member.user.id, member.membership, valid, actor=actor, now=now)
    return ended


async def _settle(
    tx: Transaction,
    lab: Lab,
    user_id: str,
    present: Membership | None,
    rules: Sequence[LabRule],
    *,
    actor: str | None = None,
    now: datetime,
) -> None:
    """Give somebody what the rules that take them in give, by one of them where there is no other actor.

    The caller holds the lab's lock.
    """
    rule = best_rule(rules, present=_giver(present))
    if _as_it_is(present, rule):
        return
    if rule is not None:
        if present is None and not await _may_come(tx, lab, user_id, now=now):
            return
        base = present or Membership(lab_id=lab.id, user_id=user_id, role=rule.role, created_at=now)
        after = replace(base, role=rule.role, granted_by=rule.id)
        await write_membership(tx, present, after, actor=actor or rule.id, now=now)
    elif present is not None:
        await end_membership(tx, present, actor=actor or str(present.granted_by), now=now)


async def _locked(tx: Transaction, lab_id: str) -> Lab | None:
    """Return a lab that nobody else changes meanwhile; None where it is gone, and all who belonged to it with it."""
    try:
        return await tx.labs.lock(lab_id)
    except NotFound:
        return None


def _as_it_is(present: Membership | None, rule: LabRule | None) -> bool:
    """Whether a rule, the best one for a user, changes nothing about their membership."""
    if present is None:
        return rule is None
    if not given_by_rule(present.granted_by):
        return True
    return rule is not None and (present.granted_by, present.role) == (rule.id, rule.role)


async def _may_come(tx: Transaction, lab: Lab, user_id: str, *, now: datetime) -> bool:
    if lab.status is not LabStatus.ACTIVE or await tx.lab_departures.find(lab.id, user_id) is not None:
        return False
    # Whoever is invited by people answers first, and gets what these offer.
    return not await tx.invitations.open_for_user(user_id, lab_id=lab.id, now=now)


def _giver(membership: Membership | None) -> str | None:
    return None if membership is None else membership.granted_by


def _matching(rules: Iterable[LabRule], accounts: Sequence[LinkedAccount], issuers: Mapping[str, str]) -> list[LabRule]:
    return [rule for rule in rules if any(rule.matches(each, issuers) for each in accounts)]
