"""The environment of executions: fixtures, middlewares, executors, threads, cancellation."""

from __future__ import annotations

import datetime
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import anyio.from_thread
import pytest

from pyncette import Context, ExecutionMode, FailureMode, Pyncette, PyncetteContext, TaskState
from pyncette.context import NextFunc
from pyncette.executor import SynchronousExecutor
from pyncette.testing import ManualClock
from tests.running import running

SECOND = datetime.timedelta(seconds=1)
MINUTE = datetime.timedelta(minutes=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def app(clock: ManualClock) -> Pyncette:
    return Pyncette(clock=clock)


def logged_fixture(log: list[str], name: str) -> Callable[[PyncetteContext], AsyncIterator[str]]:
    async def make(app_context: PyncetteContext) -> AsyncIterator[str]:
        log.append(f"set up {name}")
        yield f"value of {name}"
        log.append(f"tear down {name}")

    return make


def logged_middleware(log: list[str], name: str) -> Callable[[Context, NextFunc], Awaitable[None]]:
    async def wrap(context: Context, next: NextFunc) -> None:
        log.append(f"enter {name}")
        context.extra = name
        await next()
        log.append(f"leave {name}")

    return wrap


async def test_fixtures_and_middlewares_in_order(app: Pyncette, clock: ManualClock) -> None:
    log: list[str] = []
    for name in ("one", "two"):
        app.use_fixture(name, logged_fixture(log, name))
        app.use_middleware(logged_middleware(log, name))

    @app.task(interval=MINUTE, colour="red")
    async def task(context: Context) -> None:
        log.append(f"{context.one}, {context.two}, {context.args}, {context.extra}, {context.added}")

    async with running(app) as context:
        context.add_to_context("added", 5)
        await clock.advance(MINUTE)
    assert log == [
        "set up one",
        "set up two",
        "enter one",
        "enter two",
        "value of one, value of two, {'colour': 'red'}, two, 5",
        "leave two",
        "leave one",
        "tear down two",
        "tear down one",
    ]


async def test_add_to_context_refuses_names(app: Pyncette) -> None:
    async with app.create() as context:
        context.add_to_context("x", 1)
        with pytest.raises(ValueError, match="already has a value or fixture called 'x'"):
            context.add_to_context("x", 2)
        with pytest.raises(ValueError, match="reserved name"):
            context.add_to_context("task", 2)


async def test_fixtures_are_torn_down_after_the_last_execution(app: Pyncette, clock: ManualClock) -> None:
    log: list[str] = []

    @app.fixture()
    async def resource(app_context: PyncetteContext) -> AsyncIterator[None]:
        yield
        log.append("torn down")

    @app.task(interval=MINUTE)
    async def slow(context: Context) -> None:
        await context.app_context.clock.sleep(10)
        log.append("executed")

    async with app.create() as context:
        async with anyio.create_task_group() as group:
            group.start_soon(context.run)
            await clock.advance(MINUTE)
            context.shutdown()
            await clock.advance(MINUTE)
    assert log == ["executed", "torn down"]


async def test_errors_are_raised_unwrapped(app: Pyncette) -> None:
    with pytest.raises(ZeroDivisionError):
        async with app.create():
            raise ZeroDivisionError

    @app.fixture()
    async def broken(app_context: PyncetteContext) -> AsyncIterator[None]:
        if app_context.last_tick is None:
            raise KeyError("set-up")
        yield

    with pytest.raises(KeyError, match="set-up"):
        async with app.create():
            pass


async def test_a_middleware_that_raises_fails_the_task(clock: ManualClock) -> None:
    app = Pyncette(clock=clock)
    runs: list[datetime.datetime] = []

    @app.middleware
    async def guard(context: Context, next: NextFunc) -> None:
        await next()
        if len(runs) == 1:
            raise ValueError("no")

    @app.task(interval=MINUTE, failure_mode=FailureMode.UNLOCK)
    async def task(context: Context) -> None:
        runs.append(context.scheduled_at)

    async with running(app):
        await clock.advance(MINUTE)
        await clock.advance(SECOND)
    assert len(runs) == 2
    assert runs[0] == runs[1]


async def test_synchronous_functions_have_their_own_thread_limit(clock: ManualClock) -> None:
    app = Pyncette(clock=clock, concurrency_limit=3)
    threads: set[int] = set()
    together = threading.Barrier(3, timeout=30)

    for i in range(3):

        @app.task(name=f"task{i}", interval=MINUTE)
        def blocking(context: Context) -> None:
            threads.add(threading.get_ident())
            together.wait()

    async with running(app) as context:
        assert context.threads.total_tokens == 3
        await clock.advance(MINUTE)
    assert len(threads) == 3
    assert threading.get_ident() not in threads


async def test_a_heartbeat_from_a_thread(clock: ManualClock, app: Pyncette) -> None:
    beaten: list[TaskState | None] = []

    @app.task(interval=MINUTE, lease_duration=MINUTE)
    def blocking(context: Context) -> None:
        anyio.from_thread.run(context.heartbeat)
        beaten.append(anyio.from_thread.run(context.app_context.get_task, context.task))

    async with running(app):
        await clock.advance(MINUTE)
    [state] = beaten
    assert state is not None
    assert state.locked_until == clock.time + MINUTE


async def test_a_plain_function_may_return_an_awaitable(clock: ManualClock, app: Pyncette) -> None:
    runs: list[int] = []

    async def work(context: Context) -> None:
        runs.append(threading.get_ident())

    def choose(context: Context) -> Awaitable[None]:
        return work(context)

    app.task(interval=MINUTE)(choose)
    async with running(app):
        await clock.advance(MINUTE)
    assert runs == [threading.get_ident()]


async def test_at_most_the_concurrency_limit_runs_and_is_claimed(clock: ManualClock) -> None:
    app = Pyncette(clock=clock, concurrency_limit=2)
    running_now = most = 0

    @app.dynamic_task(lease_duration=datetime.timedelta(hours=1))
    async def work(context: Context) -> None:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        await context.app_context.clock.sleep(60)
        running_now -= 1

    async with running(app) as context:
        for i in range(5):
            await context.schedule_task(work, str(i), execute_at=clock.time)
        await clock.advance(SECOND)
        states = (await context.list_tasks(work)).tasks
        assert sum(state.locked_until is not None for state in states) == 2
        await clock.advance(5 * MINUTE)
        assert (await context.list_tasks(work)).tasks == []
    assert most == 2


async def test_the_synchronous_executor_runs_one_after_the_other(clock: ManualClock) -> None:
    app = Pyncette(clock=clock, executor_cls=SynchronousExecutor)
    log: list[str] = []

    @app.dynamic_task(lease_duration=datetime.timedelta(hours=1))
    async def work(context: Context) -> None:
        log.append(f"begin {context.task.name}")
        await context.app_context.clock.sleep(5)
        log.append(f"end {context.task.name}")

    async with running(app) as context:
        for name in "ab":
            await context.schedule_task(work, name, execute_at=clock.time)
        await clock.advance(MINUTE)
    assert log in (["begin a", "end a", "begin b", "end b"], ["begin b", "end b", "begin a", "end a"])


async def test_cancelling_run_cancels_executions_and_leaves_their_leases(clock: ManualClock, app: Pyncette) -> None:
    ended: list[str] = []

    @app.task(interval=MINUTE)
    async def endless(context: Context) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    async with app.create() as context:
        async with anyio.create_task_group() as group:
            group.start_soon(context.run)
            await clock.advance(MINUTE)
            group.cancel_scope.cancel()
        assert ended == ["cancelled"]
        state = await context.get_task(endless)
        assert state is not None
        assert state.locked_until == clock.time + MINUTE


async def test_run_ends_immediately_after_a_shutdown(app: Pyncette) -> None:
    async with app.create() as context:
        context.shutdown()
        context.shutdown()
        await context.run()


async def test_calls_on_a_closed_context_are_refused(app: Pyncette) -> None:
    template = app.dynamic_task(name="t")(_body)
    async with app.create() as context:
        await context.schedule_task(template, "x", interval=MINUTE)
    with anyio.fail_after(10), pytest.raises(RuntimeError, match="context is closed"):
        await context.schedule_task(template, "y", interval=MINUTE)


async def test_an_error_that_closes_the_running_app_is_raised_alone(clock: ManualClock, app: Pyncette) -> None:
    async def fail() -> None:
        async with anyio.create_task_group() as group, app.create() as context:
            group.start_soon(context.run)
            await clock.advance(MINUTE)
            raise ZeroDivisionError

    with pytest.raises(BaseExceptionGroup) as caught:
        await fail()
    assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]


