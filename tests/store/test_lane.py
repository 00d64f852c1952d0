"""The hot path's own connections: what comes through them is the same as by any other way, and they heal."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Float, bindparam, delete, func, literal_column, select

from idp.domain.client import Client
from idp.domain.grant import AccessToken, AuthorizationCode, Grant, RefreshToken
from idp.domain.lab import Lab, LabMembership, Membership
from idp.domain.session import Session
from idp.domain.user import User
from idp.store.clients import clients
from idp.store.database import Database
from idp.store.errors import Unavailable
from idp.store.grants import Issued, access_tokens
from idp.store.labs import labs
from idp.store.prepared import Prepared
from idp.store.store import Store
from idp.store.users import users
from tests.support.factories import make_access_token, make_client, make_grant, make_user
from tests.support.postgresql import PostgreSQL
from tests.support.strategies import values_of

values = given(data=st.data())
few = settings(
    max_examples=settings.default.max_examples // 2, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
async def postgres(postgresql_url: str) -> AsyncIterator[Store]:
    store = Store(Database(postgresql_url))
    yield store
    await store.close()


def draw(data: st.DataObject, kind: type[Any], **links: str) -> Any:
    """Draw a value; what it refers to is as given."""
    value = data.draw(values_of(kind))
    return replace(value, **links)


async def clear(store: Store) -> None:
    """Forget the example before; what refers to a user goes with it."""
    async with store.database.write() as connection:
        for table in (users, clients, labs, access_tokens):
            await connection.execute(delete(table))


@values
@few
async def test_any_grant_with_its_code_and_tokens_comes_through_unchanged(store: Store, data: st.DataObject):
    user, client = draw(data, User), draw(data, Client)
    grant = draw(data, Grant, user_id=user.id, client_id=client.client_id)
    kinds = (AuthorizationCode, RefreshToken, AccessToken)
    code, refresh, access = (draw(data, kind, grant_id=grant.id) for kind in kinds)
    own = replace(draw(data, AccessToken), hash=f"{access.hash}'", grant_id=None)

    await clear(store)
    await store.commit.append(user, client, grant, code, refresh, access, own)

    assert await store.find_authorization_code(code.hash) == Issued(code, grant, user)
    assert await store.find_refresh_token(refresh.hash) == Issued(refresh, grant, user)
    assert await store.find_access_token(access.hash) == Issued(access, grant, user)
    assert await store.find_access_token(own.hash) == Issued(own, None, None)
    async with store.read() as tx:
        assert await tx.grants.get(grant.id) == grant
        assert await tx.access_tokens.get(own.hash) == own


@values
@few
async def test_any_session_client_and_membership_comes_through_unchanged(store: Store, data: st.DataObject):
    user, client, lab = draw(data, User), draw(data, Client), draw(data, Lab)
    session = draw(data, Session, user_id=user.id)
    membership = draw(data, Membership, user_id=user.id, lab_id=lab.id)

    await clear(store)
    await store.commit.append(user, client, lab, session, membership)

    assert await store.find_session(session.hash) == (session, user)
    assert await store.find_client(client.client_id) == client
    assert await store.find_memberships(user.id) == [LabMembership(lab=lab, membership=membership)]
    async with store.read() as tx:
        assert await tx.users.get(user.id) == user
        assert await tx.memberships.get(lab.id, user.id) == membership


async def test_connections_that_the_server_ended_are_opened_again(postgresql_server: PostgreSQL, postgres: Store):
    await postgres.commit.append(make_client(), make_user(), make_grant())
    assert await postgres.find_client("portal") == make_client()
    name = postgres.database.url.database

    await postgresql_server.execute(
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
    )
    await asyncio.sleep(0)  # the driver hears of it

    assert await postgres.find_client("portal") == make_client()
    await postgres.commit.append(make_access_token())
    assert await postgres.find_access_token(make_access_token().hash) is not None


async def test_more_reads_at_a_time_than_connections_wait_for_one_another(postgres: Store):
    statement = slow_statement(postgres.database)

    answers = await asyncio.gather(*(postgres.database.lane.fetch(statement, {"seconds": 0.01}) for _ in range(12)))

    assert [len(rows) for rows in answers] == [1] * 12


def slow_statement(database: Database) -> Prepared:
    sleeps = func.pg_sleep(bindparam("seconds", type_=Float)).is_not(None)
    return Prepared(select(literal_column("1")).where(sleeps), database.sqlalchemy_dialect)


async def test_a_read_that_takes_too_long_is_given_up_and_its_connection_works_on(postgresql_url: str):
    store = Store(Database(postgresql_url, statement_timeout_seconds=0.2))
    try:
        statement = slow_statement(store.database)
        for _ in range(4):
            with pytest.raises(Unavailable):
                await store.database.lane.fetch(statement, {"seconds": 30.0})
        assert len(await store.database.lane.fetch(statement, {"seconds": 0.0})) == 1
    finally:
        await store.close()


async def test_a_flush_that_waits_too_long_for_a_lock_is_given_up_and_the_next_one_works(postgresql_url: str):
    store = Store(Database(postgresql_url, statement_timeout_seconds=0.2))
    try:
        await store.commit.append(make_user(), make_client(), make_grant())
        async with store.write() as tx:
            await tx.access_tokens.add(make_access_token())
            # The key is taken by a transaction that is still open.
            for values in ((make_access_token(),), (make_access_token(), make_client(client_id="other"))):
                with pytest.raises(Unavailable, match="QueryCanceled"):
                    await store.commit.append(*values)

        await store.commit.append(make_access_token(hash="next"))
        async with store.read() as tx:
            assert {token.hash for token in await tx.access_tokens.all()} == {make_access_token().hash, "next"}
            assert await tx.clients.find("other") is None
    finally:
        await store.close()


async def test_a_read_that_is_cancelled_leaves_its_connection_usable(postgres: Store):
    statement = slow_statement(postgres.database)
    for _ in range(4):
        task = asyncio.create_task(postgres.database.lane.fetch(statement, {"seconds": 30.0}))
        await postgres.now()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    answers = await asyncio.gather(*(postgres.database.lane.fetch(statement, {"seconds": 0.0}) for _ in range(6)))
    assert [len(rows) for rows in answers] == [1] * 6
