"""Traces and metrics for OpenTelemetry. Needs the extra ``otel``, which is OpenTelemetry's API alone.

Which spans are recorded and where they go is up to the SDK that the program sets up, by its own code or by
``opentelemetry-instrument``. While there is none, or its sampler is off, nothing is made and nothing costs anything.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from typing import Any

from ._app.app import Pyncette
from ._metrics.observers import Metrics, observers_of
from .events import (
    AttemptEnded,
    AttemptStarted,
    BulkFinished,
    BulkStarted,
    LeaseLost,
    OperationFinished,
    OperationStarted,
    RunEvent,
    TickStarted,
)
from .observer import SamplingObserver

try:
    from opentelemetry import context as otel_context
    from opentelemetry import metrics, trace
    from opentelemetry.trace import Link, NoOpTracerProvider, ProxyTracerProvider, SpanKind, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as _error:
    raise ImportError("pyncette.otel needs opentelemetry-api: pip install 'pyncette-core[otel]'.") from _error

_SCOPE = "pyncette"
_PARENT = "traceparent"
_MOST_LINKS = 32
_NO_CONTEXT = otel_context.Context()

_Attached = tuple[trace.Span, "Token[otel_context.Context]"]

_propagator = TraceContextTextMapPropagator()


def use_opentelemetry(
    app: Pyncette,
    *,
    link: bool = True,
    ids_in_logs: bool = True,
    measure: bool = True,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
) -> None:
    """Trace and measure an app: a span for each attempt and each bulk call, and for the storage calls that are made
    within a span; and the metrics that :mod:`pyncette.prometheus` has.

    :param link: store the context of the span in which an instance is scheduled with it, about 65 bytes, and link the
        spans of its attempts to that.
    :param ids_in_logs: give log records that are made within a span the attributes ``trace_id`` and ``span_id``.
    :param measure: make metrics, if a meter provider is set up by now.
    :param tracer_provider: the global one if it is not given, also if that is set later.
    :param meter_provider: the global one if it is not given.
    """
    meters = meter_provider or metrics.get_meter_provider()
    if measure and _may_measure(meters):
        found = Metrics(_InstrumentFactory(meters.get_meter(_SCOPE)))
        for observer in observers_of(found, repository=True, ticks=True, tasks=True):
            app.use_observer(observer)
    app.use_observer(_Tracing(tracer_provider))
    if link:
        app.use_carrier(_carried)
    if ids_in_logs:
        _add_ids_to_logs()


def _carried() -> str | None:
    """The context of the current span."""
    found = trace.get_current_span().get_span_context()
    return _text(found) if found.is_valid else None


def _text(context: trace.SpanContext) -> str:
    """Encode as W3C ``traceparent``."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@functools.lru_cache(1024)
def _linked(carried: str) -> trace.SpanContext | None:
    extracted = _propagator.extract({_PARENT: carried}, context=otel_context.Context())
    found = trace.get_current_span(extracted).get_span_context()
    return found if found.is_valid else None


