"""What happens to a static task's record, at the start and afterwards: decision tables."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace

import pytest

from pyncette import Policies, lease
from pyncette._lifecycle.extra import request
from pyncette._lifecycle.static import SKEW, Notice, Reconciled, reconcile
from pyncette._schedules.moments import to_datetime
from pyncette._tasks.extra import ExtraRun
from pyncette._tasks.spec import Bounds, Spec, UndecodableSpec, decode, encode
from pyncette._tasks.state import State
from pyncette.record import Band, Record, Ref
from pyncette.schedule import Interval

NOW = 1_800_000_000_000_000
MINUTE = 60_000_000
HOUR = 60 * MINUTE
REF = Ref(":static:task", ":static:task")
HOURLY = Spec(Interval(HOUR))
EVERY_MINUTE = Spec(Interval(MINUTE))
ENDED = replace(HOURLY, bounds=Bounds(start_at=NOW - 4 * HOUR, end_at=NOW - MINUTE))
LAST = NOW - HOUR
BOTH = pytest.mark.parametrize("starting", [True, False])


def stored(spec: Spec = HOURLY, due_at: int = NOW + HOUR, *, band: Band | None = None, state: str = "") -> Record:
    ready_at = due_at if band is None else band.at(NOW - MINUTE)
    return Record(REF.queue, REF.key, due_at, ready_at, None, None, "r", 5, 0, encode(spec), state)


def executed(record: Record) -> Record:
    return lease.claim(record, now=NOW - 5, locked_until=NOW + MINUTE, token="t", holder="other")


def with_unknown(record: Record) -> Record:
    """Add a field, as a later version might."""
    return replace(record, spec=record.spec.replace("{", '{"later":1,', 1))


def kept(known: Record | None, spec: Spec = HOURLY, *, starting: bool, jitter: int = 0) -> Reconciled:
    policies = Policies(jitter=datetime.timedelta(microseconds=jitter))
    return reconcile(known, REF, spec, policies, starting=starting, now=NOW, revision="new")


def new(of: Reconciled) -> Record:
    assert of.change is not None
    assert of.change.new is not None
    assert of.change.new.revision == "new"
    return of.change.new


def shown(moment: int) -> str:
    return to_datetime(moment).isoformat()


@BOTH
def test_a_missing_record_is_stored(starting: bool) -> None:
    found = kept(None, starting=starting, jitter=MINUTE)
    record = new(found)
    assert (record.ref, record.due_at, record.spec) == (REF, NOW + HOUR, encode(HOURLY))
    assert record.due_at < record.ready_at < record.due_at + MINUTE, "it has its share of jitter"
    assert list(found.notices) == ([] if starting else [(Notice.GONE,)])


@BOTH
def test_a_schedule_that_has_ended_is_stored_as_completed(starting: bool) -> None:
    found = kept(None, ENDED, starting=starting)
    record = new(found)
    ready_at = Band.COMPLETED.at(NOW)
    assert record == Record(REF.queue, REF.key, LAST, ready_at, None, None, "new", 0, 0, encode(ENDED), "")
    assert found.change is not None
    assert found.change.old is None
    assert found.notices[-1] == (Notice.COMPLETED, shown(LAST))


@BOTH
@pytest.mark.parametrize(
    "known",
    [
        stored(),
        stored(due_at=NOW - HOUR),
        stored(due_at=NOW + HOUR + SKEW),
        executed(stored(due_at=NOW + 9 * HOUR)),
        stored(due_at=NOW + 9 * HOUR, band=Band.PAUSED),
        stored(due_at=NOW + 9 * HOUR, band=Band.DEAD),
    ],
    ids=["on schedule", "overdue", "by a clock that is ahead", "executed", "paused", "dead"],
)
def test_a_correct_record_stays(starting: bool, known: Record) -> None:
    assert kept(known, starting=starting) == Reconciled(None, [])


@BOTH
def test_an_overdue_occurrence_stays_due_after_the_schedule_ended(starting: bool) -> None:
    """Its last occurrence may be later than any on the schedule, which has ended."""
    assert kept(stored(ENDED, NOW + HOUR), ENDED, starting=starting) == Reconciled(None, [])


@BOTH
def test_a_late_occurrence_is_moved_forward(starting: bool) -> None:
    late = NOW + HOUR + SKEW + 1
    state = State("")
    state.past["began"] = 4
    known = with_unknown(stored(due_at=late, state=state.text(5)))
    found = kept(known, starting=starting, jitter=MINUTE)
    record = new(found)
    assert record.state == known.state
    assert record.due_at == NOW + HOUR < record.ready_at < NOW + HOUR + MINUTE
    assert decode(record.spec)[0] == replace(HOURLY, since=NOW), "what came before is not caught up with"
    assert json.loads(record.spec)["later"] == 1
    assert list(found.notices) == [(Notice.TOO_LATE, shown(late), shown(NOW + HOUR))]


def test_another_schedule_replaces_the_stored_one_at_the_start_only() -> None:
    """Later on, a different schedule belongs to a release that was started later."""
    known = stored(EVERY_MINUTE, NOW + MINUTE)
    assert kept(known, starting=False) == Reconciled(None, [])
    assert kept(stored(EVERY_MINUTE, NOW + 9 * HOUR), starting=False) == Reconciled(None, [])
    found = kept(known, starting=True)
    assert new(found).due_at == NOW + HOUR
    assert decode(new(found).spec)[0] == replace(HOURLY, since=NOW)
    assert list(found.notices) == [(Notice.CHANGED,)]


@pytest.mark.parametrize(
    "bounds, due_at",
    [
        (Bounds(max_runs=9), NOW + 9 * MINUTE),
        (Bounds(start_at=NOW + 9 * MINUTE, end_at=NOW + 9 * HOUR), NOW + 9 * MINUTE),
        (Bounds(start_at=NOW + 10 * MINUTE), NOW + 10 * MINUTE),
        (Bounds(start_at=NOW - 1, end_at=NOW + 9 * MINUTE - 1), NOW + MINUTE - 1),
    ],
    ids=["max_runs", "within", "before the start", "after the end"],
)
def test_other_bounds_keep_an_occurrence_within_them(bounds: Bounds, due_at: int) -> None:
    known = stored(EVERY_MINUTE, NOW + 9 * MINUTE)
    found = kept(known, replace(EVERY_MINUTE, bounds=bounds), starting=True)
    assert new(found).due_at == due_at
    assert list(found.notices) == [(Notice.CHANGED,)]


def test_other_bounds_revive_a_completed_task_at_its_next_occurrence() -> None:
    state = State("")
    state.past["began"] = 4
    known = stored(ENDED, LAST, band=Band.COMPLETED, state=state.text(5))
    assert "began" in known.state
    found = new(kept(known, HOURLY, starting=True))
    assert (found.due_at, found.ready_at) == (NOW + HOUR, NOW + HOUR)
    assert "began" not in found.state, "max_runs counts from the start again"


@pytest.mark.parametrize(
    "known",
    [executed(stored(due_at=NOW)), executed(stored(due_at=NOW + MINUTE)), stored(due_at=NOW)],
    ids=["executed", "executed by a clock that is ahead", "overdue"],
)
def test_an_execution_ends_even_if_the_schedule_has(known: Record) -> None:
    found = kept(known, ENDED, starting=True)
    spec = encode(replace(ENDED, since=NOW))
    assert new(found) == replace(known, spec=spec, revision="new")
    assert found.change is not None
    assert found.change.old is known
    assert list(found.notices) == [(Notice.CHANGED,)]


def test_a_waiting_task_is_completed_when_the_schedule_has_ended() -> None:
    known = with_unknown(stored(state="{}"))
    found = kept(known, ENDED, starting=True)
    record = new(found)
    assert found.change is not None
    assert found.change.old is known
    assert (record.ref, record.locked_until, record.locked_by, record.attempt) == (REF, None, None, 0)
    assert (record.due_at, Band.of(record.ready_at), record.fence, record.state) == (LAST, Band.COMPLETED, 5, "{}")
    assert json.loads(record.spec)["later"] == 1, "fields that this version does not know stay"
    assert list(found.notices) == [(Notice.CHANGED,), (Notice.COMPLETED, shown(LAST))]


def test_a_completed_task_stays_completed_with_another_ended_schedule() -> None:
    known = stored(ENDED, LAST, band=Band.COMPLETED)
    found = kept(known, replace(EVERY_MINUTE, bounds=ENDED.bounds), starting=True)
    assert (new(found).due_at, Band.of(new(found).ready_at)) == (NOW - MINUTE, Band.COMPLETED)
    assert list(found.notices) == [(Notice.CHANGED,), (Notice.COMPLETED, shown(NOW - MINUTE))]


def test_a_damaged_schedule_is_replaced_at_the_start_only() -> None:
    known = replace(stored(band=Band.UNREADABLE), spec="{")
    with pytest.raises(UndecodableSpec) as raised:
        decode(known.spec)
    reason = str(raised.value)
    [(notice, *why)] = kept(known, starting=False).notices
    assert (notice, why) == (Notice.UNREADABLE, [reason])
    assert kept(known, starting=False).change is None
    found = kept(known, starting=True)
    assert (new(found).due_at, new(found).ready_at) == (NOW + HOUR, NOW + HOUR)
    assert list(found.notices) == [(Notice.UNREADABLE, *why), (Notice.CHANGED,)]


def test_a_record_that_is_readable_again_is_rescheduled_at_the_start() -> None:
    known = stored(due_at=NOW - HOUR, band=Band.UNREADABLE)
    assert kept(known, starting=False) == Reconciled(None, [])
    found = kept(known, starting=True)
    assert new(found).ready_at == NOW + HOUR
    assert list(found.notices) == [(Notice.READABLE,)]


@BOTH
@pytest.mark.parametrize(
    "known",
    [
        replace(stored(), spec='{"v":1000}'),
        stored(EVERY_MINUTE, state='{"v":1000}'),
    ],
    ids=["spec", "state"],
)
def test_a_record_of_a_later_version_is_left_alone(starting: bool, known: Record) -> None:
    assert kept(known, starting=starting) == Reconciled(None)


@BOTH
def test_a_manual_run_that_is_current_stays_so(starting: bool) -> None:
    late = stored(due_at=NOW + 9 * HOUR)
    asked = request(late, ExtraRun("run", NOW - 1, {}, "manual"), now=NOW - 1, revision="asked")
    assert asked is not None
    assert asked.new is not None
    found = kept(asked.new, starting=starting)
    record = new(found)
    assert found.change is not None
    assert found.change.old == asked.new
    assert (record.due_at, record.ready_at) == (NOW + HOUR, asked.new.ready_at)


@BOTH
def test_the_last_occurrence_stays(starting: bool) -> None:
    """Even if the schedule ends right after it."""
    ends = replace(HOURLY, bounds=Bounds(end_at=NOW + HOUR))
    assert kept(stored(ends), ends, starting=starting) == Reconciled(None, [])
