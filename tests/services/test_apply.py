import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from textwrap import dedent

import pytest

from idp.crypto.jose import generate_key
from idp.crypto.password import PasswordHasher
from idp.domain.audit import AuditAction
from idp.domain.client import ClientSecret
from idp.domain.credential import CredentialKind
from idp.domain.join_request import JoinRequest
from idp.domain.lab import LabRole, ManagedBy
from idp.domain.lab_grant import LabGrant
from idp.domain.signing_key import SigningAlgorithm
from idp.domain.user import AdminRole, UserStatus
from idp.services.apply import Applied, Apply
from idp.services.apply_file import ApplyRefused, read_apply_files
from idp.services.apply_steps import ChangeKind
from idp.services.clients import open_secret, secret_hash
from idp.services.installation import DataKeys
from idp.store.store import Store
from tests.support.clock import START, FakeClock
from tests.support.factories import (
    ISSUER,
    LAB_ID,
    USER_ID,
    make_client,
    make_installation,
    make_invitation,
    make_lab,
    make_membership,
    make_resource,
    make_user,
)

KEYS = DataKeys(lookup=b"l" * 32, refresh=b"r" * 32, csrf=b"c" * 32, seal=b"s" * 32)
FULL = """\
    labs:
      - {slug: bio, name: Biology}
    users:
      - {email: alice@example.org, username: alice, password: correct-horse-battery, name: Alice, roles: [super_admin]}
      - {username: bob}
    memberships:
      - {lab: bio, user: alice@example.org, role: admin, expires_at: 2027-06-30}
      - {lab: bio, user: bob}
    clients:
      - client_id: portal
        client_secret: s3cr3t-one
        redirect_uris: [https://portal.example.org/callback]
        allowed_labs: "*"
      - {client_id: spa, token_endpoint_auth_method: none, redirect_uris: [https://spa.example.org/]}
    resources:
      - {audience: https://data.example.org, name: Measurements, scopes: [data.read, data.write], client_id: portal}
    """


@pytest.fixture
async def hasher() -> AsyncIterator[PasswordHasher]:
    hasher = PasswordHasher(memory_kib=32, time_cost=1, threads=1, queue_limit=1)
    yield hasher
    hasher.close()


@pytest.fixture
async def apply(store: Store, hasher: PasswordHasher, clock: FakeClock) -> Apply:
    async with store.write() as tx:
        await tx.installations.add(make_installation())
    return Apply(store, KEYS, hasher, clock, issuer=ISSUER, password_min_length=8, entitlements=False)


async def run(apply: Apply, text: str, **options: bool) -> Applied:
    return await apply.run(read_apply_files([("bench.yaml", dedent(text).encode())], {}), **options)


async def refused(apply: Apply, text: str, **options: bool) -> list[str]:
    with pytest.raises(ApplyRefused) as error:
        await run(apply, text, **options)
    return str(error.value).splitlines()


def diff(applied: Applied) -> str:
    return "\n".join(map(str, applied.changes))


async def rows(store: Store) -> dict[str, list[object]]:
    nouns = ("labs", "users", "credentials", "memberships", "clients", "resources", "audit_events")
    async with store.read() as tx:
        return {noun: await getattr(tx, noun).all() for noun in nouns}


# ── The first time and the second ───────────────────────────────────────────────────────────────────────────────────
async def test_everything_is_created_in_one_go(apply: Apply, store: Store, hasher: PasswordHasher):
    applied = await run(apply, FULL)
    assert diff(applied).splitlines() == [
        "+ lab bio",
        "+ user alice@example.org",
        "+ user bob",
        "+ membership alice@example.org in bio",
        "+ membership bob in bio",
        "+ client portal",
        "+ client spa",
        "+ resource https://data.example.org",
    ]
    assert (applied.unchanged, applied.warnings) == (0, [])
    async with store.read() as tx:
        alice = await tx.users.find_by_identifier("alice")
        assert alice is not None
        credential = await tx.credentials.find_of(alice.id, CredentialKind.PASSWORD)
        portal = await tx.clients.get("portal")
        (held,) = await tx.memberships.of_user(alice.id)
        events = await tx.audit_events.all()
    assert credential is not None
    assert (await hasher.verify(credential.secret, "correct-horse-battery")).matches
    assert [secret.hash for secret in portal.secrets] == [secret_hash(KEYS, "s3cr3t-one")]
    assert (portal.managed_by, held.lab.managed_by, held.membership.managed_by) == (ManagedBy.APPLY,) * 3
    assert (held.membership.role, held.membership.granted_by) == (LabRole.ADMIN, "apply")
    assert {event.actor for event in events} == {"apply"}
    assert len(events) == 8


