"""Executors: how many executions run at the same time, and what happens to them at shutdown."""

from __future__ import annotations

from collections.abc import Awaitable
from types import TracebackType
from typing import Protocol, Self

from ._concurrency.taskgroup import LoopTaskGroup, loop_task_group


class Executor(Protocol):
    """What an ``executor_cls`` makes: an async context manager that runs executions.

    It is entered when the loop starts and left when the loop ends. Leaving it waits for the executions that it has
    spawned; if it is cancelled while waiting, it cancels them first. Its constructor receives the options that it names
    as parameters. It may have an attribute ``concurrency_limit``, the number of executions that it can run at the same
    time; otherwise the app's option of that name applies. Claims never exceed it.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None: ...

    async def spawn_task(self, task: Awaitable[None]) -> None:
        """Run ``task``; return as soon as the next one can be taken. ``task`` raises nothing but cancellation.

        Its text is the name of what is executed, and its attribute ``uses_threads`` says whether that is a plain
        function, which runs in a worker thread.
        """
        ...


class DefaultExecutor:
    """Runs executions concurrently on the event loop, in its own task group.

    :param concurrency_limit: the maximum number at the same time.
    """

    def __init__(self, concurrency_limit: int = 100) -> None:
        self.concurrency_limit = concurrency_limit
        self._group: LoopTaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._group = loop_task_group()
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        group, self._group = self._group, None
        return None if group is None else await group.__aexit__(exc_type, exc, traceback)

    async def spawn_task(self, task: Awaitable[None]) -> None:
        if self._group is None:
            raise RuntimeError("The executor takes tasks only while its context is open.")
        self._group.start_soon(task, uses_threads=getattr(task, "uses_threads", False))


class SynchronousExecutor:
    """Runs one execution after another; the loop waits for each. For tests, and for tasks that must not overlap."""

    concurrency_limit = 1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def spawn_task(self, task: Awaitable[None]) -> None:
        await task
