"""What is done with an occurrence that was claimed. Pure; the only place that reads policies to decide it.

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

    :ivar advance: at most once: end the occurrence first, and execute only if that is known to be stored.
    :ivar lost_with: the worker that the attempt before was lost with, if there is nothing to store of that.
    :ivar due_at: the occurrence to execute; None for the one that is stored.
    :ivar skips: what is skipped before it; to be stored with its end.
    """

    advance: bool
    lost_with: str | None = None
    due_at: int | None = None
    skips: Sequence[Skipped] = ()


@dataclass(frozen=True, slots=True)
class PutBack:
    """Give it back as if it had not been claimed.

    :ivar reason: for the log.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Settle:
    """Store this, rather than execute."""

    attempt: Attempt


Begin = Execute | PutBack | Settle

EXECUTE = Execute(advance=False)
"""Nearly always: nothing else is to be done."""

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
    """Decide what to do with an occurrence when there is room for it.

    :param record: as it is stored now.
    :param before: as it was before the claim.
    :param claimed_at: when the answer to the claim arrived. How long the claim itself took does not count: a claim that
        takes longer than half of a lease would never get to execute anything.
    :param paused_until: the end of a pause of the template during which the occurrence came due.
    :param pauses: of the template, the one under way included.
    """
    if 2 * (now - claimed_at) > policies.lease_microseconds:
        return PutBack("waited too long for a free slot")
    if has_extra(record.state) and (decision := _beside_schedule(policies, spec, record, before, now)) is not None:
        return decision
    if '"why"' in record.state and is_paused(State(record.state)):  # while it was leased, or a retry was to come
        return _paused(policies, spec, record, before, now)
    once = not holds_lease(policies)
    if not before.attempt:
        if '"now"' in record.state and State(record.state).is_open(record.due_at):  # retried after it was dead
            return _ADVANCE if once else EXECUTE
        if (passed := _passed_over(policies, spec, record, before, now, paused_until, pauses)) is not None:
            return Settle(passed)
    elif not once and policies.follows_attempts:
        return _after_attempts(policies, spec, record, before, now, pauses)
    if policies.chooses:
        return _chosen(policies, spec, record, now)
    if before.locked_by is not None and (worker := _lost_with(policies, before)):
        return Execute(advance=False, lost_with=worker)
    return _ADVANCE if once else EXECUTE


def _passed_over(
    policies: Policies,
    spec: Spec,
    record: Record,
    before: Record,
    now: int,
    paused_until: int | None,
    pauses: Pauses,
) -> Attempt | None:
    """No attempt of the occurrence has begun, nor will one: for now, or forever. None to continue."""
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
    """Whether a program that does not know the task's jitter has stored the occurrence: it would begin too early."""
    return before.ready_at == record.due_at and came_due(spec, policies, record.key, record.due_at) > now


def _paused(policies: Policies, spec: Spec, record: Record, before: Record, now: int) -> Begin:
    """The worker died of an instance that was to be paused after the attempt: it is paused now. Whoever resumes it is
    to find the attempt that was lost, with the occurrence that it had chosen."""
    return _lost_unrecorded(policies, spec, record, before, now) or PutBack("paused")


def _beside_schedule(policies: Policies, spec: Spec, record: Record, before: Record, now: int) -> Begin | None:
    """A run outside the schedule is current, or comes before what the schedule wants; otherwise None."""
    extra = extra_of(State(record.state))
    if extra.run is not None:
        waits = extra.waits
        live = waits is not None and not before.attempt and waits.ready_at <= now
        if extra.run.trigger == "backfill" and waits is not None and (live or waits.held):
            return Settle(Attempt(AttemptEnd.RELEASED, extra.run.at, now))  # it waits
        return _begin_extra(policies, record, before, extra.run, now)
    return _set_aside(policies, spec, record, before, now) if extra.asked else None


def _begin_extra(policies: Policies, record: Record, before: Record, run: ExtraRun, now: int) -> Begin:
    """A run outside the schedule: nothing is chosen, skipped, moved or superseded."""
    if before.attempt and holds_lease(policies) and policies.retry is not None:
        attempts = State(record.state).attempts(run.at, before.attempt)
        if attempts.ended < before.attempt:
            return Settle(_lost_attempt(before, run.at, now))
    return Execute(advance=not holds_lease(policies), lost_with=_lost_with(policies, before))


