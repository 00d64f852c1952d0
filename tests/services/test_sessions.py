"""Browser sessions: found by a hash, limited twice, and taking along what hangs on them."""

from datetime import timedelta

import pytest

from idp.crypto.opaque import hash_token
from idp.domain.audit import AuditAction
from idp.domain.user import UserStatus
from idp.services.audit import caller_address
from idp.services.sessions import Accounts, Sessions, SessionTimes, SignedIn, continued
from idp.store.store import Store
from tests.support.app import add_all
from tests.support.clock import FakeClock
from tests.support.factories import make_client, make_grant, make_session, make_user

IDLE, ABSOLUTE = timedelta(hours=1), timedelta(hours=12)


@pytest.fixture
def sessions(store: Store, clock: FakeClock) -> Sessions:
    return Sessions(store, clock, SessionTimes(idle=IDLE, absolute=ABSOLUTE))


async def started(sessions: Sessions, store: Store, **user: object) -> str:
    cookie, session = sessions.start(make_user(**user), acr="1", amr=("pwd",), user_agent="Browser/1.0")
    await add_all(store, [make_user(**user), session])
    return cookie


async def test_a_session_is_found_by_its_cookie_of_which_only_the_hash_is_stored(
    sessions: Sessions, store: Store
) -> None:
    cookie = await started(sessions, store)

    found = await sessions.find(cookie)

    assert found is not None
    assert (found.user, found.session.hash) == (make_user(), hash_token(cookie))
    assert cookie not in repr(found)


@pytest.mark.parametrize("cookie", [None, "", "unknown", "x" * 10_000, "\x00", "\udcff"])
async def test_anything_else_is_nobody(sessions: Sessions, store: Store, cookie: str | None) -> None:
    await started(sessions, store)

    assert await sessions.find(cookie) is None


async def test_it_ends_when_idle_and_each_use_counts(sessions: Sessions, store: Store, clock: FakeClock) -> None:
    cookie = await started(sessions, store)
    for _ in range(3):
        clock.advance(IDLE - timedelta(seconds=1))
        assert await sessions.find(cookie)

    clock.advance(IDLE)

    assert await sessions.find(cookie) is None


async def test_it_ends_at_its_absolute_limit_however_much_it_is_used(
    sessions: Sessions, store: Store, clock: FakeClock
) -> None:
    cookie = await started(sessions, store)
    for _ in range(23):
        clock.advance(timedelta(minutes=30))
        assert await sessions.find(cookie)
    clock.advance(timedelta(minutes=29, seconds=59))
    assert await sessions.find(cookie)

    clock.advance(timedelta(seconds=1))

    assert await sessions.find(cookie) is None


async def test_its_use_is_written_down_once_a_minute_and_no_more(
    sessions: Sessions, store: Store, clock: FakeClock
) -> None:
    cookie = await started(sessions, store)
    begun = clock()
    seen = []
    for _ in range(4):
        clock.advance(timedelta(seconds=30))
        await sessions.find(cookie)
        async with store.read() as tx:
            (session,) = await tx.sessions.all()
        seen.append((session.last_seen_at - begun).total_seconds())

    assert seen == [0, 60, 60, 120]


async def test_a_disabled_account_is_nobody(sessions: Sessions, store: Store) -> None:
    assert await sessions.find(await started(sessions, store, status=UserStatus.DISABLED)) is None


# ── Several accounts in one browser ─────────────────────────────────────────────────────────────────────────────────
async def test_every_account_is_found_the_active_one_first_then_by_sign_in(
    sessions: Sessions, store: Store, clock: FakeClock
) -> None:
    cookies = {}
    for name in ("alice", "bob", "carol"):
        cookies[name] = await started(sessions, store, id=f"u_{name}", email=f"{name}@example.org")
        clock.advance(seconds=1)

    accounts = await sessions.find_accounts(cookies["bob"], [cookies["alice"], cookies["carol"]], "state")

    assert accounts.active is not None
    assert [account.user.id for account in accounts.all] == ["u_bob", "u_carol", "u_alice"]
    assert (accounts.active.user.id, accounts.browser_state) == ("u_bob", "state")
    assert await sessions.find_accounts(cookies["bob"], [], None) == Accounts(accounts.active)


async def test_nobody_becomes_active_because_the_active_account_is_gone(
    sessions: Sessions, store: Store, clock: FakeClock
) -> None:
    bob = await started(sessions, store, id="u_bob", email="bob@example.org")

    for cookie in (None, "", "garbage"):
        accounts = await sessions.find_accounts(cookie, [bob], None)
        assert (accounts.active, [account.user.id for account in accounts.all]) == (None, ["u_bob"])


