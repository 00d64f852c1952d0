"""Rules that make members of labs by what other providers tell: who may write them, and what follows from them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from idp.domain.acr import ACR_LADDER
from idp.domain.lab import LabRole, LabStatus, ManagedBy, Membership
from idp.domain.lab_rule import LabRule
from idp.domain.provider import Provider, ProviderKind
from idp.domain.upstream import LinkedAccount
from idp.domain.user import AdminRole, User, UserStatus
from idp.services import lab_rule_admin, lab_rules
from idp.services.input import InputRefused
from idp.services.lab_permissions import OPERATOR, Actor, Forbidden, acting_user
from idp.services.lab_rule_admin import MOST_RULES, LabRules
from idp.services.lab_rules import LabRuleInput, follow_rules, forget_linked, settle_rule
from idp.services.labs import Labs
from idp.store.errors import NotFound
from idp.store.store import Store
from tests.support.app import Installed, add_all
from tests.support.clock import START, FakeClock
from tests.support.factories import make_invitation, make_join_request, make_lab, make_membership, make_user
from tests.support.statements import statements

__all__ = ["statements"]

ROOT = make_user(id="u_root", email="root@example.org", roles=(AdminRole.ADMIN,))
LOOKS = make_user(id="u_looks", email="looks@example.org", roles=(AdminRole.VIEWER,))
ADA = make_user(id="u_ada", email="ada@example.org")
EVE = make_user(id="u_eve", email="eve@example.org")
HD = {"hd": "example.org"}
ISSUERS = {"google": "https://g.example", "uni": "https://u.example"}
MEMBER, VIEWER, ADMIN = LabRole.MEMBER, LabRole.VIEWER, LabRole.ADMIN


class FewProviders:
    """What settings and store name; who speaks with them is not asked here."""

    def forget(self) -> None:
        """There is nothing to read anew."""

    async def issuers(self) -> Mapping[str, str]:
        return ISSUERS

    async def all(self) -> tuple[Provider, ...]:
        common: Any = {"client_id": "us", "created_at": START, "updated_at": START}
        return (
            Provider(
                name="google", kind=ProviderKind.GOOGLE, display_name="Google", issuer=ISSUERS["google"], **common
            ),
            Provider(name="uni", kind=ProviderKind.OIDC, display_name="University", issuer=ISSUERS["uni"], **common),
        )


@pytest.fixture
async def rules(store: Store, clock: FakeClock, installed: Installed) -> LabRules:
    """Ada looks after `bio`, Root after everything; Eve belongs to nothing."""
    labs = [make_lab(), make_lab(id="lab_chem", slug="chem", name="Chemistry")]
    await add_all(store, [ROOT, LOOKS, ADA, EVE, *labs, make_membership(user_id=ADA.id, role=ADMIN)])
    return LabRules(store, FewProviders(), clock)  # type: ignore[arg-type]  # the methods that are asked


def make_account(**changes: Any) -> LinkedAccount:
    defaults = {
        "id": "la_1",
        "issuer": "https://g.example",
        "sub": "1",
        "user_id": EVE.id,
        "provider": "google",
        "created_at": START,
        "claims": HD,
    }
    return LinkedAccount(**{**defaults, **changes})


def make_rule(**changes: Any) -> LabRule:
    defaults = {
        "id": "lr_1",
        "lab_id": "lab_bio",
        "provider": "google",
        "claim": "hd",
        "value": "example.org",
        "role": MEMBER,
        "created_by": ROOT.id,
        "created_at": START,
    }
    return LabRule(**{**defaults, **changes})


def given(**changes: Any) -> LabRuleInput:
    return LabRuleInput.read({"provider": "google", "claim": "hd", "value": "example.org", **changes})


async def actor(store: Store, user: User) -> Actor:
    async with store.read() as tx:
        return await acting_user(tx, user, acr=ACR_LADDER[-1], now=START)


async def sign_in(store: Store, account: LinkedAccount | None = None, *, issuers: Mapping[str, str] = ISSUERS) -> None:
    """Do what a sign-in does: renew what is kept of the account, then follow the rules."""
    account = account or make_account()
    async with store.write() as tx:
        if await tx.linked_accounts.find(account.id) is None:
            await tx.linked_accounts.add(account)
        else:
            await tx.linked_accounts.save(account)
        await follow_rules(tx, account.user_id, account, issuers, now=START)


async def held(store: Store, user: User = EVE) -> dict[str, tuple[LabRole, str | None]]:
    """Return a user's roles and who gave them, by lab."""
    async with store.read() as tx:
        found = await tx.memberships.of_user(user.id)
    return {each.lab.slug: (each.membership.role, each.membership.granted_by) for each in found}


