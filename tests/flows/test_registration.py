"""Clients that register and manage themselves (RFC 7591, RFC 7592, OpenID Connect Dynamic Client Registration)."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idp.domain.audit import AuditAction, AuditEvent
from idp.domain.client import ClientStatus
from idp.domain.lab import ManagedBy
from idp.protocol.registration import MEMBERS
from idp.services.initial_access_token import InitialAccessTokens
from tests.outbound.conftest import Authority, Serve
from tests.support.app import BOB, ISSUER, VERIFIER, App, Browser, Start, answer_of, basic, bearer
from tests.support.assertion import jwks, public_jwk
from tests.support.clock import START

REDIRECT_URI = "https://app.example.org/callback"
SCOPES = "openid profile email address phone offline_access"
JSON = b"application/json"


@pytest.fixture
async def app(start: Start) -> App:
    return await start(dynamic_registration="open")


async def post(app: App, headers: dict[str, str] | None = None, **metadata: Any) -> httpx2.Response:
    """Ask for a client with one redirect URI; a member of `...` is left out."""
    sent = {"redirect_uris": [REDIRECT_URI], **metadata}
    sent = {name: value for name, value in sent.items() if value is not ...}
    return await app.http().post("/clients", json=sent, headers=headers)


async def register(app: App, headers: dict[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    response = await post(app, headers, **metadata)
    assert response.status_code == 201, response.text
    return dict(response.json())


def credentials(registered: dict[str, Any]) -> dict[str, str]:
    return bearer(registered["registration_access_token"])


async def read(app: App, registered: dict[str, Any]) -> httpx2.Response:
    return await app.http().get(registered["registration_client_uri"], headers=credentials(registered))


async def put(app: App, registered: dict[str, Any], **metadata: Any) -> httpx2.Response:
    """Replace a registration by what is given; a member of `...` is left out."""
    sent = {"client_id": registered["client_id"], "redirect_uris": [REDIRECT_URI], **metadata}
    sent = {name: value for name, value in sent.items() if value is not ...}
    return await app.http().put(registered["registration_client_uri"], json=sent, headers=credentials(registered))


async def delete(app: App, registered: dict[str, Any]) -> httpx2.Response:
    return await app.http().delete(registered["registration_client_uri"], headers=credentials(registered))


def refused(response: httpx2.Response, status: int, error: str) -> str:
    """Check how a request was refused, and return the description."""
    assert (response.status_code, response.json()["error"]) == (status, error), response.text
    assert response.headers["cache-control"] == "no-store"
    return str(response.json()["error_description"])


async def events(app: App, *actions: AuditAction) -> list[AuditEvent]:
    async with app.store.read() as tx:
        found = [event for event in await tx.audit_events.all() if event.action in actions]
    return sorted(found, key=lambda event: event.at)


async def sign_in(browser: Browser, registered: dict[str, Any], **changes: str | None) -> dict[str, Any]:
    """Sign in to the new client and return its tokens."""
    client_id = registered["client_id"]
    asked = {"redirect_uri": REDIRECT_URI, "scope": "openid profile offline_access", **changes}
    answer = await browser.authorize(client_id, **asked)
    form = {
        "grant_type": "authorization_code",
        "code": answer.code,
        "redirect_uri": REDIRECT_URI,
        **({} if changes.get("code_challenge", "") is None else {"code_verifier": VERIFIER}),
    }
    response = await token(browser.app, registered, **form)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def token(app: App, registered: dict[str, Any], **form: str) -> httpx2.Response:
    client_id, secret = registered["client_id"], registered.get("client_secret")
    if secret is None:
        return await app.http().post("/token", data={**form, "client_id": client_id})
    return await app.http().post("/token", data=form, headers=basic(client_id, secret))


# ── Registering ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_everything_registered_is_told_with_its_defaults_rfc7591_s3_2_1(app: App) -> None:
    response = await post(app, scope="openid labs", client_name=...)

    assert response.status_code == 201
    assert (response.headers["cache-control"], response.headers["pragma"]) == ("no-store", "no-cache")
    registered = response.json()
    client_id = registered["client_id"]
    assert len(registered.pop("client_secret")) >= 43
    assert len(registered.pop("registration_access_token")) >= 43
    assert registered == {
        "client_id": client_id,
        "client_id_issued_at": int(START.timestamp()),
        "client_secret_expires_at": 0,
        "registration_client_uri": f"{ISSUER}/clients/{client_id}",
        "client_name": client_id,
        "application_type": "web",
        "redirect_uris": [REDIRECT_URI],
        "grant_types": ["authorization_code"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_basic",
        "scope": "openid",
        "subject_type": "public",
        "id_token_signed_response_alg": "RS256",
        "require_signed_request_object": False,
        "require_auth_time": False,
        "frontchannel_logout_session_required": False,
        "backchannel_logout_session_required": False,
        "require_pkce": True,
    }


EVERYTHING = {
    "client_name": "Übersicht",
    "application_type": "web",
    "redirect_uris": [REDIRECT_URI, "https://app.example.org/second"],
    "post_logout_redirect_uris": ["https://app.example.org/bye"],
    "grant_types": ["authorization_code", "implicit", "refresh_token"],
    "response_types": ["code", "id_token token", "code id_token token"],
    "token_endpoint_auth_method": "private_key_jwt",
    "token_endpoint_auth_signing_alg": "ES256",
    "scope": SCOPES,
    "client_uri": "https://app.example.org/",
    "logo_uri": "https://app.example.org/logo.png",
    "policy_uri": "https://app.example.org/policy",
    "tos_uri": "https://app.example.org/terms",
    "contacts": ["ada@example.org", "https://app.example.org/contact"],
    "software_id": "4NRB1-0XZABZI9E6-5SM3R",
    "software_version": "2.1",
    "subject_type": "pairwise",
    "id_token_signed_response_alg": "ES256",
    "id_token_encrypted_response_alg": "RSA-OAEP-256",
    "id_token_encrypted_response_enc": "A256GCM",
    "userinfo_signed_response_alg": "PS256",
    "userinfo_encrypted_response_alg": "RSA-OAEP-256",
    "userinfo_encrypted_response_enc": "A128GCM",
    "request_object_signing_alg": "ES256",
    "require_signed_request_object": True,
    "request_uris": ["https://app.example.org/request#hash"],
    "default_max_age": 3600,
    "require_auth_time": True,
    "default_acr_values": ["0"],
    "initiate_login_uri": "https://app.example.org/start",
    "frontchannel_logout_uri": "https://app.example.org/frontchannel",
    "frontchannel_logout_session_required": True,
    "backchannel_logout_uri": "https://app.example.org/backchannel",
    "backchannel_logout_session_required": True,
    "jwks": {"keys": [public_jwk("sign"), public_jwk("encrypt", "RS256", use="enc")]},
}


async def test_every_member_comes_back_as_it_was_sent_oidc_registration_s2(app: App) -> None:
    assert EVERYTHING.keys() == set(MEMBERS) - {"jwks_uri", "sector_identifier_uri"}
    registered = await register(app, **EVERYTHING)
    assert {name: registered.get(name) for name in EVERYTHING} == EVERYTHING
    read_again = (await read(app, registered)).json()
    assert read_again == registered
    by_reference = {**EVERYTHING, "jwks": ..., "jwks_uri": "https://app.example.org/jwks"}
    assert (await register(app, **by_reference))["jwks_uri"] == "https://app.example.org/jwks"


async def test_people_sign_in_to_a_client_that_registered_itself_with_consent(app: App, browser: Browser) -> None:
    registered = await register(app, grant_types=["authorization_code", "refresh_token"], client_name="New App")
    client_id = registered["client_id"]

    page = await browser.sign_in(await browser.request(client_id, redirect_uri=REDIRECT_URI))
    assert page.url.path == "/consent"
    assert "New App" in page.text
    tokens = await sign_in(browser, registered)

    assert (await app.userinfo(tokens["access_token"])).json()["name"] == "Alice Liddell"
    refreshed = await token(app, registered, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert refreshed.status_code == 200
    assert (await token(app, {**registered, "client_secret": "x"}, grant_type="refresh_token")).status_code == 401


@pytest.mark.parametrize(
    ("method", "keeps_secret"),
    [
        ("none", False),
        ("private_key_jwt", False),
        ("client_secret_basic", True),
        ("client_secret_post", True),
        ("client_secret_jwt", True),
    ],
)
async def test_only_who_proves_itself_with_a_secret_gets_one_rfc7591_s3_2_1(
    app: App, method: str, keeps_secret: bool
) -> None:
    keys = {"jwks": jwks("key-1")} if method == "private_key_jwt" else {}
    registered = await register(app, token_endpoint_auth_method=method, **keys)
    assert registered["token_endpoint_auth_method"] == method
    assert ("client_secret" in registered) is ("client_secret_expires_at" in registered) is keeps_secret
    stored = await app.store.find_client(registered["client_id"])
    assert [secret.sealed is not None for secret in stored.secrets] == [method == "client_secret_jwt"] * keeps_secret


@pytest.mark.parametrize(
    ("sent", "registered"),
    [
        ({}, (["authorization_code"], ["code"])),
        ({"response_types": ["id_token"]}, (["implicit"], ["id_token"])),
        ({"response_types": ["id_token code"]}, (["authorization_code", "implicit"], ["code id_token"])),
        ({"grant_types": ["authorization_code", "implicit"]}, (["authorization_code", "implicit"], ["code"])),
    ],
)
async def test_grant_and_response_types_that_are_absent_are_derived_rfc7591_s2_1(
    app: App, sent: dict[str, Any], registered: tuple[list[str], list[str]]
) -> None:
    told = await register(app, **sent)
    assert (told["grant_types"], told["response_types"]) == registered


@pytest.mark.parametrize(
    ("metadata", "error", "told"),
    [
        (
            {"redirect_uris": [REDIRECT_URI, f"{ISSUER}/logout"]},
            "invalid_redirect_uri",
            "redirect_uris[1]: it is an address of this server.",
        ),
        (
            {"initiate_login_uri": "https://localhost:8000/", "backchannel_logout_uri": f"{ISSUER}/logout"},
            "invalid_client_metadata",
            "backchannel_logout_uri: it is an address of this server.",
        ),
        ({"client_name": "W" * 101}, "invalid_client_metadata", "client_name: it must have at most 100 characters."),
        (
            {"client_name": "\u202eevil"},
            "invalid_client_metadata",
            "client_name: it holds invisible characters, or some that turn the text around.",
        ),
    ],
)
async def test_what_would_mislead_people_is_not_registered(
    app: App, metadata: dict[str, Any], error: str, told: str
) -> None:
    registered = await register(app, client_name="W" * 100)
    assert refused(await post(app, **metadata), 400, error) == told
    assert refused(await put(app, registered, **metadata), 400, error) == told


async def test_nobody_gives_rights_to_itself_rfc7591_s5(app: App) -> None:
    registered = await register(
        app,
        client_id="portal",
        client_secret="chosen",
        trusted=True,
        allowed_labs="*",
        status="active",
        managed_by="admin",
        web_origins=["https://evil.example"],
        require_pkce=False,
        access_token_format="opaque",
        profile="wlcg",
        id_token_lab_claims=True,
        claim_aliases={"groups": "roles"},
        lab_grants=[{"lab": "bio", "role": "admin"}],
        scope="openid labs groups data:read",
        **{"client_name#de": "Name"},
    )
    client = await app.store.find_client(registered["client_id"])
    assert client is not None
    assert client.client_id != "portal"
    assert registered["client_secret"] != "chosen"
    assert (client.trusted, client.allowed_labs, client.web_origins, client.scope) == (False, (), None, "openid")
    assert (client.profile, client.id_token_lab_claims, client.claim_aliases) == ("plain", False, {})
    assert (client.require_pkce, client.access_token_format, client.managed_by) == (
        True,
        "jwt",
        ManagedBy.REGISTRATION,
    )
    assert "allowed_labs" not in registered


async def test_what_was_registered_is_in_the_audit_log_without_secrets(app: App) -> None:
    registered = await register(app)
    app.clock.advance(seconds=1)
    await put(app, registered, client_name="Renamed")
    created, updated = await events(app, AuditAction.CLIENT_REGISTERED, AuditAction.CLIENT_UPDATED)
    assert (created.actor, created.target, created.address) == ("anonymous", registered["client_id"], "127.0.0.1")
    assert (updated.actor, updated.detail) == (registered["client_id"], {"fields": ["client_name"]})
    assert registered["registration_access_token"] not in f"{created}{updated}"


async def test_nothing_secret_is_stored_or_logged_as_it_is(app: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    registered = await register(app, token_endpoint_auth_method="client_secret_jwt")
    stored = str(await app.store.find_client(registered["client_id"]))
    for name in ("client_secret", "registration_access_token"):
        assert registered[name] not in stored
        assert registered[name] not in caplog.text


# ── Who may ─────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_by_default_nobody_registers_clients_and_nothing_announces_it_rfc7591_s3(start: Start) -> None:
    app = await start()
    description = refused(await post(app), 403, "access_denied")
    assert "administrators" in description
    assert "registration_endpoint" not in (await app.http().get("/.well-known/openid-configuration")).json()


async def test_an_open_server_announces_its_endpoint_rfc8414_s2(app: App) -> None:
    announced = (await app.http().get("/.well-known/openid-configuration")).json()["registration_endpoint"]
    assert announced == f"{ISSUER}/clients"


async def test_who_registered_while_it_was_open_manages_itself_after_it_was_closed_rfc7592_s2(start: Start) -> None:
    registered = await register(await start(dynamic_registration="open"))
    closed = await start()
    assert (await read(closed, registered)).status_code == 200
    assert (await delete(closed, registered)).status_code == 204


async def test_with_an_initial_access_token_clients_are_registered_as_long_as_it_counts_rfc7591_s3(
    start: Start,
) -> None:
    app = await start(dynamic_registration="token")
    tokens = InitialAccessTokens(app.store, app.clock)
    held, text = await tokens.create("Ada", lifetime=timedelta(days=1), actor="cli")
    other, other_text = await tokens.create("Bob", lifetime=timedelta(days=9), actor="cli")

    assert (await register(app, bearer(text)))["client_id"] != (await register(app, bearer(text)))["client_id"]
    assert [event.actor for event in await events(app, AuditAction.CLIENT_REGISTERED)] == [held.id] * 2

    app.clock.advance(timedelta(days=1))
    refused(await post(app, bearer(text)), 401, "invalid_token")
    await register(app, bearer(other_text))
    await tokens.revoke(other.id, actor="cli")
    refused(await post(app, bearer(other_text)), 401, "invalid_token")


async def test_without_an_initial_access_token_there_is_a_bare_challenge_rfc6750_s3_1(start: Start) -> None:
    app = await start(dynamic_registration="token")
    response = await post(app)
    refused(response, 401, "invalid_token")
    assert response.headers["www-authenticate"] == 'Bearer realm="lab-id"'
    assert await events(app, AuditAction.CLIENT_REGISTRATION_REFUSED) == []


async def test_a_wrong_initial_access_token_is_challenged_rfc6750_s3_1(start: Start) -> None:
    app = await start(dynamic_registration="token")
    for authorization in (b"Bearer wrong", b"Bearer \xff", b"Basic cG9ydGFsOng=", b"Bearer", b"Bearer a b"):
        headers = [(b"authorization", authorization), (b"content-type", JSON)]
        body = b'{"redirect_uris": ["https://a.example/"]}'
        response = await app.raw("POST", "/clients", headers=headers, body=[body])
        refused(response, 401, "invalid_token")
        assert response.headers["www-authenticate"].startswith('Bearer realm="lab-id", error="invalid_token"')


async def test_a_wrong_initial_access_token_is_in_the_audit_log(start: Start) -> None:
    app = await start(dynamic_registration="token")
    held, text = await InitialAccessTokens(app.store, app.clock).create("A", lifetime=timedelta(days=1), actor="cli")
    await post(app, bearer("wrong"))
    app.clock.advance(timedelta(days=2))
    await post(app, bearer(text))
    found = await events(app, AuditAction.CLIENT_REGISTRATION_REFUSED)
    assert [(event.actor, event.target, event.succeeded) for event in found] == [
        ("anonymous", "unknown", False),
        ("anonymous", held.id, False),
    ]


async def test_a_registration_access_token_is_no_initial_access_token_rfc7591_s1_2(start: Start) -> None:
    registered = await register(await start(dynamic_registration="open"))
    app = await start(dynamic_registration="token")
    refused(await post(app, credentials(registered)), 401, "invalid_token")


# ── How often ───────────────────────────────────────────────────────────────────────────────────────────────────────
async def from_address(
    app: App, address: str, *, method: str = "POST", path: str = "/clients", headers: Sequence[Any] = (), **sent: Any
) -> httpx2.Response:
    body = json.dumps({"redirect_uris": [REDIRECT_URI], **sent}).encode()
    return await app.raw(
        method, path, headers=[(b"content-type", JSON), *headers], body=[body], caller=(address, 50000)
    )


async def test_a_network_registers_up_to_the_limit_and_is_told_when_to_come_back_rfc6585_s4(start: Start) -> None:
    app = await start(dynamic_registration="open", registration_limit="2/hour")
    answers = [await from_address(app, f"192.0.2.{number}") for number in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    refused(answers[2], 429, "temporarily_unavailable")
    assert 3500 < int(answers[2].headers["retry-after"]) <= 3600
    assert (await from_address(app, "198.51.100.1")).status_code == 201
    assert [(await from_address(app, "127.0.0.1")).status_code for _ in range(3)] == [201] * 3


async def test_an_update_counts_as_a_registration(start: Start) -> None:
    app = await start(dynamic_registration="open", registration_limit="1/hour")
    registered = (await from_address(app, "192.0.2.1")).json()
    path = registered["registration_client_uri"].removeprefix(ISSUER)
    headers = [(b"authorization", credentials(registered)["Authorization"].encode())]
    same = {"path": path, "headers": headers, "client_id": registered["client_id"]}
    assert (await from_address(app, "192.0.2.1", method="PUT", **same)).status_code == 429
    assert (await from_address(app, "192.0.2.1", method="GET", **same)).status_code == 200
    assert (await from_address(app, "198.51.100.1", method="PUT", **same)).status_code == 200


async def test_wrong_tokens_cannot_fill_the_audit_log(start: Start) -> None:
    app = await start(dynamic_registration="token", registration_limit="3/hour")
    wrong = [(b"authorization", b"Bearer wrong")]
    answers = [await from_address(app, "192.0.2.1", headers=wrong) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 3 + [429] * 3
    assert len(await events(app, AuditAction.CLIENT_REGISTRATION_REFUSED)) == 3


async def test_who_has_an_initial_access_token_is_not_limited_by_who_guesses_in_the_same_network(start: Start) -> None:
    app = await start(dynamic_registration="token", registration_limit="2/hour")
    _, text = await InitialAccessTokens(app.store, app.clock).create("A", lifetime=timedelta(days=1), actor="cli")
    for token, expected in (("wrong", [401, 401, 429]), (text, [201, 201, 429]), ("wrong", [429])):
        headers = [(b"authorization", f"Bearer {token}".encode())]
        answers = [await from_address(app, "192.0.2.1", headers=headers) for _ in expected]
        assert [answer.status_code for answer in answers] == expected


# ── Metadata ────────────────────────────────────────────────────────────────────────────────────────────────────────
# The redirect URIs, and other metadata that make the difference.
DANGEROUS: list[tuple[Any, dict[str, Any]]] = [
    (..., {}),
    ([], {}),
    (None, {}),
    ("https://app.example.org/callback", {}),
    ([7], {}),
    ([""], {}),
    (["https://app.example.org/callback#fragment"], {}),
    (["https://app.example.org/callback#"], {}),
    (["javascript:alert(1)"], {}),
    (["data:text/html,x"], {}),
    (["http://app.example.org/callback"], {}),
    (["https://*.example.org/callback"], {}),
    (["https://user@app.example.org/callback"], {}),
    (["org.example.app:/callback"], {}),
    (["/callback"], {}),
    (["https://app.example.org/call back"], {}),
    ([REDIRECT_URI, "https://app.example.org/#"], {}),
    ([REDIRECT_URI, REDIRECT_URI], {}),
    (["http://localhost/callback"], {"response_types": ["id_token"]}),
    (["https://app.example.org/callback", "http://127.0.0.1/callback"], {"response_types": ["code id_token"]}),
    (["http://app.example.org/callback"], {"application_type": "native"}),
    (["myapp:/callback"], {"application_type": "native"}),
]


async def test_a_dangerous_redirect_uri_is_refused_rfc7591_s3_2_2(app: App) -> None:
    for uris, metadata in DANGEROUS:
        response = await post(app, redirect_uris=uris, **metadata)
        assert refused(response, 400, "invalid_redirect_uri").startswith("redirect_uris"), (uris, metadata)


@pytest.mark.parametrize(
    "metadata",
    [
        {"redirect_uris": ["http://localhost:8080/callback"]},
        {"redirect_uris": ["http://127.0.0.1/callback"], "application_type": "native"},
        {"redirect_uris": ["org.example.app:/callback"], "application_type": "native"},
    ],
)
async def test_loopback_and_a_native_applications_own_scheme_are_fine_rfc8252_s7(
    app: App, metadata: dict[str, Any]
) -> None:
    assert (await register(app, **metadata))["redirect_uris"] == metadata["redirect_uris"]


# The member at fault, and the metadata.
FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("post_logout_redirect_uris", {"post_logout_redirect_uris": ["https://app.example.org/#bye"]}),
    ("grant_types", {"grant_types": ["password"]}),
    ("grant_types", {"grant_types": ["client_credentials"]}),
    ("grant_types", {"grant_types": []}),
    ("grant_types", {"grant_types": ["refresh_token"]}),
    ("grant_types", {"grant_types": "authorization_code"}),
    ("grant_types", {"grant_types": [["authorization_code"]]}),
    ("response_types", {"response_types": ["token"]}),
    ("response_types", {"response_types": ["code bogus"]}),
    ("response_types", {"response_types": "code"}),
    ("response_types", {"response_types": ["code id_token"], "grant_types": ["authorization_code"]}),
    ("response_types", {"response_types": ["code"], "grant_types": ["implicit"]}),
    ("token_endpoint_auth_method", {"token_endpoint_auth_method": "tls_client_auth"}),
    ("token_endpoint_auth_method", {"token_endpoint_auth_method": ["none"]}),
    ("token_endpoint_auth_signing_alg", {"token_endpoint_auth_signing_alg": "RS256"}),
    ("application_type", {"application_type": "service"}),
    ("client_name", {"client_name": " "}),
    ("client_name", {"client_name": "a\0b"}),
    ("client_name", {"client_name": "\ud800"}),
    ("contacts", {"contacts": ["\ud800", "\0"]}),
    ("client_name", {"client_name": "x" * 301}),
    ("client_name", {"client_name": {"de": "Name"}}),
    ("client_uri", {"client_uri": "javascript:alert(1)"}),
    ("logo_uri", {"logo_uri": "data:image/png;base64,AAAA"}),
    ("policy_uri", {"policy_uri": "app.example.org"}),
    ("tos_uri", {"tos_uri": ""}),
    ("contacts", {"contacts": "ada@example.org"}),
    ("contacts", {"contacts": ["javascript:alert(1)"]}),
    ("jwks", {"jwks": {}}),
    ("jwks", {"jwks": {"keys": []}}),
    ("jwks", {"jwks": {"keys": [{**public_jwk("key-1"), "d": "AAAA"}]}}),
    ("jwks", {"jwks": {"keys": [{**public_jwk("key-1"), "x5u": "\0"}]}}),
    ("jwks", {"jwks": {"keys": [{**public_jwk("key-1"), "x5u": "\ud800"}]}}),
    ("jwks_uri", {"jwks": jwks("key-1"), "jwks_uri": "https://app.example.org/jwks"}),
    ("jwks_uri", {"jwks_uri": "http://app.example.org/jwks"}),
    ("token_endpoint_auth_method", {"token_endpoint_auth_method": "private_key_jwt"}),
    ("subject_type", {"subject_type": "anonymous"}),
    ("subject_type", {"subject_type": "pairwise", "redirect_uris": [REDIRECT_URI, "https://other.example/callback"]}),
    ("sector_identifier_uri", {"sector_identifier_uri": "http://app.example.org/sector"}),
    ("id_token_signed_response_alg", {"id_token_signed_response_alg": "HS256"}),
    ("id_token_signed_response_alg", {"id_token_signed_response_alg": "none", "response_types": ["code id_token"]}),
    ("id_token_encrypted_response_alg", {"id_token_encrypted_response_alg": "RSA-OAEP-256"}),
    ("id_token_encrypted_response_alg", {"id_token_encrypted_response_alg": "RSA1_5", "jwks": jwks("key-1")}),
    ("id_token_encrypted_response_enc", {"id_token_encrypted_response_enc": "A128GCM"}),
    ("userinfo_signed_response_alg", {"userinfo_signed_response_alg": "HS512"}),
    ("userinfo_encrypted_response_enc", {"userinfo_encrypted_response_enc": "A128CBC-HS256"}),
    ("request_object_signing_alg", {"request_object_signing_alg": "HS256"}),
    ("require_signed_request_object", {"require_signed_request_object": True}),
    ("request_uris", {"request_uris": ["http://app.example.org/request"]}),
    ("default_max_age", {"default_max_age": -1}),
    ("default_max_age", {"default_max_age": "3600"}),
    ("default_max_age", {"default_max_age": 1e400}),
    ("require_auth_time", {"require_auth_time": "perhaps"}),
    ("default_acr_values", {"default_acr_values": ["a b"]}),
    ("initiate_login_uri", {"initiate_login_uri": "http://localhost/start"}),
    ("frontchannel_logout_uri", {"frontchannel_logout_uri": "https://other.example/logout"}),
    ("backchannel_logout_uri", {"backchannel_logout_uri": "https://app.example.org/logout#x"}),
    ("scope", {"scope": "labs groups"}),
    ("scope", {"scope": ["openid"]}),
]


async def test_other_metadata_at_fault_are_refused_with_the_member_named_rfc7591_s3_2_2(app: App) -> None:
    for member, metadata in FAULTS:
        body = json.dumps({"redirect_uris": [REDIRECT_URI], **metadata}).replace("Infinity", "1e400").encode()
        response = await app.raw("POST", "/clients", headers=[(b"content-type", JSON)], body=[body])
        assert refused(response, 400, "invalid_client_metadata").startswith(member), metadata


async def test_a_refused_registration_can_be_explained_without_its_secrets(app: App) -> None:
    response = await post(app, redirect_uris=["http://a.example/", REDIRECT_URI], client_secret="chosen-4711", jwks={})
    error_uri = response.json()["error_uri"]
    assert error_uri.startswith(f"{ISSUER}/explain/")
    administrator = app.browser()
    await administrator.sign_in(user=BOB)
    page = await administrator.get(error_uri)
    assert page.status_code == 200
    assert f"http://a.example/ {REDIRECT_URI}" in page.text
    assert "4711" not in page.text


async def test_a_software_statement_is_refused_and_not_ignored_rfc7591_s3_1_1(app: App) -> None:
    refused(await post(app, software_statement="e30.e30.e30"), 400, "unapproved_software_statement")
    refused(await post(app, software_statement="nonsense"), 400, "invalid_software_statement")


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["code", "implicit", "none", "openid", "pairwise", "RS256", REDIRECT_URI, "http://[", "\0", "\\"])
    | st.sampled_from([jwks("key-1"), {"keys": [{"kty": "RSA"}]}, {"keys": [None]}]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
extra = st.text(max_size=5) | st.sampled_from(["client_secret", "client_id", "software_statement", "allowed_labs"])


@settings(
    max_examples=3 * settings.default.max_examples,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(metadata=st.dictionaries(st.sampled_from(MEMBERS) | extra, anything, max_size=6))
async def test_whatever_a_client_says_is_registered_or_refused_and_never_a_failure(
    app: App, metadata: dict[str, Any]
) -> None:
    body = json.dumps({"redirect_uris": [REDIRECT_URI], **metadata}).encode()
    response = await app.raw("POST", "/clients", headers=[(b"content-type", JSON)], body=[body])
    assert response.status_code in {201, 400}, response.text
    if response.status_code == 400:
        description = response.json()["error_description"]
        assert all(0x20 <= ord(mark) <= 0x7E and mark not in '"\\' for mark in description), description
        assert len(description) < 1000


async def test_no_value_that_was_sent_comes_back_in_a_refusal(app: App) -> None:
    marked = {name: ["https://mark-4711.example/#", {"mark-4711": "mark-4711"}] for name in MEMBERS}
    texts = dict.fromkeys(MEMBERS, "mark-4711")
    for metadata in (marked, texts, *({name: value} for name, value in (marked | texts).items())):
        response = await post(app, **metadata)
        if response.status_code == 400:
            assert "4711" not in response.text
    many = await post(app, contacts=["mark-4711"] * 900)
    assert len(many.text) < 1000


# ── The body ────────────────────────────────────────────────────────────────────────────────────────────────────────
BODIES = [
    b"",
    b"null",
    b"[]",
    b'"text"',
    b"{",
    b'{"redirect_uris": ["https://app.example.org/callback"],}',
    b'{"redirect_uris": [], "redirect_uris": ["https://app.example.org/callback"]}',
    b'{"redirect_uris": ["https://app.example.org/callback"], "jwks": {"keys": [], "keys": []}}',
    b'{"redirect_uris": ["https://app.example.org/callback"], "default_max_age": NaN}',
    b'{"redirect_uris": ["https://app.example.org/callback"], "default_max_age": ' + b"9" * 5000 + b"}",
    b'{"redirect_uris": ["https://app.example.org/callback"], "x": "\xff"}',
    b'\xef\xbb\xbf{"redirect_uris": ["https://app.example.org/callback"]}',
    '{"redirect_uris": ["https://app.example.org/callback"]}'.encode("utf-16"),
    b'{"redirect_uris": ["https://app.example.org/callback"], "x": ' + b"[" * 17 + b"]" * 17 + b"}",
    b'{"x":' * 20_000,
    b"[" * 60_000,
    b"redirect_uris=https://app.example.org/callback",
]


async def test_a_body_that_is_not_one_plain_json_object_is_refused_rfc7591_s3_1(app: App) -> None:
    for body in BODIES:
        response = await app.raw("POST", "/clients", headers=[(b"content-type", JSON)], body=[body])
        assert response.status_code == (413 if len(body) > 65536 else 400), body[:99]
        assert response.json()["error"] == "invalid_request"


async def test_another_type_of_body_is_refused_rfc7591_s3_1(app: App) -> None:
    body = [b'{"redirect_uris": ["https://app.example.org/callback"]}']
    for kind in (b"", b"text/json", b"application/x-www-form-urlencoded", b"application/jsonp"):
        response = await app.raw("POST", "/clients", headers=[(b"content-type", kind)], body=body)
        assert "application/json" in refused(response, 400, "invalid_request")
    accepted = [(b"content-type", b"Application/JSON; charset=utf-8")]
    assert (await app.raw("POST", "/clients", headers=accepted, body=body)).status_code == 201


async def test_a_body_of_200_kilobytes_is_too_much_rfc9110_s15_5_14(app: App) -> None:
    assert (await post(app, client_name="x" * 200_000)).status_code == 413
    registered = await register(app)
    assert (await put(app, registered, client_name="x" * 200_000)).status_code == 413
    assert (await read(app, registered)).status_code == 200


# ── Sectors ─────────────────────────────────────────────────────────────────────────────────────────────────────────
OTHER_URI = "https://other.example/callback"
TWO_HOSTS = {"redirect_uris": [REDIRECT_URI, OTHER_URI], "subject_type": "pairwise"}


def document(content: Any, status: str = "200 OK") -> bytes:
    body = json.dumps(content)
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


async def reaching(start: Start, authority: Authority, port: int) -> App:
    return await start(
        dynamic_registration="open", outbound_allow=f"localhost:{port}", outbound_ca_file=str(authority.ca_file)
    )


async def test_a_sector_that_lists_every_redirect_uri_is_registered_oidc_registration_s5(
    start: Start, serve: Serve, authority: Authority
) -> None:
    peer = await serve(document([OTHER_URI, REDIRECT_URI, "https://third.example/"]))
    app = await reaching(start, authority, peer.port)
    sector = f"https://localhost:{peer.port}/sector.json"
    assert (await register(app, **TWO_HOSTS, sector_identifier_uri=sector))["sector_identifier_uri"] == sector


@pytest.mark.parametrize(
    "answer",
    [
        document([REDIRECT_URI]),
        document({"redirect_uris": [REDIRECT_URI, OTHER_URI]}),
        document([REDIRECT_URI, OTHER_URI], "404 Not Found"),
        b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<!doctype",
        b"nonsense\r\n\r\n",
    ],
)
async def test_a_sector_without_that_document_is_refused_oidc_registration_s5(
    start: Start, serve: Serve, authority: Authority, answer: bytes
) -> None:
    peer = await serve(answer)
    app = await reaching(start, authority, peer.port)
    sector = f"https://localhost:{peer.port}/sector.json"
    response = await post(app, **TWO_HOSTS, sector_identifier_uri=sector)
    assert refused(response, 400, "invalid_client_metadata").startswith("sector_identifier_uri")
    assert len(peer.requests) == 1


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "2130706433", "localhost."])
async def test_a_sector_cannot_make_the_server_ask_its_own_network(app: App, serve: Serve, host: str) -> None:
    peer = await serve(document([REDIRECT_URI]))
    response = await post(app, sector_identifier_uri=f"https://{host}:{peer.port}/")
    assert refused(response, 400, "invalid_client_metadata").startswith("sector_identifier_uri")
    assert peer.requests == []


async def test_a_sector_is_looked_at_only_when_the_rest_is_right(app: App, serve: Serve) -> None:
    peer = await serve(document([REDIRECT_URI]))
    await post(app, sector_identifier_uri=f"https://localhost:{peer.port}/", grant_types=["password"])
    assert peer.requests == peer.names == []


# ── PKCE ────────────────────────────────────────────────────────────────────────────────────────────────────────────
WITHOUT_PKCE = {"code_challenge": None, "code_challenge_method": None}


async def test_clients_that_register_themselves_need_pkce_unless_the_setting_says_otherwise_rfc9700_s2_1_1(
    start: Start,
) -> None:
    for required in ("true", "false"):
        app = await start(dynamic_registration="open", dynamic_require_pkce=required)
        registered = await register(app)
        assert registered["require_pkce"] is (required == "true")
        if required == "false":
            assert "access_token" in await sign_in(app.browser(), registered, **WITHOUT_PKCE)
            continue
        page = await app.browser().request(registered["client_id"], redirect_uri=REDIRECT_URI, **WITHOUT_PKCE)
        assert answer_of(page).error == "invalid_request"


async def test_a_public_client_needs_pkce_whatever_the_setting_says_rfc9700_s2_1_1(start: Start) -> None:
    app = await start(dynamic_registration="open", dynamic_require_pkce="false")
    registered = await register(app, token_endpoint_auth_method="none")
    assert registered["require_pkce"] is True
    page = await app.browser().request(registered["client_id"], redirect_uri=REDIRECT_URI, **WITHOUT_PKCE)
    assert answer_of(page).error == "invalid_request"


# ── Managing ────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_registration_is_read_as_it_is_without_its_secret_rfc7592_s2_1(app: App) -> None:
    registered = await register(app, client_name="App")
    for _ in range(2):
        response = await read(app, registered)
        assert response.status_code == 200
        assert response.headers["cache-control"] == "no-store"
        expected = {name: value for name, value in registered.items() if not name.startswith("client_secret")}
        assert response.json() == expected


async def test_an_update_replaces_everything_and_the_token_with_it_rfc7592_s2_2(app: App, browser: Browser) -> None:
    registered = await register(
        app, client_name="Before", tos_uri="https://app.example.org/terms", contacts=["a@b.example"]
    )
    app.clock.advance(timedelta(days=1))

    response = await put(app, registered, client_name="After", contacts=None, policy_uri="https://app.example.org/p")

    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    updated = response.json()
    assert updated["registration_access_token"] != registered["registration_access_token"]
    assert (updated["client_name"], updated["policy_uri"]) == ("After", "https://app.example.org/p")
    assert updated["client_id_issued_at"] == registered["client_id_issued_at"]
    assert not {"tos_uri", "contacts", "client_secret"} & updated.keys()
    refused(await read(app, registered), 401, "invalid_token")
    assert (await read(app, updated)).json() == updated
    # The secret stays, and the new metadata count at once.
    assert "access_token" in await sign_in(browser, {**updated, "client_secret": registered["client_secret"]})


async def test_a_refused_update_changes_nothing_and_keeps_the_token_rfc7592_s2_2(app: App) -> None:
    registered = await register(app, client_name="Before")
    refused(await put(app, registered, client_name="After", grant_types=["password"]), 400, "invalid_client_metadata")
    refused(await put(app, registered, redirect_uris=["https://a.example/#"]), 400, "invalid_redirect_uri")
    refused(await put(app, registered, redirect_uris=...), 400, "invalid_redirect_uri")
    assert (await read(app, registered)).json()["client_name"] == "Before"


@pytest.mark.parametrize(
    "metadata",
    [
        {"client_id": ...},
        {"client_id": "portal"},
        {"client_secret": "chosen"},
        {"registration_access_token": "chosen"},
        {"registration_client_uri": "https://evil.example/"},
        {"client_secret_expires_at": 0},
        {"client_id_issued_at": 0},
    ],
)
async def test_an_update_changes_no_identity_rfc7592_s2_2(app: App, metadata: dict[str, Any]) -> None:
    registered = await register(app)
    refused(await put(app, registered, **metadata), 400, "invalid_request")
    assert (await read(app, registered)).status_code == 200


async def test_an_update_may_repeat_its_client_secret_rfc7592_s2_2(app: App) -> None:
    registered = await register(app)
    assert (await put(app, registered, client_secret=registered["client_secret"])).status_code == 200


@pytest.mark.parametrize(
    ("before", "after", "gets_a_new_one"),
    [
        ("client_secret_basic", "client_secret_post", False),
        ("client_secret_jwt", "client_secret_basic", False),
        ("client_secret_basic", "client_secret_jwt", True),
        ("none", "client_secret_basic", True),
        ("client_secret_basic", "none", False),
    ],
)
async def test_a_secret_is_made_when_the_method_changes_to_one_that_needs_it_rfc7592_s2_2(
    app: App, before: str, after: str, gets_a_new_one: bool
) -> None:
    registered = await register(app, token_endpoint_auth_method=before)
    updated = (await put(app, registered, token_endpoint_auth_method=after)).json()
    assert ("client_secret" in updated) is gets_a_new_one
    stored = await app.store.find_client(registered["client_id"])
    assert len(stored.secrets) == (0 if after == "none" else 1)


async def test_an_update_takes_back_what_an_administrator_gave_for_the_metadata_of_before(app: App) -> None:
    registered = await register(app)
    rights = {"trusted": True, "allowed_labs": "*", "scope": "openid labs", "require_pkce": False}
    await app.change("clients", [registered["client_id"]], **rights)
    assert (await put(app, registered, trusted=True, allowed_labs="*", scope="openid labs")).status_code == 200
    client = await app.store.find_client(registered["client_id"])
    assert (client.trusted, client.allowed_labs, client.scope, client.require_pkce) == (False, (), "openid", True)


async def test_a_deleted_client_is_gone_with_all_its_tokens_at_once_rfc7592_s2_3(start: Start) -> None:
    app, other = await start(dynamic_registration="open"), await start(dynamic_registration="open")
    registered = await register(app, grant_types=["authorization_code", "refresh_token"])
    browser = other.browser()
    tokens = await sign_in(browser, registered)
    unused = await browser.authorize(registered["client_id"], redirect_uri=REDIRECT_URI)

    response = await delete(app, registered)

    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["cache-control"] == "no-store"
    for node in (app, other):
        assert (await node.userinfo(tokens["access_token"])).status_code == 401
        assert not await node.is_alive(tokens["access_token"])
        for form in (
            {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]},
            {"grant_type": "authorization_code", "code": unused.code, "redirect_uri": REDIRECT_URI},
        ):
            assert (await token(node, registered, **form)).status_code in {400, 401}
        refused(await read(node, registered), 401, "invalid_token")
    (event,) = await events(app, AuditAction.CLIENT_DELETED)
    assert (event.actor, event.target) == (registered["client_id"], registered["client_id"])


async def test_a_sign_in_that_was_begun_before_its_client_was_deleted_is_explained(start: Start) -> None:
    app, other = await start(dynamic_registration="open"), await start(dynamic_registration="open")
    registered = await register(app)
    browser = other.browser()
    asked = {"redirect_uri": REDIRECT_URI, "scope": "openid"}
    consent = await browser.sign_in(await browser.request(registered["client_id"], **asked))
    assert consent.url.path == "/consent"
    unasked = await register(app)
    await app.change("clients", [unasked["client_id"]], trusted=True)
    assert answer_of(await browser.request(unasked["client_id"], **asked)).code

    await delete(app, registered)
    await delete(app, unasked)

    # The other node may know the client for five seconds more.
    for page in (
        await browser.submit(consent, decision="allow"),
        await browser.request(registered["client_id"], **asked),
        await other.browser().request(registered["client_id"], **asked),
        await browser.request(unasked["client_id"], **asked),
    ):
        assert page.status_code == 400, page.text
        assert "not known here" in page.text or "expired" in page.text


async def test_a_token_manages_only_its_own_client_and_all_else_looks_alike_rfc7592_s2_1(app: App) -> None:
    mine, theirs = await register(app), await register(app)
    await app.change("clients", [theirs["client_id"]], status=ClientStatus.DISABLED)
    answers = []
    for client_id, held in (
        (theirs["client_id"], mine),
        (theirs["client_id"], theirs),
        ("portal", mine),
        ("unknown", mine),
        ("a%00b", mine),
        ("x" * 3000, mine),
        (mine["client_id"], {"registration_access_token": "wrong"}),
        (mine["client_id"], {"registration_access_token": mine["client_secret"]}),
    ):
        for method in ("GET", "PUT", "DELETE"):
            sent = {"json": {"client_id": client_id, "redirect_uris": [REDIRECT_URI]}} if method == "PUT" else {}
            response = await app.http().request(method, f"/clients/{client_id}", headers=credentials(held), **sent)
            refused(response, 401, "invalid_token")
            told = response.json()
            answers.append((told["error_description"], response.headers["www-authenticate"]))
    assert len(set(answers)) == 1
    assert (await read(app, mine)).status_code == 200


async def test_without_a_token_there_is_a_bare_challenge_rfc7592_s2(app: App) -> None:
    registered = await register(app)
    for method in ("GET", "PUT", "DELETE"):
        response = await app.http().request(method, registered["registration_client_uri"])
        refused(response, 401, "invalid_token")
        assert response.headers["www-authenticate"] == 'Bearer realm="lab-id"'
        secret = basic(registered["client_id"], registered["client_secret"])
        response = await app.http().request(method, registered["registration_client_uri"], headers=secret)
        refused(response, 401, "invalid_token")


async def test_of_many_updates_at_once_on_two_nodes_one_succeeds(start: Start) -> None:
    nodes = [await start(dynamic_registration="open") for _ in range(2)]
    registered = await register(nodes[0])

    answers = await asyncio.gather(*(put(nodes[n % 2], registered, client_name=f"Name {n}") for n in range(8)))

    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 7
    (winner,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert (await read(nodes[1], winner)).json()["client_name"] == winner["client_name"]


async def test_an_update_and_a_deletion_at_once_leave_the_client_there_or_gone(start: Start) -> None:
    nodes = [await start(dynamic_registration="open") for _ in range(2)]
    for _ in range(3):
        registered = await register(nodes[0])
        updated, deleted = await asyncio.gather(put(nodes[0], registered), delete(nodes[1], registered))
        assert (updated.status_code, deleted.status_code) in {(200, 401), (401, 204)}
        stored = await nodes[0].store.find_client(registered["client_id"])
        assert (stored is None) is (deleted.status_code == 204)


# ── Methods and origins ─────────────────────────────────────────────────────────────────────────────────────────────
async def test_other_methods_are_not_allowed_rfc9110_s15_5_6(app: App) -> None:
    registered = await register(app)
    for path, allowed in (("/clients", {"POST"}), (registered["registration_client_uri"], {"GET", "PUT", "DELETE"})):
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - allowed:
            response = await app.http().request(method, path, headers=credentials(registered))
            assert response.status_code == 405, (method, path)
            assert set(response.headers["allow"].split(", ")) >= allowed


async def test_a_page_of_another_origin_reads_no_answer(app: App) -> None:
    evil = {"Origin": "https://evil.example"}
    registered = await post(app, evil)
    assert registered.status_code == 201
    assert "access-control-allow-origin" not in registered.headers
    response = await app.http().get(
        registered.json()["registration_client_uri"], headers={**evil, **credentials(registered.json())}
    )
    assert "access-control-allow-origin" not in response.headers


async def test_two_clients_of_the_same_metadata_are_two_clients(app: App) -> None:
    first, second = await asyncio.gather(register(app), register(app))
    for name in ("client_id", "client_secret", "registration_access_token"):
        assert first[name] != second[name]


async def test_a_client_made_by_an_administrator_has_no_token_to_be_managed_by(app: App) -> None:
    client = await app.store.find_client("portal")
    assert client is not None
    assert client.registration_access_token_hash is None
    for text in ("", "None", "null"):
        response = await app.http().get("/clients/portal", headers={"Authorization": f"Bearer {text}"})
        assert response.status_code == 401
    assert replace(client, registration_access_token_hash=None) == await app.store.find_client("portal")
