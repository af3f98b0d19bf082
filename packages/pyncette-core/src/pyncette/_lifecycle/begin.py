"""What is done with an occurrence that was claimed. Pure; the only place that reads policies to decide it.

Times are microseconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyncette._tasks.policies import ExecutionMode, Policies
from pyncette._tasks.state import State, last_settled
from pyncette.record import Record

from .values import Attempt, AttemptEnd


@dataclass(frozen=True, slots=True)
class Execute:
    """Execute it.

    :ivar advance: at most once: end the occurrence first, and execute only if that is known to be stored.
    :ivar lost_with: the worker that the attempt before was lost with, if there is nothing to store of that.
    """

    advance: bool
    lost_with: str | None = None


@dataclass(frozen=True, slots=True)
class PutBack:
    """Give it back as if it had not been claimed.

    :ivar at: when it may be claimed again; None for at once.
    :ivar reason: for the log.
    """

    at: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Settle:
    """Store this, rather than execute."""

    attempt: Attempt


Begin = Execute | PutBack | Settle

_EXECUTE = Execute(advance=False)
_ADVANCE = Execute(advance=True)


def begin(policies: Policies, record: Record, before: Record, *, claimed_at: int, now: int) -> Begin:
    """Decide what to do with an occurrence when there is room for it.

    :param record: as it is stored now.
    :param before: as it was before the claim.
    :param claimed_at: when the answer to the claim arrived. How long the claim itself took does not count: a claim that
        takes longer than half of a lease would never get to execute anything.
    """
    if 2 * (now - claimed_at) > policies.lease_microseconds:
        return PutBack(None, "waited too long for a free slot")
    if not holds_lease(policies):
        return _ADVANCE
    if before.attempt and (policies.retry is not None or before.locked_by is not None):
        return _after_attempts(policies, record, before, now)
    return _EXECUTE


def holds_lease(policies: Policies) -> bool:
    """Whether the lease is held while an occurrence is executed, so that it is repeated if the worker dies. At most
    once, the occurrence has ended by then."""
    return policies.execution_mode is ExecutionMode.AT_LEAST_ONCE


def renews_lease(policies: Policies) -> bool:
    """Whether the worker renews the lease of what it executes."""
    return policies.heartbeat is not False and holds_lease(policies)


def _after_attempts(policies: Policies, record: Record, before: Record, now: int) -> Begin:
    """Attempts have been made. One whose end is not recorded was lost; a policy that limits or delays that has to be
    stored first."""
    worker = _worker(before.locked_by)
    if policies.retry is None:
        recorded = before.locked_by is None or last_settled(before.state) == before.fence
        return _EXECUTE if recorded else Execute(advance=False, lost_with=worker)
    attempts = State(record.state).attempts(record.due_at, before.attempt)
    if attempts.ended >= before.attempt:
        return _EXECUTE
    lost_at = now if before.locked_until is None else min(before.locked_until, now)
    return Settle(Attempt(AttemptEnd.LOST, record.due_at, lost_at, started_at=before.fence, worker=worker))


def _worker(holder: str | None) -> str:
    """``host:pid``, without the token of the claim."""
    return "" if holder is None else holder.rpartition(":")[0] or holder
