"""Calls a task function: coroutine functions on the event loop, plain functions in a worker thread."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import anyio.to_thread

from pyncette._tasks.task import Task


async def invoke(func: Callable[..., Any], context: Any, *args: Any, **kwargs: Any) -> None:
    """Run ``func`` to completion. ``context`` is the :class:`pyncette.Context`, which refers to the app.

    The app's ``concurrency_limit`` limits the number of worker threads. They can't be cancelled: a cancellation waits
    for them.
    """
    if inspect.iscoroutinefunction(func):
        await func(context, *args, **kwargs)
        return
    app_context = getattr(context, "app_context", None)  # a test's own context may have none
    busy = nullcontext() if app_context is None else app_context.clock.busy(changes=True)
    limiter = None if app_context is None else app_context.threads
    with busy:
        (result,) = await anyio.to_thread.run_sync(_call, func, context, args, kwargs, limiter=limiter)
    if inspect.isawaitable(result):
        await result


async def invoke_with_arguments(task: Task, context: Any) -> None:
    """Like :func:`invoke`, with the arguments that the function declares, taken from ``context.args``.

    :raises ArgumentsException: they don't fit the function.
    """
    assert task.arguments is not None  # noqa: S101 - callers check this
    args, kwargs = task.arguments.taken_from(context)
    if task.synchronous:
        await invoke(task.task_func, context, *args, **kwargs)
    else:
        await task.task_func(context, *args, **kwargs)


def _call(func: Callable[..., Any], context: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any]:
    """Return the result in a tuple, because trio refuses a function that returns a coroutine from a thread."""
    try:
        return (func(context, *args, **kwargs),)
    except GeneratorExit as e:  # it would close the coroutine that waits for the thread
        raise RuntimeError("The function raised GeneratorExit.") from e