class _Tracing(SamplingObserver):
    """Turns events into spans.

    A span is the current one in the task of its execution or call, so that spans created there become its children. An
    attempt's span is created before its event: if the SDK doesn't sample the attempt, no event is created.
    """

    def __init__(self, provider: trace.TracerProvider | None) -> None:
        self._provider = provider
        self._made_by: trace.TracerProvider | None = None
        self._tracer: trace.Tracer = trace.NoOpTracer()
        self._attempts: dict[tuple[str, int | None], _Attached] = {}
        self._claim: ContextVar[trace.SpanContext | None] = ContextVar("pyncette_claim", default=None)
        self._bulk: ContextVar[_Attached | None] = ContextVar("pyncette_bulk", default=None)
        self._operation: ContextVar[trace.Span | None] = ContextVar("pyncette_operation", default=None)

    @property
    def awake(self) -> bool:  # type: ignore[override]  # a property, because a provider may be set up later
        """Whether spans are recorded, or have to be ended."""
        provider = self._provider or trace.get_tracer_provider()
        if provider is not self._made_by:
            self._made_by, self._tracer = provider, provider.get_tracer(_SCOPE)
        return _may_record(provider, self._tracer) or bool(self._attempts)

    def tick_started(self, event: TickStarted, /) -> None:
        """Detach the loop from whatever span was current when the app was started."""
        if trace.get_current_span() is not trace.INVALID_SPAN:
            otel_context.attach(_NO_CONTEXT)
        self._claim.set(None)

    def takes(self, task: str, key: str, fencing_token: int, carried: str | None, /) -> str | None:
        name, attributes = _of_task(task)
        found = None if carried is None else _linked(carried)
        claim = self._claim.get()
        span = self._tracer.start_span(
            name,
            context=_NO_CONTEXT,
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=[Link(by) for by in (found, claim) if by is not None] if found or claim else None,
        )
        token = otel_context.attach(trace.set_span_in_context(span, _NO_CONTEXT))
        self._attempts[key, fencing_token] = (span, token)
        return _text(span.get_span_context()) if span.is_recording() else None

    def took(self, key: str, fencing_token: int, /) -> bool:
        attempt = (key, fencing_token)
        attached = self._attempts.pop(attempt, None)
        if attached is None:  # this worker never began it
            return False
        if attached[0].is_recording():
            self._attempts[attempt] = attached
            return True
        _leave(*attached)
        return False

    def attempt_started(self, event: AttemptStarted, /) -> None:
        span, _ = self._attempts[event.key, event.fencing_token]
        span.set_attributes({**_of_run(event), "pyncette.attempt": event.attempt, "pyncette.lag": event.lag})

    def attempt_ended(self, event: AttemptEnded, /) -> None:
        attached = self._attempts.pop((event.key, event.fencing_token), None)
        if attached is None:  # the lost attempt was another worker's
            return
        span, _ = attached
        span.set_attribute("pyncette.outcome", event.outcome)
        if event.reason:
            span.set_attribute("pyncette.reason", event.reason)
        if event.outcome in ("failed", "timed_out"):
            _failed(span, event.error, event.outcome)
        _end(attached)

    def lease_lost(self, event: LeaseLost, /) -> None:
        trace.get_current_span().add_event("pyncette.lease_lost", {"pyncette.key": event.key})

    def bulk_started(self, event: BulkStarted, /) -> None:
        attributes = {"messaging.system": "pyncette", "messaging.destination.name": event.task}
        span = self._tracer.start_span(f"{event.call} {event.task}", kind=SpanKind.PRODUCER, attributes=attributes)
        self._bulk.set((span, otel_context.attach(trace.set_span_in_context(span))))

    def bulk_finished(self, event: BulkFinished, /) -> None:
        attached = self._bulk.get()
        if attached is None:
            return
        self._bulk.set(None)
        span, _ = attached
        span.set_attributes({"pyncette.done": event.done, "pyncette.refused": event.refused})
        if event.error is not None:
            _failed(span, event.error, "failed")
        _end(attached)

    def operation_started(self, event: OperationStarted, /) -> None:
        """A batch may have several originators: a single one becomes the parent, several become links."""
        parents = [found for text in event.carried[: _MOST_LINKS + 1] if (found := _linked(text)) is not None]
        context = None
        if parents:
            context = trace.set_span_in_context(trace.NonRecordingSpan(parents[0]), _NO_CONTEXT)
        elif event.operation == "claim":
            context = _NO_CONTEXT
        elif not trace.get_current_span().is_recording():
            return
        span = self._tracer.start_span(
            f"{event.operation} storage",
            context=context,
            kind=SpanKind.CLIENT,
            attributes={"db.operation.name": event.operation, "pyncette.task": event.task},
            links=[Link(parent) for parent in parents[1:]],
        )
        self._operation.set(span)

    def operation_finished(self, event: OperationFinished, /) -> None:
        span = self._operation.get()
        if span is None:
            return
        self._operation.set(None)
        if event.error is not None:
            _failed(span, event.error, "failed")
        span.end()
        if event.operation == "claim" and span.get_span_context().trace_flags.sampled:
            self._claim.set(span.get_span_context())


def _may_record(provider: trace.TracerProvider, tracer: trace.Tracer) -> bool:
    """Whether a span may be recorded: False without an SDK, or if it is disabled or never samples."""
    if isinstance(provider, ProxyTracerProvider | NoOpTracerProvider) or isinstance(tracer, trace.NoOpTracer):
        return False
    describe: Any = getattr(getattr(provider, "sampler", None), "get_description", None)
    return describe is None or describe() != "AlwaysOffSampler"


@functools.lru_cache(10_000)
def _of_task(task: str) -> tuple[str, Mapping[str, str]]:
    """The name of an attempt's span, and the attributes that samplers can use."""
    return f"process {task}", {
        "messaging.system": "pyncette",
        "messaging.operation.type": "process",
        "messaging.destination.name": task,
        "pyncette.task": task,
    }


