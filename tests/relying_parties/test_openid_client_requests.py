"""Signed requests and clients that prove themselves by a key or a MAC, with npm openid-client."""

from typing import Any

import pytest

from tests.relying_parties.clients import ALGORITHMS, SECRET, SERVICE_SCOPE, jwks_of, key_of
from tests.relying_parties.conftest import Documents, Walk
from tests.support.server import Provider

REFUSED = {"error": "invalid_client", "status": 401}


def by_key(alg: str, name: str | None = None) -> dict[str, Any]:
    return {"method": "private_key_jwt", "key": key_of(name or f"signs-{alg}", alg)}


# ── Request objects ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("mode", [None, "form_post"])
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_request_object_says_everything_and_the_same_key_authenticates_rfc9101_s5_1(
    alg: str, mode: str | None, idp: Provider, walk: Walk
) -> None:
    signs = by_key(alg)
    seen = walk("outcome", idp, "signed-requests", **signs, requestKey=signs["key"], responseMode=mode)
    assert seen["places"]["body" if mode else "query"].keys() == {"code", "state", "iss", "session_state"}
    assert seen["userinfo"]["groups"]


def test_a_client_that_signs_its_requests_is_refused_without_rfc9101_s10_5(idp: Provider, walk: Walk) -> None:
    seen = walk("refused", idp, "signed-requests", **by_key("ES256"))
    assert seen["refusal"]["error"] == "invalid_request"


def test_a_request_object_of_another_key_is_refused_rfc9101_s6_2(idp: Provider, walk: Walk) -> None:
    stranger = key_of("stranger", "ES256")
    seen = walk("refused", idp, "signed-requests", **by_key("ES256"), requestKey=stranger)
    assert seen["places"]["query"]["error"] == "invalid_request_object"
    # What the stranger said counts for nothing, and so openid-client misses its state.
    assert "state" not in seen["places"]["query"]
    assert seen["refusal"] is not None


@pytest.mark.parametrize("alg", ["ES256", "PS256"])
def test_request_object_and_keys_are_fetched_from_where_the_client_publishes_them_oidc_core_s6_2(
    alg: str, idp: Provider, documents: Documents, walk: Walk
) -> None:
    documents.publish("referred-requests", jwks_of(**{"signs-ES256": "ES256", "signs-PS256": "PS256"}))
    signs = by_key(alg)
    seen = walk(
        "outcome", idp, "referred-requests", **signs, requestKey=signs["key"], requestUri=f"{documents.url}/request.jwt"
    )
    assert seen["claims"]["aud"] == "referred-requests"
    assert seen["userinfo"]["groups"]


# ── Client authentication ───────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_client_proves_itself_by_its_private_key_oidc_core_s9(alg: str, idp: Provider, walk: Walk) -> None:
    assert walk("authentication", idp, "asserting", **by_key(alg), scope=SERVICE_SCOPE) is None


def test_a_client_proves_itself_by_a_mac_made_with_its_secret_oidc_core_s9(idp: Provider, walk: Walk) -> None:
    how: dict[str, Any] = {"method": "client_secret_jwt", "scope": SERVICE_SCOPE}
    assert walk("authentication", idp, "keyed", **how, secret=SECRET) is None
    assert walk("authentication", idp, "keyed", **how, secret=SECRET[::-1]) == REFUSED


def test_a_new_key_counts_once_it_is_published_and_the_old_one_no_more_oidc_core_s10_1_1(
    idp: Provider, documents: Documents, walk: Walk
) -> None:
    def outcome(name: str) -> Any:
        return walk("authentication", idp, "rotating", **by_key("ES256", name), scope=SERVICE_SCOPE)

    documents.publish("rotating", jwks_of(old="ES256"))
    assert outcome("old") is None
    documents.publish("rotating", jwks_of(new="ES256"))
    assert (outcome("new"), outcome("old")) == (None, REFUSED)