async def test_a_second_run_changes_nothing(apply: Apply, store: Store, clock: FakeClock):
    await run(apply, FULL)
    before = await rows(store)
    clock.advance(seconds=3600)
    applied = await run(apply, FULL, prune=True)
    assert (applied.changes, applied.unchanged) == ([], 8)
    assert await rows(store) == before


async def test_a_dry_run_shows_the_same_and_writes_nothing(apply: Apply, store: Store):
    before = await rows(store)
    shown = await run(apply, FULL, dry_run=True)
    assert await rows(store) == before
    assert diff(shown) == diff(await run(apply, FULL))


async def test_one_fault_means_that_nothing_is_written(apply: Apply, store: Store):
    before = await rows(store)
    third = "      - {client_id: third, redirect_uris: [https://third.example.org/]}\n"
    text = FULL.replace("    resources:\n", f"{third}    resources:\n")
    assert await refused(apply, text) == [
        "bench.yaml:15: clients[2].client_secret: it is missing; public clients say token_endpoint_auth_method: none"
    ]
    assert await rows(store) == before


async def test_many_passwords_fit_through_a_short_queue(apply: Apply, store: Store):
    users = "".join(f"  - {{username: user{number}, password: correct-horse}}\n" for number in range(40))
    await run(apply, "users:\n" + users)
    async with store.read() as tx:
        assert len(await tx.credentials.all()) == 40


async def test_two_applies_of_one_file_at_once_create_everything_once(apply: Apply, store: Store):
    results = await asyncio.gather(run(apply, FULL), run(apply, FULL))
    assert sorted(len(applied.changes) for applied in results) == [0, 8]
    assert len((await rows(store))["credentials"]) == 1


# ── Changes ─────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_diff_tells_each_field_with_old_and_new(apply: Apply, store: Store, clock: FakeClock):
    await run(apply, FULL)
    clock.advance(seconds=60)
    text = """\
        labs:
          - {slug: bio, name: Biology, contact: office@bio.example.org}
        memberships:
          - {lab: bio, user: alice@example.org, role: member}
        clients:
          - client_id: portal
            redirect_uris: [https://portal.example.org/callback, https://portal.example.org/second]
        """
    applied = await run(apply, text)
    assert diff(applied) == dedent("""\
        ~ lab bio
            contact: none → "office@bio.example.org"
        ~ membership alice@example.org in bio
            role: "admin" → "member"
            expires_at: "2027-06-30 23:59:59+00:00" → none
        ~ client portal
            redirect_uris: ["https://portal.example.org/callback"] → \
["https://portal.example.org/callback", "https://portal.example.org/second"]
            allowed_labs: "*" → none""")
    async with store.read() as tx:
        portal = await tx.clients.get("portal")
        events = [event for event in await tx.audit_events.all() if event.action is AuditAction.CLIENT_UPDATED]
    assert (portal.created_at, portal.updated_at) == (START, clock.now)
    assert [event.detail["fields"] for event in events] == [["allowed_labs", "redirect_uris"]]


async def test_changes_are_described_for_machines(apply: Apply):
    await run(apply, FULL)
    applied = await run(apply, "memberships: [{lab: bio, user: alice, expires_at: 2028-01-01}]")
    (change,) = [change.describe() for change in applied.changes]
    assert change == {
        "change": "changed",
        "kind": "membership",
        "key": "alice@example.org in bio",
        "fields": {
            "role": {"old": "admin", "new": "member"},
            "expires_at": {
                "old": datetime(2027, 6, 30, 23, 59, 59, tzinfo=UTC),
                "new": datetime(2028, 1, 1, 23, 59, 59, tzinfo=UTC),
            },
        },
    }