async def events(store: Store) -> list[tuple[str, str, str, Any]]:
    """Return what was recorded: action, actor, target and rule."""
    async with store.read() as tx:
        found = await tx.audit_events.all()
    return sorted((str(each.action), each.actor, each.target, each.detail.get("rule", "")) for each in found)


# ── How a rule is written ───────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("written", "place", "fault"),
    [
        ({"provider": "Google"}, "provider", "it must be the name of a provider, such as google"),
        ({"claim": "a claim"}, "claim", "it must be 1 to 200 letters, digits and _ . : / -"),
        ({"claim": "name"}, "claim", "no rule looks at it: people choose it themselves, or it is about the token"),
        ({"value": "example"}, "value", "it must be a domain such as example.org"),
        ({"value": "*"}, "value", "it must be a domain such as example.org"),
        ({"value": "Gmail.com"}, "value", "anybody gets an address there: it is no organisation's domain"),
        ({"claim": "groups", "value": " "}, "value", "it is empty"),
        ({"claim": "groups", "value": "x" * 201}, "value", "it must have at most 200 characters"),
        ({"role": "admin"}, "role", "it must be member or viewer: who looks after a lab is for people to say"),
        ({"lab": "bio"}, "lab", "it is not known here"),
    ],
)
def test_what_no_rule_can_be_is_refused(written: dict[str, str], place: str, fault: str):
    with pytest.raises(InputRefused) as refused:
        given(**written)
    assert refused.value.faults == {(place,): fault}


def test_a_rule_as_it_is_written_is_a_new_one_or_the_present_one_with_another_role():
    new = given(value="Example.ORG").rule(None, make_lab(), now=START, created_by="apply", managed_by=ManagedBy.APPLY)
    expected = make_rule(id=new.id, created_by="apply", managed_by=ManagedBy.APPLY)
    assert new == expected
    assert new.id.startswith("lr_")
    again = given(role="viewer").rule(new, make_lab(), now=START + timedelta(days=1), created_by="somebody")
    assert again == replace(new, role=VIEWER)
    assert given(claim="groups", value="Staff").value == "Staff"


# ── Who writes rules ────────────────────────────────────────────────────────────────────────────────────────────────
async def test_only_who_administers_the_installation_writes_rules_a_labs_admins_see_theirs(
    rules: LabRules, store: Store
):
    root, ada, looks, eve = [await actor(store, user) for user in (ROOT, ADA, LOOKS, EVE)]
    made = await rules.create(root, "bio", given())
    assert (made.role, made.created_by, made.lab_id) == (MEMBER, ROOT.id, "lab_bio")
    assert [(each.rule, each.provider, each.members) for each in await rules.of_lab(ada, "bio")] == [
        (made, "Google", 0)
    ]
    other = given(value="example.com")
    for who, refusal in ((ada, Forbidden), (looks, Forbidden), (eve, NotFound)):
        with pytest.raises(refusal):
            await rules.create(who, "bio", other)
        with pytest.raises(refusal):
            await rules.preview(who, "bio", other)
        with pytest.raises(refusal):
            await rules.delete(who, "bio", made.id)
    for who, refusal in ((looks, Forbidden), (eve, NotFound)):
        with pytest.raises(refusal):
            await rules.of_lab(who, "bio")
        with pytest.raises(refusal):
            await rules.members(who, "bio", made.id, limit=1)
    assert await rules.delete(root, "bio", made.id) == 0
    assert [event[:3] for event in await events(store)] == [
        ("lab_rule.created", ROOT.id, made.id),
        ("lab_rule.deleted", ROOT.id, made.id),
    ]


async def test_what_a_rule_says_is_in_the_audit_log(rules: LabRules, store: Store):
    await rules.create(OPERATOR, "bio", given(role="viewer"))
    async with store.read() as tx:
        (event,) = await tx.audit_events.all()
    assert event.detail == {
        "lab": "lab_bio",
        "provider": "google",
        "claim": "hd",
        "value": "example.org",
        "role": "viewer",
    }


