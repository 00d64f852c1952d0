import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from idp.domain.audit import AuditAction
from idp.domain.lab import Lab, LabRole, LabStatus
from idp.services.input import InputRefused
from idp.services.lab_input import LabChanges, LabInput, MembershipInput
from idp.services.lab_permissions import OPERATOR, Actor, Forbidden
from idp.services.labs import Labs
from idp.store.errors import NotFound
from idp.store.store import Store
from tests.support.clock import START, FakeClock
from tests.support.factories import make_lab, make_membership, make_user

ADMIN = Actor(id="u_admin", roles={"lab_bio": LabRole.ADMIN})


@pytest.fixture
def labs(store: Store, clock: FakeClock) -> Labs:
    return Labs(store, clock)


def lab_input(**changes: object) -> LabInput:
    return LabInput.read({"slug": "bio", "name": "Biology", **changes})


def membership_input(**changes: object) -> MembershipInput:
    return MembershipInput.read({"lab": "bio", "user": "alice@example.org", **changes})


async def add_biology(store: Store, *others: str, **lab: object) -> None:
    """Biology with its admin; others with an account belong to no lab."""
    async with store.write() as tx:
        await tx.labs.add(make_lab(**lab))
        for name in ("admin", *others):
            await tx.users.add(make_user(id=f"u_{name}", email=f"{name}@example.org", name=name.title()))
        await tx.memberships.add(make_membership(user_id="u_admin", role=LabRole.ADMIN))


async def events(store: Store) -> list[tuple[AuditAction, str, dict]]:
    async with store.read() as tx:
        found = sorted(await tx.audit_events.all(), key=lambda event: event.at)
    return [(event.action, event.actor, dict(event.detail)) for event in found]


async def test_a_lab_is_created_and_recorded(labs: Labs, store: Store):
    lab = await labs.create(OPERATOR, lab_input(homepage="https://bio.example.org", admin_acr="2"))
    async with store.read() as tx:
        assert await tx.labs.find_by_slug("bio") == lab
        (event,) = await tx.audit_events.all()
    assert (event.action, event.actor, event.target) == (AuditAction.LAB_CREATED, "cli", lab.id)


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("logo_uri", "ftp://bio.example.org/logo.png", "https://"),
        ("logo_uri", f"https://bio.example.org/{'x' * 2048}", "https://"),
        ("homepage", "javascript:alert(1)", "https://"),
        ("admin_acr", "3", "it must be 1 or 2"),
        ("accepts_join_requests", "perhaps", "true or false"),
        ("name", None, "it must be text"),
        ("name", " ", "it is empty"),
        ("name", "é" * 101, "at most 200 bytes"),
        ("name", "Come to https://bad.example", "must not hold an address"),
        ("name", "Come to WWW.bad.example", "must not hold an address"),
        ("status", "closed", "active or archived"),
        ("managed_by", "apply", "not known here"),
        ("id", "lab_other", "not known here"),
    ],
)
def test_a_field_that_is_wrong_is_refused_alike_for_a_new_lab_and_for_a_change(field: str, value: object, fault: str):
    for read in (lambda: lab_input(**{field: value}), lambda: LabChanges.read({field: value})):
        with pytest.raises(InputRefused, match=fault) as refused:
            read()
        assert list(refused.value.errors) == [field]


def test_a_name_may_have_two_hundred_bytes_whatever_their_letters():
    for name in ("x" * 200, "é" * 100, "\U0001f9ea" * 50):
        assert lab_input(name=name).name == LabChanges.read({"name": name}).name == name


async def test_a_change_touches_what_was_given_and_clears_what_is_none(labs: Labs, store: Store, clock: FakeClock):
    await add_biology(store, description="About life", contact="bio@example.org")
    changes = LabChanges.read({"description": None, "accepts_join_requests": True, "name": "Biology"})
    lab = await labs.update(ADMIN, "bio", changes)
    assert (lab.description, lab.contact, lab.accepts_join_requests) == (None, "bio@example.org", True)
    assert await labs.find(ADMIN, "bio") == lab
    # What is the same already is no change.
    assert await labs.update(ADMIN, "bio", changes) == lab
    fields = {"fields": ["accepts_join_requests", "description"]}
    assert await events(store) == [(AuditAction.LAB_UPDATED, "u_admin", fields)]


async def test_a_deleted_labs_slug_never_returns(labs: Labs, store: Store, clock: FakeClock):
    await labs.create(OPERATOR, lab_input())
    clock.advance(seconds=1)
    await labs.delete(OPERATOR, "bio")
    with pytest.raises(NotFound):
        await labs.find(OPERATOR, "bio")
    with pytest.raises(InputRefused, match="never given out again"):
        await labs.create(OPERATOR, lab_input())
    assert [action for action, _, _ in await events(store)] == [AuditAction.LAB_CREATED, AuditAction.LAB_DELETED]


