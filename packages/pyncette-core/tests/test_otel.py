"""Traces of scheduling calls, attempts, bulk calls and storage calls."""

from __future__ import annotations

import datetime
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractContextManager, asynccontextmanager
from unittest.mock import patch

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Span, SpanContext, SpanKind, StatusCode, get_current_span, use_span
from opentelemetry.util.types import Attributes
from prometheus_client import CollectorRegistry

from pyncette import Context, Pyncette, Retry
from pyncette._schedules.moments import to_datetime
from pyncette.events import AttemptEnded
from pyncette.memory import MemoryRepository
from pyncette.observer import Observer
from pyncette.otel import use_opentelemetry
from pyncette.prometheus import use_prometheus
from pyncette.record import Queue
from pyncette.repository import Repository
from pyncette.testing import ManualClock
from tests.running import running

SECOND = datetime.timedelta(seconds=1)
TASK = Queue("report")

pytestmark = pytest.mark.anyio


class Collected:
    """An in-memory collector."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]


@pytest.fixture
def collected() -> Collected:
    return Collected()


@pytest.fixture
def repository() -> MemoryRepository:
    return MemoryRepository()


@pytest.fixture
def app(repository: MemoryRepository) -> Pyncette:
    @asynccontextmanager
    async def shared() -> AsyncIterator[Repository]:
        yield repository

    return Pyncette(shared)


def span_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def parents_of(spans: Iterable[ReadableSpan]) -> list[int | None]:
    return [span.parent and span.parent.span_id for span in spans]


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


async def test_the_trace_of_a_run(app: Pyncette, collected: Collected) -> None:
    """Scheduled in a span; attempt 1 fails on one worker, attempt 2 succeeds on another; both link to the span."""

    @app.dynamic_task(retry=Retry(2, delay=SECOND, jitter=0))
    async def report(context: Context) -> None:
        with collected.tracer.start_as_current_span("inside"):
            await context.app_context.get_task(context.task)
        if context.attempt == 1:
            raise ConnectionError("the mail server is down")

    use_opentelemetry(app, tracer_provider=collected.provider)
    clock = ManualClock()
    async with app.create(clock=clock) as scheduling:
        with collected.tracer.start_as_current_span("request") as request:
            await scheduling.schedule_task(report, "Ada", execute_at=to_datetime(clock.now()) + SECOND)
    for worker in ("one", "two"):
        async with running(app, clock=clock, worker_name=worker):
            await clock.advance(SECOND)
    first, second = collected.named("process report")
    claims = collected.named("claim storage")
    assert [(span.kind, span.parent) for span in claims] == [(SpanKind.CLIENT, None)] * 2
    context = request.get_span_context()
    for span, number, worker, claim in ((first, 1, "one", claims[0]), (second, 2, "two", claims[1])):
        assert (span.kind, span.parent) == (SpanKind.CONSUMER, None)
        assert [link.context.span_id for link in span.links] == [context.span_id, span_id(claim)]
        assert span.links[0].context.trace_id == context.trace_id
        found = attributes(span)
        assert (found["pyncette.attempt"], found["pyncette.worker"]) == (number, worker)
        assert (found["pyncette.instance"], found["messaging.destination.name"]) == ("Ada", "report")
    assert (first.status.status_code, attributes(first)["pyncette.outcome"]) == (StatusCode.ERROR, "failed")
    assert attributes(first)["error.type"] == "ConnectionError"
    assert [event.name for event in first.events] == ["exception"]
    assert (second.status.status_code, attributes(second)["pyncette.outcome"]) == (StatusCode.UNSET, "succeeded")
    insides = collected.named("inside")
    assert parents_of(insides) == [span_id(span) for span in (first, second)]
    reads = [span for span in collected.named("read storage") if span.parent]
    assert parents_of(reads) == [span_id(span) for span in insides]
    stored = collected.named("swap storage")
    assert parents_of(stored) == [context.span_id, *(span_id(span) for span in (first, second))]


async def test_a_bulk_call(app: Pyncette, collected: Collected) -> None:
    """It has a span that contains its storage calls, and to which its instances link."""

    @app.dynamic_task(interval=SECOND)
    async def report(context: Context) -> None: ...

    use_opentelemetry(app, tracer_provider=collected.provider)
    clock = ManualClock()
    async with app.create(clock=clock) as context:
        await context.schedule_tasks(report, [("Ada", {}), ("Bob", {}), ("a\0b", {})])
    (bulk,) = collected.named("schedule_tasks report")
    assert bulk.context is not None
    assert (attributes(bulk)["pyncette.done"], attributes(bulk)["pyncette.refused"]) == (2, 1)
    assert [span.parent and span.parent.span_id for span in collected.named("swap storage")] == [bulk.context.span_id]
    async with running(app, clock=clock):
        await clock.advance(SECOND)
    attempts = collected.named("process report")
    assert [span.links[0].context.span_id for span in attempts] == [bulk.context.span_id] * 2


async def test_manual_runs_and_their_links(app: Pyncette, collected: Collected) -> None:
    """They link to the call that requested them; scheduled occurrences link to the call that scheduled them."""

    @app.dynamic_task()
    async def report(context: Context) -> None: ...

    use_opentelemetry(app, tracer_provider=collected.provider)
    clock = ManualClock()
    callers: dict[str, int] = {}
    start = clock.time

    def caller(name: str) -> AbstractContextManager[Span]:
        span = collected.tracer.start_span(name)
        callers[name] = span.get_span_context().span_id
        return use_span(span, end_on_exit=True)

    async with app.create(clock=clock) as context:
        with caller("schedule"):
            await context.schedule_task(report, "Ada", interval=60 * SECOND, start_at=start - 120 * SECOND)
        with caller("backfill"):
            await context.backfill_task(report, "Ada", start - 120 * SECOND, start - 120 * SECOND)
        with caller("trigger"):
            await context.trigger_task(report, "Ada")
        with caller("pause"):
            await context.pause_task(report)
            await context.resume_task(report)
        await context.trigger_task(report, "Ada")
    async with running(app, clock=clock):
        await clock.advance(60 * SECOND)
    found = [
        (attributes(span)["pyncette.trigger"], span.links[0].context.span_id)
        for span in collected.named("process report")
    ]
    assert set(found) == {
        ("manual", callers["trigger"]),
        ("manual", callers["schedule"]),
        ("backfill", callers["backfill"]),
        ("schedule", callers["schedule"]),
    }
    parents = {span.parent.span_id for span in collected.named("swap storage") if span.parent}
    assert set(callers.values()) <= parents, "each call's writes are its children"


async def test_unsampled_attempts(app: Pyncette) -> None:
    """No event is created for them, and whatever happens in them belongs to the unrecorded trace."""
    exporter, recorder = InMemorySpanExporter(), Recorder()
    provider = TracerProvider(sampler=ParentBased(NotAttempts()))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    contexts: list[SpanContext] = []

    @app.task(interval=SECOND)
    async def report(context: Context) -> None:
        contexts.append(get_current_span().get_span_context())
        with provider.get_tracer("test").start_as_current_span("inside"):
            await context.app_context.get_task(context.task)

    use_opentelemetry(app, tracer_provider=provider)
    clock = ManualClock()
    async with running(app, clock=clock):
        with patch.object(type(app._observers), "_run", side_effect=AssertionError("an event is made")):
            await clock.advance(SECOND)
        app.use_observer(recorder)
        await clock.advance(SECOND)
    assert [context.is_valid and not context.trace_flags.sampled for context in contexts] == [True, True]
    assert [(event.attempt, event.outcome) for event in recorder.ends] == [(1, "succeeded")], "reported to others"
    assert {span.name for span in exporter.get_finished_spans()} == {"claim storage"}


class Recorder(Observer):
    """Listens alongside the traces."""

    def __init__(self) -> None:
        self.ends: list[AttemptEnded] = []

    def attempt_ended(self, event: AttemptEnded) -> None:
        self.ends.append(event)


class NotAttempts(Sampler):
    """Samples everything but attempts, judging by their attributes."""

    def should_sample(
        self,
        parent_context: object,
        trace_id: int,
        name: str,
        kind: object = None,
        attributes: Attributes = None,
        links: object = None,
        trace_state: object = None,
    ) -> SamplingResult:
        dropped = (attributes or {}).get("messaging.operation.type") == "process"
        return SamplingResult(Decision.DROP if dropped else Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return "NotAttempts"


async def test_the_context_is_not_carried(app: Pyncette, repository: MemoryRepository, collected: Collected) -> None:
    """With ``link=False``, and for calls outside of any span, no context is stored."""

    @app.dynamic_task(interval=SECOND)
    async def report(context: Context) -> None: ...

    use_opentelemetry(app, link=False, tracer_provider=collected.provider)
    async with app.create() as context:
        with collected.tracer.start_as_current_span("request"):
            await context.schedule_task(report, "Ada")
    assert ["ctx" in record.spec for record in await repository.scan(TASK, after=None, limit=9)] == [False]


async def test_scheduling_again_without_a_change(
    app: Pyncette, repository: MemoryRepository, collected: Collected
) -> None:
    """Nothing is written, and the link still leads to the earlier call; after a change, it leads to the later one."""

    @app.dynamic_task(interval=SECOND)
    async def report(context: Context) -> None: ...

    use_opentelemetry(app, tracer_provider=collected.provider)
    specs: list[str] = []
    async with app.create() as context:
        for number in (1, 1, 2):
            with collected.tracer.start_as_current_span("request"):
                await context.schedule_task(report, "Ada", number=number)
            specs += [record.spec for record in await repository.scan(TASK, after=None, limit=9)]
    assert specs[0] == specs[1]
    contexts = [spec.partition('"ctx":"')[2].partition('"')[0] for spec in specs]
    assert all(contexts)
    assert contexts[1] != contexts[2]


@pytest.mark.parametrize("provider", [None, TracerProvider(sampler=ALWAYS_OFF)])
async def test_without_recording_no_events_are_created(app: Pyncette, provider: TracerProvider | None) -> None:
    """Without an SDK, or with one that samples nothing, no events are created."""

    @app.task(interval=SECOND)
    async def report(context: Context) -> None: ...

    use_opentelemetry(app, tracer_provider=provider)
    clock = ManualClock()
    async with running(app, clock=clock):
        await clock.advance(SECOND)
        assert not app._observers


async def test_ids_in_log_records(app: Pyncette, collected: Collected, caplog: pytest.LogCaptureFixture) -> None:
    """Every line that is logged within an attempt carries the ids of the attempt's span."""

    @app.task(interval=SECOND)
    async def report(context: Context) -> None:
        logging.getLogger("mine").warning("working")
        raise ConnectionError

    before = logging.getLogRecordFactory()
    try:
        use_opentelemetry(app, tracer_provider=collected.provider)
        use_opentelemetry(Pyncette(), tracer_provider=collected.provider)
        clock = ManualClock()
        async with running(app, clock=clock):
            await clock.advance(SECOND)
    finally:
        logging.setLogRecordFactory(before)
    (span,) = collected.named("process report")
    assert span.context is not None
    expected = f"{span.context.span_id:016x}"
    found = {record.name: getattr(record, "span_id", None) for record in caplog.records}
    assert (found["mine"], found["pyncette._loop.failures"]) == (expected, expected)


