"""At most once: the occurrence is stored as over before it is executed; its outcome is recorded afterwards. Pure.

Times are microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pyncette import lease
from pyncette._tasks.extra import current_run
from pyncette._tasks.policies import Policies
from pyncette._tasks.spec import Spec
from pyncette._tasks.state import Run, State, cut, described, is_later
from pyncette.errors import GiveUp, RetryLater, Skip
from pyncette.events import RunOutcome, Trigger
from pyncette.record import HELD, Band, Change, Record

from .continuation import Continuation, add_skips, continuation, continue_or_complete, keeps_completed, pause_reason
from .extra import end_run, in_turn, on_schedule, schedule_side
from .steering import hold_paused, is_paused
from .values import Attempt, AttemptEnd, Ended, Skipped


def advance(
    record: Record,
    spec: Spec,
    policies: Policies,
    due_at: int,
    *,
    now: int,
    worker: str,
    revision: str,
    skips: Sequence[Skipped] = (),
) -> Ended:
    """End the occurrence at ``due_at``, which is about to be executed. Earlier runs whose end was not reported within a
    lease become ``unknown``.

    :param skips: the occurrences that are skipped before it.
    """
    if not (record.state or skips) and _leaves_nothing(record, spec, policies, due_at, now):
        return Ended(lease.complete(record, next_due=None, revision=revision))
    state = State(record.state)
    add_skips(state, skips, now, policies.keep_runs)
    unknown = list(_unknown(state, now - policies.lease_microseconds))
    extra = current_run(record.state)
    run = Run(
        scheduled_at=due_at,
        started_at=now,
        ended_at=None,
        attempts=record.attempt,
        outcome="running",
        worker=worker,
        fence=record.fence,
        trigger="schedule" if extra is None else extra.trigger,
        run_id=None if extra is None else extra.id,
    )
    state.add(run, policies.keep_runs)
    if extra is not None:
        return Ended(Change(record, end_run(record, state, now=now, revision=revision)), unknown=unknown)
    to = continuation(record, spec, policies, due_at, now, opened=now, state=state)
    if state.is_last_run(spec.bounds.max_runs):
        to = Continuation(None)
    add_skips(state, to.skips, now, policies.keep_runs)
    if to.due_at is not None and is_paused(state):
        change = hold_paused(record, state, now=now, revision=revision, due_at=to.due_at, attempt=0, fence=record.fence)
    else:
        change = continue_or_complete(record, policies, to, now, revision, state.text(record.fence))
    return in_turn(Ended(change, skips=[*skips, *to.skips], unknown=unknown), now, revision)


def _leaves_nothing(record: Record, spec: Spec, policies: Policies, due_at: int, now: int) -> bool:
    """Whether the record is removed because no occurrence follows the one at ``due_at``, so that its state doesn't
    matter."""
    to = continuation(record, spec, policies, due_at, now, opened=now)
    return to.due_at is None and not (to.skips or keeps_completed(record, policies))


def concludes(policies: Policies) -> bool:
    """Whether the outcomes of runs are recorded."""
    return policies.keep_runs > 0 or policies.pause_after is not None


def conclude(
    record: Record | None,
    fence: int,
    policies: Policies,
    attempt: Attempt,
    now: int,
    revision: str,
    *,
    trigger: Trigger = "schedule",
) -> Ended:
    """Record how the run that was claimed with ``fence`` has ended.

    :param record: the stored record, in any state. Another worker may already be executing the next occurrence.
    :param trigger: what caused the run: failures of manual runs and backfills never pause an instance.
    """
    outcome, reason = outcome_of(attempt)
    if record is None or is_later(record.state):
        return Ended(None, outcome, reason)
    state = State(record.state)
    if not _note(state, fence, attempt):
        return Ended(None, outcome, reason)
    row = state.failures_in_a_row(outcome) if trigger == "schedule" else 0
    new = replace(record, revision=revision, state=state.text(state.count("fence")))
    leased = record.locked_until is not None and record.locked_until > now
    fails = policies.pause_after is not None and row >= policies.pause_after
    if fails and not leased and schedule_side(record).ready_at < HELD:
        state.set("why", pause_reason(row))
        new = replace(new, state=state.text(state.count("fence")))
        change = on_schedule(new, lambda side: lease.hold(side, Band.PAUSED, moment=now, revision=revision), now=now)
        return Ended(change and replace(change, old=record), outcome, reason)
    return Ended(Change(record, new), outcome, reason)


def _note(state: State, fence: int, attempt: Attempt) -> bool:
    """Record the end of a run in the totals, and in the latest runs if it is still among them.

    :return: False if it was recorded before.
    """
    outcome, reason = outcome_of(attempt)
    for at, run in enumerate(state.latest()):
        if run is not None and run.fence == fence:
            if run.outcome not in ("running", "unknown"):
                return False
            if run.outcome == "unknown":  # its worker was only slow
                state.past["unknown"] = state.past.get("unknown", 1) - 1
            error = "" if attempt.error is None else described(attempt.error)
            ended = replace(run, outcome=outcome, ended_at=attempt.ended_at, reason=reason, error=error)
            state.put(at, ended)
            return True
    state.tally(outcome, reason, 1)
    return True


def lists_run(state: str, fence: int) -> bool:
    """Whether the run that was claimed with ``fence`` is among the latest ones."""
    return any(run is not None and run.fence == fence for run in State(state).latest())


def _unknown(state: State, before: int) -> Iterable[Run]:
    for at, run in enumerate(state.latest()):
        if run is not None and run.outcome == "running" and (run.started_at or 0) < before:
            state.put(at, replace(run, outcome="unknown"))
            yield run


def outcome_of(attempt: Attempt) -> tuple[RunOutcome, str]:
    """Outcome and reason of a run that has no further attempt."""
    if attempt.end is AttemptEnd.SUCCEEDED:
        return "succeeded", ""
    if isinstance(attempt.error, Skip):
        return "skipped", "by_task"
    if isinstance(attempt.error, GiveUp):
        return "failed", cut(attempt.error.reason)
    if isinstance(attempt.error, RetryLater):
        return "failed", cut(f"at most once, there is no other attempt: {attempt.error}")
    return "failed", ""