@pytest.mark.parametrize(
    "slug", ["Bio", "bio_", "-bio", "bio--x", "", "x" * 40, "system", "admin", "me", "bio\n", "bío"]
)
def test_a_slug_outside_the_rules_is_refused(slug: str):
    with pytest.raises(InputRefused) as refused:
        lab_input(slug=slug)
    assert list(refused.value.errors) == ["slug"]


async def test_of_two_labs_with_one_slug_made_at_once_one_is_refused(labs: Labs):
    results = await asyncio.gather(*(labs.create(OPERATOR, lab_input()) for _ in range(2)), return_exceptions=True)
    assert sum(isinstance(result, Lab) for result in results) == 1
    assert sum(isinstance(result, InputRefused) for result in results) == 1
    with pytest.raises(InputRefused, match="there is a lab with this slug already"):
        await labs.create(OPERATOR, lab_input())


async def test_a_labs_admin_demands_no_stronger_sign_in_than_their_own(labs: Labs, store: Store):
    await add_biology(store, "alice")
    await labs.set_member(OPERATOR, membership_input(role="admin"))
    async with store.read() as tx:
        alice = await tx.users.get("u_alice")
    changes = LabChanges.read({"admin_acr": "2"})
    with pytest.raises(InputRefused, match="admin_acr"):
        await labs.update(await labs.actor_for(alice, acr="1"), "bio", changes)
    assert (await labs.update(await labs.actor_for(alice, acr="2"), "bio", changes)).admin_acr == "2"
    # From now on who signed in with a password alone looks after nothing, and cannot take it back.
    with pytest.raises(Forbidden):
        await labs.update(await labs.actor_for(alice, acr="1"), "bio", LabChanges.read({"admin_acr": None}))
    assert (await labs.update(OPERATOR, "bio", LabChanges.read({"admin_acr": None}))).admin_acr is None


# ── Members ─────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_member_is_added_changed_and_removed(labs: Labs, store: Store, clock: FakeClock):
    await add_biology(store, "alice")
    await labs.set_member(OPERATOR, membership_input(role="viewer"))
    clock.advance(seconds=1)
    given = membership_input(role="admin", expires_at="2027-06-30")
    held = await labs.set_member(ADMIN, given)
    # Whoever gave the role that she has now.
    assert (held.role, held.granted_by, held.created_at) == (LabRole.ADMIN, ADMIN.id, START)
    assert held.expires_at == datetime(2027, 6, 30, 23, 59, 59, tzinfo=UTC)
    # A second time nothing changes.
    assert await labs.set_member(ADMIN, given) == held
    clock.advance(seconds=1)
    await labs.remove_member(ADMIN, "bio", "u_alice")
    with pytest.raises(NotFound, match="alice is no member of bio"):
        await labs.remove_member(ADMIN, "bio", "alice")
    as_admin = {"lab": "lab_bio", "role": "admin", "expires_at": "2027-06-30T23:59:59+00:00"}
    assert await events(store) == [
        (AuditAction.MEMBERSHIP_CREATED, "cli", {"lab": "lab_bio", "role": "viewer"}),
        (AuditAction.MEMBERSHIP_UPDATED, "u_admin", {**as_admin, "before": {"role": "viewer"}}),
        (AuditAction.MEMBERSHIP_DELETED, "u_admin", as_admin),
    ]


async def test_what_does_not_exist_is_not_found(labs: Labs, store: Store):
    with pytest.raises(NotFound, match="there is no lab bio"):
        await labs.set_member(OPERATOR, membership_input())
    await add_biology(store)
    with pytest.raises(NotFound, match=r"there is no account alice@example\.org"):
        await labs.set_member(OPERATOR, membership_input())


async def test_an_archived_lab_takes_nobody_in_and_lets_everybody_go(labs: Labs, store: Store):
    await add_biology(store, "alice", "bob")
    await labs.set_member(OPERATOR, membership_input())
    await labs.update(OPERATOR, "bio", LabChanges.read({"status": "archived"}))
    with pytest.raises(Forbidden, match="archived"):
        await labs.set_member(OPERATOR, membership_input(user="bob@example.org"))
    assert (await labs.set_member(ADMIN, membership_input(role="viewer"))).role is LabRole.VIEWER
    await labs.remove_member(ADMIN, "bio", "alice@example.org")
    assert (await labs.find(OPERATOR, "bio")).status is LabStatus.ARCHIVED


