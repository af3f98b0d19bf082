"""The events of an occurrence, from attempt to outcome."""

from __future__ import annotations

import datetime
import functools
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any, Self

import anyio
import pytest
from prometheus_client import CollectorRegistry

from pyncette import Context, ExecutionMode, FailureMode, Pyncette
from pyncette.events import AttemptEnded, AttemptStarted, LeaseLost, RunEnded, RunEvent
from pyncette.memory import MemoryRepository
from pyncette.observer import Observer
from pyncette.prometheus import use_prometheus
from pyncette.testing import ManualClock
from tests.running import running, take

SECOND = datetime.timedelta(seconds=1)
MINUTE = datetime.timedelta(minutes=1)


class Recorder(Observer):
    """Records the events of runs."""

    def __init__(self) -> None:
        self.heard: list[RunEvent] = []

    def attempt_started(self, event: AttemptStarted, /) -> None:
        self.heard.append(event)

    def attempt_ended(self, event: AttemptEnded, /) -> None:
        self.heard.append(event)

    def lease_lost(self, event: LeaseLost, /) -> None:
        self.heard.append(event)

    def run_ended(self, event: RunEnded, /) -> None:
        self.heard.append(event)

    def rows(self) -> list[tuple[object, ...]]:
        """Event, attempt and outcome, as tuples."""
        return [
            (
                type(event).__name__,
                getattr(event, "attempt", None) or getattr(event, "attempts", None),
                getattr(event, "outcome", None),
            )
            for event in self.heard
        ]


async def _succeed(context: Context) -> None: ...


async def _fail(context: Context) -> None:
    raise ZeroDivisionError


async def _fail_once(context: Context, seen: list[int]) -> None:
    seen.append(1)
    if len(seen) == 1:
        raise ZeroDivisionError


async def _remove(context: Context) -> None:
    await context.app_context.unschedule_task(context.task)


STARTED = ("AttemptStarted", 1, None)
LIVES: dict[str, tuple[Callable[..., Any], dict[str, Any], list[tuple[object, ...]]]] = {
    "succeeds": (_succeed, {}, [STARTED, ("AttemptEnded", 1, "succeeded"), ("RunEnded", 1, "succeeded")]),
    "fails for good": (
        _fail,
        {"failure_mode": FailureMode.COMMIT},
        [STARTED, ("AttemptEnded", 1, "failed"), ("RunEnded", 1, "failed")],
    ),
    "is retried at once": (
        _fail_once,
        {"failure_mode": FailureMode.UNLOCK},
        [
            STARTED,
            ("AttemptEnded", 1, "failed"),
            ("AttemptStarted", 2, None),
            ("AttemptEnded", 2, "succeeded"),
            ("RunEnded", 2, "succeeded"),
        ],
    ),
    "is retried when its lease expires": (
        _fail_once,
        {"lease_duration": 5 * SECOND},
        [
            STARTED,
            ("AttemptEnded", 1, "failed"),
            ("AttemptStarted", 2, None),
            ("AttemptEnded", 2, "succeeded"),
            ("RunEnded", 2, "succeeded"),
        ],
    ),
    "removes itself": (_remove, {}, [STARTED, ("AttemptEnded", 1, "succeeded")]),
    "at most once, succeeds": (
        _succeed,
        {"execution_mode": ExecutionMode.AT_MOST_ONCE},
        [STARTED, ("AttemptEnded", 1, "succeeded"), ("RunEnded", 1, "succeeded")],
    ),
    "at most once, fails": (
        _fail,
        {"execution_mode": ExecutionMode.AT_MOST_ONCE},
        [STARTED, ("AttemptEnded", 1, "failed"), ("RunEnded", 1, "failed")],
    ),
}


