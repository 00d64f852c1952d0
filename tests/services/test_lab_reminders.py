"""Reminders of memberships that end soon: to whom, when, and once."""

import asyncio
import re
from dataclasses import replace
from datetime import timedelta

import pytest

from idp.domain.lab import LabRole, LabStatus
from idp.domain.user import UserStatus
from idp.services import lab_reminders
from idp.services.lab_reminders import ENDS_SOON, LabReminders
from idp.store.database import Database
from idp.store.store import Store
from tests.support.app import add_all
from tests.support.clock import START, FakeClock
from tests.support.factories import make_lab, make_membership, make_user
from tests.support.mail import Post, post

__all__ = ["post"]

ISSUER = "https://idp.example.org"
DAY = timedelta(days=1)
END = START + ENDS_SOON
ADA, BEA, NEW = (
    make_user(id=f"u_{name}", email=f"{name}@example.org", name=name.title()) for name in ("ada", "bea", "new")
)


@pytest.fixture
async def reminders(store: Store, clock: FakeClock, post: Post) -> LabReminders:
    """Ada and Bea look after the lab; the membership of New ends in two weeks."""
    admins = (make_membership(user_id=user.id, role=LabRole.ADMIN) for user in (ADA, BEA))
    await add_all(store, [ADA, BEA, NEW, make_lab(), *admins, make_membership(user_id=NEW.id, expires_at=END)])
    return LabReminders(store, post.outbox, clock, issuer=ISSUER)


async def change(store: Store, **changes: object) -> None:
    async with store.write() as tx:
        held = await tx.memberships.get("lab_bio", NEW.id)
        await tx.memberships.save(replace(held, **changes))


async def test_the_member_and_every_admin_are_told_once_with_where_to_ask_for_more(
    reminders: LabReminders, post: Post, clock: FakeClock
):
    assert await reminders.run() == 1
    mails = await post.collect()

    assert set(mails) == {ADA.email, BEA.email, NEW.email}
    assert "Your time in Biology ends on 19 January 2026" in mails["new@example.org"]
    assert f"{ISSUER}/account/labs" in mails["new@example.org"]
    assert "New (new@example.org) leaves Biology on 19 January 2026" in mails["ada@example.org"]
    assert f"{ISSUER}/labs/bio/members/u_new" in mails["ada@example.org"]
    clock.advance(3 * DAY)
    assert await reminders.run() == 0


async def test_of_another_end_they_are_told_anew(reminders: LabReminders, store: Store, post: Post, clock: FakeClock):
    await reminders.run()
    await post.drop()
    await change(store, expires_at=END + 30 * DAY)
    assert await reminders.run() == 0
    clock.advance(30 * DAY)
    assert await reminders.run() == 1
    assert "18 February 2026" in (await post.collect())["new@example.org"]


async def test_an_end_that_is_moved_a_little_again_and_again_is_told_of_once(
    reminders: LabReminders, store: Store, clock: FakeClock
):
    assert await reminders.run() == 1
    for later in (timedelta(seconds=1), timedelta(seconds=2), 5 * DAY, -5 * DAY, ENDS_SOON):
        await change(store, expires_at=END + later)
        clock.now = max(clock.now, END + later - DAY)
        assert await reminders.run() == 0
    await change(store, expires_at=END + ENDS_SOON + timedelta(seconds=1))
    assert await reminders.run() == 1
    assert await reminders.run() == 0


async def test_of_what_does_not_end_soon_or_does_not_count_now_nobody_is_told(reminders: LabReminders, store: Store):
    for end, begin in ((None, None), (END + DAY, None), (START, None), (END, START + DAY)):
        await change(store, expires_at=end, not_before=begin)
        assert await reminders.run() == 0


async def test_archived_labs_and_disabled_people_are_left_alone(reminders: LabReminders, store: Store, post: Post):
    async with store.write() as tx:
        await tx.labs.save(make_lab(status=LabStatus.ARCHIVED))
    assert await reminders.run() == 0
    async with store.write() as tx:
        await tx.labs.save(make_lab())
        await tx.users.save(replace(BEA, status=UserStatus.DISABLED))
        await tx.users.save(replace(NEW, email=None, username="new"))
    assert await reminders.run() == 1
    # Somebody without an address is not reached, but the admins are.
    assert set(await post.collect()) == {ADA.email}


async def test_of_all_that_end_in_a_lab_each_admin_gets_one_mail(
    reminders: LabReminders, store: Store, post: Post, clock: FakeClock
):
    others = [make_user(id=f"u_{number}", email=f"{number}@example.org", name=None) for number in range(3)]
    ends = [make_membership(user_id=user.id, expires_at=END - number * DAY) for number, user in enumerate(others)]
    chem = make_lab(id="lab_chem", slug="chem", name="Chemistry")
    cy, dan = (make_user(id=f"u_{name}", email=f"{name}@example.org") for name in ("cy", "dan"))
    elsewhere = make_membership(lab_id=chem.id, user_id=cy.id, role=LabRole.ADMIN)
    await add_all(store, [*others, *ends, chem, cy, dan, elsewhere])
    await add_all(store, [make_membership(lab_id=chem.id, user_id=dan.id, expires_at=END)])

    assert await reminders.run() == 5

    mails = await post.collect()
    assert len(mails) == 5 + 3
    assert mails[ADA.email] == mails[BEA.email]
    told = re.findall(r"^- (.*): (\d+ \w+) 2026", mails[ADA.email], re.M)
    assert told == [
        ("2@example.org", "17 January"),
        ("1@example.org", "18 January"),
        ("0@example.org", "19 January"),
        ("New (new@example.org)", "19 January"),
    ]
    assert mails[ADA.email].startswith("4 members leave Biology soon")
    assert f"\n{ISSUER}/labs/bio\n" in mails[ADA.email]
    assert "dan@example.org leaves Chemistry" in mails["cy@example.org"]


async def test_an_admin_whose_own_time_ends_gets_one_mail(reminders: LabReminders, store: Store, post: Post):
    await change(store, role=LabRole.ADMIN)
    await reminders.run()
    assert "Your time in Biology" in (await post.collect())["new@example.org"]


async def test_two_nodes_tell_everybody_once_between_them(
    reminders: LabReminders,
    store: Store,
    post: Post,
    clock: FakeClock,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(lab_reminders, "BATCH", 5)
    people = [make_user(id=f"u_{number}", email=f"{number}@example.org") for number in range(7)]
    node = Store(Database(database_url))
    try:
        await add_all(store, [*people, *(make_membership(user_id=user.id, expires_at=END) for user in people)])
        other = LabReminders(node, post.outbox, clock, issuer=ISSUER)
        told = await asyncio.gather(reminders.run(), other.run(), reminders.run())
        told.append(await reminders.run())
    finally:
        await node.close()
    assert sum(told) == 8
    async with store.read() as tx:
        mails = await tx.mails.all()
    # The eight are too many for one mail to each of the two admins.
    assert len(mails) == 8 + 2 * 2
