"""Metrics for Prometheus: what the server does, counted without naming users or clients.

For several workers PROMETHEUS_MULTIPROC_DIR names a folder, empty at the start, before this module is imported: each
worker then counts into files there, and the `render` of any of them tells the sum of all.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from idp.domain.client import GrantType

# prometheus-client decides by the same variable, at the same time, where values are kept.
_SHARED_FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_OPERATIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_OTHER = "other"
# The class has no types of its own; making one registers it.
_collect_all_workers: Callable[[CollectorRegistry, str], object] = MultiProcessCollector
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_GRANT_TYPES = frozenset(map(str, GrantType))


class Metrics:
    """The metrics of one application, in a registry of their own.

    Labels are few by design: what a client may choose freely counts as `other` unless it is known.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Histogram(
            "idp_request_duration_seconds",
            "Duration of HTTP requests",
            ("route", "method", "status"),
            buckets=_SECONDS,
            registry=registry,
        )
        # To look labels up in the histogram itself costs more than to observe.
        self._children: dict[tuple[str, str, int], Histogram] = {}
        self._tokens_issued = Counter("idp_tokens_issued", "Token responses", ("grant_type",), registry=registry)
        self._tokens_refused = Counter(
            "idp_tokens_refused", "Refused token requests", ("grant_type", "error"), registry=registry
        )
        self._logins = Counter("idp_logins", "Attempts to sign in", ("method", "outcome"), registry=registry)
        self._logout_deliveries = Counter(
            "idp_logout_deliveries", "Attempts to deliver logout tokens", ("outcome",), registry=registry
        )
        # Every worker counts the same rows.
        self._logout_deliveries_given_up = Gauge(
            "idp_logout_deliveries_given_up",
            "Logout tokens that were given up",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._mails = Counter("idp_mails", "Attempts to send mail", ("outcome",), registry=registry)
        self._mails_given_up = Gauge(
            "idp_mails_given_up", "Mails that were given up", registry=registry, multiprocess_mode="livemax"
        )
        self._flushes = Histogram(
            "idp_commit_batch_size", "Operations in one group commit", buckets=_OPERATIONS, registry=registry
        )
        self._tracked: list[tuple[Gauge, Callable[[], float]]] = []

    def observe_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a finished request; `route` is the pattern of the route, never the path that was asked for."""
        if method not in _METHODS:
            method = _OTHER
        key = (route, method, status // 100)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._requests.labels(route, method, f"{status // 100}xx")
        child.observe(seconds)

    def token_issued(self, grant_type: str) -> None:
        """Count a token response."""
        self._tokens_issued.labels(_known(grant_type)).inc()

    def token_refused(self, grant_type: str, error: str) -> None:
        """Count a refused token request by its error code (RFC 6749 §5.2)."""
        self._tokens_refused.labels(_known(grant_type), error).inc()

    def login(self, method: str, outcome: str) -> None:
        """Count an attempt to sign in; both labels are names of ours, such as `password` and `failed`."""
        self._logins.labels(method, outcome).inc()

    def logout_delivery(self, outcome: str) -> None:
        """Count an attempt to deliver a logout token: `delivered`, `failed` or `given_up`."""
        self._logout_deliveries.labels(outcome).inc()

    def logout_deliveries_given_up(self, number: int) -> None:
        """Say how many logout tokens were given up and are still remembered."""
        self._logout_deliveries_given_up.set(number)

    def mail(self, outcome: str) -> None:
        """Count an attempt to send a mail: `delivered`, `failed` or `given_up`."""
        self._mails.labels(outcome).inc()

    def mails_given_up(self, number: int) -> None:
        """Say how many mails were given up and are still remembered."""
        self._mails_given_up.set(number)

    def flushed(self, operations: int) -> None:
        """Count one group commit."""
        self._flushes.observe(operations)

    def track(
        self,
        *,
        commit_queue: Callable[[], float],
        password_queue: Callable[[], float],
        database_connections: Callable[[], float],
    ) -> None:
        """Say where the lengths of the queues and the number of connections in use are read; called once."""
        self._tracked = [
            (Gauge(name, text, registry=self._registry, multiprocess_mode="livesum"), read)
            for name, text, read in (
                ("idp_commit_queue_depth", "Operations that wait for a group commit", commit_queue),
                ("idp_password_queue_depth", "Password hashes that wait for a thread", password_queue),
                ("idp_database_connections_in_use", "Database connections in use", database_connections),
            )
        ]

    def sample(self) -> None:
        """Read what is tracked; every worker of several does so every few seconds, as `render` runs in one only."""
        # Not Gauge.set_function: prometheus-client drops it silently when workers share a folder.
        for gauge, read in self._tracked:
            gauge.set(read())

    def render(self) -> tuple[bytes, str]:
        """Return the body of `/metrics`, for all workers, and its content type."""
        self.sample()
        if _SHARED_FOLDER is None:
            return generate_latest(self._registry), CONTENT_TYPE_LATEST
        _forget_dead_workers(Path(_SHARED_FOLDER))
        registry = CollectorRegistry()
        _collect_all_workers(registry, _SHARED_FOLDER)
        return generate_latest(registry), CONTENT_TYPE_LATEST


def _known(grant_type: str) -> str:
    return grant_type if grant_type in _GRANT_TYPES else _OTHER


def _forget_dead_workers(folder: Path) -> None:
    """Drop the gauges of workers that ended: one that crashed could not do it, and its queue is gone."""
    for file in folder.glob("gauge_live*_*.db"):
        with suppress(PermissionError):  # then it lives, under another user
            try:
                os.kill(int(file.stem.rpartition("_")[2]), 0)
            except ProcessLookupError:
                file.unlink(missing_ok=True)
