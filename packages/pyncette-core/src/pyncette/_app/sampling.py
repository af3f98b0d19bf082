"""Samples values that no event reports, periodically, and only while an observer is interested."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pyncette._leases.active import Active
from pyncette._leases.control import ControlReading
from pyncette._leases.store import Store
from pyncette._leases.workers import Registry
from pyncette._leases.writer import Writer
from pyncette._tasks.task import Task
from pyncette.clock import Clock
from pyncette.errors import RepositoryException
from pyncette.events import SampledTask
from pyncette.observer import Observers
from pyncette.record import Band

from .health import beyond_lease
from .listing import Listing

INTERVAL = 30_000_000
"""Microseconds between two samples."""


class Sampler:
    """Samples this worker, and the stored instances of the tasks for which it is the one that reports them."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        clock: Clock,
        observers: Observers,
        reading: ControlReading,
        registry: Registry,
        listing: Listing,
        active: Active,
    ) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._observers = observers
        self._reading = reading
        self._registry = registry
        self._listing = listing
        self._active = active

    async def run(self, tasks: Sequence[Task]) -> None:
        """Sample twice a minute, until cancelled."""
        while True:
            await self._clock.wait_until(self._clock.now() + INTERVAL, background=True)
            if self._observers.has_listeners("sampled"):
                await self._sample(tasks)

    async def _sample(self, tasks: Sequence[Task]) -> None:
        samples: list[SampledTask] = []
        try:
            samples = [await self._stored(task) for task in await self._registry.sampled(tasks)]
        except RepositoryException:  # the store has logged it; report at least this worker's own values
            samples = []
        now = self._clock.now()
        self._observers.tell(
            "sampled",
            writes_overdue=self._writer.overdue,
            beyond_lease=sum(beyond_lease(held, now) > 0 for held in self._active),
            clock_offset=(now - time.time_ns() // 1000) / 1_000_000,
            tasks=tuple(samples),
        )

    async def _stored(self, task: Task) -> SampledTask:
        queues, control = [parent.queue for parent in task.queues], self._reading.control
        age = 0.0
        if task.template.queue.name not in control.paused:
            ready = (await self._store.look(queues, ())).next_ready
            age = 0.0 if ready is None else max(0, self._clock.now() - ready) / 1_000_000
        dead, paused = [
            (await self._listing.count(task.queues, control, band.since, band.before)).value
            for band in (Band.DEAD, Band.PAUSED)
        ]
        return SampledTask(task=task.name, dead=dead, paused=paused, backlog_age=age)
