"""Group commit: many writers in one transaction, each answered for its own row."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from idp.domain.grant import AccessToken, AuthorizationCode, RefreshToken
from idp.store import database as database_module
from idp.store.database import Database
from idp.store.errors import Conflict, StoreError, Unavailable, UnknownOutcome
from idp.store.group_commit import GroupCommit
from idp.store.store import Store
from tests.support.clock import START
from tests.support.databases import another
from tests.support.factories import (
    make_access_token,
    make_client,
    make_code,
    make_grant,
    make_lab,
    make_refresh_token,
    make_user,
)
from tests.support.postgresql import PostgreSQL

PARENTS = (make_user(), make_client(), make_grant())
CODE = make_code()


@pytest.fixture
async def store(store: Store) -> Store:
    """A store that holds a grant."""
    await store.commit.append(*PARENTS)
    return store


@pytest.fixture
def flushes() -> list[int]:
    return []


@pytest.fixture
async def commit(store: Store, flushes: list[int]) -> AsyncIterator[GroupCommit]:
    """A group commit whose flushes are recorded, over a database that holds a grant."""
    commit = GroupCommit(store.database, on_flush=flushes.append)
    yield commit
    await commit.close()


Commit = Callable[[], Awaitable[Any]]


def on_commit(patch: pytest.MonkeyPatch, around: Callable[[Any, Commit], Awaitable[Any]]) -> None:
    """Let every commit go through `around`, which is given the connection and what commits.

    A single statement on PostgreSQL commits itself.
    """
    commit, execute, execute_many = AsyncConnection.commit, asyncpg.Connection.execute, asyncpg.Connection.executemany

    async def patched_commit(connection: AsyncConnection) -> None:
        await around(connection, lambda: commit(connection))

    async def patched_execute(connection: asyncpg.Connection, query: str, *values: Any, **options: Any) -> Any:
        def run() -> Awaitable[Any]:
            return execute(connection, query, *values, **options)

        return await (around(connection, run) if query == "COMMIT" else run())

    async def patched_execute_many(connection: asyncpg.Connection, *arguments: Any, **options: Any) -> None:
        def run() -> Awaitable[Any]:
            return execute_many(connection, *arguments, **options)

        await (run() if connection.is_in_transaction() else around(connection, run))

    patch.setattr(AsyncConnection, "commit", patched_commit)
    patch.setattr(asyncpg.Connection, "execute", patched_execute)
    patch.setattr(asyncpg.Connection, "executemany", patched_execute_many)


class Gate:
    """Holds every commit until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def hold(self, _connection: Any, commit: Commit) -> Any:
        self.reached.set()
        await self.open.wait()
        return await commit()