def test_without_an_sdk() -> None:
    """The API alone is enough: the app runs, and nothing is recorded."""
    program = """
import sys
sys.modules["opentelemetry.sdk"] = None
import datetime
from pyncette import Pyncette
from pyncette.observer import Observer
from pyncette.otel import use_opentelemetry
app = Pyncette()
use_opentelemetry(app)
@app.task(interval=datetime.timedelta(milliseconds=1))
async def once(context):
    print("executed")
    context.app_context.shutdown()
app.main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "executed" in done.stdout


async def test_metrics(app: Pyncette) -> None:
    """They are the same as for Prometheus, with OpenTelemetry's names."""

    @app.task(interval=SECOND)
    async def report(context: Context) -> None: ...

    reader = InMemoryMetricReader()
    registry = CollectorRegistry()
    use_opentelemetry(app, meter_provider=MeterProvider([reader]))
    use_prometheus(app, registry=registry)
    clock = ManualClock()
    async with running(app, clock=clock):
        await clock.advance(40 * SECOND)
    data = reader.get_metrics_data()
    assert data is not None
    shown = {
        metric.name: metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    units = {"s": "_seconds", "1": ""}
    names = {name.replace(".", "_") + units[metric.unit or ""] for name, metric in shown.items()}
    expected = {family.name for family in registry.collect() if family.samples}
    assert names == expected
    (runs,) = shown["pyncette.runs"].data.data_points
    assert isinstance(runs, NumberDataPoint)
    labels = {"task_name": "report", "outcome": "succeeded", "reason": ""}
    assert runs.attributes == labels
    assert runs.value == registry.get_sample_value("pyncette_runs_total", labels)