async def _body(context: Context) -> None: ...


async def test_last_tick(app: Pyncette, clock: ManualClock) -> None:
    async with running(app) as context:
        assert context.last_tick is None
        await clock.advance(MINUTE)
        assert context.last_tick == clock.time


async def test_disabled_tasks_and_partitions_do_not_run(app: Pyncette, clock: ManualClock) -> None:
    runs: list[str] = []

    async def body(context: Context) -> None:
        runs.append(context.task.name)

    off = app.task(name="off", interval=MINUTE, enabled=False)(body)
    late = app.task(name="late", interval=MINUTE)(body)
    parts = app.partitioned_task(name="parts", partition_count=2, partition_selector=lambda count, name: int(name))(
        body
    )
    late.enabled = False
    parts.enabled_partitions = [1]
    async with running(app) as context:
        for name in "01":
            await context.schedule_task(parts, name, interval=MINUTE)
        await clock.advance(MINUTE)
        assert await context.get_task(off) is None
    assert runs == ["1"]


async def test_a_static_task_is_not_unscheduled(app: Pyncette, clock: ManualClock) -> None:
    @app.task(interval=MINUTE)
    async def static(context: Context) -> None: ...

    async with running(app) as context:
        await clock.advance(SECOND)
        with pytest.raises(ValueError, match="set its enabled to False"):
            await context.unschedule_task(static)
        assert await context.get_task(static) is not None


