"""What operators do to a record: pausing, resuming, retrying dead instances."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

import pytest

from pyncette import CatchUp, Overlap, Policies, lease
from pyncette._lifecycle.continuation import store_window, stored_window
from pyncette._lifecycle.moments import Window, came_due
from pyncette._lifecycle.queueing import LATE
from pyncette._lifecycle.steering import BY_OPERATOR, Steered, hold_paused, pause, resume, retry, skip_paused
from pyncette._lifecycle.values import Skipped
from pyncette._tasks.spec import Bounds, Spec, encode
from pyncette._tasks.state import Attempts, Run, State, latest_runs
from pyncette.record import HELD, Band, Record
from pyncette.schedule import Interval, Once

SECOND = 1_000_000
MINUTE = 60 * SECOND
NOW = 1_800_000_000 * SECOND
DUE = NOW + MINUTE
SPEC = Spec(Interval(MINUTE))
KEEPING = Policies(keep_runs=5)
JITTER = Policies(jitter=datetime.timedelta(seconds=50))


def text(**fields: Any) -> str:
    state = State("")
    for name, value in fields.items():
        if name == "attempts":
            state.record_attempts(value)
        elif name == "span":
            store_window(state, value)
        else:
            state.set(name, value)
    return state.text(3)


def stored(ready_at: int = DUE, state: str = "", *, due_at: int = DUE, spec: Spec = SPEC, **further: Any) -> Record:
    record = Record("task", "task:a", due_at, ready_at, None, None, "r", 5, 0, encode(spec), state)
    return replace(record, **further)


def executed(record: Record) -> Record:
    return lease.claim(record, now=NOW - 5, locked_until=NOW + MINUTE, token="t", holder="host:1:t")


def new(steered: Steered, old: Record) -> Record:
    assert steered.change is not None
    assert steered.change.old is old
    assert steered.change.new is not None
    assert steered.change.new.revision == "new"
    return steered.change.new


def fields(record: Record) -> dict[str, Any]:
    return State(record.state).fields


@pytest.mark.parametrize(
    "record, held, since",
    [
        (stored(), True, None),
        (stored(NOW - 5, due_at=NOW - 5), True, None),
        (executed(stored()), False, NOW),
        (replace(executed(stored()), ready_at=NOW - 1, locked_until=NOW - 1), True, None),
        (stored(Band.DEAD.at(NOW)), False, None),
        (stored(Band.COMPLETED.at(NOW)), False, None),
        (stored(Band.UNREADABLE.at(NOW)), False, None),
    ],
)
@pytest.mark.parametrize("reason", ["", "by hand"])
def test_pausing(record: Record, held: bool, since: int | None, reason: str) -> None:
    record = replace(record, state=text(row=2))
    after = new(pause(record, reason, now=NOW, revision="new"), record)
    known = fields(after)
    assert (known["why"], known.get("since"), known["row"]) == (reason or BY_OPERATOR, since, 2)
    assert known["fence"] == 3
    if held:
        assert after == replace(
            record,
            ready_at=Band.PAUSED.at(NOW),
            locked_until=None,
            locked_by=None,
            revision="new",
            state=after.state,
        )
    else:
        assert after == replace(record, revision="new", state=after.state)


def test_pausing_again_changes_only_the_reason() -> None:
    held = stored(Band.PAUSED.at(NOW - 9), text(why="x"))
    assert pause(held, "x", now=NOW, revision="new") == Steered(None)
    after = new(pause(held, "y", now=NOW, revision="new"), held)
    assert (after.ready_at, fields(after)["why"]) == (held.ready_at, "y")
    leased = executed(stored(state=text(why="x", since=NOW - 9)))
    assert fields(new(pause(leased, "y", now=NOW, revision="new"), leased))["since"] == NOW - 9


def resumed(record: Record, policies: Policies = KEEPING, *, catch_up: bool = False, spec: Spec = SPEC) -> Steered:
    return resume(record, spec, policies, catch_up=catch_up, now=NOW, revision="new")


def test_resuming_an_instance_that_is_not_paused() -> None:
    assert resumed(stored()) == Steered(None)
    assert resumed(stored(Band.DEAD.at(NOW))) == Steered(None)


PAUSED = stored(Band.PAUSED.at(NOW - 5 * MINUTE), text(why="x", row=3))


@pytest.mark.parametrize("catch_up", [False, True])
@pytest.mark.parametrize("policies", [KEEPING, JITTER])
def test_future_occurrences_stay(policies: Policies, catch_up: bool) -> None:
    after = new(steered := resumed(PAUSED, policies, catch_up=catch_up), PAUSED)
    assert after.ready_at == came_due(SPEC, policies, PAUSED.key, DUE)
    assert after == replace(PAUSED, ready_at=after.ready_at, revision="new", state=after.state)
    assert not {"why", "row", "since", "window"} & fields(after).keys()
    assert fields(after)["fence"] == 3
    assert not steered.skips


def skipped(first: int, last: int, reason: str = "paused") -> list[Skipped]:
    return [Skipped(first, last, (last - first) // MINUTE + 1, True, reason)]


def test_occurrences_during_the_pause_are_skipped_or_caught_up() -> None:
    missed = replace(PAUSED, due_at=NOW - 4 * MINUTE - 7)
    after = new(steered := resumed(missed), missed)
    last = NOW - 7
    assert (after.due_at, after.ready_at) == (last + MINUTE, last + MINUTE)
    assert list(steered.skips) == skipped(missed.due_at, last)
    [run] = latest_runs(after.state)
    assert run == Run(
        scheduled_at=missed.due_at,
        started_at=None,
        ended_at=NOW,
        attempts=0,
        outcome="skipped",
        worker="",
        reason="paused",
        last=last,
        count=5,
    )
    caught_up = new(steered := resumed(missed, catch_up=True), missed)
    assert (caught_up.due_at, caught_up.ready_at, steered.skips) == (missed.due_at, missed.due_at, ())


@pytest.mark.parametrize("catch_up", [False, True])
def test_a_one_off_is_caught_up(catch_up: bool) -> None:
    once = Spec(Once(NOW - 3 * MINUTE))
    held = replace(PAUSED, due_at=NOW - 3 * MINUTE, spec=encode(once))
    after = new(resumed(held, catch_up=catch_up, spec=once), held)
    assert (after.due_at, after.ready_at) == (held.due_at, held.due_at)


@pytest.mark.parametrize("catch_up", [False, True])
@pytest.mark.parametrize("is_open", [{"attempt": 2}, {"state": text(why="x", attempts=Attempts(NOW - 4 * MINUTE))}])
def test_a_begun_occurrence_is_executed_immediately(is_open: dict[str, Any], catch_up: bool) -> None:
    held = replace(PAUSED, due_at=NOW - 4 * MINUTE, **is_open)
    after = new(steered := resumed(held, catch_up=catch_up), held)
    assert (after.due_at, after.ready_at, after.attempt) == (held.due_at, NOW - LATE, held.attempt)
    if catch_up:
        assert (list(steered.skips), stored_window(State(after.state), after.due_at)) == ([], None)
    else:
        last = NOW - MINUTE
        assert list(steered.skips) == skipped(held.due_at + MINUTE, last)
        assert stored_window(State(after.state), after.due_at) == Window(held.due_at, last, busy=False)


def test_an_occurrence_before_the_pause_stays_and_later_ones_are_skipped() -> None:
    held = replace(PAUSED, due_at=NOW - 7 * MINUTE)
    after = new(steered := resumed(held), held)
    assert (after.due_at, after.ready_at) == (held.due_at, NOW - LATE)
    assert list(steered.skips) == skipped(NOW - 5 * MINUTE, NOW - MINUTE)
    assert stored_window(State(after.state), held.due_at) == Window(NOW - 6 * MINUTE, NOW - MINUTE, busy=False)


def test_an_instance_whose_schedule_has_ended_is_kept_for_retain() -> None:
    ends = Spec(Interval(MINUTE), bounds=Bounds(end_at=NOW - 2 * MINUTE))
    held = replace(PAUSED, due_at=NOW - 4 * MINUTE, spec=encode(ends))
    steered = resumed(held, replace(KEEPING, jitter=datetime.timedelta(microseconds=1)), spec=ends)
    assert steered.change is not None
    assert (steered.change.old, steered.change.new) == (held, None)
    assert list(steered.skips) == skipped(NOW - 4 * MINUTE, NOW - 2 * MINUTE)
    retaining = replace(KEEPING, retain=datetime.timedelta(seconds=60))
    kept = new(resumed(held, retaining, spec=ends), held)
    assert kept.ready_at == Band.COMPLETED.at(NOW + MINUTE)
    assert [run.reason for run in latest_runs(kept.state)] == ["paused"]


def test_an_execution_in_progress_continues() -> None:
    """What came due during the pause is skipped, except what was due at the claim."""
    leased = replace(executed(stored(due_at=NOW - 7 * MINUTE)), fence=NOW - 4 * MINUTE)
    for since, first in ((NOW - 6 * MINUTE, NOW - 3 * MINUTE), (NOW - 2 * MINUTE, NOW - 2 * MINUTE)):
        paused = replace(leased, state=text(why="x", since=since, row=2))
        after = new(steered := resumed(paused), paused)
        assert after == replace(paused, revision="new", state=after.state)
        assert list(steered.skips) == skipped(first, NOW - MINUTE)
        assert not {"why", "row", "since"} & fields(after).keys()
        caught_up = new(steered := resumed(paused, catch_up=True), paused)
        assert (steered.skips, stored_window(State(caught_up.state), paused.due_at)) == ((), None)


@pytest.mark.parametrize("band", [Band.DEAD, Band.COMPLETED, Band.UNREADABLE])
def test_an_instance_held_for_another_reason_stays_held(band: Band) -> None:
    held = replace(PAUSED, ready_at=band.at(NOW - 5 * MINUTE), due_at=NOW - 4 * MINUTE)
    after = new(steered := resumed(held), held)
    assert after == replace(held, revision="new", state=after.state)
    assert (list(steered.skips), State(after.state).why) == ([], None)


@pytest.mark.parametrize(
    "window, expected, count",
    [
        (Window(NOW - 6 * MINUTE, NOW - 2 * MINUTE), Window(NOW - 6 * MINUTE, NOW - MINUTE), 1),
        (Window(NOW - 9 * MINUTE, NOW - 6 * MINUTE), Window(NOW - 9 * MINUTE, NOW - MINUTE), 5),
        (Window(NOW - 4 * MINUTE, NOW - 3 * MINUTE), Window(NOW - 6 * MINUTE, NOW - MINUTE), 4),
        (Window(NOW - 3 * MINUTE, NOW + 3 * MINUTE), Window(NOW - 6 * MINUTE, NOW + 3 * MINUTE), 3),
        (
            Window(NOW - 3 * MINUTE, NOW + 3 * MINUTE, busy=False),
            Window(NOW - 6 * MINUTE, NOW + 3 * MINUTE, busy=False),
            3,
        ),
        (Window(NOW - 9 * MINUTE, NOW - 9 * MINUTE), Window(NOW - 6 * MINUTE, NOW - MINUTE, busy=False), 5),
        (Window(NOW - 6 * MINUTE, NOW - 6 * MINUTE), Window(NOW - 6 * MINUTE, NOW - MINUTE), 5),
        (Window(NOW - 9 * MINUTE, NOW - 8 * MINUTE), Window(NOW - 9 * MINUTE, NOW - 8 * MINUTE), 0),
        (Window(NOW, NOW + MINUTE), Window(NOW, NOW + MINUTE), 0),
    ],
)
def test_a_second_pause_extends_the_window_or_counts_as_missed(window: Window, expected: Window, count: int) -> None:
    """There is room for one window. An instance that was busy long ago no longer is."""
    held = replace(PAUSED, due_at=NOW - 10 * MINUTE, state=text(why="x", span=window))
    after = new(steered := resumed(held), held)
    assert stored_window(State(after.state), held.due_at) == expected
    assert sum(skip.count for skip in steered.skips) == count
    assert (after.due_at, after.ready_at) == (held.due_at, NOW - LATE)


def retried(record: Record, policies: Policies = KEEPING, spec: Spec = SPEC) -> Steered:
    return retry(record, spec, policies, now=NOW, revision="new")


DEAD = stored(Band.DEAD.at(NOW - MINUTE), text(row=2), due_at=NOW - 5 * MINUTE, attempt=3)


def test_only_the_dead_are_retried() -> None:
    for band in (Band.PAUSED, Band.COMPLETED, Band.UNREADABLE):
        assert retried(stored(band.at(NOW))) == Steered(None)
    assert retried(stored()) == Steered(None)


def test_a_retried_instance_has_new_attempts_and_later_occurrences_are_skipped() -> None:
    after = new(steered := retried(DEAD), DEAD)
    assert after == replace(DEAD, ready_at=NOW - LATE, attempt=0, revision="new", state=after.state)
    state = State(after.state)
    assert state.attempts(DEAD.due_at, 9) == Attempts(DEAD.due_at)
    assert state.is_open(DEAD.due_at)
    assert (state.count("fence"), state.count("row")) == (3, 2)
    assert list(steered.skips) == skipped(NOW - 4 * MINUTE, NOW, "dead")
    assert [(run.reason, run.ended_at) for run in latest_runs(after.state)] == [("dead", NOW)]
    assert stored_window(state, DEAD.due_at) == Window(DEAD.due_at, NOW, busy=False)


def test_a_paused_instance_that_is_retried_is_paused_from_now_on() -> None:
    held = replace(DEAD, state=text(why="x"))
    assert new(retried(held), held).ready_at == Band.PAUSED.at(NOW)


def test_an_early_retry_is_ready_now() -> None:
    early = replace(DEAD, due_at=NOW + 9 * MINUTE)
    after = new(steered := retried(early), early)
    assert (after.ready_at, after.due_at, list(steered.skips)) == (NOW, early.due_at, [])
    assert stored_window(State(after.state), after.due_at) is None
    recent = replace(DEAD, due_at=NOW - 3 * SECOND)
    assert new(retried(recent), recent).ready_at == NOW - 3 * SECOND
    assert new(retried(recent, JITTER), recent).ready_at == NOW


@pytest.mark.parametrize(
    "window, expected, count",
    [
        (Window(NOW - 3 * MINUTE, NOW - MINUTE), Window(DEAD.due_at, NOW, busy=False), 3),
        (Window(NOW - 3 * MINUTE, NOW + 3 * MINUTE), Window(DEAD.due_at, NOW + 3 * MINUTE, busy=False), 2),
        (Window(NOW - 5 * MINUTE, NOW + 3 * MINUTE), Window(NOW - 5 * MINUTE, NOW + 3 * MINUTE), 0),
        (Window(NOW + MINUTE, NOW + 3 * MINUTE), Window(NOW + MINUTE, NOW + 3 * MINUTE), 0),
    ],
)
def test_contiguous_windows_are_joined(window: Window, expected: Window, count: int) -> None:
    held = replace(DEAD, state=text(span=window))
    after = new(steered := retried(held), held)
    assert stored_window(State(after.state), held.due_at) == expected
    assert sum(skip.count for skip in steered.skips) == count


@pytest.mark.parametrize(
    "policies, skips",
    [
        (Policies(), False),
        (Policies(catch_up=CatchUp.LATEST), True),
        (Policies(catch_up=CatchUp.EARLIEST), True),
        (Policies(max_lateness=datetime.timedelta(0)), True),
        (Policies(overlap=Overlap.SKIP), True),
        (Policies(overlap=Overlap.CANCEL), True),
    ],
)
def test_a_past_pause_of_the_template_is_skipped_if_policies_would_choose(policies: Policies, skips: bool) -> None:
    record, state = stored(due_at=DUE), State("")
    pauses = ((DUE + 9 * MINUTE, DUE + 11 * MINUTE), (DUE + 3 * MINUTE, DUE + 5 * MINUTE), (DUE + 20 * MINUTE, HELD))
    due_at = DUE + MINUTE
    found = skip_paused(record, SPEC, policies, state, due_at, pauses[1:])
    assert found == (skipped(DUE + 3 * MINUTE, DUE + 4 * MINUTE) if skips else [])
    window = stored_window(state, due_at)
    assert window == (Window(DUE + 2 * MINUTE, DUE + 4 * MINUTE, busy=False) if skips else None)
    assert skip_paused(record, SPEC, policies, State(""), DUE + 3 * MINUTE, pauses[1:]) == []
    both = skip_paused(record, SPEC, policies, State(""), due_at, pauses)
    assert both == found, "there is one window only"


def test_it_is_skipped_with_the_jitter_of_the_instance() -> None:
    """Jitter decides what came due before, during and after the pause."""
    policies = Policies(catch_up=CatchUp.LATEST, jitter=datetime.timedelta(seconds=50))
    came = came_due(SPEC, policies, "task:a", DUE)
    record = stored(due_at=DUE)
    for since, skips in ((came + 1, True), (came, False)):
        found = skip_paused(record, SPEC, policies, State(""), DUE, ((since, since + 5 * MINUTE),))
        assert bool(found) is skips


def test_skips_before_the_executed_occurrence_are_forgotten() -> None:
    state = State("")
    store_window(state, Window(DUE + MINUTE, DUE + 2 * MINUTE))
    latest, pauses = Policies(catch_up=CatchUp.LATEST), ((DUE + 5 * MINUTE, DUE + 7 * MINUTE),)
    found = skip_paused(stored(due_at=DUE), SPEC, latest, state, DUE + 3 * MINUTE, pauses)
    assert found == skipped(DUE + 5 * MINUTE, DUE + 6 * MINUTE)


def test_a_held_record_has_no_since_field() -> None:
    state = State(text(why="x", since=NOW - 9))
    held = hold_paused(stored(), state, now=NOW, revision="new").new
    assert held is not None
    assert (held.ready_at, fields(held).get("since")) == (Band.PAUSED.at(NOW - 9), None)


def test_the_pause_begins_at_the_stored_moment() -> None:
    """Whatever the clock of the worker that claimed it last. What comes due at that very moment is skipped."""
    since = PAUSED.ready_at - Band.PAUSED.since
    for fence in (5, NOW - 2 * MINUTE):
        held = replace(PAUSED, due_at=since, fence=fence)
        after = new(steered := resumed(held), held)
        assert list(steered.skips) == skipped(since, since + 5 * MINUTE)
        assert after.due_at == since + 6 * MINUTE
        before = replace(PAUSED, due_at=since - 1, fence=fence)
        assert new(resumed(before), before).due_at == since - 1


def test_occurrences_may_be_a_microsecond_apart() -> None:
    spec = Spec(Interval(1))
    for since, fence, first in ((NOW - 6, NOW - 8, NOW - 6), (NOW - 8, NOW - 6, NOW - 5)):
        leased = replace(executed(stored(due_at=NOW - 10, spec=spec)), fence=fence, state=text(why="x", since=since))
        [skip] = resumed(leased, spec=spec).skips
        assert (skip.first, skip.last, skip.count) == (first, NOW - 1, NOW - first)
    dead = replace(DEAD, due_at=NOW - 3, spec=encode(spec))
    [skip] = retried(dead, spec=spec).skips
    assert (skip.first, skip.last, skip.count) == (NOW - 2, NOW, 3)


def test_an_occurrence_due_at_the_retry_is_skipped() -> None:
    dead = replace(DEAD, due_at=NOW - MINUTE)
    assert list(retried(dead).skips) == skipped(NOW, NOW, "dead")
