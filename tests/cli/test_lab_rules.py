"""`idp lab rules` and its siblings: rules that make members by what other providers tell."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from idp.domain.upstream import LinkedAccount
from idp.opening import open_store
from idp.services.lab_rules import follow_rules
from idp.setting_sources import load_settings
from tests.cli.conftest import Idp

RULE = ("--provider", "google", "--claim", "hd", "--value", "Example.org")


@pytest.fixture
def lab(idp: Idp, installation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Biology, in an installation that people sign in to with Google, as Eve did."""
    monkeypatch.setenv("IDP_GOOGLE_CLIENT_ID", "us")
    monkeypatch.setenv("IDP_GOOGLE_CLIENT_SECRET", "a-secret-of-google")
    idp("lab", "create", "bio", "--name", "Biology")
    made = idp("user", "create", "--email", "eve@example.org", "--password-stdin", input="a-long-enough-password\n")
    assert made.exit_code == 0
    _sign_in()


def _sign_in() -> None:
    """Let the rules be followed for Eve, as her sign-in does."""

    async def run() -> None:
        async with open_store(load_settings()) as opened:
            issuers = await opened.providers.issuers()
            async with opened.store.write() as tx:
                (user,) = await tx.users.all()
                account = LinkedAccount(
                    id="la_1",
                    issuer="https://accounts.google.com",
                    sub="1",
                    user_id=user.id,
                    provider="google",
                    claims={"hd": "example.org"},
                    created_at=opened.clock(),
                )
                if await tx.linked_accounts.find(account.id) is None:
                    await tx.linked_accounts.add(account)
                await follow_rules(tx, user.id, account, issuers, now=opened.clock())

    asyncio.run(run())


def _rules(idp: Idp) -> list[dict[str, Any]]:
    return list(json.loads(idp("lab", "rules", "bio", "--json").stdout))


def test_a_rule_is_looked_at_added_listed_and_removed_with_what_it_gave(idp: Idp, lab: None):
    told = idp("lab", "preview-rule", "bio", *RULE).stdout
    assert told.splitlines()[:2] == ["1 come in when they sign in next", "  eve@example.org"]
    assert _rules(idp) == []
    made = json.loads(idp("lab", "add-rule", "bio", *RULE, "--role", "viewer", "--json").stdout)
    assert {name: made[name] for name in ("lab", "provider", "claim", "value", "role", "created_by")} == {
        "lab": "bio",
        "provider": "google",
        "claim": "hd",
        "value": "example.org",
        "role": "viewer",
        "created_by": "cli",
    }
    assert idp("lab", "rules", "bio").stdout == f"{made['id']}  viewer by google: hd = example.org (0 members)\n"
    _sign_in()
    assert [rule["members"] for rule in _rules(idp)] == [1]
    assert idp("lab", "members", "bio").stdout.split() == ["viewer", "eve@example.org"]
    kept = idp("lab", "remove-rule", "bio", made["id"], input="n\n", code=1)
    assert "viewer by google: hd = example.org: 1 member by it, who leave the lab with it" in kept.stderr
    assert len(_rules(idp)) == 1
    removed = idp("lab", "remove-rule", "bio", made["id"], "--yes").stdout
    assert removed == f"removed: {made['id']} (1 membership ended)\n"
    assert idp("lab", "members", "bio").stdout == ""
    added = idp("lab", "add-rule", "bio", *RULE).stdout
    assert added.startswith("added: lr_")
    assert added.endswith("  member by google: hd = example.org; it counts when people sign in next\n")


def test_the_preview_names_twenty_and_counts_all(idp: Idp, lab: None):
    preview = json.loads(idp("lab", "preview-rule", "bio", *RULE, "--json").stdout)
    assert [person["label"] for person in preview["comes"]] == ["eve@example.org"]
    assert (preview["belongs"], preview["stays_out"]) == ([], [])

    async def many() -> None:
        async with open_store(load_settings()) as opened, opened.store.write() as tx:
            (user,) = await tx.users.all()
            for number in range(24):
                person = {"id": f"u_{number}", "email": f"u{number}@example.org"}
                await tx.users.add(type(user)(**person, created_at=user.created_at, updated_at=user.created_at))
                await tx.linked_accounts.add(
                    LinkedAccount(
                        id=f"la_u{number}",
                        issuer="https://accounts.google.com",
                        sub=f"u{number}",
                        user_id=person["id"],
                        provider="google",
                        claims={"hd": "example.org"},
                        created_at=user.created_at,
                    )
                )

    asyncio.run(many())
    lines = idp("lab", "preview-rule", "bio", *RULE).stdout.splitlines()
    assert (lines[0], lines[21]) == ("25 come in when they sign in next", "  and 5 more: see --json")


def test_what_cannot_be_a_rule_is_told(idp: Idp, lab: None):
    for arguments, told in (
        (("add-rule", "bio", *RULE, "--role", "admin"), "error: role: it must be member or viewer"),
        (
            ("add-rule", "bio", "--provider", "other", *RULE[2:]),
            "error: provider: there is no such provider",
        ),
        (("preview-rule", "none", *RULE), "error: there is no lab none"),
        (("rules", "none"), "error: there is no lab none"),
        (("remove-rule", "bio", "lr_none"), "error: bio has no rule lr_none"),
        (("remove-rule", "bio", "lr_none", "--yes"), "error: bio has no rule lr_none"),
    ):
        assert idp("lab", *arguments, code=1).stderr.startswith(told)
