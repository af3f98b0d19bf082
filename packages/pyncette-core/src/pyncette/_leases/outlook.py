"""What this process may claim, and when. Queries the storage for what isn't known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pyncette._tasks.control import CONTROL
from pyncette._tasks.task import Task
from pyncette.clock import Clock
from pyncette.record import Queue

from .active import Active
from .control import ControlReading
from .moments import Moments
from .requested import RequestedRuns
from .store import Store


class Outlook:
    """The tasks of a running app, and what is known about when they have something to execute.

    :ivar tasks: by queue.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        reading: ControlReading,
        moments: Moments,
        active: Active,
        requested: RequestedRuns,
    ) -> None:
        self.tasks: Mapping[str, Task] = {}
        self._store = store
        self._clock = clock
        self._reading = reading
        self._moments = moments
        self._active = active
        self._requested = requested
        self._paused: Collection[str] | None = None  # the paused templates, whose queues `_queues` leaves out
        self._queues: tuple[Queue, ...] = ()
        self._served: dict[str, int] = {}  # by queue, the number of the last claim that got something from it
        self._claims = 0

    def start(self, tasks: Mapping[str, Task]) -> None:
        """Start over with these tasks, by queue."""
        self.tasks, self._paused, self._served = tasks, None, {}
        self._moments.start(tasks)

    async def next_ready(self, *, after: int | None = None, afresh: bool = False) -> tuple[int | None, int]:
        """The earliest moment when something may be claimed, and when all queues were last queried.

        :param after: the time of the claim, if one has just been made.
        :param afresh: query the storage even if the answer is known.
        :raises RepositoryException: the storage failed.
        """
        now, moments = self._clock.now(), self._moments
        if not self.tasks:
            return None, now
        if afresh or moments.is_old(now):
            await self._ask_all()
        elif unsure := moments.unsure(now, claimable=self.is_claimable, claimed=after is not None):
            await self._ask(unsure, after)
        requested = await self._requested.next_ready(self.tasks, after)
        first = moments.next(self._clock.now(), claimable=self.is_claimable)
        asked_at = now if moments.asked_at is None else moments.asked_at
        return min((moment for moment in (requested, first) if moment is not None), default=None), asked_at

    async def refresh(self) -> None:
        """Query all queues and read the control record, if that last happened more than a poll interval ago.

        :raises RepositoryException: the storage failed.
        """
        if self._moments.is_old(self._clock.now()):
            await self._ask_all()

    async def _ask_all(self) -> None:
        moments = self._moments
        while True:
            now = self._clock.now()
            until = now + moments.interval
            looked = await self._store.look(self._awake(), (CONTROL,), until=until, limit=moments.most)
            moments.all_answered(looked, now, until)
            if not self._reading.take(looked.records[0], now):
                return

    async def _ask(self, queues: Sequence[str], after: int | None) -> None:
        moments = self._moments
        moments.ask(queues)
        requested = [self.tasks[queue].queue for queue in queues]
        looked = await self._store.look(requested, (), after=after, until=moments.until, limit=moments.most)
        moments.answered(queues, looked)

    def _awake(self) -> tuple[Queue, ...]:
        """The queues whose template is not paused. There may be thousands, so the tuple is kept until that changes."""
        paused = self._reading.control.paused
        if self._paused != paused:
            self._queues = tuple(task.queue for task in self.tasks.values() if task.template.queue.name not in paused)
            self._paused = paused
        return self._queues

    def is_claimable(self, queue: str) -> bool:
        """Whether the queue's template is not paused and has room for another execution in this process."""
        task = self.tasks[queue]
        most, template = task.policies.concurrency, task.template
        full = most is not None and self._active.running[template.canonical_name] >= most
        return not full and template.queue.name not in self._reading.control.paused

    def due(self, most: int, behind: Collection[str]) -> tuple[list[Task], bool]:
        """Tasks that have something due and may be executed, and whether there are more than these.

        Up to ``most`` tasks, those served longest ago. The rest of those with a backlog (``behind``) are added, because
        what is on time in their queues takes precedence.
        """
        due = [queue for queue in self._moments.due(self._clock.now()) if self.is_claimable(queue)]
        if len(due) > 1:
            due.sort(key=lambda queue: self._served.get(queue, 0))
        most = max(most, 0)
        chosen = due if len(due) <= most else [*due[:most], *(queue for queue in due[most:] if queue in behind)]
        return [self.tasks[queue] for queue in chosen], len(chosen) < len(due)

    @property
    def passed(self) -> int:
        """Pass this to :meth:`claimed`: what comes due after it was read may be missing from the claim's result."""
        return self._moments.passed

    def claimed(self, ends: Mapping[str, int], *, exhausted: Sequence[str], now: int, passed: int) -> None:
        """Record the result of a claim.

        :param ends: when the leases end, by queue, for the queues that yielded something.
        :param exhausted: queues that have nothing left.
        """
        self._claims += 1
        self._moments.claimed(exhausted, now, passed)
        for queue, end in ends.items():
            self._served[queue] = self._claims
            self._moments.note(queue, end)
