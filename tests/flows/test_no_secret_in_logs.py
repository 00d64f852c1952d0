"""No secret ever reaches the logs or the metrics: every route, success and failure, with everything logged.

All that a browser or an application sends or gets is collected on the way, so that a new secret is looked for as well.
"""

import logging
import re
import sys
from base64 import b16encode, b64encode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

import httpx2
import pytest
from pyotp import TOTP
from sqlalchemy import text

from idp.crypto.opaque import hash_token
from idp.observe.logs import configure_logs, get_logger
from tests.support.app import ALICE, BOB, VERIFIER, App, Browser, Start, basic, bearer, form_of, secret_of
from tests.support.clock import START
from tests.support.factories import make_invitation, make_one_time_link

WRONG = "mistyped-password-of-somebody"
SETUP = "setup-link-token-0123456789-abcdefghijklmnop"
INVITATION = "invitation-token-0123456789-abcdefghijklmnop"
GARBAGE = "garbage-that-might-be-a-token-0123456789"
NO_SECRETS = {"grant_type", "redirect_uri", "post_logout_redirect_uri", "scope", "username", "email", "client_id"}
# What of it would be enough to recognise a secret.
ENOUGH = 14


@dataclass
class Secrets:
    """Everything that must not be found again."""

    values: set[str] = field(default_factory=set)

    def add(self, *values: str) -> None:
        self.values |= {value for value in values if len(value) >= ENOUGH}

    def found_in(self, output: str) -> list[str]:
        pieces = {piece for value in self.values for piece in (value[:ENOUGH], value[-ENOUGH:])}
        return sorted(
            form
            for piece in pieces
            for form in {
                piece,
                quote(piece, safe=""),
                quote_plus(piece, safe=""),
                # Without what depends on the neighbours.
                b64encode(piece.encode())[:-4].decode(),
                urlsafe_b64encode(piece.encode())[:-4].decode(),
                b16encode(piece.encode()).decode().lower(),
            }
            if form in output
        )


