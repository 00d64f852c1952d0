"""Signing in with a password: one answer and one duration for everything that is wrong."""

from collections.abc import AsyncIterator
from datetime import timedelta

import bcrypt
import pytest

from idp.crypto.password import HashingBusy, PasswordCheck, PasswordHasher
from idp.domain.audit import AuditAction
from idp.domain.user import UserStatus
from idp.observe.metrics import Metrics
from idp.services.accounts import Accounts
from idp.services.login import Login, LoginFailed
from idp.services.sessions import MAX_ACCOUNTS, NewSession, Sessions, SessionTimes, SignedIn
from idp.services.sessions import Accounts as BrowserAccounts
from idp.services.sign_in import SignIn
from idp.store.store import Store
from tests.support.app import PASSWORD, add_all
from tests.support.clock import FakeClock
from tests.support.factories import make_client, make_credential, make_grant, make_installation, make_user


class CountingHasher(PasswordHasher):
    """Tells how often a password was looked at."""

    looked = 0

    async def verify(self, encoded: str | None, password: str) -> PasswordCheck:
        self.looked += 1
        return await super().verify(encoded, password)


@pytest.fixture
async def hasher() -> AsyncIterator[CountingHasher]:
    hasher = CountingHasher(memory_kib=64, time_cost=1)
    yield hasher
    hasher.close()


@pytest.fixture
def sessions(store: Store, clock: FakeClock) -> Sessions:
    return Sessions(store, clock, SessionTimes(idle=timedelta(hours=1), absolute=timedelta(hours=12)))


@pytest.fixture
async def login(
    store: Store, sessions: Sessions, hasher: CountingHasher, clock: FakeClock, password_hash: str
) -> Login:
    users = [make_user(username="alice"), make_user(id="u_bob", email="bob@example.org")]
    users.append(make_user(id="u_out", email="out@example.org", status=UserStatus.DISABLED))
    credentials = [make_credential(id=f"c_{user.id}", user_id=user.id, secret=password_hash) for user in users]
    without = make_user(id="u_none", email="none@example.org")
    await add_all(store, [*users, without, *credentials])
    return Login(store, SignIn(store, sessions, Metrics()), hasher, clock, Metrics())


async def sign_in_beside(
    login: Login, identifier: str, *others: SignedIn, active: SignedIn | None = None
) -> NewSession:
    accounts = BrowserAccounts(active, others)
    new = await login.with_password(identifier, PASSWORD, accounts=accounts, browser=None, user_agent="Browser/1.0")
    assert isinstance(new, NewSession)
    return new


async def sign_in(login: Login, identifier: str, password: str = PASSWORD) -> str:
    new = await login.with_password(
        identifier, password, accounts=BrowserAccounts(None), browser=None, user_agent="Browser/1.0"
    )
    assert isinstance(new, NewSession)
    return new.cookie


async def signed_in(login: Login, sessions: Sessions, identifier: str) -> SignedIn:
    found = await sessions.find(await sign_in(login, identifier))
    assert found is not None
    return found


@pytest.mark.parametrize("identifier", ["alice@example.org", "ALICE@EXAMPLE.ORG", "alice", "  Alice "])
async def test_address_and_user_name_sign_in(login: Login, sessions: Sessions, identifier: str) -> None:
    found = await sessions.find(await sign_in(login, identifier))

    assert found is not None
    assert (found.user.id, found.session.amr, found.session.acr) == ("u_alice", ("pwd",), "1")


@pytest.mark.parametrize(
    ("identifier", "password", "target"),
    [
        ("alice", "wrong", "u_alice"),
        ("alice", "", "u_alice"),
        ("nobody", PASSWORD, "unknown"),
        ("", PASSWORD, "unknown"),
        ("out@example.org", PASSWORD, "u_out"),
        ("none@example.org", PASSWORD, "u_none"),
        ("alice", PASSWORD + "x" * 2000, "unknown"),
        ("a" * 400, PASSWORD, "unknown"),
        ("ali\x00ce", PASSWORD, "unknown"),
    ],
)
async def test_whatever_is_wrong_looks_the_same_and_takes_one_look_at_a_password(
    login: Login, store: Store, hasher: CountingHasher, identifier: str, password: str, target: str
) -> None:
    with pytest.raises(LoginFailed) as failed:
        await sign_in(login, identifier, password)

    assert str(failed.value) == ""
    assert hasher.looked == 1
    async with store.read() as tx:
        (event,) = await tx.audit_events.all()
        assert await tx.sessions.all() == []
    # What was typed is not kept: it may be the password, in the wrong field.
    assert (event.action, event.actor, event.target) == (AuditAction.LOGIN_FAILED, "anonymous", target)
    assert event.detail == {}


