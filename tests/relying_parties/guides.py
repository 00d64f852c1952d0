"""Applications that are set up as docs/guides/ says it, so that what people copy is what is run."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.support.paths import ROOT
from tests.support.server import PASSWORD, Provider, listen, until

START_SECONDS = 60


@dataclass(frozen=True)
class Guide:
    """A guide, with the addresses and settings of a test in place of its own."""

    name: str
    replaced: dict[str, str]

    def examples(self, language: str) -> list[str]:
        text = (ROOT / "docs" / "guides" / self.name).read_text(encoding="utf-8")
        for old, new in self.replaced.items():
            assert old in text, f"{self.name} says nothing of {old}"
            text = text.replace(old, new)
        return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)

    def register(self, idp: Provider, folder: Path, roles: dict[str, str | None]) -> None:
        """Apply the guide's file, with people who have these roles in Biology."""
        (client,) = self.examples("yaml")
        people = {
            "users": [{"username": name, "email": f"{name}@example.org", "password": PASSWORD} for name in roles],
            "memberships": [{"lab": "bio", "user": name, "role": role} for name, role in roles.items() if role],
        }
        (folder / "client.yaml").write_text(client)
        (folder / "people.yaml").write_text(json.dumps(people))
        idp.idp("apply", str(folder / "client.yaml"), str(folder / "people.yaml"))


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        return [stack.enter_context(listen()).getsockname()[1] for _ in range(number)]


@contextmanager
def running(*commands: list[str], folder: Path, env: dict[str, str]) -> Iterator[None]:
    """Run programs in a folder until the end of the block; they write to `output.log`."""
    # Not measured: it is not our code, and would only be slower.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    inherited |= {"NO_PROXY": "*", "no_proxy": "*"}
    with ExitStack() as stack:
        output = stack.enter_context((folder / "output.log").open("w"))
        for command in commands:
            process = subprocess.Popen(
                command, cwd=folder, env=inherited | env, stdout=output, stderr=subprocess.STDOUT
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


def wait_for(url: str, folder: Path) -> None:
    until(lambda: _answers(url), seconds=START_SECONDS, what=f"{url} answers; see {folder / 'output.log'}")


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx2.TransportError:
        return False
