"""Static tasks: their schedules are stored when the app starts, and checked periodically."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from pyncette._lifecycle.static import Notice, reconcile
from pyncette._tasks.task import Task
from pyncette.record import Change

from .revisions import new_revision
from .writer import Writer
from .writes import Awaited

logger: logging.Logger = logging.getLogger(__name__)

CHECK_INTERVAL = 600_000_000
"""Microseconds between two checks that the records of static tasks still exist."""


class StaticTasks:
    """The static tasks that an app executes."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._tasks: list[Task] = []
        self._checked_at = 0

    async def start(self, tasks: Iterable[Task], now: int) -> None:
        """Store schedules that are new, or that have changed in code.

        :raises RepositoryException: one could not be stored.
        """
        self._tasks, self._checked_at = list(tasks), now
        writes = [Reconcile(task, starting=True) for task in self._tasks]
        for write in writes:
            self._writer.submit(write)
        for write in writes:
            await write.wait()

    def check(self, now: int, *, after_outage: bool) -> None:
        """Restore records that are gone or can't be right: every 10 minutes, after an outage, and when the clock was
        set back. Returns immediately; what could not be stored is checked again the next time.
        """
        if after_outage or not 0 <= now - self._checked_at < CHECK_INTERVAL:
            self._checked_at = now
            for task in self._tasks:
                self._writer.submit(Reconcile(task, starting=False))


class Reconcile(Awaited):
    """Store a static task as :func:`~pyncette._lifecycle.static.reconcile` decides."""

    def __init__(self, task: Task, *, starting: bool) -> None:
        super().__init__(task.ref, None, fresh=False)
        self._name = task.canonical_name
        self._policies = task.policies
        self._spec = task.new_spec()
        self._starting = starting

    def decide(self, now: int) -> Change | None:
        spec, policies, revision = self._spec, self._policies, new_revision()
        kept = reconcile(self.known, self.ref, spec, policies, starting=self._starting, now=now, revision=revision)
        for notice, *details in kept.notices:
            _log(self._name, notice, *details)
        return kept.change


def _log(key: str, notice: Notice, *details: str) -> None:
    extra = {"task": key}
    match notice:
        case Notice.GONE:
            logger.warning("The record of task %r is gone from the storage; storing it again.", key, extra=extra)
        case Notice.UNREADABLE:
            logger.warning("The stored schedule of task %r can't be read (%s).", key, *details, extra=extra)
        case Notice.CHANGED:
            logger.info("The schedule of task %r has changed in code; storing the new one.", key, extra=extra)
        case Notice.READABLE:
            logger.info("The record of task %r can be read again; it is rescheduled.", key, extra=extra)
        case Notice.TOO_LATE:
            logger.warning(
                "The stored next occurrence of task %r, %s, is later than on its schedule; it is now due at %s.",
                key,
                *details,
                extra=extra,
            )
        case Notice.COMPLETED:
            logger.warning(
                "Task %r is completed: the last occurrence of its schedule was at %s.", key, *details, extra=extra
            )