async def test_a_user_name_that_is_anothers_id_takes_nobodys_place(labs: Labs, store: Store):
    await add_biology(store, "alice")
    async with store.write() as tx:
        await tx.users.add(make_user(id="u_mallory", email=None, username="u_alice"))
        await tx.memberships.add(make_membership(user_id="u_mallory", role=LabRole.VIEWER))
        # From where the admin knows her.
        await tx.labs.add(make_lab(id="lab_chem", slug="chem"))
        for user_id, role in (("u_admin", LabRole.ADMIN), ("u_alice", LabRole.VIEWER)):
            await tx.memberships.add(make_membership(lab_id="lab_chem", user_id=user_id, role=role))
    for actor in (replace(ADMIN, roles={**ADMIN.roles, "lab_chem": LabRole.ADMIN}), OPERATOR):
        assert (await labs.set_member(actor, membership_input(user="u_alice"))).user_id == "u_alice"
        await labs.remove_member(actor, "bio", "u_alice")
        with pytest.raises(NotFound):
            await labs.remove_member(actor, "bio", "u_alice")
    async with store.read() as tx:
        assert await tx.memberships.find("lab_bio", "u_mallory") is not None


async def test_whoever_belongs_to_a_lab_leaves_it(labs: Labs, store: Store, clock: FakeClock):
    await add_biology(store, "alice", "bob")
    await labs.set_member(OPERATOR, membership_input(user="u_alice"))
    clock.advance(seconds=1)
    async with store.read() as tx:
        alice, bob = await tx.users.get("u_alice"), await tx.users.get("u_bob")
    await labs.leave(alice, "bio")
    for user, slug in ((alice, "bio"), (bob, "bio"), (bob, "unknown")):
        with pytest.raises(NotFound, match=f"there is no lab {slug}"):
            await labs.leave(user, slug)
    assert (await events(store))[-1] == (
        AuditAction.MEMBERSHIP_ENDED_BY_MEMBER,
        "u_alice",
        {"lab": "lab_bio", "role": "member"},
    )


# ── Lists ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_labs_are_listed_page_by_page_and_found_by_slug_or_name(labs: Labs, store: Store):
    async with store.write() as tx:
        for slug, name in (("astro", "Sterne"), ("bio", "Biology"), ("chem", "Chemistry"), ("öko", "Ökologie_100%")):
            await tx.labs.add(make_lab(id=f"lab_{slug}", slug=slug, name=name))
    pages = [await labs.list(OPERATOR, limit=3)]
    while pages[-1].next is not None:
        pages.append(await labs.list(OPERATOR, limit=3, after=pages[-1].next))
    assert [[lab.slug for lab in page.items] for page in pages] == [["astro", "bio", "chem"], ["öko"]]
    for search, found in (("LOGIE", ["öko"]), ("e_1", ["öko"]), ("%", ["öko"]), ("O", ["astro", "bio", "öko"])):
        assert [lab.slug for lab in (await labs.list(OPERATOR, search=search)).items] == found, search


async def test_members_are_listed_in_the_order_of_their_labels_and_found_by_words(labs: Labs, store: Store):
    async with store.write() as tx:
        await tx.labs.add(make_lab())
        people = [
            make_user(id="u_4", email=None, username=None, name="Zoë Álvarez"),
            make_user(id="u_3", email=None, username="zoe"),
            make_user(id="u_1", email="dan.zoller@example.org", username="alice", name="Dan"),
            make_user(id="u_2", email="eve@zoo.example.org", name="Eve Smith-Zoller"),
            make_user(id="u_5", email=None, username="quinn"),
        ]
        for person in people:
            await tx.users.add(person)
            await tx.memberships.add(make_membership(user_id=person.id, role=LabRole.MEMBER))

    async def listed(limit: int, **chosen: object) -> list[str]:
        page = await labs.members(OPERATOR, "bio", limit=limit, **chosen)
        ids = [member.user.id for member in page.items]
        while page.next is not None:
            page = await labs.members(OPERATOR, "bio", limit=limit, after=page.next, **chosen)
            ids += [member.user.id for member in page.items]
        return ids

    for limit in (1, 2, 5, 50):
        assert await listed(limit) == ["u_1", "u_2", "u_5", "u_3", "u_4"]
    assert await listed(1, role=LabRole.VIEWER) == []
    assert await listed(1, role=LabRole.MEMBER) == await listed(5)
    for search, found in {
        "zo": ["u_3", "u_4", "u_1", "u_2"],
        "ZOË": ["u_3", "u_4"],
        "zoller": ["u_1", "u_2"],
        "smith eve": ["u_2"],
        "eve@zoo.example": ["u_2"],
        "alvarez": ["u_4"],
        "lvarez": [],
        "dan smith": [],
        "%": [],
    }.items():
        for limit in (1, 3):
            assert await listed(limit, search=search) == found, search
    assert await labs.count_members(OPERATOR, "bio") == 5