@pytest.mark.parametrize("recorder", LIVES)
async def test_life_of_an_occurrence(recorder: str) -> None:
    function, policies, expected = LIVES[recorder]
    if function is _fail_once:
        function = functools.partial(function, seen=[])
    clock, heard = ManualClock(), Recorder()
    app = Pyncette(clock=clock)
    app.use_observer(heard)
    template = app.dynamic_task(name="crowd", **policies)(function)
    due = clock.time + SECOND
    async with running(app) as context:
        await context.schedule_task(template, "one:1", execute_at=due, secret="hush")
        await clock.advance(20 * SECOND)
    assert heard.rows() == expected
    worker = f"{socket.gethostname()}:{os.getpid()}"
    for event in heard.heard:
        assert (event.task, event.instance, event.key) == ("crowd", "one:1", "crowd:one::1")
        assert (event.scheduled_at, event.trigger, event.run_id, event.worker) == (due, "schedule", None, worker)
        assert "hush" not in repr(event)
    tokens = {getattr(event, "attempt", None) or event.attempts: event.fencing_token for event in heard.heard}  # type: ignore[attr-defined]  # RunEnded
    assert None not in tokens.values()
    assert len(set(tokens.values())) == len(tokens)


async def test_a_lease_that_another_worker_takes() -> None:
    clock, heard, repository = ManualClock(), Recorder(), MemoryRepository()
    app = Pyncette(clock=clock, repository_factory=lambda: nullcontext(repository))
    app.use_observer(heard)

    @app.dynamic_task()
    async def template(context: Context) -> None:
        await take(repository, template, at=clock.now() + 3_600_000_000)

    async with running(app) as context:
        await context.schedule_task(template, "a", execute_at=clock.time)
        await clock.advance(SECOND)
    assert heard.rows() == [STARTED, ("AttemptEnded", 1, "succeeded"), ("LeaseLost", 1, None)]


async def test_times_and_errors() -> None:
    """A recurring static task: the event names the occurrence that ended, not the next one."""
    clock, heard = ManualClock(), Recorder()
    app = Pyncette(clock=clock)
    app.use_observer(heard)

    @app.task(interval=MINUTE, failure_mode=FailureMode.COMMIT)
    async def static(context: Context) -> None:
        raise ZeroDivisionError

    due = clock.time + MINUTE
    async with running(app):
        await clock.advance(MINUTE)
    started, ended, run = heard.heard
    assert isinstance(started, AttemptStarted)
    assert isinstance(ended, AttemptEnded)
    assert isinstance(run, RunEnded)
    assert [event.scheduled_at for event in heard.heard] == [due] * 3
    assert {event.instance for event in heard.heard} == {None}
    assert started.lag == ended.lag == 0
    assert ended.duration is not None
    assert isinstance(ended.error, ZeroDivisionError)
    assert run.error is ended.error


async def test_a_cancelled_attempt_ends_no_run() -> None:
    clock, heard = ManualClock(), Recorder()
    app = Pyncette(clock=clock)
    app.use_observer(heard)

    @app.task(interval=MINUTE)
    async def endless(context: Context) -> None:
        await anyio.sleep_forever()

    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        await clock.advance(MINUTE)
        group.cancel_scope.cancel()
    assert heard.rows() == [STARTED, ("AttemptEnded", 1, "cancelled")]


class _OneByOne:
    """Says that it can run two executions, but runs one after the other."""

    concurrency_limit = 2

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    async def spawn_task(self, task: Awaitable[None]) -> None:
        await task


async def test_an_attempt_that_is_given_back_was_not_started() -> None:
    clock, heard, registry = ManualClock(), Recorder(), CollectorRegistry()
    app = Pyncette(clock=clock, executor_cls=_OneByOne)
    app.use_observer(heard)
    use_prometheus(app, registry=registry)

    @app.dynamic_task(lease_duration=MINUTE)
    async def work(context: Context) -> None:
        await clock.sleep(40)

    async with running(app) as context:
        await context.schedule_tasks(work, ((name, {"execute_at": clock.time}) for name in "ab"))
        await clock.advance(2 * MINUTE)
    done = [STARTED, ("AttemptEnded", 1, "succeeded"), ("RunEnded", 1, "succeeded")]
    assert sorted(heard.rows(), key=str) == sorted([("AttemptEnded", 1, "released"), *done, *done], key=str)
    [released] = [event for event in heard.heard if getattr(event, "outcome", None) == "released"]
    assert isinstance(released, AttemptEnded)
    assert (released.lag, released.duration, released.error) == (None, None, None)
    assert released.reason == "waited too long for a free slot"
    labels = {"task_name": "work"}
    assert registry.get_sample_value("pyncette_tasks_total", labels) == 2
    assert registry.get_sample_value("pyncette_tasks_in_progress", labels) == 0
