"""Which applications a lab's admins let be told of it."""

from typing import Any

import pytest

from idp.domain.acr import ACR_LADDER
from idp.domain.client import Client, RequireLab
from idp.domain.lab import LabRole, ManagedBy
from idp.domain.user import User
from idp.services.clients import Clients
from idp.services.lab_applications import LabApplications
from idp.services.lab_permissions import OPERATOR, Actor, Forbidden, acting_user
from idp.store.errors import NotFound
from idp.store.store import Store
from tests.support.app import Installed, add_all
from tests.support.clock import START, FakeClock
from tests.support.factories import make_client, make_lab, make_membership, make_user

ADA = make_user(id="u_ada", email="ada@example.org")
EVE = make_user(id="u_eve", email="eve@example.org")


@pytest.fixture
async def clients(store: Store, clock: FakeClock, installed: Installed) -> Clients:
    """Ada looks after `bio`, where Eve is a member and in `chem` an admin."""
    await add_all(
        store,
        [
            *(ADA, EVE),
            *(make_lab(), make_lab(id="lab_chem", slug="chem", name="Chemistry")),
            make_membership(user_id=ADA.id, role=LabRole.ADMIN),
            make_membership(user_id=EVE.id),
            make_membership(user_id=EVE.id, lab_id="lab_chem", role=LabRole.ADMIN),
            make_client(),
        ],
    )
    return Clients(store, installed.data_keys, clock)


@pytest.fixture
def applications(store: Store, clients: Clients, clock: FakeClock) -> LabApplications:
    return LabApplications(store, clients, clock)


async def actor(store: Store, user: User = ADA) -> Actor:
    async with store.read() as tx:
        return await acting_user(tx, user, acr=ACR_LADDER[-1], now=START)


async def actions(store: Store) -> list[str]:
    async with store.read() as tx:
        return sorted(str(event.action) for event in await tx.audit_events.all())


async def portal(clients: Clients) -> Client:
    found = await clients.find("portal")
    assert found is not None
    return found


async def save(store: Store, clients: Clients, **changes: Any) -> None:
    async with store.write() as tx:
        await tx.clients.save(make_client(**changes))
    clients.forget("portal")


async def test_a_lab_lets_an_application_be_told_of_it_at_once_and_no_longer(
    applications: LabApplications, clients: Clients, store: Store
):
    ada = await actor(store)
    await save(store, clients, allowed_labs=("chem",))
    assert not (await portal(clients)).may_see("bio")
    for _ in range(2):
        await applications.allow(ada, "bio", "portal")
    assert (await portal(clients)).allowed_labs == ("chem", "bio")
    assert [(each.client.client_id, each.named) for each in await applications.of_lab(ada, "bio")] == [("portal", True)]
    await applications.disallow(ada, "bio", "portal")
    assert (await portal(clients)).allowed_labs == ("chem",)
    assert await applications.of_lab(ada, "bio") == ()
    with pytest.raises(NotFound):
        await applications.disallow(ada, "bio", "portal")
    assert await actions(store) == ["lab_application.allowed", "lab_application.disallowed"]


async def test_one_that_may_see_all_labs_is_listed_and_is_not_a_labs_to_stop(
    applications: LabApplications, clients: Clients, store: Store
):
    ada = await actor(store)
    await save(store, clients, allowed_labs="*")
    assert [each.named for each in await applications.of_lab(ada, "bio")] == [False]
    await applications.allow(ada, "bio", "portal")
    with pytest.raises(Forbidden, match="all labs"):
        await applications.disallow(ada, "bio", "portal")
    assert (await portal(clients)).allowed_labs == "*"


async def test_one_that_registered_itself_is_told_of_no_lab(
    applications: LabApplications, clients: Clients, store: Store
):
    await save(store, clients, managed_by=ManagedBy.REGISTRATION)
    with pytest.raises(Forbidden, match="registered itself"):
        await applications.allow(await actor(store), "bio", "portal")


async def test_where_an_application_lets_people_in_by_their_labs_no_lab_opens_the_door_for_its_own(
    applications: LabApplications, clients: Clients, store: Store
):
    ada = await actor(store)
    await save(store, clients, allowed_labs=("chem",), require_lab=RequireLab.ANY)
    with pytest.raises(Forbidden, match="by their labs"):
        await applications.allow(ada, "bio", "portal")
    await applications.allow(OPERATOR, "bio", "portal")
    await applications.disallow(ada, "bio", "portal")
    await save(store, clients, allowed_labs=("bio", "chem"), require_lab=RequireLab.ALL)
    with pytest.raises(Forbidden, match="all of its labs"):
        await applications.disallow(ada, "bio", "portal")
    await applications.disallow(OPERATOR, "bio", "portal")


async def test_only_the_labs_own_admins_decide_who_is_told_of_it(
    applications: LabApplications, clients: Clients, store: Store
):
    eve, nobody = await actor(store, EVE), Actor(id="u_nobody")
    for who, error in ((eve, Forbidden), (nobody, NotFound)):
        for attempt in (
            applications.allow(who, "bio", "portal"),
            applications.disallow(who, "bio", "portal"),
            applications.of_lab(who, "bio"),
        ):
            with pytest.raises(error):
                await attempt
    with pytest.raises(NotFound):
        await applications.allow(await actor(store), "bio", "unknown")
    assert (await portal(clients)).allowed_labs == ()
