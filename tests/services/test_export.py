from collections.abc import AsyncIterator

import pytest
import yaml

from idp.crypto.password import PasswordHasher
from idp.domain.client import (
    AccessTokenFormat,
    ClientAuthMethod,
    ClientSecret,
    GrantType,
    GroupFormat,
    Profile,
    RequireLab,
    SubjectType,
)
from idp.domain.lab import LabRole, ManagedBy
from idp.domain.lab_grant import LabGrant
from idp.domain.user import AdminRole, UserStatus
from idp.services.apply import Apply
from idp.services.apply_file import read_apply_files
from idp.services.export import client_document, export
from idp.services.installation import DataKeys
from idp.store.store import Store
from tests.support.clock import START, FakeClock
from tests.support.factories import (
    ISSUER,
    LAB_ID,
    make_client,
    make_credential,
    make_installation,
    make_lab,
    make_membership,
    make_resource,
    make_user,
)

KEYS = DataKeys(lookup=b"l" * 32, refresh=b"r" * 32, csrf=b"c" * 32, seal=b"s" * 32)
HASH = "$argon2id$v=19$m=32,t=1,p=1$c2FsdHNhbHRzYWx0$" + "dGFndGFndGFndGFndGFndGFndGFndGFndGFndGFndGE"


KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "2024", "use": "sig"}
EVERYTHING = make_client(
    client_id="everything",
    token_endpoint_auth_method=ClientAuthMethod.PRIVATE_KEY_JWT,
    token_endpoint_auth_signing_alg="EdDSA",
    jwks={"keys": [{**KEY, "x5t": None, "odd": [1, True, {"nested": "1e3"}]}]},
    grant_types=(GrantType.AUTHORIZATION_CODE, GrantType.IMPLICIT),
    response_types=("code id_token", "id_token"),
    logo_uri="https://portal.example.org/logo.png",
    contacts=("office@portal.example.org",),
    software_version="1.0",
    subject_type=SubjectType.PAIRWISE,
    sector_identifier_uri="https://sector.example.org/uris.json",
    userinfo_signed_response_alg="none",
    request_object_signing_alg="EdDSA",
    request_uris=("https://portal.example.org/request.jwt#1",),
    default_acr_values=("1",),
    initiate_login_uri="https://portal.example.org/start",
    frontchannel_logout_uri="https://portal.example.org/logout",
    frontchannel_logout_session_required=True,
    access_token_format=AccessTokenFormat.OPAQUE,
    allowed_labs=("bio", "chem"),
    require_lab=RequireLab.ALL,
    id_token_lab_claims=True,
    profile=Profile.WLCG,
    group_format=GroupFormat.PATH,
    group_min_role=LabRole.VIEWER,
    claim_aliases={"groups": "roles", "entitlements": "eduperson_entitlement"},
)


@pytest.fixture
async def apply(store: Store, clock: FakeClock) -> AsyncIterator[Apply]:
    hasher = PasswordHasher(memory_kib=32, time_cost=1)
    yield Apply(store, KEYS, hasher, clock, issuer=ISSUER, password_min_length=8, entitlements=True)
    hasher.close()


@pytest.fixture
async def full(store: Store) -> Store:
    """A store with something of everything, odd texts among it."""
    secret = ClientSecret(hash="5ecre7", created_at=START)
    async with store.write() as tx:
        await tx.installations.add(make_installation())
        await tx.labs.add(make_lab(name="no", description="two\nlines", homepage="https://bio.example.org"))
        await tx.labs.add(make_lab(id="lab_2", slug="chem", name="Chemie: «1»", status="archived"))
        profile = {"logo_uri": "https://phys.example.org/logo.png", "admin_acr": "2", "accepts_join_requests": True}
        await tx.labs.add(make_lab(id="lab_3", slug="phys", **profile))
        profile = {
            "birthdate": "1990-05-04",
            "phone_number": "0043",
            "address": {"formatted": "a\nb", "postal_code": "1060"},
            "phone_number_verified": False,
            "locale": "no",
        }
        await tx.users.add(
            make_user(username="alice", email_verified=True, name="Ä 𝔸", profile=profile, roles=(AdminRole.ADMIN,))
        )
        await tx.users.add(make_user(id="u_bob", email=None, username="yes", status=UserStatus.DISABLED))
        await tx.credentials.add(make_credential(secret=HASH))
        await tx.memberships.add(make_membership(expires_at=START.replace(hour=23, minute=59, second=59)))
        await tx.memberships.add(
            make_membership(user_id="u_bob", not_before=START, expires_at=START.replace(year=2030, microsecond=5))
        )
        await tx.clients.add(make_client(secrets=(secret,), allowed_labs="*", web_origins=(), default_max_age=60))
        robot = make_client(
            client_id="robot",
            grant_types=(GrantType.CLIENT_CREDENTIALS,),
            response_types=(),
            redirect_uris=(),
            secrets=(secret,),
            scope="measurements.read",
            id_token_signed_response_alg="ES256",
        )
        await tx.clients.add(robot)
        given = {"granted_by": "u_alice", "created_at": START, "expires_at": START.replace(microsecond=7)}
        await tx.lab_grants.add(LabGrant(client_id="robot", lab_id="lab_2", role=LabRole.ADMIN, **given))
        await tx.lab_grants.add(LabGrant(client_id="robot", lab_id=LAB_ID, role=LabRole.MEMBER, **given))
        # It could be given to it before its grant types changed, and counts for nothing now.
        await tx.lab_grants.add(LabGrant(client_id="portal", lab_id=LAB_ID, role=LabRole.MEMBER, **given))
        await tx.clients.add(
            make_client(client_id="1.5", token_endpoint_auth_method=ClientAuthMethod.NONE, allowed_labs=("bio",))
        )
        await tx.clients.add(EVERYTHING)
        await tx.resources.add(make_resource(name="no: «data»", client_id="robot"))
        await tx.resources.add(make_resource(audience="urn:example:2", client_id=None, scopes=("1", "true")))
    return store


