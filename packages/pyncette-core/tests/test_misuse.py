"""Misuse leads to an error that says what to write, or a warning that says why nothing happens."""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from pyncette import Context, Pyncette, PyncetteContext
from pyncette._loop import watchdog
from pyncette.testing import ManualClock
from tests.running import running

SECOND = datetime.timedelta(seconds=1)


async def body(context: Context) -> None: ...


@pytest.fixture
def app() -> Pyncette:
    return Pyncette()


CALLS = {
    "schedule_task": lambda context, task: context.schedule_task(task, "a", interval=SECOND),
    "schedule_tasks": lambda context, task: context.schedule_tasks(task, [("a", {"interval": SECOND})]),
    "unschedule_task": lambda context, task: context.unschedule_task(task, "a"),
    "unschedule_tasks": lambda context, task: context.unschedule_tasks(task, ["a"]),
    "get_task": lambda context, task: context.get_task(task, "a"),
    "list_tasks": lambda context, task: context.list_tasks(task),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_task_of_another_app(app: Pyncette, call: Any) -> None:
    app.dynamic_task(name="known")(body)
    stranger = Pyncette().dynamic_task(name="stranger")(body)
    async with app.create() as context:
        with pytest.raises(
            ValueError, match=r"'stranger' is not declared on the app.*it has 'known'.*before app\.create"
        ):
            await call(context, stranger)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_task_that_was_declared_after_create(
    app: Pyncette, call: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with app.create() as context:
        late = app.dynamic_task(name="late")(body)
        assert "The task 'late' was added while the app is open" in caplog.text
        with pytest.raises(
            ValueError, match=r"'late' is not declared on the app that was opened \(it has none at all\)"
        ):
            await call(context, late)
    async with app.create() as context:
        await call(context, late)


async def test_fixtures_and_middlewares_after_create(app: Pyncette, caplog: pytest.LogCaptureFixture) -> None:
    async def fixture(app_context: PyncetteContext) -> Any:
        yield 1

    async def middleware(context: Context, next: Any) -> None: ...

    async with app.create():
        app.use_fixture("one", fixture)
        app.use_middleware(middleware)
    assert [record.getMessage().partition(" was added")[0] for record in caplog.records] == [
        "The fixture 'one'",
        "The middleware 'middleware'",
    ]


async def test_the_same_declaration_of_another_app(app: Pyncette) -> None:
    """For example, a web process that declares the workers' tasks on its own app."""
    app.dynamic_task(name="report")(body)
    app.partitioned_task(name="many", partition_count=2)(body)
    other = Pyncette()
    async with app.create() as context:
        same = other.dynamic_task(name="report")(body)
        await context.schedule_task(same, "a", interval=SECOND)
        assert await context.get_task(same, "a") is not None
        await context.schedule_task(other.partitioned_task(name="many", partition_count=2)(body), "a", interval=SECOND)
        for different in (
            Pyncette().partitioned_task(name="report", partition_count=2)(body),
            Pyncette().partitioned_task(name="many", partition_count=3)(body),
            Pyncette().dynamic_task(name="many")(body),
        ):
            with pytest.raises(ValueError, match="declared in another way"):
                await context.schedule_task(different, "a", interval=SECOND)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_call_from_another_event_loop(app: Pyncette, call: Any) -> None:
    task = app.dynamic_task(name="task")(body)
    async with app.create() as context:
        for backend in ("asyncio", "trio"):
            with pytest.raises(RuntimeError, match=r"another thread or loop.*from_thread\(context\.app_context\."):
                await anyio.to_thread.run_sync(lambda: anyio.run(call, context, task, backend=backend))  # noqa: B023 - called at once


async def test_run_in_another_event_loop(app: Pyncette) -> None:
    async with app.create() as context:
        with pytest.raises(RuntimeError, match=r"run\(\) belongs to the event loop"):
            await anyio.to_thread.run_sync(lambda: anyio.run(context.run))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_closed_context(app: Pyncette, call: Any) -> None:
    task = app.dynamic_task(name="task")(body)
    async with app.create() as context:
        pass
    with pytest.raises(RuntimeError, match=r"context is closed: use it inside its block"):
        await call(context, task)


async def test_a_context_of_a_loop_that_has_ended(app: Pyncette) -> None:
    task = app.dynamic_task(name="task")(body)

    async def leak() -> PyncetteContext:
        async with app.create() as context:
            return context

    context = await anyio.to_thread.run_sync(lambda: anyio.run(leak))
    with pytest.raises(RuntimeError, match="another thread or loop"):
        await context.schedule_task(task, "a", interval=SECOND)
    context.shutdown()  # does nothing


async def test_scheduling_from_a_plain_function() -> None:
    clock = ManualClock()
    app = Pyncette(clock=clock)
    seen: list[dict[str, Any]] = []

    @app.dynamic_task()
    async def remind(context: Context) -> None:
        seen.append(context.args)

    @app.task(interval=SECOND)
    def plain(context: Context) -> None:
        app_context = context.app_context
        task = app_context.from_thread(
            app_context.schedule_task, remind, "tea", interval=SECOND, args={"name": "x"}, text="Tea!"
        )
        assert task.canonical_name == "remind:tea"
        with pytest.raises(TypeError, match="'lease_duration' belongs to the template"):
            app_context.from_thread(app_context.schedule_task, remind, "tea", interval=SECOND, lease_duration=5)
        app_context.from_thread(context.heartbeat)
        app_context.shutdown()

    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        await clock.advance(SECOND)
        state = await context.get_task(remind, "tea")
        assert state is not None
        assert state.task.extra_args == {"name": "x", "text": "Tea!"}
        assert context.stopping


async def test_scheduling_from_a_users_own_thread(app: Pyncette) -> None:
    task = app.dynamic_task(name="task")(body)
    names: list[str] = []
    async with app.create() as context:
        thread = threading.Thread(
            target=lambda: names.append(
                context.from_thread(context.schedule_task, task, "a", interval=SECOND).canonical_name
            )
        )
        thread.start()
        await anyio.to_thread.run_sync(thread.join)
        assert names == ["task:a"]


async def test_from_thread_in_the_event_loop(app: Pyncette) -> None:
    task = app.dynamic_task(name="task")(body)
    async with app.create() as context:
        with pytest.raises(RuntimeError, match=r"write await schedule_task\(…\)"):
            context.from_thread(context.schedule_task, task, "a", interval=SECOND)


async def test_shutdown_from_another_thread(app: Pyncette) -> None:
    """The poll interval is long, so the loop must have been woken."""
    app.task(interval=SECOND * 3600)(body)
    with anyio.fail_after(20):
        async with app.create(poll_interval=SECOND * 3600) as context, anyio.create_task_group() as group:
            group.start_soon(context.run)
            await anyio.sleep(0.05)
            await anyio.to_thread.run_sync(context.shutdown)


@pytest.mark.parametrize("how", ["signal", "callback"])
async def test_shutdown_as_a_handler(app: Pyncette, how: str) -> None:
    """A signal handler interrupts a sleeping loop, outside of its tasks."""
    app.task(interval=SECOND * 3600)(body)
    before = signal.getsignal(signal.SIGUSR1)
    try:
        with anyio.fail_after(20):
            async with app.create(poll_interval=SECOND * 3600) as context, anyio.create_task_group() as group:
                group.start_soon(context.run)
                await anyio.sleep(0.05)
                if how == "signal":
                    signal.signal(signal.SIGUSR1, lambda *_: context.shutdown())
                    threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGUSR1]).start()
                else:
                    loop: Any = anyio.lowlevel.current_token().native_token
                    call = loop.run_sync_soon if hasattr(loop, "run_sync_soon") else loop.call_soon
                    call(context.shutdown)
    finally:
        signal.signal(signal.SIGUSR1, before)


