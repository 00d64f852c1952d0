"""The documents tell the truth: what they name exists, and no command, field, code or metric is left out.

Links and the syntax of examples are tests/test_house.py's; docs/settings.md is tests/test_settings.py's.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.main import get_command

from idp.cli import main
from idp.cli.run import CANNOT_START, FAILED
from idp.domain.audit import AuditAction
from idp.features import FEATURES
from idp.opening import open_store
from idp.protocol.errors import OAuthError
from idp.services.accounts import AddressInput, UserInput
from idp.services.apply_file import read_apply_files
from idp.services.client_input import ClientInput
from idp.services.lab_grants import ServiceRole
from idp.services.lab_input import LabInput, MembershipInput
from idp.services.lab_rules import LabRuleInput
from idp.services.provider_input import ProviderInput
from idp.services.resources import ResourceInput
from idp.setting_sources import load_settings
from idp.settings import PREFIX, Settings
from idp.web.oauth.wellknown import DISCOVERY_PATHS, JWKS_PATH
from tests.support.app import USUAL, running
from tests.support.clock import FakeClock
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
SPECIFICATIONS = DOCS / "specifications.md"
OPERATIONS = DOCS / "operations.md"
COMMAND_LINE = DOCS / "guides" / "command-line.md"
APPLY_FILE = DOCS / "guides" / "apply-file.md"
CONNECT = DOCS / "guides" / "connect-an-application.md"
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "keys" / "README.md", *sorted(DOCS.rglob("*.md"))]
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
WRONG_USAGE = 2  # of every command line made with Typer


# ── Reading documents ───────────────────────────────────────────────────────────────────────────────────────────────
def prose(document: Path) -> str:
    """The text without its code blocks."""
    return re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(encoding="utf-8"), re.M | re.S)


def code(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def section(document: Path, heading: str) -> str:
    """What stands under a heading, up to the next one of its level."""
    level, _, _ = heading.partition(" ")
    text = prose(document)
    assert text.count(f"\n{heading}\n") == 1, f"{document.name} has no single heading {heading!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", text.split(f"\n{heading}\n")[1], maxsplit=1, flags=re.M)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of each table row, without heads and rulers."""
    lines = [[cell.strip() for cell in line.split("|")] for line in re.findall(r"^\|(.+)\|$", text, re.M)]
    rulers = [number for number, cells in enumerate(lines) if re.fullmatch(r"-+", "".join(cells))]
    assert rulers
    return [cells for number, cells in enumerate(lines) if number not in rulers and number + 1 not in rulers]


@cache
def names_in(module: Path) -> frozenset[str]:
    """Functions and classes of a module, methods as `Class.method`, by their syntax alone."""

    def walk(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, f"{node.name}.")

    return frozenset(walk(ast.parse(module.read_text(encoding="utf-8")).body))


def is_there(place: str) -> bool:
    """Whether `path` or `path::name` exists."""
    path, _, name = place.partition("::")
    return (ROOT / path).exists() and (not name or name in names_in(ROOT / path))


# ── Code and tests ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_module_and_test_that_is_named_exists(document: Path) -> None:
    named = [text for text in code(prose(document)) if re.match(r"(idp|tests|templates|migrations|docs)/", text)]
    assert not [place for place in named if not is_there(place)]


def test_the_search_for_a_name_misses_what_is_not_there() -> None:
    here = "tests/test_docs.py"
    assert is_there(f"{here}::is_there")
    assert not is_there(f"{here}::is_nowhere")
    assert not is_there("tests/test_nothing.py")


def test_every_section_of_a_specification_names_its_place_and_its_test() -> None:
    text = prose(SPECIFICATIONS).split("\n## Endpoints\n")[1].partition("\n## ")[2].split("\n## Not yet\n")[0]
    for _, what, where, tested_by in rows(text):
        assert what
        assert all(place.startswith("idp/") for place in code(where)), where
        assert code(where), what
        assert all(re.match(r"tests/[\w/]+\.py::test_", test) for test in code(tested_by)), tested_by
        assert code(tested_by), what


