import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from idp.domain.client import ClientAuthMethod
from idp.opening import Opened, open_store
from idp.protocol.parameters import Parameters
from idp.services.refusals import Refusals, RefusedRequest
from idp.setting_sources import load_settings
from tests.cli.conftest import Idp
from tests.support.factories import make_client

# Signed with nothing; issued and expired in 2001.
JWT = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsxIn0.eyJpc3MiOiJwb3J0YWwiLCJpYXQiOjEwMDAwMDAwMDAsImV4cCI6MTAwMDAwMDA2MH0.c2ln"
PORTAL = make_client(
    token_endpoint_auth_method=ClientAuthMethod.PRIVATE_KEY_JWT, token_endpoint_auth_signing_alg="PS256"
)


def keep(error: str, detail: str = "", **params: str) -> str:
    """Let the server refuse a request, and return the reference."""

    async def run() -> str:
        async with open_store(load_settings()) as opened:
            if await opened.store.find_client("portal") is None:
                await opened.store.commit.append(PORTAL)
            return await _refusals(opened).keep(
                RefusedRequest(
                    error=error,
                    description="A fixed text.",
                    detail=detail,
                    route="/authorize",
                    params=Parameters({"client_id": "portal", **params}, frozenset({"scope"})),
                    authorization=None,
                )
            )

    return asyncio.run(run())


def _refusals(opened: Opened) -> Refusals:
    return Refusals(opened.store, opened.clients, opened.keys, opened.clock, per_address=10)


def test_a_refusal_is_explained_with_what_differs_pointed_at(idp: Idp, installation: Path):
    reference = keep("invalid_redirect_uri", "the rule", redirect_uri="https://portal.example.org/callbacks", state="x")
    told = idp("explain", reference).stdout
    lines = told.splitlines()
    assert lines[0] == f"reference: {reference}"
    assert lines[1].startswith("time: 20")
    for line in (
        *("error: invalid_redirect_uri", "description: A fixed text.", "cause: the rule", "client: portal"),
        *("route: /authorize", "sent more than once: scope", "redirect_uri beside redirect_uris"),
        *("  redirect_uri: https://portal.example.org/callbacks", "  state: present, 1 characters"),
    ):
        assert line in lines
    at = lines.index("    https://portal.example.org/callbacks")
    assert lines[at + 1] == " " * len("    https://portal.example.org/callback") + "^"
    assert lines[at + 2 : at + 4] == ["  Closest registered", "    https://portal.example.org/callback"]
    assert "request id" not in told


def test_an_assertion_is_explained_with_the_clocks(idp: Idp, installation: Path):
    reference = keep("invalid_client", client_assertion=JWT)
    told = idp("explain", reference.replace("-", "").lower()).stdout
    assert "client_assertion says of itself\n  alg: ES256\n  kid: k1\n  iss: portal\n" in told
    assert "  iat: 2001-09-09 01:46:40 UTC\n" in told
    assert "  ! It expired " in told
    assert "client_assertion: alg beside token_endpoint_auth_signing_alg\n" in told
    assert JWT not in told


def test_json_holds_all_of_it(idp: Idp, installation: Path):
    reference = keep("invalid_client", "the rule", client_assertion=JWT)
    told: dict[str, Any] = json.loads(idp("explain", reference, "--json").stdout)
    assert {name: told[name] for name in ("reference", "error", "description", "cause", "client_id", "route")} == {
        "reference": reference,
        "error": "invalid_client",
        "description": "A fixed text.",
        "cause": "the rule",
        "client_id": "portal",
        "route": "/authorize",
    }
    assert told["jwts"]["client_assertion"]["exp"] == 1_000_000_060
    assert told["clocks"]["client_assertion"][0].startswith("It expired ")
    assert told["compared"][0]["registered"] == ["PS256"]
    assert told["sent"]["client_assertion"] == f"present, {len(JWT)} characters"


def test_which_lab_cause_it_was_is_told(idp: Idp, installation: Path):
    assert "cause: not a member\n" in idp("explain", keep("access_denied", "not a member", scope="lab:bio")).stdout


@pytest.mark.parametrize("reference", ["K7Q2-M9XD", "nonsense", "K7Q2"])
def test_a_reference_that_is_not_known_is_told(idp: Idp, installation: Path, reference: str):
    told = idp("explain", reference, code=1).stderr
    assert told.startswith("error: no refusal is kept under this reference; ")
    assert told.count("\n") == 1
