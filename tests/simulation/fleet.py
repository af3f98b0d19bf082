"""Counts the requests of workers to their shared storage. In virtual time, so the result is always the same."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pyncette import Context, Pyncette, Task
from pyncette.events import Claimed
from pyncette.memory import MemoryRepository
from pyncette.observer import Observer
from pyncette.record import Look, Queue, QueueClaim, Record, Ref
from pyncette.repository import Repository
from pyncette.testing.faults import METHODS, Call, FaultPlan, FaultyRepository, Method

from .loop import Process, SimulatedLoop, current_process
from .world import World, installed

START = datetime(2026, 1, 5, tzinfo=UTC)
"""When the simulation begins."""

BEGIN = 20
"""Seconds after which counting begins: by then the workers know of each other."""

Instances = Sequence[tuple[str, Mapping[str, Any]]]


@dataclass(slots=True)
class Counts(Observer):
    """Counts what workers do.

    :ivar calls: round trips, by method.
    :ivar empty: claims that got nothing.
    :ivar lags: seconds from each occurrence to its execution.
    :ivar each: the number of executions by worker.
    """

    calls: Counter[Method] = field(default_factory=Counter)
    empty: int = 0
    lags: list[float] = field(default_factory=list)
    each: dict[int, int] = field(default_factory=dict)

    def claimed(self, event: Claimed, /) -> None:
        self.empty += not event.count

    @property
    def trips(self) -> int:
        return sum(self.calls.values())


class _Named(FaultyRepository):
    """Reports how many queues each call names."""

    def __init__(self, repository: Repository, plan: FaultPlan, tell: Callable[[int], None]) -> None:
        super().__init__(repository, plan)
        self._tell = tell

    async def look(self, queues: Sequence[Queue], refs: Sequence[Ref], **options: Any) -> Look:
        self._tell(len(queues))
        return await super().look(queues, refs, **options)

    async def claim(self, claims: Sequence[QueueClaim], **options: Any) -> list[Record]:
        self._tell(len(claims))
        return await super().claim(claims, **options)


class Fleet:
    """Workers, and a storage that each reaches with a round trip of ``latency`` seconds.

    :param declare: declares the tasks of a worker, and returns the one whose instances are scheduled.
    :param named: called with the number of queues in each query and claim, once counting has begun.
    """

    def __init__(
        self,
        workers: int,
        *,
        latency: float,
        instances: Instances,
        declare: Callable[[Pyncette, Callable[[Context], Any]], Task],
        busy: float = 0,
        seed: int = 1,
        named: Callable[[int], None] = lambda count: None,
        **options: Any,
    ) -> None:
        self._rng = random.Random(seed)
        self._loop = SimulatedLoop(self._rng)
        self._world = World(self._loop, self._rng)
        self._storage = MemoryRepository()
        self._workers = workers
        self._latency = latency
        self._busy = busy
        self._instances = instances
        self._declare = declare
        self._options = options
        self._named = named
        self._plan = FaultPlan()
        self.counts = Counts()

    def run(self, seconds: float) -> Counts:
        """Run all workers for this long after counting has begun."""
        with installed(self._world), closing(self._loop):
            self._loop.run_until_complete(self._main(seconds))
        assert not self._loop.errors, self._loop.errors
        return self.counts

    async def _main(self, seconds: float) -> None:
        await self._schedule()
        self._plan.always(self._travel, *METHODS)
        tasks = []
        for number in range(self._workers):
            context = copy_context()
            context.run(current_process.set, Process(f"worker {number}"))
            tasks.append(context.run(self._loop.create_task, self._work(number, seconds)))
        await asyncio.sleep(BEGIN)
        self._plan.calls.clear()
        await asyncio.gather(*tasks)
        self.counts.calls = self._plan.calls

    async def _schedule(self) -> None:
        app, task = self._app(0)
        async with app.create() as context:
            result = await context.schedule_tasks(task, self._instances)
            assert not result.refused, result.refused
        self._plan.calls.clear()

    async def _travel(self, call: Call) -> Any:
        await asyncio.sleep(self._latency * self._rng.uniform(0.3, 0.7))
        result = await call()
        await asyncio.sleep(self._latency * self._rng.uniform(0.3, 0.7))
        return result

    def _tell(self, count: int) -> None:
        if self._loop.time() > BEGIN:
            self._named(count)

    def _app(self, number: int) -> tuple[Pyncette, Task]:
        @asynccontextmanager
        async def factory(**options: Any) -> AsyncIterator[Repository]:
            yield _Named(self._storage, self._plan, self._tell)

        async def body(context: Context) -> None:
            now = self._world.now / 1_000_000
            self.counts.lags.append(now - context.scheduled_at.timestamp())
            self.counts.each[number] = self.counts.each.get(number, 0) + 1
            if self._busy:
                await asyncio.sleep(self._busy)

        app = Pyncette(repository_factory=factory, **self._options)
        return app, self._declare(app, body)

    async def _work(self, number: int, seconds: float) -> None:
        await asyncio.sleep(self._rng.random() * 0.5)
        app, _ = self._app(number)
        app.use_observer(self.counts)
        async with app.create() as context:
            running = asyncio.ensure_future(context.run())
            await asyncio.sleep(BEGIN + seconds - self._loop.time())
            context.shutdown()
            await running


def one_task(app: Pyncette, body: Callable[[Context], Any]) -> Task:
    return app.dynamic_task(name="work")(body)


def spread(rate: float, seconds: float, seed: int = 1) -> Instances:
    """One-off instances that come due at random moments, once counting has begun."""
    rng = random.Random(seed)
    due = (BEGIN + 0.5 + seconds * rng.random() for _ in range(round(rate * seconds)))
    return [(f"{number}", {"execute_at": START + timedelta(seconds=at)}) for number, at in enumerate(due)]
