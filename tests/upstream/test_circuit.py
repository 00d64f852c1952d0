"""When a provider that is down is left alone, and how it comes back."""

from datetime import timedelta

import pytest

from idp.upstream.circuit import FAILURES, PAUSE, Circuit, CircuitOpen
from tests.support.clock import START

TICK = timedelta(microseconds=1)
LATER = START + PAUSE


@pytest.fixture
def circuit() -> Circuit:
    return Circuit()


def broken(circuit: Circuit, name: str = "google") -> Circuit:
    for _ in range(FAILURES):
        circuit.check(name, START)
        circuit.failed(name, START)
    return circuit


def test_a_provider_that_was_never_asked_may_be(circuit: Circuit) -> None:
    circuit.check("google", START)
    assert not circuit.is_open("google", START)


def test_five_failures_in_a_row_open_it_for_thirty_seconds(circuit: Circuit) -> None:
    assert (5, timedelta(seconds=30)) == (FAILURES, PAUSE)
    for _ in range(FAILURES - 1):
        circuit.failed("google", START)
        assert not circuit.is_open("google", START)
        circuit.check("google", START)
    circuit.failed("google", START)
    for now, left in ((START, PAUSE), (LATER - TICK, TICK)):
        assert circuit.is_open("google", now)
        with pytest.raises(CircuitOpen, match=r"^the provider google is down") as caught:
            circuit.check("google", now)
        assert caught.value.retry_after == left


def test_an_answer_among_the_failures_begins_the_count_again(circuit: Circuit) -> None:
    for _ in range(3):
        for _ in range(FAILURES - 1):
            circuit.failed("google", START)
        circuit.succeeded("google")
    circuit.check("google", START)


def test_after_the_pause_one_caller_tries_and_the_others_wait_for_it(circuit: Circuit) -> None:
    broken(circuit)
    assert not circuit.is_open("google", LATER), "whoever asks for a page is told that it can be tried"
    circuit.check("google", LATER)
    assert circuit.is_open("google", LATER)
    for now in (LATER, LATER + PAUSE - TICK):
        with pytest.raises(CircuitOpen):
            circuit.check("google", now)


def test_a_try_that_is_answered_closes_it(circuit: Circuit) -> None:
    broken(circuit).check("google", LATER)
    circuit.succeeded("google")
    for _ in range(FAILURES - 1):
        circuit.failed("google", LATER)
    circuit.check("google", LATER)


def test_a_try_that_fails_opens_it_again_at_once(circuit: Circuit) -> None:
    broken(circuit).check("google", LATER)
    failed_at = LATER + timedelta(seconds=5)
    circuit.failed("google", failed_at)
    assert circuit.is_open("google", failed_at + PAUSE - TICK)
    circuit.check("google", failed_at + PAUSE)


def test_a_try_that_nobody_hears_of_any_more_blocks_nobody_for_ever(circuit: Circuit) -> None:
    broken(circuit).check("google", LATER)
    circuit.check("google", LATER + PAUSE)
    with pytest.raises(CircuitOpen):
        circuit.check("google", LATER + PAUSE)


def test_one_provider_that_is_down_stops_no_other(circuit: Circuit) -> None:
    broken(circuit)
    circuit.check("github", START)
    assert not circuit.is_open("github", START)


def test_only_the_last_hundred_that_failed_are_remembered(circuit: Circuit) -> None:
    broken(circuit, "first")
    broken(circuit, "second")
    for number in range(98):
        circuit.failed(f"other-{number}", START)
    circuit.failed("second", START)
    assert circuit.is_open("first", START)
    circuit.failed("one-more", START)
    assert not circuit.is_open("first", START)
    assert circuit.is_open("second", START)
