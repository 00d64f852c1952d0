"""Connectors that speak with the providers of the tests, and a browser that goes there and back."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from ssl import SSLContext
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from idp.domain.clock import Clock, system_clock
from idp.domain.provider import ProviderKind
from idp.domain.upstream import UpstreamIdentity
from idp.outbound.addresses import AllowRule
from idp.outbound.client import Outbound
from idp.outbound.exchange import trusted_authorities
from idp.protocol.upstream import UpstreamFault, UpstreamRefused
from idp.upstream.circuit import Circuit
from idp.upstream.connector import Connector, Departure, Finding
from idp.upstream.connectors import connect
from idp.upstream.documents import Documents
from tests.support.bent import Bent
from tests.support.factories import make_provider
from tests.upstream.conftest import MemoryShelf

CALLBACK = "http://localhost:8000/login/campus/callback"
LEFT = Departure(redirect_uri=CALLBACK, state="s" * 43, nonce="n" * 43, code_verifier="v" * 43)
# What a test waits for at most that waits for silence.
PATIENCE = timedelta(seconds=0.3)


@dataclass
class Browser:
    """Goes to a provider that asks nobody anything, and brings back its answer."""

    http: httpx2.AsyncClient

    async def answer(self, url: str) -> dict[str, str]:
        response = await self.http.get(url)
        assert response.is_redirect, response.text
        location = response.headers["location"]
        assert location.startswith(f"{CALLBACK}?")
        return dict(parse_qsl(urlsplit(location).query, keep_blank_values=True))


@dataclass
class Side:
    """Our side of a provider: what its connectors share."""

    outbound: Outbound
    browser: Browser
    clock: Clock = system_clock
    circuit: Circuit = field(default_factory=Circuit)
    documents: Documents = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget the provider's documents."""
        self.documents = Documents(self.outbound, MemoryShelf(), lambda: self.clock())

    def connect(self, bent: Bent, kind: ProviderKind, *, secret: str | None = "", **changes: Any) -> Connector:
        """Return a connector; with the right secret, unless there is to be another or none."""
        usual = {"kind": kind, "issuer": bent.issuer, "client_id": bent.client_id}
        provider = make_provider(**{**usual, **changes})
        secret = bent.client_secret if secret == "" else secret
        return connect(provider, secret, self.outbound, self.documents, self.circuit, lambda: self.clock())

    async def identify(
        self, connector: Connector, departure: Departure = LEFT, **changes: str | None
    ) -> UpstreamIdentity:
        """Go there and come back; the changes are to the answer, None takes a parameter away."""
        answer = await self.browser.answer(await connector.authorization_url(departure))
        return await self.take(connector, {**answer, **changes}, departure)

    async def take(
        self, connector: Connector, answer: Mapping[str, str | None], departure: Departure = LEFT
    ) -> UpstreamIdentity:
        told = {name: value for name, value in answer.items() if value is not None}
        return await connector.identify(told, departure, now=self.clock())

    async def refusal(
        self, connector: Connector, departure: Departure = LEFT, **changes: str | None
    ) -> UpstreamRefused:
        with pytest.raises(UpstreamRefused) as caught:
            await self.identify(connector, departure, **changes)
        assert caught.value.provider == connector.provider.name
        return caught.value


def query(url: str) -> dict[str, str]:
    """Return the parameters of an address, of which none may be there twice."""
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def named(value: Any) -> str:
    """Return the name of a test's parameter: short, and the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))[:80]


def is_refused(refused: UpstreamRefused, fault: UpstreamFault, detail: str) -> bool:
    return refused.fault is fault and detail in refused.detail


def steps(findings: Any) -> dict[str, Finding]:
    found = {finding.step: finding for finding in findings}
    assert len(found) == len(findings)
    return found


@pytest.fixture
async def side() -> AsyncIterator[Side]:
    async with _side(timedelta(seconds=5)) as side:
        yield side


@pytest.fixture
async def hasty() -> AsyncIterator[Side]:
    """Our side with little patience."""
    async with _side(PATIENCE) as side:
        yield side


@cache
def _authorities() -> SSLContext:
    # Of the whole run: to read the authorities of the system takes longer than most tests.
    return trusted_authorities(None)


@asynccontextmanager
async def _side(timeout: timedelta) -> AsyncIterator[Side]:
    outbound = Outbound(allow=[AllowRule.parse("127.0.0.1"), AllowRule.parse("::1")], timeout=timeout)
    vars(outbound)["_tls"] = _authorities()
    async with _browser() as browser:
        yield Side(outbound, browser)
    await outbound.close()


@asynccontextmanager
async def _browser() -> AsyncIterator[Browser]:
    async with httpx2.AsyncClient(trust_env=False, verify=False, timeout=10) as http:
        yield Browser(http)
