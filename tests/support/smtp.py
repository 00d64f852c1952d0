"""A real mail server on loopback: what it was handed, and what it answers."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass
class MailServer:
    """`answers` are given in turn to whatever a command says; then the command is obeyed. `None` is a silence."""

    port: int = 0
    received: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    secure: list[bool] = field(default_factory=list)
    greeted_by: list[str] = field(default_factory=list)
    signed_in: list[tuple[str, str]] = field(default_factory=list)
    answers: dict[str, list[str | None]] = field(default_factory=dict)
    password: str | None = None
    arrived: asyncio.Queue[EmailMessage] = field(default_factory=asyncio.Queue)

    async def _answer(self, command: str) -> str | None:
        if not self.answers.get(command):
            return None
        answer = self.answers[command].pop(0)
        if answer is None:
            await asyncio.Event().wait()
        return answer

    async def handle_MAIL(self, _: SMTP, session: Session, envelope: Envelope, sender: str, options: list[str]) -> str:
        if self.password is not None and not session.authenticated:
            return "530 5.7.0 Authentication required"
        if answer := await self._answer("MAIL"):
            return answer
        envelope.mail_from = sender
        return "250 OK"

    async def handle_RCPT(self, _: SMTP, __: Session, envelope: Envelope, recipient: str, options: list[str]) -> str:
        if answer := await self._answer("RCPT"):
            return answer
        envelope.rcpt_tos.append(recipient)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if answer := await self._answer("DATA"):
            return answer
        content = envelope.content
        assert isinstance(content, bytes)
        message = message_from_bytes(content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.received.append(message)
        self.arrived.put_nowait(message)
        self.envelopes.append((str(envelope.mail_from), envelope.rcpt_tos))
        assert server.transport is not None
        self.secure.append(server.transport.get_extra_info("sslcontext") is not None)
        self.greeted_by.append(str(session.host_name))
        return "250 2.0.0 taken"

    async def handle_QUIT(self, *_: object) -> str:
        return await self._answer("QUIT") or "221 Bye"

    def authenticate(self, _: SMTP, __: Session, ___: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.signed_in.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=self.signed_in[-1][1] == self.password, handled=False)

    def texts(self) -> list[str]:
        """The plain text of every mail."""
        bodies = [message.get_body(("plain",)) for message in self.received]
        return [body.get_content().replace("\r\n", "\n") for body in bodies if body is not None]


class _Conversation(SMTP):
    """aiosmtpd's own, which ends with its connection instead of some time later."""

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()


StartMailServer = Callable[..., Awaitable[MailServer]]


@pytest.fixture
async def start_mail_server() -> AsyncIterator[StartMailServer]:
    """Start mail servers: plain, with `starttls=` or `tls=` a context, and with the `password` that they ask for."""
    running: list[asyncio.Server] = []

    async def start(
        *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None, password: str | None = None
    ) -> MailServer:
        mail_server = MailServer(password=password)

        def conversation() -> SMTP:
            return _Conversation(
                mail_server,
                hostname="mail.example",
                tls_context=starttls,
                require_starttls=starttls is not None,
                authenticator=mail_server.authenticate if password is not None else None,
                auth_require_tls=False,
                loop=asyncio.get_running_loop(),
            )

        server = await asyncio.get_running_loop().create_server(conversation, "127.0.0.1", 0, ssl=tls)
        running.append(server)
        mail_server.port = server.sockets[0].getsockname()[1]
        return mail_server

    yield start
    for server in running:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def mail_server(start_mail_server: StartMailServer) -> MailServer:
    """A plain one; `IDP_SMTP_URL` is `smtp://127.0.0.1:PORT`."""
    return await start_mail_server()
