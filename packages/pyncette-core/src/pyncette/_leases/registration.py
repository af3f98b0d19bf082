"""Writes that create, change and remove instances."""

from __future__ import annotations

import logging
from abc import abstractmethod

from pyncette import lease
from pyncette._lifecycle.begin import holds_lease
from pyncette._schedules.moments import to_datetime
from pyncette._tasks.spec import encode, keep_unknown
from pyncette._tasks.task import Task
from pyncette.errors import RepositoryUnavailableException, TaskLockedException
from pyncette.record import Band, Change, Record, Ref
from pyncette.schedule import Once

from .held import new_revision
from .writer import Awaited, Write

logger: logging.Logger = logging.getLogger(__name__)


class Register(Awaited):
    """An instance is scheduled. Starts on the assumption that it is new, which saves reading it first.

    :ivar due_at: when it is due, once it is stored.
    """

    def __init__(self, task: Task, *, force: bool) -> None:
        super().__init__(task.ref, None)
        self._task = task
        self._force = force
        self._spec = task.new_spec()
        self._text = encode(self._spec)
        self.due_at: int | None = None

    def decide(self, now: int) -> Change | None:
        if self._may_have_run():
            raise RepositoryUnavailableException(
                f"The storage did not confirm {self.ref.key!r}, which is not stored (any more): either it never was, "
                "or it has been executed. Being at most once, it is not scheduled again."
            )
        due_at = self._spec.first(now)
        if due_at is None:
            raise ValueError(f"{self.ref.key!r} has no occurrence after now: correct its schedule or its bounds.")
        change = lease.register(
            self.known,
            self.ref,
            due_at=due_at,
            spec=self._text if self.known is None else keep_unknown(self.known.spec, self._text),
            now=now,
            revision=new_revision(),
            force=self._force,
        )
        # Decided anew after a conflict: what was decided before no longer counts.
        self.due_at = None if change is None or change.new is None else change.new.due_at
        return change

    def _may_have_run(self) -> bool:
        """Whether storing it again may execute an at-most-once, one-off instance twice."""
        once = isinstance(self._spec.schedule, Once)
        at_most_once = not holds_lease(self._task.policies)
        unconfirmed = self.sent is not None and self.failures > 0
        return once and at_most_once and unconfirmed and self.known is None

    async def wait(self) -> None:
        """:raises TaskLockedException: the instance is being executed, and ``force`` was not given."""
        await super().wait()
        if self.due_at is None:
            locked_until = self.known.locked_until if self.known else None
            raise TaskLockedException(self._task, None if locked_until is None else to_datetime(locked_until))


class Remove(Awaited):
    """An instance is unscheduled, whatever state it is in.

    :ivar existed: whether there was one.
    """

    def __init__(self, ref: Ref) -> None:
        super().__init__(ref, None, fresh=False)
        self.existed: bool = False

    def decide(self, now: int) -> Change | None:
        if self.known is None:
            return None
        self.existed = True
        return Change(self.known, None)


class _Unexecuted(Write):
    """The lease on a record that this process can't execute is given back, unless somebody has changed it since."""

    def __init__(self, record: Record) -> None:
        super().__init__(record.ref, record)
        self._claimed = record

    def decide(self, now: int) -> Change | None:
        if self.known is None or self.known.revision != self._claimed.revision:
            return None
        return self.change(self.known, now)

    @abstractmethod
    def change(self, record: Record, now: int) -> Change:
        """How it is given back."""

    def finished(self, error: Exception | None) -> None:
        if error is not None:
            key = self.ref.key
            logger.warning("The lease on %r could not be given back: %s", key, error, extra={"task": key})


class SetAside(_Unexecuted):
    """A damaged record is kept, but not claimed again."""

    def change(self, record: Record, now: int) -> Change:
        return lease.hold(record, Band.UNREADABLE, moment=now, revision=new_revision())


class GiveBack(_Unexecuted):
    """A record that a later version wrote is left to workers of that version."""

    def __init__(self, record: Record, *, delay: int) -> None:
        super().__init__(record)
        self._delay = delay

    def change(self, record: Record, now: int) -> Change:
        return lease.release(record, at=now + self._delay, revision=new_revision())
