"""Signing out of applications server to server (OpenID Connect Back-Channel Logout 1.0), over real connections."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from idp.crypto.jose import Verified, verify
from idp.domain.logout import LogoutDelivery
from idp.services.backchannel_logout import DELAYS
from idp.setting_sources import load_settings
from tests.outbound.conftest import Authority, Peer, Serve
from tests.support.app import ALICE_ID, USUAL, App, Browser, Installed, Start, decoded, running
from tests.support.clock import FakeClock

ARRIVES_SECONDS = 20


@dataclass
class Application:
    """The back-channel of an application: what arrived there, and what it answers."""

    status: bytes = b"200 OK"
    peer: Peer | None = None
    arrived: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self.peer is not None
        writer.write(b"HTTP/1.1 " + self.status + b"\r\nContent-Length: 0\r\n\r\n")
        self.arrived.put_nowait(self.peer.requests[-1])

    @property
    def uri(self) -> str:
        assert self.peer is not None
        return f"https://localhost:{self.peer.port}/backchannel"

    async def next(self) -> tuple[str, str]:
        """Return head and logout token of the next request."""
        async with asyncio.timeout(ARRIVES_SECONDS):
            head, _, body = (await self.arrived.get()).partition("\r\n\r\n")
        ((name, (token,)),) = parse_qs(body, strict_parsing=True).items()
        assert name == "logout_token"
        return head, token


@pytest.fixture
async def application(serve: Serve) -> Application:
    application = Application()
    application.peer = await serve(application)
    return application


@pytest.fixture
def reachable(application: Application, authority: Authority) -> dict[str, str]:
    """The settings with which a node reaches the application."""
    assert application.peer is not None
    return {"outbound_allow": f"localhost:{application.peer.port}", "outbound_ca_file": str(authority.ca_file)}


@pytest.fixture
async def app(start: Start, reachable: dict[str, str], application: Application) -> App:
    app = await start(**reachable)
    await app.change("clients", ("portal",), backchannel_logout_uri=application.uri)
    return app


async def sign_out(browser: Browser) -> Any:
    return await browser.submit(await browser.get("/logout"))


async def verified(app: App, token: str) -> Verified:
    jwks = (await app.http().get("/jwks")).json()["keys"]
    return verify(token, jwks, algorithms=["RS256"])


async def stored(app: App) -> list[LogoutDelivery]:
    async with app.store.read() as tx:
        return await tx.logout_deliveries.all()


async def test_an_application_gets_a_logout_token_by_post_as_soon_as_somebody_signs_out_s2_5(
    app: App, browser: Browser, application: Application
) -> None:
    claims = decoded((await browser.tokens())["id_token"])[1]

    page = await sign_out(browser)

    head, token = await application.next()
    assert head.splitlines()[0] == "POST /backchannel HTTP/1.1"
    assert "content-type: application/x-www-form-urlencoded" in head.lower()
    header, said = await verified(app, token)
    assert header["typ"] == "logout+jwt"
    assert (said["iss"], said["aud"], said["sub"], said["sid"]) == (app.issuer, "portal", ALICE_ID, claims["sid"])
    assert "nonce" not in said
    assert "Lab Portal" in page.text


async def test_the_application_that_signs_out_is_told_as_the_others_are_and_the_browser_does_not_wait(
    app: App, browser: Browser, application: Application
) -> None:
    bye = "https://portal.example.org/bye"
    hint = (await browser.tokens())["id_token"]

    response = await browser.get("/logout", id_token_hint=hint, post_logout_redirect_uri=bye)

    assert response.headers["location"] == bye
    await application.next()


async def test_an_application_with_lasting_access_is_told_and_keeps_it_s2_7(
    app: App, browser: Browser, application: Application
) -> None:
    tokens = await browser.tokens(scope="openid offline_access")

    await sign_out(browser)

    await application.next()
    assert (await app.refresh(tokens["refresh_token"])).status_code == 200


async def test_an_application_that_had_no_part_in_the_session_is_not_told(
    app: App, browser: Browser, application: Application
) -> None:
    await app.browser().tokens()
    await browser.tokens("other", scope="openid profile")

    await sign_out(browser)

    assert await stored(app) == []


async def test_a_logout_token_is_no_hint_for_signing_anybody_out_s2_4(
    app: App, browser: Browser, application: Application
) -> None:
    await browser.tokens()
    await sign_out(browser)
    _, token = await application.next()

    response = await browser.get("/logout", id_token_hint=token)

    assert response.status_code == 400


async def test_what_is_owed_survives_a_restart_and_is_delivered_once(
    application: Application,
    reachable: dict[str, str],
    seeded_url: str,
    installed: Installed,
    clock: FakeClock,
    tmp_path: Path,
) -> None:
    environ = {**USUAL, "IDP_DATABASE_URL": seeded_url, "IDP_KEY_ENCRYPTION_KEY": installed.key_encryption_key}
    environ |= {f"IDP_{name.upper()}": value for name, value in reachable.items()}
    settings = load_settings(environ, cwd=tmp_path)
    application.status = b"503 Service Unavailable"
    async with running(settings, clock) as node:
        await node.change("clients", ("portal",), backchannel_logout_uri=application.uri)
        browser = node.browser()
        sid = decoded((await browser.tokens())["id_token"])[1]["sid"]
        await sign_out(browser)
        _, refused = await application.next()
    application.status = b"204 No Content"
    clock.advance(DELAYS[0])

    async with running(settings, clock) as node:
        (owed,) = await stored(node)
        _, taken = await application.next()
    async with running(settings, clock) as node:
        (delivered,) = await stored(node)

    assert (owed.attempts, owed.last_error, owed.delivered_at) == (1, "HTTP 503", None)
    assert (delivered.attempts, delivered.last_error, delivered.delivered_at) == (2, None, clock())
    assert decoded(taken)[1]["sid"] == decoded(refused)[1]["sid"] == sid
    assert decoded(taken)[1]["jti"] != decoded(refused)[1]["jti"]
    assert application.arrived.empty()


async def test_an_application_at_an_address_that_is_not_allowed_is_never_called(
    start: Start, application: Application
) -> None:
    app = await start()
    await app.change("clients", ("portal",), backchannel_logout_uri=application.uri)
    browser = app.browser()
    await browser.tokens()

    await sign_out(browser)

    async with asyncio.timeout(ARRIVES_SECONDS):
        while not (await stored(app))[0].attempts:
            await asyncio.sleep(0)
    assert (await stored(app))[0].last_error == "address not allowed"
    assert application.arrived.empty()
