"""What the setup test finds out about the callback address, at the real providers."""

from typing import Any

import pytest

from idp.domain.clock import system_clock
from idp.domain.provider import ProviderKind
from idp.upstream.connector import Finding
from tests.support.upstreams import CALLBACK, MockProvider
from tests.upstream.connecting import Side, side, steps

__all__ = ["side"]


async def callback(side: Side, upstream: Any, redirect_uri: str) -> Finding:
    connector = side.connect(upstream, ProviderKind.OIDC)
    return steps(await connector.probe(redirect_uri=redirect_uri, now=system_clock()))["callback"]


@pytest.mark.parametrize("name", ["npm", "second", "mock"])
async def test_a_provider_that_is_asked_to_show_nothing_tells_whether_it_knows_the_address_oidc_core_s3_1_2_1(
    side: Side, request: pytest.FixtureRequest, name: str
) -> None:
    upstream = request.getfixturevalue(name)
    if isinstance(upstream, MockProvider):
        # Others of its clients may go anywhere.
        upstream = upstream.registered(CALLBACK)
    known = await callback(side, upstream, CALLBACK)
    assert known.ok
    assert known.text == f"{CALLBACK} is registered: the provider answers there with login_required."
    unknown = await callback(side, upstream, "http://localhost/elsewhere")
    assert not unknown.ok
    assert "shows a page of status 4" in unknown.text
    assert unknown.advice.startswith("Register exactly this address: ")
