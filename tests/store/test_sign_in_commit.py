"""Sign-ins without a transaction of their own: in a group commit, for whoever is active and not being changed."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from idp.domain.interaction import Interaction
from idp.domain.upstream import LinkedAccount
from idp.domain.user import UserStatus
from idp.store.errors import Conflict
from idp.store.group_commit import GroupCommit
from idp.store.store import Store
from tests.support.clock import START
from tests.support.databases import another
from tests.support.factories import (
    SESSION_ID,
    USER_ID,
    make_client,
    make_interaction,
    make_linked_account,
    make_session,
    make_user,
)

INTERACTION = make_interaction()


@pytest.fixture
async def store(store: Store) -> Store:
    """A store in which one user is active and another disabled, and an authorization request waits."""
    disabled = make_user(id="u_bob", email="bob@example.org", status=UserStatus.DISABLED)
    await store.commit.append(make_user(), disabled, make_client(), INTERACTION, *map(link_of, (USER_ID, disabled.id)))
    return store


def link_of(user_id: str) -> LinkedAccount:
    return make_linked_account(id=f"la_{user_id}", sub=user_id, user_id=user_id)


async def sign_in(store: Store, user_id: str = USER_ID, sid: str = SESSION_ID, *, interaction: bool = False) -> bool:
    session = make_session(id=sid, hash=f"hash-of-{sid}", user_id=user_id)
    return await store.commit.sign_in(
        link_of(user_id), session, session_id=sid, interaction=INTERACTION.hash if interaction else None
    )


async def sids(store: Store) -> set[str]:
    async with store.read() as tx:
        return {session.id for session in await tx.sessions.all()}


async def test_an_active_user_is_signed_in_within_the_request(store: Store) -> None:
    assert await sign_in(store, interaction=True)
    async with store.read() as tx:
        kept = await tx.interactions.get(INTERACTION.hash)
        assert (kept.session_id, kept.selected_session_id) == (SESSION_ID, SESSION_ID)
    assert await sids(store) == {SESSION_ID}


async def test_without_a_request_none_is_touched(store: Store) -> None:
    assert await sign_in(store)
    async with store.read() as tx:
        assert await tx.interactions.get(INTERACTION.hash) == INTERACTION


async def test_an_answered_request_stays_as_it_is(store: Store) -> None:
    async with store.write() as tx:
        await tx.interactions.save(replace(INTERACTION, used_at=INTERACTION.created_at))
    assert await sign_in(store, interaction=True)
    async with store.read() as tx:
        assert (await tx.interactions.get(INTERACTION.hash)).session_id is None


@pytest.mark.parametrize("user_id", ["u_bob", "u_nobody"])
async def test_who_is_disabled_or_gone_is_not_signed_in(store: Store, user_id: str) -> None:
    assert not await sign_in(store, user_id, interaction=True)
    assert await sids(store) == set()
    async with store.read() as tx:
        assert await tx.interactions.get(INTERACTION.hash) == INTERACTION


async def test_whose_link_was_taken_away_or_is_somebody_elses_by_now_is_not_signed_in(store: Store) -> None:
    async with store.write() as tx:
        await tx.linked_accounts.delete(link_of(USER_ID).id)
    assert not await sign_in(store)
    await store.commit.append(replace(link_of(USER_ID), user_id="u_bob"))
    assert not await sign_in(store)
    assert await sids(store) == set()


async def test_a_link_that_is_being_taken_away_signs_nobody_in(postgresql_url: str) -> None:
    """Whoever takes it away holds the user first, and may have committed before the flush could look."""
    async with another(postgresql_url) as here, another(postgresql_url) as there:
        await here.commit.append(make_user(), link_of(USER_ID))
        async with there.write() as tx:
            await tx.linked_accounts.delete(link_of(USER_ID).id)
            assert not await sign_in(here)
        assert not await sign_in(here)


async def test_each_of_a_batch_is_answered_for_itself(store: Store) -> None:
    answers = await asyncio.gather(
        sign_in(store, sid="s_1"), sign_in(store, "u_bob", "s_2"), sign_in(store, sid="s_3", interaction=True)
    )
    assert answers == [True, False, True]
    assert await sids(store) == {"s_1", "s_3"}


async def test_a_bad_row_fails_itself_and_no_neighbour(store: Store) -> None:
    await sign_in(store, sid="s_1")
    answers = await asyncio.gather(
        sign_in(store, sid="s_1"), sign_in(store, "u_bob", "s_2"), sign_in(store, sid="s_3"), return_exceptions=True
    )
    assert isinstance(answers[0], Conflict)
    assert answers[1:] == [False, True]


async def test_nobody_waits_for_a_transaction_that_changes_the_user(postgresql_url: str) -> None:
    """Whoever is being disabled by another node is not signed in past it, and holds up nobody else."""
    async with another(postgresql_url) as here, another(postgresql_url) as there:
        carol = make_user(id="u_carol", email="carol@example.org")
        await here.commit.append(make_user(), carol, link_of(USER_ID), link_of(carol.id))
        async with there.write() as tx:
            await tx.users.lock(USER_ID)
            assert await asyncio.gather(sign_in(here), sign_in(here, "u_carol", "s_2")) == [False, True]
        assert await sign_in(here)


async def test_two_nodes_sign_the_same_user_in_at_the_same_time(postgresql_url: str) -> None:
    async with another(postgresql_url) as here, another(postgresql_url) as there:
        await here.commit.append(make_user(), link_of(USER_ID))
        places = enumerate((here, there))
        turns = [sign_in(store, sid=f"s_{place}_{turn}") for place, store in places for turn in range(20)]
        assert all(await asyncio.gather(*turns))
        assert len(await sids(here)) == 40


async def test_two_nodes_that_wait_for_each_other_fail_nobody(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each uses up one authorization request and signs in within the other's; PostgreSQL lets one of them go on."""
    one, two = make_interaction(hash="1" * 64), make_interaction(hash="2" * 64)
    async with another(postgresql_url) as here, another(postgresql_url) as there:
        await here.commit.append(make_user(), make_client(), link_of(USER_ID), one, two)
        both, first = asyncio.Barrier(2), {here.commit, there.commit}
        consume = GroupCommit._consume

        async def consume_together(self: GroupCommit, *arguments: Any) -> None:
            await consume(self, *arguments)
            if self in first:
                first.remove(self)
                await both.wait()

        monkeypatch.setattr(GroupCommit, "_consume", consume_together)

        def batch(store: Store, used: Interaction, within: Interaction, name: str) -> list[Any]:
            session = make_session(id=f"s_{name}", hash=f"hash-of-{name}")
            return [
                store.commit.consume(Interaction, used.hash, now=START),
                store.commit.sign_in(link_of(USER_ID), session, session_id=session.id, interaction=within.hash),
                store.commit.append(make_session(id=f"o_{name}", hash=f"hash-of-other-{name}")),
            ]

        answers = await asyncio.gather(*batch(here, one, two, "here"), *batch(there, two, one, "there"))
        assert answers == [True, True, None] * 2
        assert await sids(here) == {"s_here", "o_here", "s_there", "o_there"}
