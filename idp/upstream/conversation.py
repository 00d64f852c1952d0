"""One conversation with a provider: within limits of time, noted by the circuit, every failure in our own words.

The provider is down (DOWN) when nothing comes, nothing in time, a status of 500 or more, or something else than JSON
from the token endpoint; a status of 400 or more is its refusal (REFUSED), whatever stands in it. What it tells of a
person is not to be believed (INVALID) where it is no JSON that we take, and so is any answer that is too large. Anybody
can come here with a code that makes a provider refuse, or with a name or groups that break its answer, and must not be
able to shut it off for the others.
"""

import asyncio
import base64
import json
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NoReturn
from urllib.parse import quote_plus

from idp.domain.clock import Clock
from idp.outbound.client import Fetched, Forbidden, Outbound, OutboundError, Unacceptable, Unreachable
from idp.protocol.upstream import UpstreamFault, UpstreamRefused
from idp.upstream.circuit import Circuit, CircuitOpen
from idp.upstream.documents import DocumentUnavailable

# For all that happens between coming back from the provider and knowing who it is.
TIME_LIMIT = timedelta(seconds=10)
AUTH_METHODS = ("client_secret_basic", "client_secret_post", "none")
_MAX_ERROR_CHARS = 60
_MAX_EXPIRES_IN = 10**10


class TokenRefused(UpstreamRefused):
    """The token endpoint refused (RFC 6749 §5.2); `error` is its code, `description` what it says to developers."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(UpstreamFault.REFUSED, detail=f"the token endpoint refused: {error}")
        self.error = error
        self.description = description


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEndpoint:
    """Where tokens are asked for, and as whom (RFC 6749 §2.3); `auth_method` is one of `AUTH_METHODS`."""

    url: str
    client_id: str
    secret: str | None = field(repr=False)
    auth_method: str


class Turn:
    """One try at a provider; `ask` comes before the first request that is not for a document."""

    def __init__(self, name: str, circuit: Circuit, clock: Clock) -> None:
        self._name = name
        self._circuit = circuit
        self._clock = clock
        self._asked = False

    def ask(self) -> None:
        """Check that the provider may be asked.

        Raises:
            CircuitOpen: it was down several times in a row.
        """
        self._circuit.check(self._name, self._clock())
        self._asked = True

    def ended(self, *, down: bool) -> None:
        """Note how it ended. That documents could be had proves nothing: they are cached."""
        if down:
            self._circuit.failed(self._name, self._clock())
        elif self._asked:
            self._circuit.succeeded(self._name)


class Conversation:
    """Speaks with the provider of a name."""

    def __init__(self, name: str, outbound: Outbound, circuit: Circuit, clock: Clock) -> None:
        self._name = name
        self._outbound = outbound
        self._circuit = circuit
        self._clock = clock

    def check_up(self) -> None:
        """Check that the provider is not known to be down.

        Raises:
            UpstreamRefused: it is (DOWN).
        """
        if self._circuit.is_open(self._name, self._clock()):
            raise UpstreamRefused(UpstreamFault.DOWN, provider=self._name, detail="it was down several times in a row")

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """Let something be asked of the provider, for at most ten seconds.

        Raises:
            UpstreamRefused: as it was raised inside, under the provider's name; INVALID for an answer of a kind or
                size that is not taken, DOWN for whatever else went wrong on the way there and back.
        """
        turn = Turn(self._name, self._circuit, self._clock)
        try:
            async with asyncio.timeout(TIME_LIMIT.total_seconds()):
                yield turn
        except UpstreamRefused as refused:
            refused.provider = self._name
            turn.ended(down=refused.fault is UpstreamFault.DOWN)
            raise
        except CircuitOpen as error:
            raise self._down(str(error)) from None
        except TimeoutError:
            turn.ended(down=True)
            raise self._down(f"no answer within {TIME_LIMIT.total_seconds():g} seconds") from None
        except Unacceptable as error:
            turn.ended(down=False)
            raise UpstreamRefused(UpstreamFault.INVALID, provider=self._name, detail=str(error)) from None
        except (OutboundError, DocumentUnavailable) as error:
            turn.ended(down=True)
            raise self._down(str(error)) from None
        else:
            turn.ended(down=False)

    async def get_json(self, url: str, access_token: str, *, accept: str = "application/json") -> Any:
        """Return what an address of the provider tells whoever holds a token (RFC 6750 §2.1); asked twice if need be.

        Raises:
            UpstreamRefused: DOWN or REFUSED; INVALID where it is signed (OpenID Connect Core §5.3.2), or no JSON.
            OutboundError: it does not answer.
        """
        headers = {"Accept": accept, "Authorization": f"Bearer {access_token}"}
        fetched = await self._get_once(url, headers)
        if fetched is None or fetched.status >= 500:
            fetched = await self._outbound.send("GET", url, headers, None)
        if fetched.status == 200 and fetched.content_type == "application/jwt":
            raise UpstreamRefused(
                UpstreamFault.INVALID,
                detail="userinfo is a signed JWT: register the client without userinfo_signed_response_alg",
            )
        return _json(fetched)

    async def token(
        self, endpoint: TokenEndpoint, grant_type: str, form: Mapping[str, str], *, proven: bool = False
    ) -> Mapping[str, Any]:
        """Return the answer of a token endpoint (RFC 6749 §5.1), whose types are right and whose token is a bearer's.

        Asked twice only where nothing was sent the first time: a code works once. `proven` promises that the caller
        believes no answer but one that proves to which request it belongs: the connection may then be used again.

        Raises:
            TokenRefused: it says why not.
            UpstreamRefused: DOWN or REFUSED; INVALID where it is no answer that we know.
            OutboundError: it does not answer.
        """
        try:
            return await self._token(endpoint, grant_type, form, proven)
        except Unreachable:
            return await self._token(endpoint, grant_type, form, proven)

    async def _get_once(self, url: str, headers: Mapping[str, str]) -> Fetched | None:
        try:
            return await self._outbound.send("GET", url, headers, None)
        except (Forbidden, Unacceptable):
            raise
        except OutboundError:
            return None

    async def _token(
        self, endpoint: TokenEndpoint, grant_type: str, form: Mapping[str, str], proven: bool
    ) -> Mapping[str, Any]:
        # Loaded with the first sign-in: Authlib, and the HTTP library under it, are slow to load.
        from authlib.integrations.httpx_client import AsyncOAuth2Client

        from idp.outbound.exchange import read_url
        from idp.outbound.transport import GuardedTransport

        # In our own words, before the HTTP library refuses it in its own.
        read_url(endpoint.url)
        async with AsyncOAuth2Client(
            client_id=endpoint.client_id,
            client_secret=endpoint.secret,
            token_endpoint_auth_method=endpoint.auth_method,
            transport=GuardedTransport(self._outbound, keep=proven),
            trust_env=False,
        ) as client:
            client.register_client_auth_method(("client_secret_basic", _basic))
            client.register_compliance_hook("access_token_response", _check_token_answer)
            answer: Mapping[str, Any] = await client.fetch_token(endpoint.url, grant_type=grant_type, **form)
            return dict(answer)

    def _down(self, detail: str) -> UpstreamRefused:
        return UpstreamRefused(UpstreamFault.DOWN, provider=self._name, detail=detail)


def printable(text: Any) -> str:
    """Return an error code of somebody else's as it may be logged: whole if it is short printable ASCII, or not."""
    is_fine = isinstance(text, str) and text.isascii() and text.isprintable() and len(text) <= _MAX_ERROR_CHARS
    return text if is_fine else ""


