"""Rare decisions: damaged records, late occurrences, and schedules that end during the decision."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest

from pyncette import CatchUp, ExecutionMode, Overlap, Policies, Retry, lease
from pyncette._lifecycle.again import GivenUp, after_loss
from pyncette._lifecycle.at_most_once import advance, conclude
from pyncette._lifecycle.begin import Execute, Settle, begin
from pyncette._lifecycle.end import end
from pyncette._lifecycle.extra import end_run, proceed, request
from pyncette._lifecycle.log import Logged, decode
from pyncette._lifecycle.log import encode as encode_line
from pyncette._lifecycle.recomputing import recompute
from pyncette._lifecycle.scheduling import Scheduled, paused, schedule
from pyncette._lifecycle.steering import pause, retry
from pyncette._lifecycle.values import Attempt, AttemptEnd, Skipped
from pyncette._tasks.existing import Scheduling
from pyncette._tasks.extra import ExtraRun, extra_of
from pyncette._tasks.spec import Bounds, LaterSpec, Spec, encode
from pyncette._tasks.state import Attempts, State, latest_runs, totals
from pyncette.record import Band, Change, Record
from pyncette.schedule import Cron, Interval, Once

NOW = 1_800_000_000_000_000
SECOND = 1_000_000
MINUTE = 60 * SECOND
REVISION = "80000000ffffffff"
ONCE = Policies(execution_mode=ExecutionMode.AT_MOST_ONCE, keep_runs=3)


def record(spec: Spec | str, *, ready_at: int = NOW - MINUTE, due_at: int = NOW - MINUTE, state: str = "") -> Record:
    text = spec if isinstance(spec, str) else encode(spec)
    return Record("task", "task:a", due_at, ready_at, None, None, "r", 5, 0, text, state)


def new(change: Change | None) -> Record:
    assert change is not None
    assert change.new is not None
    return change.new


def started(one: Record) -> Record:
    return lease.claim(one, now=NOW, locked_until=NOW + MINUTE, token="t", holder="host:1:t")


def test_lines_are_decoded_as_they_were_encoded() -> None:
    skips = (Skipped(1, 2, 2, True, "late"),)
    whole = Logged(NOW, NOW + 1, 2, "timeout", "TimeoutError", "host:1", skips, "manual", "id")
    never = Logged(NOW, None, 0, "", "", "host:1", ())
    assert decode(encode_line(whole)) == whole
    assert decode(encode_line(never)) == never


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"due":"?","n":1,"worker":""}', "[" * 100_000])
def test_a_damaged_line_is_ignored(text: str) -> None:
    assert decode(text) is None


def test_a_lost_attempt_past_the_longest_time() -> None:
    limits = Retry(9, delay=datetime.timedelta(seconds=5), max_lost=9, max_elapsed=datetime.timedelta(seconds=10))
    attempt = Attempt(AttemptEnd.LOST, NOW, NOW, NOW - MINUTE, worker="host:1")
    recorded = Attempts(NOW, ended=1, first=NOW - MINUTE)
    given_up = after_loss(Policies(retry=limits), attempt, 1, recorded, NOW, 0.5)
    assert given_up == GivenUp("max_elapsed has passed; lost with its worker 1 times: host:1")


def test_an_instance_paused_in_the_meantime_is_held_when_skipped() -> None:
    spec = Spec(Interval(MINUTE))
    held = new(pause(started(record(spec)), "", now=NOW, revision=REVISION).change)
    attempt = Attempt(AttemptEnd.PASSED, held.due_at, NOW, go_to=held.due_at + 5 * MINUTE)
    ended = end(held, spec, Policies(), attempt, now=NOW, retry_delay=SECOND, revision=REVISION)
    after = new(ended.change)
    assert Band.of(after.ready_at) is Band.PAUSED
    assert after.due_at == held.due_at + 5 * MINUTE


def test_an_instance_paused_in_the_meantime_is_held_at_most_once() -> None:
    spec = Spec(Interval(MINUTE))
    held = new(pause(started(record(spec)), "", now=NOW, revision=REVISION).change)
    ended = advance(held, spec, ONCE, held.due_at, now=NOW, worker="host:1", revision=REVISION)
    after = new(ended.change)
    assert Band.of(after.ready_at) is Band.PAUSED
    assert after.due_at > NOW - MINUTE


def test_the_last_of_max_runs_at_most_once() -> None:
    spec = Spec(Interval(MINUTE), bounds=Bounds(max_runs=1))
    ended = advance(started(record(spec)), spec, ONCE, NOW, now=NOW, worker="host:1", revision=REVISION)
    assert ended.change is not None
    assert ended.change.new is None


def test_the_end_of_a_run_that_is_no_longer_listed_counts() -> None:
    attempt = Attempt(AttemptEnd.SUCCEEDED, NOW - MINUTE, NOW, NOW - SECOND, worker="host:1")
    ended = conclude(record(Spec(Interval(MINUTE))), 3, ONCE, attempt, NOW, REVISION)
    after = new(ended.change)
    assert totals(after.state).get("succeeded") == 1
    assert not latest_runs(after.state)


def test_without_other_runs_nothing_changes() -> None:
    plain = record(Spec(Interval(MINUTE)))
    assert proceed(plain, NOW) is plain


def test_an_unreadable_instance_executes_no_manual_run() -> None:
    unreadable = record(Spec(Interval(MINUTE)), ready_at=Band.UNREADABLE.at(NOW))
    change = request(unreadable, ExtraRun("a", NOW), now=NOW, revision=REVISION)
    after = new(change)
    assert after.ready_at == unreadable.ready_at
    assert [run.id for run in extra_of(State(after.state)).requested] == ["a"]


def test_ending_a_run_that_is_not_current() -> None:
    """For example, because the stored runs are damaged."""
    one = record(Spec(Once(NOW)), ready_at=Band.COMPLETED.since)
    assert end_run(one, State('{"v":1,"extra":"damaged"}'), now=NOW, revision=REVISION) is None


def test_a_schedule_that_can_not_be_decoded_is_not_recomputed() -> None:
    assert recompute(record("damaged"), Policies(), now=NOW, revision=REVISION) is None


def test_an_occurrence_with_the_state_of_a_later_version_is_not_recomputed() -> None:
    off = record(Spec(Cron("0 0 1 1 *")), due_at=NOW + MINUTE, ready_at=NOW + MINUTE)
    assert recompute(off, Policies(), now=NOW, revision=REVISION) is not None
    later = replace(off, state='{"v":1000}')
    assert recompute(later, Policies(), now=NOW, revision=REVISION) is None


def test_a_schedule_without_another_occurrence_is_not_recomputed() -> None:
    """The timezone rules have changed, and it is the schedule's last year."""
    over_soon = record(Spec(Cron("0 0 1 1 * * 2020")), due_at=NOW + MINUTE, ready_at=NOW + MINUTE)
    assert recompute(over_soon, Policies(), now=NOW, revision=REVISION) is None


