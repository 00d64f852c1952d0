"""A folder of its own for every command, and logging as it was before."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from idp.cli.main import app

Idp = Callable[..., Result]
# Cheap hashes: what is tested here is the command line.
CHEAP = {"IDP_ARGON2_MEMORY_KIB": "32", "IDP_ARGON2_TIME_COST": "1"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder; nothing of the environment of whoever runs the tests counts."""
    for name in [name for name in os.environ if name.startswith("IDP_")]:
        monkeypatch.delenv(name)
    for name, value in CHEAP.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    names = ("", "idp", "uvicorn", "uvicorn.error", "uvicorn.access", "alembic", "sqlalchemy")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers]
    yield
    for logger, (level, handlers, propagate) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.propagate = propagate


@pytest.fixture
def idp() -> Idp:
    """Run a command; its result holds `exit_code`, `stdout` and `stderr`."""

    def run(*arguments: str, input: str | None = None, code: int = 0) -> Result:
        result = CliRunner().invoke(app, list(arguments), input=input, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture(scope="session")
def _initialised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `idp init` makes; signing keys take their time, so it runs once."""
    made = tmp_path_factory.mktemp("initialised")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        assert CliRunner().invoke(app, ["init"], catch_exceptions=False).exit_code == 0
    return made


@pytest.fixture
def installation(_initialised: Path, folder: Path) -> Path:
    """The working folder with a key and a database."""
    shutil.copytree(_initialised, folder, dirs_exist_ok=True)
    return folder
