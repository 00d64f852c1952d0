import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result

from idp import __version__
from tests.cli.conftest import Idp
from tests.support.paths import ROOT

COMMANDS = [
    ["serve"],
    ["init"],
    ["apply"],
    ["export"],
    ["explain"],
    ["db", "upgrade"],
    ["db", "status"],
    ["keys", "list"],
    ["keys", "rotate"],
    ["keys", "revoke"],
    ["keys", "rewrap"],
    ["user", "create"],
    ["user", "set-password"],
    ["user", "disable"],
    ["user", "enable"],
    ["user", "grant-role"],
    ["user", "revoke-role"],
    ["client", "create"],
    ["client", "rotate-secret"],
    ["client", "show"],
    *(["lab", name] for name in ("list", "show", "create", "update", "archive", "restore", "delete", "members")),
    *(["lab", name] for name in ("add-member", "remove-member", "import", "export", "requests", "invite")),
    *(["lab", name] for name in ("invitations", "revoke-invitation", "grant-service", "revoke-service")),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(idp: Idp, command: list[str]):
    assert "Usage: " in idp(*command, "--help").stdout


def test_the_version_is_told(idp: Idp):
    assert idp("--version").stdout == f"Lab ID {__version__}\n"


def test_wrong_usage_is_exit_code_2(idp: Idp):
    result: Result = idp("serve", "--prot", "8000", code=2)
    assert "No such option" in result.stderr


@pytest.mark.parametrize(
    "arguments", [("user", "grant-role", "alice", "boss"), ("lab", "add-member", "bio", "alice", "--role", "boss")]
)
def test_a_word_that_is_no_choice_is_told_with_those_that_are(idp: Idp, arguments: tuple[str, ...]):
    told = idp(*arguments, code=2).stderr
    assert ": 'boss' is not one of " in told
    assert "Value error" not in told


def test_help_loads_neither_the_server_nor_the_store():
    code = (
        "import sys; from idp.cli.main import app; "
        "sys.exit([m for m in sys.modules if m.partition('.')[0] in "
        "{'sqlalchemy', 'uvicorn', 'starlette', 'pydantic', 'structlog', 'yaml', 'argon2', 'joserfc'}] != [])"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_server_loads_nothing_that_only_some_requests_or_databases_need():
    code = (
        "import sys; from idp.app import create_app; from idp.setting_sources import load_settings; "
        "create_app(load_settings({})); "
        "unneeded = {'aiosmtplib', 'alembic', 'asyncpg', 'httpcore2', 'httpx2', 'limits', 'PIL', "
        "'sqlalchemy.dialects.postgresql'}; "
        "sys.exit(sorted(unneeded & set(sys.modules)) or None)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_python_m_idp_is_the_command(tmp_path: Path):
    command = [sys.executable, "-m", "idp", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"Lab ID {__version__}\n"


# ── What cannot be opened is exit code 3, one line and no traceback ─────────────────────────────────────────────────
def test_an_unknown_setting_is_refused(idp: Idp, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IDP_DATABASE_URI", "x")
    result = idp("export", code=3)
    assert result.stderr == "error: IDP_DATABASE_URI is not a setting; did you mean IDP_DATABASE_URL?\n"


def test_an_empty_database_names_the_command_that_mends_it(idp: Idp):
    assert idp("keys", "list", code=3).stderr == "error: the database is empty: run `idp init`\n"


def test_a_database_that_cannot_be_reached_is_told_without_its_password(idp: Idp, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IDP_DATABASE_URL", "postgresql://idp:geheim@127.0.0.1:1/idp")
    (line,) = idp("export", code=3).stderr.splitlines()
    assert line.startswith("error: the database cannot be used: ")
    assert "geheim" not in line


def test_a_file_that_is_no_database_is_told(idp: Idp, installation: Path):
    for path in (installation / "var").iterdir():
        path.unlink()
    (installation / "var" / "idp.db").write_bytes(b"this is no database at all" * 100)
    (line,) = idp("export", code=3).stderr.splitlines()
    assert "file is not a database" in line


def test_a_folder_that_cannot_be_made_is_told(idp: Idp, folder: Path):
    (folder / "var").write_text("in the way")
    (line,) = idp("init", code=3).stderr.splitlines()
    assert line.startswith(f"error: {folder}/var: ")
