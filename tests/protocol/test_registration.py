"""What a client may say about itself, and what it is told (RFC 7591, RFC 7592, OpenID Connect Registration)."""

import json
import re
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest

from idp.domain.client import ApplicationType, Client, ClientAuthMethod, ClientSecret, GrantType, SubjectType
from idp.protocol.errors import (
    InvalidClientMetadata,
    InvalidRedirectUri,
    InvalidRequest,
    InvalidSoftwareStatement,
    UnapprovedSoftwareStatement,
)
from idp.protocol.registration import (
    MEMBERS,
    check_implicit_redirects,
    check_sector,
    check_update,
    client_information,
    metadata_refusal,
    read_metadata,
)
from tests.support.clock import START
from tests.support.factories import make_client

REDIRECT_URIS = ["https://app.example.org/callback"]
ALL_SCOPES = "openid profile email address phone offline_access"


def read(**raw: Any) -> dict[str, Any]:
    return read_metadata({"redirect_uris": REDIRECT_URIS, **raw}, require_pkce=True)


def secret(text: str, **changes: Any) -> ClientSecret:
    return ClientSecret(hash=f"hash of {text}", created_at=START, **changes)


# ── What counts ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_a_client_may_say_are_fields_of_a_client_rfc7591_s2():
    ours = {field.name for field in fields(Client)} - set(MEMBERS)
    assert ours == {
        *("client_id", "created_at", "updated_at", "secrets", "status", "managed_by", "registration_access_token_hash"),
        *("access_token_format", "require_pkce", "trusted", "web_origins", "allowed_labs", "require_lab"),
        *("id_token_lab_claims", "group_format", "group_min_role", "claim_aliases", "profile"),
    }


@pytest.mark.parametrize(
    "name",
    [
        *("client_id", "client_secret", "status", "managed_by", "trusted", "allowed_labs", "web_origins", "profile"),
        *("access_token_format", "registration_access_token_hash", "registration_access_token", "secrets"),
        *("created_at", "lab_grants", "require_lab", "id_token_lab_claims", "group_format", "group_min_role"),
        *("claim_aliases", "client_name#de", "x-unknown", ""),
    ],
)
def test_an_unknown_member_and_one_that_would_give_rights_are_ignored_rfc7591_s2(name: str):
    assert read(**{name: "*"}) == read()


def test_a_client_cannot_do_without_pkce_by_saying_so():
    assert read(require_pkce=False)["require_pkce"] is True


@pytest.mark.parametrize(("method", "needed"), [(None, False), ("client_secret_post", False), ("none", True)])
def test_pkce_is_left_to_the_setting_but_never_for_public_clients_rfc9700_s2_1_1(method: str | None, needed: bool):
    raw = {} if method is None else {"token_endpoint_auth_method": method}
    assert read_metadata(raw, require_pkce=False)["require_pkce"] is needed
    assert read_metadata(raw, require_pkce=True)["require_pkce"] is True


def test_a_member_of_null_counts_as_absent_rfc7592_s2_2():
    assert read(client_name=None, grant_types=None, scope=None, software_statement=None) == read()


@pytest.mark.parametrize(
    ("response_types", "grant_types"),
    [
        (None, ["authorization_code"]),
        (["code"], ["authorization_code"]),
        (["id_token"], ["implicit"]),
        (["token id_token"], ["implicit"]),
        (["id_token code"], ["authorization_code", "implicit"]),
        (["code", "id_token"], ["authorization_code", "implicit"]),
        ([], ["authorization_code"]),
        (["bogus", 7, None, ["code"]], ["authorization_code"]),
        ("code", ["authorization_code"]),
    ],
)
def test_absent_grant_types_follow_from_the_response_types_rfc7591_s2_1(response_types: Any, grant_types: list[str]):
    assert read(response_types=response_types)["grant_types"] == grant_types


def test_grant_types_that_are_sent_stay_as_they_are():
    sent = ["authorization_code", "refresh_token"]
    assert read(grant_types=sent, response_types=["id_token"])["grant_types"] == sent
    assert read(grant_types="client_credentials")["grant_types"] == "client_credentials"


def test_no_client_registers_itself_to_act_for_itself():
    with pytest.raises(InvalidClientMetadata) as caught:
        read(grant_types=["authorization_code", "client_credentials"])
    assert caught.value.description.startswith("grant_types: ")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (None, ALL_SCOPES),
        ("openid", "openid"),
        ("profile  openid", "profile openid"),
        ("openid labs groups data:read lab:bio", "openid"),
        (7, 7),
    ],
)
def test_only_standard_scopes_can_be_had_and_no_labs_rfc7591_s2(sent: Any, kept: Any):
    assert read(scope=sent)["scope"] == kept


@pytest.mark.parametrize("scope", ["", " ", "labs groups", "data:read"])
def test_a_scope_of_which_nothing_is_left_is_refused(scope: str):
    with pytest.raises(InvalidClientMetadata) as caught:
        read(scope=scope)
    assert caught.value.description.startswith("scope: ")


@pytest.mark.parametrize("statement", ["e30.e30.e30", ".."])
def test_a_software_statement_is_approved_by_nobody_rfc7591_s3_2_2(statement: str):
    with pytest.raises(UnapprovedSoftwareStatement):
        read(software_statement=statement)


@pytest.mark.parametrize("statement", ["", "e30", "e30.e30", {}, [], 7, False])
def test_what_is_no_software_statement_is_invalid_rfc7591_s3_2_2(statement: Any):
    with pytest.raises(InvalidSoftwareStatement):
        read(software_statement=statement)