def test_every_threat_names_the_test_that_holds_its_defence() -> None:
    threats = [
        *rows(section(DOCS / "threat-model.md", "## Threats and what stands against them")),
        *rows(section(DOCS / "threat-model.md", "## Linking accounts: each attack, and the test that stops it")),
        *rows(section(DOCS / "threat-model.md", "## Second factors: each attack, and the test that stops it")),
        *rows(
            section(
                DOCS / "threat-model.md",
                "## Mailed codes and links, sign-up and passwords: each attack, and the test that stops it",
            )
        ),
    ]
    for threat, defence, held_by in threats:
        assert threat
        assert defence
        assert code(held_by), threat


# ── Endpoints and refusals ──────────────────────────────────────────────────────────────────────────────────────────
def test_the_endpoints_are_those_that_are_mounted() -> None:
    mounted = {
        route.path: (route.methods or set()) - {"HEAD", "OPTIONS"} for feature in FEATURES for route in feature.routes
    }
    mounted |= {path: {"GET"} for path in (*DISCOVERY_PATHS, JWKS_PATH)}
    table = rows(section(SPECIFICATIONS, "## Endpoints"))
    assert {path.strip("`"): set(methods.split(", ")) for path, methods, _ in table} == mounted


def test_every_error_code_is_explained_to_whoever_connects_an_application() -> None:
    explained = set(code(section(CONNECT, "## 7. When it does not work")))
    assert {kind.error for kind in OAuthError.__subclasses__()} <= explained


# ── Operations ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_every_audit_action_is_explained_once() -> None:
    table = rows(section(OPERATIONS, "## Audit log"))
    assert sorted(action.strip("`") for action, *_ in table) == sorted(AuditAction)
    assert all(when and actor and target for _, when, actor, target in table)


def test_every_event_of_the_log_is_explained_with_its_level() -> None:
    logged = set()
    for path in (ROOT / "idp").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="_log"), attr=level), args=[ast.Constant(event)]):
                    logged.add((event, "error" if level == "exception" else level))
    assert {(event.strip("`"), level) for event, level, _ in rows(section(OPERATIONS, "## Logs"))} == logged


async def test_what_health_and_metrics_answer_is_explained(tmp_path: Path, clock: FakeClock) -> None:
    files = {"IDP_DATABASE_URL": f"sqlite:///{tmp_path}/idp.db", "IDP_KEYS_DIR": str(tmp_path / "keys")}
    settings = load_settings({**USUAL, **files}, cwd=tmp_path)
    async with open_store(settings, clock=clock, create=True), running(settings, clock) as node:
        ready = (await node.http().get("/readyz")).json()
        metrics = (await node.http().get("/metrics")).text
    # What else is exposed says when a series began.
    exposed = set(re.findall(r"^# TYPE (?!\w+_created )(\w+) (\w+)$", metrics, re.M))
    fields = rows(section(OPERATIONS, "## Health"))
    assert {field.strip("`") for field, *_ in fields if "/" not in field} == ready.keys()
    listed = {(name.strip("`"), kind) for name, kind, *_ in rows(section(OPERATIONS, "## Metrics"))}
    assert listed == exposed


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_setting_that_is_named_exists(document: Path) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {"IDP_CONFIG"}
    # Examples of what Kubernetes injects stand in the document of the settings, which has its own tests.
    if document != DOCS / "settings.md":
        assert set(re.findall(r"\bIDP_[A-Z0-9_]*[A-Z0-9]", document.read_text(encoding="utf-8"))) <= known


# ── The command line ────────────────────────────────────────────────────────────────────────────────────────────────
def commands() -> dict[str, Any]:
    """Every command by its whole name, such as `keys list`."""

    def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name, command
        for word, part in (inner or {}).items():
            yield from walk(part, f"{name} {word}".strip())

    return dict(walk(get_command(main.app), ""))