@pytest.fixture
def logged(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Configure the logs as `serve` does, with everything on; other tests keep their own configuration."""
    loggers = [logging.getLogger(name) for name in (None, "idp", "uvicorn", "uvicorn.error", "sqlalchemy", "alembic")]
    before = [(logger, logger.level, logger.handlers[:], logger.propagate) for logger in loggers]
    configure_logs(request.param, "debug")
    yield
    for logger, level, handlers, propagate in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.propagate = propagate


class Watched(Browser):
    """A browser that tells which secrets it sends and gets."""

    def __init__(self, app: App, secrets: Secrets) -> None:
        super().__init__(app)
        self.secrets = secrets
        self.http.event_hooks = {"request": [self._sent], "response": [self._got]}

    async def press(self, page: httpx2.Response, **values: str) -> list[httpx2.Response]:
        """Send the page's form, if it came to one."""
        if "<form" not in page.text:
            return []
        self.secrets.add(form_of(page).fields["csrf"])
        return [await self.post(page, **values)]

    async def _sent(self, request: httpx2.Request) -> None:
        self._note(str(request.url), request.headers.get("cookie", ""))
        for name, values in parse_qs(request.content.decode()).items():
            if name not in NO_SECRETS:
                self.secrets.add(*values)

    async def _got(self, response: httpx2.Response) -> None:
        self._note(response.headers.get("location", ""), "; ".join(response.headers.get_list("set-cookie")))

    def _note(self, url: str, cookies: str) -> None:
        query = parse_qs(urlsplit(url).query)
        for name in ("code", "interaction", "pending", "id_token_hint", "code_challenge", "nonce", "state"):
            self.secrets.add(*query.get(name, ()))
        for cookie in cookies.split(";"):
            name, _, value = cookie.strip().partition("=")
            if name.endswith(("idp", "idp-form", "idp-accounts", "idp-state")):
                self.secrets.add(*value.split("."))


async def go_everywhere(app: App, secrets: Secrets) -> list[httpx2.Response]:
    """Send every secret to every route that takes it, and some to those that do not; never mind the answers."""
    browser = Watched(app, secrets)
    http = browser.http
    params = app.authorization_request(state="state-of-the-application", nonce="nonce-of-the-application")
    answers = [await browser.get("/authorize", **params), await browser.get("/login", interaction=GARBAGE)]
    page = await browser.get("/login")
    answers += await browser.press(page, username=ALICE, password=WRONG)
    answers += await browser.press(page, username=WRONG, password=WRONG)
    answers += await browser.press(page, username=ALICE, password=WRONG, csrf=GARBAGE)
    answers += await browser.press(page, username=ALICE, password="correct-horse-battery")
    another = await browser.get("/login", add="1")
    answers += await browser.press(another, username=BOB, password="correct-horse-battery")
    answers += await browser.press(await browser.get("/select-account"), account=GARBAGE)
    answers.append(await app.browser().get(f"/invitations/{INVITATION}"))
    invitation = await browser.get(f"/invitations/{INVITATION}")
    answers += await browser.press(invitation, decision="accept", csrf=GARBAGE)
    answers += await browser.press(invitation, decision="accept")
    consent = await browser.get("/authorize", **params)
    answers += await browser.press(consent, decision="allow", csrf=GARBAGE)
    answers += await browser.press(consent, decision="allow")
    answers += await browser.press(await browser.get("/logout"), csrf=GARBAGE)
    code = next((found[0] for answer in answers if (found := _query(answer).get("code"))), GARBAGE)
    tokens: dict[str, str] = {}
    portal = basic("portal", secret_of("portal"))
    secrets.add(portal["Authorization"].removeprefix("Basic "), secret_of("portal"))
    grant = {"grant_type": "authorization_code", "redirect_uri": params["redirect_uri"], "code_verifier": VERIFIER}
    for sent, headers in (
        ({**grant, "code": code, "code_verifier": VERIFIER[::-1]}, portal),
        ({**grant, "code": code}, portal),
        ({**grant, "code": GARBAGE}, portal),
        ({**grant, "code": code, "client_secret": secret_of("portal")}, portal),
        ({**grant, "code": code, "client_id": "portal", "client_secret": GARBAGE}, {}),
        ({**grant, "code": code}, basic("portal", GARBAGE)),
        ({**grant, "code": code}, {"Authorization": f"Basic {GARBAGE}"}),
        ({**grant, "code": [code, code]}, portal),
        ({"grant_type": GARBAGE}, portal),
        ({"grant_type": "client_credentials"}, portal),
    ):
        answer = await http.post("/token", data=sent, headers=headers)
        answers.append(answer)
        if answer.status_code == 200:
            tokens |= {name: value for name, value in answer.json().items() if name.endswith("token")}
    answers.append(
        await http.post(
            "/token",
            data={"grant_type": "refresh_token", "refresh_token": tokens.get("refresh_token", GARBAGE)},
            headers=portal,
        )
    )
    if answers[-1].status_code == 200:
        secrets.add(*(value for name, value in answers[-1].json().items() if name.endswith("token")))
    for token in (*tokens.values(), GARBAGE):
        secrets.add(token)
        for path in ("/introspect", "/revoke"):
            answers.append(await http.post(path, data={"token": token}, headers=portal))
            answers.append(await http.post(path, data={"token": token, "token_type_hint": token}))
            answers.append(await http.post(path, data={"token": [token, token]}, headers=portal))
        answers.append(await http.get("/userinfo", headers=bearer(token)))
        answers.append(await http.get("/userinfo", headers={"Authorization": f"Token {token}"}))
        answers.append(await http.post("/userinfo", data={"access_token": token}))
        answers.append(await http.post("/userinfo", data={"access_token": token}, headers=bearer(token)))
        answers.append(await http.get("/logout", params={"id_token_hint": token, "state": GARBAGE}))
        answers.append(
            await http.post(
                "/logout", data={"id_token_hint": token, "post_logout_redirect_uri": f"https://evil.example/{GARBAGE}"}
            )
        )
        answers.append(await http.get("/authorize", params={**params, "id_token_hint": token}))
        answers.append(await http.get(f"/{token[:200]}", params={"token": token}))
        answers.append(await http.get(f"/setup/{token[:200]}"))
    setup = await http.get(f"/setup/{SETUP}")
    answers += await browser.press(setup, email="x", name=WRONG, password=WRONG)
    answers += await browser.press(setup, csrf=GARBAGE, email="x", name=WRONG, password=WRONG)
    answers += await browser.press(setup, email="new@example.org", name="New", password=WRONG)
    answers += [setup, await http.get("/authorize", params={**params, "redirect_uri": "https://evil.example"})]
    answers.append(await http.request("PUT", "/token", data={**grant, "code": code}, headers=portal))
    answers.append(
        await app.raw("POST", "/token", query=b"\xff", headers=[(b"authorization", portal["Authorization"].encode())])
    )
    return answers


def _query(answer: httpx2.Response) -> dict[str, list[str]]:
    return parse_qs(urlsplit(answer.headers.get("location", "")).query)


@pytest.fixture
async def watched(start: Start, logged: None) -> tuple[App, Secrets]:
    app = await start(access_log="all", log_level="debug")
    async with app.store.write() as tx:
        await tx.one_time_links.add(make_one_time_link(hash=hash_token(SETUP), expires_at=START + timedelta(hours=1)))
        await tx.invitations.add(make_invitation(hash=hash_token(INVITATION), lab_id="lab_chem", invited_by="cli"))
        bob = await tx.users.get("u_bob")
        await tx.users.delete(bob.id)  # there must be no super_admin for the setup page to be open
    return app, Secrets({SETUP, INVITATION, GARBAGE, WRONG, VERIFIER, "correct-horse-battery"})


async def nothing_leaked(app: App, secrets: Secrets, capsys: pytest.CaptureFixture[str]) -> None:
    captured = capsys.readouterr()
    output = captured.out + captured.err + (await app.http().get("/metrics")).text
    assert output.count("\n") > 100
    # These are sent where names of other things belong, and have to be gone even there.
    assert secrets.found_in(output) == []


both_formats = pytest.mark.parametrize("logged", ["json", "console"], indirect=True)


@both_formats
async def test_when_all_goes_well_or_is_refused(
    watched: tuple[App, Secrets], capsys: pytest.CaptureFixture[str]
) -> None:
    app, secrets = watched

    answers = await go_everywhere(app, secrets)

    assert {200, 303, 400, 401, 403, 404, 405} <= {answer.status_code for answer in answers}
    assert any("refresh_token" in answer.text for answer in answers)
    assert any("administrator is created" in answer.text for answer in answers)
    assert any("Welcome to <bdi>Chemistry" in answer.text for answer in answers)
    await nothing_leaked(app, secrets, capsys)


@both_formats
async def test_second_factors_whether_they_are_right_wrong_or_the_database_fails(
    watched: tuple[App, Secrets], capsys: pytest.CaptureFixture[str]
) -> None:
    app, secrets = watched
    browser = Watched(app, secrets)
    await browser.sign_in()
    page = await browser.get("/account/security/totp")
    key, token = re.findall(r'<code dir="ltr">([A-Z2-7 ]+)</code>', page.text)[0], form_of(page).fields["setup"]
    secrets.add(key, key.replace(" ", ""), token)
    await browser.press(page, code="wrong")
    page = await browser.submit(page, code=TOTP(key.replace(" ", "")).at(app.clock()))
    codes = re.findall(r'<li><code dir="ltr">(.+?)</code></li>', page.text)
    assert len(codes) == 10
    for gone in (None, "totps", "audit_events"):
        other = Watched(app, secrets)
        page = await other.sign_in()
        if gone is not None:
            await _rename(app, gone, f"{gone}_gone")
        answers = [await other.post(page, code=GARBAGE), await other.post(page, recovery_code=codes[0])]
        if gone is not None:
            assert {500, 503} & {answer.status_code for answer in answers}
            await _rename(app, f"{gone}_gone", gone)
    captured = capsys.readouterr()
    assert not [code for code in codes if code in captured.out + captured.err]
    sys.stdout.write(captured.out)
    sys.stderr.write(captured.err)
    await nothing_leaked(app, secrets, capsys)


@both_formats
async def test_when_the_database_fails_in_the_middle(
    watched: tuple[App, Secrets], capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables that are gone make the drivers raise errors that quote statements, and could quote values."""
    app, secrets = watched
    await go_everywhere(app, secrets)
    for table in ("access_tokens", "interactions", "audit_events", "authorization_codes", "clients", "sessions"):
        await _rename(app, table, f"{table}_gone")
        app.clock.advance(seconds=6)
        try:
            answers = await go_everywhere(app, secrets)
        finally:
            await _rename(app, f"{table}_gone", table)
        assert {500, 503} & {answer.status_code for answer in answers}, table

    await nothing_leaked(app, secrets, capsys)


@both_formats
async def test_when_something_of_ours_breaks_with_secrets_in_its_hands(
    watched: tuple[App, Secrets], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The traceback is logged; the secrets in its frames and in the values that were passed are not."""
    app, secrets = watched

    async def broken(self: object, *arguments: object, **named: object) -> None:
        raise RuntimeError("broken") from ValueError("deeper")

    for service, method in (("token", "issue"), ("userinfo", "read"), ("introspection", "introspect")):
        monkeypatch.setattr(type(app.services[service]), method, broken)
    for service, method in (("revocation", "revoke"), ("authorization", "start"), ("login", "with_password")):
        monkeypatch.setattr(type(app.services[service]), method, broken)
    for service, method in (("logout", "check"), ("setup", "create_super_admin")):
        monkeypatch.setattr(type(app.services[service]), method, broken)

    answers = await go_everywhere(app, secrets)

    assert 500 in {answer.status_code for answer in answers}
    await nothing_leaked(app, secrets, capsys)


@both_formats
@pytest.mark.usefixtures("logged")
async def test_this_search_finds_a_secret_that_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    secrets = Secrets({"a-secret-that-nothing-redacts"})
    for shape in (str, lambda value: quote(value + "&"), lambda value: b64encode(value.encode()).decode()):
        for secret in secrets.values:
            get_logger("idp.test").info("leak", reason=shape(secret))
        assert secrets.found_in(capsys.readouterr().err)


async def _rename(app: App, table: str, name: str) -> None:
    async with app.store.database.write() as connection:
        await connection.execute(text(f"ALTER TABLE {table} RENAME TO {name}"))