def cleaned(text: Any, limit: int = 200) -> str:
    """Return what of a text of somebody else's may be shown to an admin: its printable ASCII, cut."""
    return "".join(mark for mark in text if " " <= mark <= "~")[:limit] if isinstance(text, str) else ""


def read_json(body: bytes) -> Any:
    """Read JSON (RFC 8259) without what our database or another server could not take.

    Raises:
        ValueError: it is none.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_number)
        if b"\\u" in body:
            # Escapes can smuggle in lone surrogates (RFC 7493 §2.1).
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("too deep") from None
    return value


def _json(fetched: Fetched) -> Any:
    if fetched.status >= 500:
        raise UpstreamRefused(UpstreamFault.DOWN, detail=f"it answered with status {fetched.status}")
    if fetched.status != 200:
        raise UpstreamRefused(UpstreamFault.REFUSED, detail=f"it answered with status {fetched.status}")
    try:
        return read_json(fetched.body)
    except ValueError:
        raise UpstreamRefused(UpstreamFault.INVALID, detail="it answered with something that is no JSON") from None


def _check_token_answer(response: Any) -> Any:
    """Look at an answer of the token endpoint before Authlib reads it, which takes much for a token."""
    status: int = response.status_code
    if status >= 500:
        raise UpstreamRefused(UpstreamFault.DOWN, detail=f"the token endpoint answered with status {status}")
    try:
        answer = read_json(response.content)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and "error" in answer:
        error = printable(answer["error"]) or "an error without a name"
        raise TokenRefused(error, cleaned(answer.get("error_description")))
    if status != 200:
        raise UpstreamRefused(UpstreamFault.REFUSED, detail=f"the token endpoint answered with status {status}")
    if not isinstance(answer, dict):
        raise UpstreamRefused(UpstreamFault.DOWN, detail="the token endpoint answered with something that is no JSON")
    _check_token(answer)
    return response


def _check_token(answer: Mapping[str, Any]) -> None:
    token, kind = answer.get("access_token"), answer.get("token_type")
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        _refuse("the token endpoint gave no access token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        _refuse("the token endpoint gave a token that is no bearer's (token_type)")
    for name in ("id_token", "refresh_token", "scope"):
        if not isinstance(answer.get(name), str | None):
            _refuse(f"the token endpoint gave a {name} that is none")
    if not all(_is_duration(answer.get(name)) for name in ("expires_in", "expires_at")):
        _refuse("the token endpoint gave a time that is none")


def _is_duration(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdigit() and len(value) <= 10
    if isinstance(value, bool):
        return False
    return value is None or (isinstance(value, int | float) and 0 <= value <= _MAX_EXPIRES_IN and math.isfinite(value))


def _basic(client: Any, method: str, uri: str, headers: Any, body: Any) -> Any:
    # Authlib leaves out the encoding, without which some secrets are other ones (RFC 6749 §2.3.1).
    pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
    headers["Authorization"] = f"Basic {base64.b64encode(pair.encode('ascii')).decode('ascii')}"
    return uri, headers, body


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _refuse(detail: str) -> NoReturn:
    raise UpstreamRefused(UpstreamFault.INVALID, detail=detail)