@pytest.fixture
def gate(store: Store, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate before every commit of the test; what the store holds was committed before."""
    gate = Gate()
    on_commit(monkeypatch, gate.hold)
    return gate


def token(hash: str, **changes: Any) -> AccessToken:
    return make_access_token(hash=hash, **changes)


async def tokens_in(store: Store) -> set[str]:
    async with store.read() as tx:
        return {found.hash for found in await tx.access_tokens.all()}


async def outcomes_of(*operations: Any) -> list[Any]:
    """Let the operations run together; refusals are returned by the name of their class."""
    outcomes = await asyncio.gather(*operations, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, StoreError):
            raise outcome
    return [type(outcome).__name__ if isinstance(outcome, StoreError) else outcome for outcome in outcomes]


# ── Appending ───────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_an_append_is_answered_only_when_its_row_is_committed(
    store: Store, commit: GroupCommit, gate: Gate, database_url: str
):
    async with another(database_url) as reader:
        answer = asyncio.create_task(commit.append(token("t")))
        await gate.reached.wait()
        assert await reader.find_access_token("t") is None
        assert not answer.done()

        gate.open.set()
        await answer

        assert await reader.find_access_token("t") is not None


async def test_concurrent_appends_share_transactions(
    store: Store, commit: GroupCommit, flushes: list[int], monkeypatch: pytest.MonkeyPatch
):
    commits = []

    async def count(connection: Any, commit: Commit) -> Any:
        commits.append(connection)
        return await commit()

    on_commit(monkeypatch, count)

    await asyncio.gather(*(commit.append(token(f"t{number}")) for number in range(200)))

    assert len(await tokens_in(store)) == 200
    assert flushes == [200]
    assert len(commits) == 1


async def test_what_comes_while_a_flush_runs_goes_into_the_next_one(
    store: Store, commit: GroupCommit, flushes: list[int], gate: Gate
):
    first = asyncio.create_task(commit.append(token("first")))
    await gate.reached.wait()
    others = [asyncio.create_task(commit.append(token(f"t{number}"))) for number in range(5)]
    await asyncio.sleep(0)
    assert commit.depth == 5

    gate.open.set()
    await asyncio.gather(first, *others)

    assert flushes == [1, 5]
    assert commit.depth == 0


async def test_more_than_one_batch_holds_is_flushed_in_several(store: Store, flushes: list[int]):
    commit = GroupCommit(store.database, max_batch=10, on_flush=flushes.append)

    await asyncio.gather(*(commit.append(token(f"t{number}")) for number in range(25)))

    assert flushes == [10, 10, 5]
    assert len(await tokens_in(store)) == 25


async def test_children_may_be_enqueued_before_their_parents(database: Database, flushes: list[int]):
    commit = GroupCommit(database, on_flush=flushes.append)

    await asyncio.gather(*(commit.append(value) for value in (token("t"), CODE, *reversed(PARENTS))))

    assert flushes == [5]


async def test_values_appended_together_are_saved_together_or_not_at_all(store: Store, commit: GroupCommit):
    with pytest.raises(Conflict):
        await commit.append(make_lab(), token("good"), token("orphan", grant_id="missing"))
    with pytest.raises(Conflict):
        await commit.append(token("good"), token("orphan", grant_id="missing"))

    assert await tokens_in(store) == set()
    async with store.read() as tx:
        assert await tx.labs.all() == []


BAD_ROWS = {
    "an existing key": (lambda: token("existing"), "Conflict"),
    "a missing parent": (lambda: token("bad", grant_id="missing"), "Conflict"),
    "a text that is no UTF-8": (lambda: token("bad", scope="\ud800"), "Rejected"),
    "a document that is no JSON": (lambda: token("bad", claims={"not": {"json"}}), "Rejected"),
    "an instant without a zone": (lambda: token("bad", expires_at=START.replace(tzinfo=None)), "Rejected"),
}


@pytest.mark.parametrize("bad", BAD_ROWS)
async def test_a_bad_row_fails_itself_and_no_neighbour(store: Store, commit: GroupCommit, flushes: list[int], bad: str):
    row, error = BAD_ROWS[bad]
    await commit.append(token("existing"))

    outcomes = await outcomes_of(*map(commit.append, (token("before"), row(), token("after"))))

    assert outcomes == [None, error, None]
    assert flushes == [1, 3]
    assert await tokens_in(store) == {"existing", "before", "after"}


@pytest.mark.parametrize("bad", [{"scope": "a\0b"}, {"claims": {"name": "a\0b"}}, {"jti": "x" * 41}], ids=str)
async def test_what_only_postgresql_refuses_fails_no_neighbour(postgresql_url: str, bad: dict[str, Any]):
    async with another(postgresql_url) as store:
        await store.commit.append(*PARENTS)

        outcomes = await outcomes_of(*map(store.commit.append, (token("before"), token("bad", **bad), token("after"))))

        assert outcomes == [None, "Rejected", None]
        assert await tokens_in(store) == {"before", "after"}


async def test_of_duplicates_in_one_batch_the_first_is_saved(store: Store, commit: GroupCommit, flushes: list[int]):
    outcomes = await outcomes_of(*(commit.append(token("t", scope=f"scope-{number}")) for number in range(5)))

    assert outcomes == [None, *["Conflict"] * 4]
    assert flushes == [5]
    async with store.read() as tx:
        assert (await tx.access_tokens.get("t")).scope == "scope-0"


async def test_of_duplicates_in_two_batches_the_first_is_saved(store: Store, commit: GroupCommit, flushes: list[int]):
    await commit.append(token("t", scope="first"))
    with pytest.raises(Conflict):
        await commit.append(token("t", scope="second"))

    assert flushes == [1, 1]
    async with store.read() as tx:
        assert (await tx.access_tokens.get("t")).scope == "first"


# ── Consuming ───────────────────────────────────────────────────────────────────────────────────────────────────────
def redeem(commit: GroupCommit, number: int, **changes: Any) -> Any:
    return commit.consume(AuthorizationCode, CODE.hash, now=START, then=[token(f"t{number}", **changes)])


async def used_at(store: Store) -> Any:
    async with store.read() as tx:
        return (await tx.authorization_codes.get(CODE.hash)).used_at


async def test_of_fifty_concurrent_consumers_the_first_wins(store: Store, commit: GroupCommit, flushes: list[int]):
    await commit.append(CODE)

    outcomes = await asyncio.gather(*(redeem(commit, number) for number in range(50)))

    assert outcomes == [True] + [False] * 49
    assert flushes == [1, 50]
    assert await tokens_in(store) == {"t0"}
    assert await used_at(store) == START


async def test_a_row_is_consumed_once_and_never_again(store: Store, commit: GroupCommit):
    await commit.append(CODE)
    assert await redeem(commit, 1) is True

    assert await redeem(commit, 2) is False
    assert await commit.consume(AuthorizationCode, "unknown", now=START, then=[token("t3")]) is False
    assert await tokens_in(store) == {"t1"}


async def test_of_consumers_in_two_processes_one_wins(store: Store, database_url: str):
    codes = [make_code(hash=f"code-{number}") for number in range(10)]
    await store.commit.append(*codes)

    async with another(database_url) as second:

        async def race(commit: GroupCommit, process: int, code: int) -> bool:
            then = [token(f"t{code}-{process}")]
            return await commit.consume(AuthorizationCode, f"code-{code}", now=START, then=then)

        forth, back = list(range(10)), list(reversed(range(10)))
        outcomes = await asyncio.gather(
            *(race(store.commit, 1, code) for code in forth), *(race(second.commit, 2, code) for code in back)
        )

    wins = dict(zip([f"t{code}-1" for code in forth] + [f"t{code}-2" for code in back], outcomes, strict=True))
    winners = {hash for hash, won in wins.items() if won}
    assert sorted(hash.partition("-")[0] for hash in winners) == [f"t{code}" for code in range(10)]
    assert await tokens_in(store) == winners


async def test_of_consumers_in_two_processes_that_both_reach_the_database_one_wins(
    store: Store, database_url: str, gate: Gate
):
    gate.open.set()
    await store.commit.append(CODE)
    gate.open.clear()
    gate.reached.clear()

    async with another(database_url) as second:
        first = asyncio.create_task(redeem(store.commit, 1))
        await gate.reached.wait()
        late = asyncio.create_task(redeem(second.commit, 2))
        await second.now()  # meanwhile the late one is on its way
        gate.open.set()

        assert await asyncio.gather(first, late) == [True, False]
    assert await tokens_in(store) == {"t1"}


async def test_consumers_of_several_kinds_of_row_share_a_flush(store: Store, commit: GroupCommit, flushes: list[int]):
    await commit.append(CODE, make_refresh_token(hash="r1"), make_refresh_token(hash="r2"))
    flushes.clear()

    outcomes = await asyncio.gather(
        commit.consume(RefreshToken, "r1", now=START, then=[make_refresh_token(hash="r3"), token("t3")]),
        redeem(commit, 1),
        commit.append(token("t2")),
        commit.consume(RefreshToken, "r2", now=START),
        commit.consume(RefreshToken, CODE.hash, now=START),
    )

    assert outcomes == [True, True, None, True, False]
    assert flushes == [5]
    async with store.read() as tx:
        unused = {found.hash for found in await tx.refresh_tokens.all() if found.used_at is None}
    assert unused == {"r3"}


async def test_a_row_stays_unused_when_what_follows_from_it_cannot_be_saved(store: Store, commit: GroupCommit):
    await commit.append(CODE)

    outcomes = await outcomes_of(redeem(commit, 1, grant_id="missing"), commit.append(token("neighbour")))

    assert outcomes == ["Conflict", None]
    assert await used_at(store) is None
    assert await tokens_in(store) == {"neighbour"}
    assert await redeem(commit, 2) is True


async def test_when_the_first_consumer_fails_the_next_one_wins(store: Store, commit: GroupCommit):
    await commit.append(CODE)

    outcomes = await outcomes_of(redeem(commit, 1, grant_id="missing"), redeem(commit, 2), redeem(commit, 3))

    assert outcomes == ["Conflict", True, False]
    assert await tokens_in(store) == {"t2"}


# ── When things go wrong ────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_cancelled_request_does_not_withdraw_its_row(store: Store, commit: GroupCommit, gate: Gate):
    await_commit = asyncio.create_task(commit.append(token("in the flush")))
    await gate.reached.wait()
    await_turn = asyncio.create_task(commit.append(token("in the queue")))
    await asyncio.sleep(0)
    await_commit.cancel()
    await_turn.cancel()
    await asyncio.gather(await_commit, await_turn, return_exceptions=True)
    assert await_commit.cancelled()
    assert await_turn.cancelled()

    gate.open.set()
    await commit.close()

    assert await tokens_in(store) == {"in the flush", "in the queue"}


async def test_a_cancelled_request_whose_row_is_refused_harms_nobody(store: Store, commit: GroupCommit, gate: Gate):
    cancelled = asyncio.create_task(commit.append(token("bad", grant_id="missing")))
    kept = asyncio.create_task(commit.append(token("good")))
    await asyncio.sleep(0)
    cancelled.cancel()
    gate.open.set()

    await kept

    assert await tokens_in(store) == {"good"}


async def lose_the_answer(_connection: Any, commit: Commit) -> None:
    await commit()
    raise ConnectionResetError("the answer was lost")


async def lose_the_request(_connection: Any, commit: Commit) -> None:
    raise ConnectionResetError("the request was lost")


async def stumble_over_the_answer(_connection: Any, commit: Commit) -> None:
    await commit()
    raise asyncpg.InternalClientError("the answer was not understood")


async def be_shut_down(_connection: Any, commit: Commit) -> None:
    await commit()
    raise asyncpg.AdminShutdownError("terminating connection due to administrator command")


@pytest.mark.parametrize(
    ("loss", "saved"),
    [(lose_the_answer, True), (lose_the_request, False), (stumble_over_the_answer, True), (be_shut_down, True)],
)
@pytest.mark.parametrize("consuming", [True, False], ids=["several statements", "a single statement"])
async def test_when_the_outcome_of_a_commit_is_unknown_nobody_is_told_of_success_and_nothing_is_repeated(
    store: Store,
    commit: GroupCommit,
    flushes: list[int],
    monkeypatch: pytest.MonkeyPatch,
    loss: Callable[..., Any],
    saved: bool,
    consuming: bool,
):
    await commit.append(CODE)
    commits = []

    async def losing(connection: Any, commit: Commit) -> None:
        commits.append(connection)
        await loss(connection, commit)

    with monkeypatch.context() as patch:
        on_commit(patch, losing)
        first = redeem(commit, 1) if consuming else commit.append(token("t1"))
        outcomes = await outcomes_of(first, commit.append(token("t2")), commit.append(token("t3")))

    assert outcomes == ["UnknownOutcome"] * 3
    assert len(commits) == 1
    assert flushes == [1, 3]
    assert await tokens_in(store) == ({"t1", "t2", "t3"} if saved else set())
    assert await used_at(store) == (START if saved and consuming else None)

    await commit.append(token("later"))
    assert "later" in await tokens_in(store)


@pytest.mark.parametrize("parents", [(), (make_lab(),)], ids=["a single statement", "several statements"])
async def test_a_connection_that_breaks_at_the_commit_leaves_the_outcome_unknown(
    postgresql_server: PostgreSQL, postgresql_url: str, monkeypatch: pytest.MonkeyPatch, parents: tuple[object, ...]
):
    async def broken(connection: asyncpg.Connection, commit: Commit) -> None:
        pid = connection.get_server_pid()
        await postgresql_server.execute(f"SELECT pg_terminate_backend({pid}, 5000)")
        await commit()

    async with another(postgresql_url) as store:
        await store.commit.append(*PARENTS)
        with monkeypatch.context() as patch:
            on_commit(patch, broken)
            outcomes = await outcomes_of(*(store.commit.append(token(f"t{number}"), *parents) for number in range(3)))

        assert outcomes == ["UnknownOutcome"] * 3
        assert await tokens_in(store) == set()
        await store.commit.append(token("later"))
        assert await tokens_in(store) == {"later"}


async def test_while_postgresql_is_gone_everybody_is_told_at_once_and_later_all_is_well(
    postgresql_server: PostgreSQL, postgresql_url: str
):
    name = postgresql_url.partition("@/")[2].partition("?")[0]
    async with another(postgresql_url) as store:
        await store.commit.append(*PARENTS)
        await postgresql_server.execute(
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS false;"
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        try:
            for attempt in range(2):
                operations = (store.commit.append(token(f"t{attempt}-{number}")) for number in range(20))
                async with asyncio.timeout(5):
                    assert await outcomes_of(*operations) == ["Unavailable"] * 20
                    with pytest.raises(Unavailable):
                        await store.find_access_token("t")
                    with pytest.raises(Unavailable):
                        await store.now()
        finally:
            await postgresql_server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

        await store.commit.append(token("later"))
        assert await tokens_in(store) == {"later"}
        assert await store.find_access_token("later") is not None


async def test_while_sqlite_is_locked_everybody_is_told_and_later_all_is_well(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(database_module, "SQLITE_BUSY_TIMEOUT_SECONDS", 0.05)
    async with another(sqlite_url) as store:
        await store.commit.append(*PARENTS)
        other = sqlite3.connect(str(store.database.url.database), isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            async with asyncio.timeout(5):
                operations = (store.commit.append(token(f"t{number}")) for number in range(20))
                assert await outcomes_of(*operations) == ["Unavailable"] * 20
                assert await store.find_access_token("t") is None
            other.execute("ROLLBACK")
        finally:
            other.close()

        await store.commit.append(token("later"))
        assert await tokens_in(store) == {"later"}


async def test_a_failed_flush_is_each_request_s_own_exception(commit: GroupCommit, monkeypatch: pytest.MonkeyPatch):
    on_commit(monkeypatch, lose_the_request)

    first, second = await asyncio.gather(commit.append(token("t1")), commit.append(token("t2")), return_exceptions=True)

    assert isinstance(first, UnknownOutcome)
    assert isinstance(second, UnknownOutcome)
    assert first is not second


async def test_closing_saves_what_was_accepted_and_refuses_what_comes_later(store: Store, gate: Gate):
    commit = GroupCommit(store.database, max_batch=2)
    accepted = [asyncio.create_task(commit.append(token(f"t{number}"))) for number in range(5)]
    await gate.reached.wait()
    closing = asyncio.create_task(commit.close())
    await asyncio.sleep(0)

    with pytest.raises(Unavailable):
        await commit.append(token("late"))
    with pytest.raises(Unavailable):
        await commit.consume(AuthorizationCode, CODE.hash, now=START)
    assert not closing.done()
    gate.open.set()
    await closing

    assert all(answer.done() for answer in accepted)
    await asyncio.gather(*accepted)
    assert await tokens_in(store) == {f"t{number}" for number in range(5)}


async def test_closing_an_idle_group_commit_returns(database: Database):
    commit = GroupCommit(database)

    await commit.close()
    await commit.close()
