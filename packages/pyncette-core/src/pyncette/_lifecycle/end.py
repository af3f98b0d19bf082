"""What becomes of a record when an attempt has ended. Pure; the only place that reads policies to decide it.

Times are microseconds since the epoch.
"""

from __future__ import annotations

import enum

from pyncette import lease
from pyncette._tasks.policies import ExecutionMode, FailureMode, Policies
from pyncette._tasks.spec import Spec
from pyncette._tasks.state import settled
from pyncette.record import Change, Record


class AttemptEnd(enum.Enum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """Cancelled at the drain deadline."""
    RELEASED = "released"
    """Never started."""


def end(
    record: Record,
    spec: Spec,
    policies: Policies,
    attempt_end: AttemptEnd,
    *,
    ended_at: int,
    now: int,
    retry_delay: int,
    revision: str,
) -> Change | None:
    """The change that settles an attempt, None if there is nothing to store.

    :param record: as it is stored now, under the lease of the attempt.
    :param ended_at: when the attempt ended; the change may be stored long after.
    :param retry_delay: of ``FailureMode.UNLOCK``.
    """
    if attempt_end is AttemptEnd.RELEASED:
        return lease.release(record, revision=revision)
    if policies.execution_mode is ExecutionMode.AT_MOST_ONCE:
        return None  # the occurrence ended before the attempt began
    if attempt_end is AttemptEnd.CANCELLED:
        return lease.retry(record, at=now, revision=revision)
    if attempt_end is AttemptEnd.FAILED and policies.failure_mode is FailureMode.NONE:
        return None  # retried when the lease expires
    if attempt_end is AttemptEnd.FAILED and policies.failure_mode is FailureMode.UNLOCK:
        return lease.retry(record, at=ended_at + retry_delay, revision=revision)
    return advance(record, spec, policies, now=now, revision=revision)


def ends_run(policies: Policies, attempt_end: AttemptEnd) -> bool:
    """Whether the occurrence is over with this attempt."""
    if attempt_end is AttemptEnd.FAILED:
        at_most_once = policies.execution_mode is ExecutionMode.AT_MOST_ONCE
        return at_most_once or policies.failure_mode is FailureMode.COMMIT
    return attempt_end is AttemptEnd.SUCCEEDED


def advance(record: Record, spec: Spec, policies: Policies, *, now: int, revision: str) -> Change:
    """The occurrence is over: on to the next one, or away with the record. At most once, this comes first."""
    following = spec.following(record.due_at, now, fast_forward=policies.fast_forward)
    return lease.complete(record, next_due=following, revision=revision, state=settled(record.state, record.fence))