async def test_of_a_user_absent_fields_are_untouched(apply: Apply, store: Store):
    await run(apply, FULL)
    applied = await run(apply, "users: [{email: alice@example.org, nickname: Al}]")
    assert diff(applied) == '~ user alice@example.org\n    nickname: none → "Al"'
    async with store.read() as tx:
        alice = await tx.users.find_by_identifier("alice")
    assert alice is not None
    assert (alice.name, alice.roles) == ("Alice", (AdminRole.SUPER_ADMIN,))


async def test_a_password_counts_on_creation_only(apply: Apply, store: Store):
    await run(apply, FULL)
    before = await rows(store)
    applied = await run(apply, "users: [{email: alice@example.org, password: another-password}]")
    assert applied.changes == []
    assert await rows(store) == before


async def test_the_password_policy_only_warns_and_does_not_repeat_the_password(apply: Apply, store: Store):
    applied = await run(apply, "users:\n  - {email: a@b.c, password: tiny}\n")
    assert applied.warnings == ["bench.yaml:2: users[0].password: it should have at least 8 characters"]
    assert len((await rows(store))["credentials"]) == 1
    assert (await run(apply, "users:\n  - {email: a@b.c, password: tiny}\n")).warnings == []


async def test_a_membership_that_has_ended_already_is_a_warning_once(apply: Apply, clock: FakeClock):
    text = """\
        labs: [{slug: bio, name: Biology}]
        users: [{username: bob}, {username: eve}]
        memberships:
          - {lab: bio, user: bob, expires_at: 2020-01-01}
          - {lab: bio, user: eve, expires_at: 2099-01-01}
        """
    warning = "bench.yaml:4: memberships[0].expires_at: it is in the past: the membership does not count"
    assert (await run(apply, text, dry_run=True)).warnings == [warning]
    assert (await run(apply, text)).warnings == [warning]
    assert (await run(apply, text)).warnings == []


async def test_a_user_is_recognised_by_user_name_when_the_address_changes(apply: Apply, store: Store):
    await run(apply, "users: [{email: old@example.org, username: al, email_verified: true}]")
    applied = await run(apply, "users: [{email: new@example.org, username: al}]")
    assert diff(applied) == (
        '~ user new@example.org\n    email: "old@example.org" → "new@example.org"\n    email_verified: true → none'
    )


async def test_an_address_of_another_account_is_refused(apply: Apply):
    await run(apply, FULL)
    assert await refused(apply, "users: [{email: alice@example.org, username: bob}]") == [
        "bench.yaml:1: users[0].username: it belongs to another account"
    ]
    assert await refused(apply, "users: [{email: alice@example.org}, {username: alice}]") == [
        "bench.yaml:1: users[1].username: it belongs to another account"
    ]


@pytest.mark.parametrize("change", ["status: disabled", "roles: [admin]"])
async def test_the_last_active_super_admin_stays_one(apply: Apply, store: Store, change: str):
    await run(apply, FULL)
    assert await refused(apply, f"users: [{{username: alice, {change}}}]") == [
        "bench.yaml:1: users[0].roles: it would leave no active super_admin"
    ]
    both = f"users: [{{username: alice, {change}}}, {{username: bob, roles: [super_admin]}}]"
    assert len((await run(apply, both)).changes) == 2


async def test_a_disabled_user_is_enabled_again_by_saying_so(apply: Apply, store: Store):
    await run(apply, "users: [{username: bob, status: disabled}]")
    assert (await run(apply, "users: [{username: bob, name: Bob}]")).changes != []
    async with store.read() as tx:
        (bob,) = await tx.users.all()
    assert bob.status is UserStatus.DISABLED
    applied = await run(apply, "users: [{username: bob, status: active}]")
    assert diff(applied) == '~ user bob\n    status: "disabled" → none'


# ── Memberships ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_membership_may_name_what_only_the_store_knows(apply: Apply, store: Store):
    async with store.write() as tx:
        await tx.labs.add(make_lab())
        await tx.users.add(make_user(username="alice"))
    applied = await run(apply, "memberships: [{lab: bio, user: Alice}]")
    assert diff(applied) == "+ membership alice@example.org in bio"


