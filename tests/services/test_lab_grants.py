"""What a lab's admins give to services: a role, for a year at most."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from idp.domain.acr import ACR_LADDER
from idp.domain.client import ClientStatus, GrantType
from idp.domain.lab import LabRole, LabStatus
from idp.domain.lab_grant import MAX_GRANT
from idp.domain.user import User
from idp.services.clients import Clients
from idp.services.input import InputRefused
from idp.services.lab_grants import LabGrantInput, LabGrants
from idp.services.lab_permissions import OPERATOR, Actor, Forbidden, acting_user
from idp.store.errors import NotFound
from idp.store.store import Store
from tests.support.app import Installed, add_all
from tests.support.clock import START, FakeClock
from tests.support.factories import make_client, make_lab, make_lab_grant, make_membership, make_user

DAY = timedelta(days=1)
ADA = make_user(id="u_ada", email="ada@example.org")
EVE = make_user(id="u_eve", email="eve@example.org")
SERVICE = (GrantType.CLIENT_CREDENTIALS,)


@pytest.fixture
async def clients(store: Store, clock: FakeClock, installed: Installed) -> Clients:
    """Ada looks after `bio`, where Eve is a member and in `chem` an admin; `robot` is a service, `portal` is none."""
    await add_all(
        store,
        [
            *(ADA, EVE),
            *(make_lab(), make_lab(id="lab_chem", slug="chem", name="Chemistry")),
            make_membership(user_id=ADA.id, role=LabRole.ADMIN),
            make_membership(user_id=EVE.id),
            make_membership(user_id=EVE.id, lab_id="lab_chem", role=LabRole.ADMIN),
            make_client(client_id="robot", client_name="Robot", grant_types=SERVICE),
            make_client(client_id="off", grant_types=SERVICE, status=ClientStatus.DISABLED),
            make_client(),
        ],
    )
    return Clients(store, installed.data_keys, clock)


@pytest.fixture
def grants(store: Store, clients: Clients, clock: FakeClock) -> LabGrants:
    return LabGrants(store, clients, clock)


async def actor(store: Store, user: User = ADA) -> Actor:
    async with store.read() as tx:
        return await acting_user(tx, user, acr=ACR_LADDER[-1], now=START)


def given(**changes: Any) -> LabGrantInput:
    return LabGrantInput.read({"lab": "bio", "client_id": "robot", **changes})


async def actions(store: Store) -> list[str]:
    async with store.read() as tx:
        return sorted(str(event.action) for event in await tx.audit_events.all())


async def test_a_service_is_given_a_role_for_a_year_which_can_be_changed_and_taken_back(
    grants: LabGrants, store: Store
):
    ada = await actor(store)
    first = await grants.give(ada, given())
    assert (first.role, first.granted_by, first.expires_at) == (LabRole.MEMBER, ADA.id, START + timedelta(days=365))
    assert await grants.give(ada, given()) == first
    changed = await grants.give(OPERATOR, given(role="admin", expires_at=START + DAY))
    assert changed == replace(first, role=LabRole.ADMIN, granted_by="cli", expires_at=START + DAY)
    assert [(grant, client.client_id) for grant, client in await grants.of_lab(ada, "bio")] == [(changed, "robot")]
    await grants.withdraw(ada, "bio", "robot")
    assert await grants.of_lab(ada, "bio") == ()
    with pytest.raises(NotFound):
        await grants.withdraw(ada, "bio", "robot")
    assert await actions(store) == ["lab_grant.created", "lab_grant.deleted", "lab_grant.updated"]


async def test_what_does_not_act_for_itself_here_is_given_nothing_and_all_get_the_same_answer(
    grants: LabGrants, store: Store
):
    for client_id in ("portal", "off", "unknown"):
        with pytest.raises(InputRefused) as refused:
            await grants.give(await actor(store), given(client_id=client_id))
        assert refused.value.errors == {"client_id": "There is no service with this client_id that acts for itself."}


async def test_a_grant_that_is_over_or_longer_than_a_year_is_refused(grants: LabGrants, store: Store):
    for expires_at in (START, START + MAX_GRANT + DAY):
        with pytest.raises(InputRefused) as refused:
            await grants.give(await actor(store), given(expires_at=expires_at))
        assert list(refused.value.errors) == ["expires_at"]


async def test_only_the_labs_own_admins_decide_over_its_services(grants: LabGrants, store: Store):
    await add_all(store, [make_lab_grant(client_id="robot")])
    eve, nobody = await actor(store, EVE), Actor(id="u_nobody")
    for who, error in ((eve, Forbidden), (nobody, NotFound)):
        for attempt in (grants.give(who, given()), grants.withdraw(who, "bio", "robot"), grants.of_lab(who, "bio")):
            with pytest.raises(error):
                await attempt
    # What one lab gives cannot be taken back through another.
    with pytest.raises(NotFound):
        await grants.withdraw(eve, "chem", "robot")
    assert len(await grants.of_lab(await actor(store), "bio")) == 1


async def test_an_archived_lab_gives_nothing_more_and_takes_back(grants: LabGrants, store: Store):
    await add_all(store, [make_lab_grant(client_id="robot")])
    async with store.write() as tx:
        await tx.labs.save(make_lab(status=LabStatus.ARCHIVED))
    with pytest.raises(Forbidden, match="archived"):
        await grants.give(await actor(store), given())
    await grants.withdraw(await actor(store), "bio", "robot")
