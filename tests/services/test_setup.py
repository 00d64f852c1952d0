import asyncio
from collections.abc import AsyncIterator

import pytest

from idp.crypto.password import PasswordHasher
from idp.domain.audit import AuditAction
from idp.domain.user import AdminRole, User
from idp.services.accounts import AccountRefused
from idp.services.password_policy import PasswordPolicy
from idp.services.setup import Setup, SetupClosed
from idp.store.store import Store
from tests.support.clock import FakeClock
from tests.support.factories import make_installation, make_user

ADMIN = {"email": "Root@example.org", "name": "Root", "password": "correct-horse-battery"}


@pytest.fixture
async def setup(store: Store, clock: FakeClock) -> AsyncIterator[Setup]:
    async with store.write() as tx:
        await tx.installations.add(make_installation())
    hasher = PasswordHasher(memory_kib=32, time_cost=1)
    yield Setup(store, hasher, clock, PasswordPolicy(min_length=8, service_name="Lab ID"))
    hasher.close()


async def open_link(setup: Setup) -> str:
    token = await setup.open_link()
    assert token is not None
    return token


async def test_the_link_makes_the_first_super_admin_once(setup: Setup, store: Store):
    token = await open_link(setup)
    assert await setup.is_open(token)
    user = await setup.create_super_admin(token, **ADMIN)
    assert (user.email, user.name, user.roles) == ("root@example.org", "Root", (AdminRole.SUPER_ADMIN,))
    assert not await setup.is_open(token)
    with pytest.raises(SetupClosed):
        await setup.create_super_admin(token, **{**ADMIN, "email": "second@example.org"})
    async with store.read() as tx:
        assert await tx.users.all() == [user]
        actions = {(event.action, event.target) for event in await tx.audit_events.all()}
    assert actions == {(AuditAction.USER_CREATED, user.id), (AuditAction.ROLE_GRANTED, user.id)}


async def test_only_a_hash_of_the_link_is_stored(setup: Setup, store: Store):
    token = await open_link(setup)
    async with store.read() as tx:
        (link,) = await tx.one_time_links.all()
    assert token not in repr(link)


async def test_the_link_lives_for_an_hour(setup: Setup, clock: FakeClock):
    token = await open_link(setup)
    clock.advance(seconds=3599)
    assert await setup.is_open(token)
    clock.advance(seconds=1)
    assert not await setup.is_open(token)
    with pytest.raises(SetupClosed):
        await setup.create_super_admin(token, **ADMIN)


async def test_an_invented_link_is_closed(setup: Setup):
    await open_link(setup)
    assert not await setup.is_open("invented")
    with pytest.raises(SetupClosed):
        await setup.create_super_admin("invented", **ADMIN)


async def test_there_is_no_link_while_there_is_a_super_admin(setup: Setup, store: Store):
    token = await open_link(setup)
    async with store.write() as tx:
        await tx.users.add(make_user(roles=(AdminRole.SUPER_ADMIN,)))
    assert await setup.open_link() is None
    assert not await setup.is_open(token)
    with pytest.raises(SetupClosed):
        await setup.create_super_admin(token, **ADMIN)


async def test_every_fault_of_the_form_is_told_and_the_link_stays_open(setup: Setup):
    token = await open_link(setup)
    with pytest.raises(AccountRefused) as refused:
        await setup.create_super_admin(token, email="root", name="a\0b", password="short")
    assert set(refused.value.errors) == {"email", "name", "password"}
    assert (await setup.create_super_admin(token, **{**ADMIN, "name": "  "})).name is None


async def test_an_address_that_is_taken_is_refused_and_the_link_stays_open(setup: Setup, store: Store):
    async with store.write() as tx:
        await tx.users.add(make_user())
    token = await open_link(setup)
    with pytest.raises(AccountRefused) as refused:
        await setup.create_super_admin(token, **{**ADMIN, "email": "alice@example.org"})
    assert refused.value.errors == {"email": "It belongs to another account."}
    assert await setup.is_open(token)


async def test_of_posts_at_the_same_time_one_wins_even_with_two_links(setup: Setup, store: Store):
    tokens = [await open_link(setup), await open_link(setup)]
    posts = [
        setup.create_super_admin(tokens[number % 2], **{**ADMIN, "email": f"root{number}@example.org"})
        for number in range(6)
    ]
    results = await asyncio.gather(*posts, return_exceptions=True)
    assert sum(isinstance(result, User) for result in results) == 1
    assert sum(isinstance(result, SetupClosed) for result in results) == 5
    async with store.read() as tx:
        assert len(await tx.users.all()) == 1
