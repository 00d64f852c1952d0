"""What travels to others, the wheel and the sdist, and whether it works where it arrives."""

import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from idp import __version__

ROOT = Path(__file__).parents[1]
# Files of other tests, which come and go meanwhile, and what is only large.
PASSING = (".coverage*", ".hypothesis", ".*_cache", "__pycache__", "var")
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "node_modules", "dist", "build", *PASSING)
# What may lie in a developer's checkout and must never travel.
PRIVATE = ("keys/key-encryption.key", "keys/old/previous.key", "var/idp.db", "var/demo/idp.db", ".env", "idp.toml")
MARK = "this-must-not-travel"


@dataclass(frozen=True)
class Built:
    wheel: Path
    sdist: Path

    def wheel_names(self) -> set[str]:
        return set(zipfile.ZipFile(self.wheel).namelist())

    def sdist_names(self) -> set[str]:
        with tarfile.open(self.sdist) as archive:
            return {name.partition("/")[2] for name in archive.getnames()}


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command as a stranger would: without the settings of whoever runs the tests."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("IDP_", "PYTHON"))}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(source: Path, out: Path, *kinds: str) -> None:
    run(sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", out, source, cwd=out.parent)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both distributions, each built straight from a checkout in which secrets lie about."""
    folder = tmp_path_factory.mktemp("packaging")
    tree = folder / "checkout"
    shutil.copytree(ROOT, tree, ignore=NOT_COPIED)
    for name in PRIVATE:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(MARK)
    build(tree, folder / "dist", "--wheel", "--sdist")
    return Built(next((folder / "dist").glob("*.whl")), next((folder / "dist").glob("*.tar.gz")))


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `idp` command of a fresh environment that holds the wheel and borrows its dependencies from ours."""
    env = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", env, cwd=env)
    python = env / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", built.wheel, cwd=env)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=env).strip())
    # A plain line in a .pth file extends the path only: an editable install of this checkout stays out.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return env / "bin" / "idp"


def test_neither_distribution_holds_a_key_or_data_of_the_machine_it_was_built_on(built: Built) -> None:
    names = built.wheel_names() | built.sdist_names()
    assert not [name for name in names if name in PRIVATE or name.startswith(("keys/", "var/"))]
    with zipfile.ZipFile(built.wheel) as wheel:
        assert not [name for name in wheel.namelist() if wheel.read(name) == MARK.encode()]
    with tarfile.open(built.sdist) as sdist:
        members = [member for member in sdist.getmembers() if member.isfile()]
        assert not [member.name for member in members if sdist.extractfile(member).read() == MARK.encode()]


def test_the_wheel_holds_every_template_migration_and_static_file_of_the_checkout(built: Built) -> None:
    moved = {"templates": "idp/templates", "migrations": "idp/migrations", "idp/web/static": "idp/web/static"}
    for folder, target in moved.items():
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert files, folder
        expected = {f"{target}/{path.relative_to(ROOT / folder).as_posix()}" for path in files}
        assert expected <= built.wheel_names()


def test_the_wheel_holds_nothing_but_the_package_and_its_metadata(built: Built) -> None:
    tops = {name.partition("/")[0] for name in built.wheel_names()}
    assert tops == {"idp", f"lab_id-{__version__}.dist-info"}
    assert not [name for name in built.wheel_names() if name.endswith(".pyc")]


def test_the_sdist_builds_the_same_wheel(built: Built, tmp_path: Path) -> None:
    run("tar", "-xf", built.sdist, cwd=tmp_path)  # the first releases of Python 3.11 extract without a filter only
    build(next(tmp_path.iterdir()), tmp_path / "dist", "--wheel")
    again = Built(next((tmp_path / "dist").glob("*.whl")), built.sdist)
    assert again.wheel_names() == built.wheel_names()


def test_the_installed_command_tells_its_version(installed: Path, tmp_path: Path) -> None:
    assert __version__ in run(installed, "--version", cwd=tmp_path)


def test_init_works_in_an_empty_folder_with_defaults_and_again(installed: Path, tmp_path: Path) -> None:
    run(installed, "init", cwd=tmp_path)
    keys = [path for path in (tmp_path / "keys").rglob("*") if path.is_file()]
    before = {key: key.read_bytes() for key in keys}
    assert keys
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert (tmp_path / "var" / "idp.db").is_file()
    run(installed, "init", cwd=tmp_path)
    assert {key: key.read_bytes() for key in keys} == before
