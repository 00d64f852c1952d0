"""Administering the rules that make members of labs: who may, what a rule would do, and what its end does."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.lab import Lab, LabMember
from idp.domain.lab_rule import LabRule
from idp.domain.user import User
from idp.services.audit import audit_event
from idp.services.input import InputRefused
from idp.services.lab_members import locked_lab
from idp.services.lab_permissions import Actor, Forbidden, check_installation_admin, check_open, managed_lab
from idp.services.lab_rules import BATCH, LabRuleInput, settle_members
from idp.services.providers import Providers
from idp.store.errors import NotFound
from idp.store.store import Store, Transaction

MOST_RULES = 100
# How many linked accounts are looked at between two pauses.
_LOOKED_AT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RulePreview:
    """Whom a rule would meet, by what their provider told when they signed in last.

    `comes` would come in when they sign in next, `belongs` are members already, `stays_out` were removed or left.
    """

    comes: tuple[User, ...]
    belongs: tuple[User, ...]
    stays_out: tuple[User, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRule:
    """A rule, what people call its provider, and how many are members by it."""

    rule: LabRule
    provider: str
    members: int


class LabRules:
    """Administers rules: whoever administers the installation writes them, a lab's admins see theirs.

    A lab's admin who could say that everybody of a domain belongs to their lab would read who all these are.
    """

    def __init__(self, store: Store, providers: Providers, clock: Clock) -> None:
        self._store = store
        self._providers = providers
        self._clock = clock

    async def of_lab(self, actor: Actor, slug: str) -> tuple[ListedRule, ...]:
        """Return the rules of a lab, the oldest first.

        Raises:
            NotFound, Forbidden: the actor does not look after such a lab.
        """
        names = {provider.name: provider.display_name for provider in await self._providers.all()}
        async with self._store.read() as tx:
            lab = await managed_lab(tx, actor, slug)
            rules = await tx.lab_rules.of_lab(lab.id)
            counts = await tx.members.counts_by_giver(lab.id, [rule.id for rule in rules])
        return tuple(
            ListedRule(rule=rule, provider=names.get(rule.provider, rule.provider), members=counts.get(rule.id, 0))
            for rule in rules
        )

    async def find(self, actor: Actor, slug: str, rule_id: str) -> ListedRule:
        """Return one rule of a lab.

        Raises:
            NotFound: there is no such lab for the actor, or it has no such rule.
            Forbidden: they do not look after it.
        """
        for listed in await self.of_lab(actor, slug):
            if listed.rule.id == rule_id:
                return listed
        raise NotFound(f"{slug} has no rule {rule_id}")

    async def members(self, actor: Actor, slug: str, rule_id: str, *, limit: int) -> tuple[LabMember, ...]:
        """Return up to `limit` of those who are members by a rule.

        Raises:
            NotFound, Forbidden: as for `find`.
        """
        async with self._store.read() as tx:
            rule = await _rule_of(tx, await managed_lab(tx, actor, slug), rule_id)
            return tuple(await tx.members.given_by(rule.lab_id, rule.id, limit=limit))

    async def preview(self, actor: Actor, slug: str, given: LabRuleInput) -> RulePreview:
        """Return whom a rule would meet among those who have signed in through its provider.

        Raises:
            NotFound: there is no such lab for the actor.
            Forbidden: they do not administer the installation, or the lab is archived.
            InputRefused: there is no such provider, or the lab has this rule already.
        """
        issuers = await self._providers.issuers()
        async with self._store.read() as tx:
            lab = await managed_lab(tx, actor, slug)
            await _check_new(tx, actor, lab, given, issuers)
        rule = given.rule(None, lab, now=self._clock(), created_by=actor.id)
        met = await self._met(rule, issuers)
        async with self._store.read() as tx:
            inside = {member.user.id for member in await tx.members.of_users(lab.id, list(met))}
            outside = await tx.lab_departures.of_lab(lab.id) - inside
        return RulePreview(
            comes=tuple(user for id, user in met.items() if id not in inside and id not in outside),
            belongs=tuple(user for id, user in met.items() if id in inside),
            stays_out=tuple(user for id, user in met.items() if id in outside),
        )

    async def _met(self, rule: LabRule, issuers: Mapping[str, str]) -> Mapping[str, User]:
        """Return whom a rule meets, by their ids, whose accounts are in use."""
        met: dict[str, User] = {}
        issuer, after = issuers[rule.provider], ""
        while True:
            # One read for each part: whoever signs in meanwhile does not wait for the whole.
            async with self._store.read() as tx:
                accounts = await tx.linked_accounts.page_of_provider(
                    rule.provider, issuer, after=after, limit=_LOOKED_AT
                )
            for account, user in accounts:
                if user.active and rule.matches(account, issuers):
                    met[user.id] = user
            if len(accounts) < _LOOKED_AT:
                return met
            after = accounts[-1][0].id

    async def create(self, actor: Actor, slug: str, given: LabRuleInput) -> LabRule:
        """Add a rule to a lab; whom it takes in comes in when they sign in next.

        Raises:
            NotFound, Forbidden, InputRefused: as for `preview`; the second also where the lab has too many.
        """
        issuers = await self._providers.issuers()
        async with self._store.write() as tx:
            now = self._clock()
            lab = await locked_lab(tx, actor, slug, now=now)
            await _check_new(tx, actor, lab, given, issuers)
            rule = given.rule(None, lab, now=now, created_by=actor.id)
            await tx.lab_rules.add(rule)
            await _record(tx, AuditAction.LAB_RULE_CREATED, rule, actor.id, now=now)
        self._providers.forget()
        return rule

    async def delete(self, actor: Actor, slug: str, rule_id: str) -> int:
        """Delete a rule with the memberships that it gave, and return how many these were.

        They are ended part by part, the rule last: what is interrupted is begun anew. Whom another rule takes in stays.

        Raises:
            NotFound: there is no such lab for the actor, or it has no such rule.
            Forbidden: they do not administer the installation.
        """
        ended = 0
        while True:
            issuers = await self._providers.issuers()
            async with self._store.write() as tx:
                now = self._clock()
                lab = await locked_lab(tx, actor, slug, now=now)
                check_installation_admin(actor)
                rule = await _rule_of(tx, lab, rule_id)
                others = [each for each in await tx.lab_rules.of_lab(lab.id) if each.id != rule.id]
                members = await tx.members.given_by(lab.id, rule.id, limit=BATCH)
                ended += await settle_members(tx, lab, members, others, issuers, actor=actor.id, now=now)
                if len(members) < BATCH:
                    await tx.lab_rules.delete(rule.id)
                    await _record(tx, AuditAction.LAB_RULE_DELETED, rule, actor.id, now=now)
                    return ended


async def _check_new(tx: Transaction, actor: Actor, lab: Lab, given: LabRuleInput, providers: Collection[str]) -> None:
    check_installation_admin(actor)
    check_open(lab)
    if given.provider not in providers:
        raise InputRefused({("provider",): "there is no such provider"})
    rules = await tx.lab_rules.of_lab(lab.id)
    same = (given.provider, given.claim, given.value)
    if any((rule.provider, rule.claim, rule.value) == same for rule in rules):
        raise InputRefused({("value",): "the lab has a rule for this already; remove that one first"})
    if len(rules) >= MOST_RULES:
        raise Forbidden(f"The lab has {MOST_RULES} rules already. Remove one first.")


async def _rule_of(tx: Transaction, lab: Lab, rule_id: str) -> LabRule:
    rule = await tx.lab_rules.find(rule_id)
    if rule is None or rule.lab_id != lab.id:
        raise NotFound(f"{lab.slug} has no rule {rule_id}")
    return rule


async def _record(tx: Transaction, action: AuditAction, rule: LabRule, actor: str, *, now: datetime) -> None:
    event = audit_event(
        action,
        actor=actor,
        target=rule.id,
        now=now,
        lab=rule.lab_id,
        provider=rule.provider,
        claim=rule.claim,
        value=rule.value,
        role=str(rule.role),
    )
    await tx.audit_events.add(event)