def test_a_record_of_a_later_version_is_not_updated() -> None:
    later = record(encode(Spec(Interval(MINUTE))).replace('"v":1', '"v":99', 1))
    with pytest.raises(LaterSpec):
        schedule(later, later.ref, Spec(Interval(MINUTE)), NOW, ready_at=NOW, if_exists="update", now=NOW, revision="x")


def test_an_instance_that_is_kept_is_not_paused() -> None:
    kept = Scheduled(None, Scheduling.KEPT)
    assert paused(kept, record(Spec(Interval(MINUTE))), now=NOW, revision=REVISION) is kept


def test_scheduling_a_paused_instance_as_paused() -> None:
    spec = Spec(Interval(MINUTE))
    before = new(pause(record(spec), "", now=NOW, revision=REVISION).change)
    unchanged = Scheduled(None, Scheduling.UPDATED)
    assert paused(unchanged, before, now=NOW, revision=REVISION) is unchanged


def test_a_retry_respects_the_window_of_its_occurrence() -> None:
    """What came due before the window began was decided together with it."""
    spec, state = Spec(Interval(MINUTE)), State("")
    state.set("window", [NOW - 60 * MINUTE, NOW - 50 * MINUTE, 1])
    dead = replace(record(spec, due_at=NOW - 55 * MINUTE, ready_at=Band.DEAD.at(NOW)), state=state.text(5))
    steered = retry(dead, spec, Policies(), now=NOW, revision=REVISION)
    assert new(steered.change).ready_at <= NOW


@pytest.mark.parametrize(
    "policies",
    [
        Policies(max_lateness=datetime.timedelta(seconds=1)),
        Policies(catch_up=CatchUp.LATEST),
        Policies(overlap=Overlap.CANCEL),
        Policies(max_lateness=datetime.timedelta(seconds=1), catch_up=CatchUp.LATEST, retry=Retry(3)),
    ],
)
def test_a_dead_occurrence_is_executed_when_it_is_retried(policies: Policies) -> None:
    """However late it is, and whatever has come due since; even if its worker dies."""
    spec, at = Spec(Interval(MINUTE)), NOW + 3 * MINUTE
    dead = record(spec, due_at=NOW - 55 * MINUTE, ready_at=Band.DEAD.at(NOW))
    before = new(retry(dead, spec, policies, now=NOW, revision=REVISION).change)
    for minutes in range(2):
        now = at + minutes * 10 * MINUTE
        claimed = lease.claim(before, now=now, locked_until=now + MINUTE, token="t", holder="host:1:t")
        found = begin(policies, spec, claimed, before, claimed_at=now, now=now)
        assert isinstance(found, Execute)
        assert (found.due_at, found.skips) == (None, ())
        lost = begin(policies, spec, claimed, claimed, claimed_at=now, now=now + 2 * MINUTE)
        if isinstance(lost, Settle) and lost.attempt.end is AttemptEnd.LOST:
            assert (lost.attempt.due_at, lost.attempt.skips) == (dead.due_at, ())
            again = end(claimed, spec, policies, lost.attempt, now=now, retry_delay=0, revision=REVISION)
            before = new(again.change)


def test_a_dead_occurrence_off_the_schedule_is_executed_when_it_is_retried() -> None:
    spec = Spec(Cron("0 12 * * *", "Europe/Berlin"))
    dead = record(spec, due_at=NOW - MINUTE, ready_at=Band.DEAD.at(NOW))
    before = new(retry(dead, spec, Policies(), now=NOW, revision=REVISION).change)
    claimed = started(before)
    assert begin(Policies(), spec, claimed, before, claimed_at=NOW, now=NOW) == Execute(advance=False)
    other = begin(Policies(), spec, started(dead), replace(dead, ready_at=NOW), claimed_at=NOW, now=NOW)
    assert isinstance(other, Settle)
