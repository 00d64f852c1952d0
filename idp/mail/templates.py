"""What a mail says: a subject, plain text and HTML, from two templates for each purpose."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from gettext import NullTranslations
from pathlib import Path
from typing import TYPE_CHECKING

from idp.domain.mail import MailPurpose

if TYPE_CHECKING:
    from jinja2 import Environment

# What others chose to be called, beside which their addresses may stand, or an address alone.
_NAMES = frozenset({"lab_name", "inviter", "label", "member", "new", "person", "provider"})
_ADDRESS = re.compile(r"\(?[^\s@/:()]+@[^\s@/:()]+\)?")
# Where a scheme or a host's name would come apart.
_SEAM = re.compile(r"(?<=:)(?=//)|(?<=\.)(?=[^\W\d_])")
# Persian and the scripts of India spell with them, and emoji are put together with one.
_JOINERS = frozenset("\u200c\u200d")


@dataclass(frozen=True, slots=True)
class Content:
    """A mail as a person reads it."""

    subject: str
    text: str
    html: str


class MailTemplates:
    """Renders mails; names that others chose stay on one line and become no links, whatever they hold."""

    def __init__(self, folder: Path, *, service_name: str, issuer: str) -> None:
        self._folder = folder
        self._service_name = service_name
        self._issuer = issuer

    def render(self, purpose: MailPurpose, context: Mapping[str, object]) -> Content:
        """Return what a mail says.

        Raises:
            jinja2.UndefinedError: the template uses a name that the context lacks.
        """
        values = {name: _harmless(name, value) for name, value in context.items()}
        text = self._environment.get_template(f"{purpose}.txt")
        subject = "".join(text.blocks["subject"](text.new_context(values)))
        html = self._environment.get_template(f"{purpose}.html")
        return Content(
            subject=" ".join(subject.split()),
            text=re.sub(r"\n{3,}", "\n\n", text.render(values)).strip() + "\n",
            html=html.render(values, subject=subject.strip()),
        )

    @cached_property
    def _environment(self) -> "Environment":
        # Made with the first mail: most processes send none.
        from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

        environment = Environment(
            loader=FileSystemLoader(self._folder / "email"),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            # Old-style gettext: the new style would mark every text it is given as safe, variables included.
            extensions=["jinja2.ext.i18n"],
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.policies["ext.i18n.trimmed"] = True
        environment.filters["when"] = _when
        translations = NullTranslations()
        environment.globals.update(
            service_name=self._service_name,
            issuer=self._issuer,
            gettext=translations.gettext,
            ngettext=translations.ngettext,
        )
        return environment


def _harmless(name: str, value: object) -> object:
    """A text without what is invisible or turns the text around; only a person's message has several lines."""
    if isinstance(value, list):
        return [{key: _harmless(key, each) for key, each in row.items()} for row in value]
    if not isinstance(value, str):
        return value
    lines = value.splitlines() if name == "message" else [value]
    text = "\n".join(map(_one_line, lines))
    return _unlinked(text) if name in _NAMES else text


def _unlinked(name: str) -> str:
    """A name of which no program makes a link to a page: people take what stands in our mails for ours."""
    return " ".join(word if _ADDRESS.fullmatch(word) else _SEAM.sub(" ", word) for word in name.split())


def _one_line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() or char in _JOINERS else " " for char in text).split())


def _when(at: datetime) -> str:
    """A point in time as people read it, with its zone."""
    utc = at.astimezone(UTC)
    return f"{utc.day} {utc:%B %Y, %H:%M} UTC"
