"""Metrics for Prometheus. Needs the extra ``prometheus``.

Labels: ``task_name`` is the name of the task or template, ``operation`` the repository's method, ``exception_type`` the
class of what was raised. An operation that serves several templates at once has an empty ``task_name``.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from ._app.app import Pyncette
from ._metrics.observers import Metrics, observers_of

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ImportError as _error:
    raise ImportError(
        "pyncette.prometheus needs prometheus-client: pip install 'pyncette-core[prometheus]'."
    ) from _error


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
    :param measure_tasks: families ``pyncette_tasks_*``, ``pyncette_runs_total`` and ``pyncette_leases_lost_total``, and
        what is sampled twice a minute: ``pyncette_instances``, ``pyncette_backlog_age_seconds``,
        ``pyncette_executions_beyond_lease``, ``pyncette_writes_overdue`` and ``pyncette_clock_offset_seconds``.
    :param registry: where the metrics are registered. Apps with the same registry share them.
    """
    with _lock:
        metrics = _metrics.get(registry)
        if metrics is None:
            metrics = _metrics[registry] = Metrics(_InstrumentFactory(registry))
    for observer in observers_of(metrics, repository=measure_repository, ticks=measure_ticks, tasks=measure_tasks):
        app.use_observer(observer)


class _InstrumentFactory:
    """InstrumentFactory instruments of one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry)

    def histogram(
        self, name: str, text: str, labels: Sequence[str] = (), buckets: Sequence[float] | None = None
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets or Histogram.DEFAULT_BUCKETS, registry=self._registry)


_metrics: WeakKeyDictionary[CollectorRegistry, Metrics] = WeakKeyDictionary()
_lock = threading.Lock()
"""A registry refuses the same metrics a second time, and apps in several threads may share one."""