def options(command: Any) -> set[str]:
    return {
        option for parameter in command.params if parameter.param_type_name == "option" for option in parameter.opts
    }


def test_every_command_and_option_has_its_place_and_no_other_has_one() -> None:
    headings = re.findall(r"^### (`idp (.+)`)$", prose(COMMAND_LINE), re.M)
    listed = {}
    for heading, words in headings:
        name = " ".join(word for word in words.split() if word.islower())
        text = section(COMMAND_LINE, f"### {heading}")
        listed[name] = {text for text in code(text) if text.startswith("--")}
    assert listed == {name: options(command) for name, command in commands().items()}


def test_the_arguments_of_a_command_are_in_its_heading() -> None:
    headings = dict(re.findall(r"^### `idp ([a-z-]+(?: [a-z-]+)?)(.*)`$", prose(COMMAND_LINE), re.M))
    for name, command in commands().items():
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        assert headings[name].split() == [(p.metavar or p.name or "").upper() for p in arguments]


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_command_that_is_quoted_exists_with_its_options(document: Path) -> None:
    known = commands()
    groups = {name.split()[0] for name in known if " " in name}
    quoted = [text for text in code(prose(document)) if re.match(r"idp( |$)", text)]
    shell = "\n".join(blocks(document, "sh"))
    quoted += re.findall(r"(?:^|\s|/bin/)(idp [a-z][^#\n]*)", shell, re.M)
    for text in quoted:
        _, *words = re.sub(r"[|>].*", "", text).split()
        if not words or words == ["COMMAND", "--help"] or words[0].startswith("--"):
            continue
        name = " ".join(words[: 2 if words[0] in groups and len(words) > 1 else 1])
        assert name in known or name in groups, text
        if name in known:
            assert {word for word in words if word.startswith("--")} <= options(known[name]) | {"--help"}, text


def test_the_documented_exit_codes_are_those_of_the_commands() -> None:
    codes = {0, FAILED, WRONG_USAGE, CANNOT_START}
    for document in (OPERATIONS, COMMAND_LINE):
        assert {int(number) for number, _ in rows(section(document, "## Exit codes"))} == codes
    (epilog,) = re.findall(r"Exit codes: (.+)\.", main.app.info.epilog or "")
    assert {int(number) for number in re.findall(r"\d", epilog)} == codes


# ── The apply file ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("Labs", LabInput),
        ("Lab rules", LabRuleInput),
        ("Users", UserInput),
        ("Memberships", MembershipInput),
        ("Clients", ClientInput),
        ("Lab grants", ServiceRole),
        ("Resources", ResourceInput),
        ("Providers", ProviderInput),
    ],
)
def test_every_field_of_the_apply_file_is_explained_and_no_other(heading: str, model: type[BaseModel]) -> None:
    listed = [name for first, *_ in rows(section(APPLY_FILE, f"## {heading}")) for name in code(first)]
    assert sorted(listed) == sorted(model.model_fields)


def test_every_member_of_an_address_is_explained() -> None:
    (address,) = [cells for cells in rows(section(APPLY_FILE, "## Users")) if cells[0] == "`address`"]
    assert set(code(address[1])) - {"address"} == AddressInput.model_fields.keys()


EXAMPLES = [(path.name, text) for path in DOCUMENTS for text in blocks(path, "yaml")]


@pytest.mark.parametrize("text", [text for _, text in EXAMPLES], ids=[name for name, _ in EXAMPLES])
def test_every_yaml_example_is_an_apply_file_that_is_accepted(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r"file:(\S+)", text):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a-secret\n")
    environ = dict.fromkeys(re.findall(r"env:(\w+)", text), "a-secret-of-some-length")
    read = read_apply_files([("example.yaml", text.encode())], environ)
    assert read.clients


def test_the_guides_and_the_readme_show_an_apply_file() -> None:
    assert {name for name, _ in EXAMPLES} >= {"README.md", APPLY_FILE.name, CONNECT.name}
