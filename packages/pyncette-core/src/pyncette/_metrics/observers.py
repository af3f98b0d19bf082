"""The metrics of an app, derived from events: the same for all exporters.

Labels: ``task_name`` is the name of the task or template, ``operation`` the repository's method, ``exception_type`` the
class of the exception. An operation that concerns several templates has an empty ``task_name``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from pyncette.events import (
    AttemptEnded,
    AttemptRunning,
    AttemptStarted,
    BatchStored,
    Claimed,
    LeaseLost,
    OperationFinished,
    OperationStarted,
    RunEnded,
    Sampled,
    TickFinished,
    TickStarted,
)
from pyncette.observer import Observer

_LAG_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75),
    *(1, 2.5, 5, 7.5, 10, 25, 50, 75, 100, 250, 500, 750, 1000),
)
_BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class InstrumentFactory(Protocol):
    """Creates instruments with the interface of ``prometheus_client``: ``labels(*values)`` returns an object with
    ``inc``, ``dec``, ``observe`` and ``set``; an instrument without labels has these methods itself."""

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Any: ...

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Any: ...

    def histogram(
        self, name: str, text: str, labels: Sequence[str] = (), buckets: Sequence[float] | None = None
    ) -> Any: ...


class _Family:
    """Number, durations, failures and number in progress of one kind of operation."""

    def __init__(self, kind: str, labels: tuple[str, ...], factory: InstrumentFactory) -> None:
        self._total = factory.counter(f"pyncette_{kind}_total", f"Number of {kind}", labels)
        self._duration = factory.histogram(
            f"pyncette_{kind}_duration_seconds", f"Duration of {kind} in seconds", labels
        )
        self._failures = factory.counter(
            f"pyncette_{kind}_failures_total", f"Number of failed {kind}", (*labels, "exception_type")
        )
        self._in_progress = factory.gauge(f"pyncette_{kind}_in_progress", f"Number of {kind} in progress", labels)

    def started(self, *values: str) -> None:
        _child(self._total, values).inc()
        _child(self._in_progress, values).inc()

    def finished(self, *values: str, duration: float, error: BaseException | None) -> None:
        _child(self._in_progress, values).dec()
        _child(self._duration, values).observe(duration)
        if isinstance(error, Exception):  # a cancellation is not a failure
            self._failures.labels(*values, type(error).__name__).inc()


def _child(metric: Any, values: tuple[str, ...]) -> Any:
    return metric.labels(*values) if values else metric


class Metrics:
    """All instruments, created once for all apps that share them."""

    def __init__(self, factory: InstrumentFactory) -> None:
        self.tasks: _Family = _Family("tasks", ("task_name",), factory)
        self.ticks: _Family = _Family("ticks", (), factory)
        self.operations: _Family = _Family("repository_ops", ("operation", "task_name"), factory)
        self.staleness = factory.histogram(
            "pyncette_tasks_staleness_seconds",
            "Time in seconds from the moment an occurrence was due to the start of its execution",
            ("task_name",),
            _LAG_BUCKETS,
        )
        self.longest_running = factory.gauge(
            "pyncette_tasks_longest_running_seconds",
            "How long the oldest execution that has outlasted half of its lease has been running, in seconds",
            ("task_name",),
        )
        self.due_lag = factory.gauge(
            "pyncette_due_lag_seconds",
            "How long the oldest occurrence that the last tick claimed had been due, in seconds; 0 if it claimed none",
        )
        self.leases_lost = factory.counter(
            "pyncette_leases_lost_total", "Number of leases lost before the execution was settled", ("task_name",)
        )
        self.runs = factory.counter(
            "pyncette_runs_total",
            "Number of occurrences that have ended, by outcome; skipped ones also by the reason",
            ("task_name", "outcome", "reason"),
        )
        self.batch_size = factory.histogram(
            "pyncette_settlement_batch_size",
            "Number of writes that went to the storage together",
            buckets=_BATCH_BUCKETS,
        )
        self.sampled: _Sampled = _Sampled(factory)


class _Sampled:
    """The instruments for samples."""

    def __init__(self, factory: InstrumentFactory) -> None:
        self.instances = factory.gauge(
            "pyncette_instances", "Number of instances that are held, by state: dead or paused", ("task_name", "state")
        )
        self.backlog = factory.gauge(
            "pyncette_backlog_age_seconds",
            "How long the oldest unclaimed occurrence has been ready, in seconds",
            ("task_name",),
        )
        self.beyond_lease = factory.gauge(
            "pyncette_executions_beyond_lease", "Number of executions that continue after their lease has expired"
        )
        self.overdue = factory.gauge("pyncette_writes_overdue", "1 while writes wait for a storage that fails, else 0")
        self.clock_offset = factory.gauge(
            "pyncette_clock_offset_seconds", "How far the storage's time is ahead of the machine's, in seconds"
        )


def observers_of(metrics: Metrics, *, repository: bool, ticks: bool, tasks: bool) -> Iterator[Observer]:
    """The observers to add to an app."""
    if repository:
        yield _RepositoryObserver(metrics)
    if ticks:
        yield _TickObserver(metrics)
    if tasks:
        yield _TaskObserver(metrics)


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
        self._lag = 0.0  # of the current tick's claims

    def tick_started(self, event: TickStarted, /) -> None:
        self._metrics.ticks.started()
        self._lag = 0.0

    def tick_finished(self, event: TickFinished, /) -> None:
        self._metrics.ticks.finished(duration=event.duration, error=event.error)
        if event.error is None:
            self._metrics.due_lag.set(self._lag)

    def claimed(self, event: Claimed, /) -> None:
        self._lag = max(self._lag, event.lag)


class _TaskObserver(Observer):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._running: dict[str, dict[tuple[str, int | None], float]] = {}  # long-running ones, by task

    def attempt_started(self, event: AttemptStarted, /) -> None:
        self._metrics.tasks.started(event.task)
        self._metrics.staleness.labels(event.task).observe(event.lag)

    def attempt_ended(self, event: AttemptEnded, /) -> None:
        if event.duration is not None:  # otherwise this worker never started it
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

    def sampled(self, event: Sampled, /) -> None:
        """Show a sample. Tasks that another worker samples now are removed."""
        metrics = self._metrics.sampled
        metrics.beyond_lease.set(event.beyond_lease)
        metrics.overdue.set(int(event.writes_overdue))
        metrics.clock_offset.set(event.clock_offset)
        metrics.instances.clear()
        metrics.backlog.clear()
        for sample in event.tasks:
            metrics.instances.labels(sample.task, "dead").set(sample.dead)
            metrics.instances.labels(sample.task, "paused").set(sample.paused)
            metrics.backlog.labels(sample.task).set(sample.backlog_age)
