"""The life of an app with millions of instances, on any storage: it registers them, is idle, executes many that come
due at one moment, and executes and changes some of them each day for a month."""

from __future__ import annotations

import asyncio
import datetime
import random
import resource
import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any

from pyncette import Context, Pyncette, PyncetteContext
from pyncette.record import Change, Record
from pyncette.repository import Repository
from pyncette.testing import FaultPlan

from .ceilings.common import BATCH, NOW, QUEUE, SPEC, fresh, moments
from .machine import cpu_of
from .storing import Stored, claimed, swapped
from .subjects import Storage

SECOND = datetime.timedelta(seconds=1)
DAY = datetime.timedelta(days=1)
ON_TIME = 500
DAILY = 10_000
"""Instances that are executed each day of the month."""
AT_ONCE = 5_000


class Life:
    """An app with a template for each phase, and the lateness of the regular instances.

    :ivar plan: counts its calls to the storage.
    """

    def __init__(self, where: Storage, factory: Any, options: dict[str, Any]) -> None:
        self.where = where
        self.plan = FaultPlan()
        self.app = Pyncette(repository_factory=self.plan.wrap(factory), register_worker=False, **options)
        self.done = self.herd_size = 0
        self.herd_over = 0.0
        self.lags: list[float] = []
        self.waiting = self.app.dynamic_task(name="waiting")(self._count)
        self.nine = self.app.dynamic_task(name="nine")(self._count)
        self.on_time = self.app.dynamic_task(name="on time")(self._late)

    async def _count(self, _: Context) -> None:
        self.done += 1
        if self.done == self.herd_size:
            self.herd_over = time.perf_counter()

    async def _late(self, context: Context) -> None:
        self.lags.append(time.time() - context.scheduled_at.timestamp())

    async def register(self, context: PyncetteContext, count: int) -> None:
        """Register ``count`` instances through the public API."""
        began, cpu, server = time.perf_counter(), used(), cpu_of(self.where.server)
        instances = ((f"user-{i:09}", daily(i)) for i in range(count))
        result = await context.schedule_tasks(self.waiting, instances)
        assert not result.refused
        tell(
            "register",
            f"{count / (time.perf_counter() - began):,.0f}/s",
            client=(used() - cpu) / count,
            server=(cpu_of(self.where.server) - server) / count,
        )

    async def idle(self, context: PyncetteContext, seconds: float) -> None:
        """Wait while nothing is due."""
        running = asyncio.create_task(context.run())
        await asyncio.sleep(3)
        self.plan.calls.clear()
        cpu, server = used(), cpu_of(self.where.server)
        await asyncio.sleep(seconds)
        calls = sum(self.plan.calls.values())
        spent, spent_there = used() - cpu, cpu_of(self.where.server) - server
        tell("idle", f"{60 * calls / seconds:.0f} calls a minute", client=spent / seconds, server=spent_there / seconds)
        context.shutdown()
        await running

    async def herd(self, context: PyncetteContext, count: int) -> None:
        """Make ``count`` instances due at once, while 500 of another task come due one after another within ten
        seconds."""
        first = datetime.datetime.now(datetime.UTC) + 3 * SECOND
        step = 10 * SECOND / ON_TIME
        await context.schedule_tasks(self.on_time, ((f"{i}", {"execute_at": first + i * step}) for i in range(ON_TIME)))
        self.done, self.herd_size = 0, count
        began, cpu, server = time.perf_counter(), used(), cpu_of(self.where.server)
        running = asyncio.create_task(context.run())
        while self.done < count or len(self.lags) < ON_TIME:  # noqa: ASYNC110 -- a million events would cost more
            await asyncio.sleep(0.1)
        took = self.herd_over - began
        tell(
            f"herd of {count:,}",
            f"{count / took:,.0f}/s",
            client=(used() - cpu) / count,
            server=(cpu_of(self.where.server) - server) / count,
        )
        cuts = statistics.quantiles(self.lags, n=100)
        print(f"{'':30} others on time: lag p50 {1e3 * cuts[49]:.0f} ms, p99 {1e3 * cuts[98]:.0f} ms", flush=True)
        context.shutdown()
        await running


def daily(number: int) -> Mapping[str, Any]:
    """A daily schedule, with the hour chosen by the number."""
    return {"schedule": f"{number % 60} {number // 60 % 24} 1 1 *", "language": "en"}


def used() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def tell(step: str, said: str, *, client: float, server: float) -> None:
    costs = f"CPU of the client {1e6 * client:8.1f} us, of the server {1e6 * server:8.1f} us"
    print(f"{step:30} {said:>24}  {costs} each{' second' if step == 'idle' else ''}", flush=True)


async def copy(repository: Repository, sample: Record, count: int, start: int, *, moment: int | None = None) -> None:
    """Store this many more instances without a scheduler: copies of a sample, except for names and moments."""
    prefix = f"{sample.queue}:user-"
    for first in range(start, start + count, AT_ONCE):
        changes = []
        for number in range(first, min(first + AT_ONCE, start + count)):
            at = sample.due_at + number * 7919 % 3_600_000_000 if moment is None else moment
            record = Record(
                sample.queue, f"{prefix}{number:09}", at, at, None, None, fresh(), 0, 0, sample.spec, sample.state
            )
            changes.append(Change(None, record))
        await repository.swap(changes)


def _daily(day: int) -> Iterator[Record]:
    for number in range(DAILY // 100):
        yield Record(QUEUE.name, f"{QUEUE.name}:{day}:{number}", NOW, NOW, None, None, fresh(), 0, 0, SPEC)


async def month(stored: Stored, size: Any) -> None:
    """30 days, as fast as possible: some instances are executed once a day, and one in a hundred is replaced."""
    first = [
        Record(QUEUE.name, f"{QUEUE.name}:{n:09}", NOW, NOW, None, None, fresh(), 0, 0, SPEC) for n in range(DAILY)
    ]
    for start in range(0, DAILY, 1_000):
        await stored.repository.swap([Change(None, one) for one in first[start : start + 1_000]])
    before = await size()
    for day in range(30):
        cpu, began = stored.cpu(), time.perf_counter()
        for _ in range(DAILY // BATCH):
            at = next(moments)
            records = await swapped(
                stored, await claimed(stored), ready_at=at, due_at=at, locked_until=None, locked_by=None
            )
            gone = random.sample(records, 1)
            await stored.repository.swap([Change(one, None) for one in gone])
        await stored.repository.swap([Change(None, one) for one in _daily(day)])
        if day in (0, 29):
            took = time.perf_counter() - began
            tell(f"day {day + 1}", f"{DAILY / took:,.0f}/s", client=0, server=(stored.cpu() - cpu) / DAILY)
    print(f"{'a month later':30} {before / 1e6:,.0f} MB have become {await size() / 1e6:,.0f} MB", flush=True)
