"""Calls a task function: coroutine functions on the event loop, plain functions in a worker thread."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import anyio.to_thread


async def invoke(func: Callable[[Any], Any], context: Any) -> None:
    """Run ``func`` to its end. ``context`` is the :class:`pyncette.Context`, which knows the app that this belongs to.

    Worker threads are limited by the app's ``concurrency_limit``. They can't be cancelled: who cancels waits for them.
    """
    if inspect.iscoroutinefunction(func):
        await func(context)
        return
    app_context = context.app_context
    with app_context.clock.busy(changes=True):
        # In a tuple: a function that turns out to return a coroutine is none that a thread may return on trio.
        (result,) = await anyio.to_thread.run_sync(lambda: (func(context),), limiter=app_context.threads)
    if inspect.isawaitable(result):
        await result
