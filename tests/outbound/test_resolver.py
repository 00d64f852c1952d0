"""Asking the system for addresses: slow name servers hold up those who ask for their names, and nobody else."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from idp.outbound.resolver import SystemResolver

ADDRESS = "93.184.216.34"


@dataclass
class System:
    """The system's resolver: it knows every name, those with `slow` in them not before `may_answer`."""

    asked: list[str] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)

    def getaddrinfo(self, host: str, port: int, **_: object) -> list[object]:
        self.asked.append(host)
        if "slow" in host:
            assert self.may_answer.wait(60)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ADDRESS, port))]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    system = System()
    monkeypatch.setattr(socket, "getaddrinfo", system.getaddrinfo)
    return system


@pytest.fixture
def resolver(system: System) -> Iterator[SystemResolver]:
    resolver = SystemResolver()
    yield resolver
    system.may_answer.set()
    resolver.close()


async def waiting(resolver: SystemResolver, *names: str) -> list[asyncio.Task[list[str]]]:
    """Ask for names, all of which are being waited for when this returns."""
    tasks = [asyncio.create_task(resolver(name, 443)) for name in names]
    await asyncio.sleep(0)
    return tasks


async def begun(system: System, name: str) -> None:
    async with asyncio.timeout(10):
        while name not in system.asked:
            await asyncio.sleep(0)


async def give_up(*tasks: asyncio.Task[list[str]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_name_is_asked_for_once_however_many_wait_for_it(system: System, resolver: SystemResolver) -> None:
    tasks = await waiting(resolver, *["slow.example"] * 100)
    system.may_answer.set()

    assert await asyncio.gather(*tasks) == [[ADDRESS]] * 100
    assert system.asked == ["slow.example"]
    # An answer counts for those who waited for it, and is not kept.
    await resolver("slow.example", 443)
    assert system.asked == ["slow.example"] * 2


async def test_one_who_gives_up_leaves_the_answer_to_the_others(system: System, resolver: SystemResolver) -> None:
    impatient, patient = await waiting(resolver, "slow.example", "slow.example")
    await give_up(impatient)
    system.may_answer.set()

    assert impatient.cancelled()
    assert await patient == [ADDRESS]


async def test_a_name_that_all_gave_up_is_refused_at_once_until_the_system_has_done_with_it(
    system: System, resolver: SystemResolver
) -> None:
    tasks = await waiting(resolver, "slow.example", "slow.example")
    await begun(system, "slow.example")
    await give_up(*tasks)

    for _ in range(3):
        with pytest.raises(socket.gaierror, match="its name server does not answer"):
            await resolver("slow.example", 443)
    assert system.asked == ["slow.example"]
    system.may_answer.set()
    answer = None
    async with asyncio.timeout(10):
        while answer is None:
            try:
                answer = await resolver("slow.example", 443)
            except socket.gaierror:
                await asyncio.sleep(0)
    assert answer == [ADDRESS]


async def test_name_servers_that_do_not_answer_hold_up_no_other_names(system: System, resolver: SystemResolver) -> None:
    slow = await waiting(resolver, *(f"slow-{n}.example" for n in range(20)), *["slow.example"] * 100)

    async with asyncio.timeout(10):
        assert await resolver("rp.example", 443) == [ADDRESS]

    assert not any(task.done() for task in slow)
    await give_up(*slow)


async def test_what_nobody_waits_for_any_longer_is_not_even_asked(system: System, resolver: SystemResolver) -> None:
    slow = await waiting(resolver, *(f"slow-{n}.example" for n in range(200)))
    *_, last = slow
    await give_up(last)
    system.may_answer.set()

    await resolver("rp.example", 443)

    assert "slow-199.example" not in system.asked
    assert "slow-198.example" in system.asked
    await asyncio.gather(*slow[:-1])


async def test_an_error_reaches_everybody_who_waits(monkeypatch: pytest.MonkeyPatch, resolver: SystemResolver) -> None:
    def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    for task in await waiting(resolver, *["rp.example"] * 3):
        with pytest.raises(socket.gaierror, match="not known"):
            await task