async def test_an_app_without_tasks(app: Pyncette, caplog: pytest.LogCaptureFixture) -> None:
    async with running(app):
        await anyio.lowlevel.checkpoint()
    assert "No task will ever run here: none was declared on this app before app.create()." in caplog.text


async def test_an_app_whose_tasks_are_all_disabled(app: Pyncette, caplog: pytest.LogCaptureFixture) -> None:
    app.task(interval=SECOND, enabled=False)(body)
    async with running(app):
        await anyio.lowlevel.checkpoint()
    assert "No task will ever run here: all are disabled." in caplog.text


@pytest.mark.parametrize("own", ["", "@app.task(interval=timedelta(hours=1))\nasync def own(context): ..."])
def test_a_program_that_is_imported_twice(tmp_path: Path, own: str) -> None:
    """``tasks.py`` imports the app by name, and so gets a different one from the one that runs."""
    (tmp_path / "tasks.py").write_text(
        textwrap.dedent(
            """
            from datetime import timedelta
            from app import app

            @app.task(interval=timedelta(milliseconds=1))
            async def work(context): ...
            """
        )
    )
    program = tmp_path / "app.py"
    program.write_text(
        textwrap.dedent(
            """
            import sys, threading, os, signal
            from datetime import timedelta
            from pyncette import Pyncette
            app = Pyncette()
            {own}

            import tasks
            if __name__ == "__main__":
                threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGTERM]).start()
                app.main()
            """
        ).replace("{own}", own)
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "imported a second time, as 'app', and tasks were declared on the app of that copy ('work'" in done.stderr


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "BLOCKED", 0.1)


