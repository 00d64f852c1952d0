"""The apply file: YAML in which every value knows its line, so that all faults of several files can be told at once.

Of YAML it takes what people write by hand: text, whole numbers, true and false, null, lists and mappings. Dates stay
text, and so does `no`. Aliases and tags are refused, which leaves nothing that could blow up or run.
"""

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import field_validator

from idp.domain.lab import Lab, ManagedBy
from idp.services.accounts import UserInput
from idp.services.client_input import ClientInput
from idp.services.input import Input, InputRefused, Place, place_text, unknown_name
from idp.services.lab_input import LabInput, MembershipInput
from idp.services.lab_rules import LabRuleInput
from idp.services.provider_input import ProviderInput
from idp.services.resources import ResourceInput

Given = TypeVar("Given", bound=Input)

_SECTIONS = ("labs", "users", "memberships", "clients", "resources", "providers")
_SECRETS = ("password", "password_hash", "client_secret")
_DEEPEST = 20
_PLAIN: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile("[-+]?(?:0|[1-9][0-9]{0,17})"), int),
    (re.compile("true|True|TRUE"), lambda text: True),
    (re.compile("false|False|FALSE"), lambda text: False),
    (re.compile("~|null|Null|NULL|"), lambda text: None),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a file."""

    file: str
    line: int
    place: Place
    text: str

    def __str__(self) -> str:
        where = f"{place_text(self.place)}: " if self.place else ""
        return f"{self.file}:{self.line}: {where}{self.text}"


class ApplyRefused(Exception):
    """The files are refused, with every fault; nothing was written."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        first: dict[tuple[str, Place], Fault] = {}
        for fault in faults:
            first.setdefault((fault.file, fault.place), fault)
        self.faults = sorted(first.values(), key=lambda fault: (fault.file, fault.line))
        super().__init__("\n".join(map(str, self.faults)))


@dataclass(frozen=True, slots=True)
class Source:
    """A file and the line of each of its values."""

    name: str
    lines: dict[Place, int] = field(default_factory=dict)

    def fault(self, place: Place, text: str) -> Fault:
        """Return a fault at a place, with the line of the nearest place around it that stands in the file."""
        near = place
        while near and near not in self.lines:
            near = near[:-1]
        return Fault(self.name, self.lines.get(near, 1), place, text)


@dataclass(frozen=True, slots=True)
class Entry(Generic[Given]):
    """One validated item of a section, and where it stands."""

    source: Source
    place: Place
    given: Given

    def fault(self, field: str, text: str) -> Fault:
        """Return a fault of one field."""
        return self.source.fault((*self.place, field), text)


class DeclaredLab(LabInput):
    """A lab with the rules that make members of it; where nothing is said of them they stay as they are."""

    rules: tuple[LabRuleInput, ...] | None = None

    @field_validator("rules")
    @classmethod
    def _check_once(cls, rules: tuple[LabRuleInput, ...] | None) -> tuple[LabRuleInput, ...] | None:
        if len({(rule.provider, rule.claim, rule.value) for rule in rules or ()}) < len(rules or ()):
            raise ValueError("it has two rules about one value of a claim")
        return rules

    def lab(self, present: Lab | None, *, now: datetime, managed_by: ManagedBy = ManagedBy.ADMIN) -> Lab:
        """Return the lab itself, as its own input does."""
        written = LabInput.read(self.model_dump(exclude={"rules"}))
        return written.lab(present, now=now, managed_by=managed_by)


@dataclass(frozen=True, slots=True)
class ApplyFile:
    """What the files hold together; a section that stands in none of them is None."""

    labs: Sequence[Entry[DeclaredLab]] | None
    users: Sequence[Entry[UserInput]] | None
    memberships: Sequence[Entry[MembershipInput]] | None
    clients: Sequence[Entry[ClientInput]] | None
    resources: Sequence[Entry[ResourceInput]] | None
    providers: Sequence[Entry[ProviderInput]] | None


def read_apply_files(files: Iterable[tuple[str, bytes]], environ: Mapping[str, str]) -> ApplyFile:
    """Read files, each a name and its content; secrets may be `env:NAME` or `file:PATH`.

    Raises:
        ApplyRefused: with every fault of all files.
    """
    faults: list[Fault] = []
    documents = [document for name, content in files for document in _read(name, content, faults)]
    sections = _Sections(documents, environ, faults)
    read = ApplyFile(
        labs=sections.read("labs", DeclaredLab, lambda lab: {"slug": lab.slug}),
        users=sections.read("users", UserInput, lambda user: {"email": user.email, "username": user.username}),
        memberships=sections.read("memberships", MembershipInput, lambda held: {"user": (held.lab, held.user.lower())}),
        clients=sections.read("clients", ClientInput, lambda client: {"client_id": client.client_id}),
        resources=sections.read("resources", ResourceInput, lambda resource: {"audience": resource.audience}),
        providers=sections.read("providers", ProviderInput, lambda provider: {"name": provider.name}),
    )
    if faults:
        raise ApplyRefused(faults)
    return read