async def test_an_imported_hash_works_once_and_is_then_one_of_ours(
    login: Login, store: Store, clock: FakeClock
) -> None:
    imported = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    async with store.write() as tx:
        await tx.credentials.save(make_credential(id="c_u_alice", secret=imported))
    with pytest.raises(LoginFailed):
        await sign_in(login, "alice", "wrong")
    async with store.read() as tx:
        assert (await tx.credentials.get("c_u_alice")).secret == imported

    await sign_in(login, "alice")

    async with store.read() as tx:
        assert (await tx.credentials.get("c_u_alice")).secret.startswith("$argon2id$")
    await sign_in(login, "alice")


@pytest.mark.parametrize("active", [True, False])
async def test_the_same_person_keeps_the_session_and_what_hangs_on_it(
    login: Login, store: Store, sessions: Sessions, active: bool
) -> None:
    first_cookie = await sign_in(login, "alice")
    first = await sessions.find(first_cookie)
    assert first is not None
    await add_all(store, [make_client(), make_grant(session_id=first.session.id)])

    new = await (sign_in_beside(login, "alice", active=first) if active else sign_in_beside(login, "alice", first))

    second = await sessions.find(new.cookie)
    assert second is not None
    assert (second.session.id, new.others) == (first.session.id, ())
    assert await sessions.find(first_cookie) is None
    async with store.read() as tx:
        assert (await tx.grants.get("g_portal")).revoked_at is None


async def test_another_person_signs_in_beside_who_is_there_and_ends_nothing(
    login: Login, store: Store, sessions: Sessions
) -> None:
    alice = await signed_in(login, sessions, "alice")
    await add_all(store, [make_client(), make_grant(session_id=alice.session.id)])

    new = await sign_in_beside(login, "bob@example.org", active=alice)

    bob = await sessions.find(new.cookie)
    assert bob is not None
    assert (bob.user.id, new.others) == ("u_bob", (alice,))
    assert bob.session.id != alice.session.id
    async with store.read() as tx:
        assert (await tx.sessions.get(alice.session.id)).ended_at is None
        assert (await tx.grants.get("g_portal")).revoked_at is None


async def test_with_too_many_accounts_the_oldest_sign_in_ends_whichever_is_active(
    login: Login, store: Store, sessions: Sessions, clock: FakeClock, password_hash: str
) -> None:
    users = [make_user(id=f"u_{n}", email=f"user{n}@example.org") for n in range(MAX_ACCOUNTS)]
    await add_all(
        store, [*users, *(make_credential(id=f"c_{u.id}", user_id=u.id, secret=password_hash) for u in users)]
    )
    accounts = []
    for user in users:
        accounts.append(await signed_in(login, sessions, user.label))
        clock.advance(seconds=1)
    oldest, *kept = accounts
    await add_all(store, [make_client(), make_grant(user_id=oldest.user.id, session_id=oldest.session.id)])

    new = await sign_in_beside(login, "alice", *kept, active=oldest)

    assert new.others == tuple(reversed(kept))
    async with store.read() as tx:
        assert [session.id for session in await tx.sessions.all() if session.ended_at] == [oldest.session.id]
        assert (await tx.grants.get("g_portal")).revoked_at is not None
        logouts = [event for event in await tx.audit_events.all() if event.action is AuditAction.LOGOUT]
    assert [(event.actor, event.target) for event in logouts] == [(oldest.user.id, oldest.session.id)]


