"""Calls a task function: coroutine functions on the event loop, plain functions in a worker thread."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import anyio.to_thread


async def invoke(func: Callable[[Any], Any], context: Any) -> None:
    """Run ``func`` to its end. ``context`` is the :class:`pyncette.Context`, which knows the app that this belongs to.

    Worker threads are limited by the app's ``concurrency_limit``. They can't be cancelled: who cancels waits for them.
    """
    if inspect.iscoroutinefunction(func):
        await func(context)
        return
    app_context = getattr(context, "app_context", None)  # a context that a test has made by hand may have none
    busy = nullcontext() if app_context is None else app_context.clock.busy(changes=True)
    limiter = None if app_context is None else app_context.threads
    with busy:
        (result,) = await anyio.to_thread.run_sync(_call, func, context, limiter=limiter)
    if inspect.isawaitable(result):
        await result


def _call(func: Callable[[Any], Any], context: Any) -> tuple[Any]:
    """In a tuple: a function that turns out to return a coroutine is none that a thread may return on trio."""
    try:
        return (func(context),)
    except GeneratorExit as e:  # which would close the coroutine that waits for the thread
        raise RuntimeError("The function raised GeneratorExit.") from e
