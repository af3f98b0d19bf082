"""What to do with a claimed occurrence. Pure; the only place that reads policies to decide this.

Times are microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyncette._tasks.extra import ExtraRun, extra_of, has_extra
from pyncette._tasks.policies import ExecutionMode, Policies
from pyncette._tasks.spec import Spec
from pyncette._tasks.state import State, last_settled
from pyncette.record import Record

from .choice import Pauses, choose, moved_to, superseded
from .moments import came_due
from .steering import after_paused_template, is_paused, skip_paused
from .values import Attempt, AttemptEnd, Skipped


@dataclass(frozen=True, slots=True)
class Execute:
    """Execute it.

    :ivar advance: at most once: end the occurrence first, and execute it only if that is known to be stored.
    :ivar lost_with: the worker that lost the previous attempt, if the loss has to be reported but not stored.
    :ivar due_at: the occurrence to execute; None for the record's own.
    :ivar skips: the occurrences that are skipped before it, to be stored with its end.
    """

    advance: bool
    lost_with: str | None = None
    due_at: int | None = None
    skips: Sequence[Skipped] = ()


@dataclass(frozen=True, slots=True)
class PutBack:
    """Give the lease back, as if the occurrence had not been claimed.

    :ivar reason: for the log.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Settle:
    """Don't execute it, but store this attempt."""

    attempt: Attempt


Begin = Execute | PutBack | Settle

EXECUTE = Execute(advance=False)
"""The usual decision: there is nothing else to do."""

_ADVANCE = Execute(advance=True)


def begin(
    policies: Policies,
    spec: Spec,
    record: Record,
    before: Record,
    *,
    claimed_at: int,
    now: int,
    paused_until: int | None = None,
    pauses: Pauses = (),
) -> Begin:
    """Decide what to do with a claimed occurrence once it has a slot.

    :param record: the record as stored now.
    :param before: the record before the claim.
    :param claimed_at: when the reply to the claim arrived. The time that the claim took doesn't count; otherwise, if
        claims took longer than half of a lease, nothing would ever be executed.
    :param paused_until: the end of a pause of the template during which the occurrence came due.
    :param pauses: the pauses of the template, including one in progress.
    """
    if 2 * (now - claimed_at) > policies.lease_microseconds:
        return PutBack("waited too long for a free slot")
    if has_extra(record.state) and (decision := _outside_schedule(policies, spec, record, before, now)) is not None:
        return decision
    if '"why"' in record.state and is_paused(State(record.state)):  # paused while it was leased, or waiting for a retry
        return _paused(policies, spec, record, before, now)
    once = not holds_lease(policies)
    if not before.attempt:
        if '"now"' in record.state and State(record.state).is_open(record.due_at):  # it was dead and is being retried
            return _ADVANCE if once else EXECUTE
        if (passed := _not_executed(policies, spec, record, before, now, paused_until, pauses)) is not None:
            return Settle(passed)
    elif not once and policies.follows_attempts:
        return _after_attempts(policies, spec, record, before, now, pauses)
    if policies.chooses:
        return _chosen(policies, spec, record, now)
    if before.locked_by is not None and (worker := _lost_with(policies, before)):
        return Execute(advance=False, lost_with=worker)
    return _ADVANCE if once else EXECUTE


def _not_executed(
    policies: Policies,
    spec: Spec,
    record: Record,
    before: Record,
    now: int,
    paused_until: int | None,
    pauses: Pauses,
) -> Attempt | None:
    """The settlement for an occurrence without attempts that must not be executed, now or at all; None to continue."""
    if paused_until is not None and (passed := after_paused_template(record, spec, policies, paused_until, now)):
        return passed
    if pauses and skip_paused(record, spec, policies, State(record.state), record.due_at, pauses):
        return Attempt(AttemptEnd.PASSED, record.due_at, now, go_to=record.due_at)
    target = moved_to(record, spec, now)
    if target is not None:
        return Attempt(AttemptEnd.PASSED, record.due_at, now, go_to=target, moved=True)
    if policies.jitter_microseconds and _comes_later(policies, spec, record, before, now):
        return Attempt(AttemptEnd.PASSED, record.due_at, now, go_to=record.due_at)
    return None


def _comes_later(policies: Policies, spec: Spec, record: Record, before: Record, now: int) -> bool:
    """Whether the occurrence would begin too early, because a program that doesn't know the task's jitter stored it."""
    return before.ready_at == record.due_at and came_due(spec, policies, record.key, record.due_at) > now


def _paused(policies: Policies, spec: Spec, record: Record, before: Record, now: int) -> Begin:
    """The worker died while the instance was to be paused after the attempt: pause it now. The lost attempt is recorded
    first, so that it is known, with the occurrence that it had chosen, when the instance is resumed."""
    return _lost_unrecorded(policies, spec, record, before, now) or PutBack("paused")


