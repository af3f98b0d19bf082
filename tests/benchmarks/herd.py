"""The lateness of instances while very many instances of another task are due at the same moment."""

from __future__ import annotations

import asyncio
import datetime
import importlib
import statistics
import time

from pyncette import Context, Pyncette

from .storing import Figures, Pairs
from .subjects import Storage

SECOND = datetime.timedelta(seconds=1)
OTHERS = 500
SECONDS = 10


async def _lags(where: Storage, count: int) -> Figures:
    """The lateness of 500 instances that come due within ten seconds, while ``count`` others are overdue."""
    factory = getattr(importlib.import_module(f"pyncette.{where.backend}"), f"{where.backend}_repository")
    app = Pyncette(repository_factory=factory, **where.options())
    lags: list[float] = []
    all_begun = asyncio.Event()

    @app.dynamic_task()
    async def herd(_: Context) -> None: ...

    @app.dynamic_task()
    async def on_time(context: Context) -> None:
        lags.append(time.time() - context.scheduled_at.timestamp())
        if len(lags) == OTHERS:
            all_begun.set()

    async with app.create() as context:
        now = datetime.datetime.now(datetime.UTC)
        await context.schedule_tasks(herd, ((f"{i}", {"execute_at": now}) for i in range(count)))
        first = datetime.datetime.now(datetime.UTC) + 2 * SECOND
        step = SECONDS * SECOND / OTHERS
        await context.schedule_tasks(on_time, ((f"{i}", {"execute_at": first + i * step}) for i in range(OTHERS)))
        running = asyncio.create_task(context.run())
        await all_begun.wait()
        context.shutdown()
        await running
    cuts = statistics.quantiles(lags, n=100)
    return {"p50 ms": 1e3 * cuts[49], "p99 ms": 1e3 * cuts[98], "longest ms": 1e3 * max(lags)}


def herd(where: Storage, count: int) -> Pairs:
    """Alone, and alongside the others."""
    alone, within = (asyncio.run(_lags(where, each)) for each in (0, count))
    return {figure: (alone[figure], within[figure]) for figure in alone}