async def test_a_membership_answers_the_request_for_it_and_takes_back_what_was_mailed(apply: Apply, store: Store):
    async with store.write() as tx:
        await tx.labs.add(make_lab())
        await tx.users.add(make_user())
        await tx.join_requests.add(JoinRequest(lab_id=LAB_ID, user_id=USER_ID, created_at=START))
        await tx.invitations.add(make_invitation(email="alice@example.org"))
    await run(apply, "memberships: [{lab: bio, user: alice@example.org}]")
    async with store.read() as tx:
        assert await tx.join_requests.all() == []
    # What came afterwards goes with the membership.
    async with store.write() as tx:
        await tx.invitations.add(make_invitation(id="inv_2", hash="2", email="alice@example.org"))
    await run(apply, "memberships: []", prune=True)
    async with store.read() as tx:
        assert await tx.memberships.all() == []
        assert [each.revoked_at for each in await tx.invitations.all()] == [START, START]


async def test_a_membership_of_nobody_or_nowhere_is_refused(apply: Apply):
    assert await refused(apply, "memberships:\n  - {lab: bio, user: nobody}\n") == [
        "bench.yaml:2: memberships[0].lab: there is no lab bio",
        "bench.yaml:2: memberships[0].user: there is no user nobody",
    ]


async def test_one_membership_by_two_names_is_refused(apply: Apply):
    await run(apply, FULL)
    text = "memberships: [{lab: bio, user: alice}, {lab: bio, user: alice@example.org}]"
    (line,) = await refused(apply, text)
    assert line == "bench.yaml:1: memberships[1].user: it stands there already, by another name"


# ── Client secrets ──────────────────────────────────────────────────────────────────────────────────────────────────
def portal(secret: str) -> str:
    return (
        f"clients: [{{client_id: portal, client_secret: {secret}, allowed_labs: '*', "
        "redirect_uris: ['https://portal.example.org/callback']}]"
    )


async def test_a_changed_secret_replaces_the_old_one_and_is_never_shown(apply: Apply, store: Store):
    await run(apply, FULL)
    applied = await run(apply, portal("s3cr3t-two"))
    assert diff(applied) == '~ client portal\n    client_secret: "***" → "***"'
    assert "s3cr3t" not in json.dumps([change.describe() for change in applied.changes])
    async with store.read() as tx:
        client = await tx.clients.get("portal")
        events = await tx.audit_events.all()
    assert [secret.hash for secret in client.secrets] == [secret_hash(KEYS, "s3cr3t-two")]
    assert "s3cr3t" not in repr(events)
    assert client.secrets[0].hash not in repr(events)


async def test_a_secret_that_is_still_accepted_is_left_alone_while_another_is_being_introduced(
    apply: Apply, store: Store, clock: FakeClock
):
    await run(apply, FULL)
    new = ClientSecret(hash="new", created_at=START)
    async with store.write() as tx:
        client = await tx.clients.get("portal")
        ending = replace(client.secrets[0], expires_at=clock.advance(seconds=60))
        await tx.clients.save(replace(client, secrets=(new, ending)))
    clock.advance(seconds=-30)
    assert (await run(apply, portal("s3cr3t-one"))).changes == []
    clock.advance(seconds=60)
    assert diff(await run(apply, portal("s3cr3t-one"))) == '~ client portal\n    client_secret: "***" → "***"'


async def test_a_client_that_becomes_public_loses_its_secret(apply: Apply, store: Store):
    await run(apply, FULL)
    text = "clients: [{client_id: portal, token_endpoint_auth_method: none, redirect_uris: ['https://p.example/']}]"
    assert 'client_secret: "***" → none' in diff(await run(apply, text))
    async with store.read() as tx:
        assert (await tx.clients.get("portal")).secrets == ()


JWT = "client_secret_jwt"
LONG = "s3cr3t-of-thirty-two-or-more-characters"


def portal_by(method: str, secret: str | None) -> str:
    given = "" if secret is None else f"client_secret: {secret}, "
    return (
        f"clients: [{{client_id: portal, {given}token_endpoint_auth_method: {method}, "
        "redirect_uris: ['https://portal.example.org/callback']}]"
    )


async def test_the_secret_of_client_secret_jwt_can_be_read_again_and_stays_as_it_is(apply: Apply, store: Store):
    await run(apply, portal_by(JWT, LONG))
    before = await rows(store)
    for secret in (LONG, None):
        assert (await run(apply, portal_by(JWT, secret))).changes == []
    assert await rows(store) == before
    async with store.read() as tx:
        (held,) = (await tx.clients.get("portal")).secrets
    assert held.sealed is not None
    assert open_secret(KEYS, "portal", held.sealed) == LONG


