import json
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Idp

REDIRECT = ("--redirect-uri", "https://portal.example.org/callback")


def test_a_client_is_created_and_its_secret_is_shown_once(idp: Idp, installation: Path):
    made = json.loads(idp("client", "create", "--client-id", "portal", *REDIRECT, "--json").stdout)
    assert made["client_id"] == "portal"
    assert len(made["client_secret"]) >= 43
    assert made["client_secret"] not in idp("client", "show", "portal").stdout + idp("export").stdout
    assert "client_secret, shown this once: " in idp("client", "create", *REDIRECT).stdout


def test_every_option_reaches_the_client(idp: Idp, installation: Path):
    idp(
        *("client", "create", "--client-id", "portal", "--name", "Portal", *REDIRECT),
        *("--post-logout-redirect-uri", "https://portal.example.org/", "--grant-type", "authorization_code"),
        *("--grant-type", "refresh_token", "--auth-method", "client_secret_post", "--application-type", "native"),
        *("--scope", "openid labs", "--allowed-lab", "bio", "--allowed-lab", "chem", "--trusted"),
    )
    assert yaml.safe_load(idp("client", "show", "portal").stdout) == {
        "client_id": "portal",
        "client_name": "Portal",
        "application_type": "native",
        "redirect_uris": ["https://portal.example.org/callback"],
        "post_logout_redirect_uris": ["https://portal.example.org/"],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "client_secret_post",
        "scope": "openid labs",
        "trusted": True,
        "allowed_labs": ["bio", "chem"],
    }


def test_a_star_allows_all_labs(idp: Idp, installation: Path):
    idp("client", "create", "--client-id", "portal", *REDIRECT, "--allowed-lab", "*")
    assert json.loads(idp("client", "show", "portal", "--json").stdout)["allowed_labs"] == "*"


def test_a_public_client_has_no_secret_to_rotate(idp: Idp, installation: Path):
    made = json.loads(
        idp("client", "create", "--client-id", "spa", *REDIRECT, "--auth-method", "none", "--json").stdout
    )
    assert made == {"client_id": "spa"}
    told = idp("client", "rotate-secret", "spa", code=1).stderr
    assert told == "error: spa has no secret: its token_endpoint_auth_method is none\n"


def test_a_client_that_signs_with_its_own_key_has_no_secret_to_show_or_rotate(idp: Idp, installation: Path):
    keys = ("--auth-method", "private_key_jwt", "--jwks-uri", "https://portal.example.org/keys")
    made = json.loads(idp("client", "create", "--client-id", "portal", *REDIRECT, *keys, "--json").stdout)
    assert made == {"client_id": "portal"}
    assert "private_key_jwt" in idp("client", "rotate-secret", "portal", code=1).stderr


def test_keys_that_are_needed_and_missing_are_told(idp: Idp, installation: Path):
    result = idp("client", "create", *REDIRECT, "--auth-method", "private_key_jwt", code=1)
    assert result.stderr == "error: token_endpoint_auth_method: it needs jwks or jwks_uri\n"


def test_a_client_may_be_registered_for_other_response_types(idp: Idp, installation: Path):
    kinds = ("--response-type", "id_token code", "--grant-type", "authorization_code", "--grant-type", "implicit")
    idp("client", "create", "--client-id", "portal", *REDIRECT, *kinds)
    assert yaml.safe_load(idp("client", "show", "portal").stdout)["response_types"] == ["code id_token"]


def test_a_rotated_secret_is_new_and_the_old_one_gets_an_end(idp: Idp, installation: Path):
    first = json.loads(idp("client", "create", "--client-id", "portal", *REDIRECT, "--json").stdout)
    second = json.loads(idp("client", "rotate-secret", "portal", "--overlap-hours", "1", "--json").stdout)
    assert second["client_secret"] != first["client_secret"]
    secrets = json.loads(idp("client", "show", "portal", "--json").stdout)["secrets"]
    assert [secret["expires_at"] is None for secret in secrets] == [True, False]


@pytest.mark.parametrize("hours", ["-1", "8760.1", "1e8", "inf", "nan"])
def test_secrets_overlap_for_a_year_at_most(idp: Idp, installation: Path, hours: str):
    idp("client", "create", "--client-id", "portal", *REDIRECT)
    assert "'--overlap-hours'" in idp("client", "rotate-secret", "portal", "--overlap-hours", hours, code=2).stderr
    idp("client", "rotate-secret", "portal", "--overlap-hours", "8760")


def test_a_wrong_redirect_uri_is_told_with_its_reason(idp: Idp, installation: Path):
    result = idp("client", "create", "--redirect-uri", "https://a.example/#x", code=1)
    assert result.stderr == "error: redirect_uris[0]: it has a fragment\n"


@pytest.mark.parametrize("command", ["show", "rotate-secret"])
def test_an_unknown_client_is_told(idp: Idp, installation: Path, command: str):
    assert idp("client", command, "nobody", code=1).stderr == "error: there is no client nobody\n"


def test_what_a_client_would_be_told_is_shown_with_the_reasons(idp: Idp, installation: Path):
    idp("lab", "create", "bio", "--name", "Biology")
    idp(
        "user",
        "create",
        "--email",
        "alice@example.org",
        "--name",
        "Alice",
        "--password-stdin",
        input="correct-horse-battery\n",
    )
    idp("lab", "add-member", "bio", "alice@example.org")
    idp("client", "create", "--client-id", "portal", *REDIRECT, "--scope", "openid groups", "--allowed-lab", "bio")
    asked = ("client", "preview", "portal", "alice@example.org", "--scope", "openid groups lab:bio:admin")
    shown = json.loads(idp(*asked, "--json").stdout)
    assert shown["scope"] == ["openid", "groups"]
    assert shown["labs"] == {"bio": "role_too_low"}
    lines = idp(*asked).stdout.splitlines()
    assert lines[:2] == ["scope: openid groups", "consent: all ticked"]
    assert "  bio: role too low" in lines
    assert "  email: not requested" in lines
    refused = idp("client", "preview", "portal", "alice@example.org", "--scope", "lab:chem", code=1)
    assert refused.stderr.startswith("error: scope: ")
