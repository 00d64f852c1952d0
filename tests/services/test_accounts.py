import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from idp.crypto.password import PasswordHasher
from idp.domain.audit import AuditAction
from idp.domain.credential import CredentialKind
from idp.domain.user import AdminRole, UserStatus
from idp.services.accounts import AccountRefused, Accounts, UserInput
from idp.store.errors import NotFound
from idp.store.store import Store
from tests.support.clock import START, FakeClock
from tests.support.factories import make_client, make_credential, make_grant, make_installation, make_session, make_user

PASSWORD = "correct-horse-battery"


@pytest.fixture
async def hasher() -> AsyncIterator[PasswordHasher]:
    hasher = PasswordHasher(memory_kib=32, time_cost=1)
    yield hasher
    hasher.close()


@pytest.fixture
async def accounts(store: Store, hasher: PasswordHasher, clock: FakeClock) -> Accounts:
    async with store.write() as tx:
        await tx.installations.add(make_installation())
    return Accounts(store, hasher, clock, 8)


def refusal(**raw: object) -> dict[str, str]:
    with pytest.raises(AccountRefused) as refused:
        UserInput.read(raw)
    return refused.value.errors


async def actions(store: Store) -> list[AuditAction]:
    async with store.read() as tx:
        return sorted(event.action for event in await tx.audit_events.all())


# ── What may be written down ────────────────────────────────────────────────────────────────────────────────────────
def test_address_and_user_name_are_kept_in_lower_case_without_spaces_around_them():
    given = UserInput.read({"email": " Alice@Example.ORG ", "username": " Alice "})
    assert (given.email, given.username) == ("alice@example.org", "alice")


@pytest.mark.parametrize(
    "email",
    [
        "alice",
        "@example.org",
        "alice@",
        "a b@example.org",
        "alice@example..org",
        "alice@-x.org",
        "a@b@c",
        "a\0@b.c",
        "",
    ],
)
def test_what_is_no_address_is_refused(email: str):
    assert list(refusal(email=email)) == ["email"]


@pytest.mark.parametrize("username", ["a@b", "a b", "a\tb", "a\0", "", "\u200b", "x" * 101])
def test_what_is_no_user_name_is_refused(username: str):
    assert list(refusal(username=username)) == ["username"]


def test_an_account_needs_an_address_or_a_user_name():
    assert refusal(name="Alice") == {"": "An e-mail address (email) or a user name (username) is needed."}


@pytest.mark.parametrize("field", ["name", "given_name", "nickname", "phone_number", "gender", "picture", "locale"])
@pytest.mark.parametrize("text", ["a\0b", "a\x1b[2Jb", "\ud800", " "])
def test_text_that_no_database_or_terminal_should_see_is_refused(field: str, text: str):
    assert list(refusal(email="a@b.c", **{field: text})) == [field]


def test_nul_is_refused_in_passwords_and_inside_an_address_claim():
    assert list(refusal(email="a@b.c", password="a\0bcdefgh")) == ["password"]
    assert list(refusal(email="a@b.c", address={"locality": "a\0"})) == ["address.locality"]


def test_a_password_of_more_than_1024_characters_is_refused():
    assert refusal(email="a@b.c", password="x" * 1025) == {"password": "It must have at most 1024 characters."}


def test_a_hash_of_an_unknown_scheme_is_refused_and_not_repeated():
    (text,) = refusal(email="a@b.c", password_hash="5f4dcc3b5aa765d61d8327deb882cf99").values()
    assert "5f4d" not in text


def test_password_and_hash_together_are_refused():
    raw = {"email": "a@b.c", "password": PASSWORD, "password_hash": make_hash()}
    assert list(refusal(**raw)) == ["password_hash"]


def make_hash() -> str:
    return "$2b$10$" + "a" * 21 + "." + "a" * 31


def test_an_unknown_field_is_refused_with_the_one_that_was_meant():
    assert refusal(email="a@b.c", given_nam="A") == {"given_nam": "It is not known here; did you mean given_name?"}


