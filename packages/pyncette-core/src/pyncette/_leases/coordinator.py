"""Claims occurrences and ends their leases, as :mod:`pyncette._lifecycle` decides."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from pyncette import lease
from pyncette._concurrency.background import concurrently
from pyncette._lifecycle.at_most_once import concludes
from pyncette._lifecycle.begin import holds_lease, renews_lease
from pyncette._lifecycle.values import Attempt, AttemptEnd
from pyncette._tasks.names import name_of
from pyncette._tasks.spec import LaterSpec, UndecodableSpec, decode
from pyncette._tasks.task import Task
from pyncette.clock import Clock
from pyncette.errors import RepositoryException
from pyncette.observer import Observers
from pyncette.record import Record

from .active import Active
from .control import ControlReading
from .crowded import Crowded
from .held import Advance, Conclude, Extend, HeldLease, Renew, Settle, Settling
from .history import History
from .moments import Moments
from .outcomes import Outcomes
from .outlook import Outlook
from .partitions import PartitionCounts
from .renewals import put_back_delay
from .requested import RequestedRuns
from .retention import Retention
from .revisions import new_revision
from .shares import Shares, admitted, exhausted_by, open_tasks, room_left
from .static import StaticTasks
from .store import Store
from .unexecuted import GiveBack, SetAside
from .writer import Writer
from .writes import Write

logger: logging.Logger = logging.getLogger(__name__)


class Coordinator:
    """The leases of one running app.

    :ivar active: the executions in progress.
    :ivar partitions: the known partition counts.
    """

    def __init__(
        self,
        store: Store,
        writer: Writer,
        clock: Clock,
        observers: Observers,
        moments: Moments,
        reading: ControlReading,
        worker: str,
        history: History | None,
        on_settled: Callable[[], None],
    ) -> None:
        """``on_settled`` is called when the end of a lease has been stored, or storing it has been given up."""
        self._store = store
        self._writer = writer
        self._clock = clock
        self._observers = observers
        self._batch_size = moments.most
        self._reading = reading
        self._history = history
        self._tasks: Mapping[str, Task] = {}  # by queue
        self._retaining: Sequence[Task] = ()  # those with `retain`, whose finished instances are kept for a while
        self._limited: Sequence[Task] = ()  # those with `concurrency`
        self.partitions: PartitionCounts = PartitionCounts(reading, writer)
        self._shares = Shares()
        self._crowded = Crowded(store)
        self._static = StaticTasks(writer)
        self._retention = Retention(store)
        self.active: Active = Active()
        self._outcomes = Outcomes(observers, self.active, on_settled)
        self._settling = Settling(moments.interval, history, self._outcomes.settled)
        self._left: set[str] = set()  # keys of records that a later version wrote
        self._worker = observers.worker = worker
        self._requested = RequestedRuns(store, writer, clock, reading)
        self._outlook = Outlook(store, clock, reading, moments, self.active, self._requested)

    @property
    def unsettled(self) -> int:
        """Writes that the storage has not confirmed yet."""
        return self._writer.pending

    @property
    def overdue(self) -> bool:
        """Whether writes are waiting for a storage that doesn't answer, so that leases may expire."""
        return self._writer.overdue

    async def start(self, tasks: Iterable[Task]) -> None:
        """Start working on ``tasks``. Static ones are stored if they are new or have changed.

        :raises PartitionCountException: the instances of a task are stored in another number of partitions.
        :raises RepositoryException: a task could not be stored.
        """
        tasks = list(tasks)
        await self.partitions.check(tasks)
        queued = [queued for task in tasks for queued in task.queues if queued.enabled]
        self._tasks = {task.queue.name: task for task in queued}
        self._outlook.start(self._tasks)
        await self._static.start((task for task in queued if not task.dynamic), self._clock.now())
        self._limited = [task for task in queued if task.policies.concurrency is not None]
        self._retaining = [task for task in queued if task.dynamic and task.policies.retains]

    def check_static(self, *, after_outage: bool) -> None:
        """Restore the records of static tasks that are gone. Does so only every few minutes."""
        self._static.check(self._clock.now(), after_outage=after_outage)

    async def sweep(self) -> None:
        """Remove finished instances that have been kept long enough. Does so only once a minute.

        :raises RepositoryException: the storage failed.
        """
        if self._retaining:
            await self._retention.sweep(self._retaining, self._clock.now())

    async def follow_clock(self) -> None:
        """Adjust the app's clock to the storage's, if the last reading is old."""
        await self._store.follow_clock()

    async def next_ready(self, *, after: int | None = None) -> tuple[int | None, int]:
        """The earliest moment when something may be claimed, and when all queues were last queried.

        Queries the storage only for what isn't known, but for everything while writes are overdue, to find out whether
        it answers.

        :param after: the time of the claim, if one has just been made.
        :raises RepositoryException: the storage failed.
        """
        return await self._outlook.next_ready(after=after, afresh=self.overdue)

    def paused_until(self, held: HeldLease) -> int | None:
        """The end of the pause of the template during which the occurrence came due; None if there was none."""
        control = self._reading.control
        if not control.windows:
            return None
        return control.skipped_until(held.task.template.queue.name, held.record.due_at)

    def pauses(self, held: HeldLease) -> list[tuple[int, int]]:
        """The pauses of the template, including one in progress."""
        control = self._reading.control
        return control.pauses(held.task.template.queue.name) if control.paused or control.windows else []

    async def claim(self, free: int, times: int = 1) -> tuple[list[HeldLease], bool]:
        """Lease up to ``free`` ready occurrences with ``times`` concurrent claims. If a task sets ``concurrency``, only
        one claim is made at a time, because each has to know what the others got.

        :return: the leases, and whether more may be ready.
        :raises RepositoryException: all claims have failed.
        """
        await self._outlook.refresh()
        if times == 1 or self._limited:
            return await self._claim_in_turn(free)

        async def claim() -> tuple[list[HeldLease], bool] | RepositoryException:
            try:
                return await self._claim_in_turn(free // times)
            except RepositoryException as e:
                return e

        answers = await concurrently([claim] * times, at_once=times)
        claimed = [answer for answer in answers if not isinstance(answer, RepositoryException)]
        if not claimed:
            raise next(answer for answer in answers if isinstance(answer, RepositoryException))
        return [lease for held, _ in claimed for lease in held], any(more for _, more in claimed)

    async def _claim_in_turn(self, free: int) -> tuple[list[HeldLease], bool]:
        """Claim a fair share from each queue that has something due, then fill the remaining slots from the queues that
        have more. If there are more queues than slots, they take turns."""
        held: list[HeldLease] = []
        limit = min(free, self._batch_size)
        if self._reading.control.requested:
            requested = await self._claim_requested(limit)
            held += self._decode(requested)
            limit -= len(requested)
        tasks, cut = self._outlook.due(limit, self._shares.behind)
        limited = [task for task in tasks if task.policies.concurrency is not None]
        room = room_left(limited, self.active.running_with(held))
        tasks = open_tasks(tasks, room)
        if crowded := [task for task in tasks if task.queue.name in self._shares.crowded]:
            self._shares.crowded -= await self._crowded.clear(crowded, self._clock.now())
        share = -(-limit // max(1, len(tasks)))
        asks = bool(tasks) and limit > 0
        self._shares.begin()
        while tasks and limit > 0:
            try:
                claimed, more = await self._claim(tasks, share, limit, room)
            except RepositoryException:
                if not held:
                    raise
                break  # don't lose what earlier rounds have leased
            held += self._decode(claimed)
            limit -= len(claimed)
            room = room_left(limited, self.active.running_with(held))
            tasks = open_tasks((task for task in tasks if task.dynamic and task.queue.name in more), room)
            share = limit
        if asks or held:
            oldest = min((each.record.due_at for each in held), default=self._clock.now())
            self._observers.claimed(count=len(held), lag=max(0, self._clock.now() - oldest) / 1_000_000)
        return held, bool(tasks) or limit <= 0 or cut

    async def _claim(
        self, tasks: Sequence[Task], share: int, limit: int, room: dict[str, int]
    ) -> tuple[list[tuple[Record, Record]], set[str]]:
        """Claim once.

        Queues that were left out, because others of their template might fill its room, remain due.

        :return: pairs of the record before the claim and the record as stored now, and the queues that may have more.
        """
        now, token, passed = self._clock.now(), new_revision(), self._outlook.passed
        latest = now + self._clock.error  # workers whose clocks are ahead must not take it before the lease ends
        ends = {task.queue.name: latest + task.policies.lease_microseconds for task in tasks}
        claims = self._shares.claims(tasks, share, ends=ends, room=room, now=now)
        holder = f"{self._worker}:{token}"
        before = await self._store.claim(claims, now=now, limit=limit, token=token, holder=holder)
        limited = {task.queue.name for task in tasks if task.policies.concurrency is not None}
        more = self._shares.claimed(claims, before, limit=limit, limited=limited, now=now)
        pairs = [
            (record, lease.claim(record, now=now, locked_until=ends[record.queue], token=token, holder=holder))
            for record in before
        ]
        served = {record.queue: ends[record.queue] for record in before}
        exhausted = [
            queue.name for queue in exhausted_by(claims, before, limit) if queue.static or queue.name not in more
        ]
        self._outlook.claimed(served, exhausted=exhausted, now=now, passed=passed)
        return pairs, more

    async def _claim_requested(self, limit: int) -> list[tuple[Record, Record]]:
        """Claim manual runs of instances whose template is paused."""
        token = new_revision()
        latest = self._clock.now() + self._clock.error
        room = room_left(self._limited, self.active.running)
        tasks = open_tasks(self._tasks.values(), room)
        ends = {task.queue.name: latest + task.policies.lease_microseconds for task in tasks}

        def admit(ready: list[Record]) -> list[Record]:
            return admitted(ready, self._tasks, room)[:limit]

        return await self._requested.claim(ends, admit=admit, token=token, holder=f"{self._worker}:{token}")

    def _decode(self, claimed: Iterable[tuple[Record, Record]]) -> Iterable[HeldLease]:
        claimed_at = self._clock.now()
        for before, record in claimed:
            task = self._tasks[record.queue]
            if (mine := self.active.executing(record)) is not None and self._still_executing(mine, before, record):
                continue
            try:
                yield self._held(task, record, before, claimed_at)
            except LaterSpec as e:
                self._leave(task, record, e)
            except UndecodableSpec as e:
                name = name_of(record.key)
                logger.error(
                    "The record of %r can't be decoded (%s). It is kept, but will not run until it is scheduled again.",
                    name,
                    e,
                    extra={"task": name},
                )
                self._writer.submit(SetAside(record))

    def _still_executing(self, mine: HeldLease, before: Record, record: Record) -> bool:
        """Handle the claim of an occurrence that this process is still executing, or whose end it has yet to store.

        It must not begin a second time. Unless its lease is renewed, other workers may claim it after a while; until
        one does, its end can be stored.

        :return: False if the execution has ended and another worker has had the occurrence since: then it is executed.
        """
        policies = mine.task.policies
        delay = put_back_delay(policies.lease_microseconds)
        if not mine.reclaimed(before, record):
            if mine.ended:
                return False
            self._writer.submit(GiveBack(record, delay=delay))
        elif not (mine.renewing or mine.ended):
            duration = self._duration(mine) if renews_lease(policies) else delay
            self._writer.submit(Renew(mine, duration, self._renewed))
        logger.debug("%s is put back: this process still executes it.", mine.task)
        return True

    def _leave(self, task: Task, record: Record, error: LaterSpec) -> None:
        """Leave a record to workers of the later version that wrote it: give its lease back with a delay."""
        if record.key not in self._left:
            self._left.add(record.key)
            name = name_of(record.key)
            logger.warning(
                "The record of %r is left to workers of a later version of Pyncette (%s).",
                name,
                error,
                extra={"task": name},
            )
        self._writer.submit(GiveBack(record, delay=task.policies.lease_microseconds))

    @staticmethod
    def _held(task: Task, record: Record, before: Record, claimed_at: int) -> HeldLease:
        spec, args = decode(record.spec, record.due_at)
        if not task.dynamic:
            return HeldLease(record, before, task, spec, task.fresh_args(), claimed_at)
        return HeldLease(record, before, task.stored(record.key, spec, args), spec, args, claimed_at)

    async def advance(self, held: HeldLease) -> None:
        """At most once: store that the occurrence is over, before it is executed.

        :raises LeaseLostException: another worker has it.
        :raises RepositoryException: it is unknown whether that was stored, so it must not be executed.
        """
        write = Advance(held, self._worker)
        await self._secure(held, write)
        held.advanced = write.advanced
        self._outcomes.advanced(held, write.result)

    async def reacquire(self, held: HeldLease) -> None:
        """Take a lease again that had expired when the reply to its claim arrived, before anything is executed.

        :raises LeaseLostException: another worker has taken it in the meantime.
        :raises RepositoryException: it is unknown whether it was taken, so nothing must be executed.
        """
        await self._secure(held, Extend(held, self._duration(held)))

    async def _secure(self, held: HeldLease, write: Advance | Extend) -> None:
        """Store something without which the occurrence must not be executed; if that fails, forget it."""
        try:
            await self._writer.store(write)
        except BaseException:
            self.active.release(held)
            raise

    async def extend(self, held: HeldLease) -> None:
        """Extend the lease to its full duration from now.

        :raises LeaseLostException: it is lost.
        :raises RepositoryException: it is unknown whether it was extended.
        """
        await self._writer.store(Extend(held, self._duration(held)))

    def renew(self, held: HeldLease) -> None:
        """Extend the lease of an execution in progress. Returns immediately; stored with the next batch."""
        self._writer.submit(Renew(held, self._duration(held), self._renewed))

    def _renewed(self, held: HeldLease) -> None:
        if held.limit is not None and not (held.lost or held.ended):
            held.limit.renewed(held)
        if held.lost and not held.ended and held.scope is not None:
            logger.warning(
                "The lease on %s is lost; cancelling it.", held.task, extra={"task": held.task.canonical_name}
            )
            held.scope.cancel()

    def _duration(self, held: HeldLease) -> int:
        return held.task.policies.lease_microseconds + self._clock.error

    def settle(self, held: HeldLease, attempt_end: AttemptEnd, error: BaseException | None = None) -> None:
        """Store the end of an attempt, or that it was not started. Returns immediately; stored with the next batch.

        :param error: the exception that the task raised.
        """
        now = self._clock.now()
        attempt = Attempt(attempt_end, held.due_at, now, held.started_at, error, self._worker, held.skips)
        self.store(held, attempt)

    def store(self, held: HeldLease, attempt: Attempt) -> None:
        """Like :meth:`settle`, for an :class:`Attempt` that the caller has created."""
        write: Write
        attempt.pauses = self.pauses(held)
        if holds_lease(held.task.policies) or attempt.end in (AttemptEnd.RELEASED, AttemptEnd.PASSED):
            write = Settle(held, attempt, self._settling)
        elif held.advanced is not None and (self._history is not None or concludes(held.task.policies)):
            write = Conclude(held, held.advanced, attempt, self._history, on_end=self._outcomes.concluded)
        else:
            self._outcomes.unrecorded(held, attempt)
            return
        self._writer.submit(write)

    def attempt_lost(self, held: HeldLease, worker: str) -> None:
        """Report that the previous attempt was lost."""
        self._outcomes.attempt_lost(held.task, held.record, worker)

    def lease_lost(self, held: HeldLease) -> None:
        """Report that a lease is lost."""
        self._outcomes.lease_lost(held)

    def submit(self, write: Write) -> None:
        self._writer.submit(write)
