"""What hangs on a provider: to be known when nobody is to sign in through it any more."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from idp.domain.lab_rule import LabRule
from idp.domain.provider import Provider
from idp.store.store import Transaction
from idp.store.ways_in import WayIn, ways_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependents:
    """How much hangs on a provider; `no_other_way_in` are people, `memberships` are what its rules gave."""

    linked_accounts: int
    no_other_way_in: int
    lab_rules: int
    memberships: int

    def told(self) -> Iterator[str]:
        """Return what becomes of them, as far as there are any."""
        if self.linked_accounts:
            yield f"linked accounts, kept for when it is back: {self.linked_accounts}"
        if self.no_other_way_in:
            text = "people who have no other way in, neither a password nor an account at another active provider"
            yield f"{text}: {self.no_other_way_in}"
        if self.lab_rules:
            text = f"lab rules that stay until somebody removes them: {self.lab_rules}"
            yield f"{text}; memberships that they gave, and that stay as long: {self.memberships}"


def dependents(
    provider: Provider,
    ways: Iterable[WayIn],
    usable: Collection[str],
    rules: Sequence[LabRule],
    *,
    memberships: int,
) -> Dependents:
    """Return what hangs on a provider; `usable` are the issuers through which people sign in without it.

    Accounts are those of its issuer, which is what signs somebody in, unless another provider is that issuer; rules go
    by its name.
    """
    held = list(ways)
    elsewhere = {way.user_id for way in held if way.issuer in usable}
    own = [] if provider.issuer in usable else [way for way in held if way.issuer == provider.issuer]
    return Dependents(
        linked_accounts=len(own),
        no_other_way_in=len({way.user_id for way in own if way.only_linked} - elsewhere),
        lab_rules=len(rules),
        memberships=memberships,
    )


async def dependents_of(tx: Transaction, provider: Provider, usable: Collection[str]) -> Dependents:
    """Return what hangs on a provider as the store has it; see `dependents`."""
    rules = await tx.lab_rules.of_provider(provider.name)
    memberships = 0
    for lab_id in sorted({rule.lab_id for rule in rules}):
        memberships += sum((await tx.members.counts_by_giver(lab_id, [rule.id for rule in rules])).values())
    ways = await ways_in(tx.linked_accounts.connection)
    return dependents(provider, ways, usable, rules, memberships=memberships)
