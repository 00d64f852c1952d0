"""Who may be made a member and by whom, and what becomes of invitations and reminders when a membership changes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from idp.domain.audit import AuditAction
from idp.domain.client import GrantType
from idp.domain.lab import LabRole
from idp.domain.user import User, UserStatus
from idp.services.invitations import InvitationInput, Invitations
from idp.services.lab_input import MembershipInput
from idp.services.lab_members import NO_ADMIN, NO_MEMBER, write_membership
from idp.services.lab_permissions import OPERATOR, Forbidden, Through
from idp.services.lab_reminders import LabReminders
from idp.services.labs import Labs
from idp.store.errors import NotFound
from idp.store.store import Store
from tests.support.app import add_all
from tests.support.clock import START, FakeClock
from tests.support.factories import (
    make_client,
    make_invitation,
    make_lab,
    make_lab_grant,
    make_membership,
    make_user,
)
from tests.support.mail import Post, post

__all__ = ["post"]

ISSUER = "https://idp.example.org"
DAY = timedelta(days=1)
ADA, BEA, NEW, STRANGER = (
    make_user(id=f"u_{name}", email=f"{name}@example.org") for name in ("ada", "bea", "new", "stranger")
)


@pytest.fixture
async def labs(store: Store, clock: FakeClock) -> Labs:
    """Ada looks after Biology and Chemistry, and is a member of Physics; New is none of Biology, nor is Stranger."""
    others = [make_lab(id=f"lab_{slug}", slug=slug, name=slug.title()) for slug in ("chem", "phys")]
    roles = {"lab_bio": LabRole.ADMIN, "lab_chem": LabRole.ADMIN, "lab_phys": LabRole.MEMBER}
    held = [make_membership(lab_id=lab_id, user_id=ADA.id, role=role) for lab_id, role in roles.items()]
    await add_all(store, [make_lab(), *others, ADA, BEA, NEW, STRANGER, *held])
    return Labs(store, clock)


def given(user: str = NEW.id, **changes: Any) -> MembershipInput:
    return MembershipInput.read({"lab": "bio", "user": user, "role": "viewer", **changes})


async def change(store: Store, lab_id: str, user: User, **changes: Any) -> None:
    async with store.write() as tx:
        await tx.memberships.save(replace(await tx.memberships.get(lab_id, user.id), **changes))


async def admin(store: Store, user: User, lab_id: str = "lab_bio", **changes: Any) -> None:
    await add_all(store, [make_membership(lab_id=lab_id, user_id=user.id, role=LabRole.ADMIN, **changes)])


@contextmanager
def statements() -> Iterator[list[str]]:
    """Note what the database is asked meanwhile."""
    noted: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        noted.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield noted
    finally:
        event.remove(Engine, "before_cursor_execute", note)


# ── By id ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_labs_admin_adds_by_id_whom_they_know_from_another_lab_of_theirs(labs: Labs, store: Store):
    await add_all(store, [make_membership(lab_id="lab_chem", user_id=NEW.id)])
    ada = await labs.actor_for(ADA, acr="1")
    for user in (str(NEW.email), "new", STRANGER.id, "u_nobody"):
        with pytest.raises(NotFound, match=NO_MEMBER):
            await labs.set_member(ada, given(user))
    assert (await labs.set_member(ada, given())).granted_by == ADA.id
    await labs.set_member(OPERATOR, given(STRANGER.id))


@pytest.mark.parametrize(
    ("lab_id", "changes"),
    [
        ("lab_phys", {}),
        ("lab_chem", {"expires_at": START}),
        ("lab_chem", {"not_before": START + DAY}),
    ],
    ids=["in a lab of others", "ended", "not begun"],
)
async def test_nobody_is_known_from_a_membership_that_is_not_the_admins_to_see_or_does_not_count(
    labs: Labs, store: Store, lab_id: str, changes: dict[str, Any]
):
    await add_all(store, [make_membership(lab_id=lab_id, user_id=NEW.id, **changes)])
    with pytest.raises(NotFound, match=NO_MEMBER):
        await labs.set_member(await labs.actor_for(ADA, acr="1"), given())


async def test_an_admin_knows_the_people_of_labs_only_that_they_look_after_now_and_here(labs: Labs, store: Store):
    await add_all(store, [make_membership(lab_id="lab_chem", user_id=NEW.id)])
    before = await labs.actor_for(ADA, acr="1")
    async with store.write() as tx:
        await tx.labs.save(make_lab(id="lab_chem", slug="chem", name="Chem", admin_acr="2"))
    refused = [
        # Signed in too weakly for the other lab.
        await labs.actor_for(ADA, acr="1"),
        # Through an application that is not told of it, or from which it is kept back.
        await labs.actor_for(ADA, acr="2", through=Through(make_client(allowed_labs=("bio",)), None, ())),
        replace(before, through="portal", hidden=frozenset({"chem"})),
    ]
    for actor in refused:
        with pytest.raises(NotFound, match=NO_MEMBER):
            await labs.set_member(actor, given())
    await change(store, "lab_chem", ADA, role=LabRole.MEMBER)
    with pytest.raises(NotFound, match=NO_MEMBER):
        await labs.set_member(before, given())


async def test_a_service_adds_by_id_whom_it_knows_from_another_lab(labs: Labs, store: Store):
    robot = make_client(client_id="robot", grant_types=(GrantType.CLIENT_CREDENTIALS,), redirect_uris=())
    await add_all(store, [robot, make_lab_grant(client_id="robot", role=LabRole.ADMIN)])
    await add_all(store, [make_membership(lab_id="lab_chem", user_id=NEW.id)])
    with pytest.raises(NotFound, match=NO_MEMBER):
        await labs.set_member(await labs.actor_for_service(robot), given())
    await add_all(store, [make_lab_grant(client_id="robot", lab_id="lab_chem", role=LabRole.ADMIN)])
    assert (await labs.set_member(await labs.actor_for_service(robot), given())).granted_by == "robot"


async def test_no_statement_tells_whether_an_account_or_a_lab_exists(
    labs: Labs, store: Store, clock: FakeClock, post: Post
):
    invitations = Invitations(store, post.outbox, clock, issuer=ISSUER)
    await add_all(store, [make_membership(lab_id="lab_phys", user_id=NEW.id)])
    ada = await labs.actor_for(ADA, acr="1")

    def invited(email: str) -> Awaitable[object]:
        return invitations.invite(ada, InvitationInput.read({"lab": "bio", "email": email}))

    alike: list[tuple[Callable[[str], Awaitable[object]], tuple[str, ...]]] = [
        # By id: an account that nobody has, one in no lab, and one in a lab that others look after.
        (lambda user: labs.set_member(ada, given(user)), ("u_nobody", STRANGER.id, NEW.id)),
        # By address: with an account, and without.
        (invited, ("nobody@example.org", "stranger@example.org")),
        # Leaving a lab that there is not, and one that one is not in.
        (lambda slug: labs.leave(STRANGER, slug), ("dust", "phys")),
    ]
    for attempt, names in alike:
        seen = []
        for name in names:
            with statements() as noted:
                try:
                    await attempt(name)
                except NotFound as error:
                    noted.append(str(error).replace(name, "…"))
            seen.append(noted)
        assert len(seen[0]) > 1
        assert all(each == seen[0] for each in seen), names


# ── Invitations that wait ───────────────────────────────────────────────────────────────────────────────────────────
async def by_removal(labs: Labs, store: Store) -> None:
    await labs.remove_member(OPERATOR, "bio", NEW.id)


async def by_leaving(labs: Labs, store: Store) -> None:
    await labs.leave(NEW, "bio")


async def by_a_change(labs: Labs, store: Store) -> None:
    await labs.set_member(OPERATOR, given())


@pytest.mark.parametrize(
    ("change", "actor", "present"),
    [(by_removal, "cli", True), (by_leaving, NEW.id, True), (by_a_change, "cli", True), (by_a_change, "cli", False)],
    ids=["removed", "left", "changed", "added"],
)
async def test_whoever_goes_or_has_joined_in_another_way_has_no_mail_left_that_lets_them_in(
    labs: Labs, store: Store, change: Callable[[Labs, Store], Awaitable[None]], actor: str, present: bool
):
    waiting = [
        make_invitation(id="inv_mailed", hash="1", email=NEW.email, role=LabRole.ADMIN),
        make_invitation(id="inv_other", hash="2", email="other@example.org"),
        make_invitation(id="inv_link", hash="3"),
        make_invitation(id="inv_elsewhere", hash="4", email=NEW.email, lab_id="lab_chem"),
        make_invitation(id="inv_declined", hash="5", email=NEW.email, declined_at=START, answered_by=NEW.id),
        make_invitation(id="inv_expired", hash="6", email=NEW.email, expires_at=START),
    ]
    await add_all(store, [*waiting, *([make_membership(user_id=NEW.id)] if present else [])])

    await change(labs, store)

    async with store.read() as tx:
        after = {each.id: each for each in await tx.invitations.all()}
        revoked = [each for each in await tx.audit_events.all() if each.action is AuditAction.INVITATION_REVOKED]
    assert after == {each.id: each for each in waiting} | {"inv_mailed": replace(waiting[0], revoked_at=START)}
    assert [(each.actor, each.target, dict(each.detail)) for each in revoked] == [
        (actor, "inv_mailed", {"lab": "lab_bio", "role": "admin"})
    ]


# ── The last admin ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("own", "other", "status", "may_go"),
    [
        (None, START + DAY, UserStatus.ACTIVE, False),
        (None, None, UserStatus.ACTIVE, True),
        (None, None, UserStatus.DISABLED, False),
        (START + 2 * DAY, START + DAY, UserStatus.ACTIVE, False),
        (START + 2 * DAY, START + 2 * DAY, UserStatus.ACTIVE, True),
        (START + 2 * DAY, START + 3 * DAY, UserStatus.ACTIVE, True),
        (START + 2 * DAY, None, UserStatus.ACTIVE, True),
    ],
)
async def test_an_admin_goes_only_where_another_one_lasts_at_least_as_long(
    labs: Labs, store: Store, own: Any, other: Any, status: UserStatus, may_go: bool
):
    await change(store, "lab_bio", ADA, expires_at=own)
    await admin(store, BEA, expires_at=other)
    async with store.write() as tx:
        await tx.users.save(replace(BEA, status=status))
    ada = await labs.actor_for(ADA, acr="1")
    attempts: list[Callable[[], Awaitable[object]]] = [
        # Not even half an hour sooner.
        lambda: labs.set_member(
            ada, given(ADA.id, role="admin", expires_at=((own or START + 3 * DAY) - DAY / 48).isoformat())
        ),
        lambda: labs.set_member(ada, given(ADA.id)),
        lambda: labs.remove_member(ada, "bio", ADA.id),
        lambda: labs.leave(ADA, "bio"),
    ]
    for attempt in attempts:
        await change(store, "lab_bio", ADA, role=LabRole.ADMIN, expires_at=own)
        if may_go:
            await attempt()
            async with store.write() as tx:
                await tx.memberships.delete("lab_bio", ADA.id)
            await admin(store, ADA)
        else:
            with pytest.raises(Forbidden, match=NO_ADMIN):
                await attempt()


async def test_an_admin_is_not_got_rid_of_by_giving_another_one_an_early_end(labs: Labs, store: Store):
    await admin(store, BEA)
    ada = await labs.actor_for(ADA, acr="1")
    await labs.set_member(ada, given(BEA.id, role="admin", expires_at=(START + DAY).isoformat()))
    with pytest.raises(Forbidden, match=NO_ADMIN):
        await labs.leave(ADA, "bio")


# ── Reminders ───────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_change_forgets_no_reminder_that_was_sent_meanwhile(
    labs: Labs, store: Store, clock: FakeClock, post: Post
):
    end = START + 7 * DAY
    await add_all(store, [make_membership(user_id=NEW.id, expires_at=end)])
    reminders = LabReminders(store, post.outbox, clock, issuer=ISSUER)
    async with store.read() as tx:
        before = await tx.memberships.get("lab_bio", NEW.id)

    assert await reminders.run() == 1
    async with store.write() as tx:
        await write_membership(tx, before, replace(before, role=LabRole.VIEWER), actor=ADA.id, now=START)

    async with store.read() as tx:
        held = await tx.memberships.get("lab_bio", NEW.id)
    assert (held.role, held.reminded_of) == (LabRole.VIEWER, end)
    assert await reminders.run() == 0


async def test_of_a_change_and_a_reminder_at_once_both_come_about(
    labs: Labs, store: Store, clock: FakeClock, post: Post
):
    end = START + 7 * DAY
    people = [make_user(id=f"u_{number}", email=f"{number}@example.org") for number in range(5)]
    held = [make_membership(user_id=each.id, role=LabRole.MEMBER, expires_at=end) for each in people]
    await add_all(store, [*people, *held])
    reminders = LabReminders(store, post.outbox, clock, issuer=ISSUER)
    changes = [labs.set_member(OPERATOR, given(each.id, expires_at=end.isoformat())) for each in people]
    results = await asyncio.gather(reminders.run(), *changes)
    # Those that were being changed were passed over, and have their turn with the next one.
    assert results[0] + await reminders.run() == len(people)
    assert await reminders.run() == 0
    async with store.read() as tx:
        after = [await tx.memberships.get("lab_bio", each.id) for each in people]
    assert {(each.role, each.reminded_of) for each in after} == {(LabRole.VIEWER, end)}
