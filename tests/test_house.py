"""The rules of the house that no other tool holds: packages, links, the Makefile, the image and what is tracked."""

import ast
import fnmatch
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = sorted(path for path in (ROOT / "idp").rglob("*.py") if "__pycache__" not in path.parts)
LONGEST_MODULE = 400
FOREIGN_LOCKS = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "yarn.lock", "pnpm-lock.yaml"}
REGISTRIES = re.compile(
    r"""https?://[^/\s"']*(?:npmjs|yarnpkg|unpkg|pypi|pythonhosted|registry|artifactory|nexus|mirror)"""
    r"""|"resolved"\s*:\s*"https?:"""
    r"""|(?:index-url|index_url|find-links|registry)\s*[=:]\s*["']?https?:"""
)


def tracked() -> Iterator[Path]:
    """Every file that git would track, told from .gitignore alone: a fresh machine may lack git."""
    lines = (ROOT / ".gitignore").read_text().splitlines()
    ignored = [".git", *(line.strip("/") for line in lines if line and not line.startswith(("#", "!")))]
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if not any(fnmatch.fnmatch(name, pattern) for pattern in ignored)]
        for name in files:
            of_keys = Path(folder) == ROOT / "keys" and name not in {"README.md", ".gitignore"}
            if not of_keys and not any(fnmatch.fnmatch(name, pattern) for pattern in ignored):
                yield Path(folder, name)


def relative(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


# ── Packages ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_every_package_introduces_itself() -> None:
    folders = sorted({module.parent for module in MODULES})
    silent = [
        folder
        for folder in folders
        if not (folder / "__init__.py").is_file()
        or not ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    ]
    assert not relative(silent)


def test_no_module_pays_for_basehttpmiddleware() -> None:
    def imports(module: Path) -> set[str]:
        nodes = list(ast.walk(ast.parse(module.read_text())))
        plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
        return plain | {f"{node.module}.{alias.name}" for node in froms for alias in node.names}

    costly = "starlette.middleware.base"
    assert not relative([m for m in MODULES if any(f"{name}.".startswith(f"{costly}.") for name in imports(m))])


def test_no_module_is_so_long_that_it_holds_a_second_idea() -> None:
    assert not relative([module for module in MODULES if len(module.read_text().splitlines()) > LONGEST_MODULE])


# ── What is tracked ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_no_tracked_file_names_a_package_registry() -> None:
    found = []
    for path in tracked():
        assert path.name not in FOREIGN_LOCKS, path
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in REGISTRIES.finditer(text)]
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        json.dumps({"resolved": "https" + "://packages.example/a.tgz"}),
        "registry" + "=https://packages.example/",
        "--index-url" + "=https://packages.example/simple",
        "see https:" + "//registry.packages.example/a",
    ],
)
def test_the_search_for_registries_finds_one(line: str) -> None:
    assert REGISTRIES.search(line)


# ── Documents ───────────────────────────────────────────────────────────────────────────────────────────────────────
DOCUMENTS = sorted(path for path in tracked() if path.suffix == ".md")


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, made as the common forges make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", document.read_text(), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative(DOCUMENTS))
def test_every_link_of_a_document_resolves(document: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", document.read_text(), flags=re.S)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative(DOCUMENTS))
def test_every_python_and_yaml_example_of_a_document_parses(document: Path) -> None:
    for language, code in re.findall(r"^```(python|yaml)\n(.*?)^```", document.read_text(), re.M | re.S):
        if language == "python":
            ast.parse(code)
        else:
            yaml.safe_load(code)


# ── The Makefile and what calls it ──────────────────────────────────────────────────────────────────────────────────
def make_targets() -> set[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    done = subprocess.run(["make", "-s"], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return set(re.findall(r"^  make ([a-z-]+) ", done.stdout, re.M))


def test_plain_make_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.M)
    assert phony is not None
    assert make_targets() == set(phony[1].split())


def test_every_make_command_of_the_documents_exists() -> None:
    named = {target for document in DOCUMENTS for target in re.findall(r"`make ([a-z-]+)", document.read_text())}
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    named |= {target for block in blocks for target in re.findall(r"^make ([a-z-]+)", block, re.M)}
    assert {"serve", "test"} <= named <= make_targets()


def test_the_ci_entry_can_be_run_and_runs_the_checks_and_the_suite() -> None:
    entry = ROOT / ".ci" / "run"
    assert os.access(entry, os.X_OK)
    assert "make check test" in entry.read_text().splitlines()


# ── The image ───────────────────────────────────────────────────────────────────────────────────────────────────────
def stages() -> list[list[tuple[str, str]]]:
    """The Dockerfile as stages of (instruction, arguments)."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    logical = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    found: list[list[tuple[str, str]]] = []
    for line in filter(None, logical):
        instruction, _, arguments = line.partition(" ")
        if instruction == "FROM":
            found.append([])
        found[-1].append((instruction, arguments.strip()))
    return found


def final(instruction: str) -> str:
    (arguments,) = [arguments for name, arguments in stages()[-1] if name == instruction]
    return arguments


def test_the_image_is_built_in_one_stage_and_installed_from_a_wheel_in_another() -> None:
    builder, last = stages()
    assert any(name == "RUN" and "pip wheel" in arguments for name, arguments in builder)
    assert "--no-index" in final("RUN")
    assert "lab-id" in final("RUN")
    assert not [name for name, _ in last if name in {"COPY", "ADD"}]
    assert not re.search(r"\b(apt-get|gcc|build-essential|git|curl)\b", final("RUN"))


def test_the_image_runs_as_a_user_without_rights() -> None:
    assert final("USER").isdecimal()
    assert int(final("USER")) > 0


def test_the_image_keeps_keys_and_data_in_volumes_below_its_working_folder() -> None:
    workdir = final("WORKDIR")
    assert json.loads(final("VOLUME")) == [f"{workdir}/keys", f"{workdir}/var"]


def test_the_image_starts_the_packages_own_command_and_watches_its_health() -> None:
    (command,) = json.loads(final("ENTRYPOINT"))
    assert command in PYPROJECT["project"]["scripts"]
    assert json.loads(final("CMD")) == ["serve", "--host", "0.0.0.0"]
    assert f":{final('EXPOSE')}/healthz" in final("HEALTHCHECK")
    assert "urllib.request" in final("HEALTHCHECK")


def test_the_image_says_what_it_is() -> None:
    for label in ("title", "description", "licenses"):
        assert f"org.opencontainers.image.{label}=" in final("LABEL")
    assert f'licenses="{PYPROJECT["project"]["license"]}"' in final("LABEL")


def test_the_image_build_sees_exactly_what_the_wheel_is_made_of() -> None:
    project, wheel = PYPROJECT["project"], PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        "pyproject.toml",
        project["readme"],
        *project["license-files"],
        *wheel["packages"],
        *wheel["force-include"],
    }
    first, *lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert first == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == needed
