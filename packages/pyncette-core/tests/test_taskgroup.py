"""The event loop's task groups keep anyio's rules about cancellation, errors and context variables."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from pyncette._concurrency.taskgroup import loop_task_group

pytestmark = pytest.mark.anyio

Body = Callable[[], Awaitable[None]]


async def cancelled_while_running(*bodies: Body) -> None:
    """Run the bodies in a group, and cancel it when all of them are waiting."""
    with anyio.CancelScope() as scope:
        async with loop_task_group() as group:
            for body in bodies:
                group.start_soon(body())
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught


async def test_it_waits_for_its_tasks() -> None:
    done: list[int] = []

    async def work(number: int) -> None:
        await anyio.sleep(0.01 * number)
        done.append(number)

    async with loop_task_group() as group:
        for number in (3, 1, 2):
            group.start_soon(work(number))
    assert sorted(done) == [1, 2, 3]


async def test_cancellation_is_raised_again_at_each_await() -> None:
    cancelled = 0

    async def stubborn() -> None:
        nonlocal cancelled
        for _ in range(3):
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                cancelled += 1

    await cancelled_while_running(stubborn, anyio.sleep_forever)
    assert cancelled == 3


async def test_shielded_work_is_awaited() -> None:
    steps: list[str] = []

    async def careful() -> None:
        try:
            with anyio.CancelScope(shield=True):
                steps.append("begun")
                await anyio.sleep(0.05)
                steps.append("ended")
            await anyio.sleep_forever()
        finally:
            steps.append("left")

    await cancelled_while_running(careful)
    assert steps == ["begun", "ended", "left"]


async def test_a_task_that_has_not_begun_is_cancelled_at_its_first_await() -> None:
    steps: list[str] = []

    async def late() -> None:
        steps.append("begun")
        await anyio.sleep(0.01)
        steps.append("not cancelled")

    with anyio.CancelScope() as scope:
        async with loop_task_group() as group:
            group.start_soon(late())
            scope.cancel()
    assert steps == ["begun"]


async def test_a_deadline_cancels_while_it_waits_at_the_end() -> None:
    with anyio.move_on_after(0.01) as scope:
        async with loop_task_group() as group:
            group.start_soon(anyio.sleep_forever())
    assert scope.cancelled_caught


async def test_an_error_of_the_block_cancels_the_tasks() -> None:
    ended: list[bool] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    async def block() -> None:
        async with loop_task_group() as group:
            group.start_soon(work())
            await anyio.wait_all_tasks_blocked()
            raise ValueError("of the block")

    with pytest.raises(ExceptionGroup) as failure:
        await block()
    assert failure.group_contains(ValueError, match="of the block", depth=1)
    assert ended == [True]


class Fatal(BaseException):
    """Not an Exception, so that an execution doesn't treat it as a failure of the task."""


async def test_a_task_that_raises_cancels_the_others_and_the_block() -> None:
    ended: list[str] = []

    async def raising() -> None:
        raise Fatal

    async def waiting() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("task")

    async def block() -> None:
        async with loop_task_group() as group:
            group.start_soon(waiting())
            await anyio.wait_all_tasks_blocked()
            group.start_soon(raising())
            try:
                await anyio.sleep_forever()
            finally:
                ended.append("block")

    with pytest.raises(BaseExceptionGroup) as failure:
        await block()
    assert failure.group_contains(Fatal, depth=1)
    assert sorted(ended) == ["block", "task"]


async def test_each_task_is_separate_and_has_its_own_context_variables() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    seen: list[tuple[str, int]] = []

    async def work(value: str) -> None:
        seen.append((variable.get(), anyio.get_current_task().id))
        variable.set(value)
        await anyio.lowlevel.checkpoint()
        assert variable.get() == value

    variable.set("of the block")
    async with loop_task_group() as group:
        for value in "abc":
            group.start_soon(work(value))
            await anyio.wait_all_tasks_blocked()
    assert [value for value, _ in seen] == ["of the block"] * 3
    assert variable.get() == "of the block"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio has no cancellation without a scope
@pytest.mark.parametrize("times", [1, 2])
async def test_asyncio_cancellation(times: int) -> None:
    steps: list[str] = []

    async def careful() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.3)
                steps.append("cleaned up")

    async def block() -> None:
        async with loop_task_group() as group:
            group.start_soon(careful())

    outer = asyncio.create_task(block())
    for _ in range(times):
        await anyio.wait_all_tasks_blocked()
        outer.cancel()
    with anyio.fail_after(30), pytest.raises(asyncio.CancelledError):
        await outer
    assert outer.cancelled()
    assert steps == ["cleaned up"]


async def test_an_error_respects_shields() -> None:
    steps: list[str] = []
    begun = anyio.Event()

    async def careful() -> None:
        with anyio.CancelScope(shield=True):
            begun.set()
            await anyio.sleep(0.1)
            steps.append("done")

    async def raising() -> None:
        await begun.wait()
        raise Fatal

    async def block() -> None:
        async with loop_task_group() as group:
            group.start_soon(careful())
            group.start_soon(raising())

    with pytest.raises(BaseExceptionGroup) as failure:
        await block()
    assert failure.group_contains(Fatal, depth=1)
    assert steps == ["done"]


async def test_an_error_of_a_cancelled_task_is_not_lost() -> None:
    """And the cancellation doesn't leave its scope."""

    async def raising() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise Fatal

    async def block() -> None:
        async with loop_task_group() as group:
            group.start_soon(raising())

    with anyio.move_on_after(0.05), pytest.raises(BaseExceptionGroup) as failure:
        await block()
    assert failure.group_contains(Fatal, depth=1)


async def test_tasks_are_cancelled_even_if_the_block_is_shielded() -> None:
    cancelled = anyio.Event()

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    with anyio.fail_after(30), anyio.move_on_after(0.05) as scope:
        async with loop_task_group() as group:
            group.start_soon(work())
            with anyio.CancelScope(shield=True):
                await cancelled.wait()
            await anyio.sleep_forever()
    assert scope.cancelled_caught


def test_threads_are_reused_whatever_runs_the_loop() -> None:
    """An asyncio loop that was started with run_forever, as in a notebook, has no main task."""
    threads: set[int] = set()

    async def work() -> None:
        threads.add(await anyio.to_thread.run_sync(threading.get_ident))

    async def block() -> None:
        async with loop_task_group() as group:
            for _ in range(50):
                done = anyio.Event()

                async def one(done: anyio.Event = done) -> None:
                    await work()
                    done.set()

                group.start_soon(one(), uses_threads=True)
                await done.wait()

    loop = asyncio.new_event_loop()
    running = loop.create_task(block())
    running.add_done_callback(lambda _: loop.stop())
    loop.run_forever()
    running.result()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    assert len(threads) == 1


async def test_a_task_with_its_own_scope_is_cancelled_through_it() -> None:
    class Scoped:
        """For example, an execution with a timeout."""

        def __init__(self) -> None:
            self.scope = anyio.CancelScope()
            self.steps: list[str] = []

        def __await__(self) -> Generator[Any, Any, None]:
            return self._work().__await__()

        async def _work(self) -> None:
            with self.scope:
                self.steps.append("begun")
                try:
                    await anyio.sleep_forever()
                finally:
                    self.steps.append("ended")

    running, waiting = Scoped(), Scoped()
    with anyio.CancelScope() as scope:
        async with loop_task_group() as group:
            group.start_soon(running)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(waiting)
            scope.cancel()
    assert scope.cancelled_caught
    assert running.steps == waiting.steps == ["begun", "ended"]
