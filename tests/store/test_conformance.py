"""One suite that every repository passes on both databases."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table

from idp.domain.clock import system_clock
from idp.domain.credential import CredentialKind
from idp.domain.lab import LabRole
from idp.domain.user import AdminRole
from idp.store.columns import metadata
from idp.store.database import Database
from idp.store.errors import Conflict, NotFound, Rejected
from idp.store.grants import Issued
from idp.store.mapping import mapping_of
from idp.store.repository import Repository
from idp.store.store import Store, Transaction
from tests.support.clock import START, FakeClock
from tests.support.factories import (
    CLIENT_ID,
    GRANT_ID,
    LAB_ID,
    SESSION_ID,
    USER_ID,
    make_access_token,
    make_audit_event,
    make_client,
    make_code,
    make_consent,
    make_credential,
    make_data_key,
    make_grant,
    make_initial_access_token,
    make_installation,
    make_interaction,
    make_invitation,
    make_join_request,
    make_kept_document,
    make_lab,
    make_lab_departure,
    make_lab_grant,
    make_lab_logo,
    make_lab_rule,
    make_linked_account,
    make_logo,
    make_logout_delivery,
    make_mail,
    make_mailed_proof,
    make_membership,
    make_one_time_link,
    make_pending_sign_in,
    make_provider,
    make_recovery_code,
    make_refresh_token,
    make_refusal,
    make_resource,
    make_seen_token,
    make_session,
    make_signing_key,
    make_totp,
    make_upstream_session,
    make_upstream_visit,
    make_user,
)
from tests.support.strategies import values_of

FACTORIES: dict[str, Callable[..., Any]] = {
    "users": make_user,
    "credentials": make_credential,
    "labs": make_lab,
    "memberships": make_membership,
    "clients": make_client,
    "sessions": make_session,
    "consents": make_consent,
    "interactions": make_interaction,
    "grants": make_grant,
    "authorization_codes": make_code,
    "refresh_tokens": make_refresh_token,
    "access_tokens": make_access_token,
    "signing_keys": make_signing_key,
    "data_keys": make_data_key,
    "installations": make_installation,
    "one_time_links": make_one_time_link,
    "mailed_proofs": make_mailed_proof,
    "audit_events": make_audit_event,
    "resources": make_resource,
    "initial_access_tokens": make_initial_access_token,
    "refusals": make_refusal,
    "logout_deliveries": make_logout_delivery,
    "mails": make_mail,
    "logos": make_logo,
    "lab_logos": make_lab_logo,
    "seen_tokens": make_seen_token,
    "invitations": make_invitation,
    "join_requests": make_join_request,
    "lab_grants": make_lab_grant,
    "providers": make_provider,
    "lab_rules": make_lab_rule,
    "lab_departures": make_lab_departure,
    "linked_accounts": make_linked_account,
    "upstream_visits": make_upstream_visit,
    "upstream_sessions": make_upstream_session,
    "kept_documents": make_kept_document,
    "totps": make_totp,
    "recovery_codes": make_recovery_code,
    "pending_sign_ins": make_pending_sign_in,
}
NOUNS = {type(factory()): noun for noun, factory in FACTORIES.items()}
PARENT_KEYS = {
    "users.id": USER_ID,
    "clients.client_id": CLIENT_ID,
    "labs.id": LAB_ID,
    "grants.id": GRANT_ID,
    "sessions.id": SESSION_ID,
}
PARENTS = (make_user(), make_client(), make_lab(), make_grant(), make_session())

nouns = pytest.mark.parametrize("noun", FACTORIES)
children = pytest.mark.parametrize(
    ("noun", "column"),
    [
        (noun, column.name)
        for noun, factory in FACTORIES.items()
        for column in mapping_of(type(factory())).table.columns
        if column.foreign_keys
    ],
)


class Undo(Exception):
    """Leaves a transaction without a trace."""


def repository(tx: Transaction, noun: str) -> Repository[Any]:
    return getattr(tx, noun)


def key_of(value: Any) -> tuple[Any, ...]:
    return tuple(getattr(value, name) for name in mapping_of(type(value)).key)


def with_parents(value: Any) -> Any:
    """Let what `value` refers to be one of PARENTS."""
    changes = {}
    for column in mapping_of(type(value)).table.columns:
        for foreign_key in column.foreign_keys:
            if getattr(value, column.name) is not None:
                changes[column.name] = PARENT_KEYS[foreign_key.target_fullname]
    return replace(value, **changes)


async def add_parents(tx: Transaction, table: Table) -> None:
    """Add what a row of `table` may refer to, grandparents first."""
    for foreign_key in sorted(table.foreign_keys, key=lambda key: key.target_fullname):
        parents = repository(tx, foreign_key.column.table.name)
        parent = FACTORIES[parents.mapping.table.name]()
        if await parents.find(*key_of(parent)) is None:
            await add_parents(tx, parents.mapping.table)
            await parents.add(parent)


async def add_alone(store: Store, value: Any) -> None:
    async with store.write() as tx:
        await repository(tx, NOUNS[type(value)]).add(value)


async def add_with_parents(store: Store, value: Any) -> None:
    async with store.write() as tx:
        await add_parents(tx, mapping_of(type(value)).table)
        await repository(tx, NOUNS[type(value)]).add(value)


async def save_alone(store: Store, value: Any) -> None:
    async with store.write() as tx:
        await repository(tx, NOUNS[type(value)]).save(value)


@asynccontextmanager
async def undone(store: Store) -> AsyncIterator[Transaction]:
    """A transaction that is always rolled back."""
    with suppress(Undo):
        async with store.write() as tx:
            yield tx
            raise Undo


async def rows_in(store: Store, noun: str) -> int:
    async with store.read() as tx:
        return len(await repository(tx, noun).all())


async def test_every_repository_is_in_this_suite(store: Store):
    async with store.read() as tx:
        members = vars(tx).items()
    repositories = {noun: member.mapping for noun, member in members if isinstance(member, Repository)}

    assert set(repositories) == set(FACTORIES)
    assert {noun: mapping.kind for noun, mapping in repositories.items()} == {
        noun: type(factory()) for noun, factory in FACTORIES.items()
    }
    assert {table.name for table in metadata.sorted_tables} - {"lab_tombstones", "user_words"} == {
        mapping.table.name for mapping in repositories.values()
    }


# ── Each noun ───────────────────────────────────────────────────────────────────────────────────────────────────────
@nouns
@given(data=st.data())
@settings(max_examples=settings.default.max_examples // 3, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_value_is_added_read_saved_and_deleted_unchanged(store: Store, noun: str, data: st.DataObject):
    kind = type(FACTORIES[noun]())
    value = with_parents(data.draw(values_of(kind)))
    changed = replace(
        with_parents(data.draw(values_of(kind))), **{name: getattr(value, name) for name in mapping_of(kind).key}
    )
    async with undone(store) as tx:
        await add_parents(tx, mapping_of(kind).table)
        values = repository(tx, noun)
        await values.add(value)
        assert await values.get(*key_of(value)) == value
        await values.save(changed)
        assert await values.find(*key_of(value)) == changed
        assert await values.lock(*key_of(value)) == changed
        assert await values.delete(*key_of(value)) is True
        assert await values.find(*key_of(value)) is None


@nouns
async def test_what_was_committed_is_read_by_others(store: Store, noun: str):
    value = FACTORIES[noun]()
    await add_with_parents(store, value)

    async with store.read() as tx:
        assert await repository(tx, noun).get(*key_of(value)) == value
        assert await repository(tx, noun).all() == [value]


@nouns
async def test_a_missing_row_is_not_found(store: Store, noun: str):
    value = FACTORIES[noun]()
    async with store.write() as tx:
        values = repository(tx, noun)
        assert await values.find(*key_of(value)) is None
        assert await values.delete(*key_of(value)) is False
        for attempt in (values.get(*key_of(value)), values.lock(*key_of(value)), values.save(value)):
            with pytest.raises(NotFound):
                await attempt


@nouns
async def test_a_key_exists_once(store: Store, noun: str):
    value = FACTORIES[noun]()
    await add_with_parents(store, value)

    with pytest.raises(Conflict):
        await add_alone(store, value)
    assert await rows_in(store, noun) == 1


@nouns
async def test_of_concurrent_additions_under_one_key_one_wins(store: Store, noun: str):
    value = FACTORIES[noun]()
    async with store.write() as tx:
        await add_parents(tx, mapping_of(type(value)).table)

    outcomes = await asyncio.gather(*(add_alone(store, value) for _ in range(4)), return_exceptions=True)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict"] * 3 + ["NoneType"]
    assert await rows_in(store, noun) == 1


@children
async def test_a_row_cannot_refer_to_something_missing(store: Store, noun: str, column: str):
    value = replace(FACTORIES[noun](), **{column: "missing"})

    async with store.write() as tx:
        await add_parents(tx, mapping_of(type(value)).table)

    with pytest.raises(Conflict):
        await add_alone(store, value)
    assert await rows_in(store, noun) == 0


@children
async def test_a_row_goes_with_what_it_refers_to(store: Store, noun: str, column: str):
    mapping = mapping_of(type(FACTORIES[noun]()))
    (foreign_key,) = mapping.table.columns[column].foreign_keys
    parents = foreign_key.column.table
    value = replace(FACTORIES[noun](), **{column: PARENT_KEYS[foreign_key.target_fullname]})
    await add_with_parents(store, value)

    async with store.write() as tx:
        assert await repository(tx, parents.name).delete(PARENT_KEYS[foreign_key.target_fullname]) is True

    assert await rows_in(store, noun) == 0


@pytest.mark.parametrize(
    ("noun", "one", "other", "unique"),
    [
        ("users", make_user(email="a@example.org"), make_user(id="u_bob", email="b@example.org"), "email"),
        ("users", make_user(username="a"), make_user(id="u_bob", email=None, username="b"), "username"),
        ("labs", make_lab(slug="a"), make_lab(id="lab_chemistry", slug="b"), "slug"),
        ("sessions", make_session(hash="a"), make_session(id="s_other", hash="b"), "hash"),
    ],
    ids=["email", "username", "slug", "cookie hash"],
)
async def test_a_second_row_with_a_unique_value_is_a_conflict(
    store: Store, noun: str, one: Any, other: Any, unique: str
):
    duplicate = replace(other, **{unique: getattr(one, unique)})
    await add_with_parents(store, one)
    with pytest.raises(Conflict):
        await add_alone(store, duplicate)
    await add_alone(store, other)
    with pytest.raises(Conflict):
        await save_alone(store, duplicate)

    async with store.read() as tx:
        assert await repository(tx, noun).all() == [one, other]


async def test_many_users_have_neither_address_nor_user_name(store: Store):
    async with store.write() as tx:
        for number in range(3):
            await tx.users.add(make_user(id=f"u_{number}", email=None))

    assert await rows_in(store, "users") == 3


async def test_all_comes_in_the_order_of_the_keys(store: Store):
    labs = [make_lab(id=f"lab_{letter}", slug=slug) for letter, slug in (("b", "one"), ("c", "two"), ("a", "three"))]
    async with store.write() as tx:
        for lab in labs:
            await tx.labs.add(lab)

    async with store.read() as tx:
        assert [lab.id for lab in await tx.labs.all()] == ["lab_a", "lab_b", "lab_c"]


# ── Values ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "instant",
    [
        datetime(2026, 1, 5, 12, 0, 0, 1, tzinfo=UTC),
        datetime(2026, 7, 5, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=14))),
        datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=-12, minutes=-30))),
    ],
    ids=str,
)
async def test_an_instant_keeps_its_microseconds_and_comes_back_in_utc(store: Store, instant: datetime):
    async with store.write() as tx:
        await tx.users.add(make_user(created_at=instant))

    async with store.read() as tx:
        read = (await tx.users.get(USER_ID)).created_at
    assert read == instant
    assert read.tzinfo is UTC


async def test_an_instant_without_a_zone_is_refused(store: Store):
    with pytest.raises(Rejected):
        await add_alone(store, make_user(created_at=START.replace(tzinfo=None)))


@pytest.mark.parametrize(
    "text",
    [
        "Zoë Łukasiewicz",
        "Zoe\u0308",
        "山田太郎",
        "שלום עולם",
        "👩🏽‍🔬 \U0010ffff",
        "O'Brien \"\\%_;--",
        "tab\tline\r\n\x01\x7f",
        "",
    ],
)
async def test_a_text_comes_back_as_it_was(store: Store, text: str):
    user = make_user(name=text, username=text, profile={text: [text, {text: text}]})
    async with store.write() as tx:
        await tx.users.add(user)

    async with store.read() as tx:
        assert await tx.users.get(USER_ID) == user


async def test_keys_differ_by_case_and_by_accent(store: Store):
    ids = ["a", "A", "ä", "a\u0308"]
    async with store.write() as tx:
        for id in ids:
            await tx.users.add(make_user(id=id, email=None))

    async with store.read() as tx:
        assert [(await tx.users.get(id)).id for id in ids] == ids


async def test_profile_values_keep_their_json_types(store: Store):
    profile = {
        "address": {"formatted": "1 Main St\nSpringfield", "country": "ÅX"},
        "phone_number_verified": True,
        "nested": [1, -2.5, None, False, [], {}, "1", "true"],
        "large": 2**53,
    }
    async with store.write() as tx:
        await tx.users.add(make_user(profile=profile))

    async with store.read() as tx:
        read = (await tx.users.get(USER_ID)).profile
    assert read == profile
    assert [type(item) for item in read["nested"]] == [type(item) for item in profile["nested"]]


async def test_a_client_registered_by_a_newer_version_is_still_read(store: Store):
    newer = make_client(client_id="newer")
    async with store.write() as tx:
        await tx.clients.add(newer)
        row = mapping_of(type(newer)).to_row(newer)
        table = mapping_of(type(newer)).table
        document = {**row["metadata"], "a_member_of_tomorrow": "https://portal.example.org/logout"}
        await tx.clients.connection.execute(table.update().values(metadata=document))

    assert await store.find_client("newer") == newer


# ── Finders ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("identifier", ["alice@example.org", "Alice@Example.ORG", "alice", "ALICE"])
async def test_a_user_is_found_by_address_and_user_name_in_any_case(store: Store, identifier: str):
    user = make_user(username="alice")
    async with store.write() as tx:
        await tx.users.add(make_user(id="u_other", email="other@example.org", username="other"))
        await tx.users.add(user)

    async with store.read() as tx:
        assert await tx.users.find_by_identifier(identifier) == user


@pytest.mark.parametrize("identifier", ["", "bob", "bob@example.org", "alice@example.org ", "%", "u_alice"])
async def test_nobody_is_found_by_another_identifier(store: Store, identifier: str):
    async with store.write() as tx:
        await tx.users.add(make_user(username="alice"))
        await tx.users.add(make_user(id="u_other", email=None))

        assert await tx.users.find_by_identifier(identifier) is None


async def test_a_role_is_held_or_not(store: Store):
    async with store.write() as tx:
        await tx.users.add(make_user(id="u_1", email=None))
        await tx.users.add(make_user(id="u_2", email=None, roles=(AdminRole.VIEWER, AdminRole.SUPER_ADMIN)))

        assert await tx.users.any_with_role(AdminRole.SUPER_ADMIN) is True
        assert await tx.users.any_with_role(AdminRole.VIEWER) is True
        assert await tx.users.any_with_role(AdminRole.ADMIN) is False


async def test_the_newest_credential_of_a_kind_is_found(store: Store, clock: FakeClock):
    async with store.write() as tx:
        await tx.users.add(make_user())
        await tx.users.add(make_user(id="u_bob", email=None))
        for number in (1, 3, 2):
            created_at = START + timedelta(microseconds=number)
            await tx.credentials.add(make_credential(id=f"cred_{number}", created_at=created_at))

        found = await tx.credentials.find_of(USER_ID, CredentialKind.PASSWORD)
        assert found is not None
        assert found.id == "cred_3"
        assert await tx.credentials.find_of("u_bob", CredentialKind.PASSWORD) is None


async def test_a_lab_is_found_by_its_slug(store: Store):
    async with store.write() as tx:
        await tx.labs.add(make_lab())

        assert await tx.labs.find_by_slug("bio") == make_lab()
        assert await tx.labs.find_by_slug("chemistry") is None


async def test_a_buried_lab_leaves_its_slug_and_no_memberships(store: Store, clock: FakeClock):
    async with store.write() as tx:
        await tx.users.add(make_user())
        await tx.labs.add(make_lab())
        await tx.memberships.add(make_membership())
        assert await tx.labs.slug_was_used("bio") is False

        await tx.labs.bury(make_lab(), now=clock())

        assert await tx.labs.find(LAB_ID) is None
        assert await tx.memberships.of_user(USER_ID) == []
        assert await tx.labs.slug_was_used("bio") is True
        assert await tx.labs.slug_was_used("chemistry") is False


async def test_memberships_come_with_their_labs_in_the_order_of_the_slugs(store: Store):
    labs = [make_lab(id=f"lab_{number}", slug=slug) for number, slug in enumerate(("b", "c", "a"))]
    async with store.write() as tx:
        await tx.users.add(make_user())
        await tx.users.add(make_user(id="u_bob", email=None))
        for lab in labs:
            await tx.labs.add(lab)
            await tx.memberships.add(make_membership(lab_id=lab.id, role=LabRole.VIEWER))
        await tx.memberships.add(make_membership(lab_id="lab_0", user_id="u_bob"))

    of_alice, of_bob, of_nobody = await asyncio.gather(*map(store.find_memberships, (USER_ID, "u_bob", "u_nobody")))

    assert [(held.lab.slug, held.membership.role) for held in of_alice] == [
        ("a", LabRole.VIEWER),
        ("b", LabRole.VIEWER),
        ("c", LabRole.VIEWER),
    ]
    assert [held.membership for held in of_bob] == [make_membership(lab_id="lab_0", user_id="u_bob")]
    assert list(of_nobody) == []
    async with store.read() as tx:
        assert await tx.memberships.of_user(USER_ID) == list(of_alice)


async def test_a_consent_is_that_of_one_user_and_one_client(store: Store):
    of_alice, of_bob = make_consent(), make_consent(user_id="u_bob", client_id="with a space", scopes=("email",))
    await store.commit.append(make_user(), make_user(id="u_bob", email=None))
    await store.commit.append(make_client(), make_client(client_id="with a space"), of_alice, of_bob)

    pairs = [(user, client) for user in (USER_ID, "u_bob") for client in (CLIENT_ID, "with a space")]
    found = await asyncio.gather(*(store.find_consent(user, client) for user, client in pairs))

    assert found == [of_alice, None, None, of_bob]


async def test_tokens_and_codes_come_with_their_grant_and_user(store: Store):
    own = make_access_token(hash="own", grant_id=None)
    await store.commit.append(*PARENTS, make_code(), make_refresh_token(), make_access_token(), own)

    assert await store.find_authorization_code("hash-of-the-code") == Issued(make_code(), make_grant(), make_user())
    assert await store.find_refresh_token("hash-of-the-refresh-token") == Issued(
        make_refresh_token(), make_grant(), make_user()
    )
    assert await store.find_access_token("hash-of-the-access-token") == Issued(
        make_access_token(), make_grant(), make_user()
    )
    assert await store.find_access_token("own") == Issued(own, None, None)
    assert await store.find_access_token("hash-of-the-code") is None


async def test_a_session_comes_with_its_user(store: Store):
    await store.commit.append(make_user(), make_session())

    assert await store.find_session("hash-of-the-cookie") == (make_session(), make_user())
    assert await store.find_session(SESSION_ID) is None


async def test_a_key_that_no_database_can_hold_is_nobody_s(store: Store):
    await store.commit.append(make_client())

    found = await asyncio.gather(*map(store.find_client, ("\0", CLIENT_ID, "\ud800", CLIENT_ID + "\0")))

    assert found == [None, make_client(), None, None]


async def test_expired_rows_are_deleted_in_small_batches(store: Store, clock: FakeClock):
    old, new = {"expires_at": START - timedelta(seconds=1)}, {"expires_at": START}
    await store.commit.append(
        *(make_user(), make_client()),
        *(make_session(id=f"s_{number}", hash=f"{number}", **old) for number in range(3)),
        make_session(id="s_new", hash="new", **new),
        *(make_grant(id="g_old", **old), make_grant(id="g_new", **new)),
        *(make_code(hash="old", grant_id="g_old", **old), make_code(hash="new", grant_id="g_new", **new)),
        *(make_refresh_token(hash=hash, grant_id="g_new", **expiry) for hash, expiry in (("old", old), ("new", new))),
        *(make_access_token(hash="old", grant_id="g_new", **old), make_access_token(hash="new", grant_id=None, **new)),
        *(make_interaction(hash="old", **old), make_interaction(hash="new", **new)),
        *(make_one_time_link(hash="old", **old), make_one_time_link(hash="new", **new)),
    )
    deleted = []
    for _ in range(3):
        async with store.write() as tx:
            deleted.append(await tx.delete_expired(now=clock(), before=clock(), limit=2))

    assert deleted == [8, 1, 0]
    async with store.read() as tx:
        assert [session.id for session in await tx.sessions.all()] == ["s_new"]
        assert [grant.id for grant in await tx.grants.all()] == ["g_new"]
        for noun in ("authorization_codes", "refresh_tokens", "access_tokens", "interactions", "one_time_links"):
            assert [value.hash for value in await repository(tx, noun).all()] == ["new"]


async def test_the_database_tells_its_time(store: Store):
    before = system_clock()
    told = await store.now()
    after = system_clock()

    # SQLite tells milliseconds.
    assert before - timedelta(milliseconds=1) <= told <= after + timedelta(milliseconds=1)
    assert told.utcoffset() == timedelta()


# ── Transactions and races ──────────────────────────────────────────────────────────────────────────────────────────
async def test_a_transaction_that_raises_leaves_nothing(store: Store):
    async with undone(store) as tx:
        await tx.users.add(make_user())

    assert await rows_in(store, "users") == 0


async def test_concurrent_changes_under_a_lock_lose_nothing(store: Store):
    async with store.write() as tx:
        await tx.users.add(make_user(profile={"count": 0}))

    async def increase() -> None:
        async with store.write() as tx:
            user = await tx.users.lock(USER_ID)
            await asyncio.sleep(0)
            await tx.users.save(replace(user, profile={"count": user.profile["count"] + 1}))

    await asyncio.gather(*(increase() for _ in range(8)))

    async with store.read() as tx:
        assert (await tx.users.get(USER_ID)).profile == {"count": 8}


async def test_concurrent_changes_from_two_stores_under_a_lock_lose_nothing(store: Store, database_url: str):
    async with store.write() as tx:
        await tx.users.add(make_user(profile={"count": 0}))
    second = Store(Database(database_url))

    async def increase(through: Store) -> None:
        async with through.write() as tx:
            user = await tx.users.lock(USER_ID)
            await tx.users.save(replace(user, profile={"count": user.profile["count"] + 1}))

    try:
        await asyncio.gather(*(increase(through) for through in (store, second) * 4))
    finally:
        await second.close()

    async with store.read() as tx:
        assert (await tx.users.get(USER_ID)).profile == {"count": 8}


async def test_a_lock_does_not_hold_up_rows_that_refer_to_the_locked_one(postgresql_url: str):
    store = Store(Database(postgresql_url))
    try:
        await store.commit.append(make_user())
        async with store.write() as tx:
            await tx.users.lock(USER_ID)
            await asyncio.wait_for(store.commit.append(make_session()), timeout=5)
    finally:
        await store.close()


async def once(store: Store, change: Callable[[Transaction], Any]) -> list[bool]:
    async def attempt() -> bool:
        async with store.write() as tx:
            return await change(tx)

    return await asyncio.gather(*(attempt() for _ in range(6)))


async def test_a_session_ends_once(store: Store, clock: FakeClock):
    await store.commit.append(make_user(), make_session())

    outcomes = await once(store, lambda tx: tx.sessions.end(SESSION_ID, now=clock()))

    assert sorted(outcomes) == [False] * 5 + [True]
    async with store.write() as tx:
        assert await tx.sessions.end(SESSION_ID, now=clock.advance(seconds=1)) is False
        assert await tx.sessions.end("unknown", now=clock()) is False
        assert (await tx.sessions.get(SESSION_ID)).ended_at == START


async def test_a_grant_is_revoked_once(store: Store, clock: FakeClock):
    await store.commit.append(*PARENTS, make_grant(id="g_other"))

    outcomes = await once(store, lambda tx: tx.grants.revoke(GRANT_ID, now=clock()))

    assert sorted(outcomes) == [False] * 5 + [True]
    async with store.write() as tx:
        assert await tx.grants.revoke(GRANT_ID, now=clock.advance(seconds=1)) is False
        assert await tx.grants.revoke("unknown", now=clock()) is False
        assert (await tx.grants.get(GRANT_ID)).revoked_at == START
        assert (await tx.grants.get("g_other")).revoked_at is None


async def test_an_access_token_is_revoked_once(store: Store, clock: FakeClock):
    await store.commit.append(*PARENTS, make_access_token(), make_access_token(hash="other"))

    outcomes = await once(store, lambda tx: tx.access_tokens.revoke("hash-of-the-access-token", now=clock()))

    assert sorted(outcomes) == [False] * 5 + [True]
    async with store.read() as tx:
        assert (await tx.access_tokens.get("hash-of-the-access-token")).revoked_at == START
        assert (await tx.access_tokens.get("other")).revoked_at is None


async def test_the_end_of_a_session_revokes_its_grants_but_no_offline_ones(store: Store, clock: FakeClock):
    earlier = START - timedelta(hours=1)
    grants = [
        make_grant(id="g_online"),
        make_grant(id="g_offline", offline=True),
        make_grant(id="g_of_another_session", session_id="s_other"),
        make_grant(id="g_of_no_session", session_id=None),
        make_grant(id="g_revoked_before", revoked_at=earlier),
    ]
    await store.commit.append(make_user(), make_client(), *grants)

    async with store.write() as tx:
        assert await tx.grants.revoke_session(SESSION_ID, now=clock()) == 1

    async with store.read() as tx:
        revoked = {grant.id: grant.revoked_at for grant in await tx.grants.all() if grant.revoked_at}
    assert revoked == {"g_online": START, "g_revoked_before": earlier}


# ── Mailed proofs ───────────────────────────────────────────────────────────────────────────────────────────────────
async def test_mails_to_an_address_are_counted_with_those_that_were_sent_again(store: Store) -> None:
    late = {"sent_at": START + timedelta(minutes=30)}
    proofs = [
        make_mailed_proof(hash="old", sent_at=START - timedelta(hours=2)),
        make_mailed_proof(hash="one", sends=2, **late),
        make_mailed_proof(hash="two"),
        make_mailed_proof(hash="other", address="another"),
    ]
    async with store.write() as tx:
        for proof in proofs:
            await tx.mailed_proofs.add(proof)
        await tx.mailed_proofs.hold_address("a" * 64)
        assert await tx.mailed_proofs.count_sent("a" * 64, since=START - timedelta(hours=1)) == (3, START)
        assert await tx.mailed_proofs.count_sent("nobody", since=START) == (0, None)


async def test_a_mailed_proof_is_used_once_and_forgets_what_it_was_for(store: Store) -> None:
    async with store.write() as tx:
        await tx.mailed_proofs.add(make_mailed_proof())
        assert await tx.mailed_proofs.use("d" * 64, now=START)
        assert not await tx.mailed_proofs.use("d" * 64, now=START)
        assert (await tx.mailed_proofs.get("d" * 64)).sealed == b""
