import asyncio
from datetime import UTC, datetime

import pytest

from idp.domain.audit import AuditAction
from idp.domain.lab import Lab, LabRole
from idp.services.input import InputRefused
from idp.services.labs import LabInput, Labs, MembershipInput
from idp.store.errors import NotFound
from idp.store.store import Store
from tests.support.clock import FakeClock
from tests.support.factories import make_user


@pytest.fixture
def labs(store: Store, clock: FakeClock) -> Labs:
    return Labs(store, clock)


def lab_input(**changes: object) -> LabInput:
    return LabInput.read({"slug": "bio", "name": "Biology", **changes})


def membership_input(**changes: object) -> MembershipInput:
    return MembershipInput.read({"lab": "bio", "user": "alice@example.org", **changes})


async def test_a_lab_is_created_and_recorded(labs: Labs, store: Store):
    lab = await labs.create(lab_input(homepage="https://bio.example.org"), actor="cli")
    async with store.read() as tx:
        assert await tx.labs.find_by_slug("bio") == lab
        (event,) = await tx.audit_events.all()
    assert (event.action, event.actor, event.target) == (AuditAction.LAB_CREATED, "cli", lab.id)


@pytest.mark.parametrize(
    "slug", ["Bio", "bio_", "-bio", "bio--x", "", "x" * 40, "system", "admin", "me", "bio\n", "bío"]
)
def test_a_slug_outside_the_rules_is_refused(slug: str):
    with pytest.raises(InputRefused) as refused:
        lab_input(slug=slug)
    assert list(refused.value.errors) == ["slug"]


async def test_a_slug_in_use_is_refused(labs: Labs):
    await labs.create(lab_input(), actor="cli")
    with pytest.raises(InputRefused, match="there is a lab with this slug already"):
        await labs.create(lab_input(), actor="cli")


async def test_a_buried_labs_slug_never_returns(labs: Labs, store: Store, clock: FakeClock):
    lab = await labs.create(lab_input(), actor="cli")
    async with store.write() as tx:
        await tx.labs.bury(lab, now=clock())
    with pytest.raises(InputRefused, match="never given out again"):
        await labs.create(lab_input(), actor="cli")


async def test_of_two_labs_with_one_slug_made_at_once_one_is_refused(labs: Labs):
    results = await asyncio.gather(*(labs.create(lab_input(), actor="cli") for _ in range(2)), return_exceptions=True)
    assert sum(isinstance(result, Lab) for result in results) == 1
    assert sum(isinstance(result, InputRefused) for result in results) == 1


async def test_a_member_is_added_changed_and_removed(labs: Labs, store: Store):
    lab = await labs.create(lab_input(), actor="cli")
    async with store.write() as tx:
        await tx.users.add(make_user())
    await labs.add_member(membership_input(role="viewer"), actor="cli")
    await labs.add_member(membership_input(role="admin", expires_at="2027-06-30"), actor="u_boss")
    async with store.read() as tx:
        held = await tx.memberships.get(lab.id, "u_alice")
    assert (held.role, held.granted_by) == (LabRole.ADMIN, "cli")
    assert held.expires_at == datetime(2027, 6, 30, 23, 59, 59, tzinfo=UTC)
    await labs.remove_member("bio", "alice@example.org", actor="cli")
    async with store.read() as tx:
        assert await tx.memberships.all() == []
        actions = {event.action for event in await tx.audit_events.all()}
    assert actions == {
        AuditAction.LAB_CREATED,
        AuditAction.MEMBERSHIP_CREATED,
        AuditAction.MEMBERSHIP_UPDATED,
        AuditAction.MEMBERSHIP_DELETED,
    }


async def test_what_does_not_exist_is_not_found(labs: Labs, store: Store):
    with pytest.raises(NotFound, match="there is no lab bio"):
        await labs.add_member(membership_input(), actor="cli")
    await labs.create(lab_input(), actor="cli")
    with pytest.raises(NotFound, match=r"there is no account alice@example\.org"):
        await labs.add_member(membership_input(), actor="cli")
    async with store.write() as tx:
        await tx.users.add(make_user())
    with pytest.raises(NotFound, match=r"alice@example\.org is no member of bio"):
        await labs.remove_member("bio", "u_alice", actor="cli")


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