async def test_what_is_invalid_is_left_out(sessions: Sessions, store: Store, clock: FakeClock) -> None:
    alice = await started(sessions, store)
    out = await started(sessions, store, id="u_out", email="out@example.org", status=UserStatus.DISABLED)
    ended = await started(sessions, store, id="u_ended", email="ended@example.org")
    found = await sessions.find(ended)
    assert found is not None
    await sessions.end(found.session, now=clock())

    accounts = await sessions.find_accounts(alice, [out, ended, "garbage", "x" * 10_000, "\x00", "\udcff"], None)

    assert [account.user.id for account in accounts.all] == ["u_alice"]


async def test_a_person_is_there_once_with_the_active_session_else_the_newest(
    sessions: Sessions, store: Store, clock: FakeClock
) -> None:
    cookies = [await started(sessions, store)]
    for _ in range(2):
        clock.advance(seconds=1)
        cookie, session = sessions.start(make_user(), acr="1", amr=("pwd",), user_agent=None)
        await add_all(store, [session])
        cookies.append(cookie)
    first, second, third = cookies

    for active, others, counts in (
        (first, [second, third], first),
        (first, [first], first),
        (None, [second, first, third], third),
        (None, [third, second], third),
    ):
        accounts = await sessions.find_accounts(active, others, None)
        assert [account.session.hash for account in accounts.all] == [hash_token(counts)]


async def test_being_listed_keeps_no_account_from_going_idle(
    sessions: Sessions, store: Store, clock: FakeClock
) -> None:
    alice = await started(sessions, store)
    bob = await started(sessions, store, id="u_bob", email="bob@example.org")
    for _ in range(4):
        clock.advance(IDLE / 4)
        accounts = await sessions.find_accounts(alice, [bob], None)

    assert [account.user.id for account in accounts.all] == ["u_alice"]


async def test_without_a_cookie_the_database_is_not_asked(
    sessions: Sessions, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asked(hash: str) -> None:
        raise AssertionError(hash)

    monkeypatch.setattr(store, "find_session", asked)
    with pytest.raises(AssertionError):
        await sessions.find_accounts("a-cookie", [], None)

    assert await sessions.find_accounts(None, [], None) == Accounts(None)


async def test_a_choice_is_audited(sessions: Sessions, store: Store) -> None:
    found = await sessions.find(await started(sessions, store))
    assert found is not None

    await sessions.select(found)

    async with store.read() as tx:
        (event,) = await tx.audit_events.all()
    assert (event.action, event.actor, event.target) == (AuditAction.ACCOUNT_SELECTED, "u_alice", found.session.id)


def test_accounts_are_told_apart_by_their_public_session_id() -> None:
    alice = SignedIn(make_session(), make_user())
    bob = SignedIn(make_session(id="s_bob", user_id="u_bob"), make_user(id="u_bob"))
    accounts = Accounts(alice, (bob,), "state")

    assert accounts.find("s_bob") is bob
    assert accounts.of_user("u_alice") is alice
    assert (accounts.find("s_of_another_browser"), accounts.find(""), accounts.of_user("u_carol")) == (None, None, None)
    assert accounts.with_active(bob) == Accounts(bob, (alice,), "state")
    assert accounts.with_active(alice) == accounts
    assert accounts.without("s_bob") == Accounts(alice, (), "state")
    assert accounts.without(alice.session.id) == Accounts(None, (bob,), "state")
    assert accounts.without("s_of_another_browser") == accounts


async def test_an_end_takes_along_what_was_not_meant_to_outlive_it(
    sessions: Sessions, store: Store, clock: FakeClock
) -> None:
    cookie = await started(sessions, store)
    found = await sessions.find(cookie)
    assert found is not None
    sid = found.session.id
    other = make_session(hash="of-another-browser")
    await add_all(
        store,
        [
            make_client(),
            other,
            make_grant(id="g_online", session_id=sid),
            make_grant(id="g_offline", session_id=sid, offline=True),
            make_grant(id="g_elsewhere", session_id=other.id),
        ],
    )

    await sessions.end(found.session, now=clock())
    await sessions.end(found.session, now=clock())

    assert await sessions.find(cookie) is None
    async with store.read() as tx:
        assert {grant.id for grant in await tx.grants.all() if grant.revoked_at is not None} == {"g_online"}
        (event,) = await tx.audit_events.all()
    assert (event.action, event.actor, event.target) == (AuditAction.LOGOUT, "u_alice", sid)


async def test_a_session_remembers_where_it_was_started(sessions: Sessions) -> None:
    token = caller_address.set("192.0.2.1")
    _, session = sessions.start(make_user(), acr="1", amr=("pwd",), user_agent="B" * 600 + "\x00")
    caller_address.reset(token)

    assert (session.address, session.user_agent) == ("192.0.2.1", "B" * 500)


def test_the_same_person_signing_in_again_keeps_the_sid_and_another_person_does_not() -> None:
    before = make_session()
    again = make_session(id="s_new", hash="new")

    assert (continued(again, before).id, continued(again, before).hash) == (before.id, "new")
    assert continued(make_session(id="s_new", user_id="u_bob"), before).id == "s_new"
    assert continued(again, None).id == "s_new"
    assert continued(again, make_session(ended_at=before.created_at)).id == "s_new"
