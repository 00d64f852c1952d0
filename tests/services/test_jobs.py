"""Work beside requests: again and again, whatever happens, until it is stopped."""

import asyncio
from datetime import timedelta

import pytest

from idp.services.jobs import Jobs
from idp.store.errors import Unavailable

SOON = timedelta(milliseconds=1)


class Counted:
    """A job that tells when it ran three times; it may fail each time."""

    def __init__(self, *, failing: bool = False) -> None:
        self.runs = 0
        self.failing = failing
        self.thrice = asyncio.Event()

    async def run(self) -> None:
        self.runs += 1
        if self.runs == 3:
            self.thrice.set()
        if self.failing:
            raise RuntimeError("out of order")


async def test_jobs_run_again_and_again_until_they_are_stopped() -> None:
    first, second, plain = Counted(), Counted(), []
    jobs = Jobs({"first": (SOON, first.run), "second": (SOON, second.run), "plain": (SOON, lambda: plain.append(1))})
    jobs.start()
    async with asyncio.timeout(10):
        await first.thrice.wait()
        await second.thrice.wait()
        while len(plain) < 3:
            await asyncio.sleep(0)

    await jobs.stop()

    stopped = (first.runs, second.runs, len(plain))
    for _ in range(20):
        await asyncio.sleep(0)
    assert (first.runs, second.runs, len(plain)) == stopped


async def test_a_failure_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    job = Counted(failing=True)
    jobs = Jobs({"broken": (SOON, job.run)})
    jobs.start()
    async with asyncio.timeout(10):
        await job.thrice.wait()
    await jobs.stop()

    assert "job.failed" in caplog.text
    assert "'job': 'broken'" in caplog.text


async def test_an_outage_is_a_warning_and_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    tried = asyncio.Event()

    async def without_database() -> None:
        tried.set()
        raise Unavailable("the database is out of reach")

    jobs = Jobs({"sweep": (SOON, without_database)})
    jobs.start()
    async with asyncio.timeout(10):
        await tried.wait()
    await jobs.stop()

    assert {record.levelname for record in caplog.records if "sweep" in record.getMessage()} == {"WARNING"}


async def test_nothing_runs_before_its_time() -> None:
    job = Counted()
    jobs = Jobs({"later": (timedelta(hours=1), job.run)})
    jobs.start()
    for _ in range(20):
        await asyncio.sleep(0)
    await jobs.stop()

    assert job.runs == 0


async def test_a_job_that_is_running_when_everything_stops_is_told_so_and_waited_for() -> None:
    running, cleaned_up = asyncio.Event(), asyncio.Event()

    async def long() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned_up.set()

    jobs = Jobs({"long": (SOON, long)}, patience=SOON)
    jobs.start()
    async with asyncio.timeout(10):
        await running.wait()
        await jobs.stop()

    assert cleaned_up.is_set()


async def test_a_turn_that_has_begun_is_finished_when_everything_stops() -> None:
    running, may_finish = asyncio.Event(), asyncio.Event()
    finished = []

    async def statement() -> None:
        running.set()
        await may_finish.wait()
        finished.append(1)

    jobs = Jobs({"statement": (SOON, statement)})
    jobs.start()
    async with asyncio.timeout(10):
        await running.wait()
        stopping = asyncio.create_task(jobs.stop())
        await asyncio.sleep(0)
        may_finish.set()
        await stopping

    assert finished == [1]


async def test_a_job_may_wait_for_something_before_each_turn() -> None:
    job, due = Counted(), asyncio.Event()
    jobs = Jobs({"when due": (due.wait, job.run)})
    jobs.start()
    for _ in range(20):
        await asyncio.sleep(0)
    assert job.runs == 0
    due.set()
    async with asyncio.timeout(10):
        await job.thrice.wait()
    await jobs.stop()
