import asyncio
import json
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from tests.cli.conftest import Idp
from tests.support.paths import ROOT

KEY = Path("keys") / "key-encryption-key"


def execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


def test_init_makes_key_and_database_for_nobody_else_to_read_and_again_changes_nothing(tmp_path: Path):
    for _ in range(2):
        command = [sys.executable, "-m", "idp", "init"]
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        key = (tmp_path / KEY).read_bytes()
        assert f"sqlite:///{tmp_path}/var/idp.db" in done.stdout
        assert key.decode().strip() not in done.stdout
    for path in (tmp_path / KEY, tmp_path / "var" / "idp.db"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (tmp_path / KEY).read_bytes() == key


def test_the_status_of_the_schema_is_told_and_is_the_exit_code(idp: Idp, installation: Path):
    status = json.loads(idp("db", "status", "--json").stdout)
    assert status == {"schema": status["needed"], "needed": status["needed"], "current": True}
    execute(installation / "var" / "idp.db", "UPDATE alembic_version SET version_num = '9999'")
    assert "has schema 9999" in idp("db", "status", code=1).stdout


def test_upgrade_brings_an_empty_database_up_to_date_once(idp: Idp):
    assert idp("db", "upgrade").stdout.startswith("schema empty → ")
    assert idp("db", "upgrade").stdout == "the schema is up to date\n"


@pytest.mark.parametrize("command", [["export"], ["init"], ["db", "upgrade"]], ids=" ".join)
def test_a_newer_database_is_refused_and_left_as_it_is(idp: Idp, installation: Path, command: list[str]):
    path = installation / "var" / "idp.db"
    execute(path, "UPDATE alembic_version SET version_num = '9999'")
    assert "has schema 9999, which this version of Lab ID does not know" in idp(*command, code=3).stderr


def test_a_database_of_somebody_else_is_refused(idp: Idp, folder: Path):
    (folder / "var").mkdir()
    execute(folder / "var" / "idp.db", "CREATE TABLE recipes (name TEXT)")
    assert "holds other tables (recipes" in idp("init", code=3).stderr


# ── The key-encryption key ──────────────────────────────────────────────────────────────────────────────────────────
def test_a_missing_key_is_refused_with_the_fingerprint_that_is_needed(idp: Idp, installation: Path):
    (installation / KEY).unlink()
    (line,) = idp("init", code=3).stderr.splitlines()
    assert "the key-encryption key of this database is missing: put the key with fingerprint" in line
    assert not (installation / KEY).exists()


def test_a_foreign_key_is_refused(idp: Idp, installation: Path):
    (installation / KEY).write_text("QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\n")
    (line,) = idp("keys", "list", code=3).stderr.splitlines()
    assert "this database needs" in line
    assert "QUFB" not in line


def test_a_corrupt_key_is_refused_and_not_shown(idp: Idp, installation: Path):
    (installation / KEY).write_text("geheim")
    (line,) = idp("keys", "list", code=3).stderr.splitlines()
    assert "restore the file from its backup" in line
    assert "geheim" not in line


def test_a_key_that_others_may_read_is_refused(idp: Idp, installation: Path):
    (installation / KEY).chmod(0o644)
    assert "run `chmod 600" in idp("keys", "list", code=3).stderr


# ── PostgreSQL ──────────────────────────────────────────────────────────────────────────────────────────────────────
async def _execute(url: str, statement: str) -> None:
    parsed = make_url(url)
    connection = await asyncpg.connect(user="postgres", host=str(parsed.query["host"]), database=parsed.database)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
def on_postgresql(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    url = request.getfixturevalue("empty_postgresql_url")
    monkeypatch.setenv("IDP_DATABASE_URL", url)
    return url


def test_init_and_other_commands_work_on_postgresql(idp: Idp, on_postgresql: str):
    idp("init")
    idp("lab", "create", "bio", "--name", "Biology")
    assert "slug: bio" in idp("export").stdout
    asyncio.run(_execute(on_postgresql, "UPDATE alembic_version SET version_num = '9999'"))
    assert "does not know" in idp("export", code=3).stderr