async def test_a_task_that_blocks_the_event_loop(short_timeouts: None, caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    app = Pyncette(clock=clock)

    @app.dynamic_task()
    async def sleeper(context: Context) -> None:
        await anyio.lowlevel.checkpoint()
        time.sleep(0.7)  # noqa: ASYNC251 - the mistake under test
        await anyio.lowlevel.checkpoint()

    async with running(app) as context:
        await context.schedule_task(sleeper, "a", interval=SECOND)
        await clock.advance(SECOND)
        await anyio.to_thread.run_sync(time.sleep, 0.2)
    said = [record for record in caplog.records if record.name == watchdog.__name__]
    first, *more, last = (record.getMessage() for record in said)
    assert first.startswith("Task sleeper:a has been blocking the event loop for 0.")
    assert f", now at {__file__}:" in first
    assert "make it a plain function" in first
    assert 1 <= len(more) <= 4, "it is said again, but not for each look"
    assert last.startswith("The event loop is free again, 0.")
    assert said[0].__dict__["task"] == "sleeper:a"


class Step(watchdog.Watched):
    def begin(self) -> Coroutine[Any, Any, None]:
        async def block() -> None:
            time.sleep(0.3)  # noqa: ASYNC251 - the mistake under test

        return block()


def test_the_watchdog_sleeps_until_something_is_executed(
    short_timeouts: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise it wakes an idle app more often than polling does."""
    guard = watchdog.Watchdog()

    async def execute() -> None:
        await Step(guard, "work")

    with guard.watching():
        for _ in range(2):
            wait_until(lambda: guard.asleep)
            anyio.run(execute)
    warnings = [record.getMessage() for record in caplog.records if "has been blocking" in record.getMessage()]
    assert len(warnings) >= 2, warnings
    assert not [thread for thread in threading.enumerate() if thread.name == watchdog.__name__]


def test_a_sleeping_watchdog_ends(short_timeouts: None) -> None:
    guard = watchdog.Watchdog()
    with guard.watching():
        wait_until(lambda: guard.asleep)
    assert not [thread for thread in threading.enumerate() if thread.name == watchdog.__name__]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_waiting_is_not_blocking(short_timeouts: None, caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    app = Pyncette(clock=clock)

    @app.task(interval=SECOND)
    async def waits(context: Context) -> None:
        await anyio.to_thread.run_sync(time.sleep, 0.3)

    @app.task(interval=SECOND)
    def plain(context: Context) -> None:
        time.sleep(0.3)

    async with running(app):
        await clock.advance(SECOND)
        await anyio.to_thread.run_sync(time.sleep, 0.5)
    assert "blocking" not in caplog.text


def test_a_coroutine_made_in_a_thread_for_the_right_loop(app: Pyncette) -> None:
    """asyncio's own way of calling from a thread works as well."""
    task = app.dynamic_task(name="task")(body)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with app.create() as context:

            def elsewhere() -> str:
                call: Coroutine[Any, Any, Any] = context.schedule_task(task, "a", interval=SECOND)
                name: str = asyncio.run_coroutine_threadsafe(call, loop).result(10).canonical_name
                return name

            assert await anyio.to_thread.run_sync(elsewhere) == "task:a"

    logging.getLogger("asyncio").setLevel(logging.INFO)
    asyncio.run(main())