async def test_a_client_that_moves_to_client_secret_jwt_says_its_secret_again(apply: Apply, store: Store):
    await run(apply, portal_by("client_secret_basic", LONG))
    assert await refused(apply, portal_by(JWT, None)) == [
        "bench.yaml:1: clients[0].client_secret: it is missing; client_secret_jwt needs it"
    ]
    assert 'client_secret: "***" → "***"' in diff(await run(apply, portal_by(JWT, LONG)))


async def test_a_secret_that_makes_no_more_macs_can_no_longer_be_read(apply: Apply, store: Store):
    await run(apply, portal_by(JWT, LONG))
    await run(apply, portal_by("client_secret_post", None))
    async with store.read() as tx:
        (held,) = (await tx.clients.get("portal")).secrets
    assert held == ClientSecret(hash=secret_hash(KEYS, LONG), created_at=START)


async def test_a_client_that_signs_with_its_own_key_has_no_secret(apply: Apply, store: Store):
    await run(apply, portal_by("client_secret_basic", LONG))
    _, key = generate_key(SigningAlgorithm.ES256)
    text = (
        "clients: [{client_id: portal, token_endpoint_auth_method: private_key_jwt, "
        f"jwks: {json.dumps({'keys': [key]})}, redirect_uris: ['https://portal.example.org/callback']}}]"
    )
    assert 'client_secret: "***" → none' in diff(await run(apply, text))
    assert (await run(apply, text)).changes == []
    async with store.read() as tx:
        client = await tx.clients.get("portal")
    assert (client.secrets, client.jwks) == ((), {"keys": [key]})


# ── Resources ───────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_resource_is_declared_whole_and_what_happened_to_it_is_audited(apply: Apply, store: Store):
    await run(apply, FULL)
    applied = await run(apply, "resources: [{audience: https://data.example.org, name: Data, scopes: [data.read]}]")
    assert diff(applied) == dedent("""\
        ~ resource https://data.example.org
            name: "Measurements" → "Data"
            scopes: ["data.read", "data.write"] → ["data.read"]
            client_id: "portal" → none""")
    assert diff(await run(apply, "resources: []", prune=True)) == "- resource https://data.example.org"
    async with store.read() as tx:
        assert await tx.resources.all() == []
        events = [event for event in await tx.audit_events.all() if event.action.startswith("resource.")]
    assert {event.target for event in events} == {"https://data.example.org"}
    assert sorted((event.action, tuple(event.detail.get("fields", ()))) for event in events) == [
        (AuditAction.RESOURCE_CREATED, ()),
        (AuditAction.RESOURCE_DELETED, ()),
        (AuditAction.RESOURCE_UPDATED, ("client_id", "name", "scopes")),
    ]


async def test_addresses_of_this_server_are_no_clients(apply: Apply, store: Store):
    uris = f"redirect_uris: ['https://a.example/', '{ISSUER}/logout']"
    assert await refused(apply, f"clients: [{{client_id: a, client_secret: x, {uris}}}]") == [
        "bench.yaml:1: clients[0].redirect_uris[1]: it is an address of this server"
    ]
    assert (await rows(store))["clients"] == []


async def test_this_server_itself_is_no_registered_resource(apply: Apply, store: Store):
    text = f"resources: [{{audience: '{ISSUER}', name: Lab ID, scopes: [data.read]}}]"
    assert await refused(apply, text) == [
        "bench.yaml:1: resources[0].audience: it is this server itself, which takes every scope"
    ]
    assert (await rows(store))["resources"] == []


async def test_a_resource_may_be_declared_before_its_client_which_is_a_warning(apply: Apply):
    text = "resources: [{audience: urn:example:data, name: Data, scopes: [data.read], client_id: portal}]"
    warning = "bench.yaml:1: resources[0].client_id: there is no such client: the API cannot introspect yet"
    assert (await run(apply, text)).warnings == [warning]
    await run(apply, FULL)
    assert (await run(apply, text)).warnings == []
    assert (await run(apply, "clients: []\n" + text, prune=True)).warnings == [warning.replace("yaml:1", "yaml:2")]


