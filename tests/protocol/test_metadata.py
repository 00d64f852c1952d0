"""Server metadata."""

from typing import Any

import pytest

from idp.domain.claims import SCOPE_CLAIMS
from idp.domain.client import ClientAuthMethod
from idp.domain.signing_key import SigningAlgorithm
from idp.protocol.id_token import id_token_claims
from idp.protocol.metadata import server_metadata
from tests.support.clock import START
from tests.support.factories import ISSUER, make_grant


def announced(*, entitlements: bool) -> dict[str, Any]:
    endpoints = {"token_endpoint": "/token", "jwks_uri": "/jwks"}
    return server_metadata(
        issuer=ISSUER,
        endpoints=endpoints,
        grant_types=["authorization_code"],
        encryption_algs=["RSA-OAEP-256"],
        encryption_encs=["A128GCM"],
        entitlements=entitlements,
    )


@pytest.fixture
def metadata() -> dict[str, Any]:
    return announced(entitlements=False)


def test_every_endpoint_is_absolute_oidc_discovery_s3(metadata: dict[str, Any]):
    assert metadata["issuer"] == ISSUER
    assert metadata["token_endpoint"] == f"{ISSUER}/token"
    assert metadata["jwks_uri"] == f"{ISSUER}/jwks"


def test_an_endpoint_that_is_not_mounted_is_not_announced_rfc8414_s2(metadata: dict[str, Any]):
    assert {name for name in metadata if name.endswith(("_endpoint", "_uri"))} == {"token_endpoint", "jwks_uri"}


def test_grants_are_those_that_were_handed_in_rfc8414_s2(metadata: dict[str, Any]):
    # Implicit is none of the token endpoint's.
    assert metadata["grant_types_supported"] == ["authorization_code", "implicit"]


def test_what_works_is_listed_and_nothing_else_oidc_discovery_s3(metadata: dict[str, Any]):
    assert {frozenset(kind.split()) for kind in metadata["response_types_supported"]} == {
        *map(frozenset, (["code"], ["id_token"], ["id_token", "token"], ["code", "id_token"], ["code", "token"])),
        frozenset({"code", "id_token", "token"}),
    }
    assert metadata["response_modes_supported"] == ["query", "fragment", "form_post"]
    assert metadata["subject_types_supported"] == ["public", "pairwise"]
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["prompt_values_supported"] == ["none", "login", "consent", "select_account"]
    assert metadata["scopes_supported"] == [
        *("openid", "profile", "email", "address", "phone", "offline_access"),
        *LABS,
        *("labs:read", "labs:write"),
    ]
    assert metadata["ui_locales_supported"] == ["en"]
    assert metadata["claim_types_supported"] == ["normal"]


LABS = ("labs", "groups")


def test_entitlements_are_announced_where_there_is_a_namespace_for_them_aarc_g069(metadata: dict[str, Any]):
    assert "entitlements" not in [*metadata["scopes_supported"], *metadata["claims_supported"]]
    offered = announced(entitlements=True)
    assert "entitlements" in offered["scopes_supported"]
    assert "entitlements" in offered["claims_supported"]


def test_a_dynamic_provider_lists_the_three_response_types_by_either_spelling_oidc_discovery_s3(
    metadata: dict[str, Any],
):
    assert {"code", "id_token", "token id_token", "id_token token"} <= set(metadata["response_types_supported"])


def test_the_optional_parameters_are_announced_oidc_discovery_s3(metadata: dict[str, Any]):
    for name in ("claims_parameter_supported", "request_parameter_supported", "request_uri_parameter_supported"):
        assert metadata[name] is True
    assert metadata["require_request_uri_registration"] is True


def test_algorithms_of_requests_and_answers_are_announced_oidc_discovery_s3(metadata: dict[str, Any]):
    signing = list(map(str, SigningAlgorithm))
    assert metadata["request_object_signing_alg_values_supported"] == [*signing, "none"]
    assert metadata["userinfo_signing_alg_values_supported"] == [*signing, "none"]
    assert set(metadata["token_endpoint_auth_signing_alg_values_supported"]) == {*signing, "HS256", "HS384", "HS512"}
    for answer in ("id_token", "userinfo"):
        assert metadata[f"{answer}_encryption_alg_values_supported"] == ["RSA-OAEP-256"]
        assert metadata[f"{answer}_encryption_enc_values_supported"] == ["A128GCM"]


def test_logout_is_announced_oidc_back_channel_logout_s2_1_oidc_front_channel_logout_s3(metadata: dict[str, Any]):
    for channel in ("frontchannel", "backchannel"):
        assert metadata[f"{channel}_logout_supported"] is True
        assert metadata[f"{channel}_logout_session_supported"] is True


def test_the_issuer_in_answers_is_announced_rfc9207_s3(metadata: dict[str, Any]):
    assert metadata["authorization_response_iss_parameter_supported"] is True


def test_every_signing_algorithm_is_listed_rs256_among_them_oidc_discovery_s3(metadata: dict[str, Any]):
    assert metadata["id_token_signing_alg_values_supported"] == [*map(str, SigningAlgorithm), "none"]
    assert "RS256" in metadata["id_token_signing_alg_values_supported"]


def test_clients_may_authenticate_as_listed_and_only_with_a_secret_for_introspection_rfc8414_s2(
    metadata: dict[str, Any],
):
    methods = list(map(str, ClientAuthMethod))
    assert metadata["token_endpoint_auth_methods_supported"] == methods
    assert metadata["revocation_endpoint_auth_methods_supported"] == methods
    assert metadata["introspection_endpoint_auth_methods_supported"] == [name for name in methods if name != "none"]


def test_every_claim_that_can_be_released_is_listed_once_oidc_discovery_s3(metadata: dict[str, Any]):
    grant = make_grant(nonce="n")
    in_id_token = id_token_claims(
        grant,
        issuer=ISSUER,
        sub="s",
        sid="s",
        now=START,
        expires_at=START,
        hashes=dict.fromkeys(("at_hash", "c_hash", "s_hash"), "h"),
        released={},
        with_nonce=True,
    ).keys()
    by_scope = {name for names in SCOPE_CLAIMS.values() for name in names}
    assert set(metadata["claims_supported"]) == {*in_id_token, *by_scope, *LABS}
    assert len(set(metadata["claims_supported"])) == len(metadata["claims_supported"])


def test_no_single_lab_is_ever_announced(metadata: dict[str, Any]):
    assert not [scope for scope in metadata["scopes_supported"] if scope.startswith("lab:")]
