"""What hangs on a provider: linked accounts, people who would be locked out, and what its rules gave."""

from dataclasses import asdict

import pytest

from idp.domain.provider import Provider
from idp.domain.user import UserStatus
from idp.services.provider_dependents import Dependents, dependents_of
from idp.store.store import Store
from tests.support.factories import (
    make_credential,
    make_lab,
    make_lab_rule,
    make_linked_account,
    make_membership,
    make_provider,
    make_user,
)

CAMPUS, OTHER, OLD = "https://login.campus.example", "https://other.example", "https://old.example"


async def person(store: Store, name: str, *issuers: str, password: bool = False, active: bool = True) -> None:
    """Make somebody who is linked at issuers, all of whose accounts were once the campus's."""
    status = UserStatus.ACTIVE if active else UserStatus.DISABLED
    async with store.write() as tx:
        await tx.users.add(make_user(id=name, email=f"{name}@example.org", status=status))
        if password:
            await tx.credentials.add(make_credential(id=f"cred_{name}", user_id=name))
        for number, issuer in enumerate(issuers):
            linked = make_linked_account(id=f"la_{name}_{number}", issuer=issuer, sub=f"{name}{number}", user_id=name)
            await tx.linked_accounts.add(linked)


async def hanging(store: Store, *usable: str, provider: Provider | None = None) -> Dependents:
    async with store.read() as tx:
        return await dependents_of(tx, provider or make_provider(), usable)


@pytest.mark.parametrize(
    ("issuers", "kept", "counted"),
    [
        ((CAMPUS,), {}, (1, 1)),
        ((CAMPUS,), {"password": True}, (1, 0)),
        # Who may not sign in loses nothing.
        ((CAMPUS,), {"active": False}, (1, 0)),
        ((CAMPUS, OTHER), {}, (1, 0)),
        # Through that one nobody signs in either.
        ((CAMPUS, OLD), {}, (1, 1)),
        ((CAMPUS, CAMPUS), {}, (2, 1)),
        # An account of another issuer is not the provider's, whatever it was called when it was linked.
        ((OLD,), {}, (0, 0)),
        ((), {}, (0, 0)),
    ],
)
async def test_whoever_has_neither_a_password_nor_another_provider_is_counted(
    store: Store, issuers: tuple[str, ...], kept: dict[str, bool], counted: tuple[int, int]
):
    await person(store, "ada", *issuers, **kept)
    found = await hanging(store, OTHER)
    assert (found.linked_accounts, found.no_other_way_in) == counted


async def test_people_are_counted_together_and_once(store: Store):
    await person(store, "ada", CAMPUS, CAMPUS)
    await person(store, "bob", CAMPUS)
    await person(store, "cyd", CAMPUS, OTHER)
    found = await hanging(store, OTHER)
    assert (found.linked_accounts, found.no_other_way_in) == (4, 2)


async def test_nothing_hangs_on_one_of_two_providers_that_are_one_issuer(store: Store):
    await person(store, "ada", CAMPUS)
    assert (await hanging(store, CAMPUS)).linked_accounts == 0


async def test_rules_about_it_are_counted_with_what_they_gave(store: Store):
    await person(store, "ada")
    await person(store, "bob")
    async with store.write() as tx:
        for lab in ("lab_bio", "lab_chem"):
            await tx.labs.add(make_lab(id=lab, slug=lab.removeprefix("lab_")))
            await tx.lab_rules.add(make_lab_rule(id=f"lr_{lab}", lab_id=lab))
            await tx.memberships.add(make_membership(lab_id=lab, user_id="ada", granted_by=f"lr_{lab}"))
        await tx.lab_rules.add(make_lab_rule(id="lr_google", lab_id="lab_bio", provider="google"))
        await tx.memberships.add(make_membership(lab_id="lab_bio", user_id="bob", granted_by="lr_google"))
    found = await hanging(store)
    assert (found.lab_rules, found.memberships) == (2, 2)


def test_it_is_told_as_far_as_there_is_any():
    nothing = Dependents(linked_accounts=0, no_other_way_in=0, lab_rules=0, memberships=0)
    assert list(nothing.told()) == []
    much = Dependents(**dict(zip(asdict(nothing), (12, 3, 2, 5), strict=True)))
    assert list(much.told()) == [
        "linked accounts, kept for when it is back: 12",
        "people who have no other way in, neither a password nor an account at another active provider: 3",
        "lab rules that stay until somebody removes them: 2; memberships that they gave, and that stay as long: 5",
    ]
