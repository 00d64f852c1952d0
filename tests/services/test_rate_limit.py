"""Limits per network (RFC 6585 §4)."""

from ipaddress import ip_network
from types import SimpleNamespace

import pytest

from idp.domain.clock import system_clock
from idp.services.rate_limit import RateLimits, TooManyRequests


def limits(limit: str = "2/hour", *exempt: str) -> RateLimits:
    return RateLimits({"registration": limit, "other": "1/day"}, exempt=[ip_network(network) for network in exempt])


async def is_limited(limits: RateLimits, address: str | None, name: str = "registration") -> bool:
    try:
        await limits.hit(name, address)
    except TooManyRequests:
        return True
    return False


async def test_a_network_may_do_what_its_limit_allows_and_no_more():
    counted = limits()
    assert [await is_limited(counted, "192.0.2.7") for _ in range(4)] == [False, False, True, True]
    assert not await is_limited(counted, "192.0.2.7", "other")


@pytest.mark.parametrize(
    ("one", "another", "shared"),
    [
        ("192.0.2.7", "192.0.2.255", True),
        ("192.0.2.7", "192.0.3.7", False),
        ("192.0.2.7", "::ffff:192.0.2.8", True),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        (None, "garbage", True),
        (None, "192.0.2.7", False),
    ],
)
async def test_addresses_that_one_person_has_count_together(one: str | None, another: str, shared: bool):
    counted = limits("1/hour")
    await counted.hit("registration", one)
    assert await is_limited(counted, another) is shared


@pytest.mark.parametrize(
    ("address", "limited"),
    [("127.0.0.1", False), ("127.9.9.9", False), ("::ffff:127.0.0.1", False), ("::1", False), ("128.0.0.1", True)],
)
async def test_an_exempt_network_is_never_limited(address: str, limited: bool):
    counted = limits("1/hour", "127.0.0.0/8", "::1/128")
    await counted.hit("registration", address)
    assert await is_limited(counted, address) is limited


async def test_the_refusal_says_when_to_try_again_and_then_it_works(monkeypatch: pytest.MonkeyPatch):
    ahead = 0.0
    clock = SimpleNamespace(time=lambda: system_clock().timestamp() + ahead)
    monkeypatch.setattr("limits.aio.storage.memory.time", clock)
    counted = limits("1/minute")
    await counted.hit("registration", "192.0.2.7")
    with pytest.raises(TooManyRequests) as caught:
        await counted.hit("registration", "192.0.2.7")
    assert 55 <= caught.value.retry_after_seconds <= 60
    ahead = 61.0
    assert not await is_limited(counted, "192.0.2.7")
    assert await is_limited(counted, "192.0.2.7")


async def test_two_processes_count_apart():
    assert not await is_limited(limits("1/hour"), "192.0.2.7")
    assert not await is_limited(limits("1/hour"), "192.0.2.7")
