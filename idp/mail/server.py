"""Where mail is handed in, and by whom: `IDP_SMTP_URL` (RFC 6409, RFC 8314) and `IDP_MAIL_FROM` (RFC 5322 §3.4)."""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_PORTS = {"smtp": 587, "smtps": 465}
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|[0-9a-f:.]+")
# In ASCII: a server that knows no other letters (RFC 6531) must still take it.
_ADDRESS = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?"
_MAILBOX = re.compile(rf'(?:"?(?P<name>[^"<>\\]*?)"?\s*<(?P<bracketed>{_ADDRESS})>|(?P<plain>{_ADDRESS}))')


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """A mail server; `tls` is from the first byte on, `starttls` after a greeting, and neither only on loopback."""

    host: str
    port: int
    tls: bool
    starttls: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Whom mail is from: an address and perhaps a name."""

    name: str
    address: str

    def __str__(self) -> str:
        return f"{self.name} <{self.address}>" if self.name else self.address


def parse_smtp_url(url: str) -> SmtpServer:
    """Read `smtp://user:password@host:587` or `smtps://host:465`.

    Beyond loopback a connection is always encrypted, and the server's certificate is checked.

    Raises:
        ValueError: it is none; the text never repeats it, because it may hold a password.
    """
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise ValueError(
            "must have a host and a port, and special characters of a password as %40 and the like"
        ) from None
    if parts.scheme not in _PORTS:
        raise ValueError("must begin with smtp:// or smtps://")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.netloc.count("@") > 1:
        raise ValueError("must end after host and port; write special characters of a password as %40 and the like")
    if _HOST.fullmatch(host) is None or port == 0:
        raise ValueError("must name a host, as in smtp://user:password@mail.example.org:587")
    if (parts.username is None) != (parts.password is None):
        raise ValueError("must have both user and password, or neither")
    tls = parts.scheme == "smtps"
    return SmtpServer(
        host=host,
        port=port or _PORTS[parts.scheme],
        tls=tls,
        starttls=not tls and host not in _LOOPBACK,
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )


def parse_mailbox(text: str) -> Mailbox:
    """Read `no-reply@example.org` or `Name <no-reply@example.org>`.

    Raises:
        ValueError: it is none, or it could begin another header field (RFC 5322 §2.2).
    """
    match = _MAILBOX.fullmatch(text.strip())
    if match is None or not text.isprintable():
        raise ValueError("must be an address such as no-reply@example.org or Lab ID <no-reply@example.org>")
    return Mailbox((match["name"] or "").strip(), match["bracketed"] or match["plain"])
