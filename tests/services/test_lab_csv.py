"""A lab's members as a table: what would come of it, all of it or nothing, and out and in again."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from idp.domain.audit import AuditAction
from idp.domain.lab import LabRole
from idp.domain.user import UserStatus
from idp.services.input import InputRefused
from idp.services.invitation_room import MOST_MAILED, MOST_MAILED_TO_ONE, MOST_OPEN
from idp.services.invitations import Invitations
from idp.services.lab_csv import LabCsv
from idp.services.lab_import import ImportPlan
from idp.services.lab_input import LabChanges
from idp.services.lab_members import NO_ADMIN
from idp.services.lab_permissions import OPERATOR, Actor, Forbidden
from idp.services.labs import Labs
from idp.store.errors import Conflict, NotFound
from idp.store.store import Store
from tests.support.app import add_all
from tests.support.clock import START, FakeClock
from tests.support.factories import make_invitation, make_lab, make_membership, make_user
from tests.support.mail import Post, post

__all__ = ["post"]

ADMIN = Actor(id="u_admin", roles={"lab_bio": LabRole.ADMIN})
PEOPLE = {"admin": LabRole.ADMIN, "bob": LabRole.MEMBER, "carol": LabRole.VIEWER}
DAY = timedelta(days=1)


@pytest.fixture
async def table(store: Store, clock: FakeClock, post: Post) -> LabCsv:
    users = [make_user(id=f"u_{name}", email=f"{name}@example.org") for name in (*PEOPLE, "stranger")]
    await add_all(store, [make_lab(), *users, make_user(id="u_nameless", email=None, username="-nameless")])
    memberships = [make_membership(user_id=f"u_{name}", role=role) for name, role in PEOPLE.items()]
    nameless = make_membership(user_id="u_nameless", not_before=START - DAY, expires_at=START - timedelta(hours=1))
    await add_all(store, [*memberships, nameless])
    invitations = Invitations(store, post.outbox, clock, issuer="https://idp.example.org")
    return LabCsv(store, Labs(store, clock), invitations, clock)


async def looked_at(table: LabCsv, text: str, actor: Actor = ADMIN) -> ImportPlan:
    return await table.dry_run(actor, "bio", text.encode())


async def done(table: LabCsv, text: str, actor: Actor = ADMIN) -> ImportPlan:
    plan = await looked_at(table, text, actor)
    return await table.run(actor, "bio", text.encode(), digest=plan.digest)


def outcomes(plan: ImportPlan) -> list[tuple[int, str, str]]:
    return [(row.line, row.user, row.fault or str(row.outcome)) for row in plan.rows]


async def members(store: Store) -> dict[str, tuple[LabRole, datetime | None, datetime | None]]:
    async with store.read() as tx:
        return {held.user_id: (held.role, held.not_before, held.expires_at) for held in await tx.memberships.all()}


async def rows_of(store: Store, noun: str) -> list[Any]:
    async with store.read() as tx:
        return await getattr(tx, noun).all()


async def exported(parts: AsyncIterator[str]) -> str:
    return "".join([part async for part in parts])


TABLE = """role;email;expires_at
viewer;bob@example.org;2027-06-30
Viewer;CAROL@example.org;
member;new@example.org;2027-06-30
member;stranger@example.org;
"""


async def test_members_are_changed_and_others_invited_as_the_plan_said(table: LabCsv, store: Store, post: Post):
    plan = await looked_at(table, TABLE)
    assert outcomes(plan) == [
        (2, "bob@example.org", "changed"),
        (3, "CAROL@example.org", "unchanged"),
        (4, "new@example.org", "invited"),
        # Whether there is an account is no lab admin's business.
        (5, "stranger@example.org", "invited"),
    ]
    assert [(row.role, row.expires_at and row.expires_at.date().isoformat()) for row in plan.rows[1:3]] == [
        (LabRole.VIEWER, None),
        (LabRole.MEMBER, "2027-06-30"),
    ]
    assert (await members(store))["u_bob"][0] is LabRole.MEMBER
    assert await table.run(ADMIN, "bio", TABLE.encode(), digest=plan.digest) == plan
    assert (await members(store))["u_bob"][::2] == (LabRole.VIEWER, plan.rows[0].expires_at)
    invited = {each.email: (each.role, each.ends_at, each.invited_by) for each in await rows_of(store, "invitations")}
    assert invited["new@example.org"] == (LabRole.MEMBER, plan.rows[2].expires_at, "u_admin")
    assert set(invited) == {"new@example.org", "stranger@example.org"}
    actions = [event.action for event in await rows_of(store, "audit_events")]
    assert sorted(actions) == [*[AuditAction.INVITATION_CREATED] * 2, AuditAction.MEMBERSHIP_UPDATED]
    # Once more: nobody is invited twice.
    again = await done(table, TABLE)
    assert {row.outcome for row in again.rows} == {"unchanged"}
    assert len(await rows_of(store, "audit_events")) == 3


async def test_an_administrator_adds_those_who_have_an_account(table: LabCsv, store: Store):
    plan = await looked_at(table, TABLE, OPERATOR)
    assert outcomes(plan)[2:] == [(4, "new@example.org", "invited"), (5, "stranger@example.org", "added")]
    assert plan.digest != (await looked_at(table, TABLE)).digest
    await table.run(OPERATOR, "bio", TABLE.encode(), digest=plan.digest)
    assert "u_stranger" in await members(store)


REFUSED = {
    "stranger@example.org,owner,,": "role: it must be admin, member or viewer",
    "stranger@example.org,super_admin,,": "role: it must be admin, member or viewer",
    "stranger@example.org,,,": "role: it must be admin, member or viewer",
    ",member,,": "email: it is empty",
    "nobody,member,,": "email: there is no such member; invite them by address",
    "u_stranger,member,,": "email: there is no such member; invite them by address",
    "a@b@c,member,,": "email: it is not an e-mail address",
    "bob\u202e@example.org,member,,": "email: it holds invisible characters, or some that turn the text around",
    "bob@example.org,member,,2026-01-04": "expires_at: it is in the past",
    "bob@example.org,member,2026-02-01,2026-01-31": "expires_at: it must be later than not_before",
    "bob@example.org,member,,30.6.2027": "expires_at: it must be a date such as 2027-06-30",
    "new@example.org,member,,2026-01-04": "expires_at: it is in the past",
    "new@example.org,member,2026-02-01,": "not_before: whoever is invited begins when they accept",
    "=bob@example.org,member,,": "email: a spreadsheet would take it for a formula; put ' before it",
    "bob@example.org,member": "it has 2 cells, and the first line names 4",
    "BOB@example.org,viewer,,\nbob@example.org,viewer,,": "email: it stands in line 3 already",
    "new@example.org,member,,\nNew@Example.org,member,,": "email: it stands in line 3 already",
    "admin@example.org,member,,": NO_ADMIN,
    "admin@example.org,admin,,2026-02-01": NO_ADMIN,
}


async def test_each_row_that_is_refused_says_why_and_nothing_at_all_is_done(table: LabCsv, store: Store, post: Post):
    before = await members(store)
    for rows, fault in REFUSED.items():
        text = f"email,role,not_before,expires_at\ncarol@example.org,member,,\n{rows}\n"
        plan = await looked_at(table, text)
        ((_, line), told) = max(plan.faults.items())
        assert told.startswith(fault), rows
        assert (line, len(plan.faults)) == (2 + len(rows.splitlines()), 1)
        with pytest.raises(InputRefused) as refused:
            await table.run(ADMIN, "bio", text.encode(), digest=plan.digest)
        assert refused.value.faults == plan.faults
    assert await members(store) == before
    assert await rows_of(store, "invitations") == await rows_of(store, "mails") == []


async def test_an_admin_may_step_back_where_the_same_table_makes_another_one(table: LabCsv, store: Store):
    await done(table, "email,role\nadmin@example.org,member\ncarol@example.org,admin\n")
    assert [(await members(store))[f"u_{name}"][0] for name in ("admin", "carol")] == [LabRole.MEMBER, LabRole.ADMIN]


async def test_the_admin_whom_a_table_makes_must_be_able_to_sign_in_and_last_as_long(table: LabCsv, store: Store):
    head = "email,role,not_before,expires_at\nadmin@example.org,member,,\n"
    for row, count in (
        ("carol@example.org,admin,,2027-06-30", 1),
        ("carol@example.org,admin,2027-06-30,", 1),
        ("carol@example.org,viewer,,", 1),
        ("carol@example.org,admin,,", 0),
    ):
        faults = (await looked_at(table, f"{head}{row}\n")).faults
        assert faults == {("line", 2): NO_ADMIN} if count else not faults, row
    async with store.write() as tx:
        await tx.users.save(replace(await tx.users.get("u_carol"), status=UserStatus.DISABLED))
    assert len((await looked_at(table, f"{head}carol@example.org,admin,,\n")).faults) == 1
    # Who ends sooner goes where another one stays longer, in whichever order they stand.
    async with store.write() as tx:
        for name, role, end in (("admin", LabRole.ADMIN, 20), ("bob", LabRole.ADMIN, 10)):
            held = make_membership(user_id=f"u_{name}", role=role, expires_at=START + end * DAY)
            await tx.memberships.save(held)
    for row, refused in (("bob@example.org,member", 0), ("admin@example.org,member", 1)):
        for text in (f"email,role\n{row}\ncarol@example.org,admin\n", f"email,role\ncarol@example.org,admin\n{row}\n"):
            assert len((await looked_at(table, text)).faults) == refused, row


async def test_columns_of_dates_that_are_not_there_change_none(table: LabCsv, store: Store):
    await done(table, "email,role,expires_at\nbob@example.org,member,2027-06-30\n")
    end = (await members(store))["u_bob"][2]
    await done(table, "email,role\nbob@example.org,viewer\n")
    assert (await members(store))["u_bob"] == (LabRole.VIEWER, None, end)
    await done(table, "email,role,expires_at\nbob@example.org,viewer,\n")
    assert (await members(store))["u_bob"] == (LabRole.VIEWER, None, None)


async def test_a_lab_invites_no_more_people_than_it_may(table: LabCsv, store: Store, clock: FakeClock):
    earlier = START - 2 * DAY
    waiting = [
        make_invitation(id=f"inv_{n}", hash=f"h{n}", email=f"{n}@example.org", created_at=earlier)
        for n in range(MOST_OPEN - 1)
    ]
    await add_all(store, waiting)
    text = "email,role\nnew@example.org,member\n7@example.org,viewer\nnewer@example.org,member\n"
    plan = await looked_at(table, text)
    assert [row.outcome for row in plan.rows] == ["invited", "invited", "refused"]
    assert plan.rows[2].fault is not None
    assert "200 open invitations" in plan.rows[2].fault
    await done(table, text.rsplit("\n", 2)[0])
    clock.advance(15 * DAY)
    assert [row.outcome for row in (await looked_at(table, text)).rows] == ["invited"] * 3


async def test_a_table_mails_no_more_than_single_invitations_would(table: LabCsv, store: Store, clock: FakeClock):
    sent = [make_invitation(id=f"inv_{n}", hash=f"h{n}", email="a@example.org", revoked_at=START) for n in range(200)]
    most = MOST_MAILED - MOST_MAILED_TO_ONE - 1
    others = [replace(each, email=f"{n}@example.org") for n, each in enumerate(sent[:most])]
    await add_all(store, [*others, *sent[most : most + MOST_MAILED_TO_ONE]])
    text = "email,role\na@example.org,member\nb@example.org,viewer\nc@example.org,member\n"
    plan = await looked_at(table, text)
    assert [row.outcome for row in plan.rows] == ["refused", "invited", "refused"]
    assert [row.fault and row.fault.partition(". ")[0] for row in plan.rows] == [
        "The lab has mailed 3 invitations to this address within a day",
        None,
        "The lab has mailed 200 invitations within a day",
    ]
    with pytest.raises(InputRefused):
        await done(table, text)
    assert await rows_of(store, "mails") == []
    assert [row.outcome for row in (await looked_at(table, text, OPERATOR)).rows] == ["invited"] * 3
    clock.advance(DAY)
    await done(table, text)
    assert len(await rows_of(store, "mails")) == 3


async def test_what_is_done_is_what_was_looked_at(table: LabCsv, store: Store):
    text = "email,role\nbob@example.org,viewer\nnew@example.org,member\n"
    plan = await looked_at(table, text)
    async with store.write() as tx:
        await tx.memberships.save(make_membership(user_id="u_bob", role=LabRole.ADMIN))
    before = await members(store)
    for content, digest in ((text, plan.digest), (text + "carol@example.org,member\n", plan.digest), (text, "")):
        with pytest.raises(Conflict, match="look at it again"):
            await table.run(ADMIN, "bio", content.encode(), digest=digest)
    assert await members(store) == before
    assert await rows_of(store, "invitations") == []


async def test_only_admins_of_the_lab_read_tables_in_and_only_while_it_is_open(
    table: LabCsv, store: Store, clock: FakeClock
):
    content = b"email,role\nbob@example.org,viewer\n"
    digest = (await table.dry_run(ADMIN, "bio", content)).digest
    for actor, error in (
        (Actor(id="u_bob", roles={"lab_bio": LabRole.MEMBER}), Forbidden),
        (Actor(id="u_auditor", sees_all=True), Forbidden),
        (Actor(id="u_stranger"), NotFound),
        (Actor(id="u_admin", roles={"lab_chem": LabRole.ADMIN}), NotFound),
    ):
        for attempt in (table.dry_run(actor, "bio", content), table.run(actor, "bio", content, digest=digest)):
            with pytest.raises(error):
                await attempt
    await Labs(store, clock).update(OPERATOR, "bio", LabChanges.read({"status": "archived"}))
    for attempt in (table.dry_run(ADMIN, "bio", content), table.run(ADMIN, "bio", content, digest=digest)):
        with pytest.raises(Forbidden, match="archived"):
            await attempt


async def test_what_is_taken_along_is_read_in_again_without_a_change(table: LabCsv, store: Store):
    await done(table, "email,role,not_before,expires_at\nbob@example.org,member,2026-02-01,2027-06-30T12:30:00Z\n")
    text = await exported(await table.export(ADMIN, "bio"))
    assert text.splitlines() == [
        "email,role,not_before,expires_at",
        "admin@example.org,admin,,",
        "bob@example.org,member,2026-02-01,2027-06-30T12:30:00+00:00",
        "carol@example.org,viewer,,",
        "'-nameless,member,2026-01-04T12:00:00+00:00,2026-01-05T11:00:00+00:00",
    ]
    assert {row.outcome for row in (await done(table, text)).rows} == {"unchanged"}
    (event,) = [event for event in await rows_of(store, "audit_events") if event.action is AuditAction.LAB_EXPORTED]
    assert (event.actor, event.target) == ("u_admin", "lab_bio")


async def test_a_large_lab_is_taken_along_page_by_page(table: LabCsv, store: Store):
    many = [make_user(id=f"u_{n:03}", email=f"{n:03}@example.org") for n in range(250)]
    await add_all(store, many)
    await add_all(store, [make_membership(user_id=user.id) for user in many])
    parts = [part async for part in await table.export(OPERATOR, "bio")]
    assert [len(part.splitlines()) for part in parts] == [1, 100, 100, 54]
    assert len(set("".join(parts).splitlines())) == 255


async def test_only_who_may_see_all_members_takes_them_along(table: LabCsv, store: Store):
    await exported(await table.export(Actor(id="u_auditor", sees_all=True), "bio"))
    for actor, error in (
        (Actor(id="u_bob", roles={"lab_bio": LabRole.MEMBER}), Forbidden),
        (Actor(id="u_stranger"), NotFound),
    ):
        with pytest.raises(error):
            await table.export(actor, "bio")
    assert [event.actor for event in await rows_of(store, "audit_events")] == ["u_auditor"]
