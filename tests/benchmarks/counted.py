"""One worker whose calls to the storage are counted, in a separate process.

Argument: a JSON object that describes a :class:`Job`. The worker prints "ready" once its loop has started, begins at
the time that a line on standard input gives in seconds since the epoch, and prints its measurements as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pyncette import Context, Pyncette, PyncetteContext, Task
from pyncette.events import Claimed
from pyncette.observer import Observer
from pyncette.testing.faults import FaultPlan, delay

from .worker import LEASE, cpu_seconds, lines

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A worker's job: it declares tasks, schedules instances, and executes for a while.

    :ivar backend, options: the module under ``pyncette``, and the app's options, those of its storage included.
    :ivar static: the number of further static tasks, each of which runs once an hour at a different second.
    :ivar templates: the number of further templates, without instances.
    :ivar away: seconds by which each answer of the storage is delayed.
    :ivar overdue: the number of one-off instances that are overdue when the worker begins.
    :ivar spread, seconds: the number of one-off instances that come due one after another, and the time for that.
    :ivar behind: whether there is an instance with ever more occurrences to catch up on.
    :ivar enough: the worker stops after this many executions, or after ``seconds`` if that is 0; after a minute at
        most.
    """

    backend: str
    options: dict[str, Any]
    static: int = 0
    templates: int = 0
    away: float = 0
    overdue: int = 0
    spread: int = 0
    seconds: float = 0
    behind: bool = False
    enough: int = 0


@dataclass(slots=True)
class Counts(Observer):
    """Counts the events of a worker."""

    empty: int = 0
    lags: list[float] = field(default_factory=list)
    last: float = 0

    def claimed(self, event: Claimed, /) -> None:
        self.empty += not event.count


def app_of(job: Job, plan: FaultPlan) -> Pyncette:
    if job.away:
        plan.always(delay(after=job.away))
    factory = getattr(importlib.import_module(f"pyncette.{job.backend}"), f"{job.backend}_repository")
    app = Pyncette(repository_factory=plan.wrap(factory), **job.options)

    async def nothing(context: Context) -> None: ...

    for number in range(job.static):
        app.task(name=f"static {number}", schedule=f"{number // 60 % 60} * * * * {number % 60}")(nothing)
    for number in range(job.templates):
        app.dynamic_task(name=f"template {number}")(nothing)
    return app


async def load(context: PyncetteContext, job: Job, task: Task, begin: float) -> None:
    """Schedule the instances that ``job`` names."""
    first = datetime.fromtimestamp(begin, UTC)
    step = job.seconds / max(job.spread, 1) * SECOND
    instances: list[tuple[str, dict[str, Any]]] = [
        *((f"overdue {number}", {"execute_at": first - SECOND}) for number in range(job.overdue)),
        *((f"spread {number}", {"execute_at": first + number * step}) for number in range(job.spread)),
    ]
    if job.behind:
        instances.append(("behind", {"interval": timedelta(microseconds=100)}))
    result = await context.schedule_tasks(task, instances)
    if result.refused:
        raise result.refused[0][1]


async def measure(job: Job) -> dict[str, Any]:
    plan, counts, enough = FaultPlan(), Counts(), asyncio.Event()
    app = app_of(job, plan)
    app.use_observer(counts)

    @app.dynamic_task(lease_duration=LEASE)
    async def work(context: Context) -> None:
        counts.last = time.time()
        counts.lags.append(counts.last - context.scheduled_at.timestamp())
        if len(counts.lags) == job.enough:
            enough.set()

    async with app.create() as context:
        running = asyncio.ensure_future(context.run())
        while context.last_tick is None:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.01)
        print("ready", flush=True)
        begin = float(await anext(lines()))
        if job.spread:
            await load(context, job, work, begin)
        await asyncio.sleep(begin - time.time())
        began, cpu, before, counts.empty = time.time(), cpu_seconds(), Counter(plan.calls), 0
        if not job.spread:
            await load(context, job, work, begin)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60 if job.enough else job.seconds + 1):
                await enough.wait()
        spent = {"calls": Counter(plan.calls) - before, "empty": counts.empty, "cpu": cpu_seconds() - cpu}
        context.shutdown()
        await running
    return {**spent, "lags": counts.lags, "took": counts.last - began}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(Job(**json.loads(sys.argv[1]))))), flush=True)