def test_every_standard_claim_is_kept_under_its_own_name_oidc_core_s5_1():
    claims = {
        "given_name": "Alice",
        "family_name": "Liddell",
        "middle_name": "P",
        "nickname": "Al",
        "preferred_username": "al",
        "profile": "https://example.org/al",
        "picture": "https://example.org/al.png",
        "website": "http://example.org",
        "gender": "female",
        "birthdate": "1990-05-04",
        "zoneinfo": "Europe/Vienna",
        "locale": "de-AT",
        "phone_number": "+43 1 5880",
        "phone_number_verified": True,
        "address": {"formatted": "Getreidemarkt 9\n1060 Vienna", "country": "Austria"},
    }
    user = UserInput.read({"email": "a@b.c", "name": "Alice Liddell", **claims}).user(None, now=START)
    assert user.profile == claims
    assert user.name == "Alice Liddell"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("website", "javascript:alert(1)"),
        ("picture", "https://user@example.org/"),
        ("profile", "example.org"),
        ("birthdate", "4 May 1990"),
        ("zoneinfo", "../etc/passwd"),
        ("locale", "de AT"),
        ("phone_number", 4315880),
        ("address", "Vienna"),
        ("roles", ["sudo"]),
        ("status", "gone"),
        ("email_verified", "perhaps"),
    ],
)
def test_a_claim_of_the_wrong_kind_is_refused_at_its_place(field: str, value: object):
    assert [place.partition("[")[0] for place in refusal(email="a@b.c", **{field: value})] == [field]


def test_of_an_existing_account_only_what_is_written_is_touched():
    present = make_user(name="Alice", email_verified=True, profile={"nickname": "Al", "locale": "de"}, roles=("admin",))
    given = UserInput.read({"email": present.email, "nickname": None, "gender": "female"})
    changed = given.user(present, now=START + timedelta(days=1))
    assert changed.profile == {"locale": "de", "gender": "female"}
    assert (changed.name, changed.email_verified, changed.roles) == ("Alice", True, ("admin",))
    assert changed.updated_at == START + timedelta(days=1)
    assert given.user(changed, now=START + timedelta(days=2)) == changed


def test_a_new_address_is_not_verified_by_the_old_one():
    present = make_user(username="alice", email_verified=True)
    given = UserInput.read({"username": "alice", "email": "new@example.org"})
    assert given.user(present, now=START).email_verified is False


# ── Creating and passwords ──────────────────────────────────────────────────────────────────────────────────────────
async def test_a_created_account_signs_in_with_its_password(accounts: Accounts, store: Store, hasher: PasswordHasher):
    given = UserInput.read({"email": "alice@example.org", "password": PASSWORD, "roles": ["admin", "admin"]})
    user = await accounts.create(given, actor="cli")
    async with store.read() as tx:
        assert await tx.users.get(user.id) == user
        credential = await tx.credentials.find_of(user.id, CredentialKind.PASSWORD)
        (event,) = await tx.audit_events.all()
    assert credential is not None
    assert (await hasher.verify(credential.secret, PASSWORD)).matches
    assert (event.action, event.actor, event.target) == (AuditAction.USER_CREATED, "cli", user.id)
    assert user.roles == (AdminRole.ADMIN,)


async def test_an_imported_hash_is_stored_as_it_is(accounts: Accounts, store: Store):
    user = await accounts.create(UserInput.read({"username": "bob", "password_hash": make_hash()}), actor="cli")
    async with store.read() as tx:
        credential = await tx.credentials.find_of(user.id, CredentialKind.PASSWORD)
    assert credential is not None
    assert credential.secret == make_hash()


async def test_a_password_below_the_policy_is_refused(accounts: Accounts, store: Store):
    with pytest.raises(AccountRefused) as refused:
        await accounts.create(UserInput.read({"email": "a@b.c", "password": "short"}), actor="cli")
    assert refused.value.errors == {"password": "It must have at least 8 characters."}
    async with store.read() as tx:
        assert await tx.users.all() == []


@pytest.mark.parametrize("field", ["email", "username"])
async def test_an_address_or_user_name_in_use_is_refused(accounts: Accounts, store: Store, field: str):
    async with store.write() as tx:
        await tx.users.add(make_user(username="alice"))
    value = {"email": "ALICE@example.org", "username": "Alice"}[field]
    with pytest.raises(AccountRefused) as refused:
        await accounts.create(UserInput.read({field: value}), actor="cli")
    assert refused.value.errors == {field: "It belongs to another account."}


async def test_of_two_accounts_with_one_address_made_at_once_one_is_refused(accounts: Accounts, store: Store):
    given = UserInput.read({"email": "a@b.c", "password": PASSWORD})
    results = await asyncio.gather(*(accounts.create(given, actor="cli") for _ in range(2)), return_exceptions=True)
    assert sorted(isinstance(result, AccountRefused) for result in results) == [False, True]
    async with store.read() as tx:
        assert len(await tx.users.all()) == 1


