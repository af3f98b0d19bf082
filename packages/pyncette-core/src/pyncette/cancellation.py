"""What a backend does about calls of its driver, which speaks asyncio, that are cancelled or given up."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable
from typing import Any, TypeVar

import anyio

T = TypeVar("T")

CANCEL_GRACE = 5.0
"""Seconds that a cancelled call may take to clean up behind itself before its caller stops waiting for it."""

SILENCE = 0.4
"""Seconds without a reply after which :func:`fell_silent` considers a connection lost."""


async def completed(work: Awaitable[T], *, grace: float = math.inf) -> T:
    """Await ``work`` until it has ended on asyncio, even if cancelled: for a driver whose connection is unusable after
    a cancellation in the middle of a reply.

    :param grace: seconds after which it is cancelled as well.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        await _ended(task, grace)
        task.cancel()
        await _ended(task, math.inf)
        raise
    return task.result()


def fell_silent(since: float) -> bool:
    """Whether a call that was just given up, by its caller or a timeout, waited long enough to suspect that the network
    drops packets. If so, the pool's idle connections have probably lost their server as well. Replace them: a call on
    another one would get no reply either, while leases expire.

    :param since: when the call was sent, by the clock of asyncio's event loop; seconds.
    """
    return asyncio.get_running_loop().time() - since >= SILENCE


async def _ended(task: asyncio.Future[Any], seconds: float) -> None:
    with anyio.move_on_after(seconds, shield=True) as scope:
        while not (task.done() or scope.cancel_called):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task})
    if task.done() and not task.cancelled():
        task.exception()  # nobody is waiting; mark it as retrieved