async def test_a_rule_names_a_provider_that_there_is_stands_there_once_and_not_in_an_archived_lab(
    rules: LabRules, store: Store
):
    with pytest.raises(InputRefused) as refused:
        await rules.create(OPERATOR, "bio", given(provider="other"))
    assert refused.value.faults == {("provider",): "there is no such provider"}
    made = await rules.create(OPERATOR, "bio", given())
    for ask in (rules.create, rules.preview):
        with pytest.raises(InputRefused) as refused:
            await ask(OPERATOR, "bio", given(role="viewer"))
        assert list(refused.value.faults) == [("value",)]
    await rules.create(OPERATOR, "chem", given())
    # What providers there are is nothing that one who writes no rules learns here.
    with pytest.raises(Forbidden):
        await rules.create(await actor(store, ADA), "bio", given(provider="other"))
    with pytest.raises(NotFound):
        await rules.delete(OPERATOR, "chem", made.id)
    with pytest.raises(NotFound):
        await rules.find(OPERATOR, "chem", made.id)
    assert (await rules.find(OPERATOR, "bio", made.id)).rule == made
    async with store.write() as tx:
        await tx.labs.save(make_lab(status=LabStatus.ARCHIVED))
    with pytest.raises(Forbidden):
        await rules.create(OPERATOR, "bio", given(value="example.com"))


async def test_a_lab_has_a_hundred_rules_at_most(rules: LabRules, store: Store):
    await add_all(store, [make_rule(id=f"lr_{number}", value=f"x{number}.example") for number in range(MOST_RULES)])
    with pytest.raises(Forbidden):
        await rules.create(OPERATOR, "bio", given())


# ── What follows from rules ─────────────────────────────────────────────────────────────────────────────────────────
async def test_whoever_signs_in_and_is_told_of_becomes_a_member_by_the_rule_until_it_holds_no_more(
    rules: LabRules, store: Store
):
    await add_all(store, [make_rule()])
    await sign_in(store)
    assert await held(store) == {"bio": (MEMBER, "lr_1")}
    await sign_in(store)
    await sign_in(store, make_account(claims={}))
    assert await held(store) == {}
    await sign_in(store)
    assert await held(store) == {"bio": (MEMBER, "lr_1")}
    assert await events(store) == [
        ("membership.created", "lr_1", EVE.id, "lr_1"),
        ("membership.created", "lr_1", EVE.id, "lr_1"),
        ("membership.deleted", "lr_1", EVE.id, "lr_1"),
    ]


async def test_the_best_rule_counts_and_another_takes_over_where_it_ends(rules: LabRules, store: Store):
    staff = make_rule(id="lr_2", claim="groups", value="staff", role=MEMBER)
    await add_all(store, [make_rule(role=VIEWER), staff])
    await sign_in(store)
    assert await held(store) == {"bio": (VIEWER, "lr_1")}
    await sign_in(store, make_account(claims={**HD, "groups": ["staff"]}))
    assert await held(store) == {"bio": (MEMBER, "lr_2")}
    await sign_in(store, make_account(claims={**HD, "groups": []}))
    assert await held(store) == {"bio": (VIEWER, "lr_1")}


@pytest.mark.parametrize(
    "present",
    [
        {"role": VIEWER, "granted_by": ADA.id},
        {"role": ADMIN, "granted_by": "cli"},
        {"role": VIEWER, "granted_by": "apply", "managed_by": ManagedBy.APPLY},
        {"role": VIEWER, "granted_by": None, "expires_at": START - timedelta(days=1)},
        {"role": VIEWER, "granted_by": ADA.id, "not_before": START + timedelta(days=1)},
    ],
)
async def test_what_people_gave_is_neither_raised_prolonged_lowered_nor_ended(
    rules: LabRules, store: Store, present: dict[str, Any]
):
    await add_all(store, [make_rule(), make_membership(user_id=EVE.id, **present)])
    for claims in (HD, {}):
        await sign_in(store, make_account(claims=claims))
        async with store.read() as tx:
            assert await tx.memberships.get("lab_bio", EVE.id) == make_membership(user_id=EVE.id, **present)


async def test_an_end_that_an_admin_gave_to_a_membership_by_a_rule_stays(rules: LabRules, store: Store):
    end = START + timedelta(days=1)
    await add_all(store, [make_rule(), make_membership(user_id=EVE.id, granted_by="lr_1", role=VIEWER, expires_at=end)])
    await sign_in(store)
    async with store.read() as tx:
        present = await tx.memberships.get("lab_bio", EVE.id)
    assert (present.role, present.expires_at) == (MEMBER, end)