class _Sections:
    def __init__(
        self, documents: Sequence[tuple[Source, dict[str, Any]]], environ: Mapping[str, str], faults: list[Fault]
    ) -> None:
        self._documents = documents
        self._environ = environ
        self._faults = faults

    def read(
        self, name: str, model: type[Given], keys: Callable[[Given], Mapping[str, Hashable]]
    ) -> list[Entry[Given]] | None:
        """Return the entries of a section from all files; `keys` are what no two entries may share."""
        present = [(source, document[name]) for source, document in self._documents if name in document]
        entries = [entry for source, items in present for entry in self._entries(source, name, items, model)]
        seen: dict[tuple[str, Hashable], Entry[Given]] = {}
        for entry in entries:
            for field_name, key in keys(entry.given).items():
                first = seen.setdefault((field_name, key), entry)
                if key is not None and first is not entry:
                    where = f"{first.source.name}:{first.source.lines[first.place]}"
                    self._faults.append(entry.fault(field_name, f"it stands at {where} already"))
        return entries if present else None

    def _entries(self, source: Source, name: str, items: object, model: type[Given]) -> Iterator[Entry[Given]]:
        if not isinstance(items, list):
            self._faults.append(source.fault((name,), "it must be a list; [] is the empty one"))
            return
        for position, item in enumerate(items):
            place: Place = (name, position)
            try:
                given = model.read(self._with_secrets(source, place, item) if isinstance(item, dict) else item)
            except InputRefused as refused:
                self._faults += [source.fault((*place, *where), text) for where, text in refused.faults.items()]
            else:
                yield Entry(source, place, given)

    def _with_secrets(self, source: Source, place: Place, item: dict[str, Any]) -> dict[str, Any]:
        resolved = dict(item)
        for name in _SECRETS:
            value = item.get(name)
            if isinstance(value, str) and value.startswith(("env:", "file:")):
                try:
                    resolved[name] = _secret(value, self._environ)
                except ValueError as error:
                    self._faults.append(source.fault((*place, name), str(error)))
        return resolved


def _secret(reference: str, environ: Mapping[str, str]) -> str:
    kind, _, name = reference.partition(":")
    if kind == "env":
        value = environ.get(name, "")
        if not value:
            raise ValueError(f"the environment has no {name}")
        return value
    try:
        value = Path(name).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8") from None
    if not value:
        raise ValueError(f"{name} is empty")
    return value


def _read(name: str, content: bytes, faults: list[Fault]) -> Iterator[tuple[Source, dict[str, Any]]]:
    source = Source(name)
    try:
        document = _Reader(source, content.decode("utf-8-sig"), faults).document()
    except UnicodeDecodeError:
        faults.append(source.fault((), "it is not UTF-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        faults.append(Fault(name, line, (), f"it is not valid YAML: {error.problem}"))
    except yaml.YAMLError:
        faults.append(source.fault((), "it is not valid YAML: it holds control characters"))
    else:
        if not isinstance(document, dict):
            faults.append(source.fault((), f"it must be a mapping with {', '.join(_SECTIONS)}"))
            return
        for section in document.keys() - set(_SECTIONS):
            faults.append(source.fault((section,), unknown_name(section, _SECTIONS)))
        yield source, document


class _Reader:
    """Makes values of the parser's events and notes where each stands.

    Not of the parser's nodes: deep nesting crashes the process while libyaml's wrapper composes them.
    """

    def __init__(self, source: Source, text: str, faults: list[Fault]) -> None:
        self._source = source
        self._events: Iterator[Any] = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self._faults = faults

    def document(self) -> Any:
        """Return what the one document holds; an empty file holds an empty mapping."""
        next(self._events)  # the stream begins
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return {}
        document = self._value(next(self._events), ())
        next(self._events)  # the document ends
        end = next(self._events)
        if not isinstance(end, yaml.StreamEndEvent):
            raise yaml.MarkedYAMLError(problem="a second document begins", problem_mark=end.start_mark)
        return document

    def _value(self, event: Any, place: Place) -> Any:
        line = self._source.lines.setdefault(place, event.start_mark.line + 1)
        if len(place) > _DEEPEST:
            raise yaml.MarkedYAMLError(problem="it is nested too deeply", problem_mark=event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            self._refuse(line, place, "aliases (*name) are not supported: write the value again")
            return None
        if event.tag is not None:
            self._refuse(line, place, "tags (!name) are not supported")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(place)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(place)
        return self._scalar(event)

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if event.implicit[0]:
            for pattern, make in _PLAIN:
                if pattern.fullmatch(text):
                    return make(text)
        return text

    def _sequence(self, place: Place) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*place, len(items))))
        return items

    def _mapping(self, place: Place) -> dict[str, Any]:
        members: dict[str, Any] = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarEvent):
                raise yaml.MarkedYAMLError(problem="a name must be text", problem_mark=key.start_mark)
            at = (*place, key.value)
            if key.value in members:
                self._refuse(line, at, f"it stands at line {self._source.lines[at]} already")
            else:
                self._source.lines[at] = line
            members[key.value] = self._value(next(self._events), at)
        return members

    def _refuse(self, line: int, place: Place, text: str) -> None:
        self._faults.append(Fault(self._source.name, line, place, text))
