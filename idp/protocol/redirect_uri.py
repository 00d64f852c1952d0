"""Redirect URIs (RFC 6749 §3.1.2, RFC 8252 §7, RFC 9700 §2.1): exact matching, and proof of it as a type."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from urllib.parse import urlsplit

from idp.domain.client import ApplicationType, Client

_DANGEROUS_SCHEMES = frozenset(
    {"javascript", "data", "vbscript", "file", "blob", "about", "ftp", "ws", "wss", "mailto"}
)
_WEB_SCHEMES = frozenset({"http", "https"})
_LOOPBACK = re.compile(r"(?P<origin>http://(?:127\.0\.0\.1|\[::1\]))(?::(?P<port>[0-9]{1,5}))?(?P<rest>(?:[/?].*)?)")
_PRINTABLE = frozenset(map(chr, range(0x21, 0x7F))) - frozenset('"<>\\^`{|}')


@dataclass(frozen=True, slots=True)
class RedirectUri:
    """A URI that this client registered; only such a value is ever redirected to."""

    uri: str
    given: bool


class RedirectUriRefused(Exception):
    """The user must not be sent back; shown as a page (RFC 6749 §4.1.2.1). `sent` is None when it was omitted."""

    def __init__(self, client: Client, sent: str | None) -> None:
        super().__init__("redirect_uri refused")
        self.client = client
        self.sent = sent


def check_redirect_uri(client: Client, raw: str | None) -> RedirectUri:
    """Return the redirect URI when it is exactly a registered one; omitted is fine when just one is registered.

    A loopback redirect of a native client may vary in its port only (RFC 8252 §7.3).

    Raises:
        RedirectUriRefused: it is not registered, or missing while needed.
    """
    if raw is None:
        # OpenID Connect requires the parameter, OAuth does not (RFC 6749 §3.1.2.3).
        if len(client.redirect_uris) == 1:
            return RedirectUri(client.redirect_uris[0], given=False)
        raise RedirectUriRefused(client, None)
    if raw in client.redirect_uris:
        return RedirectUri(raw, given=True)
    if client.application_type is ApplicationType.NATIVE:
        portless = _without_loopback_port(raw)
        if portless is not None and any(_without_loopback_port(uri) == portless for uri in client.redirect_uris):
            return RedirectUri(raw, given=True)
    raise RedirectUriRefused(client, raw)


def _without_loopback_port(uri: str) -> str | None:
    # By pattern and not by parsing: nothing but a literal loopback origin is ever read as one.
    match = _LOOPBACK.fullmatch(uri)
    if match is None or not 0 < int(match["port"] or 80) <= 65535:
        return None
    return f"{match['origin']}{match['rest']}"


def is_safe_uri_text(uri: str) -> bool:
    """Whether the text holds only characters that a URI may have (RFC 3986 §2), so that all read it alike."""
    return bool(uri) and len(uri) <= 2048 and _PRINTABLE.issuperset(uri)


def redirect_uri_fault(uri: str, kind: ApplicationType) -> str | None:
    """Return why a URI cannot be registered, as a clause; None when it can (RFC 8252 §7, OIDC Registration §2)."""
    fault = _address_fault(uri)
    if fault is not None:
        return fault
    parts = urlsplit(uri)
    if parts.scheme in _WEB_SCHEMES:
        return None
    if kind is not ApplicationType.NATIVE:
        return "only native applications may use a scheme of their own"
    if "." not in parts.scheme:
        return "a private-use scheme is a reversed domain name such as org.example.app (RFC 8252 §7.1)"
    return None


def server_uri_fault(uri: str, *, loopback: bool = True, fragment: bool = False) -> str | None:
    """Return why the address of a client's server cannot be registered, as a clause; None when it can.

    It begins with https; where `loopback` says so plain http is accepted on the machine itself. The specifications
    allow a `fragment` in request_uris only (OpenID Connect Core §6.2).
    """
    if not uri.startswith(("https://", "http://") if loopback else "https://"):
        return "it must begin with https://"
    return _address_fault(uri, fragment=fragment)


def _address_fault(uri: str, *, fragment: bool = False) -> str | None:
    if not is_safe_uri_text(uri):
        return "it is empty, too long, or holds characters that must be percent-encoded"
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "it is not a valid URI"
    if "#" in uri and not fragment:
        return "it has a fragment"
    if parts.scheme in _DANGEROUS_SCHEMES or not parts.scheme:
        return "its scheme is not allowed"
    if "*" in parts.netloc or "@" in parts.netloc:
        return "wildcards and user names in it are not allowed"
    if parts.scheme in _WEB_SCHEMES:
        if not host or port == 0:
            return "it names no host"
        if "%" in parts.netloc:
            # Browsers decode it before they look the host up, others do not.
            return "its host is percent-encoded: write it as it is"
        if parts.scheme == "http" and host not in {"localhost", "127.0.0.1", "::1"}:
            return "plain http is only allowed on localhost, 127.0.0.1 and [::1]: use https"
    return None


def is_impersonable(redirect_uri: RedirectUri) -> bool:
    """Whether any program on the user's machine could receive the answer (RFC 8252 §8.6)."""
    # Plain http can be registered on loopback only.
    return urlsplit(redirect_uri.uri).scheme != "https"


def closest(sent: str, registered: tuple[str, ...]) -> str | None:
    """Return the registered URI most like the one sent."""
    return max(registered, key=lambda uri: SequenceMatcher(None, sent[:2048], uri).ratio(), default=None)


def differences(text: str, other: str) -> list[tuple[str, bool]]:
    """Return `text` in pieces, each with whether it differs from `other`, to be marked on a page."""
    pieces = []
    for tag, start, end, _, _ in SequenceMatcher(None, text, other, autojunk=False).get_opcodes():
        if start < end:
            pieces.append((text[start:end], tag != "equal"))
    return pieces
