"""A lease that this process holds, and the writes that end or prolong it."""

from __future__ import annotations

import enum
import os
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from pyncette import lease
from pyncette._tasks.policies import FailureMode
from pyncette._tasks.spec import Spec, UndecodableSpec, decode
from pyncette._tasks.task import Task
from pyncette.errors import LeaseLostException
from pyncette.record import Change, Record

from .writer import Awaited, Write


def new_revision() -> str:
    """A random token that no other write has."""
    return os.urandom(8).hex()


class HeldLease:
    """The right to execute one occurrence.

    :ivar record: the record as this process last knew it in storage.
    :ivar lost: whether the lease is known to be somebody else's, or gone.
    :ivar ended: whether the execution has ended.
    """

    __slots__ = ("args", "ended", "lost", "record", "spec", "task")

    def __init__(self, record: Record, task: Task, spec: Spec, args: dict[str, Any]) -> None:
        self.record: Record = record
        self.task: Task = task
        self.spec: Spec = spec
        self.args: dict[str, Any] = args
        self.lost: bool = False
        self.ended: bool = False

    def rebase(self, stored: Record | None) -> bool:
        """Go on from what is stored now; False if the lease is lost."""
        if self.lost or stored is None or not lease.holds(self.record, stored):
            self.lost = True
            return False
        if stored.spec != self.record.spec:
            # The schedule was changed while the occurrence runs: it is settled by the new one.
            try:
                self.spec, _ = decode(stored.spec)
            except UndecodableSpec:
                self.lost = True
                return False
        self.record = stored
        return True

    def next_due(self, now: int) -> int | None:
        return self.spec.following(self.record.due_at, now, fast_forward=self.task.policies.fast_forward)

    def is_half_spent(self, now: int) -> bool:
        """Whether less than half of the lease is left."""
        left = (self.record.locked_until or 0) - now
        return 2 * left < self.task.policies.lease_microseconds


class LeaseWrite(Write):
    """A write by the holder of a lease. Writes of one lease are stored in the order of their submission."""

    def __init__(self, held: HeldLease) -> None:
        super().__init__(held.record.ref, None)
        self.held = held

    def decide(self, now: int) -> Change | None:
        if self.was_read and not self.held.rebase(self.known):
            return None
        return None if self.held.lost else self.change(now)

    @abstractmethod
    def change(self, now: int) -> Change:
        """What to make of ``held.record``."""

    def stored(self, new: Record | None) -> None:
        super().stored(new)
        if new is not None:
            self.held.record = new


class AwaitedLeaseWrite(LeaseWrite, Awaited):
    """A write whose end the execution waits for."""

    async def wait(self) -> None:
        """Return when it is stored.

        :raises LeaseLostException: the lease is lost.
        :raises RepositoryException: the storage failed; the outcome is unknown.
        """
        await super().wait()
        if self.held.lost:
            raise LeaseLostException(self.held.task)


class Extend(AwaitedLeaseWrite):
    """The holder prolongs its lease."""

    def change(self, now: int) -> Change:
        until = now + self.held.task.policies.lease_microseconds
        return lease.extend(self.held.record, locked_until=until, revision=new_revision())


class Advance(AwaitedLeaseWrite):
    """At most once: the occurrence is over before it is executed."""

    def change(self, now: int) -> Change:
        return lease.complete(self.held.record, next_due=self.held.next_due(now), revision=new_revision())

    def arrived(self, sent: Change) -> bool:
        # That the record is gone doesn't prove that it was us who removed it.
        return sent.new is not None and super().arrived(sent)

    def stored(self, new: Record | None) -> None:
        """The lease has ended with the write; what ``held`` knows is kept for the execution."""


class Outcome(enum.Enum):
    """How an execution ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    NOT_STARTED = "not started"
    CUT_OFF = "cut off"
    """Cancelled at the drain deadline."""


class Settle(LeaseWrite):
    """The end of an at-least-once execution. Tried until it is stored: giving up means executing again."""

    patient = True

    def __init__(
        self, held: HeldLease, outcome: Outcome, retry_at: int, on_end: Callable[[HeldLease, Exception | None], None]
    ) -> None:
        super().__init__(held)
        self._outcome = outcome
        self._retry_at = retry_at
        self._on_end = on_end

    def change(self, now: int) -> Change:
        record, revision = self.held.record, new_revision()
        if self._outcome is Outcome.NOT_STARTED:
            return lease.release(record, revision=revision)
        if self._outcome is Outcome.CUT_OFF:
            return lease.retry(record, at=now, revision=revision)
        if self._outcome is Outcome.FAILED and self.held.task.policies.failure_mode is FailureMode.UNLOCK:
            return lease.retry(record, at=self._retry_at, revision=revision)
        return lease.complete(record, next_due=self.held.next_due(now), revision=revision)

    def finished(self, error: Exception | None) -> None:
        self._on_end(self.held, error)