# ── Refusals ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_fault_of_a_redirect_uri_has_a_code_of_its_own_rfc7591_s3_2_2():
    error = metadata_refusal({"client_uri": "it is wrong", "redirect_uris[1]": "it has a fragment"})
    assert isinstance(error, InvalidRedirectUri)
    assert error.description == "redirect_uris[1]: it has a fragment."


def test_a_fault_of_another_uri_is_one_of_the_metadata_rfc7591_s3_2_2():
    error = metadata_refusal({"post_logout_redirect_uris[0]": "it has a fragment", "jwks": "it is wrong (RFC 7517 §5)"})
    assert isinstance(error, InvalidClientMetadata)
    assert error.description == (
        "post_logout_redirect_uris[0]: it has a fragment; jwks: it is wrong (RFC 7517 section 5)."
    )


def test_of_very_many_faults_the_first_five_are_told():
    error = metadata_refusal({f"contacts[{number}]": "it is wrong" for number in range(900)})
    assert len(re.findall("it is wrong", error.description)) == 5


# ── The sector's document ───────────────────────────────────────────────────────────────────────────────────────────
def test_the_document_of_a_sector_lists_every_redirect_uri_oidc_registration_s5():
    check_sector(json.dumps(["https://other.example", *REDIRECT_URIS, 7, None]).encode(), REDIRECT_URIS)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\xff",
        b"not json",
        b"{}",
        b'"https://app.example.org/callback"',
        b"[" * 100_000,
        b"[]",
        b'["https://app.example.org/callback/"]',
        b'[["https://app.example.org/callback"]]',
    ],
)
def test_any_other_document_is_refused_oidc_registration_s5(document: bytes):
    with pytest.raises(InvalidClientMetadata) as caught:
        check_sector(document, REDIRECT_URIS)
    assert caught.value.description.startswith("sector_identifier_uri: ")


# ── Updates ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def check(client: Client, **raw: Any) -> None:
    check_update(client, {"client_id": client.client_id, **raw}, mac=lambda text: f"hash of {text}", now=START)


def test_an_update_may_repeat_the_clients_own_secret_rfc7592_s2_2():
    check(make_client(secrets=(secret("new"), secret("old"))), client_secret="old")
    check(make_client(secrets=(secret("new"),)))
    check(make_client(secrets=(secret("new"),)), client_secret=None)


@pytest.mark.parametrize("sent", ["other", "", 7, {}, "old"])
def test_an_update_sets_no_secret_rfc7592_s2_2(sent: Any):
    expired = secret("old", expires_at=START)
    with pytest.raises(InvalidRequest):
        check(make_client(secrets=(secret("new"), expired)), client_secret=sent)
    with pytest.raises(InvalidRequest):
        check(make_client(token_endpoint_auth_method=ClientAuthMethod.NONE), client_secret=sent)


@pytest.mark.parametrize("client_id", ["other", "", None, 7])
def test_an_update_names_its_client_rfc7592_s2_2(client_id: Any):
    with pytest.raises(InvalidRequest):
        check(make_client(), client_id=client_id)


@pytest.mark.parametrize(
    "name",
    ["registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"],
)
def test_an_update_holds_nothing_that_only_the_server_says_rfc7592_s2_2(name: str):
    with pytest.raises(InvalidRequest):
        check(make_client(), **{name: None})


# ── The answer ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_everything_that_is_registered_is_told_with_its_defaults_rfc7591_s3_2_1():
    told = client_information(make_client(created_at=START + timedelta(milliseconds=900)))
    assert json.loads(json.dumps(told)) == {
        "client_id": "portal",
        "client_id_issued_at": int(START.timestamp()),
        "client_name": "Lab Portal",
        "application_type": "web",
        "redirect_uris": ["https://portal.example.org/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_basic",
        "scope": "openid profile email offline_access",
        "subject_type": "public",
        "id_token_signed_response_alg": "RS256",
        "require_signed_request_object": False,
        "require_auth_time": False,
        "frontchannel_logout_session_required": False,
        "backchannel_logout_session_required": False,
        "require_pkce": True,
    }


def test_nothing_secret_and_no_right_of_a_client_is_told():
    plain = make_client()
    rich = replace(
        plain,
        secrets=(secret("secret"),),
        registration_access_token_hash="hash of a token",
        trusted=True,
        allowed_labs="*",
        grant_types=tuple(GrantType),
        subject_type=SubjectType.PAIRWISE,
        default_max_age=0,
    )
    told = client_information(rich)
    assert "hash of" not in str(told)
    assert told.keys() - client_information(plain).keys() == {"default_max_age"}


WEB, NATIVE = ApplicationType.WEB, ApplicationType.NATIVE
IMPLICIT, CODE = (GrantType.AUTHORIZATION_CODE, GrantType.IMPLICIT), (GrantType.AUTHORIZATION_CODE,)


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1/cb", "http://[::1]:9000/cb", "https://localhost/cb", "https://LOCALHOST:8443/cb"]
)
def test_a_web_application_gets_tokens_in_the_redirect_over_https_and_not_on_localhost_oidc_registration_s2(uri: str):
    with pytest.raises(InvalidRedirectUri):
        check_implicit_redirects(WEB, IMPLICIT, [*REDIRECT_URIS, uri], on_loopback=False)
    check_implicit_redirects(WEB, CODE, [uri], on_loopback=False)
    check_implicit_redirects(NATIVE, IMPLICIT, [uri], on_loopback=False)


def test_where_this_server_itself_is_on_localhost_its_applications_may_be_too():
    check_implicit_redirects(WEB, IMPLICIT, ["https://localhost:8443/cb"], on_loopback=True)
    with pytest.raises(InvalidRedirectUri):
        check_implicit_redirects(WEB, IMPLICIT, ["http://localhost:8443/cb"], on_loopback=True)
