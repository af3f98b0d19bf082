"""Claims occurrences, and ends their leases. All decisions are made in :mod:`pyncette.lease`."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Sequence

from pyncette._tasks.policies import ExecutionMode, FailureMode
from pyncette._tasks.spec import UndecodableSpec, decode
from pyncette._tasks.task import Task
from pyncette.clock import Clock
from pyncette.errors import RepositoryException
from pyncette.observer import Observers
from pyncette.record import QueueClaim, Record

from .held import Advance, Extend, HeldLease, Outcome, Settle, new_revision
from .registration import Park, StoreSchedule
from .store import Store
from .writer import Write, Writer

logger: logging.Logger = logging.getLogger(__name__)


class Coordinator:
    """The leases of one running app."""

    def __init__(
        self, store: Store, writer: Writer, clock: Clock, observers: Observers, *, poll_interval: int, batch_size: int
    ) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._observers = observers
        self._poll_interval = poll_interval
        self._batch_size = batch_size
        self._homes: dict[str, Task] = {}  # by queue; the one that was served longest ago comes first
        self._busy_queues = 0
        self.on_settled: Callable[[], None] = lambda: None
        self._worker = f"{socket.gethostname()}:{os.getpid()}"

    @property
    def unsettled(self) -> int:
        """Writes that the storage has not confirmed yet."""
        return self._writer.pending

    async def start(self, tasks: Iterable[Task]) -> None:
        """Take up the work of ``tasks``: static ones are stored if they are new or have changed.

        :raises RepositoryException: a task could not be stored.
        """
        homes = [home for task in tasks for home in task.queues if home.enabled]
        writes = [StoreSchedule(home) for home in homes if not home.dynamic]
        for write in writes:
            self._writer.submit(write)
        for write in writes:
            await write.wait()
        self._homes = {home.canonical_name: home for home in homes}

    async def follow_clock(self) -> None:
        """Let the app's clock follow the storage's, from time to time."""
        await self._store.follow_clock()

    async def next_ready(self, *, after: int | None = None) -> int | None:
        """The earliest moment when something may be claimed."""
        if not self._homes:
            return None
        return await self._store.next_ready([home.queue for home in self._homes.values()], after=after)

    async def claim(self, free: int) -> tuple[list[HeldLease], bool]:
        """Lease at most ``free`` occurrences that are ready.

        Each queue gets a fair share at first; what is left goes to those that have more. Queues take turns.

        :return: the leases, and whether more may be ready.
        """
        held: list[HeldLease] = []
        homes: Sequence[Task] = list(self._homes.values())
        limit = min(free, self._batch_size)
        share = -(-limit // (self._busy_queues or max(1, len(homes))))
        served: set[str] = set()
        while homes and limit > 0:
            try:
                records = await self._claim(homes, share, limit)
            except RepositoryException:
                if not held:
                    raise
                break  # what the first round leased is not lost to the failure of the second
            counts: dict[str, int] = {}
            for record in records:
                counts[record.queue] = counts.get(record.queue, 0) + 1
            held += self._decode(records)
            limit -= len(records)
            served.update(counts)
            homes = [home for home in homes if counts.get(home.canonical_name, 0) >= share and home.dynamic]
            share = limit
        self._busy_queues = len(served)
        oldest = min((lease.record.due_at for lease in held), default=self._clock.now())
        self._observers.claimed(count=len(held), lag=max(0, self._clock.now() - oldest) / 1_000_000)
        for queue in served:
            self._homes[queue] = self._homes.pop(queue)
        return held, bool(homes) or limit <= 0

    async def _claim(self, homes: Sequence[Task], share: int, limit: int) -> list[Record]:
        now, token = self._clock.now(), new_revision()
        claims = [QueueClaim(home.queue, share, now + home.policies.lease_microseconds) for home in homes]
        holder = f"{self._worker}:{token}"
        return await self._store.claim(claims, now=now, limit=limit, token=token, holder=holder)

    def _decode(self, records: Iterable[Record]) -> Iterable[HeldLease]:
        for record in records:
            home = self._homes[record.queue]
            try:
                yield self._held(home, record)
            except UndecodableSpec as e:
                logger.error(
                    "The record of %r can't be decoded (%s). It is kept, but will not run until it is scheduled anew.",
                    record.key,
                    e,
                    extra={"task": record.key},
                )
                self._writer.submit(Park(record))

    @staticmethod
    def _held(home: Task, record: Record) -> HeldLease:
        spec, args = decode(record.spec)
        if not home.dynamic:
            return HeldLease(record, home, spec, home.fresh_args())
        return HeldLease(record, home.restore(home.name_in(record.key), spec.schedule, args), spec, args)

    async def advance(self, held: HeldLease) -> None:
        """At most once: end the occurrence before it is executed.

        :raises LeaseLostException: somebody else has it.
        :raises RepositoryException: whether it has ended is unknown, so it must not be executed.
        """
        write = Advance(held)
        self._writer.submit(write)
        await write.wait()

    async def extend(self, held: HeldLease) -> None:
        """Prolong the lease by its full duration from now.

        :raises LeaseLostException: it is lost.
        :raises RepositoryException: whether it was prolonged is unknown.
        """
        write = Extend(held)
        self._writer.submit(write)
        await write.wait()

    def settle(self, held: HeldLease, outcome: Outcome) -> None:
        """An execution has ended, or was not started. Returns at once; stored with the next batch."""
        policies = held.task.policies
        if policies.execution_mode is ExecutionMode.AT_MOST_ONCE and outcome is not Outcome.NOT_STARTED:
            return  # its lease ended before it began
        if outcome is Outcome.FAILED and policies.failure_mode is FailureMode.NONE:
            return
        self._writer.submit(Settle(held, outcome, self._clock.now() + self._poll_interval, self._settled))

    def _settled(self, held: HeldLease, error: Exception | None) -> None:
        self.on_settled()
        if error is not None:
            logger.error(
                "The end of %s could not be stored; it will run again when its lease expires.",
                held.task,
                exc_info=error,
                extra={"task": held.task.canonical_name},
            )
        elif held.lost:
            self.lease_lost(held)

    def lease_lost(self, held: HeldLease) -> None:
        """Say that a lease is lost."""
        logger.warning(
            "The lease on %s was lost before its end was stored; it may have been executed twice. "
            "A longer lease_duration or heartbeats prevent this.",
            held.task,
            extra={"task": held.task.canonical_name},
        )
        self._observers.lease_lost(task=held.task)

    def submit(self, write: Write) -> None:
        self._writer.submit(write)
