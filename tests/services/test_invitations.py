"""Invitations: who may invite and how, who may answer, and that each is answered once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from idp.crypto.opaque import hash_token
from idp.domain.acr import ACR_LADDER
from idp.domain.audit import AuditAction
from idp.domain.client import GrantType
from idp.domain.invitation import Invitation
from idp.domain.lab import LabRole, LabStatus, Membership
from idp.domain.user import AdminRole, User, UserStatus
from idp.services import invitation_room as room
from idp.services.input import InputRefused
from idp.services.invitations import (
    LONGEST_LIFETIME,
    USUAL_LIFETIME,
    InvitationInput,
    Invitations,
)
from idp.services.lab_permissions import OPERATOR, Actor, Forbidden, acting_service, acting_user
from idp.services.opened_invitation import InvitationFault, InvitationRefused
from idp.services.paging import write_cursor
from idp.store.database import Database
from idp.store.errors import Conflict, NotFound
from idp.store.store import Store
from tests.support.app import add_all
from tests.support.clock import START, FakeClock
from tests.support.factories import make_client, make_invitation, make_lab, make_lab_grant, make_membership, make_user
from tests.support.mail import Post, post

__all__ = ["post"]

ISSUER = "https://idp.example.org"
DAY = timedelta(days=1)
ADA = make_user(id="u_ada", email="ada@example.org", name="Ada")
EVE = make_user(id="u_eve", email="eve@example.org", email_verified=True)
NEW = make_user(id="u_new", email="new@example.org", email_verified=True)
CHEM = make_lab(id="lab_chem", slug="chem", name="Chemistry")


@dataclass
class World:
    store: Store
    clock: FakeClock
    post: Post
    invitations: Invitations

    async def actor(self, user: User = ADA, acr: str = ACR_LADDER[-1]) -> Actor:
        async with self.store.read() as tx:
            return await acting_user(tx, await tx.users.get(user.id), acr=acr, now=self.clock())

    async def link(self, actor: Actor | None = None, **given: Any) -> str:
        """Invite, and return the token."""
        read = InvitationInput.read({"lab": "bio", **given})
        _, url = await self.invitations.invite(actor or await self.actor(), read)
        return url.removeprefix(f"{ISSUER}/invitations/")

    async def change(self, repository: str, *key: str, **changes: Any) -> None:
        async with self.store.write() as tx:
            values = getattr(tx, repository)
            await values.save(replace(await values.get(*key), **changes))

    async def delete(self, repository: str, *key: str) -> None:
        async with self.store.write() as tx:
            assert await getattr(tx, repository).delete(*key)

    async def membership(self, user: User = NEW) -> Membership | None:
        async with self.store.read() as tx:
            return await tx.memberships.find("lab_bio", user.id)

    async def only(self) -> Invitation:
        async with self.store.read() as tx:
            (invitation,) = await tx.invitations.all()
        return invitation

    async def events(self) -> list[tuple[AuditAction, str]]:
        async with self.store.read() as tx:
            return sorted((event.action, event.actor) for event in await tx.audit_events.all())

    async def fault(self, token: str, user: User = NEW) -> InvitationFault | None:
        """Why the user cannot answer; opening and accepting say the same."""
        try:
            fault = (await self.invitations.open(token, user)).fault
        except InvitationRefused as refused:
            fault = refused.fault
        if fault is not None:
            for answer in (self.invitations.accept, self.invitations.decline):
                with pytest.raises(InvitationRefused) as raised:
                    await answer(token, user)
                assert raised.value.fault is fault
        return fault


@pytest.fixture
async def world(store: Store, clock: FakeClock, post: Post) -> World:
    """Ada looks after the lab `bio`; Eve is nobody there, and nobody is in `chem`."""
    people = (ADA, EVE, NEW)
    await add_all(store, [*people, make_lab(), CHEM, make_membership(user_id=ADA.id, role=LabRole.ADMIN)])
    return World(store, clock, post, Invitations(store, post.outbox, clock, issuer=ISSUER))


# ── Inviting ────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_an_invitation_by_mail_reaches_its_address_with_a_link_that_is_stored_as_a_hash_only(world: World):
    token = await world.link(email="New@Example.org", role="viewer", ends_at="2027-06-30")

    mails = await world.post.collect()

    assert list(mails) == ["new@example.org"]
    for told in ("Ada invites you to Biology", f"{ISSUER}/invitations/{token}", "viewer", "30 June 2027"):
        assert told in mails["new@example.org"]
    held = await world.only()
    assert (held.hash, held.expires_at) == (hash_token(token), START + USUAL_LIFETIME)
    assert token not in repr(held)
    assert await world.events() == [(AuditAction.INVITATION_CREATED, ADA.id)]


async def test_a_link_for_whoever_gets_it_is_mailed_to_nobody(world: World):
    assert await world.invitations.open(await world.link(), EVE)
    assert await world.post.collect() == {}


async def test_a_link_gives_at_most_the_role_member():
    with pytest.raises(InputRefused) as refused:
        InvitationInput.read({"lab": "bio", "role": "admin"})
    assert list(refused.value.errors) == ["role"]
    assert InvitationInput.read({"lab": "bio", "role": "admin", "email": "new@example.org"}).role is LabRole.ADMIN


async def test_only_the_faulty_address_is_named_of_an_admin_whose_address_is_wrong():
    with pytest.raises(InputRefused) as refused:
        InvitationInput.read({"lab": "bio", "role": "admin", "email": "new"})
    assert list(refused.value.errors) == ["email"]


async def test_dates_that_are_over_or_too_far_away_are_refused(world: World):
    for given, fields in (
        ({"expires_at": START}, {"expires_at"}),
        ({"expires_at": START + LONGEST_LIFETIME + DAY}, {"expires_at"}),
        ({"ends_at": START}, {"ends_at"}),
        ({"expires_at": "2020-01-01", "ends_at": "2020-01-01"}, {"expires_at", "ends_at"}),
    ):
        with pytest.raises(InputRefused) as refused:
            await world.link(email="new@example.org", **given)
        assert set(refused.value.errors) == fields
    assert await world.post.collect() == {}


async def test_nobody_can_accept_when_the_membership_would_have_ended(world: World):
    token = await world.link(ends_at=START + DAY)
    world.clock.advance(DAY)
    assert await world.fault(token) is InvitationFault.EXPIRED


async def test_who_belongs_to_the_lab_is_not_invited_and_whose_time_there_is_over_is(world: World):
    await add_all(world.store, [make_membership(user_id=NEW.id, expires_at=START + DAY)])
    with pytest.raises(InputRefused, match="belongs to the lab already"):
        await world.link(email="new@example.org")
    world.clock.advance(DAY)
    assert await world.link(email="new@example.org")


async def test_a_new_invitation_to_an_address_takes_the_place_of_the_one_before(world: World):
    first, second = [await world.link(email="new@example.org") for _ in range(2)]
    assert await world.fault(first) is InvitationFault.REVOKED
    assert await world.fault(second) is None


async def test_who_does_not_look_after_the_lab_does_not_invite(world: World):
    await add_all(world.store, [make_membership(user_id=NEW.id)])
    for user, error in ((EVE, NotFound), (NEW, Forbidden)):
        actor = await world.actor(user)
        with pytest.raises(error):
            await world.link(actor)
        with pytest.raises(error):
            await world.invitations.of_lab(actor, "bio")


async def test_an_admin_who_signed_in_too_weakly_does_not_invite(world: World):
    await world.change("labs", "lab_bio", admin_acr=ACR_LADDER[-1])
    with pytest.raises(Forbidden):
        await world.link(await world.actor(acr=ACR_LADDER[0]))
    assert await world.link()


async def test_into_an_archived_lab_nobody_is_invited(world: World):
    await world.change("labs", "lab_bio", status=LabStatus.ARCHIVED)
    with pytest.raises(Forbidden, match="archived"):
        await world.link()


async def test_the_number_of_open_invitations_is_bounded_for_a_labs_admin_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(room, "MOST_OPEN", 2)
    tokens = [await world.link() for _ in range(2)]
    with pytest.raises(Forbidden, match="2 open invitations"):
        await world.link()
    await world.invitations.decline(tokens[0], NEW)
    assert await world.link()
    assert await world.link(OPERATOR)


async def test_mails_are_counted_whatever_became_of_the_invitation(world: World, monkeypatch: pytest.MonkeyPatch):
    actor = await world.actor()

    async def invite_and_revoke(address: str) -> None:
        await world.link(actor, email=address)
        async with world.store.read() as tx:
            (invitation,) = await tx.invitations.open_for(address, now=world.clock())
        await world.invitations.revoke(actor, "bio", invitation.id)

    for _ in range(3):
        world.clock.advance(timedelta(hours=1))
        await invite_and_revoke("new@example.org")
    to_one = "3 invitations to this address within a day. The next one can follow from 2026-01-06 13:00:00 UTC on"
    with pytest.raises(Forbidden, match=to_one):
        await world.link(actor, email="New@example.org")
    await add_all(world.store, [make_membership(user_id=ADA.id, lab_id=CHEM.id, role=LabRole.ADMIN)])
    assert await world.link(await world.actor(), lab="chem", email="new@example.org")
    monkeypatch.setattr(room, "MOST_MAILED", 4)
    await invite_and_revoke("another@example.org")
    for address in ("more@example.org", "another@example.org"):
        with pytest.raises(Forbidden, match=r"4 invitations within a day. The next one can follow from 2026-01-06 13"):
            await world.link(actor, email=address)
    # A link is mailed to nobody, and whoever runs the installation is not limited.
    assert await world.link(actor)
    assert await world.link(OPERATOR, email="more@example.org")
    world.clock.advance(timedelta(hours=23))
    assert await world.link(actor, email="new@example.org")


async def test_invitations_come_in_pages_those_that_wait_first_and_the_newest_first(world: World):
    waits = [make_invitation(id=f"inv_w{n}", hash=f"w{n}", created_at=START + n // 2 * DAY) for n in range(3)]
    past = [
        make_invitation(id=f"inv_p{n}", hash=f"p{n}", created_at=START + n * DAY, revoked_at=START) for n in range(2)
    ]
    over = make_invitation(id="inv_over", hash="o", expires_at=START, created_at=START - DAY)
    await add_all(world.store, [*waits, *past, over, make_invitation(id="inv_x", hash="x", lab_id=CHEM.id)])
    expected = ["inv_w2", "inv_w1", "inv_w0", "inv_p1", "inv_p0", "inv_over"]
    for limit in (1, 2, 3, 4, 6):
        found: list[str] = []
        page = await world.invitations.of_lab(await world.actor(), "bio", limit=limit)
        found += [each.id for each in page.items]
        while page.next is not None:
            page = await world.invitations.of_lab(await world.actor(), "bio", after=page.next, limit=limit)
            assert 0 < len(page.items) <= limit
            found += [each.id for each in page.items]
        assert found == expected, limit
    for cursor in ("x", write_cursor(1, "9999-12-31T23:59:59-23:59", "i"), write_cursor(1, "2026", "i", "j")):
        with pytest.raises(InputRefused, match="no page of this list"):
            await world.invitations.of_lab(await world.actor(), "bio", after=cursor)


async def test_inviting_within_a_bigger_change_comes_to_nothing_with_it(world: World):
    given = InvitationInput.read({"lab": "bio", "email": "new@example.org"})
    actor = await world.actor()

    async def fail() -> None:
        async with world.store.write() as tx:
            await world.invitations.add(tx, actor, await tx.labs.get("lab_bio"), given, now=START)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert (await world.events(), await world.post.collect()) == ([], {})


# ── Taking back ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_what_was_taken_back_cannot_be_accepted_and_taking_back_twice_does_nothing(world: World):
    token = await world.link()
    invitation = await world.only()
    for _ in range(2):
        await world.invitations.revoke(await world.actor(), "bio", invitation.id)
    assert await world.fault(token) is InvitationFault.REVOKED
    assert await world.events() == [(AuditAction.INVITATION_CREATED, ADA.id), (AuditAction.INVITATION_REVOKED, ADA.id)]
    assert (await world.only()).revoked_at == START


async def test_an_answer_cannot_be_taken_back(world: World):
    await world.invitations.accept(await world.link(), NEW)
    with pytest.raises(Conflict):
        await world.invitations.revoke(await world.actor(), "bio", (await world.only()).id)


async def test_an_invitation_into_one_lab_cannot_be_taken_back_through_another(world: World):
    await add_all(world.store, [make_membership(user_id=EVE.id, lab_id=CHEM.id, role=LabRole.ADMIN)])
    token = await world.link()
    eve, invitation_id = await world.actor(EVE), (await world.only()).id
    for slug in ("bio", "chem"):
        with pytest.raises(NotFound):
            await world.invitations.revoke(eve, slug, invitation_id)
    with pytest.raises(NotFound):
        await world.invitations.revoke(await world.actor(), "bio", "inv_unknown")
    assert await world.fault(token) is None


# ── Answering ───────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_accepting_makes_a_member_until_the_end_that_was_offered(world: World):
    token = await world.link(email="new@example.org", role="admin", ends_at=START + 30 * DAY)

    membership = await world.invitations.accept(token, NEW)

    assert membership == await world.membership()
    assert (membership.role, membership.expires_at, membership.granted_by) == (LabRole.ADMIN, START + 30 * DAY, ADA.id)
    held = await world.only()
    assert (held.accepted_at, held.answered_by) == (START, NEW.id)
    assert await world.events() == [
        (AuditAction.INVITATION_ACCEPTED, NEW.id),
        (AuditAction.INVITATION_CREATED, ADA.id),
        (AuditAction.MEMBERSHIP_CREATED, NEW.id),
    ]
    assert await world.fault(token) is InvitationFault.USED


async def test_opening_uses_nothing_up(world: World):
    token = await world.link()
    for user in (NEW, EVE, NEW):
        assert (await world.invitations.open(token, user)).inviter == "Ada"
    assert (await world.only()).answered_by is None


async def test_who_declined_is_no_member_and_cannot_change_their_mind(world: World):
    token = await world.link()
    await world.invitations.decline(token, NEW)
    assert await world.membership() is None
    assert await world.fault(token) is InvitationFault.DECLINED
    assert (await world.events())[-1] == (AuditAction.INVITATION_DECLINED, NEW.id)


async def test_an_invitation_expires(world: World):
    token = await world.link(expires_at=START + DAY)
    world.clock.advance(DAY)
    assert await world.fault(token) is InvitationFault.EXPIRED


async def test_what_is_no_invitation_is_unknown(world: World):
    for token in ("", "x", "inv_" + "0" * 24, "a" * 43, "\ud800"):
        assert await world.fault(token) is InvitationFault.UNKNOWN


async def test_only_the_account_with_that_address_accepts_what_was_mailed_and_only_when_it_is_verified(world: World):
    token = await world.link(email="new@example.org")

    assert await world.fault(token, EVE) is InvitationFault.WRONG_ACCOUNT
    assert (await world.invitations.open(token, EVE)).masked_email == "n…@example.org"
    await world.change("users", NEW.id, email_verified=False)
    assert await world.fault(token, replace(NEW, email_verified=False)) is InvitationFault.NOT_VERIFIED
    # What the page once saw does not count, but what is true when the answer arrives.
    with pytest.raises(InvitationRefused):
        await world.invitations.accept(token, NEW)
    assert await world.membership() is None


async def test_a_disabled_account_joins_nothing(world: World):
    token = await world.link()
    await world.change("users", NEW.id, status=UserStatus.DISABLED)
    with pytest.raises(InvitationRefused):
        await world.invitations.accept(token, NEW)


async def test_what_waits_for_a_verified_address_is_answered_without_the_link_by_nobody_else(world: World):
    await world.link(email="new@example.org")
    invitation_id = (await world.only()).id

    assert [each.lab.slug for each in await world.invitations.waiting_for(NEW)] == ["bio"]
    assert await world.invitations.waiting_for(EVE) == ()
    unverified = replace(NEW, email_verified=False)
    assert await world.invitations.waiting_for(unverified) == ()
    assert await world.fault(invitation_id, EVE) is InvitationFault.UNKNOWN
    await world.change("users", NEW.id, email_verified=False)
    assert await world.fault(invitation_id, unverified) is InvitationFault.UNKNOWN
    await world.change("users", NEW.id, email_verified=True)
    assert await world.fault(invitation_id) is None
    await world.invitations.accept(invitation_id, NEW)
    assert await world.invitations.waiting_for(NEW) == ()


async def test_the_id_of_a_link_is_no_link(world: World):
    await world.link()
    assert await world.fault((await world.only()).id) is InvitationFault.UNKNOWN


# ── The inviter's rights, again ─────────────────────────────────────────────────────────────────────────────────────
async def test_nobody_joins_by_an_inviter_who_is_no_admin_any_more(world: World):
    token = await world.link(email="new@example.org")
    await world.change("memberships", "lab_bio", ADA.id, role=LabRole.MEMBER)
    assert await world.fault(token) is InvitationFault.INVITER_GONE
    assert await world.invitations.waiting_for(NEW) == ()
    await world.change("memberships", "lab_bio", ADA.id, role=LabRole.ADMIN, expires_at=START)
    assert await world.fault(token) is InvitationFault.INVITER_GONE
    await world.change("memberships", "lab_bio", ADA.id, expires_at=None)
    assert await world.fault(token) is None
    await world.change("users", ADA.id, status=UserStatus.DISABLED)
    assert await world.fault(token) is InvitationFault.INVITER_GONE
    await world.delete("users", ADA.id)
    assert await world.fault(token) is InvitationFault.INVITER_GONE


async def test_an_administrator_of_the_installation_and_the_command_line_invite_anywhere_as_long_as_they_are_that(
    world: World,
):
    await world.change("users", EVE.id, roles=(AdminRole.ADMIN,))
    by_eve, by_cli = await world.link(await world.actor(EVE)), await world.link(OPERATOR)
    assert (await world.invitations.open(by_cli, NEW)).inviter == "An administrator"
    await world.change("users", EVE.id, roles=(AdminRole.VIEWER,))
    assert await world.fault(by_eve) is InvitationFault.INVITER_GONE
    assert await world.fault(by_cli) is None


async def test_a_service_invites_as_long_as_the_lab_grants_it_that(world: World):
    robot = make_client(client_id="robot", client_name="Robot", grant_types=(GrantType.CLIENT_CREDENTIALS,))
    await add_all(world.store, [robot, make_lab_grant(client_id="robot", role=LabRole.ADMIN)])
    async with world.store.read() as tx:
        token = await world.link(await acting_service(tx, robot, now=START))
    assert (await world.invitations.open(token, NEW)).inviter == "Robot"
    assert await world.fault(token) is None
    await world.delete("lab_grants", "robot", "lab_bio")
    assert await world.fault(token) is InvitationFault.INVITER_GONE


async def test_into_a_lab_that_was_archived_meanwhile_nobody_comes(world: World):
    token = await world.link()
    await world.change("labs", "lab_bio", status=LabStatus.ARCHIVED)
    assert await world.fault(token) is InvitationFault.ARCHIVED


async def test_with_its_lab_an_invitation_is_gone(world: World):
    token = await world.link()
    await world.delete("labs", "lab_bio")
    assert await world.fault(token) is InvitationFault.UNKNOWN


# ── Who belongs to the lab already ──────────────────────────────────────────────────────────────────────────────────
async def test_accepting_raises_a_role_and_never_lowers_one(world: World):
    await add_all(world.store, [make_membership(user_id=NEW.id, role=LabRole.VIEWER)])
    for role, after in (("member", LabRole.MEMBER), ("viewer", LabRole.MEMBER)):
        token = await world.link(role=role)
        assert (await world.invitations.accept(token, NEW)).role is after
    assert [action for action, _ in await world.events()].count(AuditAction.MEMBERSHIP_UPDATED) == 1


# ── Races ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
async def other_node(world: World, database_url: str) -> AsyncIterator[Invitations]:
    store = Store(Database(database_url))
    yield Invitations(store, world.post.outbox, world.clock, issuer=ISSUER)
    await store.close()


async def test_of_those_who_accept_a_link_at_once_on_two_nodes_one_joins(world: World, other_node: Invitations):
    token = await world.link()

    results = await asyncio.gather(
        *(
            node.accept(token, user)
            for node in (world.invitations, other_node)
            for user in (NEW, EVE)
            for _ in range(2)
        ),
        return_exceptions=True,
    )

    refused = [result for result in results if isinstance(result, InvitationRefused)]
    assert ({each.fault for each in refused}, len(refused)) == ({InvitationFault.USED}, 7)
    members = [await world.membership(user) for user in (NEW, EVE)]
    assert sum(member is not None for member in members) == 1


async def test_one_person_who_accepts_two_invitations_at_once_is_one_member(world: World, other_node: Invitations):
    tokens = [await world.link(role="viewer"), await world.link(role="member")]
    await asyncio.gather(world.invitations.accept(tokens[0], NEW), other_node.accept(tokens[1], NEW))
    membership = await world.membership()
    assert membership is not None
    assert membership.role is LabRole.MEMBER


async def test_what_is_taken_back_and_accepted_at_once_is_one_of_the_two(world: World, other_node: Invitations):
    token = await world.link()
    actor, invitation_id = await world.actor(), (await world.only()).id
    accepted, revoked = await asyncio.gather(
        world.invitations.accept(token, NEW), other_node.revoke(actor, "bio", invitation_id), return_exceptions=True
    )
    assert isinstance(accepted, InvitationRefused) != isinstance(revoked, Conflict)
    assert (await world.membership() is None) == isinstance(accepted, InvitationRefused)
