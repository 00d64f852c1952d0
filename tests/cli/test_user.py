import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import yaml

from tests.cli.conftest import Idp
from tests.support.paths import ROOT

PASSWORD = "correct-horse-battery"


def exported(idp: Idp) -> list[dict[str, object]]:
    users: list[dict[str, object]] = yaml.safe_load(idp("export").stdout)["users"]
    return users


def test_an_account_is_created_with_a_password_from_stdin_that_is_not_shown(idp: Idp, installation: Path):
    result = idp(
        *("user", "create", "--email", "Alice@example.org", "--username", "alice", "--name", "Alice"),
        *("--email-verified", "--role", "super_admin", "--role", "admin", "--password-stdin"),
        input=f"{PASSWORD}\n",
    )
    assert PASSWORD not in result.output
    assert exported(idp) == [
        {
            "email": "alice@example.org",
            "username": "alice",
            "email_verified": True,
            "name": "Alice",
            "roles": ["super_admin", "admin"],
        }
    ]


def test_without_a_terminal_a_password_is_made_up_and_shown_once(idp: Idp, installation: Path):
    shown = json.loads(idp("user", "create", "--username", "bob", "--json").stdout)
    assert len(shown["password"]) >= 20
    again = json.loads(idp("user", "set-password", "bob", "--json").stdout)
    assert again["password"] not in {"", shown["password"]}
    assert again["id"] == shown["id"]
    assert "password, shown this once: " in idp("user", "set-password", "bob").stdout


def test_on_a_terminal_the_password_is_asked_for_twice_and_hidden(installation: Path):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "idp", "user", "create", "--username", "carol"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=installation, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    shown = b""
    for _ in range(2):
        while not shown.endswith(b": "):
            shown += os.read(ours, 1024)
        os.write(ours, PASSWORD.encode() + b"\n")
        shown += b"\n"
    while b"created: carol" not in shown:
        shown += os.read(ours, 1024)
    assert process.wait(timeout=30) == 0
    os.close(ours)
    assert PASSWORD.encode() not in shown


def test_every_fault_is_a_line(idp: Idp, installation: Path):
    result = idp("user", "create", "--email", "nobody", "--username", "a b", code=1)
    assert result.stderr.splitlines() == [
        "error: email: it is not an e-mail address",
        "error: username: it must be a name without @, spaces and control characters",
    ]


def test_a_short_password_is_refused_and_not_repeated(idp: Idp, installation: Path):
    result = idp("user", "create", "--username", "bob", "--password-stdin", input="s3cr3t\n", code=1)
    assert result.stderr == "error: password: it must have at least 8 characters\n"
    assert exported(idp) == []


def test_status_and_roles_change(idp: Idp, installation: Path):
    idp("user", "create", "--username", "bob")
    idp("user", "disable", "bob")
    idp("user", "grant-role", "bob", "viewer")
    assert exported(idp) == [{"username": "bob", "roles": ["viewer"], "status": "disabled"}]
    idp("user", "enable", "bob")
    assert "second factors reset: bob" in idp("user", "reset-mfa", "bob").stdout
    idp("user", "revoke-role", "bob", "viewer")
    assert exported(idp) == [{"username": "bob"}]


def test_the_last_super_admin_cannot_be_disabled(idp: Idp, installation: Path):
    idp("user", "create", "--username", "root", "--role", "super_admin")
    assert "is the last active super_admin" in idp("user", "disable", "root", code=1).stderr


def test_an_unknown_account_is_told(idp: Idp, installation: Path):
    assert idp("user", "disable", "nobody", code=1).stderr == "error: there is no account nobody\n"
    assert idp("user", "reset-mfa", "nobody", code=1).stderr == "error: there is no account nobody\n"


def test_a_sign_in_link_is_shown_once_and_kept_as_a_hash(idp: Idp, installation: Path) -> None:
    idp("user", "create", "--username", "dora")
    shown = json.loads(idp("user", "sign-in-link", "dora", "--json").stdout)
    assert shown["url"].startswith("http://localhost:8000/login/link/")
    assert "signs in dora once, within 15 minutes" in idp("user", "sign-in-link", "dora").stdout
    idp("user", "disable", "dora")
    assert "the account is disabled" in idp("user", "sign-in-link", "dora", code=1).stderr
    assert "there is no account" in idp("user", "sign-in-link", "nobody", code=1).stderr
