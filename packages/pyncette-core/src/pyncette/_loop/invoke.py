"""Calls a task function: coroutine functions on the event loop, plain functions in a worker thread."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import anyio.to_thread

from pyncette._tasks.task import Task


async def invoke(func: Callable[..., Any], context: Any, *args: Any, **kwargs: Any) -> None:
    """Run ``func`` to its end. ``context`` is the :class:`pyncette.Context`, which knows the app that this belongs to.

    Worker threads are limited by the app's ``concurrency_limit``. They can't be cancelled: who cancels waits for them.
    """
    if inspect.iscoroutinefunction(func):
        await func(context, *args, **kwargs)
        return
    app_context = getattr(context, "app_context", None)  # a context that a test has made by hand may have none
    busy = nullcontext() if app_context is None else app_context.clock.busy(changes=True)
    limiter = None if app_context is None else app_context.threads
    with busy:
        (result,) = await anyio.to_thread.run_sync(_call, func, context, args, kwargs, limiter=limiter)
    if inspect.isawaitable(result):
        await result


async def invoke_with_arguments(task: Task, context: Any) -> None:
    """As :func:`invoke`, with the arguments that the function declares, taken from ``context.args``.

    :raises ArgumentsException: they don't fit the function.
    """
    assert task.arguments is not None  # noqa: S101 - it is what this is for
    args, kwargs = task.arguments.taken_from(context)
    if task.synchronous:
        await invoke(task.task_func, context, *args, **kwargs)
    else:
        await task.task_func(context, *args, **kwargs)


def _call(func: Callable[..., Any], context: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any]:
    """In a tuple: a function that turns out to return a coroutine is none that a thread may return on trio."""
    try:
        return (func(context, *args, **kwargs),)
    except GeneratorExit as e:  # which would close the coroutine that waits for the thread
        raise RuntimeError("The function raised GeneratorExit.") from e
