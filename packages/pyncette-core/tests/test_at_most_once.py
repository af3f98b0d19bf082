"""At most once: an occurrence is stored as over before it is executed; its outcome is recorded afterwards."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace

import pytest

from pyncette import CatchUp, ExecutionMode, GiveUp, Policies, RetryLater, Skip, lease
from pyncette._lifecycle.at_most_once import advance, conclude, concludes, lists_run, outcome_of
from pyncette._lifecycle.extra import request
from pyncette._lifecycle.steering import pause
from pyncette._lifecycle.values import Attempt, AttemptEnd, Ended, Skipped
from pyncette._tasks.extra import ExtraRun, extra_of
from pyncette._tasks.spec import Bounds, Spec, encode
from pyncette._tasks.state import LONGEST_ERROR, Run, State, latest_runs, totals
from pyncette.events import RunOutcome, Trigger
from pyncette.record import HELD, Band, Change, Record
from pyncette.schedule import Interval, Once

SECOND = 1_000_000
MINUTE = 60 * SECOND
NOW = 1_800_000_000 * SECOND
DUE = NOW - 5 * SECOND
SPEC, ONE_OFF = Spec(Interval(MINUTE)), Spec(Once(DUE))
ONCE = Policies(execution_mode=ExecutionMode.AT_MOST_ONCE, lease_duration=datetime.timedelta(seconds=30), keep_runs=5)
SKIPS = (Skipped(DUE - 2 * MINUTE, DUE - MINUTE, 2, True, "late"),)
RUNNING = Run(
    scheduled_at=DUE,
    started_at=NOW,
    ended_at=None,
    attempts=1,
    outcome="running",
    worker="host:1",
    fence=NOW,
)


def claimed(spec: Spec = SPEC, *, due_at: int = DUE, state: str = "", queue: str = "task") -> Record:
    key = queue if queue.startswith(":") else f"{queue}:a"
    record = Record(queue, key, due_at, due_at, None, None, "r", 5, 0, encode(spec), state)
    return lease.claim(record, now=NOW, locked_until=NOW + MINUTE, token="t", holder="host:1:t")


def advanced(
    record: Record,
    spec: Spec = SPEC,
    policies: Policies = ONCE,
    *,
    due_at: int | None = None,
    skips: Sequence[Skipped] = (),
) -> Ended:
    at = record.due_at if due_at is None else due_at
    return advance(record, spec, policies, at, now=NOW, worker="host:1", revision="new", skips=skips)


def new(change: Change | None, old: Record | None = None) -> Record:
    assert change is not None
    assert change.new is not None
    assert old is None or change.old is old
    return change.new


def test_it_is_stored_as_over_and_listed_as_running() -> None:
    record = claimed()
    found = advanced(record, skips=SKIPS)
    after = new(found.change, record)
    assert after == replace(
        record,
        due_at=DUE + MINUTE,
        ready_at=DUE + MINUTE,
        locked_until=None,
        locked_by=None,
        attempt=0,
        revision="new",
        state=after.state,
    )
    skipped, running = latest_runs(after.state)
    assert running == RUNNING
    assert (skipped.scheduled_at, skipped.reason, skipped.ended_at) == (SKIPS[0].first, "late", NOW)
    assert State(after.state).count("fence") == NOW
    assert (found.outcome, list(found.skips), list(found.unknown)) == (None, list(SKIPS), [])
    assert lists_run(after.state, NOW)
    assert not lists_run(after.state, NOW + 1)
    assert totals(after.state) == {"succeeded": 0, "late": 2}


def test_another_occurrence_may_have_been_chosen() -> None:
    record = claimed(due_at=DUE - 3 * MINUTE)
    after = new(advanced(record, due_at=DUE - MINUTE).change, record)
    assert (after.due_at, latest_runs(after.state)[0].scheduled_at) == (DUE, DUE - MINUTE)


def test_keep_runs_limits_the_list() -> None:
    few = replace(ONCE, keep_runs=1, catch_up=CatchUp.EARLIEST)
    record = claimed(due_at=DUE - 3 * MINUTE)
    found = advanced(record, policies=few, skips=SKIPS)
    [kept] = latest_runs(new(found.change).state)
    assert (kept.reason, kept.count, kept.ended_at) == ("coalesced", 3, NOW)
    assert [skip.reason for skip in found.skips] == ["late", "coalesced"]


RETAINING = replace(ONCE, retain=datetime.timedelta(hours=1))


@pytest.mark.parametrize("state", ["", State("").text(3)])
def test_a_one_off_is_removed_or_kept(state: str) -> None:
    record = claimed(ONE_OFF, state=state)
    found = advanced(record, ONE_OFF)
    assert (found.change, list(found.skips), list(found.unknown)) == (Change(record, None), [], [])
    kept = new(advanced(record, ONE_OFF, RETAINING).change, record)
    assert (kept.ready_at, kept.revision) == (Band.COMPLETED.at(NOW + 60 * MINUTE), "new")
    assert latest_runs(kept.state) == [RUNNING]
    static = claimed(ONE_OFF, state=state, queue=":static:a")
    assert latest_runs(new(advanced(static, ONE_OFF).change).state) == [RUNNING]


@pytest.mark.parametrize("state", ["", State("").text(3)])
def test_skips_at_the_end_of_a_schedule_are_reported(state: str) -> None:
    ends = Spec(Interval(MINUTE), bounds=Bounds(end_at=DUE - MINUTE))
    record = claimed(ends, due_at=DUE - 3 * MINUTE, state=state)
    found = advanced(record, ends, replace(ONCE, catch_up=CatchUp.EARLIEST))
    assert found.change == Change(record, None)
    assert [(skip.first, skip.count) for skip in found.skips] == [(DUE - 2 * MINUTE, 2)]
    plain = advanced(record, ends)
    assert new(plain.change).due_at == DUE - 2 * MINUTE


def test_the_last_run_of_max_runs() -> None:
    for most, left in ((1, None), (2, DUE + MINUTE)):
        spec = replace(SPEC, bounds=Bounds(max_runs=most))
        change = advanced(claimed(spec), spec).change
        assert change is not None
        assert (None if change.new is None else change.new.due_at) == left


def test_an_unreported_end_of_a_run_is_unknown() -> None:
    state = State("")
    silent = NOW - 30 * SECOND
    for started_at in (silent - 1, silent):
        state.add(replace(RUNNING, started_at=started_at, fence=started_at), 5)
    found = advanced(claimed(state=state.text(3)))
    lost, recent, last = latest_runs(new(found.change).state)
    assert (lost.outcome, recent.outcome, last) == ("unknown", "running", RUNNING)
    assert [run.started_at for run in found.unknown] == [silent - 1]
    assert totals(new(found.change).state)["unknown"] == 1


def test_an_instance_paused_in_the_meantime_is_held() -> None:
    record = new(pause(claimed(), "", now=NOW - 9, revision="p").change)
    after = new(advanced(record).change, record)
    assert (after.due_at, after.attempt, after.revision) == (DUE + MINUTE, 0, "new")
    assert after.ready_at == Band.PAUSED.at(NOW - 9)
    state = State("")
    state.set("why", "since nobody knows when")
    assert new(advanced(claimed(state=state.text(3))).change).ready_at == Band.PAUSED.at(NOW)
    assert State(after.state).count("fence") == NOW


def test_a_manual_run_ends_before_it_is_executed() -> None:
    waiting = Record("task", "task:a", NOW + MINUTE, NOW + MINUTE, None, None, "r", 5, 0, encode(SPEC))
    current = new(request(waiting, ExtraRun("id", NOW - 1), now=NOW, revision="a"))
    record = lease.claim(current, now=NOW, locked_until=NOW + MINUTE, token="t", holder="host:1:t")
    found = advanced(record, due_at=NOW - 1)
    after = new(found.change, record)
    assert (after.due_at, after.ready_at, after.revision) == (NOW + MINUTE, NOW + MINUTE, "new")
    [run] = latest_runs(after.state)
    assert run == replace(RUNNING, scheduled_at=NOW - 1, trigger="manual", run_id="id")
    state = State("")
    state.add(replace(RUNNING, started_at=NOW - MINUTE, fence=3), 5)
    older = replace(record, state=record.state.replace('"runs":[]', '"runs":' + state.text(3).split('"runs":')[1][:-1]))
    assert len(list(advanced(older, due_at=NOW - 1).unknown)) == 1


def test_a_requested_run_follows() -> None:
    record = new(request(claimed(), ExtraRun("id", NOW - 1), now=NOW, revision="a"))
    after = new(advanced(record).change, record)
    assert (extra_of(State(after.state)).run, after.ready_at) == (ExtraRun("id", NOW - 1), NOW)
    last = new(request(claimed(ONE_OFF), ExtraRun("id", NOW - 1), now=NOW, revision="a"))
    left = new(advanced(last, ONE_OFF).change, last)
    assert (extra_of(State(left.state)).run, left.revision) == (ExtraRun("id", NOW - 1), "new")


ERROR = ZeroDivisionError("no")


def attempt(error: BaseException | None = ERROR, end: AttemptEnd = AttemptEnd.FAILED) -> Attempt:
    return Attempt(end, DUE, NOW + 7, NOW, error, "host:1")


SUCCESS = attempt(None, AttemptEnd.SUCCEEDED)


@pytest.mark.parametrize(
    "how, outcome, reason",
    [
        (SUCCESS, "succeeded", ""),
        (attempt(Skip("x")), "skipped", "by_task"),
        (attempt(GiveUp("enough")), "failed", "enough"),
        (attempt(GiveUp("x" * 999)), "failed", "x" * LONGEST_ERROR),
        (attempt(), "failed", ""),
        (attempt(None, AttemptEnd.CANCELLED), "failed", ""),
    ],
)
def test_the_outcome_of_a_run_without_another_attempt(how: Attempt, outcome: RunOutcome, reason: str) -> None:
    assert outcome_of(how) == (outcome, reason)
    for record in (None, replace(claimed(), state='{"v":1000}')):
        assert conclude(record, NOW, ONCE, how, NOW, "new") == Ended(None, outcome, reason)


def test_retry_later_fails_the_run() -> None:
    outcome, reason = outcome_of(attempt(RetryLater(datetime.timedelta(seconds=3))))
    assert outcome == "failed"
    assert reason.startswith("at most once, there is no other attempt: ")
    assert len(outcome_of(attempt(RetryLater(datetime.timedelta(seconds=3), "x" * 999)))[1]) <= LONGEST_ERROR


@pytest.mark.parametrize(
    "policies, notes",
    [
        (replace(ONCE, keep_runs=1), True),
        (replace(ONCE, keep_runs=0), False),
        (replace(ONCE, keep_runs=0, pause_after=1), True),
    ],
)
def test_whether_outcomes_are_recorded(policies: Policies, notes: bool) -> None:
    assert concludes(policies) is notes


def listed(*runs: Run, row: int = 0) -> Record:
    state = State("")
    for run in runs:
        state.add(run, 5)
    state.set("row", row)
    return replace(claimed(), locked_until=None, locked_by=None, ready_at=DUE + MINUTE, state=state.text(3))


def concluded(
    record: Record, how: Attempt, policies: Policies = ONCE, *, fence: int = NOW, trigger: Trigger = "schedule"
) -> Ended:
    return conclude(record, fence, policies, how, NOW + 9, "new", trigger=trigger)


OTHER = replace(RUNNING, fence=NOW - 1)


@pytest.mark.parametrize(
    "how, outcome, reason, error",
    [
        (SUCCESS, "succeeded", "", ""),
        (attempt(), "failed", "", "ZeroDivisionError: no"),
        (attempt(GiveUp("enough")), "failed", "enough", "GiveUp: enough"),
        (attempt(Skip()), "skipped", "by_task", "Skip"),
        (attempt(None, AttemptEnd.CANCELLED), "failed", "", ""),
    ],
)
def test_the_outcome_is_recorded(how: Attempt, outcome: RunOutcome, reason: str, error: str) -> None:
    record = listed(OTHER, RUNNING, OTHER)
    found = concluded(record, how)
    after = new(found.change, record)
    assert (found.outcome, found.reason) == (outcome, reason)
    assert after == replace(record, revision="new", state=after.state)
    ended = replace(RUNNING, outcome=outcome, ended_at=NOW + 7, reason=reason, error=error)
    assert latest_runs(after.state) == [OTHER, ended, OTHER]
    assert totals(after.state) == {"succeeded": 0, reason if outcome == "skipped" else outcome: 1}
    assert State(after.state).count("fence") == 3
    assert concluded(after, how) == Ended(None, outcome, reason), "once"


def test_a_worker_that_was_only_slow() -> None:
    record = listed(replace(RUNNING, outcome="unknown"), replace(OTHER, outcome="unknown"))
    assert totals(record.state) == {"succeeded": 0, "unknown": 2}
    after = new(concluded(record, SUCCESS).change)
    assert totals(after.state) == {"succeeded": 1, "unknown": 1}
    damaged = replace(record, state=record.state.replace('"past":{"unknown":2}', '"past":{}'))
    assert totals(new(concluded(damaged, SUCCESS).change).state) == {"succeeded": 1}


def test_an_old_run_that_is_no_longer_listed_counts() -> None:
    for how, name in ((SUCCESS, "succeeded"), (attempt(), "failed"), (attempt(Skip()), "by_task")):
        record = listed(OTHER)
        after = new(concluded(record, how).change)
        assert totals(after.state)[name] == 1
        assert latest_runs(after.state) == [OTHER]


PAUSING = replace(ONCE, pause_after=3)


def test_consecutive_failures_pause_it() -> None:
    record = listed(RUNNING, row=2)
    found = concluded(record, attempt(GiveUp("enough")), PAUSING)
    after = new(found.change, record)
    assert (found.outcome, found.reason) == ("failed", "enough")
    state = State(after.state)
    assert (after.ready_at, after.revision) == (Band.PAUSED.at(NOW + 9), "new")
    assert (state.why, state.count("row"), state.count("fence")) == ("3 consecutive failed runs", 3, 3)
    assert latest_runs(after.state)[0].outcome == "failed"


@pytest.mark.parametrize(
    "record, how, trigger, row",
    [
        pytest.param(listed(RUNNING, row=1), attempt(), "schedule", 2, id="one more is allowed"),
        pytest.param(listed(RUNNING, row=2), SUCCESS, "schedule", 0, id="a success"),
        pytest.param(listed(RUNNING, row=2), attempt(), "manual", 2, id="outside the schedule"),
        pytest.param(
            replace(listed(RUNNING, row=2), locked_until=NOW + 10), attempt(), "schedule", 3, id="it is executed again"
        ),
        pytest.param(replace(listed(RUNNING, row=2), ready_at=HELD), attempt(), "schedule", 3, id="it is held"),
    ],
)
def test_outcomes_that_do_not_pause(record: Record, how: Attempt, trigger: Trigger, row: int) -> None:
    after = new(concluded(record, how, PAUSING, trigger=trigger).change, record)
    assert (State(after.state).why, State(after.state).count("row"), after.ready_at) == (None, row, record.ready_at)
    assert after.revision == "new"


def test_an_expired_lease_does_not_prevent_pausing() -> None:
    record = replace(listed(RUNNING, row=2), locked_until=NOW + 9, locked_by="host:2:t")
    after = new(concluded(record, attempt(), PAUSING).change, record)
    assert Band.of(after.ready_at) is Band.PAUSED


def test_the_schedule_is_paused_while_another_run_is_current() -> None:
    record = new(request(listed(RUNNING, row=2), ExtraRun("id", NOW), now=NOW, revision="a"))
    after = new(concluded(record, attempt(), PAUSING).change, record)
    extra = extra_of(State(after.state))
    assert extra.run == ExtraRun("id", NOW)
    assert extra.waits is not None
    assert extra.waits.ready_at == Band.PAUSED.at(NOW + 9)
    assert (after.ready_at, State(after.state).why) == (NOW, "3 consecutive failed runs")