# ── What is told of labs less than one may think ────────────────────────────────────────────────────────────────────
CLIENT = "client_secret: s3cr3t-one, redirect_uris: [https://portal.example.org/callback]"


async def test_a_lab_that_is_neither_in_the_file_nor_in_the_store_is_a_warning(apply: Apply):
    text = f"clients: [{{client_id: portal, {CLIENT}, allowed_labs: [chem, bio]}}]"
    await run(apply, "labs: [{slug: chem, name: Chemistry}]")
    warning = "bench.yaml:1: clients[0].allowed_labs[1]: there is no lab bio"
    assert (await run(apply, text)).warnings == [warning]
    assert (await run(apply, text)).warnings == [warning]
    assert (await run(apply, "labs: [{slug: bio, name: Biology}]\n" + text)).warnings == []


async def test_a_single_lab_in_a_scope_is_taken_and_a_warning(apply: Apply, store: Store):
    text = f"clients: [{{client_id: portal, {CLIENT}, scope: openid lab:bio}}]"
    text_of_it = "a single lab in it changes nothing: which ones may be asked for is decided by allowed_labs"
    assert (await run(apply, text)).warnings == [f"bench.yaml:1: clients[0].scope: {text_of_it}"]
    async with store.read() as tx:
        portal = await tx.clients.get("portal")
    assert (portal.scope, portal.may_see("bio")) == ("openid lab:bio", False)


async def test_entitlements_without_a_namespace_are_a_warning(
    apply: Apply, store: Store, hasher: PasswordHasher, clock: FakeClock
):
    text = f"clients: [{{client_id: portal, {CLIENT}, scope: openid entitlements, profile: aarc-g069}}]"
    told = "entitlements are told only where IDP_ENTITLEMENT_NAMESPACE is set"
    assert (await run(apply, text)).warnings == [
        f"bench.yaml:1: clients[0].scope: {told}",
        f"bench.yaml:1: clients[0].profile: {told}, and this profile tells of labs in no other way",
    ]
    with_namespace = Apply(store, KEYS, hasher, clock, issuer=ISSUER, password_min_length=8, entitlements=True)
    assert (await run(with_namespace, text)).warnings == []


async def test_an_api_that_is_told_of_no_labs_by_introspection_is_a_warning(apply: Apply):
    labs = "labs: [{slug: bio, name: Biology}]\n"
    service = "client_secret: s3cr3t-two, grant_types: [client_credentials]"
    resources = "resources: [{audience: urn:example:data, name: Data, scopes: [data.read], client_id: data}]\n"

    async def warnings(asking: str, api: str = "") -> list[str]:
        clients = f"clients: [{{client_id: data, {service}{api}}}, {{client_id: portal, {asking}}}]\n"
        return list((await run(apply, labs + resources + clients)).warnings)

    told = "introspection tells it of no lab, unlike the tokens of portal: data has no allowed_labs"
    warned = [f"bench.yaml:2: resources[0].client_id: {told}"]
    assert await warnings(f"{CLIENT}, scope: openid data.read, allowed_labs: [bio]") == warned
    assert await warnings(f"{CLIENT}, scope: openid data.read, allowed_labs: [bio]", ", allowed_labs: [bio]") == []
    # Who has none of its scopes gets no token for it; who is told of no labs itself misses none there.
    assert await warnings(f"{CLIENT}, scope: openid, allowed_labs: [bio]") == []
    assert await warnings(f"{CLIENT}, scope: openid data.read") == []
    assert await warnings(f"{service}, scope: data.read, lab_grants: [{{lab: bio}}]") == warned


# ── Pruning ─────────────────────────────────────────────────────────────────────────────────────────────────────────
EMPTY = "{labs: [], users: [], memberships: [], clients: [], resources: []}"


async def test_without_prune_nothing_is_removed(apply: Apply):
    await run(apply, FULL)
    assert (await run(apply, EMPTY)).changes == []


