"""Passwords that leaked elsewhere, asked for by k-anonymity: five characters of a hash leave this server."""

import hashlib
from datetime import timedelta

from idp.crypto.opaque import same
from idp.observe.logs import get_logger
from idp.outbound.client import Outbound, OutboundError

_PREFIX_CHARS = 5
_TIMEOUT = timedelta(seconds=2)
_OK = 200
_log = get_logger(__name__)


class BreachedPasswords:
    """Asks a service such as Have I Been Pwned; `url` is its address up to where the prefix stands."""

    def __init__(self, outbound: Outbound, url: str) -> None:
        self._outbound = outbound
        self._url = url

    async def has(self, password: str) -> bool:
        """Whether the password is known there; False where nobody answers: people are not kept from going on."""
        # SHA-1 is what these services are asked by; nothing here rests on it.
        digest = hashlib.sha1(password.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest().upper()
        prefix, rest = digest[:_PREFIX_CHARS], digest[_PREFIX_CHARS:]
        # Padded, so that the length of the answer does not tell the prefix to whoever watches the line.
        headers = {"Accept": "text/plain", "Add-Padding": "true"}
        try:
            fetched = await self._outbound.send("GET", self._url + prefix, headers, None, timeout=_TIMEOUT)
        except OutboundError as error:
            _log.warning("breached_passwords.failed", reason=type(error).__name__)
            return False
        if fetched.status != _OK:
            _log.warning("breached_passwords.failed", reason=f"HTTP {fetched.status}")
            return False
        return _holds(fetched.body, rest)


def _holds(body: bytes, rest: str) -> bool:
    for line in body.decode("ascii", "replace").splitlines():
        suffix, _, count = line.strip().partition(":")
        # Padding has a count of nought.
        if same(suffix.upper(), rest) and count.strip() not in {"", "0"}:
            return True
    return False