@pytest.mark.parametrize("left", [True, False])
async def test_whoever_was_removed_by_hand_or_left_does_not_come_back_by_a_rule(
    rules: LabRules, store: Store, clock: FakeClock, left: bool
):
    labs = Labs(store, clock)
    await add_all(store, [make_rule()])
    for _ in range(2):
        await sign_in(store)
        if "bio" in await held(store):
            await (labs.leave(EVE, "bio") if left else labs.remove_member(OPERATOR, "bio", EVE.id))
    assert await held(store) == {}
    async with store.read() as tx:
        assert (await tx.lab_departures.get("lab_bio", EVE.id)).ended_by == (EVE.id if left else "cli")


async def test_an_archived_lab_gets_nobody(rules: LabRules, store: Store):
    await add_all(store, [make_rule()])
    async with store.write() as tx:
        await tx.labs.save(make_lab(status=LabStatus.ARCHIVED))
    await sign_in(store)
    assert await held(store) == {}


async def test_whoever_is_invited_answers_first(rules: LabRules, store: Store):
    await add_all(store, [make_rule(), make_invitation(email=EVE.email, role=ADMIN)])
    await sign_in(store)
    async with store.write() as tx:
        invitation = await tx.invitations.get("inv_1")
        assert invitation.revoked_at is None
        await tx.invitations.save(replace(invitation, declined_at=START, answered_by=EVE.id))
    assert await held(store) == {}
    await sign_in(store)
    assert await held(store) == {"bio": (MEMBER, "lr_1")}


async def test_a_request_to_join_is_answered_by_it(rules: LabRules, store: Store):
    await add_all(store, [make_rule(), make_join_request(user_id=EVE.id)])
    await sign_in(store)
    async with store.read() as tx:
        assert await tx.join_requests.find("lab_bio", EVE.id) is None


async def test_a_second_account_neither_ends_what_the_first_gave_nor_does_another_providers_count_for_it(
    rules: LabRules, store: Store
):
    groups = make_rule(id="lr_2", provider="uni", claim="groups", value="staff", lab_id="lab_chem")
    await add_all(store, [make_rule(), groups])
    private = make_account(id="la_2", sub="2", claims={})
    uni = make_account(id="la_3", issuer="https://u.example", provider="uni", claims={**HD, "groups": ["other"]})
    for account in (make_account(), private, uni):
        await sign_in(store, account)
        assert await held(store) == {"bio": (MEMBER, "lr_1")}
    await sign_in(store, replace(uni, claims={"groups": ["staff"]}))
    assert await held(store) == {"bio": (MEMBER, "lr_1"), "chem": (MEMBER, "lr_2")}
    await sign_in(store, make_account(claims={}))
    assert await held(store) == {"chem": (MEMBER, "lr_2")}


# The provider's name was another issuer's once, whose people have accounts under it still.
OLD = make_account(id="la_old", issuer="https://old.example")


@pytest.mark.parametrize("was_in", [False, True])
async def test_a_sign_in_counts_nothing_that_another_issuer_told_under_the_providers_name(
    rules: LabRules, store: Store, was_in: bool
):
    chem = make_rule(id="lr_2", lab_id="lab_chem", provider="uni", claim="groups", value="staff")
    await add_all(store, [make_rule(), chem, OLD])
    if was_in:
        await add_all(store, [make_membership(user_id=EVE.id, granted_by="lr_1")])
    await sign_in(store, make_account(claims={}))
    assert await held(store) == {}
    # Nor where another provider's sign-in has it looked at.
    uni = make_account(id="la_3", issuer="https://u.example", provider="uni", claims={"groups": ["staff"]})
    await sign_in(store, uni)
    assert await held(store) == {"chem": (MEMBER, "lr_2")}


async def test_what_a_provider_gave_that_is_gone_ends_at_the_next_sign_in_through_another(
    rules: LabRules, store: Store
):
    await add_all(store, [make_rule(), make_rule(id="lr_2", lab_id="lab_chem", provider="uni")])
    uni = make_account(id="la_3", issuer="https://u.example", provider="uni")
    for account in (make_account(), uni):
        await sign_in(store, account)
    assert await held(store) == {"bio": (MEMBER, "lr_1"), "chem": (MEMBER, "lr_2")}
    await sign_in(store, uni, issuers={"uni": ISSUERS["uni"]})
    assert await held(store) == {"chem": (MEMBER, "lr_2")}


