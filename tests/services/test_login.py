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
from idp.services.sessions import Sessions, SessionTimes, SignedIn
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
    return Login(store, sessions, hasher, clock, Metrics())


async def sign_in(login: Login, identifier: str, password: str = PASSWORD, previous: SignedIn | None = None) -> str:
    return await login.with_password(identifier, password, previous=previous, user_agent="Browser/1.0")


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


async def test_the_same_person_keeps_the_session_and_what_hangs_on_it(
    login: Login, store: Store, sessions: Sessions
) -> None:
    first_cookie = await sign_in(login, "alice")
    first = await sessions.find(first_cookie)
    assert first is not None
    await add_all(store, [make_client(), make_grant(session_id=first.session.id)])

    second = await sessions.find(await sign_in(login, "alice", previous=first))

    assert second is not None
    assert second.session.id == first.session.id
    assert await sessions.find(first_cookie) is None
    async with store.read() as tx:
        assert (await tx.grants.get("g_portal")).revoked_at is None


async def test_another_persons_session_ends_with_what_hangs_on_it(
    login: Login, store: Store, sessions: Sessions
) -> None:
    first_cookie = await sign_in(login, "alice")
    first = await sessions.find(first_cookie)
    assert first is not None
    await add_all(store, [make_client(), make_grant(session_id=first.session.id)])

    second = await sessions.find(await sign_in(login, "bob@example.org", previous=first))

    assert second is not None
    assert second.session.id != first.session.id
    assert await sessions.find(first_cookie) is None
    async with store.read() as tx:
        assert (await tx.grants.get("g_portal")).revoked_at is not None


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
    login = Login(store, sessions, hasher, clock, Metrics())
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
        await sign_in(Login(store, sessions, hasher, clock, Metrics()), "alice")
    async with store.read() as tx:
        assert await tx.sessions.all() == []
    hasher.close()
