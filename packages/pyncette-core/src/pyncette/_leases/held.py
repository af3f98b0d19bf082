"""A lease that this process holds, and the writes that end or extend it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio

from pyncette import lease
from pyncette._lifecycle.at_most_once import advance, conclude, lists_run
from pyncette._lifecycle.end import end
from pyncette._lifecycle.moments import came_due
from pyncette._lifecycle.values import Attempt, AttemptEnd, Ended, Skipped
from pyncette._tasks.extra import ExtraRun, current_run
from pyncette._tasks.spec import Spec, UndecodableSpec, decode
from pyncette._tasks.state import check_version, is_later, last_settled
from pyncette._tasks.task import Task
from pyncette.errors import LeaseLostException
from pyncette.record import Change, Record

from .history import History
from .revisions import new_revision
from .writes import Awaited, Write


class Limit:
    """How long one execution may take.

    The lease refers to its limit, but not the other way round: breaking the cycle would cost the garbage collector more
    than the rest of an execution.

    :ivar scope: the scope that cancels the execution.
    :ivar started_at: microseconds.
    :ivar times_out_at: microseconds; None for never.
    :ivar cut: how it was cut short; None if it was not.
    """

    __slots__ = ("_on_renewed", "cut", "scope", "started_at", "times_out_at")

    def __init__(
        self,
        scope: anyio.CancelScope,
        started_at: int,
        times_out_at: int | None,
        on_renewed: Callable[[HeldLease], None],
    ) -> None:
        self.scope = scope
        self.started_at = started_at
        self.times_out_at = times_out_at
        self._on_renewed = on_renewed
        self.cut: AttemptEnd | None = None

    def renewed(self, held: HeldLease) -> None:
        """The lease was renewed. Its record shows whether the instance was paused, resumed or rescheduled since."""
        self._on_renewed(held)


class HeldLease:
    """The right to execute one occurrence.

    :ivar record: the stored record as this process last knew it.
    :ivar before: the record before the claim.
    :ivar due_at: the occurrence that is executed: if several were missed, not always the one in ``record``.
    :ivar skips: the occurrences that are skipped before it.
    :ivar extra: the manual run or backfill that is executed; None for a scheduled occurrence.
    :ivar limit: how long the execution may take; None if it is unlimited.
    :ivar carried: context that the observers of its attempt attach to its writes.
    :ivar claimed_at: microseconds; when the reply to the claim arrived.
    :ivar advanced: at most once: the record after :class:`Advance`; None before, or if it was removed.
    :ivar lost: whether the lease is known to belong to another worker, or to be gone.
    :ivar taken: whether another worker may have claimed the occurrence, as opposed to removing or overwriting it.
    :ivar started_at: microseconds; when the execution began, None before.
    :ivar ended: whether the execution has ended.
    :ivar renewing: whether a renewal is being stored.
    :ivar warned: whether the log already says that the execution takes unusually long.
    :ivar scope: cancels the execution when its lease is lost; None if that is not wanted.
    """

    __slots__ = (
        *("advanced", "args", "before", "carried", "claimed_at", "due_at", "ended", "extra", "limit", "lost", "record"),
        *("renewing", "scope", "skips", "spec", "started_at", "taken", "task", "warned"),
    )

    def __init__(
        self, record: Record, before: Record, task: Task, spec: Spec, args: dict[str, Any], claimed_at: int
    ) -> None:
        """:raises LaterSpec: a later version wrote the state of the record."""
        check_version(record.state)
        self.record: Record = record
        self.before: Record = before
        self.extra: ExtraRun | None = current_run(record.state)
        self.due_at: int = record.due_at if self.extra is None else self.extra.at
        self.skips: Sequence[Skipped] = ()
        self.limit: Limit | None = None
        self.advanced: Record | None = None
        self.carried: str | None = None
        self.claimed_at = claimed_at
        self.task: Task = task
        self.spec: Spec = spec
        self.args: dict[str, Any] = args if self.extra is None else {**args, **self.extra.args}
        self.lost: bool = False
        self.taken: bool = False
        self.started_at: int | None = None
        self.ended: bool = False
        self.renewing: bool = False
        self.warned: bool = False
        self.scope: anyio.CancelScope | None = None

    @property
    def ready_at(self) -> int:
        """Microseconds; when the occurrence came due."""
        if self.extra is not None:
            return self.due_at
        return came_due(self.spec, self.task.policies, self.record.key, self.due_at)

    @property
    def run(self) -> Record:
        """The record, with the occurrence that is executed as its ``due_at``."""
        record = self.record
        return record if record.due_at == self.due_at else replace(record, due_at=self.due_at)

    def reclaimed(self, before: Record, claimed: Record) -> bool:
        """This process has claimed what it is still executing: continue with the new lease, which ends when the old one
        did.

        :return: False if another worker has had the occurrence in between.
        """
        if self.lost or not lease.holds(self.record, before):
            return False
        self.record = replace(claimed, locked_until=before.locked_until, attempt=before.attempt)
        return True

    def rebase(self, stored: Record | None, now: int) -> bool:
        """Continue from the stored record.

        :return: False if the lease is lost.
        """
        if self.lost:
            return False
        if stored is None or not lease.holds(self.record, stored):
            self.lost = True
            if stored is None:  # it may also be a one-off that another worker has executed
                self.taken = (self.record.locked_until or now) <= now
            else:
                self.taken = stored.fence > self.record.fence
            return False
        if is_later(stored.state):
            self.lost = True
            return False
        if stored.spec != self.record.spec:
            # The schedule was changed during the execution: the new one decides what comes next.
            try:
                self.spec, _ = decode(stored.spec)
            except UndecodableSpec:
                self.lost = True
                return False
        self.record = stored
        return True


class LeaseWrite(Write):
    """A write by the holder of a lease. Writes of one lease are stored in the order of their submission."""

    def __init__(self, held: HeldLease) -> None:
        self.ref = held.record.ref  # without super(), for speed: every execution creates one
        self.held = held
        self.carried = held.carried
        self.lease_ends = held.record.locked_until

    def decide(self, now: int) -> Change | None:
        if self.was_read and not self.held.rebase(self.known, now):
            return None
        return None if self.held.lost else self.change(now)

    @abstractmethod
    def change(self, now: int) -> Change | None:
        """The change to ``held.record``; None if there is nothing to store."""

    def stored(self, new: Record | None) -> None:
        self.known = new
        if new is not None:
            self.held.record = new


class AwaitedLeaseWrite(LeaseWrite, Awaited):
    """A write that the execution waits for."""

    async def wait(self) -> None:
        """Return when it is stored.

        :raises LeaseLostException: the lease is lost.
        :raises RepositoryException: the storage failed; it is unknown whether the write was stored.
        """
        await super().wait()
        if self.held.lost:
            raise LeaseLostException(self.held.task)


class Extend(AwaitedLeaseWrite):
    """Extend a lease to ``duration`` from the moment when this is stored."""

    def __init__(self, held: HeldLease, duration: int) -> None:
        super().__init__(held)
        self._duration = duration

    def change(self, now: int) -> Change:
        return lease.extend(self.held.record, locked_until=now + self._duration, revision=new_revision())


class Renew(LeaseWrite):
    """Renew the lease of an execution to ``duration`` from the moment when this is stored. Retried until it is stored,
    or the execution has ended."""

    persistent = True

    def __init__(self, held: HeldLease, duration: int, on_end: Callable[[HeldLease], None]) -> None:
        super().__init__(held)
        held.renewing = True
        self._duration = duration
        self._on_end = on_end

    def change(self, now: int) -> Change | None:
        held = self.held
        if held.ended:
            return None
        return lease.extend(held.record, locked_until=now + self._duration, revision=new_revision())

    def finished(self, error: Exception | None) -> None:
        self.held.renewing = False
        self._on_end(self.held)


class Advance(AwaitedLeaseWrite):
    """At most once: store that the occurrence is over, before it is executed.

    :ivar result: the latest decision.
    :ivar advanced: the record as stored; None if it was removed.
    """

    def __init__(self, held: HeldLease, worker: str) -> None:
        super().__init__(held)
        self._worker = worker
        self.result: Ended = Ended(None)
        self.advanced: Record | None = None

    def change(self, now: int) -> Change | None:
        held, policies = self.held, self.held.task.policies
        self.result = advance(
            held.record,
            held.spec,
            policies,
            held.due_at,
            now=now,
            worker=self._worker,
            revision=new_revision(),
            skips=held.skips,
        )
        return self.result.change

    def arrived(self, sent: Change) -> bool:
        # If the record is gone, somebody else may have removed it.
        return sent.new is not None and (super().arrived(sent) or _is_settled(self))

    def stored(self, new: Record | None) -> None:
        """This write has ended the lease, so ``held.record`` stays as it was, for the execution."""
        self.advanced = new


@dataclass(frozen=True, slots=True)
class Settling:
    """What all settlements of an app have in common.

    :ivar retry_delay: microseconds; the delay with ``FailureMode.UNLOCK``.
    :ivar on_end: called when a settlement is stored, or given up.
    """

    retry_delay: int
    history: History | None
    on_end: Callable[[Settle, Exception | None], None]


class Settle(LeaseWrite):
    """Store the end of an attempt. Retried until it is stored, as otherwise the occurrence would be executed again.

    :ivar result: the latest decision.
    """

    persistent = True
    result: Ended = Ended(None)

    def __init__(self, held: HeldLease, attempt: Attempt, settling: Settling) -> None:
        super().__init__(held)
        self.attempt = attempt
        self.run = held.record  # `held.record` may have moved to the next occurrence by the time this is reported
        self._settling = settling

    def change(self, now: int) -> Change | None:
        held, settling = self.held, self._settling
        self.result = end(
            held.record,
            held.spec,
            held.task.policies,
            self.attempt,
            now=now,
            retry_delay=settling.retry_delay,
            revision=new_revision(),
        )
        change, history = self.result.change, settling.history
        return change if history is None else history.attached(change, self.run, self.attempt, self.result)

    def arrived(self, sent: Change) -> bool:
        return super().arrived(sent) or (sent.new is not None and _is_settled(self))

    def finished(self, error: Exception | None) -> None:
        self._settling.on_end(self, error)


class Conclude(Write):
    """At most once: store the outcome of a run, for information only. Its occurrence is already over.

    :ivar result: the latest decision.
    """

    def __init__(
        self,
        held: HeldLease,
        advanced: Record | None,
        attempt: Attempt,
        history: History | None,
        on_end: Callable[[Conclude, Exception | None], None],
    ) -> None:
        super().__init__(held.record.ref, advanced)
        self.carried = held.carried
        self._history = history
        self.held = held
        self.attempt = attempt
        self.run = held.record
        self.result: Ended = Ended(None)
        self._on_end = on_end

    def decide(self, now: int) -> Change | None:
        policies, fence = self.held.task.policies, self.run.fence
        trigger = "schedule" if self.held.extra is None else self.held.extra.trigger
        self.result = conclude(self.known, fence, policies, self.attempt, now, new_revision(), trigger=trigger)
        change = self.result.change
        return change if self._history is None else self._history.attached(change, self.run, self.attempt, self.result)

    def arrived(self, sent: Change) -> bool:
        """Also true if the record has changed and the run is no longer among the latest ones: then it is unknowable
        whether a change whose reply was lost has counted the run, and it must not count twice."""
        if super().arrived(sent):
            return True
        if self.known is None or sent.old is None or self.known.revision == sent.old.revision:
            return False
        return not lists_run(self.known.state, self.run.fence)

    def finished(self, error: Exception | None) -> None:
        self._on_end(self, error)


def _is_settled(write: LeaseWrite) -> bool:
    """Whether the stored record shows that the occurrence is over, even if another worker has claimed the next one."""
    return write.known is not None and last_settled(write.known.state) == write.held.record.fence