@pytest.mark.parametrize("unlinked", [True, False])
async def test_an_account_of_another_issuer_keeps_nobody_in(rules: LabRules, store: Store, unlinked: bool):
    viewers = make_rule(id="lr_2", claim="groups", value="staff", role=VIEWER)
    await add_all(store, [make_rule(), viewers, replace(OLD, claims={**HD, "groups": ["staff"]})])
    await sign_in(store)
    assert await held(store) == {"bio": (MEMBER, "lr_1")}
    if unlinked:
        async with store.write() as tx:
            await tx.linked_accounts.delete("la_1")
            await forget_linked(tx, make_account(), ISSUERS, now=START)
    else:
        assert await rules.delete(OPERATOR, "bio", "lr_1") == 1
    assert await held(store) == {}


async def test_an_account_that_is_unlinked_takes_what_only_it_gave(rules: LabRules, store: Store):
    chem = make_rule(id="lr_2", lab_id="lab_chem", claim="groups", value="staff")
    await add_all(store, [make_rule(), chem])
    first, second = make_account(claims={**HD, "groups": ["staff"]}), make_account(id="la_2", sub="2")
    for account in (first, second):
        await sign_in(store, account)
    for account, left in ((first, {"bio": (MEMBER, "lr_1")}), (second, {})):
        async with store.write() as tx:
            await tx.linked_accounts.delete(account.id)
            await forget_linked(tx, account, ISSUERS, now=START)
        assert await held(store) == left
    async with store.write() as tx:
        await forget_linked(tx, second, ISSUERS, now=START)


async def test_a_membership_by_a_rule_that_is_gone_ends_with_the_next_sign_in(rules: LabRules, store: Store):
    await add_all(store, [make_rule(value="other.example"), make_membership(user_id=EVE.id, granted_by="lr_gone")])
    await sign_in(store)
    assert await held(store) == {}


async def test_where_a_provider_has_no_rules_a_sign_in_costs_one_statement(
    rules: LabRules, store: Store, statements: list[str]
):
    await add_all(store, [make_rule(provider="uni"), make_account()])
    async with store.write() as tx:
        statements.clear()
        await follow_rules(tx, EVE.id, make_account(), ISSUERS, now=START)
        assert len(statements) == 1


async def test_a_sign_in_that_changes_nothing_only_reads(rules: LabRules, store: Store, statements: list[str]):
    await add_all(store, [make_rule(), make_rule(id="lr_2", provider="uni"), make_account()])
    await sign_in(store)
    async with store.write() as tx:
        statements.clear()
        await follow_rules(tx, EVE.id, make_account(), ISSUERS, now=START)
        assert [statement.split()[0] for statement in statements] == ["SELECT"] * 3
        assert not any("FOR" in statement for statement in statements)


async def test_of_two_sign_ins_of_one_person_at_once_one_makes_the_membership(rules: LabRules, store: Store):
    await add_all(
        store, [make_rule(), make_rule(id="lr_2", lab_id="lab_chem"), make_account(), make_account(id="la_2", sub="2")]
    )

    async def once(account: LinkedAccount) -> None:
        async with store.write() as tx:
            await follow_rules(tx, EVE.id, account, ISSUERS, now=START)

    await asyncio.gather(*(once(make_account(id=id, sub=id[-1])) for id in ("la_1", "la_2") * 4))
    assert await held(store) == {"bio": (MEMBER, "lr_1"), "chem": (MEMBER, "lr_2")}
    assert [event[0] for event in await events(store)] == ["membership.created"] * 2


# ── The end of a rule ───────────────────────────────────────────────────────────────────────────────────────────────
async def crowd(store: Store, count: int, *, granted_by: str = "lr_1") -> Sequence[Membership]:
    users = [make_user(id=f"u_{number:03}", email=f"u{number}@example.org") for number in range(count)]
    members = [make_membership(user_id=user.id, granted_by=granted_by) for user in users]
    await add_all(store, users)
    await add_all(store, members)
    await add_all(store, [make_account(id=f"la_{user.id}", sub=user.id, user_id=user.id) for user in users])
    return members


