"""What the setup test finds out about the callback address, at the real providers."""

from typing import Any

import pytest

from idp.domain.clock import system_clock
from idp.domain.provider import ProviderKind
from idp.upstream.connector import Finding
from tests.support.upstreams import CALLBACK, MockProvider
from tests.upstream.connecting import Side, side, steps

__all__ = ["side"]

ELSEWHERE = "http://localhost/elsewhere"


async def probe(side: Side, upstream: Any, redirect_uri: str) -> dict[str, Finding]:
    connector = side.connect(upstream, ProviderKind.OIDC)
    return steps(await connector.probe(redirect_uri=redirect_uri, now=system_clock()))


@pytest.mark.parametrize("name", ["npm", "second"])
async def test_a_provider_that_keeps_to_prompt_none_tells_whether_it_knows_the_address_oidc_core_s3_1_2_1(
    side: Side, request: pytest.FixtureRequest, name: str
) -> None:
    upstream = request.getfixturevalue(name)
    known = (await probe(side, upstream, CALLBACK))["callback"]
    assert known.ok
    assert known.text == f"{CALLBACK} is registered: the provider answers there with login_required."
    unknown = (await probe(side, upstream, ELSEWHERE))["callback"]
    assert not unknown.ok
    assert "status 400" in unknown.text


async def test_one_that_shows_a_page_all_the_same_tells_only_what_it_does_not_know(
    side: Side, mock: MockProvider
) -> None:
    client = mock.registered(CALLBACK)
    print(await probe(side, client, CALLBACK))
    known = (await probe(side, client, CALLBACK))["callback (not checked)"]
    assert "shows a page instead of answering there" in known.text
    assert not (await probe(side, client, ELSEWHERE))["callback"].ok
