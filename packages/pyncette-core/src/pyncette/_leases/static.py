"""Static tasks: their schedules are stored at the start, and looked at from time to time."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from pyncette import lease
from pyncette._lifecycle.extra import on_schedule
from pyncette._lifecycle.moments import came_due
from pyncette._schedules.moments import to_datetime
from pyncette._tasks.spec import LaterSpec, Spec, UndecodableSpec, decode, encode, keep_unknown
from pyncette._tasks.state import check_version, starting_over
from pyncette._tasks.task import Task
from pyncette.record import Band, Change, Record

from .revisions import new_revision
from .writer import Writer
from .writes import Awaited

logger: logging.Logger = logging.getLogger(__name__)

CHECK_INTERVAL = 600_000_000
"""Microseconds between two looks at whether the records of static tasks are still there."""

SKEW = 10_000_000
"""Microseconds by which the clock of whoever stored a next occurrence may be ahead before it counts as too late."""


class StaticTasks:
    """The static tasks that an app executes."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._tasks: list[Task] = []
        self._checked_at = 0

    async def start(self, tasks: Iterable[Task], now: int) -> None:
        """Store the schedules that are new or have changed in code.

        :raises RepositoryException: one could not be stored.
        """
        self._tasks, self._checked_at = list(tasks), now
        writes = [StoreSchedule(task) for task in self._tasks]
        for write in writes:
            self._writer.submit(write)
        for write in writes:
            await write.wait()

    def check(self, now: int, *, after_outage: bool) -> None:
        """Store again what has been lost or can't be right: every 10 minutes, after an outage, and when the clock was
        set back. Returns at once; what the storage does not take is checked again the next time.
        """
        if after_outage or not 0 <= now - self._checked_at < CHECK_INTERVAL:
            self._checked_at = now
            for task in self._tasks:
                self._writer.submit(CheckSchedule(task))


class CheckSchedule(Awaited):
    """A static task is stored again if its record is gone, and due sooner if its next occurrence can't be right."""

    def __init__(self, task: Task) -> None:
        super().__init__(task.ref, None, fresh=False)
        self._name = task.canonical_name
        self._policies = task.policies
        self._spec = task.new_spec()

    def decide(self, now: int) -> Change | None:
        if self.known is None:
            return self._missing(now)
        if _is_later(self.known):
            return None  # what a later version wrote is its own
        return on_schedule(self.known, lambda record: self._existing(record, now), now=now)

    def _missing(self, now: int) -> Change | None:
        key = self._name
        logger.warning("The record of task %r is gone from the storage; storing it again.", key, extra={"task": key})
        return self._new(now)

    def _existing(self, record: Record, now: int) -> Change | None:
        return self._recomputed(record, now) if self._is_stored(record) else None

    def _new(self, now: int) -> Change | None:
        due_at, text = self._spec.first(now), encode(self._spec)
        if due_at is None:
            return self._completed(None, now)
        ready_at, revision = self._ready(due_at), new_revision()
        return lease.register(None, self.ref, due_at=due_at, ready_at=ready_at, spec=text, revision=revision)

    def _ready(self, due_at: int) -> int:
        return came_due(self._spec, self._policies, self.ref.key, due_at)

    def _completed(self, old: Record | None, now: int) -> Change:
        """The last occurrence has passed: kept, so that a schedule that continues can be told from a new task."""
        key, last = self._name, self._spec.latest(0, now)
        text = encode(self._spec) if old is None else keep_unknown(old.spec, encode(self._spec))
        logger.warning(
            "Task %r is completed: the last occurrence of its schedule was at %s.",
            key,
            to_datetime(last).isoformat(),
            extra={"task": key},
        )
        record = Record(self.ref.queue, self.ref.key, last, last, None, None, "", old.fence if old else 0, 0, text, "")
        if old is not None:
            record = replace(record, state=old.state)
        held = lease.hold(record, Band.COMPLETED, moment=now, revision=new_revision())
        return Change(old, held.new)

    def _recomputed(self, record: Record, now: int) -> Change | None:
        """Due sooner, if it waits for an occurrence that is later than the next one: a clock was wrong, or the rules of
        a timezone have changed."""
        first, latest = self._spec.first(now), self._spec.first(now + SKEW)
        waits = lease.state_of(record, now) is lease.State.WAITING
        if first is None or latest is None or not waits or record.due_at <= latest:
            return None
        logger.warning(
            "The stored next occurrence of task %r, %s, is later than on its schedule; it is now due at %s.",
            self._name,
            to_datetime(record.due_at).isoformat(),
            to_datetime(first).isoformat(),
            extra={"task": self._name},
        )
        return self._adopted(record, first, now)

    def _adopted(self, record: Record, due_at: int, now: int) -> Change:
        return lease.adopt(
            record,
            due_at=due_at,
            ready_at=self._ready(due_at),
            spec=self._since(record, now),
            now=now,
            revision=new_revision(),
            state=starting_over(record.state) if Band.of(record.ready_at) is Band.COMPLETED else None,
        )

    def _since(self, record: Record, now: int) -> str:
        """Occurrences of the schedule before this moment are not to be caught up with."""
        return keep_unknown(record.spec, encode(replace(self._spec, since=now)))

    def _kept(self, record: Record) -> int | None:
        """The stored next occurrence, if bounds alone have changed, and it lies within them."""
        try:
            stored, _ = decode(record.spec)
        except UndecodableSpec:
            return None
        bounds, due_at = self._spec.bounds, record.due_at
        inside = (bounds.start_at is None or bounds.start_at <= due_at) and not bounds.ended(due_at)
        held = Band.of(record.ready_at) is not None
        return due_at if stored.schedule == self._spec.schedule and inside and not held else None

    def _is_stored(self, record: Record) -> bool:
        try:
            stored: Spec
            stored, _ = decode(record.spec)
        except UndecodableSpec as e:
            key = self._name
            logger.warning("The stored schedule of task %r can't be read (%s).", key, e, extra={"task": key})
            return False
        return stored.schedule == self._spec.schedule and stored.bounds == self._spec.bounds


class StoreSchedule(CheckSchedule):
    """A static task's schedule as declared in code is stored, unless the same one is there already."""

    def _missing(self, now: int) -> Change | None:
        return self._new(now)

    def _existing(self, record: Record, now: int) -> Change | None:
        key = self._name
        band = Band.of(record.ready_at)
        if not self._is_stored(record):
            logger.info("The schedule of task %r has changed in code; storing the new one.", key, extra={"task": key})
        elif band is Band.UNREADABLE:
            logger.info("The record of task %r can be read again; it is rescheduled.", key, extra={"task": key})
        else:
            return self._recomputed(record, now)
        due_at = self._kept(record) or self._spec.first(now)
        if due_at is not None:
            return self._adopted(record, due_at, now)
        if lease.state_of(record, now) is lease.State.LEASED or (band is None and record.due_at <= now):
            # What is executed, or overdue, still comes to its end.
            return Change(record, replace(record, spec=self._since(record, now), revision=new_revision()))
        return self._completed(record, now)


def _is_later(record: Record) -> bool:
    """Whether a later version wrote the spec or the state."""
    try:
        check_version(record.state)
        decode(record.spec)
    except LaterSpec:
        return True
    except UndecodableSpec:
        pass
    return False