def _outside_schedule(policies: Policies, spec: Spec, record: Record, before: Record, now: int) -> Begin | None:
    """Decide if a manual run or backfill is current, or takes precedence over the schedule; otherwise None."""
    extra = extra_of(State(record.state))
    if extra.run is not None:
        waits = extra.waits
        live = waits is not None and not before.attempt and waits.ready_at <= now
        if extra.run.trigger == "backfill" and waits is not None and (live or waits.held):
            return Settle(Attempt(AttemptEnd.RELEASED, extra.run.at, now))  # it waits
        return _begin_extra(policies, record, before, extra.run, now)
    return _set_aside(policies, spec, record, before, now) if extra.requested else None


def _begin_extra(policies: Policies, record: Record, before: Record, run: ExtraRun, now: int) -> Begin:
    """Decide for a manual run or backfill, which is never skipped, moved or superseded."""
    if before.attempt and holds_lease(policies) and policies.retry is not None:
        attempts = State(record.state).attempts(run.at, before.attempt)
        if attempts.ended < before.attempt:
            return Settle(_lost_attempt(before, run.at, now))
    return Execute(advance=not holds_lease(policies), lost_with=_lost_with(policies, before))


def _set_aside(policies: Policies, spec: Spec, record: Record, before: Record, now: int) -> Begin:
    """Put the scheduled occurrence, whose worker has died, behind a manual run."""
    lost = _lost_unrecorded(policies, spec, record, before, now)
    return lost or Settle(Attempt(AttemptEnd.RELEASED, record.due_at, now))


def _chosen(policies: Policies, spec: Spec, record: Record, now: int) -> Begin:
    """Choose between missed occurrences: no attempt has begun, as far as is known."""
    chosen = choose(record, spec, policies, now, begun=False)
    if chosen.due_at is None or not chosen.ready:
        return Settle(Attempt(AttemptEnd.PASSED, record.due_at, now, skips=chosen.skips, go_to=chosen.due_at))
    return Execute(not holds_lease(policies), due_at=chosen.due_at, skips=chosen.skips)


def holds_lease(policies: Policies) -> bool:
    """Whether the lease is held during the execution, so that another worker repeats it if this one dies. At most once,
    the occurrence is over by then."""
    return policies.execution_mode is ExecutionMode.AT_LEAST_ONCE


def renews_lease(policies: Policies) -> bool:
    """Whether the worker renews the lease of what it executes."""
    return policies.heartbeat is not False and holds_lease(policies)


def _after_attempts(policies: Policies, spec: Spec, record: Record, before: Record, now: int, pauses: Pauses) -> Begin:
    """Decide for an occurrence that has been attempted before. An attempt without a recorded end was lost. If a policy
    limits or delays attempts after a loss, the loss has to be stored first."""
    attempts = State(record.state).attempts(record.due_at, before.attempt)
    opened = before.fence if attempts.first is None else attempts.first
    if superseded(record, spec, policies, attempts, opened, now, pauses):
        attempt = _lost(policies, spec, record, before, now)
        attempt.end, attempt.ended_at = AttemptEnd.SUPERSEDED, now
        return Settle(attempt)
    lost = _lost_unrecorded(policies, spec, record, before, now)
    return lost or Execute(advance=False, lost_with=_lost_with(policies, before))


def _lost_unrecorded(policies: Policies, spec: Spec, record: Record, before: Record, now: int) -> Settle | None:
    """The settlement of a lost attempt, which was claimed as ``before``, if policies depend on it; otherwise None. It
    has to be stored now, because later it would be unknown when the attempt began."""
    if not (holds_lease(policies) and policies.follows_attempts):
        return None
    attempts = State(record.state).attempts(record.due_at, before.attempt)
    return Settle(_lost(policies, spec, record, before, now)) if attempts.ended < before.attempt else None


def _lost(policies: Policies, spec: Spec, record: Record, before: Record, now: int) -> Attempt:
    """The lost attempt, which was claimed as ``before``, with the occurrence that it had chosen."""
    attempt = _lost_attempt(before, record.due_at, now)
    if policies.chooses and not State(record.state).is_open(record.due_at):
        chosen = choose(record, spec, policies, before.fence, begun=before.attempt > 1)
        if chosen.due_at is not None and chosen.ready:  # a fencing token may be ahead of the clock at the claim
            attempt.due_at, attempt.skips = chosen.due_at, chosen.skips
    return attempt


def _lost_attempt(before: Record, due_at: int, now: int) -> Attempt:
    lost_at = now if before.locked_until is None else min(before.locked_until, now)
    return Attempt(AttemptEnd.LOST, due_at, lost_at, started_at=before.fence, worker=_worker(before.locked_by))


def _lost_with(policies: Policies, before: Record) -> str | None:
    """The worker that lost the previous attempt, if the loss need not be stored."""
    if before.locked_by is None or policies.retry is not None or not holds_lease(policies):
        return None
    return None if last_settled(before.state) == before.fence else _worker(before.locked_by)


def _worker(holder: str | None) -> str:
    """``host:pid``, without the claim's token."""
    return "" if holder is None else holder.rpartition(":")[0] or holder