@pytest.mark.parametrize("with_password_hashes", [False, True])
async def test_applying_an_export_changes_nothing(full: Store, apply: Apply, with_password_hashes: bool):
    text = await export(full, with_password_hashes=with_password_hashes)
    applied = await apply.run(read_apply_files([("export.yaml", text.encode())], {}), prune=True)
    assert applied.changes == []
    assert applied.unchanged == 15


async def test_what_labs_gave_to_a_service_stands_with_it_in_the_order_of_the_slugs(full: Store):
    clients = yaml.safe_load(await export(full, with_password_hashes=False))["clients"]
    held = {client["client_id"]: client.get("lab_grants") for client in clients}
    assert held == dict.fromkeys(held, None) | {
        "robot": [
            {"lab": "bio", "role": "member", "expires_at": "2026-01-05T12:00:00.000007+00:00"},
            {"lab": "chem", "role": "admin", "expires_at": "2026-01-05T12:00:00.000007+00:00"},
        ]
    }


async def test_an_export_holds_no_client_secret_and_says_so(full: Store):
    text = await export(full, with_password_hashes=True)
    assert "5ecre7" not in text
    assert "# Client secrets are stored as keyed hashes and cannot be exported" in text


async def test_what_has_no_secret_says_nothing_of_secrets(store: Store):
    async with store.write() as tx:
        await tx.clients.add(EVERYTHING)
    assert "secrets" not in await export(store, with_password_hashes=False)


async def test_a_client_that_registered_itself_is_not_exported_so_that_no_file_takes_its_registration_back(
    full: Store, apply: Apply
):
    registered = make_client(
        client_id="registered", managed_by=ManagedBy.REGISTRATION, registration_access_token_hash="t0ken-hash"
    )
    async with full.write() as tx:
        await tx.clients.add(registered)
    text = await export(full, with_password_hashes=True)
    assert "registered" not in text
    applied = await apply.run(read_apply_files([("export.yaml", text.encode())], {}), prune=True)
    assert applied.changes == []
    # `idp client show` shows it, without what proves who may manage it.
    assert "t0ken-hash" not in repr(client_document(registered))


async def test_password_hashes_are_exported_only_on_demand(full: Store):
    assert HASH not in await export(full, with_password_hashes=False)
    users = yaml.safe_load(await export(full, with_password_hashes=True))["users"]
    assert [user.get("password_hash") for user in users] == [HASH, None]


async def test_an_exported_account_with_its_hash_can_be_moved_to_another_store(full: Store, apply: Apply):
    text = await export(full, with_password_hashes=True)
    async with full.write() as tx:
        for user in await tx.users.all():
            await tx.users.delete(user.id)
    moved = yaml.safe_dump({"users": yaml.safe_load(text)["users"]})
    applied = await apply.run(read_apply_files([("export.yaml", moved.encode())], {}))
    assert [change.key for change in applied.changes] == ["alice@example.org", "yes"]
    async with full.read() as tx:
        (credential,) = await tx.credentials.all()
    assert credential.secret == HASH


async def test_an_empty_store_exports_empty_sections(store: Store):
    sections = yaml.safe_load(await export(store, with_password_hashes=False))
    assert sections == {"labs": [], "users": [], "memberships": [], "clients": [], "resources": [], "providers": []}


async def test_a_membership_that_ends_with_a_day_is_written_as_that_day(full: Store):
    text = await export(full, with_password_hashes=False)
    assert "expires_at: 2026-01-05\n" in text
    assert "expires_at: '2030-01-05T12:00:00.000005+00:00'\n" in text