async def test_whoever_changes_their_name_is_found_by_the_new_one(labs: Labs, store: Store):
    await add_biology(store)
    async with store.write() as tx:
        user = await tx.users.get("u_admin")
        await tx.users.save(make_user(id="u_admin", email=user.email, name="Ada Lovelace"))
    for search, count in (("lovelace", 1), ("admin lovelace", 1), ("admin", 1), ("Ada", 1)):
        assert len((await labs.members(OPERATOR, "bio", search=search)).items) == count
    async with store.write() as tx:
        await tx.users.save(make_user(id="u_admin", email=None, username="ada"))
    assert (await labs.members(OPERATOR, "bio", search="lovelace")).items == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("limit", 0),
        ("limit", 201),
        ("search", "x" * 201),
        ("search", "a\0b"),
        ("after", "nonsense"),
        ("after", "WzAsMV0"),  # [0,1]
        ("after", "WzMsImEiXQ"),  # [3,"a"]
        ("after", "W1swXSwiYSJd"),  # [[0],"a"]
        ("after", "WzAsImFcdTAwMDAiXQ"),  # [0,"a\u0000"]
        ("after", "é"),
        ("after", "W" * 2000),
        ("after", "W1tb" * 200),
    ],
)
async def test_a_page_that_is_none_is_refused(store: Store, labs: Labs, field: str, value: object):
    await add_biology(store)
    with pytest.raises(InputRefused) as refused:
        await labs.members(OPERATOR, "bio", **{field: value})
    assert list(refused.value.errors) == [field]


async def test_a_cursor_of_one_search_serves_no_other(store: Store, labs: Labs):
    await add_biology(store, "alice")
    await labs.set_member(OPERATOR, membership_input(user="u_alice"))
    page = await labs.members(OPERATOR, "bio", search="a", limit=1)
    assert page.next is not None
    for search in (None, "b"):
        with pytest.raises(InputRefused, match="no page of this list"):
            await labs.members(OPERATOR, "bio", search=search, after=page.next)
    with pytest.raises(InputRefused, match="no page of this list"):
        await labs.list(OPERATOR, after=page.next)


async def test_the_admins_are_those_who_look_after_the_lab_now(store: Store, labs: Labs, clock: FakeClock):
    await add_biology(store, "gone", "later", "member")
    async with store.write() as tx:
        soon, over = START + timedelta(days=1), START - timedelta(days=1)
        await tx.memberships.add(make_membership(user_id="u_gone", role=LabRole.ADMIN, expires_at=over))
        await tx.memberships.add(make_membership(user_id="u_later", role=LabRole.ADMIN, not_before=soon))
        await tx.memberships.add(make_membership(user_id="u_member"))
    member = Actor(id="u_member", roles={"lab_bio": LabRole.MEMBER})
    assert [admin.user.id for admin in await labs.admins(member, "bio")] == ["u_admin"]
    clock.advance(timedelta(days=2))
    assert [admin.user.id for admin in await labs.admins(member, "bio")] == ["u_admin", "u_later"]


# ── Dates ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_date_ends_that_day_and_begins_that_day_in_utc():
    given = membership_input(not_before="2027-06-30", expires_at="2027-06-30")
    assert given.not_before == datetime(2027, 6, 30, tzinfo=UTC)
    assert given.expires_at == datetime(2027, 6, 30, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["2027-06-30T12:00:00Z", "2027-06-30 14:00:00+02:00", "2027-06-30T07:00:00-05:00", "2027-06-30T12:00Z"]
)
def test_a_full_time_with_a_zone_is_taken_as_it_is(text: str):
    assert membership_input(expires_at=text).expires_at == datetime(2027, 6, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2027-06-30T12:00:00", "2027-02-30", "30.6.2027", "soon", "", "2027", 2027])
def test_a_time_without_a_zone_and_what_is_no_time_are_refused(text: object):
    with pytest.raises(InputRefused) as refused:
        membership_input(expires_at=text)
    assert list(refused.value.errors) == ["expires_at"]


def test_a_membership_that_ends_before_it_begins_is_refused():
    with pytest.raises(InputRefused, match="it must be later than not_before"):
        membership_input(not_before="2027-07-01", expires_at="2027-06-30")


def test_a_membership_may_have_ended_already():
    assert membership_input(expires_at="2001-01-01").expires_at is not None


def test_a_moment_before_all_years_is_refused():
    with pytest.raises(InputRefused) as refused:
        MembershipInput.read(
            {"lab": "bio", "user": "alice", "role": "member", "expires_at": "0001-01-01T00:00:00+05:00"}
        )
    assert "beyond the years" in str(refused.value)
