"""Coalesced reads: many at a time in one query, none of them older than itself."""

import asyncio
import gc
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from idp.store.coalesce import Coalesce
from idp.store.database import Database
from idp.store.errors import Rejected, Unavailable
from idp.store.store import Store
from tests.support.clock import FakeClock
from tests.support.factories import (
    GRANT_ID,
    USER_ID,
    make_access_token,
    make_client,
    make_grant,
    make_lab,
    make_membership,
    make_user,
)


class Rows:
    """What would be a table: each query is noted, and answered when the test opens it."""

    def __init__(self, **rows: int) -> None:
        self.rows = rows
        self.queries: list[tuple[str, ...]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: BaseException | None = None

    async def fetch(self, keys: Sequence[str]) -> Mapping[str, int]:
        self.queries.append(tuple(keys))
        found = {key: self.rows[key] for key in keys if key in self.rows}
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return found


async def turns(count: int = 10) -> None:
    """Let everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_reads_that_come_together_are_one_query():
    rows = Rows(a=1, b=2)
    coalesce = Coalesce(rows.fetch)

    answers = await asyncio.gather(*map(coalesce.find, ("a", "b", "a", "missing")))

    assert answers == [1, 2, 1, None]
    assert rows.queries == [("a", "b", "missing")]


async def test_reads_one_after_another_are_asked_one_after_another():
    rows = Rows(a=1)
    coalesce = Coalesce(rows.fetch)

    assert await coalesce.find("a") == 1
    rows.rows["a"] = 2
    assert await coalesce.find("a") == 2
    assert rows.queries == [("a",), ("a",)]


async def test_a_read_never_joins_a_query_that_was_sent_before_it():
    rows = Rows(a=1)
    rows.open.clear()
    coalesce = Coalesce(rows.fetch)
    older = asyncio.create_task(coalesce.find("a"))
    await turns()
    assert rows.queries == [("a",)]

    rows.rows["a"] = 2
    newer = asyncio.create_task(coalesce.find("a"))
    await turns()
    rows.open.set()

    assert await older == 1
    assert await newer == 2


async def test_no_more_queries_run_at_a_time_than_allowed_and_the_rest_gathers_for_the_next():
    rows = Rows(**{f"k{number}": number for number in range(6)})
    rows.open.clear()
    coalesce = Coalesce(rows.fetch, in_flight=2)
    reads = []
    for number in range(6):
        reads.append(asyncio.create_task(coalesce.find(f"k{number}")))
        await turns()
    assert rows.queries == [("k0",), ("k1",)]

    rows.open.set()

    assert await asyncio.gather(*reads) == [0, 1, 2, 3, 4, 5]
    assert rows.queries == [("k0",), ("k1",), ("k2", "k3", "k4", "k5")]


class CannotBeCopied(Exception):
    """Like pydantic's errors: its arguments do not make another one."""

    def __init__(self, *, needed: str) -> None:
        super().__init__(needed)


@pytest.mark.parametrize("error", [Unavailable("gone"), Rejected("no"), ValueError("odd"), CannotBeCopied(needed="x")])
async def test_an_error_reaches_every_reader_and_no_later_one(error: Exception):
    rows = Rows(a=1, b=2)
    rows.error = error
    coalesce = Coalesce(rows.fetch, in_flight=1)

    outcomes = await asyncio.gather(*map(coalesce.find, "aab"), return_exceptions=True)

    assert [(type(outcome), str(outcome)) for outcome in outcomes] == [(type(error), str(error))] * 3
    rows.error = None
    assert await coalesce.find("a") == 1


async def test_each_reader_gets_an_exception_of_its_own_from_the_store():
    rows = Rows()
    rows.error = Unavailable("gone")
    coalesce = Coalesce(rows.fetch)

    first, second = await asyncio.gather(coalesce.find("a"), coalesce.find("a"), return_exceptions=True)

    assert first is not second


async def test_a_cancelled_reader_leaves_the_others_their_answers():
    rows = Rows(a=1, b=2)
    rows.open.clear()
    coalesce = Coalesce(rows.fetch)
    cancelled, same_key, other_key = (asyncio.create_task(coalesce.find(key)) for key in "aab")
    await turns()

    cancelled.cancel()
    await turns()
    rows.open.set()

    assert await same_key == 1
    assert await other_key == 2
    assert cancelled.cancelled()
    assert rows.queries == [("a", "b")]


async def test_a_reader_cancelled_before_its_query_was_sent_leaves_the_others_their_answers():
    rows = Rows(a=1, b=2)
    rows.open.clear()
    coalesce = Coalesce(rows.fetch, in_flight=1)
    first = asyncio.create_task(coalesce.find("a"))
    await turns()
    cancelled, kept = asyncio.create_task(coalesce.find("a")), asyncio.create_task(coalesce.find("b"))
    await turns()

    cancelled.cancel()
    rows.open.set()

    assert await asyncio.gather(first, kept) == [1, 2]


@pytest.mark.parametrize("key", ["\0", "a\0", "\ud800"])
async def test_a_key_that_no_database_can_hold_is_not_asked_for(key: str):
    rows = Rows(a=1)
    coalesce = Coalesce(rows.fetch)

    assert await asyncio.gather(coalesce.find(key), coalesce.find("a")) == [None, 1]
    assert rows.queries == [("a",)]


async def test_closing_waits_for_every_query():
    rows = Rows(a=1, b=2)
    rows.open.clear()
    coalesce = Coalesce(rows.fetch, in_flight=1)
    first = asyncio.create_task(coalesce.find("a"))
    await turns()
    second = asyncio.create_task(coalesce.find("b"))
    await turns()
    closing = asyncio.create_task(coalesce.close())
    await turns()
    assert not closing.done()

    rows.open.set()
    await closing

    assert first.done()
    assert rows.queries == [("a",), ("b",)]
    assert await second == 2


# ── Over the databases ──────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_read_after_a_revocation_sees_it_though_an_older_read_is_still_under_way(
    store: Store, clock: FakeClock
):
    await store.commit.append(make_user(), make_client(), make_grant(), make_access_token())
    fetch = store._access_tokens._fetch
    sent, answer = asyncio.Event(), asyncio.Event()

    async def slow_fetch(hashes: Sequence[str]) -> Mapping[str, object]:
        found = await fetch(hashes)
        sent.set()
        await answer.wait()
        return found

    store._access_tokens._fetch = slow_fetch
    older = asyncio.create_task(store.find_access_token("hash-of-the-access-token"))
    await sent.wait()

    async with store.write() as tx:
        assert await tx.grants.revoke(GRANT_ID, now=clock())
    newer = asyncio.create_task(store.find_access_token("hash-of-the-access-token"))
    await turns()
    answer.set()

    before, after = await older, await newer
    assert before.grant.revoked_at is None
    assert after.grant.revoked_at == clock()


