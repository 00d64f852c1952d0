"""Sweeping: what has expired goes, a week later and in bounded batches; what still counts stays."""

from dataclasses import replace
from datetime import timedelta

import pytest

from idp.services import sweep as module
from idp.services.sweep import KEPT_AFTER_EXPIRY, Sweep
from idp.store.store import Store
from tests.support.app import App, Browser, add_all
from tests.support.clock import START, FakeClock
from tests.support.factories import (
    make_access_token,
    make_client,
    make_code,
    make_grant,
    make_interaction,
    make_one_time_link,
    make_refresh_token,
    make_session,
    make_user,
)

SECOND = timedelta(seconds=1)
REPOSITORIES = (
    "access_tokens",
    "refresh_tokens",
    "authorization_codes",
    "interactions",
    "grants",
    "sessions",
    "one_time_links",
)


async def counts(store: Store) -> dict[str, int]:
    async with store.read() as tx:
        return {name: len(await getattr(tx, name).all()) for name in REPOSITORIES}


async def test_each_kind_goes_a_week_after_it_expired_and_not_before(store: Store, clock: FakeClock) -> None:
    at_once = START + SECOND
    expiring = [make_session(), make_grant(), make_code(), make_refresh_token()]
    expiring += [make_access_token(), make_one_time_link()]
    await add_all(store, [make_user(), make_client(), *(replace(value, expires_at=at_once) for value in expiring)])
    sweep = Sweep(store, clock)
    clock.now = at_once + KEPT_AFTER_EXPIRY
    assert await sweep.run() == 0
    assert {name: held for name, held in (await counts(store)).items() if held != 1} == {"interactions": 0}

    clock.advance(SECOND)

    assert await sweep.run() == len(expiring)
    assert set((await counts(store)).values()) == {0}
    assert await sweep.run() == 0


async def test_a_request_that_waits_goes_as_soon_as_it_expired(store: Store, clock: FakeClock) -> None:
    await add_all(store, [make_client(), make_interaction(expires_at=START + SECOND)])
    sweep = Sweep(store, clock)
    clock.now = START + SECOND
    assert await sweep.run() == 0
    clock.advance(SECOND)
    assert await sweep.run() == 1


async def test_what_still_counts_stays(app: App, browser: Browser) -> None:
    tokens = await browser.tokens(scope="openid offline_access")
    app.clock.advance(timedelta(days=25))
    sweep = Sweep(app.store, app.clock)

    assert await sweep.run() > 0  # interaction, code, access token and session are long gone

    kept = await counts(app.store)
    assert (kept["grants"], kept["refresh_tokens"]) == (1, 1)
    assert (await app.refresh(tokens["refresh_token"])).status_code == 200
    async with app.store.read() as tx:
        assert len(await tx.users.all()) == 3
        assert await tx.consents.all()
        assert await tx.audit_events.all()


async def test_many_rows_go_in_batches_that_never_hold_the_database_for_long(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 10)
    await add_all(store, [make_client(), *(make_interaction(hash=f"h{number}") for number in range(35))])
    live = make_interaction(hash="live", expires_at=START + timedelta(days=30))
    await add_all(store, [live])
    clock.advance(timedelta(days=8))
    transactions = 0
    write = store.write

    def counted():
        nonlocal transactions
        transactions += 1
        return write()

    monkeypatch.setattr(store, "write", counted)

    assert await Sweep(store, clock).run() == 35

    assert transactions == 5
    async with store.read() as tx:
        assert [interaction.hash for interaction in await tx.interactions.all()] == ["live"]
