"""Requests to join a lab: who may ask whom, who is told, and who decides."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from idp.domain.acr import ACR_LADDER
from idp.domain.audit import AuditAction
from idp.domain.join_request import ASK_AGAIN_AFTER, ASK_AGAIN_AFTER_WITHDRAWAL
from idp.domain.lab import LabRole, LabStatus, Membership
from idp.domain.user import User
from idp.services import join_requests as service
from idp.services.input import InputRefused
from idp.services.join_requests import TOLD_EVERY, JoinRequests
from idp.services.lab_permissions import Actor, Forbidden, acting_user
from idp.services.labs import Labs
from idp.services.paging import write_cursor
from idp.store.errors import NotFound
from idp.store.store import Store
from tests.support.app import add_all
from tests.support.clock import START, FakeClock
from tests.support.factories import make_join_request, make_lab, make_membership, make_user
from tests.support.mail import Post, post
from tests.support.statements import statements

__all__ = ["post", "statements"]

ISSUER = "https://idp.example.org"
DAY = timedelta(days=1)
ADA = make_user(id="u_ada", email="ada@example.org")
BEA = make_user(id="u_bea", email="bea@example.org")
EVE = make_user(id="u_eve", email="eve@example.org", name="Eve")
NEW = make_user(id="u_new", email="new@example.org")


@pytest.fixture
async def requests(store: Store, clock: FakeClock, post: Post) -> JoinRequests:
    """Ada and Bea look after `bio`, which can be asked; `chem`, where Eve is an admin, cannot."""
    await add_all(
        store,
        [
            *(ADA, BEA, EVE, NEW),
            make_lab(accepts_join_requests=True),
            make_lab(id="lab_chem", slug="chem", name="Chemistry"),
            *(make_membership(user_id=user.id, role=LabRole.ADMIN) for user in (ADA, BEA)),
            make_membership(user_id=EVE.id, lab_id="lab_chem", role=LabRole.ADMIN),
        ],
    )
    return JoinRequests(store, post.outbox, clock, issuer=ISSUER)


async def actor(store: Store, user: User = ADA) -> Actor:
    async with store.read() as tx:
        return await acting_user(tx, user, acr=ACR_LADDER[-1], now=START)


async def membership(store: Store) -> Membership | None:
    async with store.read() as tx:
        return await tx.memberships.find("lab_bio", NEW.id)


async def actions(store: Store) -> list[str]:
    async with store.read() as tx:
        return sorted(str(event.action) for event in await tx.audit_events.all())


async def change_lab(store: Store, **changes: Any) -> None:
    async with store.write() as tx:
        await tx.labs.save(make_lab(**{"accepts_join_requests": True, **changes}))


# ── Asking ──────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_who_asks_is_listed_for_the_labs_admins_who_are_told_by_mail(
    requests: JoinRequests, store: Store, post: Post
):
    await requests.ask(EVE, "bio", " May I?\nEve ")

    ((request, person),) = (await requests.of_lab(await actor(store), "bio")).items
    assert await requests.count(await actor(store), "bio") == 1
    assert (request.message, person) == ("May I?\nEve", EVE)
    mails = await post.collect()
    assert set(mails) == {ADA.email, BEA.email}
    for told in ("Eve (eve@example.org) would like to join Biology", "May I?", f"{ISSUER}/labs/bio/requests"):
        assert told in mails["ada@example.org"]
    assert [(each.open, lab.slug) for each, lab in await requests.of_user(EVE)] == [(True, "bio")]
    assert await actions(store) == [AuditAction.JOIN_REQUEST_CREATED]


async def test_a_labs_admins_are_told_once_a_day_however_many_ask_and_whatever_becomes_of_it(
    requests: JoinRequests, store: Store, post: Post, clock: FakeClock
):
    await requests.ask(NEW, "bio", None)
    for _ in range(2):
        await requests.decide(await actor(store), "bio", NEW.id, role=LabRole.VIEWER)
        await Labs(store, clock).leave(NEW, "bio")
        await post.drop()
        await requests.ask(NEW, "bio", "again")
    await requests.ask(EVE, "bio", None)
    assert await post.collect() == {}
    await requests.withdraw(EVE, "bio")
    clock.advance(TOLD_EVERY)
    await requests.ask(EVE, "bio", None)
    assert len(await post.collect()) == 2


async def test_who_withdraws_asks_again_a_day_later_at_the_earliest(requests: JoinRequests, clock: FakeClock):
    await requests.ask(NEW, "bio", None)
    await requests.withdraw(NEW, "bio")
    assert [each.open for each, _ in await requests.of_user(NEW)] == [False]
    assert await requests.joinable(NEW) == ()
    with pytest.raises(Forbidden, match=r"You withdrew your request. You may ask again from 6 Jan 2026, 12:00 UTC on"):
        await requests.ask(NEW, "bio", None)
    clock.advance(ASK_AGAIN_AFTER_WITHDRAWAL)
    assert await requests.of_user(NEW) == ()
    assert [lab.slug for lab in await requests.joinable(NEW)] == ["bio"]
    await requests.ask(NEW, "bio", None)


async def test_a_lab_that_cannot_be_asked_looks_like_one_that_does_not_exist(requests: JoinRequests, store: Store):
    await change_lab(store, status=LabStatus.ARCHIVED)
    for slug in ("bio", "chem", "unknown"):
        with pytest.raises(NotFound, match=f"there is no lab {slug} that can be asked"):
            await requests.find_open_lab(NEW, slug)
        with pytest.raises(NotFound):
            await requests.ask(NEW, slug, None)
    assert await requests.joinable(NEW) == ()


async def test_who_belongs_for_good_has_nothing_to_ask_for_and_whose_time_ends_may_ask_to_stay(
    requests: JoinRequests, store: Store
):
    await add_all(store, [make_membership(user_id=NEW.id), make_membership(user_id=EVE.id, expires_at=START + DAY)])
    with pytest.raises(NotFound):
        await requests.ask(NEW, "bio", None)
    await requests.ask(EVE, "bio", "May I stay?")
    await requests.decide(await actor(store), "bio", EVE.id, role=LabRole.MEMBER)
    async with store.read() as tx:
        assert (await tx.memberships.get("lab_bio", EVE.id)).expires_at is None


async def test_nobody_asks_twice_or_soon_after_a_denial_or_many_labs_at_once(
    requests: JoinRequests, store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
):
    await requests.ask(NEW, "bio", None)
    with pytest.raises(Forbidden, match="asked already"):
        await requests.ask(NEW, "bio", None)
    await requests.decide(await actor(store), "bio", NEW.id, role=None)
    with pytest.raises(Forbidden, match=r"The lab declined. You may ask again from 4 Feb 2026, 12:00 UTC on"):
        await requests.ask(NEW, "bio", None)
    assert [each.open for each, _ in await requests.of_user(NEW)] == [False]
    assert await requests.joinable(NEW) == ()
    clock.advance(ASK_AGAIN_AFTER)
    assert await requests.of_user(NEW) == ()
    assert [lab.slug for lab in await requests.joinable(NEW)] == ["bio"]
    monkeypatch.setattr(service, "MOST_OPEN", 0)
    with pytest.raises(Forbidden, match="many labs"):
        await requests.ask(NEW, "bio", None)


async def test_one_can_ask_the_labs_to_which_one_has_no_tie(requests: JoinRequests):
    assert [lab.slug for lab in await requests.joinable(NEW)] == ["bio"]
    assert await requests.joinable(ADA) == ()
    await requests.ask(NEW, "bio", None)
    assert await requests.joinable(NEW) == ()


async def test_who_asks_many_labs_at_once_waits_for_no_more_than_one_may(
    requests: JoinRequests, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(service, "MOST_OPEN", 2)
    slugs = [f"lab-{number}" for number in range(4)]
    await add_all(store, [make_lab(id=f"id_{slug}", slug=slug, accepts_join_requests=True) for slug in slugs])
    results = await asyncio.gather(*(requests.ask(NEW, slug, None) for slug in slugs), return_exceptions=True)
    assert [type(result) for result in results].count(Forbidden) == 2
    assert len(await requests.of_user(NEW)) == 2


async def test_a_labs_requests_come_in_pages_the_oldest_first(requests: JoinRequests, store: Store, clock: FakeClock):
    people = [make_user(id=f"u_{number}", email=f"{number}@example.org") for number in range(5)]
    asked = [make_join_request(user_id=user.id, created_at=START + n // 2 * DAY) for n, user in enumerate(people)]
    over = [make_join_request(user_id=NEW.id, denied_at=START), make_join_request(user_id=EVE.id, withdrawn_at=START)]
    await add_all(store, [*people, *asked, *over])
    ada, found, after = await actor(store), [], None
    for size in (2, 2, 1):
        page = await requests.of_lab(ada, "bio", after=after, limit=2)
        assert len(page.items) == size
        found += [user.id for _, user in page.items]
        after = page.next
    assert (after, found) == (None, [user.id for user in people])
    assert await requests.count(ada, "bio") == 5
    for cursor in (
        "x",
        write_cursor("0001-01-01T00:00:00+23:59", "u"),
        write_cursor("soon", "u"),
        write_cursor(1, "u"),
    ):
        with pytest.raises(InputRefused, match="no page of this list"):
            await requests.of_lab(ada, "bio", after=cursor)


async def test_what_cannot_be_shown_is_not_taken(requests: JoinRequests):
    for message in ("x" * 2001, "a\x00b", "\u202eabc", "\x1b[31m"):
        with pytest.raises(InputRefused) as refused:
            await requests.ask(NEW, "bio", message)
        assert list(refused.value.errors) == ["message"]


async def test_only_what_waits_can_be_withdrawn_and_all_else_takes_the_same_statements(
    requests: JoinRequests, store: Store, statements: list[str]
):
    await requests.ask(NEW, "bio", None)
    await requests.withdraw(NEW, "bio")
    assert (await requests.of_lab(await actor(store), "bio")).items == ()
    taken = set()
    for slug in ("bio", "chem", "unknown"):
        statements.clear()
        with pytest.raises(NotFound):
            await requests.withdraw(NEW, slug)
        taken.add(tuple(statements))
    assert len(taken) == 1
    assert await actions(store) == [AuditAction.JOIN_REQUEST_CREATED, AuditAction.JOIN_REQUEST_WITHDRAWN]


# ── Deciding ────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_who_is_accepted_belongs_with_role_and_end_and_is_told(requests: JoinRequests, store: Store, post: Post):
    await requests.ask(NEW, "bio", None)
    await post.drop()

    await requests.decide(await actor(store), "bio", NEW.id, role=LabRole.VIEWER, ends_at=START + DAY)

    held = await membership(store)
    assert held is not None
    assert (held.role, held.expires_at, held.granted_by) == (LabRole.VIEWER, START + DAY, ADA.id)
    mails = await post.collect()
    assert list(mails) == [NEW.email]
    assert "Welcome to Biology" in mails["new@example.org"]
    assert f"{ISSUER}/account/labs" in mails["new@example.org"]
    assert await requests.of_user(NEW) == ()
    assert await actions(store) == ["join_request.created", "join_request.granted", "membership.created"]


async def test_who_is_denied_is_told_and_belongs_to_nothing(requests: JoinRequests, store: Store, post: Post):
    await requests.ask(NEW, "bio", None)
    await post.drop()
    await requests.decide(await actor(store), "bio", NEW.id, role=None)
    assert await membership(store) is None
    assert "was declined" in (await post.collect())["new@example.org"]
    assert await actions(store) == ["join_request.created", "join_request.denied"]


async def test_only_what_waits_for_this_lab_is_decided_by_its_admins(requests: JoinRequests, store: Store):
    await requests.ask(NEW, "bio", None)
    eve, ada = await actor(store, EVE), await actor(store)
    for who, slug, user_id, error in (
        (eve, "bio", NEW.id, NotFound),
        (eve, "chem", NEW.id, NotFound),
        (ada, "bio", EVE.id, NotFound),
        (ada, "bio", "u_unknown", NotFound),
        (await actor(store, NEW), "bio", NEW.id, NotFound),
    ):
        with pytest.raises(error):
            await requests.decide(who, slug, user_id, role=LabRole.ADMIN)
    await add_all(store, [make_membership(user_id=EVE.id)])
    eve = await actor(store, EVE)
    with pytest.raises(Forbidden):
        await requests.decide(eve, "bio", NEW.id, role=None)
    with pytest.raises(Forbidden):
        await requests.of_lab(eve, "bio")
    assert await membership(store) is None


async def test_an_end_in_the_past_and_an_archived_lab_leave_the_request_waiting(requests: JoinRequests, store: Store):
    await requests.ask(NEW, "bio", None)
    with pytest.raises(InputRefused):
        await requests.decide(await actor(store), "bio", NEW.id, role=LabRole.MEMBER, ends_at=START)
    await change_lab(store, status=LabStatus.ARCHIVED)
    with pytest.raises(Forbidden):
        await requests.decide(await actor(store), "bio", NEW.id, role=LabRole.MEMBER)
    assert await requests.count(await actor(store), "bio") == 1
    await requests.decide(await actor(store), "bio", NEW.id, role=None)


async def test_of_two_admins_who_decide_at_once_one_does(requests: JoinRequests, store: Store):
    await add_all(store, [make_join_request(user_id=NEW.id)])
    results = await asyncio.gather(
        requests.decide(await actor(store), "bio", NEW.id, role=LabRole.MEMBER),
        requests.decide(await actor(store, BEA), "bio", NEW.id, role=None),
        return_exceptions=True,
    )
    assert sum(isinstance(result, NotFound) for result in results) == 1
    assert (await membership(store) is None) == isinstance(results[0], NotFound)
