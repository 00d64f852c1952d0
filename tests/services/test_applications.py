"""Which applications somebody uses, and taking back what one of them was given."""

from datetime import timedelta

import pytest

from idp.domain.audit import AuditAction
from idp.services.applications import Applications
from idp.store.store import Store
from tests.support.clock import START, FakeClock
from tests.support.factories import (
    make_access_token,
    make_client,
    make_consent,
    make_grant,
    make_refresh_token,
    make_session,
    make_user,
)

ALICE, BOB = "u_alice", "u_bob"
HOUR = timedelta(hours=1)


@pytest.fixture
async def applications(store: Store, clock: FakeClock) -> Applications:
    """Alice and Bob, two applications that ask, and one that need not."""
    await store.commit.append(
        make_user(),
        make_user(id=BOB, email="bob@example.org"),
        make_session(),
        make_client(client_name="portal"),
        make_client(client_id="other", client_name="Other"),
        make_client(client_id="trusted", client_name="Trusted", trusted=True),
    )
    return Applications(store, clock)


async def names(applications: Applications, user_id: str = ALICE) -> list[str]:
    return [application.client.client_name for application in await applications.of(user_id)]


# ── What is listed ──────────────────────────────────────────────────────────────────────────────────────────────────
async def test_somebody_who_allowed_nothing_uses_nothing(applications: Applications) -> None:
    assert await applications.of(ALICE) == []
    assert await applications.last_used(ALICE) == {}


async def test_what_was_agreed_to_is_listed_by_name_with_its_date_and_nobody_elses_is(
    applications: Applications, store: Store
) -> None:
    await store.commit.append(
        make_consent(scopes=("openid", "claim email"), created_at=START - HOUR),
        make_consent(client_id="other"),
        make_consent(user_id=BOB, client_id="trusted"),
    )

    assert await names(applications) == ["Other", "portal"]
    portal = (await applications.of(ALICE))[1]
    assert (portal.tokens, portal.since) == (("openid", "claim email"), START - HOUR)


async def test_an_application_that_need_not_ask_is_listed_while_it_has_a_live_grant(
    applications: Applications, store: Store, clock: FakeClock
) -> None:
    await store.commit.append(
        make_grant(id="g_1", client_id="trusted", scope="openid profile", created_at=START - HOUR),
        make_grant(id="g_2", client_id="trusted", scope="openid email"),
        make_grant(id="g_3", client_id="trusted", scope="openid phone", revoked_at=START),
        make_grant(id="g_4", client_id="other", revoked_at=START),
        make_grant(id="g_5", client_id="portal", user_id=BOB),
    )

    (trusted,) = await applications.of(ALICE)
    assert (trusted.client.client_id, trusted.since) == ("trusted", START - HOUR)
    assert trusted.tokens == ("openid", "profile", "email")
    clock.advance(timedelta(hours=12))
    assert await names(applications) == []


async def test_consent_and_grants_of_one_application_are_one_item(applications: Applications, store: Store) -> None:
    await store.commit.append(
        make_consent(scopes=("openid",), created_at=START - HOUR), make_grant(scope="openid email")
    )

    (portal,) = await applications.of(ALICE)
    assert (portal.tokens, portal.since) == (("openid", "email"), START - HOUR)


async def test_last_used_is_the_newest_of_all_that_was_given(applications: Applications, store: Store) -> None:
    later = START + HOUR
    await store.commit.append(
        make_grant(id="g_1"),
        make_access_token(hash="1", grant_id="g_1", created_at=START + 2 * HOUR),
        make_access_token(hash="2", grant_id="g_1", created_at=later),
        make_grant(id="g_2", client_id="other", created_at=later, revoked_at=later),
        make_grant(id="g_3", client_id="trusted", user_id=BOB),
    )

    assert await applications.last_used(ALICE) == {"portal": START + 2 * HOUR, "other": later}


# ── Withdrawing ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_withdrawing_forgets_the_consent_and_revokes_every_grant_offline_or_not(
    applications: Applications, store: Store, clock: FakeClock
) -> None:
    await store.commit.append(
        make_consent(),
        make_grant(id="g_1"),
        make_grant(id="g_2", offline=True),
        make_refresh_token(grant_id="g_2"),
        make_grant(id="g_old", revoked_at=START),
        make_grant(id="g_bob", user_id=BOB),
        make_consent(user_id=BOB),
        make_grant(id="g_other", client_id="other"),
        make_consent(client_id="other"),
    )
    now = clock.advance(HOUR)

    await applications.withdraw(ALICE, "portal")

    assert await names(applications) == ["Other"]
    assert await names(applications, BOB) == ["portal"]
    async with store.read() as tx:
        revoked = {grant.id: grant.revoked_at for grant in await tx.grants.all()}
        (event,) = await tx.audit_events.all()
    assert revoked == {"g_1": now, "g_2": now, "g_old": START, "g_bob": None, "g_other": None}
    assert (event.action, event.actor, event.target) == (AuditAction.CONSENT_WITHDRAWN, ALICE, "portal")
    assert (event.at, event.detail) == (now, {"grants": 2})


async def test_withdrawing_from_one_that_need_not_ask_revokes_its_grants(
    applications: Applications, store: Store
) -> None:
    await store.commit.append(make_grant(client_id="trusted"))

    await applications.withdraw(ALICE, "trusted")

    assert await names(applications) == []


@pytest.mark.parametrize(
    ("user_id", "client_id"),
    [(ALICE, "portal"), (ALICE, "unknown"), (ALICE, ""), (ALICE, "x" * 5000), ("u_nobody", "portal")],
)
async def test_withdrawing_what_was_not_given_changes_nothing_and_is_not_recorded(
    applications: Applications, store: Store, user_id: str, client_id: str
) -> None:
    await store.commit.append(make_consent(user_id=BOB), make_grant(user_id=BOB))

    await applications.withdraw(user_id, client_id)

    assert await names(applications, BOB) == ["portal"]
    async with store.read() as tx:
        assert await tx.audit_events.all() == []
        assert (await tx.grants.get("g_portal")).revoked_at is None
