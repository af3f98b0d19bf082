"""Task groups for background work that don't affect the foreground's errors and cancellation."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup

from .eventloop import on_trio

T = TypeVar("T")


@asynccontextmanager
async def unwrapped(manager: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """``manager``, which contains a task group, but without wrapping errors of the block in an exception group."""
    error: Exception | None = None
    async with manager as value:
        try:
            yield value
        except Exception as e:  # noqa: BLE001 - raised below, where the task group can't wrap it
            error = e
    if error is not None:
        raise error


@asynccontextmanager
async def background() -> AsyncIterator[TaskGroup]:
    """A task group that is cancelled at the end of the block. Errors of the block are not wrapped in a group."""
    async with unwrapped(anyio.create_task_group()) as group:
        try:
            yield group
        finally:
            group.cancel_scope.cancel()


async def concurrently(calls: Sequence[Callable[[], Awaitable[T]]], *, at_once: int) -> list[T]:
    """The results of the calls, in order. The first error cancels all of them, and is raised as it is."""
    found: dict[int, T] = {}
    errors: list[Exception] = []
    left = iter(enumerate(calls))

    async def work() -> None:
        try:
            for place, call in left:
                found[place] = await call()
        except Exception as e:  # noqa: BLE001 - raised below, where the task group can't wrap it
            errors.append(e)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for _ in range(min(at_once, len(calls)) - 1):
            group.start_soon(work)
        await work()
    if errors:
        raise errors[0]
    return [found[place] for place in range(len(calls))]


def is_cancelled() -> bool:
    """Whether the current task is being cancelled, by a cancel scope or in asyncio's own way."""
    if anyio.current_effective_deadline() == -math.inf:
        return True
    if on_trio():  # trio only has cancel scopes
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
