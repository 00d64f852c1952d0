"""npm openid-client, a certified relying party, against a running server; its checks are as strict as it has them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.prerequisites import find_node
from tests.relying_parties.conftest import AFTER_LOGOUT, ALGORITHMS, CALLBACK, SCOPE, SECRET
from tests.support.server import PASSWORD, Provider

FOLDER = Path(__file__).parent


def run(journey: str, idp: Provider, client_id: str, **options: Any) -> Any:
    """Let Node walk one journey and return what it reports."""
    everything = {
        "issuer": idp.issuer,
        "clientId": client_id,
        "secret": SECRET,
        "callback": CALLBACK,
        "afterLogout": AFTER_LOGOUT,
        "scope": SCOPE,
        "password": PASSWORD,
        **options,
    }
    node = find_node()
    assert node is not None, "tests/prerequisites.py test installs Node"
    command = [node, "openid_client.mjs", journey, json.dumps(everything)]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_sign_in_refresh_and_logout_under_every_algorithm(alg: str, idp: Provider) -> None:
    email = idp.new_person()
    seen = run("everything", idp, f"web-{alg}", alg=alg, username=email)
    assert seen["userinfo"]["email"] == email
    assert seen["userinfo"]["groups"] == ["bio:admin", "bio:member", "bio:viewer", "chem:viewer"]
    assert seen["refreshed"]["sub"] == seen["claims"]["sub"]
    assert seen["refreshed"]["auth_time"] == seen["claims"]["auth_time"]
    assert (seen["rotated"], seen["scope"], seen["expires_in"]) == (True, SCOPE, 600)
    assert seen["landed"] == f"{AFTER_LOGOUT}?state=a+state"


@pytest.mark.parametrize(("client_id", "method"), [("post", "client_secret_post"), ("public", "none")])
def test_sign_in_with_other_client_authentication(client_id: str, method: str, idp: Provider) -> None:
    seen = run("everything", idp, client_id, method=method, username=idp.new_person())
    assert seen["rotated"]


def test_revocation_is_seen_by_introspection_userinfo_and_refresh(idp: Provider) -> None:
    seen = run("revocation", idp, "web-RS256", username=idp.new_person())
    assert seen["before"]["active"] is True
    assert seen["after"] == {"active": False}
    assert seen["userinfo"] == {"error": "invalid_token", "status": 401}
    assert seen["refresh"] == {"error": "invalid_grant", "status": 400}


def test_a_code_works_once_rfc6749_s4_1_2(idp: Provider) -> None:
    seen = run("replay", idp, "web-RS256", username=idp.new_person())
    assert seen == {"error": "invalid_grant", "status": 400}


def test_prompt_none_answers_who_is_signed_in_and_refuses_strangers(idp: Provider) -> None:
    seen = run("silently", idp, "web-RS256", username=idp.new_person())
    assert seen["signedIn"]["aud"] == "web-RS256"
    assert seen["stranger"]["error"] == "login_required"


def test_a_service_gets_and_revokes_its_own_token_rfc6749_s4_4(idp: Provider) -> None:
    seen = run("service", idp, "service", scope="measurements:read")
    assert seen["tokens"]["scope"] == "measurements:read"
    assert "refresh_token" not in seen["tokens"]
    assert (seen["introspection"]["active"], seen["introspection"]["sub"]) == (True, "service")
    assert seen["revoked"] == {"active": False}
    assert seen["refused"] == {"error": "invalid_scope", "status": 400}
