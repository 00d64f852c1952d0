"""npm openid-client, a certified relying party, against a running server; its checks are as strict as it has them."""

import pytest

from tests.relying_parties.clients import AFTER_LOGOUT, ALGORITHMS, SCOPE, SECRET, SERVICE_SCOPE
from tests.relying_parties.conftest import Walk
from tests.support.server import Provider

BASIC = {"method": "client_secret_basic", "secret": SECRET}


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_sign_in_refresh_and_logout_under_every_algorithm(alg: str, idp: Provider, walk: Walk) -> None:
    email = idp.new_person()
    metadata = {"id_token_signed_response_alg": alg}
    seen = walk("everything", idp, f"web-{alg}", **BASIC, metadata=metadata, username=email)
    assert seen["userinfo"]["email"] == email
    assert seen["userinfo"]["groups"] == ["bio:admin", "bio:member", "bio:viewer", "chem:viewer"]
    assert seen["refreshed"]["sub"] == seen["claims"]["sub"]
    assert seen["refreshed"]["auth_time"] == seen["claims"]["auth_time"]
    # Half the usual time, for it tells of an admin of a lab.
    assert (seen["rotated"], seen["scope"], seen["expires_in"]) == (True, SCOPE, 300)
    assert seen["landed"] == f"{AFTER_LOGOUT}?state=a+state"


@pytest.mark.parametrize(("client_id", "method"), [("post", "client_secret_post"), ("public", "none")])
def test_sign_in_with_other_client_authentication(client_id: str, method: str, idp: Provider, walk: Walk) -> None:
    seen = walk("everything", idp, client_id, method=method, secret=SECRET)
    assert seen["rotated"]


def test_revocation_is_seen_by_introspection_userinfo_and_refresh(idp: Provider, walk: Walk) -> None:
    seen = walk("revocation", idp, "web-RS256", **BASIC)
    assert seen["before"]["active"] is True
    assert seen["after"] == {"active": False}
    assert seen["userinfo"] == {"error": "invalid_token", "status": 401}
    assert seen["refresh"] == {"error": "invalid_grant", "status": 400}


def test_a_code_works_once_rfc6749_s4_1_2(idp: Provider, walk: Walk) -> None:
    seen = walk("replay", idp, "web-RS256", **BASIC)
    assert seen == {"error": "invalid_grant", "status": 400}


def test_prompt_none_answers_who_is_signed_in_and_refuses_strangers(idp: Provider, walk: Walk) -> None:
    seen = walk("silently", idp, "web-RS256", **BASIC)
    assert seen["signedIn"]["aud"] == "web-RS256"
    assert seen["stranger"]["error"] == "login_required"


def test_a_service_gets_and_revokes_its_own_token_rfc6749_s4_4(idp: Provider, walk: Walk) -> None:
    seen = walk("service", idp, "service", **BASIC, scope=SERVICE_SCOPE)
    assert seen["tokens"]["scope"] == SERVICE_SCOPE
    assert "refresh_token" not in seen["tokens"]
    assert (seen["introspection"]["active"], seen["introspection"]["sub"]) == (True, "service")
    assert seen["revoked"] == {"active": False}
    assert seen["refused"] == {"error": "invalid_scope", "status": 400}
