"""Logs: one line an event, everything through one renderer, and no secret in it whatever is logged."""

import ast
import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, SecretStr

from idp.domain.client import GrantType
from idp.domain.credential import Credential, CredentialKind
from idp.observe.logs import REDACTED, configure_logs, get_logger
from idp.observe.request_id import request_id

log = get_logger("idp.test")
SECRET = "S3CRETvalue"
JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.eyJzdWIiOiJ1XzEyMyJ9.c2lnbmF0dXJl"
BOTH = pytest.mark.parametrize("format", ["json", "console"])
Format = Literal["json", "console"]


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    """What configure_logs changes is the process's: other tests get it back as it was."""
    names = ("", "idp", "uvicorn", "uvicorn.error", "uvicorn.access", "sqlalchemy", "alembic")
    before = [
        (logger, logger.level, list(logger.handlers), logger.propagate) for logger in map(logging.getLogger, names)
    ]
    yield
    for logger, level, handlers, propagate in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.propagate = propagate


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What has been written since the last call."""
    return lambda: capsys.readouterr().err


@pytest.fixture
def json_record(written: Callable[[], str]) -> Callable[[], dict[str, Any]]:
    """The one record that has been written."""
    configure_logs("json", "info")

    def read() -> dict[str, Any]:
        (line,) = written().splitlines()
        record: dict[str, Any] = json.loads(line)
        return record

    return read


# ── Records ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_record_has_event_fields_level_logger_utc_time_and_request_id(json_record: Callable[[], Any]) -> None:
    token = request_id.set("7d4f")
    log.info("token.issued", client_id="portal", seconds=0.25, labs=["bio"], offline=False, user=None)
    request_id.reset(token)
    record = json_record()
    at = datetime.fromisoformat(record.pop("timestamp"))
    assert at.utcoffset() == timedelta(0)
    assert record == {
        "event": "token.issued",
        "level": "info",
        "logger": "idp.test",
        "request_id": "7d4f",
        "client_id": "portal",
        "seconds": 0.25,
        "labs": ["bio"],
        "offline": False,
        "user": None,
    }


def test_outside_of_a_request_there_is_no_request_id(json_record: Callable[[], Any]) -> None:
    log.info("started")
    assert "request_id" not in json_record()


def test_values_of_other_types_are_told_as_text(json_record: Callable[[], Any]) -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    log.info("x", at=at, path=Path("/srv"), grant=GrantType.REFRESH_TOKEN, raw=b"ab\xff", ratio=float("nan"))
    record = json_record()
    assert record["at"] == "2026-01-02 00:00:00+00:00"
    assert record["path"] == "/srv"
    assert record["grant"] == "refresh_token"
    assert record["raw"] == "ab\\xff"
    assert record["ratio"] == "nan"


def test_a_value_that_cannot_be_shown_does_not_cost_the_record(json_record: Callable[[], Any]) -> None:
    class Sulking:
        def __str__(self) -> str:
            raise RuntimeError(SECRET)

    endless: list[object] = []
    endless.append(endless)
    log.info("x", sulking=Sulking(), endless=endless)
    record = json_record()
    assert record["sulking"] == "<Sulking>"
    assert "…" in str(record["endless"])


@BOTH
def test_levels_below_the_chosen_one_are_off(written: Callable[[], str], format: Format) -> None:
    configure_logs(format, "warning")
    log.debug("fine-grained")
    log.info("ordinary")
    assert not written()
    log.warning("strange")
    log.error("broken")
    strange, broken = written().splitlines()
    assert "strange" in strange
    assert "broken" in broken


def test_a_logger_follows_a_later_choice_of_level_and_writes_once(written: Callable[[], str]) -> None:
    configure_logs("json", "error")
    log.debug("first")
    configure_logs("json", "debug")
    log.debug("second")
    (line,) = written().splitlines()
    assert json.loads(line)["event"] == "second"


def test_bound_fields_stand_in_every_record(json_record: Callable[[], Any]) -> None:
    log.bind(lab="bio").info("x")
    assert json_record()["lab"] == "bio"


def test_auto_is_json_away_from_a_terminal_and_console_on_one(
    written: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logs("auto", "info")
    log.info("x")
    assert json.loads(written())["event"] == "x"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    configure_logs("auto", "info")
    log.info("x", lab="bio")
    line = written()
    assert "\x1b[" in line
    assert "bio" in line
    assert not line.startswith("{")


def test_a_console_that_is_no_terminal_gets_no_colours(written: Callable[[], str]) -> None:
    configure_logs("console", "info")
    log.info("token.issued", lab="bio", labs=["bio", "chem"])
    line = written()
    assert "\x1b" not in line
    assert "token.issued" in line
    assert "lab=bio" in line
    assert "chem" in line


# ── Libraries ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("name", ["uvicorn.error", "uvicorn"])
def test_the_server_speaks_through_the_same_renderer(json_record: Callable[[], Any], name: str) -> None:
    logging.getLogger(name).info("Started %s", "process")
    record = json_record()
    assert (record["event"], record["logger"], record["level"]) == ("Started process", name, "info")
    assert record["timestamp"].endswith("Z")


def test_what_a_library_configured_for_itself_is_replaced(json_record: Callable[[], Any]) -> None:
    uvicorn = logging.getLogger("uvicorn")
    uvicorn.addHandler(logging.StreamHandler())
    uvicorn.propagate = False
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    configure_logs("json", "info")
    logging.getLogger("uvicorn.error").warning("once")
    assert json_record()["event"] == "once"


@pytest.mark.parametrize("name", ["sqlalchemy.engine.Engine", "aiosqlite", "httpcore2.http11", "asyncio"])
def test_libraries_that_repeat_statements_or_headers_speak_from_warnings_on(
    written: Callable[[], str], name: str
) -> None:
    configure_logs("json", "debug")
    logging.getLogger(name).info("INSERT INTO users VALUES ('%s')", SECRET)
    logging.getLogger(name).debug("executing")
    assert not written()
    logging.getLogger(name).warning("pool exhausted")
    assert "pool exhausted" in written()


# ── Injection ───────────────────────────────────────────────────────────────────────────────────────────────────────
CONTROLS = ["\n", "\r", "\r\n", "\x00", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u2029", "\u202e", "\u2066", "\u200b"]
HOSTILE = pytest.mark.parametrize("control", CONTROLS, ids=ascii)


@BOTH
@HOSTILE
def test_a_value_cannot_begin_a_line_or_move_the_cursor(
    written: Callable[[], str], format: Format, control: str
) -> None:
    configure_logs(format, "info")
    forged = f"alice{control}forged"
    log.info("x", user=forged, nested={"a": [forged], forged: 1}, **{f"k{control}": 1})
    logging.getLogger("uvicorn.error").info("GET %s", forged)
    output = written()
    assert output.count("\n") == 2
    assert not [
        character for character in control if character in output.replace("\n", "") and not character.isprintable()
    ]


@HOSTILE
def test_json_gives_the_value_back_as_it_was(json_record: Callable[[], Any], control: str) -> None:
    log.info("x", user=f"alice{control}forged")
    assert json_record()["user"] == f"alice{control}forged"


# ── Exceptions ──────────────────────────────────────────────────────────────────────────────────────────────────────
def fail(credential: str) -> None:
    local = credential.lower()
    raise ValueError(f"bad\n2026-01-01T00:00:00Z [info] forged\x1b[31m token={len(local)}")


@BOTH
def test_an_exception_is_rendered_without_local_variables(written: Callable[[], str], format: Format) -> None:
    configure_logs(format, "info")
    try:
        fail(SECRET)
    except ValueError as error:
        log.exception("login.broke", lab="bio")
        log.error("login.broke", exc_info=error)
        logging.getLogger("uvicorn.error").exception("broke")
    output = written()
    assert output.count("in fail") == 3
    assert output.count("ValueError: bad") == 3
    assert SECRET.lower() not in output.lower()
    assert "\x1b" not in output


def test_an_exception_cannot_forge_a_line_on_the_console(written: Callable[[], str]) -> None:
    configure_logs("console", "info")
    try:
        fail("x")
    except ValueError:
        log.exception("login.broke")
    first, *traceback = written().splitlines()
    assert "login.broke" in first
    assert "forged" in "".join(traceback)
    assert all(line.startswith("    ") for line in traceback)


def test_an_exception_is_one_line_of_json(json_record: Callable[[], Any]) -> None:
    try:
        fail("x")
    except ValueError:
        log.exception("login.broke")
    assert "Traceback (most recent call last):\n" in json_record()["exception"]


def test_a_record_that_cannot_be_written_is_mentioned_without_its_arguments(written: Callable[[], str]) -> None:
    configure_logs("json", "info")
    root = logging.getLogger()
    root.handlers[:] = root.handlers[-1:]  # pytest's own handlers would raise
    logging.getLogger("uvicorn.error").info("%d", SECRET)
    assert written() == "a log record could not be written\n"


def test_a_closed_stderr_does_not_stop_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        written = 0

        def isatty(self) -> bool:
            return False

        def write(self, text: str) -> None:
            self.written += 1
            raise BrokenPipeError

    closed = Closed()
    configure_logs("json", "info")
    monkeypatch.setattr(sys, "stderr", closed)
    log.info("x")
    assert closed.written == 2


# ── Secrets ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Holder:
    password: str
    inner: object


class Form(BaseModel):
    username: str
    client_secret: str


class Opaque:
    def __repr__(self) -> str:
        return f"Opaque(id=1, refresh_token='{SECRET} {SECRET}', n=2)"


NAMES = [
    "password",
    "new_password",
    "password_hash",
    "Password",
    "passwd",
    "passphrase",
    "secret",
    "client_secret",
    "clientSecret",
    "secrets",
    "token",
    "access_token",
    "accessToken",
    "refresh_token",
    "id_token",
    "id_token_hint",
    "token_hash",
    "tokens",
    "registration_access_token",
    "code",
    "authorization_code",
    "code_verifier",
    "user_code",
    "authorization",
    "Authorization",
    "Proxy-Authorization",
    "cookie",
    "Set-Cookie",
    "client_assertion",
    "csrf",
    "csrf_token",
    "X-CSRF-Token",
    "credential",
    "credentials",
    "key",
    "api_key",
    "key_encryption_key",
    "private_key",
    "private",
    "pwd",
    "bearer",
    "otp",
    "jwt",
]


@BOTH
@pytest.mark.parametrize("name", NAMES)
def test_the_value_of_a_secret_name_never_appears_however_deep_it_lies(
    written: Callable[[], str], format: Format, name: str
) -> None:
    configure_logs(format, "info")
    bytes_pair = (name.encode(), SECRET.encode())
    log.info("plain", **{name: SECRET})
    log.info("nested", form={"a": [{"b": ({name: SECRET},)}]})
    log.info("bytes", headers=[(b"accept", b"x"), bytes_pair], mapping={name.encode(): SECRET.encode()})
    log.info("pairs", params=[(name, SECRET), [name, SECRET]], pair=(name, SECRET))
    log.info("inside", **{name: {"x": [SECRET], SECRET: 1}})
    log.info("sets", items={frozenset({JWT})}, dataclass=Holder(SECRET, {name: SECRET}))
    output = written()
    assert output.count("\n") == 6
    assert SECRET not in output
    assert JWT not in output
    assert REDACTED in output


def test_a_number_under_a_secret_name_is_redacted_but_not_whether_there_is_a_value(
    json_record: Callable[[], Any],
) -> None:
    log.info("x", otp=123456, password=None, client_secret=True)
    record = json_record()
    assert (record["otp"], record["password"], record["client_secret"]) == (REDACTED, None, True)


@pytest.mark.parametrize(
    "name",
    [
        "client_id",
        "grant_type",
        "token_endpoint_auth_method",
        "token_type",
        "kid",
        "key_id",
        "key_fingerprint",
        "status_code",
        "error_code",
        "code_challenge_method",
        "route",
        "monkey",
        "decoder",
        "encode",
        "state",
    ],
)
def test_a_harmless_name_keeps_its_value(json_record: Callable[[], Any], name: str) -> None:
    log.info("x", **{name: "harmless value"})
    assert json_record()[name] == "harmless value"


@BOTH
def test_objects_are_shown_without_their_secrets(written: Callable[[], str], format: Format) -> None:
    configure_logs(format, "info")
    credential = Credential(
        id="cr_1",
        user_id="u_1",
        kind=CredentialKind.PASSWORD,
        secret=SECRET,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    log.info("x", rows=[credential], holder=Holder("a", Holder(SECRET, SECRET.encode())), opaque=Opaque())
    log.info("x", form=Form(username="alice", client_secret=SECRET), error=ValueError(f"password={SECRET}"))
    log.info("x", value=SecretStr(SECRET), buffer=bytearray(f"token={SECRET}".encode()), reprs=[Opaque()])
    output = written()
    assert "u_1" in output
    assert "alice" in output
    assert output.count(SECRET) == 1  # the bytes in the holder's innermost field bear no secret name
    assert "Opaque(id=1" in output


def test_the_private_members_of_a_jwk_are_redacted_rfc7518_s6(json_record: Callable[[], Any]) -> None:
    log.info("x", jwk={"kty": "RSA", "kid": "a", "n": "modulus", "d": SECRET, "p": SECRET, "qi": SECRET, "k": SECRET})
    assert json_record()["jwk"] == {"kty": "RSA", "kid": "a", "n": "modulus"} | dict.fromkeys(
        ("d", "p", "qi", "k"), REDACTED
    )


TEXTS = [
    f"Authorization: Bearer {SECRET}",
    f"Authorization: Basic {SECRET}=",
    f"got bearer {SECRET}.a-b~c+d/e=, refused",
    f"Cookie: idp={SECRET}; theme={SECRET}",
    f"set-cookie: __Host-idp={SECRET}; Path=/",
    f"[(b'cookie', b'idp={SECRET}')]",
    f"postgresql://idp:{SECRET}@db/idp",
    f"postgresql+asyncpg://idp:{SECRET}@db/idp",
    f"postgresql://idp:a/b@{SECRET}@db/idp",
    f"could not connect to redis://:{SECRET}@cache:6379/0",
    f"https://user:{SECRET}@example.org/",
    f"GET /callback?code={SECRET}&iss=x",
    f"GET /callback?state={SECRET}",
    f"/logout?id_token_hint={SECRET}&x=y",
    f"/reset?token={SECRET}#top",
    f"/login?return_to=%2Fauthorize%3Fstate%3D{SECRET}%26code%3D{SECRET}",
    f"grant_type=authorization_code&code={SECRET}&code_verifier={SECRET}&client_secret={SECRET}",
    f"refresh_token={SECRET}",
    f"{{'password': '{SECRET}', 'username': 'alice'}}",
    f'{{"client_secret":"{SECRET}","n":1}}',
    f"User(name='a', password='{SECRET} with blanks')",
    f"1 validation error: input_value='{SECRET}', input_type=str",
    f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----",
    f"[SQL: INSERT INTO users] [parameters: ('u_1', '{SECRET}')]",
    f"DETAIL:  Key (hash)=({SECRET}) already exists.",
]


@BOTH
@pytest.mark.parametrize("text", TEXTS)
def test_a_secret_in_free_text_is_masked_wherever_text_can_stand(
    written: Callable[[], str], format: Format, text: str
) -> None:
    configure_logs(format, "info")
    log.info("x", detail=text, nested={"a": [text]}, raw=text.encode(), **{text: "as a name"})
    logging.getLogger("uvicorn.error").info("%s", text)
    logging.getLogger("uvicorn.error").info(text)
    try:
        raise RuntimeError(text)
    except RuntimeError:
        log.exception("broke")
    output = written()
    assert SECRET not in output
    assert REDACTED in output


@BOTH
@pytest.mark.parametrize("text", [JWT, f"token {JWT} is old", f"({JWT})", f"{JWT}.{'a' * 8}.{'b' * 8}", f"x={JWT}"])
def test_a_jwt_is_masked_in_every_text(written: Callable[[], str], format: Format, text: str) -> None:
    configure_logs(format, "info")
    log.info("x", detail=text)
    output = written()
    assert REDACTED in output
    assert not [part for part in JWT.split(".") if part in output]


@pytest.mark.parametrize(
    "text",
    [
        "idp.observe.logs",
        "login.campus.example",
        "https://id.example.org/callback?iss=x&labs=bio",
        "eyebright.lab.example.org",
        "http://localhost:8000/a",
        "10.0.0.1",
        "alice@example.org",
        "signed in with status_code=200",
        "Secrets are well kept, and a token was issued",
        "2026-01-02T03:04:05Z",
    ],
)
def test_ordinary_text_stays_as_it_is(json_record: Callable[[], Any], text: str) -> None:
    log.info("x", detail=text)
    assert json_record()["detail"] == text


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "_",
        "ey",
        "://",
        "postgresql://",
        "-----BEGIN PRIVATE KEY-----",
        "Key (",
        "code='",
        '"code":',
        "cookie:",
        "authorization",
        "basic ",
        "eyJhbGciOiJSUzI1NiJ9.",
        "%3Dcode",
        "[parameters: ",
        "a.b",
        "code=\"'",
    ],
)
@pytest.mark.timeout(20)
def test_hostile_text_cannot_make_the_masks_slow(json_record: Callable[[], Any], piece: str) -> None:
    # A mask that backtracks takes minutes for 60 000 characters, these take milliseconds.
    log.info("x", detail=piece * (60_000 // len(piece)))
    assert json_record()["event"] == "x"


def test_secrets_are_gone_before_another_handler_sees_the_record() -> None:
    class Collector(logging.Handler):
        seen = ""

        def emit(self, record: logging.LogRecord) -> None:
            self.seen += f"{record.__dict__}"

    collector = Collector()
    configure_logs("json", "info")
    logging.getLogger().addHandler(collector)
    log.info("x", password=SECRET, detail=f"code={SECRET}")
    assert "'event': 'x'" in collector.seen
    assert SECRET not in collector.seen


# ── Events are constants ────────────────────────────────────────────────────────────────────────────────────────────
def events(tree: ast.AST) -> Iterator[ast.expr]:
    """The first argument of every call of a logger, which by convention is called `_log` or `log`."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="log" | "_log") | ast.Attribute(attr="_log"), attr=level)
            ):
                if level in {"debug", "info", "warning", "error", "exception"}:
                    yield node.args[0]


def test_every_event_of_the_server_is_a_constant() -> None:
    modules = (Path(__file__).parents[2] / "idp").rglob("*.py")
    found = [(module.name, event) for module in modules for event in events(ast.parse(module.read_text()))]
    assert not [(name, event.lineno) for name, event in found if not isinstance(event, ast.Constant)]


@pytest.mark.parametrize("logger", ["log", "_log", "self._log"])
def test_the_search_for_events_finds_one_that_is_put_together(logger: str) -> None:
    (event,) = events(ast.parse(f'{logger}.info(f"signed in {{user}}")'))
    assert not isinstance(event, ast.Constant)
