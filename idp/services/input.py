"""What people type or write into files: one base for the input models of users, labs, memberships and clients.

Every fault is a short clause about one field, such as "it has a fragment", so that a form can show it beside the field
and `idp apply` behind file, line and field.
"""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from idp.protocol.redirect_uri import is_safe_uri_text
from idp.protocol.upstream_id_token import lowers_to_ascii

# The way to a field: names and positions, as in ("redirect_uris", 1).
Place = tuple[str | int, ...]

END_OF_DAY = time(23, 59, 59, tzinfo=UTC)
_START_OF_DAY = time(0, tzinfo=UTC)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_EMAIL = re.compile(
    r"[^\s@\"(),:;<>\[\]\\]{1,64}@(?:[^\W_]|[^\W_][\w-]{0,61}[^\W_])(?:\.(?:[^\W_]|[^\W_][\w-]{0,61}[^\W_]))*"
)
# Persian and the scripts of India spell with them, and emoji are put together with one.
_JOINERS = frozenset("\u200c\u200d")
# Letters and symbols that nobody sees: the fillers of Hangul, and Braille without a dot.
_BLANKS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_FAULTS = {
    "missing": "it is missing",
    "string_type": "it must be text; put numbers in quotes",
    "string_too_long": "it must have at most {max_length} characters",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "int_type": "it must be a whole number",
    "greater_than_equal": "it must be at least {ge}",
    "less_than_equal": "it must be at most {le}",
    "tuple_type": "it must be a list",
    "dict_type": "it must be a mapping of names to values",
    "enum": "it must be {expected}",
    "model_type": "it must be a mapping of names to values",
    "model_attributes_type": "it must be a mapping of names to values",
    "value_error": "{error}",
}


class InputRefused(Exception):
    """Input is refused: `faults` says for each place why, without repeating what may be secret."""

    def __init__(self, faults: Mapping[Place, str]) -> None:
        self.faults = dict(faults)
        super().__init__(
            "\n".join(f"{place_text(place)}: {fault}".removeprefix(": ") for place, fault in faults.items())
        )

    @property
    def errors(self) -> dict[str, str]:
        """A sentence for each field, as pages show it."""
        return {
            place_text(place): f"{fault[:1].upper()}{fault[1:]}{'' if fault.endswith('?') else '.'}"
            for place, fault in self.faults.items()
        }


class Input(BaseModel):
    """Base of the input models; `read` makes them."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
        # Built when the first one is read: most servers are never given some of them.
        defer_build=True,
    )

    refused: ClassVar[type[InputRefused]] = InputRefused

    @classmethod
    def read(cls, raw: object) -> Self:
        """Return the validated input.

        Raises:
            InputRefused: with every fault.
        """
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
            raise cls.refused({detail["loc"]: cls._fault(detail) for detail in details}) from None

    @classmethod
    def _fault(cls, detail: ErrorDetails) -> str:
        if detail["type"] == "extra_forbidden":
            name = str(detail["loc"][-1])
            known = cls.model_fields if len(detail["loc"]) == 1 else ()
            return unknown_name(name, known)
        template = _FAULTS.get(detail["type"], "it is not valid")
        context = {name: str(value) for name, value in detail.get("ctx", {}).items()}
        if "expected" in context:
            context["expected"] = context["expected"].replace("'", "")
        return template.format(**context)


def unknown_name(name: str, known: Iterable[str]) -> str:
    """Return the clause about a name that is not known, with the one that was probably meant."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"it is not known here; did you mean {near[0]}?" if near else "it is not known here"


def place_text(place: Place) -> str:
    """Return a place as people write it: `clients[0].redirect_uris[1]`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")


def _check_text(text: str, *, lines: bool = False) -> str:
    kinds = {unicodedata.category(mark) for mark in text if not (lines and mark in "\r\n") and mark not in _JOINERS}
    # Control characters, NUL among them, and halves of surrogate pairs, which no database stores.
    if kinds & {"Cc", "Cs"}:
        raise ValueError("it holds control characters")
    # Marks that turn text around, zero-width spaces, separators: what is read would not be what is written.
    if kinds & {"Cf", "Zl", "Zp"}:
        raise ValueError("it holds invisible characters, or some that turn the text around")
    if not any(unicodedata.category(mark)[0] in "LNPS" and mark not in _BLANKS for mark in text):
        raise ValueError("it is empty")
    return text


def check_email(text: str) -> str:
    """Return an e-mail address in lower case.

    Raises:
        ValueError: it is none.
    """
    if lowers_to_ascii(text):
        raise ValueError("it holds a letter that is another one in lower case")
    text = text.lower()
    if len(text) > 254 or _EMAIL.fullmatch(_check_text(text)) is None:
        raise ValueError("it is not an e-mail address")
    return text


def check_web_address(uri: str) -> str:
    """Return an http or https address as it is.

    Raises:
        ValueError: it is none.
    """
    parts = _split(uri)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("it must be an address that begins with https:// or http://")
    return uri


def _check_origin(origin: str) -> str:
    parts = _split(origin)
    if parts is None or parts.scheme not in {"http", "https"} or origin != f"{parts.scheme}://{parts.netloc}".lower():
        raise ValueError("it must be an origin in lower case, such as https://app.example.org, without a path")
    return origin


def _split(uri: str) -> Any:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return None
    return parts if is_safe_uri_text(uri) and "@" not in parts.netloc else None


def _moment(at: time) -> BeforeValidator:
    """Read a moment; a mere date stands for the time `at` on that day."""

    def read(value: object) -> object:
        if value is None or isinstance(value, datetime):
            return value
        try:
            text = str(value)
            if _DATE.fullmatch(text):
                return datetime.combine(date.fromisoformat(text), at)
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError("it must be a date such as 2027-06-30, or a time such as 2027-06-30T12:00:00Z") from None
        if moment.tzinfo is None:
            raise ValueError("it needs a time zone, such as Z for UTC")
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            raise ValueError("it is beyond the years that can be stored") from None

    return BeforeValidator(read)


def longest(characters: int) -> AfterValidator:
    """Return the validator of a greatest length."""

    def check(text: str) -> str:
        if len(text) > characters:
            raise ValueError(f"it must have at most {characters} characters")
        return text

    return AfterValidator(check)


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_stripped), AfterValidator(_check_text), longest(300)]
Lines = Annotated[str, AfterValidator(lambda text: _check_text(text, lines=True)), longest(2000)]
Email = Annotated[str, BeforeValidator(_stripped), AfterValidator(check_email)]
WebAddress = Annotated[str, AfterValidator(check_web_address)]
Origin = Annotated[str, AfterValidator(_check_origin)]
# A mere date is its first second, or its last.
Begins = Annotated[datetime, _moment(_START_OF_DAY)]
Ends = Annotated[datetime, _moment(END_OF_DAY)]
