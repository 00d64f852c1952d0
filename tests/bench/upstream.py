"""A provider to sign in through that costs next to nothing: discovery, a key and a token endpoint, over https.

It believes everybody: a code is what `code` makes of a person and a nonce, and the ID token says so. As with Google
there is a handshake, with certificates of the same kind, and a connection stays open for further requests.

Run as `upstream.py FOLDER PORT`; it writes `ca.pem` into the folder, which whoever asks has to trust.
"""

import asyncio
import json
import secrets
import ssl
import subprocess
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from machine import BenchError, clean_environment, free_port

from idp.domain.clock import system_clock

CLIENT_ID, CLIENT_SECRET = "lab-id.apps.bench.example", "a-client-secret-that-is-not-looked-at"
START_SECONDS = 30
JSON = {"Content-Type": "application/json"}
KEPT, NOT_KEPT = {"Cache-Control": "public, max-age=3600"}, {"Cache-Control": "no-store"}


class Upstream:
    """The process; it runs on the core of whoever starts it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        port = free_port()
        self.ca_file = folder / "ca.pem"
        self.host = f"localhost:{port}"
        command = [sys.executable, __file__, str(folder), str(port)]
        self.process = subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE, text=True)
        # It says so when it listens, and nothing else ever.
        if self.process.stdout is None or self.process.stdout.readline().strip() != "ready":
            self.stop()
            raise BenchError("the provider to sign in through did not start")

    @property
    def settings(self) -> dict[str, str]:
        """How Lab ID is told to take it for Google; anybody may get an account."""
        return {
            "IDP_GOOGLE_CLIENT_ID": CLIENT_ID,
            "IDP_GOOGLE_CLIENT_SECRET": CLIENT_SECRET,
            "IDP_GOOGLE_ISSUER": f"https://{self.host}",
            "IDP_OUTBOUND_ALLOW": self.host,
            "IDP_OUTBOUND_CA_FILE": str(self.ca_file),
            "IDP_REGISTRATION": "open",
        }

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        try:
            self.process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def code(person: int, nonce: str) -> str:
    """Return the code that stands for a person who has just signed in."""
    return text(json.dumps({"person": person, "nonce": nonce}).encode())


def text(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def provider(issuer: str) -> Callable[[str, bytes], tuple[Mapping[str, str], Any]]:
    """Return what answers a path and a body with headers and a document."""
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256

    key, kid = rsa.generate_private_key(public_exponent=65537, key_size=2048), secrets.token_hex(20)
    numbers, pkcs1, hashed = key.public_key().public_numbers(), padding.PKCS1v15(), SHA256()
    n, e = (text(number.to_bytes((number.bit_length() + 7) // 8)) for number in (numbers.n, numbers.e))
    header = text(json.dumps({"alg": "RS256", "kid": kid, "typ": "JWT"}).encode())
    metadata = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "userinfo_endpoint": f"{issuer}/userinfo",
        "jwks_uri": f"{issuer}/jwks",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "email", "profile"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "code_challenge_methods_supported": ["plain", "S256"],
    }

    def tokens(body: bytes) -> Mapping[str, Any]:
        told = json.loads(urlsafe_b64decode(parse_qs(body)[b"code"][0] + b"=="))
        now, access_token = int(system_clock().timestamp()), f"ya29.{secrets.token_urlsafe(150)}"
        claims = {
            "iss": issuer,
            "azp": CLIENT_ID,
            "aud": CLIENT_ID,
            "sub": f"{told['person']:021d}",
            "email": f"person.{told['person']}@people.example",
            "email_verified": True,
            "at_hash": text(sha256(access_token.encode()).digest()[:16]),
            "nonce": told["nonce"],
            "name": "Alice Liddell",
            "picture": "https://pictures.people.example/a/ACg8ocJ0123456789abcdefghijklmnopqrstuvwxyz=s96-c",
            "given_name": "Alice",
            "family_name": "Liddell",
            "iat": now,
            "exp": now + 3600,
        }
        content = f"{header}.{text(json.dumps(claims).encode())}"
        return {
            "access_token": access_token,
            "expires_in": 3599,
            "scope": "openid https://www.googleapis.com/auth/userinfo.email",
            "token_type": "Bearer",
            "id_token": f"{content}.{text(key.sign(content.encode(), pkcs1, hashed))}",
        }

    def answer(path: str, body: bytes) -> tuple[Mapping[str, str], Any]:
        match path:
            case "/.well-known/openid-configuration":
                return KEPT, metadata
            case "/jwks":
                return KEPT, {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e}]}
        return NOT_KEPT, tokens(body)

    return answer


def certificate(folder: Path) -> ssl.SSLContext:
    """Return what proves the name localhost, signed by the authority `ca.pem` of the folder, as Google's on P-256."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import NameOID

    now = system_clock()

    def certified(name: str, signed_by: str, key: ec.EllipticCurvePrivateKey, with_key: Any, *, ca: bool) -> bytes:
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, signed_by)]
        builder = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(with_key.public_key())
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(identifier, critical=False).add_extension(own, critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        uses = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
        uses |= {"encipher_only": False, "decipher_only": False, "digital_signature": not ca}
        builder = builder.add_extension(x509.KeyUsage(key_cert_sign=ca, crl_sign=ca, **uses), critical=True)
        return builder.sign(with_key, SHA256()).public_bytes(serialization.Encoding.PEM)

    root, between, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    (folder / "ca.pem").write_bytes(certified("root.example", "root.example", root, root, ca=True))
    chain = certified("localhost", "between.example", leaf, between, ca=False)
    chain += certified("between.example", "root.example", between, root, ca=True)
    encodings = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "chain.pem").write_bytes(chain + leaf.private_bytes(*encodings))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem")
    return context


async def serve(folder: Path, port: int) -> None:
    answer = provider(f"https://localhost:{port}")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Until the other side closes the connection.
        with suppress(OSError, EOFError):
            while await answered(reader, writer):
                pass
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
        fields = dict(line.lower().split(": ", 1) for line in lines if line)
        headers, document = answer(request.split()[1], await reader.readexactly(int(fields.get("content-length", 0))))
        sent = json.dumps(document).encode()
        kept = fields.get("connection") != "close"
        told = {**JSON, **headers, "Connection": "keep-alive" if kept else "close", "Content-Length": str(len(sent))}
        head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + sent)
        await writer.drain()
        return kept

    tls = certificate(folder)
    server = await asyncio.start_server(connected, "127.0.0.1", port, ssl=tls, backlog=500)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