async def test_at_most_once_is_advanced_before_it_runs(app: Pyncette, clock: ManualClock) -> None:
    seen: list[object] = []

    @app.task(interval=MINUTE, execution_mode=ExecutionMode.AT_MOST_ONCE)
    async def once(context: Context) -> None:
        state = await context.app_context.get_task(once)
        assert state is not None
        seen.append((state.locked_until, state.scheduled_at - context.scheduled_at))
        await context.heartbeat()

    async with running(app):
        await clock.advance(MINUTE)
    assert seen == [(None, MINUTE)]


async def test_failures_are_logged_with_the_name(
    app: Pyncette, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(interval=MINUTE)
    async def broken(context: Context) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.INFO, "pyncette"):
        async with running(app):
            await clock.advance(MINUTE)
    [record] = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert record.getMessage() == "Task broken failed."
    assert record.exc_info is not None
    assert vars(record)["task"] == "broken"


async def test_bulk_calls_of_the_wrong_form(app: Pyncette) -> None:
    @app.dynamic_task()
    async def work(context: Context) -> None: ...

    async with app.create() as context:
        with pytest.raises(TypeError, match=r"write \['abc'\]"):
            await context.unschedule_tasks(work, "abc")
        names: list[Any] = ["Al", ("Ada", 5)]
        result = await context.schedule_tasks(work, names)
        assert [(name, str(error)) for name, error in result.refused] == [
            ("Al", "Not a pair of instance name and keywords, ('name', {…}): 'Al'."),
            ("Ada", "Not a pair of instance name and keywords, ('name', {…}): ('Ada', 5)."),
        ]
        names = [("Ada",), ("Bob", 5)]
        result = await context.trigger_tasks(work, names)
        assert [(name, str(error)) for name, error in result.refused] == [
            ("Ada", "Pass an instance name, or a pair ('name', {…}) of it and arguments, not ('Ada',)."),
            ("Bob", "Pass an instance name, or a pair ('name', {…}) of it and arguments, not ('Bob', 5)."),
        ]
