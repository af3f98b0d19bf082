"""Helpers for task functions."""

from __future__ import annotations

import datetime
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Concatenate

import anyio

from ._app.running import PyncetteContext
from ._app.signals import StopSignals
from ._concurrency.background import background
from ._loop.invoke import invoke
from ._tasks.task import Task
from ._validation.checks import check_no_generator
from .clock import Clock, SystemClock
from .context import Context
from .errors import LeaseLostException, RepositoryException

if TYPE_CHECKING:
    from ._tasks.bound import P

logger: logging.Logger = logging.getLogger(__name__)


def with_heartbeat(
    lease_remaining_ratio: float = 0.5, cancel_on_lease_lost: bool = False
) -> Callable[[Callable[Concatenate[Context, P], Any]], Callable[Concatenate[Context, P], Awaitable[None]]]:
    """Decorates a task function so that its lease is prolonged in the background as long as it runs.

    :param lease_remaining_ratio: the fraction of ``lease_duration`` between two heartbeats, between 0 and 1.
    :param cancel_on_lease_lost: whether to cancel the function when its lease is lost. Otherwise it runs to its end,
        possibly at the same time as another execution of the same occurrence.
    :raises ValueError: the ratio is not between 0 and 1.
    :raises TypeError: the ratio is not a number, for example the function to decorate.
    """
    if callable(lease_remaining_ratio):
        raise TypeError("Write @with_heartbeat(), with parentheses.")
    if isinstance(lease_remaining_ratio, bool) or not isinstance(lease_remaining_ratio, (int, float)):
        raise TypeError(f"lease_remaining_ratio must be a number between 0 and 1, not {lease_remaining_ratio!r}.")
    if not 0 < lease_remaining_ratio < 1:
        raise ValueError(f"lease_remaining_ratio must lie between 0 and 1 (try 0.5), not be {lease_remaining_ratio!r}.")

    def decorate(func: Callable[Concatenate[Context, P], Any]) -> Callable[Concatenate[Context, P], Awaitable[None]]:
        if isinstance(func, Task):
            raise TypeError("Put @with_heartbeat() below the decorator that makes the task, not above it.")
        check_no_generator("task", func)

        @functools.wraps(func)
        async def beating(context: Context, /, *args: P.args, **kwargs: P.kwargs) -> None:
            async with background() as group:
                group.start_soon(_beat, context, lease_remaining_ratio, cancel_on_lease_lost, group.cancel_scope)
                await invoke(func, context, *args, **kwargs)

        return beating

    return decorate


@asynccontextmanager
async def shutdown_on_signals(app_context: PyncetteContext) -> AsyncIterator[None]:
    """For a program with its own event loop: SIGINT and SIGTERM shut the app down as they do in ``app.main()``.

    The first signal lets executions finish, after which ``run()`` returns; a second one ends the process immediately,
    unless it comes within 0.2 seconds. After the block, the previous signal handlers apply again.

    :raises RuntimeError: this is not the main thread.
    """
    with StopSignals() as signals:
        async with background() as group:
            group.start_soon(_shut_down_on, signals, app_context)
            yield


async def _shut_down_on(signals: StopSignals, app_context: PyncetteContext) -> None:
    await signals.wait()
    app_context.shutdown()


async def _beat(context: Context, ratio: float, cancel_on_lease_lost: bool, scope: anyio.CancelScope) -> None:
    # A context that a test has made by hand needs a task and a heartbeat, no running app.
    clock: Clock = getattr(getattr(context, "app_context", None), "clock", None) or SystemClock()
    period = round(context.task.lease_duration / datetime.timedelta(microseconds=1) * ratio)
    due = clock.now() + period
    extra = {"task": getattr(context.task, "canonical_name", str(context.task))}
    while True:
        await clock.wait_until(due)
        now = clock.now()
        # Not by an absolute time alone: the clock may go back, and what is left of the lease is not known to last.
        due = min(max(due + period, now), now + period)
        try:
            await context.heartbeat()
        except LeaseLostException:
            if cancel_on_lease_lost:
                logger.warning("The lease on %s is lost; cancelling it.", context.task, extra=extra)
                scope.cancel()
            else:
                logger.warning("The lease on %s is lost; the execution continues.", context.task, extra=extra)
            return
        except RepositoryException as e:
            kind = type(e).__name__
            logger.warning("A heartbeat of %s failed (%s: %s); trying again.", context.task, kind, e, extra=extra)
            # Soon, as long as something of the lease is left.
            due = clock.now() + max(period // 8, 1)
