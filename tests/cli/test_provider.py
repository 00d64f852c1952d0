"""`idp provider` over a store and a provider on loopback, on the machine's time."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from idp.domain.upstream import LinkedAccount
from idp.opening import open_store
from idp.setting_sources import load_settings
from tests.cli.conftest import Idp
from tests.support.evil_provider import EvilProvider, evil_provider
from tests.support.factories import make_linked_account, make_user


@pytest.fixture(scope="module")
def _servers() -> Iterator[tuple[EvilProvider, EvilProvider]]:
    with evil_provider() as google, evil_provider() as campus:
        yield google, campus


@pytest.fixture
def upstream(_servers: tuple[EvilProvider, EvilProvider], monkeypatch: pytest.MonkeyPatch) -> EvilProvider:
    """The campus's provider, beside one that is Google by the settings."""
    google, campus = _servers
    for server in _servers:
        server.reset()
    monkeypatch.setenv("IDP_GOOGLE_CLIENT_ID", google.client_id)
    monkeypatch.setenv("IDP_GOOGLE_CLIENT_SECRET", google.client_secret)
    monkeypatch.setenv("IDP_GOOGLE_ISSUER", google.issuer)
    monkeypatch.setenv("IDP_OUTBOUND_ALLOW", ",".join(urlsplit(server.issuer).netloc for server in _servers))
    return campus


@pytest.fixture
def campus(idp: Idp, installation: Path, upstream: EvilProvider) -> str:
    """Apply a provider, and return its name."""
    text = f"""\
providers:
  - name: campus
    display_name: Campus login
    issuer: {upstream.issuer}
    client_id: {upstream.client_id}
    client_secret: {upstream.client_secret}
"""
    Path("campus.yaml").write_text(text)
    assert idp("apply", "campus.yaml").stdout == "+ provider campus\n= 0 unchanged\n"
    return "campus"


def test_the_providers_are_listed_with_where_they_come_from(idp: Idp, campus: str, upstream: EvilProvider):
    lines = [line.split() for line in idp("provider", "list").stdout.splitlines()]
    assert lines == [
        ["google", "google", "active", "settings", "Google,", os.environ["IDP_GOOGLE_ISSUER"]],
        ["campus", "oidc", "active", "apply", "Campus", "login,", upstream.issuer],
    ]
    google, listed = json.loads(idp("provider", "list", "--json").stdout)
    assert (google["managed_by"], google["redirect_uri"]) == (
        "settings",
        "http://localhost:8000/login/google/callback",
    )
    assert (listed["name"], listed["status"], listed["has_client_secret"]) == ("campus", "active", True)


def test_where_there_are_none_nothing_is_listed(idp: Idp, installation: Path):
    assert idp("provider", "list").stdout == ""


def test_a_provider_is_shown_as_an_apply_file_writes_it_without_its_secret(
    idp: Idp, campus: str, upstream: EvilProvider
):
    told = idp("provider", "show", campus).stdout
    assert "# callback address: http://localhost:8000/login/campus/callback\n" in told
    assert yaml.safe_load(told) == {
        "name": "campus",
        "kind": "oidc",
        "display_name": "Campus login",
        "issuer": upstream.issuer,
        "client_id": upstream.client_id,
    }
    assert "kind: google" in idp("provider", "show", "google").stdout
    everything = idp("provider", "show", campus, "--json").stdout + told + idp("export").stdout
    assert upstream.client_secret not in everything
    assert idp("provider", "show", "nobody", code=1).stderr == "error: there is no provider nobody\n"


@pytest.mark.parametrize("name", ["campus", "google"])
def test_a_provider_that_is_set_up_well_passes_the_test(idp: Idp, campus: str, name: str):
    lines = idp("provider", "test", name).stdout.splitlines()
    assert {line.split()[0] for line in lines} == {"ok", "→"}
    assert any(f"http://localhost:8000/login/{name}/callback" in line for line in lines)