async def test_prune_removes_what_an_apply_made_and_never_users(apply: Apply, store: Store):
    async with store.write() as tx:
        await tx.labs.add(make_lab(id="lab_hand", slug="hand"))
        await tx.users.add(make_user(id="u_carol", email="carol@example.org"))
        await tx.memberships.add(make_membership(lab_id="lab_hand", user_id="u_carol"))
        await tx.clients.add(make_client(client_id="hand-made"))
        await tx.clients.add(make_client(client_id="registered", managed_by=ManagedBy.REGISTRATION))
        await tx.resources.add(make_resource(audience="https://hand.example.org"))
    await run(apply, FULL)
    applied = await run(apply, EMPTY, prune=True)
    assert diff(applied).splitlines() == [
        "- lab bio",
        "- client portal",
        "- client spa",
        "- resource https://data.example.org",
    ]
    left = await rows(store)
    assert [lab.slug for lab in left["labs"]] == ["hand"]
    assert [client.client_id for client in left["clients"]] == ["hand-made", "registered"]
    assert [resource.audience for resource in left["resources"]] == ["https://hand.example.org"]
    assert [held.lab_id for held in left["memberships"]] == ["lab_hand"]
    assert len(left["users"]) == 3
    async with store.read() as tx:
        assert await tx.labs.slug_was_used("bio")


async def test_prune_ends_memberships_that_are_listed_no_more(apply: Apply, store: Store):
    await run(apply, FULL)
    applied = await run(apply, "memberships: [{lab: bio, user: bob}]", prune=True)
    assert [(change.kind, change.key) for change in applied.changes] == [
        (ChangeKind.REMOVED, "alice@example.org in bio")
    ]
    assert len((await rows(store))["memberships"]) == 1


async def test_prune_leaves_sections_alone_that_stand_in_no_file(apply: Apply):
    await run(apply, FULL)
    applied = await run(apply, "labs: [{slug: bio, name: Biology}]", prune=True)
    assert applied.changes == []


async def test_a_dry_run_of_prune_removes_nothing(apply: Apply, store: Store):
    await run(apply, FULL)
    before = await rows(store)
    applied = await run(apply, EMPTY, prune=True, dry_run=True)
    assert {change.kind for change in applied.changes} == {ChangeKind.REMOVED}
    assert await rows(store) == before


async def test_a_pruned_labs_slug_is_never_given_out_again(apply: Apply):
    await run(apply, FULL)
    await run(apply, EMPTY, prune=True)
    assert await refused(apply, "labs: [{slug: bio, name: Biology}]") == [
        "bench.yaml:1: labs[0].slug: it was a deleted lab's, and slugs are never given out again"
    ]


async def test_a_membership_in_a_lab_that_prune_removes_is_refused(apply: Apply):
    await run(apply, FULL)
    assert await refused(apply, "{labs: [], memberships: [{lab: bio, user: bob}]}", prune=True) == [
        "bench.yaml:1: memberships[0].lab: there is no lab bio"
    ]


async def test_what_an_admin_made_stays_the_admins_when_a_file_lists_it(apply: Apply, store: Store):
    async with store.write() as tx:
        await tx.labs.add(make_lab())
    await run(apply, "labs: [{slug: bio, name: Life}]")
    assert (await run(apply, EMPTY, prune=True)).changes == []


# ── Lab grants ──────────────────────────────────────────────────────────────────────────────────────────────────────
def robot(lab_grants: str) -> str:
    """A file with labs and a service; `lab_grants` is the field as it is written, or nothing."""
    return f"""\
    labs: [{{slug: bio, name: Biology}}, {{slug: chem, name: Chemistry}}]
    clients:
      - client_id: robot
        client_secret: s3cr3t
        grant_types: [client_credentials]
        {lab_grants}
    """


async def grants(store: Store) -> dict[str, LabGrant]:
    async with store.read() as tx:
        slugs = {lab.id: lab.slug for lab in await tx.labs.all()}
        return {slugs[grant.lab_id]: grant for grant in await tx.lab_grants.all()}


