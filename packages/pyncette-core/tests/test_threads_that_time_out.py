"""A plain function that times out can't be cancelled: that is reported at once, and its slot and lease stay taken."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from pyncette import Context, ExecutionMode, OnExhausted, Pyncette, PyncetteContext, Retry, Task
from pyncette.events import AttemptEnded, AttemptStarted, RunEnded
from pyncette.memory import MemoryRepository
from pyncette.observer import Observer
from tests.running import running

MOMENT = timedelta(milliseconds=50)
LEASE = timedelta(milliseconds=400)


class Recorder(Observer):
    """Records names and outcomes."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str | None, str]] = []
        self.errors: list[BaseException | None] = []

    def attempt_started(self, event: AttemptStarted, /) -> None:
        self.events.append(("started", event.instance, ""))

    def attempt_ended(self, event: AttemptEnded, /) -> None:
        self.events.append(("ended", event.instance, event.outcome))
        self.errors.append(event.error)

    def run_ended(self, event: RunEnded, /) -> None:
        self.events.append(("over", event.instance, event.outcome))


class Harness:
    """One slot; the instance ``stuck`` doesn't return until the test lets it."""

    def __init__(self, **policies: object) -> None:
        self.repository = MemoryRepository()
        self.recorder, self.go = Recorder(), threading.Event()
        self.app = Pyncette(
            repository_factory=lambda: nullcontext(self.repository),
            poll_interval=timedelta(milliseconds=20),
            concurrency_limit=1,
        )
        self.app.use_observer(self.recorder)

        def body(context: Context) -> None:
            assert context.remaining is not None
            assert context.remaining <= MOMENT
            assert self.go.wait(30)

        def other(context: Context) -> None: ...

        self.other: Task = self.app.dynamic_task(name="other")(other)
        declare: Any = self.app.dynamic_task  # Any, for policies from parameters
        self.task: Task = declare(name="task", timeout=MOMENT, lease_duration=LEASE, **policies)(body)

    async def locked_until(self) -> int:
        (record,) = await self.repository.read([self.task.instantiate("stuck", execute_at=datetime.now(UTC)).ref])
        assert record is not None
        return record.locked_until or 0

    async def start(self, context: PyncetteContext) -> None:
        await context.schedule_task(self.task, "stuck", execute_at=datetime.now(UTC))
        await until(lambda: self.recorder.events == TIMED_OUT)


async def until(reached: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not reached():  # noqa: ASYNC110 -- nothing could set an event
            await anyio.sleep(0.01)


TIMED_OUT = [("started", "stuck", ""), ("ended", "stuck", "timed_out")]


async def test_it_is_reported_immediately_and_keeps_slot_and_lease(caplog: pytest.LogCaptureFixture) -> None:
    harness = Harness(retry=Retry(1), on_exhausted=OnExhausted.HOLD)
    async with running(harness.app) as context:
        try:
            await harness.start(context)
            await context.schedule_task(harness.other, "other", execute_at=datetime.now(UTC))
            first = await harness.locked_until()
            with anyio.fail_after(30):
                while await harness.locked_until() < first + 2 * LEASE / timedelta(microseconds=1):  # noqa: ASYNC110 -- as above
                    await anyio.sleep(0.02)
            assert harness.recorder.events == TIMED_OUT, "its slot is taken, and nothing is reported again"
        finally:
            harness.go.set()
        await until(lambda: ("over", "other", "succeeded") in harness.recorder.events)
        state = await context.get_task(harness.task, "stuck")
    assert harness.recorder.events[:3] == [*TIMED_OUT, ("over", "stuck", "failed")]
    assert isinstance(harness.recorder.errors[0], TimeoutError)
    assert state is not None
    assert (state.state, state.runs[-1].error) == ("dead", "TimeoutError: timed out after 0:00:00.050000")
    assert [record.getMessage() for record in caplog.records if "timed out" in record.getMessage()] == [
        "Task task:stuck timed out after 0:00:00.050000.",
        "task:stuck is dead until it is retried or rescheduled: TimeoutError: timed out after 0:00:00.050000",
    ]


async def test_at_most_once() -> None:
    harness = Harness(execution_mode=ExecutionMode.AT_MOST_ONCE)
    async with running(harness.app) as context:
        try:
            await harness.start(context)
        finally:
            harness.go.set()
        await until(lambda: len(harness.recorder.events) > 2)
    assert harness.recorder.events == [*TIMED_OUT, ("over", "stuck", "failed")]


async def test_it_is_retried_after_it_has_returned() -> None:
    harness = Harness(retry=Retry(1000, delay=timedelta(milliseconds=1), factor=1, jitter=0))
    async with running(harness.app) as context:
        try:
            await harness.start(context)
        finally:
            harness.go.set()
        # On a busy machine, several attempts may time out.
        await until(lambda: harness.recorder.events[-1] == ("over", "stuck", "succeeded"))
    events = [event for event in harness.recorder.events if event not in TIMED_OUT]
    assert events == [("ended", "stuck", "succeeded"), ("over", "stuck", "succeeded")]
    assert harness.recorder.events[:3] == [*TIMED_OUT, ("started", "stuck", "")]