def _of_run(event: RunEvent) -> dict[str, str | int]:
    """The attributes of a run. Their names are stable."""
    attributes: dict[str, str | int] = {
        "pyncette.key": event.key,
        "pyncette.scheduled_at": event.scheduled_at.isoformat(),
        "pyncette.trigger": event.trigger,
        "pyncette.worker": event.worker,
    }
    if event.instance is not None:
        attributes["pyncette.instance"] = event.instance
    if event.run_id is not None:
        attributes["pyncette.run_id"] = event.run_id
    if event.fencing_token is not None:
        attributes["pyncette.fencing_token"] = event.fencing_token
    return attributes


def _failed(span: trace.Span, error: BaseException | None, otherwise: str) -> None:
    """By the conventions for exceptions and errors."""
    if error is not None:
        span.record_exception(error)
        span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(StatusCode.ERROR, otherwise if error is None else str(error))


def _end(attached: _Attached) -> None:
    span, token = attached
    _leave(span, token)
    span.end()


def _leave(span: trace.Span, token: Token[otel_context.Context]) -> None:
    """The span is no longer the current one. One that was not sampled need not be ended."""
    if trace.get_current_span() is span:  # otherwise it ends in another task, such as that of a timeout
        otel_context.detach(token)


def _add_ids_to_logs() -> None:
    make = logging.getLogRecordFactory()
    if getattr(make, "adds_trace_ids", False):
        return

    def made(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            record.trace_id = trace.format_trace_id(context.trace_id)
            record.span_id = trace.format_span_id(context.span_id)
        return record

    made.adds_trace_ids = True  # type: ignore[attr-defined]  # prevents doing it twice
    logging.setLogRecordFactory(made)


def _may_measure(provider: metrics.MeterProvider) -> bool:
    """Whether there is an SDK. The placeholder for one that is set up later has no public name in the API."""
    return not (isinstance(provider, metrics.NoOpMeterProvider) or type(provider).__name__ == "_ProxyMeterProvider")


class _InstrumentFactory:
    """Creates the instruments of one meter. Their names are those of Prometheus in OpenTelemetry's notation:
    ``pyncette_tasks_duration_seconds`` is ``pyncette.tasks_duration`` in the unit ``s``."""

    def __init__(self, meter: metrics.Meter) -> None:
        self._meter = meter

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> _Instrument:
        return _Instrument(labels, self._meter.create_counter(*_named(name), text).add)

    def histogram(
        self, name: str, text: str, labels: Sequence[str] = (), buckets: Sequence[float] | None = None
    ) -> _Instrument:
        made = self._meter.create_histogram(*_named(name), text, explicit_bucket_boundaries_advisory=buckets)
        return _Instrument(labels, made.record)

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> _Gauge:
        gauge = _Gauge(labels)
        self._meter.create_observable_gauge(_named(name)[0], [gauge.observed], _named(name)[1], text)
        return gauge


class _Instrument:
    """A counter or a histogram, with values for its labels or without."""

    def __init__(
        self, names: Sequence[str], write: Callable[..., None], attributes: Mapping[str, str] | None = None
    ) -> None:
        self._names = names
        self._write = write
        self._attributes = attributes or {}

    def labels(self, *values: str) -> _Instrument:
        return _Instrument(self._names, self._write, dict(zip(self._names, values, strict=True)))

    def inc(self, amount: float = 1) -> None:
        self._write(amount, self._attributes)

    def observe(self, value: float) -> None:
        self._write(value, self._attributes)


class _Gauge:
    """Values that are read at collection, so that obsolete ones disappear."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._values: dict[tuple[str, ...], float] = {}

    def labels(self, *values: str) -> _GaugeOf:
        return _GaugeOf(self._values, values)

    def inc(self) -> None:
        self.labels().inc()

    def dec(self) -> None:
        self.labels().dec()

    def set(self, value: float) -> None:
        self.labels().set(value)

    def clear(self) -> None:
        self._values.clear()

    def observed(self, _: metrics.CallbackOptions) -> list[metrics.Observation]:
        """The current values."""
        found = list(self._values.items())
        return [metrics.Observation(value, dict(zip(self._names, labels, strict=True))) for labels, value in found]


class _GaugeOf:
    """The value for some labels."""

    def __init__(self, values: dict[tuple[str, ...], float], labels: tuple[str, ...]) -> None:
        self._values = values
        self._labels = labels

    def inc(self) -> None:
        self.set(self._values.get(self._labels, 0) + 1)

    def dec(self) -> None:
        self.set(self._values.get(self._labels, 0) - 1)

    def set(self, value: float) -> None:
        self._values[self._labels] = value


def _named(name: str) -> tuple[str, str]:
    """Name and unit."""
    name = name.replace("pyncette_", "pyncette.", 1).removesuffix("_total")
    return (name.removesuffix("_seconds"), "s") if name.endswith("_seconds") else (name, "1")
