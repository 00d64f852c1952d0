"""The ring of signing keys under rotation: no verifier that obeys Cache-Control ever meets a key that it does not know.

The algorithms that are quick to make keys for stand for all.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from idp.crypto.envelope import CannotUnseal
from idp.crypto.jose import InvalidSignature, verify
from idp.domain.audit import AuditAction
from idp.domain.signing_key import SigningAlgorithm, SigningKey, SigningKeyState
from idp.services.signing_keys import HINT_MEMORY, RING_AGE, KeyNotReady, KeyTimes, SigningKeys
from idp.store.database import Database
from idp.store.errors import NotFound
from idp.store.store import Store
from tests.support.app import Installed, add_all, decoded
from tests.support.clock import FakeClock

ES256, EDDSA = SigningAlgorithm.ES256, SigningAlgorithm.EDDSA
QUICK = {ES256, EDDSA}
SECOND = timedelta(seconds=1)
TIMES = KeyTimes(jwks_max_age=timedelta(seconds=60), longest_token=timedelta(seconds=40), rotation=timedelta(days=90))


@pytest.fixture
async def nodes(database_url: str, installed: Installed, clock: FakeClock) -> AsyncIterator[list[SigningKeys]]:
    """Two nodes over one database."""
    stores = [Store(Database(database_url)) for _ in range(2)]
    await add_all(stores[0], [row for row in installed.rows if getattr(row, "alg", ES256) in QUICK])
    yield [SigningKeys(store, installed.data_keys, clock, TIMES) for store in stores]
    for store in stores:
        await store.close()


async def sign(node: SigningKeys, alg: SigningAlgorithm = ES256, **claims: Any) -> str:
    return (await node.signer(alg)).sign(claims, typ="JWT")


async def jwks(node: SigningKeys) -> list[dict[str, Any]]:
    return list(json.loads(await node.jwks())["keys"])


async def kids(node: SigningKeys) -> set[str]:
    return {key["kid"] for key in await jwks(node)}


async def states(node: SigningKeys, alg: SigningAlgorithm = ES256) -> list[SigningKeyState]:
    return [key.state for key in await node.keys() if key.alg is alg]


@dataclass
class Verifier:
    """A resource server that keeps JWKS for exactly as long as it was told."""

    node: SigningKeys
    fetched_at: datetime
    keys: list[dict[str, Any]]

    async def refetch_when_stale(self, now: datetime) -> None:
        if now >= self.fetched_at + TIMES.jwks_max_age:
            self.fetched_at, self.keys = now, await jwks(self.node)


# ── Rotation under load ─────────────────────────────────────────────────────────────────────────────────────────────
async def failures(nodes: list[SigningKeys], clock: FakeClock, *, seconds: int) -> list[str]:
    """Issue tokens from both nodes, rotate as early as possible from either, and try every token until it expires.

    The verifiers fetched JWKS at all moments within its lifetime; steps and rings are out of step with each other.
    """
    step = timedelta(seconds=0.7)
    phases = [timedelta(seconds=0.7 * number) for number in range(86)]
    verifiers = [Verifier(node, clock() - phase, await jwks(node)) for phase in phases for node in nodes]
    issued: deque[tuple[datetime, str, str]] = deque()
    failed = []
    rotations = 0
    for tick in range(int(timedelta(seconds=seconds) / step)):
        now = clock.advance(step)
        with suppress(KeyNotReady):
            await nodes[rotations % 2].rotate(actor="test")
            rotations += 1
        for node in nodes:
            token = await sign(node)
            issued.append((now + TIMES.longest_token, token, decoded(token)[0]["kid"]))
        while now >= issued[0][0]:
            issued.popleft()
        for verifier in verifiers:
            await verifier.refetch_when_stale(now)
            known = {key["kid"] for key in verifier.keys}
            failed += [f"{kid} at {now:%H:%M:%S.%f}" for _, _, kid in issued if kid not in known]
        if not failed:
            verify(issued[0][1], verifiers[tick % len(verifiers)].keys, algorithms=["ES256"])
    assert rotations >= 4
    return failed


async def test_no_verifier_ever_fails_whatever_the_phase_of_its_cache(
    nodes: list[SigningKeys], clock: FakeClock
) -> None:
    assert await failures(nodes, clock, seconds=330) == []


class Hasty(KeyTimes):
    """Forgets that a node may serve a JWKS as old as its ring."""

    @property
    def publication(self) -> timedelta:
        return self.jwks_max_age


class Forgetful(KeyTimes):
    """Takes a key out of JWKS when it is retired."""

    def published(self, key: SigningKey, *, now: datetime) -> bool:
        return key.retired_at is None


@pytest.mark.parametrize("times", [Hasty, Forgetful])
async def test_these_verifiers_would_notice_times_that_are_too_short(
    sqlite_url: str, installed: Installed, clock: FakeClock, times: type[KeyTimes]
) -> None:
    stores = [Store(Database(sqlite_url)) for _ in range(2)]
    await add_all(stores[0], [row for row in installed.rows if getattr(row, "alg", ES256) in QUICK])
    wrong = times(jwks_max_age=TIMES.jwks_max_age, longest_token=TIMES.longest_token, rotation=TIMES.rotation)

    failed = await failures(
        [SigningKeys(store, installed.data_keys, clock, wrong) for store in stores], clock, seconds=330
    )

    assert failed
    for store in stores:
        await store.close()


async def test_a_key_signs_only_after_it_stood_in_jwks_for_longer_than_any_cache(
    nodes: list[SigningKeys], clock: FakeClock
) -> None:
    wait = TIMES.publication
    assert wait >= TIMES.jwks_max_age + RING_AGE
    clock.advance(wait - SECOND)

    with pytest.raises(KeyNotReady, match=r"^the next keys may sign from 2026-01-05 12:01:10 UTC, when every cached"):
        await nodes[0].rotate(actor="test")

    clock.advance(SECOND)
    published = await kids(nodes[0])
    active = await nodes[0].rotate(actor="test")
    assert {key.kid for key in active} <= published
    assert {key.alg for key in active} == QUICK
    with pytest.raises(KeyNotReady):
        await nodes[0].rotate(actor="test")


async def test_an_operator_may_insist_before_it_is_published(nodes: list[SigningKeys]) -> None:
    before = decoded(await sign(nodes[0]))[0]["kid"]

    await nodes[0].rotate(actor="test", even_if_unpublished=True)

    assert decoded(await sign(nodes[0]))[0]["kid"] != before


async def test_of_two_nodes_that_rotate_at_once_exactly_one_does(nodes: list[SigningKeys], clock: FakeClock) -> None:
    clock.advance(TIMES.publication)

    results = await asyncio.gather(*(node.rotate(actor="test") for node in nodes), return_exceptions=True)

    refused = [result for result in results if isinstance(result, KeyNotReady)]
    assert len(refused) == 1
    assert sorted(await states(nodes[0])) == ["active", "next", "retired"]


async def test_the_other_node_signs_with_the_new_key_within_the_age_of_its_ring(
    nodes: list[SigningKeys], clock: FakeClock
) -> None:
    clock.advance(TIMES.publication)
    await sign(nodes[1])
    (new,) = [key for key in await nodes[0].rotate(actor="test") if key.alg is ES256]

    assert decoded(await sign(nodes[0]))[0]["kid"] == new.kid
    clock.advance(RING_AGE)

    assert decoded(await sign(nodes[1]))[0]["kid"] == new.kid


# ── The schedule ────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_schedule_rotates_when_due_and_on_one_node_only(nodes: list[SigningKeys], clock: FakeClock) -> None:
    clock.advance(TIMES.rotation - SECOND)
    assert not await nodes[0].rotate_when_due()
    clock.advance(SECOND)

    rotated = await asyncio.gather(*(node.rotate_when_due() for node in nodes))

    assert sorted(rotated) == [False, True]
    assert not await nodes[0].rotate_when_due()
    clock.advance(TIMES.rotation)
    assert await nodes[1].rotate_when_due()


async def test_a_schedule_of_zero_leaves_it_to_people(
    nodes: list[SigningKeys], store: Store, installed: Installed, clock: FakeClock
) -> None:
    by_hand = SigningKeys(store, installed.data_keys, clock, replace(TIMES, rotation=timedelta()))
    clock.advance(timedelta(days=3650))

    assert not await by_hand.rotate_when_due()


async def test_a_schedule_shorter_than_the_publication_waits(
    nodes: list[SigningKeys], store: Store, installed: Installed, clock: FakeClock
) -> None:
    hasty = SigningKeys(store, installed.data_keys, clock, replace(TIMES, rotation=SECOND))
    clock.advance(TIMES.publication - SECOND)
    assert not await hasty.rotate_when_due()
    clock.advance(SECOND)

    assert await hasty.rotate_when_due()


# ── Retired and revoked keys ────────────────────────────────────────────────────────────────────────────────────────
async def test_a_retired_key_leaves_jwks_when_the_last_token_it_can_have_signed_has_expired(
    nodes: list[SigningKeys], clock: FakeClock
) -> None:
    clock.advance(TIMES.publication)
    old = decoded(await sign(nodes[1]))[0]["kid"]
    await nodes[0].rotate(actor="test")
    # The other node may sign with it until its ring is read anew.
    clock.advance(RING_AGE - SECOND)
    assert decoded(await sign(nodes[1]))[0]["kid"] == old
    clock.advance(TIMES.longest_token)

    for node in nodes:
        assert old in await kids(node)
    clock.advance(RING_AGE + SECOND)
    for node in nodes:
        assert old not in await kids(node)


async def test_a_retired_key_verifies_hints_for_a_year(nodes: list[SigningKeys], clock: FakeClock) -> None:
    hint = await sign(nodes[0], sub="u_1")
    clock.advance(TIMES.publication)
    await nodes[0].rotate(actor="test")
    clock.advance(HINT_MEMORY - SECOND)
    assert decoded(hint)[0]["kid"] not in await kids(nodes[1])

    assert verify(hint, await nodes[1].verification_keys(), algorithms=["ES256"]).claims == {"sub": "u_1"}

    clock.advance(SECOND)
    with pytest.raises(InvalidSignature):
        verify(hint, await nodes[0].verification_keys(), algorithms=["ES256"])


async def test_a_revoked_active_key_is_gone_at_once_and_its_next_signs(
    nodes: list[SigningKeys], clock: FakeClock
) -> None:
    token = await sign(nodes[0])
    other_alg = await sign(nodes[0], EDDSA)
    await sign(nodes[1])
    kid = decoded(token)[0]["kid"]

    revoked = await nodes[0].revoke(kid, actor="test")

    assert (revoked.kid, revoked.state) == (kid, SigningKeyState.REVOKED)
    assert kid not in await kids(nodes[0])
    with pytest.raises(InvalidSignature):
        verify(token, await nodes[0].verification_keys(), algorithms=["ES256"])
    clock.advance(RING_AGE)
    assert kid not in await kids(nodes[1])
    for node in nodes:
        assert decoded(await sign(node))[0]["kid"] in await kids(node)
        # The other algorithms are not concerned.
        assert decoded(await sign(node, EDDSA))[0]["kid"] == decoded(other_alg)[0]["kid"]
    assert sorted(await states(nodes[0])) == ["active", "next", "revoked"]


async def test_a_revoked_next_key_is_replaced_and_a_retired_one_just_ends(
    nodes: list[SigningKeys], clock: FakeClock
) -> None:
    (upcoming,) = [key for key in await nodes[0].keys() if (key.alg, key.state) == (ES256, SigningKeyState.NEXT)]
    await nodes[0].revoke(upcoming.kid, actor="test")
    assert sorted(await states(nodes[0])) == ["active", "next", "revoked"]
    # The new one was published just now, so that it cannot sign yet.
    clock.advance(TIMES.publication - SECOND)
    with pytest.raises(KeyNotReady):
        await nodes[0].rotate(actor="test")
    clock.advance(SECOND)
    await nodes[0].rotate(actor="test")
    (retired,) = [key for key in await nodes[0].keys() if (key.alg, key.state) == (ES256, SigningKeyState.RETIRED)]

    await nodes[0].revoke(retired.kid, actor="test")

    assert retired.kid not in await kids(nodes[0])
    assert sorted(await states(nodes[0])) == ["active", "next", "revoked", "revoked"]


async def test_an_unknown_key_cannot_be_revoked(nodes: list[SigningKeys]) -> None:
    with pytest.raises(NotFound):
        await nodes[0].revoke("unknown", actor="test")


async def test_rotation_and_revocation_are_audited_with_who_did_it(nodes: list[SigningKeys], store: Store) -> None:
    active = await nodes[0].rotate(actor="u_operator", even_if_unpublished=True)
    await nodes[0].revoke(active[0].kid, actor="u_operator")

    async with store.read() as tx:
        events = {event.action: event for event in await tx.audit_events.all()}
    assert events[AuditAction.SIGNING_KEYS_ROTATED].detail == {"kids": [key.kid for key in active]}
    assert events[AuditAction.SIGNING_KEY_REVOKED].target == active[0].kid
    assert {event.actor for event in events.values()} == {"u_operator"}


# ── Making and keeping keys ─────────────────────────────────────────────────────────────────────────────────────────
async def test_two_nodes_that_start_at_once_make_one_active_and_one_next_key_for_each_algorithm(
    database_url: str, installed: Installed, clock: FakeClock
) -> None:
    stores = [Store(Database(database_url)) for _ in range(2)]
    await add_all(stores[0], [row for row in installed.rows if not hasattr(row, "alg")])
    starting = [SigningKeys(store, installed.data_keys, clock, TIMES) for store in stores]

    await asyncio.gather(*(node.ensure() for node in starting))

    for alg in SigningAlgorithm:
        assert sorted(await states(starting[0], alg)) == ["active", "next"]
    before = await kids(starting[1])
    await starting[1].ensure()
    assert await kids(starting[0]) == before
    for store in stores:
        await store.close()


async def test_private_keys_cannot_be_read_from_the_database_without_the_data_key(
    nodes: list[SigningKeys], store: Store, installed: Installed, clock: FakeClock
) -> None:
    async with store.read() as tx:
        rows = await tx.signing_keys.all()
    for row in rows:
        assert not {"d", "p", "q", "k"} & row.public_jwk.keys()
        # PKCS #8 begins with SEQUENCE, INTEGER 0; its algorithm identifiers would be seen, too.
        assert b"\x02\x01\x00\x30" not in row.sealed_private_key
    thief = SigningKeys(store, replace(installed.data_keys, seal=bytes(32)), clock, TIMES)
    with pytest.raises(CannotUnseal):
        await thief.signer(ES256)


async def test_a_sealed_key_put_in_the_place_of_another_is_refused(
    nodes: list[SigningKeys], store: Store, installed: Installed, clock: FakeClock
) -> None:
    async with store.write() as tx:
        active = [row for row in await tx.signing_keys.all() if row.state is SigningKeyState.ACTIVE]
        await tx.signing_keys.save(replace(active[0], sealed_private_key=active[1].sealed_private_key))

    with pytest.raises(CannotUnseal):
        await SigningKeys(store, installed.data_keys, clock, TIMES).signer(active[0].alg)


async def test_jwks_holds_every_kind_that_signs_with_public_members_alone(nodes: list[SigningKeys]) -> None:
    keys = await jwks(nodes[0])

    assert sorted(key["alg"] for key in keys) == ["ES256", "ES256", "EdDSA", "EdDSA"]
    for key in keys:
        assert key.keys() <= {"kty", "use", "alg", "kid", "crv", "x", "y", "n", "e"}