async def test_what_labs_give_to_a_service_lasts_a_year_unless_the_file_says_otherwise(
    apply: Apply, store: Store, clock: FakeClock
):
    text = robot("lab_grants: [{lab: bio, role: admin}, {lab: chem, expires_at: 2026-06-30}]")
    applied = await run(apply, text)
    assert diff(applied).splitlines()[-2:] == ["+ lab_grant robot in bio", "+ lab_grant robot in chem"]
    held = await grants(store)
    assert (held["bio"].role, held["bio"].expires_at) == (LabRole.ADMIN, START + timedelta(days=365))
    assert held["chem"].role is LabRole.MEMBER
    assert held["chem"].expires_at == datetime(2026, 6, 30, 23, 59, 59, tzinfo=UTC)
    assert (held["bio"].granted_by, held["bio"].managed_by) == ("apply", ManagedBy.APPLY)
    clock.advance(timedelta(days=100))
    assert (await run(apply, text, prune=True)).changes == []
    applied = await run(apply, robot("lab_grants: [{lab: bio, role: viewer}]"))
    assert diff(applied) == '~ lab_grant robot in bio\n    role: "admin" → "viewer"'
    assert (await grants(store))["bio"].expires_at == START + timedelta(days=365)
    async with store.read() as tx:
        events = [event for event in await tx.audit_events.all() if event.action.startswith("lab_grant.")]
    assert {(event.action, event.actor, event.target) for event in events} == {
        (AuditAction.LAB_GRANT_CREATED, "apply", "robot"),
        (AuditAction.LAB_GRANT_UPDATED, "apply", "robot"),
    }
    (updated,) = [event for event in events if event.action is AuditAction.LAB_GRANT_UPDATED]
    assert updated.detail == {"fields": ["role"], "lab": held["bio"].lab_id, "role": "viewer"}


@pytest.mark.parametrize(("days", "renewed"), [(334, False), (335, True), (366, True)])
async def test_an_end_that_nobody_wrote_down_is_put_off_when_it_is_near(
    apply: Apply, store: Store, clock: FakeClock, days: int, renewed: bool
):
    text = robot("lab_grants: [{lab: bio}]")
    await run(apply, text)
    clock.advance(timedelta(days=days))
    assert len((await run(apply, text)).changes) == renewed
    ends = (clock.now if renewed else START) + timedelta(days=365)
    assert (await grants(store))["bio"].expires_at == ends


async def test_a_lab_grant_that_has_ended_already_is_a_warning_once(apply: Apply):
    text = robot("lab_grants: [{lab: bio, expires_at: 2020-01-01}]")
    warning = "bench.yaml:6: clients[0].lab_grants[0].expires_at: it is in the past: the grant does not count"
    assert (await run(apply, text)).warnings == [warning]
    assert (await run(apply, text)).warnings == []


async def test_a_lab_grant_beyond_a_year_or_of_no_lab_is_refused(apply: Apply, store: Store):
    before = await rows(store)
    assert await refused(apply, robot("lab_grants: [{lab: bio, expires_at: 2027-06-30}, {lab: physics}]")) == [
        "bench.yaml:6: clients[0].lab_grants[0].expires_at: it must be within a year",
        "bench.yaml:6: clients[0].lab_grants[1].lab: there is no lab physics",
    ]
    assert await rows(store) == before


async def test_prune_takes_back_only_what_apply_gave_and_the_client_lists_no_more(apply: Apply, store: Store):
    await run(apply, robot("lab_grants: [{lab: bio}, {lab: chem}]"))
    async with store.write() as tx:
        bio = await tx.labs.find_by_slug("bio")
        assert bio is not None
        given = await tx.lab_grants.get("robot", bio.id)
        await tx.lab_grants.save(replace(given, managed_by=ManagedBy.ADMIN))
    assert (await run(apply, robot(""), prune=True)).changes == []
    assert (await run(apply, robot("lab_grants: []"))).changes == []
    applied = await run(apply, robot("lab_grants: []"), prune=True)
    assert diff(applied) == "- lab_grant robot in chem"
    assert (await grants(store)).keys() == {"bio"}
    async with store.read() as tx:
        assert AuditAction.LAB_GRANT_DELETED in {event.action for event in await tx.audit_events.all()}


async def test_what_a_pruned_lab_gave_goes_with_it(apply: Apply, store: Store):
    await run(apply, robot("lab_grants: [{lab: bio}]"))
    text = robot("lab_grants: [{lab: bio}]").replace("[{slug: bio, name: Biology}, ", "[")
    assert await refused(apply, text, prune=True) == ["bench.yaml:6: clients[0].lab_grants[0].lab: there is no lab bio"]
    applied = await run(apply, text.replace("[{lab: bio}]", "[]"), prune=True)
    assert diff(applied) == "- lab bio"
    assert await grants(store) == {}
