"""Providers' documents: fetched rarely, kept while the provider is down, and over a restart (Discovery §4)."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from idp.domain.upstream import KeptDocument
from idp.outbound.addresses import AllowRule
from idp.outbound.client import Outbound
from idp.upstream.documents import (
    DEFAULT_AGE,
    MAX_AGE,
    MIN_AGE,
    PAUSE,
    STALE_FOR,
    Documents,
    DocumentUnavailable,
)
from tests.support.clock import START, FakeClock
from tests.upstream.conftest import MemoryShelf, Site, said

TICK = timedelta(microseconds=1)
OLD, NEW = {"keys": ["old"]}, {"keys": ["new"]}


@pytest.fixture
def documents(outbound: Outbound, shelf: MemoryShelf, clock: FakeClock, site: Site) -> Documents:
    site.publish(OLD)
    return Documents(outbound, shelf, clock)


async def refusal(documents: Documents, uri: str) -> DocumentUnavailable:
    with pytest.raises(DocumentUnavailable) as caught:
        await documents.get(uri)
    return caught.value


# ── The cache ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ([], DEFAULT_AGE),
        (["Cache-Control: public"], DEFAULT_AGE),
        (["Cache-Control: max-age=0"], MIN_AGE),
        (["Cache-Control: no-store"], MIN_AGE),
        (["Cache-Control: no-cache, max-age=600"], MIN_AGE),
        (["Cache-Control: max-age=59"], MIN_AGE),
        (["Cache-Control: public, max-age=21600, must-revalidate"], timedelta(hours=6)),
        (["Cache-Control: max-age=999999999"], MAX_AGE),
    ],
)
async def test_a_document_is_kept_as_long_as_its_server_says_between_a_minute_and_a_day_rfc9111_s5_2_2(
    documents: Documents, site: Site, clock: FakeClock, fields: Sequence[str], kept: timedelta
) -> None:
    assert (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)) == (MIN_AGE, DEFAULT_AGE, MAX_AGE)
    site.publish(OLD, *fields)
    first = await documents.get(site.uri())
    site.publish(NEW)
    clock.advance(kept - TICK)
    assert await documents.get(site.uri()) is first
    assert first == OLD
    clock.advance(TICK)
    assert await documents.get(site.uri()) == NEW
    assert site.asked == {"/jwks": 2}


async def test_many_at_once_make_one_fetch_and_one_that_is_cancelled_takes_it_from_nobody(
    documents: Documents, site: Site
) -> None:
    site.gate.clear()
    asking = [asyncio.create_task(documents.get(site.uri())) for _ in range(20)]
    asking += [asyncio.create_task(documents.refreshed(site.uri())) for _ in range(20)]
    while not site.asked:
        await asyncio.sleep(0)
    asking.pop(0).cancel()
    site.gate.set()
    assert await asyncio.gather(*asking) == [OLD] * 39
    assert site.asked == {"/jwks": 1}


async def test_a_hundred_documents_are_held_and_the_one_asked_for_longest_ago_is_dropped_for_the_next(
    documents: Documents, site: Site, shelf: MemoryShelf, clock: FakeClock
) -> None:
    for number in range(101):
        site.publish({"number": number}, path=f"/{number}")
    for number in range(100):
        await documents.get(site.uri(f"/{number}"))
    clock.advance(seconds=1)
    await documents.refreshed(site.uri("/50"))
    await documents.refreshed(site.uri("/0"))
    await documents.get(site.uri("/100"))
    assert shelf.calls.count("load") == 101
    for number in (0, *range(2, 101)):
        await documents.get(site.uri(f"/{number}"))
    assert shelf.calls.count("load") == 101
    await documents.get(site.uri("/1"))
    assert shelf.calls.count("load") == 102
    assert site.asked.total() == 103, "it was still on the shelf"


# ── Answers that are none ───────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (said(b"<!doctype html><p>Sign in to the network</p>"), "no JSON"),
        (said(b""), "no JSON"),
        (said(b"[" * 200_000), "no JSON"),
        (said(b"[]"), "JSON that is no object"),
        (said(b"null"), "JSON that is no object"),
        (said('{"a": "é"}'.encode("latin-1")), "not in UTF-8"),
        (said(b"{}", status="404 Not Found"), "status 404"),
        (said(b"{}", status="500 Internal Server Error"), "status 500"),
        (said(b"{}", "Location: /other", status="302 Found"), "302, which is not followed"),
        (said(json.dumps({"claims": "x" * 1_000_000}).encode()), "more than 262144 bytes"),
        (b"what?\r\n\r\n", "no valid answer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_answer_that_is_no_document_is_told_for_the_log_and_the_provider_was_reached(
    documents: Documents, shelf: MemoryShelf, site: Site, answer: bytes, text: str
) -> None:
    site.answers["/jwks"] = answer
    refused = await refusal(documents, site.uri())
    assert text in str(refused)
    assert str(refused).startswith(f"{site.uri()}: ")
    assert refused.reached
    assert not shelf.kept


async def test_a_slow_body_is_left_when_the_time_is_up(shelf: MemoryShelf, clock: FakeClock, site: Site) -> None:
    site.answers["/jwks"] = said(b"{}", length=3)
    hasty = Outbound(allow=[AllowRule.parse("127.0.0.1")], timeout=timedelta(seconds=0.5))
    refused = await refusal(Documents(hasty, shelf, clock), site.uri())
    assert "did not answer within 0.5 seconds" in str(refused)
    assert refused.reached


async def test_a_provider_that_cannot_be_reached_was_not_reached(
    documents: Documents, shelf: MemoryShelf, clock: FakeClock
) -> None:
    assert not (await refusal(documents, "http://127.0.0.1:1/jwks")).reached
    forbidden = await refusal(Documents(Outbound(), shelf, clock), "http://127.0.0.1:1/jwks")
    assert not forbidden.reached
    assert "IDP_OUTBOUND_ALLOW" in str(forbidden)


# ── While the provider is down ──────────────────────────────────────────────────────────────────────────────────────
async def test_an_old_copy_serves_for_seven_days_and_the_provider_is_asked_every_thirty_seconds(
    documents: Documents, site: Site, clock: FakeClock
) -> None:
    assert (timedelta(days=7), timedelta(seconds=30)) == (STALE_FOR, PAUSE)
    await documents.get(site.uri())
    site.fail()
    clock.advance(DEFAULT_AGE)
    for asked in (2, 3):
        assert await documents.get(site.uri()) == OLD
        clock.advance(PAUSE - TICK)
        assert await documents.get(site.uri()) == OLD
        assert site.asked["/jwks"] == asked
        clock.advance(TICK)
    clock.now = START + DEFAULT_AGE + STALE_FOR - TICK
    assert await documents.get(site.uri()) == OLD
    clock.advance(TICK)
    assert (await refusal(documents, site.uri())).reached
    site.publish(NEW)
    clock.advance(PAUSE)
    assert await documents.get(site.uri()) == NEW


async def test_html_from_a_provider_that_spoke_json_before_takes_the_place_of_nothing(
    documents: Documents, site: Site, clock: FakeClock, shelf: MemoryShelf
) -> None:
    await documents.get(site.uri())
    site.answers["/jwks"] = said(b"<html>")
    clock.advance(DEFAULT_AGE)
    assert await documents.get(site.uri()) == OLD
    assert json.loads(shelf.kept[site.uri()].body) == OLD


async def test_a_provider_that_never_answered_is_asked_again_after_the_pause(
    documents: Documents, site: Site, clock: FakeClock
) -> None:
    site.fail()
    await refusal(documents, site.uri())
    site.publish(NEW)
    clock.advance(PAUSE - TICK)
    assert (await refusal(documents, site.uri())).reached
    assert site.asked["/jwks"] == 1
    clock.advance(TICK)
    assert await documents.get(site.uri()) == NEW


# ── A key that is not there ─────────────────────────────────────────────────────────────────────────────────────────
async def test_an_unknown_key_fetches_anew_once_in_thirty_seconds_oidc_core_s10_1_1(
    documents: Documents, site: Site, clock: FakeClock
) -> None:
    await documents.get(site.uri())
    site.publish(NEW)
    # A fetch for another reason does not count: a key may be used as soon as it is published.
    clock.advance(TICK)
    assert await documents.refreshed(site.uri()) == NEW
    site.publish(OLD)
    for _ in range(3):
        assert await documents.refreshed(site.uri()) == NEW
    clock.advance(PAUSE - TICK)
    assert await documents.refreshed(site.uri()) == NEW
    assert site.asked["/jwks"] == 2
    clock.advance(TICK)
    assert await documents.refreshed(site.uri()) == OLD
    assert await documents.get(site.uri()) == OLD
    assert site.asked["/jwks"] == 3


async def test_many_unknown_keys_at_once_make_one_fetch(documents: Documents, site: Site, clock: FakeClock) -> None:
    await documents.get(site.uri())
    site.publish(NEW)
    clock.advance(TICK)
    assert await asyncio.gather(*(documents.refreshed(site.uri()) for _ in range(20))) == [NEW] * 20
    assert site.asked["/jwks"] == 2


async def test_an_unknown_key_while_the_provider_is_down_gets_the_old_copy_and_no_more_attempts(
    documents: Documents, site: Site, clock: FakeClock
) -> None:
    await documents.get(site.uri())
    site.fail()
    clock.advance(seconds=60)
    for _ in range(3):
        assert await documents.refreshed(site.uri()) == OLD
    assert site.asked["/jwks"] == 2
    # It is still fresh, so that nobody but who seeks asks again.
    clock.advance(PAUSE)
    assert await documents.get(site.uri()) == OLD
    assert site.asked["/jwks"] == 2
    site.publish(NEW)
    assert await documents.refreshed(site.uri()) == NEW


async def test_an_unknown_key_just_after_an_attempt_that_failed_is_no_reason_for_another(
    documents: Documents, site: Site, clock: FakeClock
) -> None:
    await documents.get(site.uri())
    site.fail()
    clock.advance(DEFAULT_AGE)
    await documents.get(site.uri())
    clock.advance(PAUSE - TICK)
    assert await documents.refreshed(site.uri()) == OLD
    assert site.asked["/jwks"] == 2


async def test_a_document_that_was_just_fetched_for_the_first_time_is_not_fetched_again(
    documents: Documents, site: Site
) -> None:
    assert await documents.refreshed(site.uri()) == OLD
    assert site.asked["/jwks"] == 1


async def test_an_unknown_key_with_nothing_held_and_the_provider_down_is_a_failure(
    documents: Documents, site: Site
) -> None:
    site.fail()
    with pytest.raises(DocumentUnavailable):
        await documents.refreshed(site.uri())
    assert site.asked["/jwks"] == 1


# ── The shelf ───────────────────────────────────────────────────────────────────────────────────────────────────────
def restarted(outbound: Outbound, shelf: MemoryShelf, clock: FakeClock) -> Documents:
    return Documents(outbound, shelf, clock)


async def test_what_was_fetched_is_shelved_until_nobody_may_use_it(
    documents: Documents, site: Site, shelf: MemoryShelf
) -> None:
    site.answers["/jwks"] = said(b'{"keys" : ["old"]}')
    await documents.get(site.uri())
    assert shelf.kept[site.uri()] == KeptDocument(
        uri=site.uri(), body='{"keys" : ["old"]}', fetched_at=START, expires_at=START + DEFAULT_AGE + STALE_FOR
    )


async def test_after_a_restart_a_fresh_copy_is_used_without_asking_the_provider(
    documents: Documents, site: Site, shelf: MemoryShelf, clock: FakeClock, outbound: Outbound
) -> None:
    site.publish(OLD, "Cache-Control: max-age=600")
    await documents.get(site.uri())
    site.publish(NEW)
    clock.advance(seconds=600)
    clock.advance(-TICK)
    again = restarted(outbound, shelf, clock)
    assert await again.get(site.uri()) == OLD
    assert site.asked["/jwks"] == 1
    clock.advance(TICK)
    assert await again.get(site.uri()) == NEW


async def test_after_a_restart_an_older_copy_is_used_only_if_the_provider_cannot_be_reached(
    documents: Documents, site: Site, shelf: MemoryShelf, clock: FakeClock, outbound: Outbound
) -> None:
    await documents.get(site.uri())
    site.publish(NEW)
    clock.advance(DEFAULT_AGE)
    assert await restarted(outbound, shelf, clock).get(site.uri()) == NEW
    site.fail()
    clock.advance(DEFAULT_AGE + STALE_FOR - TICK)
    again = restarted(outbound, shelf, clock)
    assert await again.get(site.uri()) == NEW
    assert await again.get(site.uri()) == NEW
    assert site.asked["/jwks"] == 3, "the pause counts here, too"
    clock.advance(TICK)
    assert (await refusal(restarted(outbound, shelf, clock), site.uri())).reached


async def test_after_a_restart_an_unknown_key_is_looked_for_at_the_provider(
    documents: Documents, site: Site, shelf: MemoryShelf, clock: FakeClock, outbound: Outbound
) -> None:
    await documents.get(site.uri())
    site.publish(NEW)
    clock.advance(seconds=5)
    assert await restarted(outbound, shelf, clock).refreshed(site.uri()) == NEW


@pytest.mark.parametrize("away", [RuntimeError("the database is away"), TimeoutError(), OSError("no route")])
async def test_a_shelf_that_fails_stops_nobody_and_is_logged_once_a_turn(
    documents: Documents,
    site: Site,
    shelf: MemoryShelf,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    away: Exception,
) -> None:
    shelf.away = away
    assert await documents.get(site.uri()) == OLD
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    clock.advance(DEFAULT_AGE)
    site.publish(NEW)
    assert await documents.get(site.uri()) == NEW
    assert len(caplog.records) == 2
    assert shelf.calls == ["load", "save"], "what failed at loading is left alone for that turn"


async def test_a_shelf_that_comes_back_is_asked_again_while_the_provider_is_still_down(
    documents: Documents, site: Site, shelf: MemoryShelf, clock: FakeClock, outbound: Outbound
) -> None:
    await documents.get(site.uri())
    clock.advance(DEFAULT_AGE)
    site.fail()
    shelf.away = RuntimeError("the database is away")
    again = restarted(outbound, shelf, clock)
    await refusal(again, site.uri())
    shelf.away = None
    clock.advance(PAUSE)
    assert await again.get(site.uri()) == OLD


@pytest.mark.parametrize("body", ["", "<html>", "[]", "[" * 200_000], ids=["nothing", "HTML", "a list", "a deep list"])
async def test_a_shelved_copy_that_cannot_be_read_is_as_good_as_none(
    documents: Documents, site: Site, shelf: MemoryShelf, body: str
) -> None:
    expires_at = START + DEFAULT_AGE + STALE_FOR
    shelf.kept[site.uri()] = KeptDocument(uri=site.uri(), body=body, fetched_at=START, expires_at=expires_at)
    assert await documents.get(site.uri()) == OLD


async def test_a_shelved_copy_from_a_clock_that_was_wrong_is_not_used_for_ever(
    documents: Documents, site: Site, shelf: MemoryShelf, clock: FakeClock
) -> None:
    wrong: dict[str, Any] = {"fetched_at": START + timedelta(days=999), "expires_at": START + timedelta(days=1006)}
    shelf.kept[site.uri()] = KeptDocument(uri=site.uri(), body=json.dumps(NEW), **wrong)
    assert await documents.get(site.uri()) == NEW
    clock.advance(MAX_AGE)
    assert await documents.get(site.uri()) == OLD
