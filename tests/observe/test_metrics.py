"""Metrics: what they count, that their labels stay few, and that workers add up."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from idp.observe import metrics as module
from idp.observe.metrics import Metrics

ROOT = Path(__file__).parents[2]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def samples(text: str) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Every sample by its name and labels."""
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics.render()[0].decode()).get(name, {}).get(frozenset(labels.items()))


def test_a_request_is_counted_by_route_method_and_class_of_status(metrics: Metrics) -> None:
    metrics.observe_request("/token", "POST", 200, 0.004)
    metrics.observe_request("/token", "POST", 201, 0.2)
    metrics.observe_request("/token", "POST", 400, 0.1)
    labels = {"route": "/token", "method": "POST", "status": "2xx"}
    assert value(metrics, "idp_request_duration_seconds_count", **labels) == 2
    assert value(metrics, "idp_request_duration_seconds_sum", **labels) == pytest.approx(0.204)
    assert value(metrics, "idp_request_duration_seconds_bucket", **labels, le="0.0025") == 0
    assert value(metrics, "idp_request_duration_seconds_bucket", **labels, le="0.005") == 1
    assert value(metrics, "idp_request_duration_seconds_count", route="/token", method="POST", status="4xx") == 1


def test_methods_that_somebody_made_up_share_one_label(metrics: Metrics) -> None:
    for number in range(50):
        metrics.observe_request("/token", f"MADE-UP-{number}", 405, 0.001)
    counts = samples(metrics.render()[0].decode())["idp_request_duration_seconds_count"]
    assert counts == {frozenset({("route", "/token"), ("method", "other"), ("status", "4xx")}): 50}


def test_tokens_are_counted_by_grant_type_and_refusals_by_error_too(metrics: Metrics) -> None:
    metrics.token_issued("authorization_code")
    metrics.token_issued("authorization_code")
    metrics.token_refused("refresh_token", "invalid_grant")
    assert value(metrics, "idp_tokens_issued_total", grant_type="authorization_code") == 2
    assert value(metrics, "idp_tokens_refused_total", grant_type="refresh_token", error="invalid_grant") == 1


@pytest.mark.parametrize("grant_type", ["", "made-up", 'quo"te\n', "AUTHORIZATION_CODE"])
def test_grant_types_that_somebody_made_up_count_as_other(metrics: Metrics, grant_type: str) -> None:
    metrics.token_issued(grant_type)
    metrics.token_refused(grant_type, "unsupported_grant_type")
    assert value(metrics, "idp_tokens_issued_total", grant_type="other") == 1
    assert value(metrics, "idp_tokens_refused_total", grant_type="other", error="unsupported_grant_type") == 1


def test_logins_are_counted_by_method_and_outcome(metrics: Metrics) -> None:
    metrics.login("password", "failed")
    metrics.login("password", "failed")
    metrics.login("password", "succeeded")
    assert value(metrics, "idp_logins_total", method="password", outcome="failed") == 2
    assert value(metrics, "idp_logins_total", method="password", outcome="succeeded") == 1


def test_group_commits_are_counted_by_their_size(metrics: Metrics) -> None:
    metrics.flushed(1)
    metrics.flushed(7)
    assert value(metrics, "idp_commit_batch_size_bucket", le="1.0") == 1
    assert value(metrics, "idp_commit_batch_size_bucket", le="8.0") == 2
    assert value(metrics, "idp_commit_batch_size_sum") == 8


def test_queues_and_connections_are_read_when_somebody_asks(metrics: Metrics) -> None:
    queue = [1, 2, 3]
    metrics.track(commit_queue=lambda: len(queue), password_queue=lambda: 4, database_connections=lambda: 5)
    assert value(metrics, "idp_commit_queue_depth") == 3
    assert value(metrics, "idp_password_queue_depth") == 4
    assert value(metrics, "idp_database_connections_in_use") == 5
    queue.clear()
    assert value(metrics, "idp_commit_queue_depth") == 0


def test_the_answer_is_prometheus_text(metrics: Metrics) -> None:
    metrics.flushed(1)
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain; version=")
    assert b"# TYPE idp_commit_batch_size histogram\n" in body


def test_two_applications_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.login("password", "failed")
    assert value(second, "idp_logins_total", method="password", outcome="failed") is None


# ── Several workers ─────────────────────────────────────────────────────────────────────────────────────────────────
WORKER = """
import sys
from idp.observe.metrics import Metrics

metrics = Metrics()
metrics.track(commit_queue=lambda: 2, password_queue=lambda: 3, database_connections=lambda: 1)
metrics.login("password", "failed")
metrics.observe_request("/token", "POST", 200, 0.004)
metrics.sample()
print("counted", flush=True)
for line in sys.stdin:
    sys.stdout.write(metrics.render()[0].decode().replace("\\n", "|") + "\\n")
    sys.stdout.flush()
"""


class Worker:
    """A process that counts into a folder and answers with the metrics of all that do."""

    def __init__(self, folder: Path) -> None:
        env = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder), "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._read() == "counted"

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().removesuffix("\n")

    def render(self) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._read().replace("|", "\n")

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[[], Worker]]:
    started: list[Worker] = []

    def start() -> Worker:
        started.append(Worker(tmp_path))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


def test_every_worker_tells_the_sum_of_all(start_worker: Callable[[], Worker]) -> None:
    for worker in (start_worker(), start_worker()):
        worker_labels = frozenset({("method", "password"), ("outcome", "failed")})
        told = samples(worker.render())
        assert told["idp_logins_total"] == {worker_labels: 2}
        assert list(told["idp_request_duration_seconds_count"].values()) == [2]
        assert list(told["idp_commit_queue_depth"].values()) == [4]
        assert list(told["idp_password_queue_depth"].values()) == [6]


def test_a_worker_that_crashed_keeps_its_counts_but_no_queue(start_worker: Callable[[], Worker]) -> None:
    crashed, left = start_worker(), start_worker()
    crashed.kill()
    told = samples(left.render())
    assert list(told["idp_logins_total"].values()) == [2]
    assert list(told["idp_commit_queue_depth"].values()) == [2]


@pytest.mark.parametrize(("error", "kept"), [(PermissionError, True), (ProcessLookupError, False)])
def test_a_worker_of_another_user_lives_while_one_that_is_gone_is_forgotten(
    tmp_path: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, error: type[OSError], kept: bool
) -> None:
    def refuse(pid: int, signal: int) -> None:
        assert (pid, signal) == (4711, 0)
        raise error

    file = tmp_path / "gauge_livesum_4711.db"
    file.write_bytes(bytes(8))  # a file without values yet
    monkeypatch.setattr(os, "kill", refuse)
    monkeypatch.setattr(module, "_SHARED_FOLDER", str(tmp_path))
    metrics.render()
    assert file.exists() == kept
