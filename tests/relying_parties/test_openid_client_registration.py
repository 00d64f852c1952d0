"""Clients that npm openid-client registers by itself (OpenID Connect Dynamic Client Registration) and then uses."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.relying_parties.clients import CALLBACK, HTTPS_CALLBACK, jwks_of, key_of
from tests.relying_parties.conftest import Documents, Walk
from tests.support.server import Provider, provider

WEB = {"client_name": "Registered by itself", "redirect_uris": [CALLBACK]}
STANDARD_SCOPE = "openid profile email"


@pytest.fixture(scope="module")
def by_token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """A provider where registering takes an initial access token."""
    folder = tmp_path_factory.mktemp("by-token")
    settings = {"IDP_DYNAMIC_REGISTRATION": "token"}
    with provider(folder, f"sqlite:///{folder / 'idp.db'}", clients=[], settings=settings) as running:
        yield running


def test_a_client_registers_and_signs_people_in_at_once(idp: Provider, walk: Walk) -> None:
    email = idp.new_person()
    seen = walk("outcome", idp, metadata=WEB, scope=STANDARD_SCOPE, username=email)
    assert seen["registered"]["client_secret_expires_at"] == 0
    assert seen["claims"]["aud"] == seen["registered"]["client_id"]
    assert seen["userinfo"]["email"] == email


def test_a_client_registers_for_everything_at_once(idp: Provider, documents: Documents, walk: Walk) -> None:
    documents.publish("registered", jwks_of(**{"signs-PS256": "PS256", "opens-ECDH-ES": "ECDH-ES"}))
    metadata: dict[str, Any] = {
        "redirect_uris": [HTTPS_CALLBACK],
        "response_types": ["code id_token"],
        "grant_types": ["authorization_code", "implicit"],
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks_uri": f"{documents.url}/registered",
        "subject_type": "pairwise",
        "request_object_signing_alg": "PS256",
        "require_signed_request_object": True,
        "id_token_signed_response_alg": "ES256",
        "id_token_encrypted_response_alg": "ECDH-ES",
        "id_token_encrypted_response_enc": "A256GCM",
        "userinfo_signed_response_alg": "EdDSA",
        "userinfo_encrypted_response_alg": "ECDH-ES",
        "userinfo_encrypted_response_enc": "A256GCM",
    }
    signs = key_of("signs-PS256", "PS256")
    seen = walk(
        "outcome",
        idp,
        metadata=metadata,
        method="private_key_jwt",
        key=signs,
        requestKey=signs,
        decryption=key_of("opens-ECDH-ES", "ECDH-ES") | {"enc": "A256GCM"},
        callback=HTTPS_CALLBACK,
        scope=STANDARD_SCOPE,
        responseType="code id_token",
        responseMode="form_post",
    )
    assert metadata.items() <= seen["registered"].items()
    assert "client_secret" not in seen["registered"]
    assert seen["places"]["body"].keys() == {"code", "id_token", "state", "iss", "session_state"}
    assert seen["userinfo"]["sub"] == seen["claims"]["sub"]


def test_a_client_registers_with_an_initial_access_token_rfc7591_s3(by_token: Provider, walk: Walk) -> None:
    made = json.loads(by_token.idp("registration-token", "create", "--note", "a test", "--json"))
    token = made["initial_access_token"]
    seen = walk("outcome", by_token, metadata=WEB, initialAccessToken=token, scope=STANDARD_SCOPE)
    assert seen["claims"]["aud"] == seen["registered"]["client_id"]


@pytest.mark.parametrize("token", [None, "a-token-of-nobody"])
def test_nobody_registers_without_an_initial_access_token_that_counts_rfc7591_s3(
    token: str | None, by_token: Provider, walk: Walk
) -> None:
    seen = walk("registration", by_token, metadata=WEB, initialAccessToken=token)
    assert seen == {"error": "invalid_token", "status": 401}
