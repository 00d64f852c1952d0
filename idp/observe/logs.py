"""Structured logs: constant event names with fields as data, one record a line, secrets redacted.

Whoever logs leaves secrets out; that they are also redacted here is the second line of defence.
"""

import json
import logging
import math
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, Literal, LiteralString

from structlog import BoundLoggerBase
from structlog.processors import TimeStamper, format_exc_info
from structlog.stdlib import ProcessorFormatter, add_log_level, add_logger_name
from structlog.typing import EventDict, Processor

from idp.observe.request_id import current_request_id

REDACTED = "[redacted]"
_DEEPEST = 8

# A name is secret that has one of the first among its words, or ends with one of the second.
_SECRET_ANYWHERE = re.compile(
    r"(?:^|_)(?:assertion|authorization|bearer|cookies?|credentials?|csrf|otp|passphrase|passwd|passwords?|private|pwd"
    r"|secrets?|verifier)(?:_|$)"
)
_SECRET_LAST = re.compile(r"(?:^|_)(?:codes?|jwt|keys?|tokens?)(?:_(?:digest|hash|hint|plain|raw|value))*$")
_HARMLESS = frozenset({"error_code", "exit_code", "status_code"})
_PRIVATE_JWK = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})  # RFC 7518 §6

_NAME = (
    r"\w{0,40}?(?:password|passwd|passphrase|secret|token(?:_hint)?|assertion|verifier|csrf|cookie|credentials?"
    r"|private_key|encryption_key)|(?:device_|user_)?code|state|otp|key|input_value"
)
_VALUE = r"""(?:b?"[^"]*"|b?'[^']*'|['"]?[^\s&#'"<>]+)"""
# What a text must contain, looked for first because that is cheap; the pattern; what takes its place.
_MASKS = tuple(
    (needed, re.compile(pattern, re.ASCII | re.DOTALL | re.IGNORECASE), replacement)
    for needed, pattern, replacement in (
        ("-----", r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*", REDACTED),
        (
            "",
            r"""\b((?:set-)?cookie|(?:proxy-)?authorization)((?:['"]?\s*[:=]|['"]\s*,)\s*)[^\r\n]+""",
            rf"\1\2{REDACTED}",
        ),
        ("", r"\b(bearer|basic|dpop)\s+[\w.~+/=-]+", rf"\1 {REDACTED}"),
        # A JOSE header is a JSON object, so its base64url begins with "ew" or "ey"; three parts sign, five encrypt.
        (".", r"(?<![\w-])e[wy][\w-]{14,}(?:\.[\w-]*){2,4}", REDACTED),
        # A password in a URL may hold a slash or @ that nobody escaped: with these schemes no path can hold an @.
        (
            "://",
            r"\b((?:postgres|postgresql|mysql|mariadb|redis|rediss|valkey|smtps?|amqps?)(?:\+\w+)?://)\S{0,512}@",
            rf"\1{REDACTED}@",
        ),
        ("://", r"(?<=://)[^\s/@]*@", f"{REDACTED}@"),
        ("=", rf"\b({_NAME})={_VALUE}", rf"\1={REDACTED}"),
        ("%3", rf"(?:\b|(?<=%26)|(?<=%3F))({_NAME})%3D{_VALUE}", rf"\1%3D{REDACTED}"),
        ("", rf"""(['"])({_NAME})\1(\s*[:,]\s*){_VALUE}""", rf"\1\2\1\3{REDACTED}"),
        # Texts of SQLAlchemy and PostgreSQL that repeat values.
        ("[parameters: ", r"\[parameters: [^\r\n]*", f"[parameters: {REDACTED}]"),
        ("Key (", r"(\bKey \([^)]{0,200}\)=)\([^)]{0,2000}\)", rf"\1({REDACTED})"),
    )
)
# Most values are names and ids, in which no mask could find anything.
_PLAIN = re.compile(r"[\w/-]*\.?[\w/-]*")
# What could begin a new line, move the cursor or turn the direction of writing in a terminal.
_CONTROLS = {
    point: chr(point).encode("unicode_escape").decode()
    for point in (*range(0x20), *range(0x7F, 0xA0), *range(0x2000, 0x2070), 0xFEFF)
    if unicodedata.category(chr(point)) in {"Cc", "Cf", "Zl", "Zp"}
}


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    words = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")
    return words not in _HARMLESS and bool(_SECRET_ANYWHERE.search(words) or _SECRET_LAST.search(words))


def _mask(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    for needed, pattern, replacement in _MASKS:
        if needed in text:
            text = pattern.sub(replacement, text)
    return text


def _text(value: object) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def _under(name: str, value: object, depth: int) -> Any:
    """The value of a name: gone if the name is secret, unless it only says whether there is one."""
    return REDACTED if _is_secret(name) and value is not None and not isinstance(value, bool) else _clean(value, depth)


def _clean(value: object, depth: int = 0) -> Any:
    """Turn any value into what JSON knows, without the secrets that it holds."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, str | bytes):
        return _mask(_text(value))
    if depth == _DEEPEST:
        return "…"
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        private = _PRIVATE_JWK if "kty" in value else frozenset[str]()
        named = [(_text(name), item) for name, item in value.items()]
        return {_mask(name): REDACTED if name in private else _under(name, item, depth + 1) for name, item in named}
    if isinstance(value, Sequence | Set) and not isinstance(value, bytearray | memoryview):
        if isinstance(value, Sequence) and len(value) == 2 and isinstance(value[0], str | bytes):
            # Perhaps a header or a parameter with its value.
            return [_mask(_text(value[0])), _under(_text(value[0]), value[1], depth + 1)]
        return [_clean(item, depth + 1) for item in value]
    try:
        return _mask(str(value))
    except Exception:  # a value that cannot be shown must not cost the record
        return f"<{type(value).__name__}>"


def _add_request_id(_: object, __: str, event: EventDict) -> EventDict:
    current = current_request_id()
    if current is not None:
        event["request_id"] = current
    return event


def _redact(_: object, __: str, event: EventDict) -> EventDict:
    # Names with an underscore are the formatter's own.
    return {_mask(k): v if k in {"_record", "_from_structlog"} else _under(k, v, 0) for k, v in event.items()}


def _render_json(_: object, __: str, event: EventDict) -> str:
    # In ASCII, so that control characters and line separators of every kind are escaped.
    return json.dumps(event, ensure_ascii=True, separators=(",", ":"))


def _escape(_: object, __: str, event: EventDict) -> EventDict:
    """Make every field one line of visible characters; a traceback stays several, each indented."""
    escaped: dict[str, Any] = {}
    for name, value in event.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        lines = text.split("\n") if name == "exception" else [text]
        escaped[name.translate(_CONTROLS)] = "\n".join(line.translate(_CONTROLS) for line in lines)
    if "exception" in escaped:
        escaped["exception"] = re.sub(r"(?m)^", "    ", escaped["exception"])
    return escaped


# Redacted before a record is made, so that no other handler sees more than ours.
_CHAIN: tuple[Processor, ...] = (
    format_exc_info,
    _redact,
    _add_request_id,
    add_log_level,
    add_logger_name,
    TimeStamper(fmt="iso", utc=True),
)


class Logger(BoundLoggerBase):
    """A logger of events: `log.info("token.issued", client_id=client_id)`. A level that is off costs next to nothing.

    The event is a constant, so that it can be searched for; whatever varies is a field.
    """

    def debug(self, event: LiteralString, **fields: object) -> None:
        """Log what helps to follow one case."""
        self._log(logging.DEBUG, "debug", event, fields)

    def info(self, event: LiteralString, **fields: object) -> None:
        """Log what happened as it should."""
        self._log(logging.INFO, "info", event, fields)

    def warning(self, event: LiteralString, **fields: object) -> None:
        """Log what somebody should look at some day."""
        self._log(logging.WARNING, "warning", event, fields)

    def error(self, event: LiteralString, **fields: object) -> None:
        """Log what failed; `exc_info=error` adds the exception."""
        self._log(logging.ERROR, "error", event, fields)

    def exception(self, event: LiteralString, **fields: object) -> None:
        """Log what failed, with the exception that is being handled."""
        self._log(logging.ERROR, "error", event, {"exc_info": True} | fields)

    def _log(self, level: int, name: str, event: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            self._proxy_to_logger(name, event, **fields)


class _StderrHandler(logging.Handler):
    """Writes to whatever stderr is at the time, and never tells about a record in another way than formatted."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # logging's own handling would print the record's arguments as they are
            with suppress(OSError, ValueError):
                sys.stderr.write("a log record could not be written\n")


def get_logger(name: str) -> Logger:
    """Return a logger; its name begins with `idp`, else the chosen level does not reach it."""
    return Logger(logging.getLogger(name), (*_CHAIN, ProcessorFormatter.wrap_for_formatter), {})


def configure_logs(
    format: Literal["auto", "json", "console"], level: Literal["debug", "info", "warning", "error"]
) -> None:
    """Send the logs of this process, those of the libraries included, to stderr; calling again replaces the choice.

    `auto` is `console` on a terminal, else `json`.
    """
    terminal = sys.stderr.isatty()
    rendering: list[Processor] = [_render_json]
    if format == "console" or (format == "auto" and terminal):
        # Loaded only here: it brings a terminal library along that a server has no use for.
        from structlog.dev import ConsoleRenderer

        rendering = [_escape, ConsoleRenderer(colors=terminal, sort_keys=False)]
    handler = _StderrHandler()
    handler.setFormatter(
        ProcessorFormatter(foreign_pre_chain=_CHAIN, processors=[ProcessorFormatter.remove_processors_meta, *rendering])
    )
    root = logging.getLogger()
    root.handlers[:] = [*(other for other in root.handlers if not isinstance(other, _StderrHandler)), handler]
    number = logging.getLevelNamesMapping()[level.upper()]
    # Below warnings most libraries repeat statements, parameters and headers: only the server says anything of use.
    root.setLevel(max(number, logging.WARNING))
    logging.getLogger("idp").setLevel(number)
    logging.getLogger("uvicorn").setLevel(max(number, logging.INFO))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "sqlalchemy", "alembic"):
        library = logging.getLogger(name)
        library.handlers.clear()
        if name != "uvicorn":
            # uvicorn sets levels of its own where it is configured elsewhere in this process.
            library.setLevel(logging.NOTSET)
        library.propagate = True
