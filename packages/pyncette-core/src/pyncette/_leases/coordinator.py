"""Claims occurrences, and ends their leases. What becomes of them is decided in :mod:`pyncette._lifecycle`."""

from __future__ import annotations

import functools
import logging
import os
import socket
from collections.abc import Callable, Iterable, Sequence

from pyncette import lease
from pyncette._lifecycle.begin import renews_lease
from pyncette._lifecycle.end import AttemptEnd, ends_run
from pyncette._tasks.spec import LaterSpec, UndecodableSpec, decode
from pyncette._tasks.task import Task
from pyncette.clock import Clock
from pyncette.errors import RepositoryException
from pyncette.observer import Observers
from pyncette.record import QueueClaim, Record

from .active import Active
from .held import Advance, Extend, HeldLease, Renew, Settle, new_revision
from .registration import GiveBack, SetAside, StoreSchedule
from .renewals import put_back_delay
from .store import Store
from .writer import Write, Writer

logger: logging.Logger = logging.getLogger(__name__)


class Coordinator:
    """The leases of one running app.

    :ivar active: what is being executed.
    """

    def __init__(
        self,
        store: Store,
        writer: Writer,
        clock: Clock,
        observers: Observers,
        poll_interval: int,
        batch_size: int,
        on_settled: Callable[[], None],
    ) -> None:
        """``on_settled`` is called when the end of a lease has been stored, or given up."""
        self._store = store
        self._writer = writer
        self._clock = clock
        self._observers = observers
        self._poll_interval = poll_interval
        self._batch_size = batch_size
        self._tasks: dict[str, Task] = {}  # by queue; the one that was served longest ago comes first
        self._busy_queues = 0
        self._on_settled = on_settled
        self.active: Active = Active()
        self._left: set[str] = set()  # keys of records that a later version wrote
        self._worker = observers.worker = f"{socket.gethostname()}:{os.getpid()}"

    @property
    def unsettled(self) -> int:
        """Writes that the storage has not confirmed yet."""
        return self._writer.pending

    async def start(self, tasks: Iterable[Task]) -> None:
        """Take up the work of ``tasks``: static ones are stored if they are new or have changed.

        :raises RepositoryException: a task could not be stored.
        """
        queued = [queued for task in tasks for queued in task.queues if queued.enabled]
        writes = [StoreSchedule(task) for task in queued if not task.dynamic]
        for write in writes:
            self._writer.submit(write)
        for write in writes:
            await write.wait()
        self._tasks = {task.canonical_name: task for task in queued}

    async def follow_clock(self) -> None:
        """Let the app's clock follow the storage's, from time to time."""
        await self._store.follow_clock()

    async def next_ready(self, *, after: int | None = None) -> int | None:
        """The earliest moment when something may be claimed."""
        if not self._tasks:
            return None
        looked = await self._store.look([task.queue for task in self._tasks.values()], (), after=after)
        return looked.next_ready

    async def claim(self, free: int) -> tuple[list[HeldLease], bool]:
        """Lease at most ``free`` occurrences that are ready.

        Each queue gets a fair share at first; what is left goes to those that have more. Queues take turns.

        :return: the leases, and whether more may be ready.
        """
        held: list[HeldLease] = []
        tasks: Sequence[Task] = list(self._tasks.values())
        limit = min(free, self._batch_size)
        share = -(-limit // (self._busy_queues or max(1, len(tasks))))
        served: set[str] = set()
        while tasks and limit > 0:
            try:
                claimed = await self._claim(tasks, share, limit)
            except RepositoryException:
                if not held:
                    raise
                break  # what the first round leased is not lost to the failure of the second
            counts: dict[str, int] = {}
            for record, _ in claimed:
                counts[record.queue] = counts.get(record.queue, 0) + 1
            held += self._decode(claimed)
            limit -= len(claimed)
            served.update(counts)
            tasks = [task for task in tasks if counts.get(task.canonical_name, 0) >= share and task.dynamic]
            share = limit
        self._busy_queues = len(served)
        oldest = min((held_lease.record.due_at for held_lease in held), default=self._clock.now())
        self._observers.claimed(count=len(held), lag=max(0, self._clock.now() - oldest) / 1_000_000)
        for queue in served:
            self._tasks[queue] = self._tasks.pop(queue)
        return held, bool(tasks) or limit <= 0

    async def _claim(self, tasks: Sequence[Task], share: int, limit: int) -> list[tuple[Record, Record]]:
        """Claim, and return the records as they were before and as they are stored now."""
        now, token = self._clock.now(), new_revision()
        ends = {task.canonical_name: now + task.policies.lease_microseconds for task in tasks}
        claims = [QueueClaim(task.queue, share, ends[task.canonical_name]) for task in tasks]
        holder = f"{self._worker}:{token}"
        before = await self._store.claim(claims, now=now, limit=limit, token=token, holder=holder)
        return [
            (record, lease.claim(record, now=now, locked_until=ends[record.queue], token=token, holder=holder))
            for record in before
        ]

    def _decode(self, claimed: Iterable[tuple[Record, Record]]) -> Iterable[HeldLease]:
        claimed_at = self._clock.now()
        for before, record in claimed:
            task = self._tasks[record.queue]
            if (mine := self.active.executing(record)) is not None and self._keeps(mine, before, record):
                continue
            try:
                yield self._held(task, record, claimed_at)
            except LaterSpec as e:
                self._leave(task, record, e)
            except UndecodableSpec as e:
                logger.error(
                    "The record of %r can't be decoded (%s). It is kept, but will not run until it is scheduled anew.",
                    record.key,
                    e,
                    extra={"task": record.key},
                )
                self._writer.submit(SetAside(record))

    def _keeps(self, mine: HeldLease, before: Record, record: Record) -> bool:
        """What was claimed is still being executed here, or its end is yet to be stored: it isn't begun again.

        Unless its lease is renewed, others may have it after a while. Until one takes it, its end can be stored. False
        if the execution has ended and somebody else has had the occurrence since.
        """
        policies = mine.task.policies
        delay = put_back_delay(policies.lease_microseconds)
        if not mine.reclaimed(before, record):
            if mine.ended:
                return False
            self._writer.submit(GiveBack(record, delay=delay))
        elif not (mine.renewing or mine.ended):
            duration = policies.lease_microseconds if renews_lease(policies) else delay
            self._writer.submit(Renew(mine, duration, self._renewed))
        logger.debug("%r is put back: this process still executes it.", record.key)
        return True

    def _leave(self, task: Task, record: Record, error: LaterSpec) -> None:
        """Let a process of the later version execute it: only the lease is given back, with a delay."""
        if record.key not in self._left:
            self._left.add(record.key)
            logger.warning(
                "The record of %r is left to workers of a later version of Pyncette (%s).",
                record.key,
                error,
                extra={"task": record.key},
            )
        self._writer.submit(GiveBack(record, delay=task.policies.lease_microseconds))

    @staticmethod
    def _held(task: Task, record: Record, claimed_at: int) -> HeldLease:
        spec, args = decode(record.spec)
        if not task.dynamic:
            return HeldLease(record, task, spec, task.fresh_args(), claimed_at=claimed_at)
        instance = task.restore(task.name_in(record.key), spec.schedule, args)
        return HeldLease(record, instance, spec, args, claimed_at=claimed_at)

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

    def renew(self, held: HeldLease) -> None:
        """Prolong the lease of what is being executed. Returns at once; stored with the next batch."""
        self._writer.submit(Renew(held, held.task.policies.lease_microseconds, self._renewed))

    def _renewed(self, held: HeldLease) -> None:
        if held.lost and not held.ended and held.scope is not None:
            logger.warning(
                "The lease on %s is lost; cancelling it.", held.task, extra={"task": held.task.canonical_name}
            )
            held.scope.cancel()

    def settle(self, held: HeldLease, attempt_end: AttemptEnd, error: BaseException | None = None) -> None:
        """An attempt has ended, or was not started. Returns at once; stored with the next batch.

        :param error: what the task raised.
        """
        on_end: Callable[[HeldLease, Exception | None], None] = self._settled
        if self._observers and ends_run(held.task.policies, attempt_end):
            on_end = functools.partial(self._run_settled, held.record, error)
        settle = Settle(held, attempt_end, ended_at=self._clock.now(), retry_delay=self._poll_interval, on_end=on_end)
        self._writer.submit(settle)

    def _run_settled(
        self, run: Record, error: BaseException | None, held: HeldLease, failure: Exception | None
    ) -> None:
        """``run`` is the record before its settlement, with the occurrence that has ended."""
        self._settled(held, failure)
        if failure is None and not held.lost:
            self._observers.run_ended(held.task, run, error=error)

    def _settled(self, held: HeldLease, error: Exception | None) -> None:
        self.active.release(held)
        self._on_settled()
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
        """Log that a lease was lost, if the occurrence was begun: what becomes of it is up to others."""
        self.active.release(held)
        if held.started_at is None:
            return
        if not held.taken:
            logger.info(
                "%s was removed or scheduled anew while it was executed.",
                held.task,
                extra={"task": held.task.canonical_name},
            )
            return
        logger.warning(
            "The lease on %s was lost before its end was stored; it may have been executed twice.",
            held.task,
            extra={"task": held.task.canonical_name},
        )
        self._observers.lease_lost(held.task, held.record)

    def submit(self, write: Write) -> None:
        self._writer.submit(write)