def _set_aside(policies: Policies, spec: Spec, record: Record, before: Record, now: int) -> Begin:
    """The scheduled occurrence, whose worker has died, makes room for a run that operators have asked for."""
    lost = _lost_unrecorded(policies, spec, record, before, now)
    return lost or Settle(Attempt(AttemptEnd.RELEASED, record.due_at, now))


def _chosen(policies: Policies, spec: Spec, record: Record, now: int) -> Begin:
    """No attempt has begun, or none that is known of at most once."""
    chosen = choose(record, spec, policies, now, begun=False)
    if chosen.due_at is None or not chosen.ready:
        return Settle(Attempt(AttemptEnd.PASSED, record.due_at, now, skips=chosen.skips, go_to=chosen.due_at))
    return Execute(not holds_lease(policies), due_at=chosen.due_at, skips=chosen.skips)


def holds_lease(policies: Policies) -> bool:
    """Whether the lease is held while an occurrence is executed, so that it is repeated if the worker dies. At most
    once, the occurrence has ended by then."""
    return policies.execution_mode is ExecutionMode.AT_LEAST_ONCE


def renews_lease(policies: Policies) -> bool:
    """Whether the worker renews the lease of what it executes."""
    return policies.heartbeat is not False and holds_lease(policies)


def _after_attempts(policies: Policies, spec: Spec, record: Record, before: Record, now: int, pauses: Pauses) -> Begin:
    """Attempts have been made. One whose end is not recorded was lost; a policy that limits or delays that has to be
    stored first."""
    attempts = State(record.state).attempts(record.due_at, before.attempt)
    opened = before.fence if attempts.first is None else attempts.first
    if superseded(record, spec, policies, attempts, opened, now, pauses):
        attempt = _lost(policies, spec, record, before, now)
        attempt.end, attempt.ended_at = AttemptEnd.SUPERSEDED, now
        return Settle(attempt)
    lost = _lost_unrecorded(policies, spec, record, before, now)
    return lost or Execute(advance=False, lost_with=_lost_with(policies, before))


def _lost_unrecorded(policies: Policies, spec: Spec, record: Record, before: Record, now: int) -> Settle | None:
    """The attempt that was claimed as ``before`` was lost, and policies ask for that: later, nobody could tell when it
    began."""
    if not (holds_lease(policies) and policies.follows_attempts):
        return None
    attempts = State(record.state).attempts(record.due_at, before.attempt)
    return Settle(_lost(policies, spec, record, before, now)) if attempts.ended < before.attempt else None


def _lost(policies: Policies, spec: Spec, record: Record, before: Record, now: int) -> Attempt:
    """The attempt that was claimed as ``before`` was lost, with the occurrence that it had chosen."""
    attempt = _lost_attempt(before, record.due_at, now)
    if policies.chooses and not State(record.state).is_open(record.due_at):
        chosen = choose(record, spec, policies, before.fence, begun=before.attempt > 1)
        if chosen.due_at is not None and chosen.ready:  # a fence may be ahead of the clock that it was claimed by
            attempt.due_at, attempt.skips = chosen.due_at, chosen.skips
    return attempt


def _lost_attempt(before: Record, due_at: int, now: int) -> Attempt:
    lost_at = now if before.locked_until is None else min(before.locked_until, now)
    return Attempt(AttemptEnd.LOST, due_at, lost_at, started_at=before.fence, worker=_worker(before.locked_by))


def _lost_with(policies: Policies, before: Record) -> str | None:
    """The worker that the attempt before was lost with, where there is nothing to store of that."""
    if before.locked_by is None or policies.retry is not None or not holds_lease(policies):
        return None
    return None if last_settled(before.state) == before.fence else _worker(before.locked_by)


def _worker(holder: str | None) -> str:
    """``host:pid``, without the token of the claim."""
    return "" if holder is None else holder.rpartition(":")[0] or holder