async def test_changes_are_seen_by_the_next_read(store: Store):
    await store.commit.append(make_user(), make_client(), make_lab())
    assert await store.find_memberships(USER_ID) == ()
    assert (await store.find_client("portal")).client_name == "Lab Portal"

    async with store.write() as tx:
        await tx.memberships.add(make_membership())
        await tx.clients.save(replace(make_client(), client_name="Portal of the lab"))

    assert [held.lab.slug for held in await store.find_memberships(USER_ID)] == ["bio"]
    assert (await store.find_client("portal")).client_name == "Portal of the lab"


async def test_a_thousand_concurrent_reads_are_answered_each_with_its_own(store: Store):
    tokens = [make_access_token(hash=f"t{number}", grant_id=None) for number in range(100)]
    await store.commit.append(*tokens)

    found = await asyncio.gather(*(store.find_access_token(f"t{number % 110}") for number in range(1000)))

    assert [issued and issued.item.hash for issued in found] == [
        f"t{number % 110}" if number % 110 < 100 else None for number in range(1000)
    ]


@pytest.mark.parametrize("progress", range(8))
async def test_a_store_that_is_closed_while_reads_are_under_way_leaves_no_connection_open(
    database: Database, progress: int
):
    store = Store(database)
    reads = [asyncio.create_task(read("x")) for read in (store.find_client, store.find_session)]
    await turns(progress)
    reads[0].cancel()
    await store.close()

    # A connection that is left open is noticed by the interpreter, and warnings are errors here.
    assert database.connections_in_use == 0
    await asyncio.gather(*reads, return_exceptions=True)
    gc.collect()