async def test_the_fifth_account_ends_nobody_and_a_member_of_a_full_browser_signs_in_again(
    login: Login, store: Store, sessions: Sessions, password_hash: str
) -> None:
    users = [make_user(id=f"u_{n}", email=f"user{n}@example.org") for n in range(MAX_ACCOUNTS - 1)]
    await add_all(
        store, [*users, *(make_credential(id=f"c_{u.id}", user_id=u.id, secret=password_hash) for u in users)]
    )
    others = [await signed_in(login, sessions, user.label) for user in users]

    alice = await sessions.find((await sign_in_beside(login, "alice", *others)).cookie)
    again = await sign_in_beside(login, others[0].user.label, *others, active=alice)

    assert len(again.others) == MAX_ACCOUNTS - 1
    async with store.read() as tx:
        assert not [session for session in await tx.sessions.all() if session.ended_at]


async def test_who_was_signed_out_in_another_tab_meanwhile_gets_a_session_of_its_own(
    login: Login, store: Store, sessions: Sessions, clock: FakeClock
) -> None:
    first = await signed_in(login, sessions, "alice")
    await sessions.end(first.session, now=clock())

    second = await sessions.find((await sign_in_beside(login, "alice", active=first)).cookie)

    assert second is not None
    assert second.session.id != first.session.id
    async with store.read() as tx:
        assert (await tx.sessions.get(first.session.id)).ended_at is not None


async def test_a_full_queue_is_told_and_counts_as_no_attempt(
    login: Login, store: Store, hasher: CountingHasher
) -> None:
    async def busy(encoded: str | None, password: str) -> PasswordCheck:
        raise HashingBusy

    hasher.verify = busy
    with pytest.raises(HashingBusy):
        await sign_in(login, "alice")

    async with store.read() as tx:
        assert await tx.audit_events.all() == []


async def test_a_success_is_audited_with_the_session(login: Login, store: Store, sessions: Sessions) -> None:
    found = await sessions.find(await sign_in(login, "alice"))

    assert found is not None
    async with store.read() as tx:
        (event,) = await tx.audit_events.all()
    assert (event.action, event.actor, event.target) == (AuditAction.LOGIN_SUCCEEDED, "u_alice", found.session.id)
    assert event.detail == {"amr": ["pwd"]}


# ── A change while the hash is being checked ────────────────────────────────────────────────────────────────────────
class InterruptedHasher(CountingHasher):
    """Lets something happen between the look at a password and what follows from it."""

    async def verify(self, encoded: str | None, password: str) -> PasswordCheck:
        check = await super().verify(encoded, password)
        await self.meanwhile()
        return check

    async def meanwhile(self) -> None: ...


@pytest.mark.parametrize("stored", ["argon2", "bcrypt"])
async def test_a_password_that_was_replaced_meanwhile_signs_nobody_in_and_does_not_come_back(
    store: Store, sessions: Sessions, clock: FakeClock, password_hash: str, stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = password_hash if stored == "argon2" else bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    await add_all(store, [make_installation(), make_user(username="alice"), make_credential(secret=old)])
    hasher = InterruptedHasher(memory_kib=64, time_cost=1)
    accounts = Accounts(store, hasher, clock, 8)

    async def reset() -> None:
        await accounts.set_password("alice", "another-long-password", actor="cli")

    monkeypatch.setattr(hasher, "meanwhile", reset)
    login = Login(store, SignIn(store, sessions, Metrics()), hasher, clock, Metrics())
    with pytest.raises(LoginFailed):
        await sign_in(login, "alice")

    async def nothing() -> None: ...

    monkeypatch.setattr(hasher, "meanwhile", nothing)
    with pytest.raises(LoginFailed):
        await sign_in(login, "alice")
    assert await sessions.find(await sign_in(login, "alice", "another-long-password")) is not None
    async with store.read() as tx:
        assert len(await tx.sessions.all()) == 1
    hasher.close()


async def test_an_account_that_was_disabled_meanwhile_is_not_signed_in(
    store: Store, sessions: Sessions, clock: FakeClock, password_hash: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_all(store, [make_installation(), make_user(username="alice"), make_credential(secret=password_hash)])
    hasher = InterruptedHasher(memory_kib=64, time_cost=1)
    accounts = Accounts(store, hasher, clock, 8)

    async def disable() -> None:
        await accounts.disable("alice", actor="cli")

    monkeypatch.setattr(hasher, "meanwhile", disable)
    with pytest.raises(LoginFailed):
        await sign_in(Login(store, SignIn(store, sessions, Metrics()), hasher, clock, Metrics()), "alice")
    async with store.read() as tx:
        assert await tx.sessions.all() == []
    hasher.close()
