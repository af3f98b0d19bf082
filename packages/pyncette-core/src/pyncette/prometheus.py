"""Metrics for Prometheus. Needs the extra ``prometheus``.

Labels: ``task_name`` is the name of the task or template, ``operation`` the repository's method, ``exception_type`` the
class of what was raised. An operation that serves several templates at once has an empty ``task_name``.
"""

from __future__ import annotations

from typing import TypeVar
from weakref import WeakKeyDictionary

from ._app.app import Pyncette
from .events import (
    AttemptEnded,
    AttemptRunning,
    AttemptStarted,
    BatchStored,
    Claimed,
    LeaseLost,
    OperationFinished,
    OperationStarted,
    RunEnded,
    TickFinished,
    TickStarted,
)
from .observer import Observer

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ImportError as _error:
    raise ImportError(
        "pyncette.prometheus needs prometheus-client: pip install 'pyncette-core[prometheus]'."
    ) from _error

MetricT = TypeVar("MetricT", Counter, Gauge, Histogram)

_LAG_BUCKETS = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
    25,
    50,
    75,
    100,
    250,
    500,
    750,
    1000,
)
_BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def use_prometheus(
    app: Pyncette,
    measure_repository: bool = True,
    measure_ticks: bool = True,
    measure_tasks: bool = True,
    registry: CollectorRegistry = REGISTRY,
) -> None:
    """Measure an app. Serving the metrics is up to you, for example with ``prometheus_client.start_http_server``.

    :param measure_repository: families ``pyncette_repository_ops_*`` and ``pyncette_settlement_batch_size``.
    :param measure_ticks: families ``pyncette_ticks_*`` and ``pyncette_due_lag_seconds``.
    :param measure_tasks: families ``pyncette_tasks_*``, ``pyncette_runs_total`` and ``pyncette_leases_lost_total``.
    :param registry: where the metrics are registered. Apps with the same registry share them.
    """
    metrics = _metrics.get(registry)
    if metrics is None:
        metrics = _metrics[registry] = Metrics(registry)
    if measure_repository:
        app.use_observer(_RepositoryObserver(metrics))
    if measure_ticks:
        app.use_observer(_TickObserver(metrics))
    if measure_tasks:
        app.use_observer(_TaskObserver(metrics))


class _Family:
    """Counts, durations, failures and number in progress of one kind of thing."""

    def __init__(self, kind: str, labels: tuple[str, ...], registry: CollectorRegistry) -> None:
        self._labels = labels
        self._total = Counter(f"pyncette_{kind}_total", f"Number of {kind}", labels, registry=registry)
        self._duration = Histogram(
            f"pyncette_{kind}_duration_seconds", f"Duration of {kind} in seconds", labels, registry=registry
        )
        self._failures = Counter(
            f"pyncette_{kind}_failures_total",
            f"Number of failed {kind}",
            (*labels, "exception_type"),
            registry=registry,
        )
        self._in_progress = Gauge(
            f"pyncette_{kind}_in_progress", f"Number of {kind} in progress", labels, registry=registry
        )

    def started(self, *values: str) -> None:
        _child(self._total, values).inc()
        _child(self._in_progress, values).inc()

    def finished(self, *values: str, duration: float, error: BaseException | None) -> None:
        _child(self._in_progress, values).dec()
        _child(self._duration, values).observe(duration)
        if isinstance(error, Exception):  # a cancellation is no failure
            self._failures.labels(*values, type(error).__name__).inc()


def _child(metric: MetricT, values: tuple[str, ...]) -> MetricT:
    return metric.labels(*values) if values else metric


class Metrics:
    """The metrics of one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.tasks: _Family = _Family("tasks", ("task_name",), registry)
        self.ticks: _Family = _Family("ticks", (), registry)
        self.operations: _Family = _Family("repository_ops", ("operation", "task_name"), registry)
        self.staleness: Histogram = Histogram(
            "pyncette_tasks_staleness_seconds",
            "Time in seconds from the moment an occurrence was due to the start of its execution",
            ("task_name",),
            buckets=_LAG_BUCKETS,
            registry=registry,
        )
        self.longest_running: Gauge = Gauge(
            "pyncette_tasks_longest_running_seconds",
            "How long the oldest execution that has outlasted half of its lease has been running, in seconds",
            ("task_name",),
            registry=registry,
        )
        self.due_lag: Gauge = Gauge(
            "pyncette_due_lag_seconds",
            "How long the oldest occurrence that the last tick claimed had been due, in seconds",
            registry=registry,
        )
        self.leases_lost: Counter = Counter(
            "pyncette_leases_lost_total",
            "Number of leases lost before the execution was settled",
            ("task_name",),
            registry=registry,
        )
        self.runs: Counter = Counter(
            "pyncette_runs_total",
            "Number of occurrences that have ended, by outcome; skipped ones also by the reason",
            ("task_name", "outcome", "reason"),
            registry=registry,
        )
        self.batch_size: Histogram = Histogram(
            "pyncette_settlement_batch_size",
            "Number of writes that went to the storage together",
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )


_metrics: WeakKeyDictionary[CollectorRegistry, Metrics] = WeakKeyDictionary()


class _RepositoryObserver(Observer):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def operation_started(self, event: OperationStarted, /) -> None:
        self._metrics.operations.started(event.operation, event.task)

    def operation_finished(self, event: OperationFinished, /) -> None:
        self._metrics.operations.finished(event.operation, event.task, duration=event.duration, error=event.error)

    def batch_stored(self, event: BatchStored, /) -> None:
        self._metrics.batch_size.observe(event.size)


class _TickObserver(Observer):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def tick_started(self, event: TickStarted, /) -> None:
        self._metrics.ticks.started()

    def tick_finished(self, event: TickFinished, /) -> None:
        self._metrics.ticks.finished(duration=event.duration, error=event.error)

    def claimed(self, event: Claimed, /) -> None:
        self._metrics.due_lag.set(event.lag)


class _TaskObserver(Observer):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._running: dict[str, dict[tuple[str, int | None], float]] = {}  # by task, those that have run for long

    def attempt_started(self, event: AttemptStarted, /) -> None:
        self._metrics.tasks.started(event.task)
        self._metrics.staleness.labels(event.task).observe(event.lag)

    def attempt_ended(self, event: AttemptEnded, /) -> None:
        if event.duration is not None:  # otherwise it never started here
            self._metrics.tasks.finished(event.task, duration=event.duration, error=event.error)
            if self._running.get(event.task):
                self._running[event.task].pop((event.key, event.fencing_token), None)
                self._show_longest(event.task)

    def attempt_running(self, event: AttemptRunning, /) -> None:
        self._running.setdefault(event.task, {})[event.key, event.fencing_token] = event.duration
        self._show_longest(event.task)

    def _show_longest(self, task: str) -> None:
        longest = max(self._running[task].values(), default=0)
        self._metrics.longest_running.labels(task).set(longest)

    def run_ended(self, event: RunEnded, /) -> None:
        reason = event.reason if event.outcome == "skipped" else ""
        self._metrics.runs.labels(event.task, event.outcome, reason).inc(event.count)

    def lease_lost(self, event: LeaseLost, /) -> None:
        self._metrics.leases_lost.labels(event.task).inc()