async def test_a_new_password_replaces_the_old_one(
    accounts: Accounts, store: Store, hasher: PasswordHasher, clock: FakeClock
):
    async with store.write() as tx:
        await tx.users.add(make_user())
        await tx.credentials.add(make_credential())
    clock.advance(seconds=60)
    await accounts.set_password("Alice@example.org", PASSWORD, actor="cli")
    async with store.read() as tx:
        (credential,) = await tx.credentials.all()
    assert (await hasher.verify(credential.secret, PASSWORD)).matches
    assert await actions(store) == [AuditAction.PASSWORD_SET]


async def test_a_new_password_signs_out_whoever_knew_the_old_one(accounts: Accounts, store: Store, clock: FakeClock):
    async with store.write() as tx:
        await tx.users.add(make_user())
        await tx.clients.add(make_client())
        await tx.sessions.add(make_session())
        await tx.grants.add(make_grant(offline=True))
    await accounts.set_password("alice@example.org", PASSWORD, actor="cli")
    async with store.read() as tx:
        (session,) = await tx.sessions.all()
        (grant,) = await tx.grants.all()
    assert session.ended_at == grant.revoked_at == clock()


async def test_an_account_without_a_password_can_be_given_one(accounts: Accounts, store: Store):
    user = await accounts.create(UserInput.read({"email": "a@b.c"}), actor="cli")
    await accounts.set_password(user.id, PASSWORD, actor="cli")
    async with store.read() as tx:
        assert await tx.credentials.find_of(user.id, CredentialKind.PASSWORD) is not None


@pytest.mark.parametrize("password", ["short", "x" * 1025, "with\0nul-inside", ""])
async def test_a_wrong_new_password_is_refused(accounts: Accounts, password: str):
    with pytest.raises(AccountRefused) as refused:
        await accounts.set_password("alice@example.org", password, actor="cli")
    assert list(refused.value.errors) == ["password"]


async def test_an_unknown_account_is_not_found(accounts: Accounts):
    with pytest.raises(NotFound, match="there is no account nobody"):
        await accounts.disable("nobody", actor="cli")


# ── Status and roles ────────────────────────────────────────────────────────────────────────────────────────────────
async def test_disabling_and_enabling_are_recorded_and_doing_it_twice_is_not(accounts: Accounts, store: Store):
    async with store.write() as tx:
        await tx.users.add(make_user())
    for _ in range(2):
        assert (await accounts.disable("u_alice", actor="cli")).status is UserStatus.DISABLED
    for _ in range(2):
        assert (await accounts.enable("u_alice", actor="cli")).status is UserStatus.ACTIVE
    assert await actions(store) == [AuditAction.USER_DISABLED, AuditAction.USER_ENABLED]


async def test_roles_are_granted_and_revoked(accounts: Accounts, store: Store):
    async with store.write() as tx:
        await tx.users.add(make_user(roles=(AdminRole.VIEWER,)))
    granted = await accounts.grant_role("u_alice", AdminRole.ADMIN, actor="cli")
    assert granted.roles == (AdminRole.ADMIN, AdminRole.VIEWER)
    revoked = await accounts.revoke_role("u_alice", AdminRole.VIEWER, actor="cli")
    assert revoked.roles == (AdminRole.ADMIN,)
    assert await actions(store) == [AuditAction.ROLE_GRANTED, AuditAction.ROLE_REVOKED]


async def test_the_last_active_super_admin_stays_one(accounts: Accounts, store: Store):
    async with store.write() as tx:
        await tx.users.add(make_user(roles=(AdminRole.SUPER_ADMIN,)))
        disabled = make_user(id="u_bob", email="b@c.d", roles=(AdminRole.SUPER_ADMIN,), status=UserStatus.DISABLED)
        await tx.users.add(disabled)
    with pytest.raises(AccountRefused, match="last active super_admin"):
        await accounts.disable("u_alice", actor="cli")
    with pytest.raises(AccountRefused, match="last active super_admin"):
        await accounts.revoke_role("u_alice", AdminRole.SUPER_ADMIN, actor="cli")
    async with store.read() as tx:
        alice = await tx.users.get("u_alice")
    assert (alice.status, alice.roles) == (UserStatus.ACTIVE, (AdminRole.SUPER_ADMIN,))


async def test_two_super_admins_who_disable_each_other_at_once_do_not_both_succeed(accounts: Accounts, store: Store):
    async with store.write() as tx:
        await tx.users.add(make_user(roles=(AdminRole.SUPER_ADMIN,)))
        await tx.users.add(make_user(id="u_bob", email="b@c.d", roles=(AdminRole.SUPER_ADMIN,)))
    results = await asyncio.gather(
        accounts.disable("u_alice", actor="u_bob"), accounts.disable("u_bob", actor="u_alice"), return_exceptions=True
    )
    assert sorted(isinstance(result, AccountRefused) for result in results) == [False, True]
