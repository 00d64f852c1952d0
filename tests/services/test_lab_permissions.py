"""Who may do what in labs: one table of everybody and everything, and what happens at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from idp.domain.client import GrantType
from idp.domain.lab import LabRole, LabStatus
from idp.domain.user import AdminRole, UserStatus
from idp.services.lab_input import LabChanges, LabInput, MembershipInput
from idp.services.lab_permissions import OPERATOR, Actor, Forbidden, Through
from idp.services.labs import Labs
from idp.store.errors import NotFound
from idp.store.store import Store
from tests.support.clock import START, FakeClock
from tests.support.factories import make_client, make_lab, make_lab_grant, make_membership, make_user

LATER, EARLIER = START + timedelta(days=1), START - timedelta(days=1)
ROLES = {"admin": LabRole.ADMIN, "deputy": LabRole.ADMIN, "member": LabRole.MEMBER, "viewer": LabRole.VIEWER}

INSTALLATION = {"root": AdminRole.SUPER_ADMIN, "office": AdminRole.ADMIN, "auditor": AdminRole.VIEWER}


@pytest.fixture
def labs(store: Store, clock: FakeClock) -> Labs:
    return Labs(store, clock)


@pytest.fixture
async def world(store: Store) -> None:
    """Biology with its people; Chemistry, which has one admin; and those who administer the installation."""
    async with store.write() as tx:
        await tx.labs.add(make_lab())
        await tx.labs.add(make_lab(id="lab_chem", slug="chem", name="Chemistry"))
        for name in (*ROLES, "former", "future", "chemist", "stranger"):
            await tx.users.add(make_user(id=f"u_{name}", email=f"{name}@example.org"))
        for name, role in INSTALLATION.items():
            await tx.users.add(make_user(id=f"u_{name}", email=f"{name}@example.org", roles=(role,)))
        for name, role in ROLES.items():
            await tx.memberships.add(make_membership(user_id=f"u_{name}", role=role))
        await tx.memberships.add(make_membership(user_id="u_former", role=LabRole.ADMIN, expires_at=EARLIER))
        await tx.memberships.add(make_membership(user_id="u_future", role=LabRole.ADMIN, not_before=LATER))
        chemist = make_membership(lab_id="lab_chem", user_id="u_chemist", role=LabRole.ADMIN)
        await tx.memberships.add(chemist)
        machine = {"grant_types": (GrantType.CLIENT_CREDENTIALS,), "redirect_uris": ()}
        for role in LabRole:
            await tx.clients.add(make_client(client_id=f"s_{role}", **machine))
            await tx.lab_grants.add(make_lab_grant(client_id=f"s_{role}", role=role))
        await tx.clients.add(make_client(client_id="s_none", **machine))
        await tx.clients.add(make_client(client_id="s_late", **machine))
        await tx.lab_grants.add(make_lab_grant(client_id="s_late", role=LabRole.ADMIN, expires_at=EARLIER))
        await tx.clients.add(make_client(client_id="s_everything", **machine, trusted=True, allowed_labs="*"))
        await tx.clients.add(make_client(client_id="s_trusted", **machine, trusted=True, allowed_labs=("bio",)))


async def actor_of(store: Store, labs: Labs, who: str, *, acr: str = "1", **application: object) -> Actor:
    """A service, or a person, perhaps through an application."""
    async with store.read() as tx:
        if who.startswith("s_"):
            return await labs.actor_for_service(await tx.clients.get(who))
        user = await tx.users.get(who)
    through = Through(make_client(**application), None, ()) if application else None
    return await labs.actor_for(user, acr=acr, through=through)


def membership(**changes: object) -> MembershipInput:
    return MembershipInput.read({"lab": "bio", "user": "u_member", "role": "viewer", **changes})


Attempt = Callable[[Labs, Actor], Awaitable[object]]
# From what everybody may do who sees the lab to what only whoever administers the installation may.
ATTEMPTS: dict[str, Attempt] = {
    "find": lambda labs, actor: labs.find(actor, "bio"),
    "admins": lambda labs, actor: labs.admins(actor, "bio"),
    "members": lambda labs, actor: labs.members(actor, "bio"),
    "count": lambda labs, actor: labs.count_members(actor, "bio"),
    "profile": lambda labs, actor: labs.update(actor, "bio", LabChanges.read({"contact": actor.id})),
    "change": lambda labs, actor: labs.set_member(actor, membership()),
    "make an admin": lambda labs, actor: labs.set_member(actor, membership(user="u_viewer", role="admin")),
    "remove": lambda labs, actor: labs.remove_member(actor, "bio", "member@example.org"),
    "archive": lambda labs, actor: labs.update(actor, "bio", LabChanges.read({"status": "archived"})),
    "create": lambda labs, actor: labs.create(actor, LabInput.read({"slug": "new", "name": "New"})),
    "delete": lambda labs, actor: labs.delete(actor, "bio"),
}
EVERYTHING = tuple(ATTEMPTS)
TO_SEE, TO_READ, TO_MANAGE = EVERYTHING[:2], EVERYTHING[:4], EVERYTHING[:8]
# Who may do what; for whoever may do nothing the lab does not exist.
EVERYBODY: dict[str, tuple[str, ...]] = {
    "u_admin": TO_MANAGE,
    "u_member": TO_SEE,
    "u_viewer": TO_SEE,
    "u_former": (),
    "u_future": (),
    "u_chemist": (),
    "u_stranger": (),
    "u_root": EVERYTHING,
    "u_office": EVERYTHING,
    "u_auditor": TO_READ,
    "s_admin": TO_MANAGE,
    "s_member": TO_SEE,
    "s_viewer": TO_SEE,
    "s_none": (),
    "s_late": (),
    "s_everything": EVERYTHING,
    "s_trusted": (),
}


@pytest.mark.parametrize("who", EVERYBODY)
async def test_everybody_does_what_their_role_allows_and_nothing_else(labs: Labs, store: Store, world: None, who: str):
    actor = await actor_of(store, labs, who)
    allowed = EVERYBODY[who]
    assert [lab.slug for lab in (await labs.list(actor)).items] == (
        ["bio", "chem"] if actor.sees_all else ["bio"] if allowed else ["chem"] if who == "u_chemist" else []
    )
    for name, attempt in ATTEMPTS.items():
        if name in allowed:
            await attempt(labs, actor)
        else:
            # What is to be created does not exist for anybody yet: nothing is given away.
            with pytest.raises(Forbidden if allowed or name == "create" else NotFound):
                await attempt(labs, actor)
    async with store.read() as tx:
        left = await tx.labs.find_by_slug("bio")
        touched = {event.actor for event in await tx.audit_events.all()}
    assert left is None if allowed == EVERYTHING else left is not None and left.status is LabStatus.ACTIVE
    assert touched == ({who} if len(allowed) > len(TO_READ) else set())


async def test_an_application_reaches_no_further_than_the_labs_that_it_may_see(labs: Labs, store: Store, world: None):
    for who, allowed_labs, attempts in (
        ("u_admin", ("bio",), TO_MANAGE),
        ("u_admin", ("chem",), ()),
        ("u_admin", (), ()),
        ("u_root", ("chem",), ()),
        # Whoever administers the installation does not do so through an application that sees some labs only.
        ("u_root", ("bio", "chem"), TO_MANAGE),
        ("u_auditor", ("bio",), TO_READ),
    ):
        actor = await actor_of(store, labs, who, allowed_labs=allowed_labs)
        listed = [lab.slug for lab in (await labs.list(actor)).items]
        assert listed == [slug for slug in allowed_labs if slug == "bio" or actor.sees_all]
        for name, attempt in ATTEMPTS.items():
            if name not in attempts:
                with pytest.raises(Forbidden if attempts or name == "create" else NotFound):
                    await attempt(labs, actor)
        if attempts:
            await ATTEMPTS["find"](labs, actor)
    everywhere = await actor_of(store, labs, "u_root", allowed_labs="*")
    await labs.create(everywhere, LabInput.read({"slug": "new", "name": "New"}))


async def test_whoever_signed_in_too_weakly_for_the_lab_is_no_admin_of_it(labs: Labs, store: Store, world: None):
    await labs.update(OPERATOR, "bio", LabChanges.read({"admin_acr": "2"}))
    weak, strong = [await actor_of(store, labs, "u_admin", acr=acr) for acr in ("1", "2")]
    with pytest.raises(Forbidden):
        await labs.set_member(weak, membership())
    await labs.set_member(strong, membership())


async def test_whether_an_account_exists_is_no_lab_admins_business(labs: Labs, store: Store, world: None):
    actor = await actor_of(store, labs, "u_admin")
    told = set()
    for user in ("stranger@example.org", "nobody@example.org", "nobody", "u_nobody", "u_stranger", "u_chemist"):
        for attempt in (labs.set_member(actor, membership(user=user)), labs.remove_member(actor, "bio", user)):
            with pytest.raises(NotFound) as refused:
                await attempt
            told.add(str(refused.value).replace(user, "…"))
    assert told == {"there is no such member; invite them by address", "… is no member of bio"}


# ── The last admin ──────────────────────────────────────────────────────────────────────────────────────────────────
LAST_ADMIN = {
    "demoted": {"role": "member"},
    "ended": {"role": "admin", "expires_at": EARLIER.isoformat()},
    "put off": {"role": "admin", "not_before": LATER.isoformat()},
    "ended sooner": {"role": "admin", "expires_at": LATER.isoformat()},
}


async def test_nobody_but_an_administrator_takes_a_labs_last_admin_away(labs: Labs, store: Store, world: None):
    chemist = await actor_of(store, labs, "u_chemist")
    async with store.read() as tx:
        user = await tx.users.get("u_chemist")
    attempts = [
        *(labs.set_member(chemist, membership(lab="chem", user="u_chemist", **each)) for each in LAST_ADMIN.values()),
        labs.remove_member(chemist, "chem", "u_chemist"),
        labs.leave(user, "chem"),
    ]
    for attempt in attempts:
        with pytest.raises(Forbidden, match=r"The lab would have no admin\. Make somebody else one first,"):
            await attempt
    # Neither one who does not count yet, nor one who cannot sign in, takes their place.
    await labs.set_member(
        OPERATOR, membership(lab="chem", user="u_stranger", role="admin", not_before=LATER.isoformat())
    )
    async with store.write() as tx:
        await tx.users.save(replace(await tx.users.get("u_viewer"), status=UserStatus.DISABLED))
    await labs.set_member(OPERATOR, membership(lab="chem", user="u_viewer", role="admin"))
    with pytest.raises(Forbidden):
        await labs.leave(user, "chem")
    await labs.set_member(OPERATOR, membership(lab="chem", user="u_chemist", role="viewer"))
    await labs.remove_member(OPERATOR, "chem", "u_chemist")


async def test_an_admin_who_is_not_the_last_one_may_go(labs: Labs, store: Store, world: None):
    admin, deputy = await actor_of(store, labs, "u_admin"), await actor_of(store, labs, "u_deputy")
    await labs.set_member(admin, membership(user="u_deputy", role="admin", expires_at=LATER.isoformat()))
    await labs.remove_member(admin, "bio", "u_deputy")
    # The last one may still be given a longer time, and the same again.
    await labs.set_member(OPERATOR, membership(user="u_admin", role="admin", expires_at=LATER.isoformat()))
    for ends in (LATER + timedelta(days=1), LATER + timedelta(days=1)):
        await labs.set_member(admin, membership(user="u_admin", role="admin", expires_at=ends.isoformat()))
    with pytest.raises(Forbidden, match="Only an admin"):
        # Who was one a moment ago has lost that.
        await labs.set_member(deputy, membership())


async def test_of_two_admins_who_demote_each_other_at_once_one_stays(labs: Labs, store: Store, world: None):
    admin, deputy = await actor_of(store, labs, "u_admin"), await actor_of(store, labs, "u_deputy")
    results = await asyncio.gather(
        labs.set_member(admin, membership(user="u_deputy")),
        labs.set_member(deputy, membership(user="u_admin")),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["Forbidden", "Membership"]
    assert len(await labs.admins(OPERATOR, "bio")) == 1


async def test_of_two_admins_who_leave_at_once_one_stays(labs: Labs, store: Store, world: None):
    async with store.read() as tx:
        users = [await tx.users.get(id) for id in ("u_admin", "u_deputy")]
    results = await asyncio.gather(*(labs.leave(user, "bio") for user in users), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Forbidden", "NoneType"]
    assert len(await labs.admins(OPERATOR, "bio")) == 1
