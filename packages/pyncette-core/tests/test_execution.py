"""One execution: what ends it, what survives it, and the executors that run it."""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
import pytest

from pyncette import Context, FailureMode, Pyncette, PyncetteContext, Task
from pyncette._leases import store as store_module
from pyncette.errors import LeaseLostException
from pyncette.executor import DefaultExecutor, SynchronousExecutor
from pyncette.memory import memory_repository
from pyncette.testing import FaultPlan, ManualClock
from tests.running import running

SECOND = datetime.timedelta(seconds=1)
MINUTE = datetime.timedelta(minutes=1)
HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio has no cancellation without a scope
@pytest.mark.parametrize("executor", [DefaultExecutor, SynchronousExecutor])
async def test_an_unrequested_cancellation_is_a_failure(clock: ManualClock, executor: type) -> None:
    app = Pyncette(clock=clock, executor_cls=executor)
    runs: list[datetime.datetime] = []

    @app.task(interval=MINUTE, failure_mode=FailureMode.COMMIT)
    async def impatient(context: Context) -> None:
        runs.append(context.scheduled_at)
        other = asyncio.ensure_future(asyncio.Event().wait())
        other.cancel()
        await other

    async with running(app):
        await clock.advance(3 * MINUTE)
    assert len(runs) == 3


class _Refusing(DefaultExecutor):
    async def spawn_task(self, task: Awaitable[None]) -> None:
        raise OSError("no room, says the test")


async def test_an_executor_that_raises_is_logged_and_frees_its_slots(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    app = Pyncette(clock=clock, executor_cls=_Refusing, concurrency_limit=1)
    app.task(interval=HOUR, lease_duration=MINUTE)(_idle)
    async with running(app):
        await clock.advance(HOUR + 5 * MINUTE)
    reported = [record for record in caplog.records if "executor failed" in record.message]
    assert len(reported) == 6
    assert all(record.levelno == logging.ERROR and record.exc_info for record in reported)


async def _idle(context: Context) -> None: ...


@asynccontextmanager
async def draining(app: Pyncette, clock: ManualClock) -> AsyncIterator[tuple[PyncetteContext, Task]]:
    """An app that is shutting down, one second before its drain deadline of a minute, and its executions."""

    @app.task(interval=HOUR, lease_duration=HOUR)
    async def endless(context: Context) -> None:
        await anyio.sleep_forever()

    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        await clock.advance(HOUR)
        context.shutdown()
        await clock.advance(MINUTE - SECOND)
        yield context, endless


@pytest.mark.parametrize("executor", [DefaultExecutor, SynchronousExecutor])
async def test_the_drain_deadline_counts_from_the_shutdown(clock: ManualClock, executor: type) -> None:
    app = Pyncette(clock=clock, executor_cls=executor, drain_timeout=MINUTE)
    async with draining(app, clock) as (context, endless):
        state = await context.get_task(endless)
        assert state is not None
        assert state.locked_until is not None
        await clock.advance(SECOND)
        state = await context.get_task(endless)
        assert state is not None
        assert state.locked_until is None


async def test_the_clock_is_not_read_once_the_drain_deadline_has_passed(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow network, several readings would use up the remaining time, and the lease would not be given back."""
    monkeypatch.setattr(store_module, "CLOCK_INTERVAL", 0)
    plan = FaultPlan()
    options: dict[str, Any] = {"drain_timeout": MINUTE, "register_worker": False}
    app = Pyncette(repository_factory=plan.wrap(memory_repository), clock=clock, **options)
    async with draining(app, clock) as (context, endless):
        plan.calls.clear()
        await clock.advance(SECOND)
        assert plan.calls["swap"] == 1
        assert plan.calls["clock"] == 0
        state = await context.get_task(endless)
        assert state is not None
        assert state.locked_until is None


async def test_an_executor_without_a_concurrency_limit(clock: ManualClock) -> None:
    class Vague(SynchronousExecutor):
        concurrency_limit = None  # type: ignore[assignment]  # the mistake

    async with Pyncette(clock=clock, executor_cls=Vague).create() as context:
        with anyio.fail_after(10), pytest.raises(TypeError, match="concurrency_limit must be a whole number"):
            await context.run()


async def test_one_loop_for_each_context(clock: ManualClock) -> None:
    async with running(Pyncette(clock=clock)) as context:
        await clock.advance(SECOND)
        with anyio.fail_after(10), pytest.raises(RuntimeError, match="already running"):
            await context.run()
        await clock.advance(SECOND)
        assert context.last_tick == clock.time


class _Native:
    """An executor written for asyncio only."""

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def spawn_task(self, task: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.create_task(task))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_executor_may_create_tasks_itself(clock: ManualClock) -> None:
    app = Pyncette(clock=clock, executor_cls=_Native)
    runs: list[datetime.datetime] = []

    @app.task(interval=HOUR, lease_duration=MINUTE, failure_mode=FailureMode.COMMIT)
    async def endless(context: Context) -> None:
        runs.append(context.scheduled_at)
        await anyio.sleep_forever()

    async with app.create() as context:
        async with anyio.create_task_group() as group:
            group.start_soon(context.run)
            await clock.advance(HOUR)
            context.shutdown()
        state = await context.get_task(endless)
    assert state is not None
    assert [state.scheduled_at] == runs  # a cancellation is neither a success nor a failure
    assert state.locked_until is not None


async def test_a_heartbeat_after_the_end_has_no_effect(clock: ManualClock) -> None:
    app = Pyncette(clock=clock)
    leaked: list[Callable[[], Awaitable[None]]] = []

    @app.task(interval=MINUTE, lease_duration=HOUR)
    async def leaking(context: Context) -> None:
        leaked.append(context.heartbeat)

    async with running(app) as context:
        await clock.advance(MINUTE)
        with pytest.raises(LeaseLostException):
            await leaked[0]()
        state = await context.get_task(leaking)
        assert state is not None
        assert state.locked_until is None
        await clock.advance(MINUTE)
        assert len(leaked) == 2


async def test_executors_know_what_uses_threads(clock: ManualClock) -> None:
    """The default executor needs this: see ``LoopTaskGroup.start_soon``."""
    reported: list[tuple[str, bool]] = []

    class Noting(DefaultExecutor):
        async def spawn_task(self, task: Any) -> None:
            reported.append((str(task), task.uses_threads))
            await super().spawn_task(task)

    app = Pyncette(clock=clock, executor_cls=Noting)
    app.task(name="plain", interval=MINUTE)(lambda context: None)
    app.task(name="coroutine", interval=MINUTE)(_idle)
    template = app.dynamic_task(name="template")(lambda context: None)
    async with running(app) as context:
        await context.schedule_task(template, "instance", interval=MINUTE)
        await clock.advance(MINUTE)
    assert sorted(reported) == [("coroutine", False), ("plain", True), ("template:instance", True)]
