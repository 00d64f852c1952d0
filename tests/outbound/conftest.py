"""Servers on loopback with certificates of a private authority, and an internet in which public addresses lead to them.

The internet stands where the client hands an address to the operating system: what is dialled there is what a real
network would see. Loopback itself is reached as ever, so that a client which can be fooled really gets an answer.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import httpcore2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PUBLIC = "93.184.216.34"
OTHER_PUBLIC = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
LONG_AGO, LATER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)
NAMES = ("rp.example", "localhost", "127.0.0.1", "::1", PUBLIC)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


# ── Certificates ────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass
class Authority:
    """A private authority; `ca_file` is its certificate."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.folder.name)])
        certificate = self._certificate(self.name, self.key, x509.BasicConstraints(ca=True, path_length=0), LATER)
        self.ca_file = self.folder / "ca.pem"
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, *names: str, until: datetime = LATER) -> ssl.SSLContext:
        """Return what a server with a certificate for these names needs."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([self._alternative(name) for name in names])
        certificate = self._certificate(x509.Name([]), key, alternatives, until)
        path = self.folder / "server.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _certificate(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        extension: x509.ExtensionType,
        until: datetime,
    ) -> x509.Certificate:
        return (
            x509.CertificateBuilder(self.name, subject, key.public_key(), x509.random_serial_number(), LONG_AGO, until)
            .add_extension(extension, critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    @staticmethod
    def _alternative(name: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ip_address(name))
        except ValueError:
            return x509.DNSName(name)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other-authority"))


# ── Servers ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass
class Peer:
    """A server on loopback: what it was sent, the names it was greeted with, and whether its caller has left."""

    handler: Handler
    listens_first: bool
    port: int = 0
    requests: list[str] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    conversations: list[asyncio.Task[None] | None] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.conversations.append(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            if self.listens_first:
                await self._listen(reader)
            await self.handler(reader, writer)
            await writer.drain()
        # A server that keeps the connection open, as most do: the client is the one to end it.
        with suppress(ConnectionError):
            await reader.read()
        self.left.set()
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        _, found, length = head.lower().partition(b"content-length:")
        body = await reader.readexactly(int(length.split(b"\r\n")[0])) if found else b""
        self.requests.append((head + body).decode())

    def fields(self) -> dict[str, str]:
        """The header fields of the only request, by lower-case name."""
        (request,) = self.requests
        lines = request.partition("\r\n\r\n")[0].splitlines()[1:]
        pairs = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        assert len(dict(pairs)) == len(pairs), "a field is sent twice"
        return dict(pairs)


Serve = Callable[..., Awaitable[Peer]]


def answering(answer: bytes) -> Handler:
    async def write(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return write


@pytest.fixture
async def serve(authority: Authority) -> AsyncIterator[Serve]:
    """Start servers that say an answer or do what a handler does, with TLS unless `tls` is None."""
    running: list[tuple[asyncio.Server, Peer]] = []

    async def start(
        answer: bytes | Handler = OK,
        *,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | str | None = "",
        listens_first: bool = True,
    ) -> Peer:
        peer = Peer(answering(answer) if isinstance(answer, bytes) else answer, listens_first)
        context = authority.server(*NAMES) if isinstance(tls, str) else tls
        if context:
            context.sni_callback = lambda _socket, name, _context: peer.names.append(name)
        server = await asyncio.start_server(peer, host, 0, ssl=context)
        running.append((server, peer))
        peer.port = server.sockets[0].getsockname()[1]
        return peer

    yield start
    for server, peer in running:
        server.close()
        # Nobody else ends them: a connection that the client leaves open keeps the test from ending.
        async with asyncio.timeout(30):
            await asyncio.gather(*filter(None, peer.conversations))


# ── The internet ────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass
class Internet:
    """Which addresses were dialled, and which server stands behind a public one."""

    routes: dict[str, Peer] = field(default_factory=dict)
    dialled: list[tuple[str, int]] = field(default_factory=list)


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Internet:
    internet = Internet()
    connect = httpcore2.AnyIOBackend.connect_tcp

    async def dial(
        self: httpcore2.AnyIOBackend, host: str, port: int, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        internet.dialled.append((host, port))
        if host in internet.routes:
            return await connect(self, "127.0.0.1", internet.routes[host].port, timeout)
        if ip_address(host).is_loopback:
            return await connect(self, host, port, timeout)
        raise httpcore2.ConnectError("No route to host")

    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", dial)
    return internet