async def test_with_a_rule_end_the_memberships_that_it_gave_and_no_others(
    rules: LabRules, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lab_rule_admin, "BATCH", 2)
    await add_all(store, [make_rule()])
    await crowd(store, 5)
    await add_all(store, [make_membership(user_id=EVE.id, granted_by=ADA.id)])
    (listed,) = await rules.of_lab(OPERATOR, "bio")
    assert listed.members == 5
    assert len(await rules.members(OPERATOR, "bio", "lr_1", limit=3)) == 3
    assert await rules.delete(await actor(store, ROOT), "bio", "lr_1") == 5
    async with store.read() as tx:
        assert sorted(each.user_id for each in await tx.memberships.all()) == sorted([ADA.id, EVE.id])
        assert await tx.lab_departures.of_lab("lab_bio") == set()
    recorded = await events(store)
    assert [event for event in recorded if event[0] == "membership.deleted"] == [
        ("membership.deleted", ROOT.id, f"u_00{number}", "lr_1") for number in range(5)
    ]
    with pytest.raises(NotFound):
        await rules.delete(OPERATOR, "bio", "lr_1")


async def test_whom_another_rule_takes_in_stays_by_that_one(rules: LabRules, store: Store):
    await add_all(store, [make_rule(), make_rule(id="lr_2", role=VIEWER, claim="groups", value="staff")])
    await crowd(store, 2)
    async with store.write() as tx:
        account = await tx.linked_accounts.get("la_u_001")
        await tx.linked_accounts.save(replace(account, claims={**HD, "groups": ["staff"]}))
    assert await rules.delete(OPERATOR, "bio", "lr_1") == 1
    async with store.read() as tx:
        members = {each.user_id: (each.role, each.granted_by) for each in await tx.memberships.all()}
    assert members == {ADA.id: (ADMIN, None), "u_001": (VIEWER, "lr_2")}


async def test_a_rule_that_is_changed_or_deleted_along_with_others_is_settled_in_that_transaction(
    rules: LabRules, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lab_rules, "BATCH", 2)
    await add_all(store, [make_rule()])
    await crowd(store, 5)
    async with store.write() as tx:
        await tx.lab_rules.save(make_rule(role=VIEWER))
        assert await settle_rule(tx, make_rule(), ISSUERS, actor="apply", now=START) == 0
        found = await tx.members.given_by("lab_bio", "lr_1", limit=9)
        assert [each.membership.role for each in found] == [VIEWER] * 5
        await tx.lab_rules.delete("lr_1")
        assert await settle_rule(tx, make_rule(), ISSUERS, actor="apply", now=START) == 5
        assert await tx.members.given_by("lab_bio", "lr_1", limit=9) == []
        await tx.labs.bury(make_lab(), now=START)
        assert await settle_rule(tx, make_rule(), ISSUERS, actor="apply", now=START) == 0


async def test_a_sign_in_beside_the_end_of_its_rule_leaves_nobody_behind(rules: LabRules, store: Store):
    await add_all(store, [make_rule()])
    await sign_in(store, make_account(claims={}))
    await asyncio.gather(sign_in(store), rules.delete(OPERATOR, "bio", "lr_1"))
    assert await held(store) == {}


# ── What a rule would do ────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_preview_tells_who_comes_in_who_is_there_and_who_stays_out(
    rules: LabRules, store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lab_rule_admin, "_LOOKED_AT", 2)
    gone = make_user(id="u_gone", email="gone@example.org")
    off = make_user(id="u_off", email="off@example.org", status=UserStatus.DISABLED)
    await add_all(store, [gone, off, make_membership(user_id=gone.id)])
    await Labs(store, clock).remove_member(OPERATOR, "bio", gone.id)
    people = [(EVE, HD), (EVE, HD), (ADA, HD), (gone, HD), (off, HD), (ROOT, {"hd": "other.example"}), (LOOKS, {})]
    await add_all(
        store,
        [
            make_account(id=f"la_{number}", sub=str(number), user_id=user.id, claims=claims)
            for number, (user, claims) in enumerate(people)
        ],
    )
    strangers = [("la_u", "https://u.example", "uni"), ("la_old", "https://old.example", "google")]
    await add_all(
        store,
        [make_account(id=id, issuer=issuer, provider=name, user_id=LOOKS.id) for id, issuer, name in strangers],
    )
    preview = await rules.preview(await actor(store, ROOT), "bio", given())
    parts = [[user.id for user in part] for part in (preview.comes, preview.belongs, preview.stays_out)]
    assert parts == [[EVE.id], [ADA.id], [gone.id]]
    assert await held(store) == {}