def test_what_fails_is_told_with_advice_and_the_exit_code_is_1(
    idp: Idp, campus: str, upstream: EvilProvider, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("IDP_GOOGLE_CLIENT_SECRET", "another")
    told = idp("provider", "test", "google", code=1).stdout
    (at,) = [number for number, line in enumerate(told.splitlines()) if line.startswith("failed  client: ")]
    assert told.splitlines()[at + 1].startswith("        → ")
    findings = json.loads(idp("provider", "test", "google", "--json", code=1).stdout)
    assert [finding["step"] for finding in findings if not finding["ok"]] == ["client"]
    assert all(finding.keys() == {"step", "ok", "text", "advice"} for finding in findings)
    assert idp("provider", "test", "nobody", code=1).stderr == "error: there is no provider nobody\n"


def test_a_provider_is_switched_off_and_on(idp: Idp, campus: str):
    assert idp("provider", "disable", campus).stdout == "campus is disabled\n"
    assert yaml.safe_load(idp("provider", "show", campus).stdout)["status"] == "disabled"
    told = json.loads(idp("provider", "disable", campus, "--json").stdout)
    assert told["dependents"] == dict.fromkeys(("linked_accounts", "no_other_way_in", "lab_rules", "memberships"), 0)
    enabled = json.loads(idp("provider", "enable", campus, "--json").stdout)
    assert (enabled["status"], "dependents" in enabled) == ("active", False)
    assert idp("provider", "disable", "nobody", code=1).stderr == "error: there is no provider nobody\n"


def add_linked_accounts(*accounts: LinkedAccount) -> None:
    """Let a user without a password have accounts at providers."""

    async def run() -> None:
        async with open_store(load_settings()) as opened, opened.store.write() as tx:
            if not await tx.users.all():
                await tx.users.add(make_user())
            for account in accounts:
                await tx.linked_accounts.add(account)

    asyncio.run(run())


def test_who_is_locked_out_when_it_is_switched_off_is_told(
    idp: Idp, campus: str, upstream: EvilProvider, monkeypatch: pytest.MonkeyPatch
):
    add_linked_accounts(make_linked_account(issuer=upstream.issuer))
    kept = "  linked accounts, kept for when it is back: 1"
    locked_out = "  people who have no other way in, neither a password nor an account at another active provider: 1"
    assert idp("provider", "disable", campus).stdout.splitlines() == ["campus is disabled", kept, locked_out]
    # Google is another way in, as long as the settings have it.
    add_linked_accounts(make_linked_account(id="la_google", issuer=os.environ["IDP_GOOGLE_ISSUER"], provider="google"))
    assert idp("provider", "disable", campus).stdout.splitlines() == ["campus is disabled", kept]
    monkeypatch.delenv("IDP_GOOGLE_CLIENT_ID")
    monkeypatch.delenv("IDP_GOOGLE_CLIENT_SECRET")
    assert idp("provider", "disable", campus).stdout.splitlines() == ["campus is disabled", kept, locked_out]
    assert idp("provider", "enable", campus).stdout == "campus is active\n"


def test_google_is_switched_off_by_its_settings_only(idp: Idp, campus: str):
    for command in ("enable", "disable"):
        assert "IDP_GOOGLE_CLIENT_ID" in idp("provider", command, "google", code=1).stderr


def test_an_apply_file_cannot_define_google(idp: Idp, installation: Path):
    Path("google.yaml").write_text("providers: [{name: google, kind: google, client_id: x, client_secret: y}]\n")
    told = idp("apply", "google.yaml", code=1).stderr
    assert "providers[0].name: it comes from IDP_GOOGLE_CLIENT_ID: leave it out here" in told


def test_a_rule_about_google_is_a_warning_where_the_settings_have_none(
    idp: Idp, installation: Path, monkeypatch: pytest.MonkeyPatch
):
    rule = "{provider: google, claim: hd, value: example.org}"
    Path("labs.yaml").write_text(f"labs: [{{slug: bio, name: Biology, rules: [{rule}]}}]\n")
    assert "there is no provider google" in idp("apply", "--dry-run", "labs.yaml").stderr
    monkeypatch.setenv("IDP_GOOGLE_CLIENT_ID", "x")
    monkeypatch.setenv("IDP_GOOGLE_CLIENT_SECRET", "y")
    assert idp("apply", "--dry-run", "labs.yaml").stderr == ""
