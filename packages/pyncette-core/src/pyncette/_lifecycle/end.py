"""What happens to a record when an attempt has ended. Pure; the only place that reads policies to decide this.

Times are microseconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyncette import lease
from pyncette._tasks.extra import ExtraRun, current_run, has_extra
from pyncette._tasks.policies import FailureMode, OnExhausted, Policies
from pyncette._tasks.spec import Spec
from pyncette._tasks.state import Attempts, Run, State, after_success, described
from pyncette.errors import Skip
from pyncette.events import RunOutcome
from pyncette.record import HELD, Band, Change, Record
from pyncette.schedule import Once

from .again import Again, after_failure, after_loss
from .choice import supersedes_at
from .continuation import (
    Continuation,
    add_skips,
    continuation,
    continue_or_complete,
    keeps_completed,
    pause_reason,
    store_window,
    stored_window,
)
from .extra import end_run, in_turn
from .moments import came_due
from .queueing import queued
from .steering import hold_paused, is_paused, skip_paused
from .values import Attempt, AttemptEnd, Ended, Skipped


@dataclass(slots=True)
class _Case:
    """Everything that the decision about an ended attempt depends on."""

    record: Record
    spec: Spec
    policies: Policies
    attempt: Attempt
    now: int
    revision: str
    extra: ExtraRun | None = None  # the manual run or backfill; None for a scheduled occurrence


def end(
    record: Record,
    spec: Spec,
    policies: Policies,
    attempt: Attempt,
    *,
    now: int,
    retry_delay: int,
    revision: str,
) -> Ended:
    """Decide what to store when an attempt has ended.

    :param record: the stored record, under the attempt's lease. At most once, the lease has ended before that:
        see :func:`pyncette._lifecycle.at_most_once.conclude`.
    :param retry_delay: the delay with ``FailureMode.UNLOCK``.
    :param revision: random; also the source of the randomness that spreads retries.
    """
    extra = has_extra(record.state)
    if not extra and attempt.end is AttemptEnd.SUCCEEDED and not attempt.pauses:
        ended = _succeeded(record, spec, policies, attempt, now, revision)
        if ended is not None:
            return ended
    case = _Case(record, spec, policies, attempt, now, revision)
    if not extra:
        return _end(case, retry_delay)
    case.extra = current_run(record.state)
    return in_turn(_end(case, retry_delay), now, revision)


def _end(case: _Case, retry_delay: int) -> Ended:
    record, policies, attempt, now, revision = case.record, case.policies, case.attempt, case.now, case.revision
    if attempt.end is AttemptEnd.RELEASED:
        if case.extra is not None:
            return Ended(lease.release(record, revision=revision, at=case.extra.at))
        return Ended(_released(record, now, revision))
    if attempt.end is AttemptEnd.SUCCEEDED:
        return _over(case, "succeeded", "")
    if attempt.end is AttemptEnd.CANCELLED:
        return _again(case, Again(now, counts=False))
    if attempt.end is AttemptEnd.PASSED:
        return _passed(case)
    if attempt.end is AttemptEnd.SUPERSEDED:
        return _over(case, "superseded", "")
    if isinstance(attempt.error, Skip):
        return _over(case, "skipped", "by_task")
    chance = int(revision[:8], 16) / 0xFFFFFFFF
    recorded = State(record.state).attempts(attempt.due_at, record.attempt)
    if attempt.end is AttemptEnd.LOST:
        lost = recorded.lost + record.attempt - 1 - recorded.ended
        decision = after_loss(policies, attempt, lost, recorded, now, chance)
    else:
        decision = after_failure(policies, attempt, recorded, chance, retry_delay)
    if isinstance(decision, Again):
        return _again(case, decision)
    return _over(case, "failed", decision.reason)


def _released(record: Record, now: int, revision: str) -> Change:
    """Give the lease back: nothing was executed."""
    if '"why"' in record.state and is_paused(state := State(record.state)):
        return hold_paused(record, state, now=now, revision=revision, attempt=max(record.attempt - 1, 0))
    return lease.release(record, revision=revision)


def _succeeded(
    record: Record, spec: Spec, policies: Policies, attempt: Attempt, now: int, revision: str
) -> Ended | None:
    """The fast path for nearly every end, without decoding the state. None if more has to change than the totals and
    the latest runs."""
    started_at = attempt.started_at or attempt.ended_at
    to = continuation(record, spec, policies, attempt.due_at, now, opened=started_at)
    if to.due_at is None and not keeps_completed(record, policies):
        state: str | None = ""
    else:
        state = after_success(
            record.state,
            record.fence,
            policies.keep_runs,
            scheduled_at=attempt.due_at,
            started_at=started_at,
            ended_at=attempt.ended_at,
            attempts=record.attempt,
            worker=attempt.worker,
        )
    if state is None or to.skips or attempt.skips or to.window or spec.bounds.max_runs is not None:
        return None
    return Ended(continue_or_complete(record, policies, to, now, revision, state), "succeeded")


def _over(case: _Case, outcome: RunOutcome, reason: str) -> Ended:
    """End the run with its outcome."""
    record, attempt, policies = case.record, case.attempt, case.policies
    state = State(record.state)
    recorded = state.attempts(attempt.due_at, record.attempt)
    add_skips(state, attempt.skips, case.now, policies.keep_runs)
    state.add(_run(case, recorded, outcome, reason), policies.keep_runs)
    state.record_attempts(None)
    if case.extra is not None:
        new = end_run(record, state, now=case.now, revision=case.revision)
        return Ended(Change(record, new), outcome, reason)
    row = state.failures_in_a_row(outcome)
    if outcome == "failed" and _holds(policies, case.spec):
        return Ended(_dead(case, state), outcome, reason, attempt.skips)
    opened = recorded.first or attempt.started_at or case.now
    until = state.count("since") or case.now  # what comes due after a pause began is paused
    until = min([until, *(since for since, end_of_pause in attempt.pauses if end_of_pause >= HELD)])
    is_last, paused = state.is_last_run(case.spec.bounds.max_runs), list[Skipped]()
    if not is_last:
        paused = skip_paused(record, case.spec, policies, state, attempt.due_at, attempt.pauses)
        add_skips(state, paused, case.now, policies.keep_runs)
    is_superseded = outcome == "superseded"
    to = continuation(
        record, case.spec, policies, attempt.due_at, until, opened=opened, state=state, superseded=is_superseded
    )
    if is_last:
        to = Continuation(None)
    to.ready_at = queued(to.ready_at, case.now)
    add_skips(state, to.skips, case.now, policies.keep_runs)
    store_window(state, to.window)
    skips = [*attempt.skips, *paused, *to.skips]
    if to.due_at is not None and policies.pause_after is not None and row >= policies.pause_after:
        state.set("why", pause_reason(row))
    if to.due_at is not None and is_paused(state):
        return Ended(_paused(case, state, due_at=to.due_at, attempt=0), outcome, reason, skips)
    text = state.text(record.fence)
    return Ended(continue_or_complete(record, policies, to, case.now, case.revision, text), outcome, reason, skips)


def _passed(case: _Case) -> Ended:
    """Continue with another occurrence: nothing was executed."""
    record, attempt, policies = case.record, case.attempt, case.policies
    state = State(record.state)
    state.record_attempts(None)
    skips = attempt.skips
    if attempt.go_to == record.due_at:  # it stays; what follows it may be skipped
        skips = skip_paused(record, case.spec, policies, state, record.due_at, attempt.pauses)
    add_skips(state, skips, case.now, policies.keep_runs)
    if attempt.moved:
        state.set("moved", attempt.go_to)
    to = Continuation(None)
    if attempt.go_to is not None:
        came = came_due(case.spec, policies, record.key, attempt.go_to)
        to = Continuation(attempt.go_to, queued(came, case.now))
    if to.due_at is not None and is_paused(state):
        return Ended(_paused(case, state, due_at=to.due_at, attempt=0), skips=skips)
    change = continue_or_complete(record, policies, to, case.now, case.revision, state.text(record.fence))
    return Ended(change, skips=skips)


def _paused(case: _Case, state: State, *, due_at: int, attempt: int) -> Change:
    record, now, revision = case.record, case.now, case.revision
    return hold_paused(record, state, now=now, revision=revision, due_at=due_at, attempt=attempt, fence=record.fence)


def _dead(case: _Case, state: State) -> Change:
    state.set("since", None)  # if it is also paused, the pause begins when it is retried
    return lease.hold(
        case.record,
        Band.DEAD,
        moment=case.now,
        revision=case.revision,
        due_at=case.attempt.due_at,
        attempt=_ended(case),
        state=state.text(case.record.fence),
    )


def _again(case: _Case, again: Again) -> Ended:
    """Execute the same run again."""
    record, attempt, policies = case.record, case.attempt, case.policies
    state = State(record.state)
    recorded = state.attempts(attempt.due_at, record.attempt)
    add_skips(state, attempt.skips, case.now, policies.keep_runs)
    ended = _ended(case)
    if attempt.end is AttemptEnd.LOST:
        recorded.lost += ended - recorded.ended
        if attempt.worker and attempt.worker not in recorded.lost_with:
            recorded.lost_with.append(attempt.worker)
    recorded.ended = ended
    recorded.failed += again.counts
    if recorded.first is None:
        recorded.first = attempt.started_at
    if attempt.error is not None:
        recorded.error = described(attempt.error)
    state.record_attempts(recorded)
    if case.extra is None and is_paused(state):
        return Ended(_paused(case, state, due_at=attempt.due_at, attempt=ended), skips=attempt.skips)
    at = again.at
    if at is not None and recorded.first is not None and case.extra is None:
        window = stored_window(state, record.due_at)
        limit = supersedes_at(record.key, case.spec, policies, attempt.due_at, recorded.first, window, attempt.pauses)
        at = at if limit is None else min(at, max(limit, case.now))
    change = lease.retry(
        record,
        at=at,
        revision=case.revision,
        due_at=attempt.due_at if case.extra is None else None,
        attempt=ended,
        state=state.text(record.fence),
    )
    return Ended(change, skips=attempt.skips, again_at=at)


def _ended(case: _Case) -> int:
    """How many attempts of the run have ended. The claim that detects a lost attempt begins none itself."""
    return case.record.attempt - (case.attempt.end is AttemptEnd.LOST)


def _run(case: _Case, recorded: Attempts, outcome: RunOutcome, reason: str) -> Run:
    """The run as it is recorded in the state."""
    attempt = case.attempt
    lost = [attempt.worker] if attempt.end is AttemptEnd.LOST else []
    error = recorded.error if attempt.error is None else described(attempt.error)
    return Run(
        scheduled_at=attempt.due_at,
        started_at=attempt.started_at if recorded.first is None else recorded.first,
        ended_at=attempt.ended_at,
        attempts=_ended(case),
        outcome=outcome,
        worker=attempt.worker,
        error="" if outcome == "succeeded" else error,
        reason="by_task" if outcome == "skipped" else reason,
        trigger="schedule" if case.extra is None else case.extra.trigger,
        run_id=None if case.extra is None else case.extra.id,
        lost=tuple(worker for worker in dict.fromkeys([*recorded.lost_with, *lost]) if worker),
    )


def _holds(policies: Policies, spec: Spec) -> bool:
    """Whether a failed run leaves its instance dead."""
    if policies.on_exhausted is not None:
        return policies.on_exhausted is OnExhausted.HOLD
    return isinstance(spec.schedule, Once) and policies.failure_mode is not FailureMode.COMMIT
