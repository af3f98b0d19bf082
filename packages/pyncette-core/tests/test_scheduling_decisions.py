"""Scheduling an instance that may exist, and recomputing an occurrence after a change of timezone rules."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace

import pytest

from pyncette import Policies, lease
from pyncette._lifecycle.extra import request
from pyncette._lifecycle.moments import came_due
from pyncette._lifecycle.recomputing import nearest, recompute
from pyncette._lifecycle.scheduling import Scheduled, paused, schedule
from pyncette._lifecycle.steering import pause
from pyncette._tasks.existing import IfExists, Scheduling
from pyncette._tasks.extra import ExtraRun
from pyncette._tasks.spec import Bounds, LaterSpec, Spec, encode
from pyncette._tasks.state import Attempts, State
from pyncette.record import Band, Change, Record, Ref
from pyncette.schedule import Cron, Interval, Once

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
NOW = 1_800_000_000 * SECOND
FIRST, READY = NOW + 5 * MINUTE, NOW + 5 * MINUTE + 7
REF = Ref("task", "task:a")
OLD = Spec(Interval(HOUR), '{"x":1}', since=NOW - 9, carried="then")
NEW = Spec(Interval(MINUTE), '{"x":2}', carried="now")


def stored(spec: Spec | str = OLD, *, due_at: int = NOW + HOUR, band: Band | None = None, state: str = "") -> Record:
    text = spec if isinstance(spec, str) else encode(spec)
    ready_at = due_at if band is None else band.at(NOW - MINUTE)
    return Record(REF.queue, REF.key, due_at, ready_at, None, None, "r", 5, 0, text, state)


def executed(record: Record) -> Record:
    return lease.claim(record, now=NOW - 5, locked_until=NOW + MINUTE, token="t", holder="host:1:t")


def scheduled(old: Record | None, spec: Spec = NEW, if_exists: IfExists = "update") -> Scheduled:
    return schedule(old, REF, spec, FIRST, ready_at=READY, if_exists=if_exists, now=NOW, revision="new")


def changed(found: Scheduled | Change | None) -> Record:
    change = found.change if isinstance(found, Scheduled) else found
    assert change is not None
    assert change.new is not None
    return change.new


FRESH = Record(REF.queue, REF.key, FIRST, READY, None, None, "new", 0, 0, encode(NEW))


@pytest.mark.parametrize(
    "old, if_exists, how, new",
    [
        (None, "update", Scheduling.CREATED, FRESH),
        (None, "error", Scheduling.CREATED, FRESH),
        (stored(), "error", Scheduling.EXISTS, None),
        (stored(), "keep", Scheduling.KEPT, None),
        (executed(stored()), "replace", Scheduling.REPLACED, replace(FRESH, fence=NOW - 5)),
        (stored("damaged"), "replace", Scheduling.REPLACED, replace(FRESH, fence=5)),
        (stored(state='{"v":1000}'), "replace", Scheduling.REPLACED, replace(FRESH, fence=5)),
        (stored("damaged"), "update", Scheduling.UPDATED, replace(FRESH, fence=5)),
    ],
)
def test_if_exists(old: Record | None, if_exists: IfExists, how: Scheduling, new: Record | None) -> None:
    found = scheduled(old, if_exists=if_exists)
    assert found.how is how
    assert found.change == (None if new is None else Change(old, new))


@pytest.mark.parametrize("later", [stored('{"v":1000}'), stored(state='{"v":1000}')], ids=["spec", "state"])
def test_a_record_of_a_later_version_is_not_updated(later: Record) -> None:
    with pytest.raises(LaterSpec):
        scheduled(later)


def test_the_same_schedule_postpones_nothing() -> None:
    """The carried context is that of the call that changed something."""
    same = replace(OLD, since=None, carried="later")
    for old in (stored(), executed(stored()), stored(due_at=NOW - HOUR), stored(band=Band.PAUSED)):
        assert scheduled(old, same) == Scheduled(None, Scheduling.UPDATED)
        found = scheduled(old, replace(same, args='{"x":2}'))
        expected = encode(replace(OLD, args='{"x":2}', carried="later"))
        assert (found.how, changed(found)) == (Scheduling.UPDATED, replace(old, spec=expected, revision="new"))


def test_unknown_fields_are_kept() -> None:
    old = stored(encode(OLD)[:-1] + ',"later":1}')
    assert scheduled(old, OLD).change is None
    for spec in (NEW, replace(OLD, args="{}"), replace(OLD, bounds=Bounds(max_runs=3))):
        for record in (old, executed(old), replace(old, due_at=NOW)):
            assert json.loads(changed(scheduled(record, spec)).spec)["later"] == 1


def test_a_one_off_being_executed_is_changed_too_late() -> None:
    once = Spec(Once(NOW))
    other = replace(once, args='{"x":2}')
    assert scheduled(executed(stored(once)), other).how is Scheduling.UNDER_WAY
    assert scheduled(executed(stored(once)), once).how is Scheduling.UPDATED
    assert scheduled(stored(once), other).how is Scheduling.UPDATED
    assert scheduled(executed(stored(OLD)), replace(OLD, args="{}")).how is Scheduling.UPDATED


@pytest.mark.parametrize("spec", [NEW, replace(OLD, bounds=Bounds(max_runs=2)), Spec(Once(FIRST))])
def test_another_schedule_starts_over(spec: Spec) -> None:
    assert scheduled(stored(), spec).how is Scheduling.UPDATED
    moved = changed(scheduled(stored(), spec))
    assert moved == replace(stored(), due_at=FIRST, ready_at=READY, spec=encode(spec), revision="new")
    once = isinstance(spec.schedule, Once)
    for open_or_overdue in (replace(stored(), attempt=1), stored(due_at=NOW)):
        found = changed(scheduled(open_or_overdue, spec))
        stays = replace(open_or_overdue, spec=encode(replace(spec, since=NOW)), revision="new")
        assert found == (
            replace(open_or_overdue, due_at=FIRST, ready_at=READY, attempt=0, spec=encode(spec), revision="new")
            if once
            else stays
        )
    leased = executed(stored())
    assert changed(scheduled(leased, spec)) == replace(leased, spec=encode(replace(spec, since=NOW)), revision="new")
    assert changed(scheduled(stored(due_at=NOW + 1), spec)).due_at == FIRST


def with_runs() -> str:
    state = State("")
    state.past["began"] = 4
    state.past["late"] = 2
    state.record_attempts(Attempts(NOW, ended=1))
    return state.text(3)


@pytest.mark.parametrize("band", [Band.DEAD, Band.COMPLETED, Band.UNREADABLE, Band.PAUSED])
def test_a_new_schedule_revives_a_held_instance(band: Band) -> None:
    """Except a paused one."""
    old = stored(due_at=NOW - HOUR, band=band, state=with_runs())
    new = changed(scheduled(old))
    if band is Band.PAUSED:
        assert new == replace(old, spec=encode(replace(NEW, since=NOW)), revision="new")
        return
    assert (new.due_at, new.ready_at, new.attempt, new.spec) == (FIRST, READY, 0, encode(NEW))
    assert changed(scheduled(replace(old, state=""))).state == ""
    state = State(new.state)
    assert (state.is_open(NOW), state.count("fence")) == (False, 5)
    assert state.past == ({"late": 2} if band is Band.COMPLETED else {"late": 2, "began": 4})


def test_it_is_scheduled_and_paused_at_once() -> None:
    for old in (None, stored(), executed(stored())):
        found = scheduled(old)
        new = changed(both := paused(found, old, now=NOW, revision="new"))
        assert both.how is found.how
        assert both.change is not None
        assert both.change.old is old
        assert State(new.state).why is not None
        assert (Band.of(new.ready_at) is Band.PAUSED) == (new.locked_until is None)
        assert new.spec == changed(found).spec
        assert new.revision == "new"
    kept, same = scheduled(stored(), if_exists="keep"), scheduled(stored(), OLD)
    assert paused(kept, stored(), now=NOW, revision="new") is kept
    exists = scheduled(stored(), if_exists="error")
    assert paused(exists, stored(), now=NOW, revision="new") is exists
    assert changed(paused(same, stored(), now=NOW, revision="new")).ready_at == Band.PAUSED.at(NOW)
    before = changed(pause(stored(), "", now=NOW, revision="p").change)
    assert paused(same, before, now=NOW, revision="new") is same


def test_a_manual_run_is_not_disturbed() -> None:
    asked = changed(request(stored(), ExtraRun("id", NOW), now=NOW, revision="a"))
    new = changed(scheduled(asked))
    assert (new.due_at, new.ready_at) == (FIRST, NOW)


NOON = 1_799_928_000 * SECOND
DAILY = Spec(Cron("0 13 * * *", "Europe/Berlin"))  # noon UTC in winter
OFF = NOON + HOUR
JITTER = Policies(jitter=datetime.timedelta(minutes=5))


@pytest.mark.parametrize("policies", [Policies(), JITTER])
def test_an_occurrence_off_its_schedule_is_moved_to_the_nearest_moment(policies: Policies) -> None:
    before = NOON - 2 * HOUR
    record = stored(DAILY, due_at=OFF, state=State("").text(3))
    found = recompute(record, policies, now=before, revision="new")
    new = changed(found)
    assert found is not None
    assert found.old is record
    assert new == replace(
        record, due_at=NOON, ready_at=came_due(DAILY, policies, record.key, NOON), revision="new", state=new.state
    )
    assert (State(new.state).count("moved"), State(new.state).count("fence")) == (NOON, 3)
    assert recompute(replace(new, due_at=OFF), policies, now=before, revision="x") is not None


@pytest.mark.parametrize(
    "record, stays",
    [
        (stored(DAILY, due_at=OFF), False),
        (stored(DAILY, due_at=OFF, band=Band.PAUSED), False),
        (stored(DAILY, due_at=OFF, band=Band.DEAD), True),
        (executed(stored(DAILY, due_at=OFF)), True),
        (replace(stored(DAILY, due_at=OFF), attempt=1), True),
        (stored(DAILY, due_at=NOON), True),
        (stored(replace(DAILY, since=OFF), due_at=OFF), False),
        (stored(replace(DAILY, since=OFF + 1), due_at=OFF), True),
        (stored(Spec(Interval(HOUR), bounds=Bounds(start_at=7)), due_at=OFF), True),
        (stored(Spec(Once(NOON)), due_at=OFF), True),
        (stored(DAILY, due_at=2**61), True),
    ],
)
def test_which_occurrences_are_recomputed(record: Record, stays: bool) -> None:
    assert (recompute(record, Policies(), now=NOON - HOUR, revision="new") is None) is stays


def test_it_is_recomputed_once_and_while_it_is_ahead() -> None:
    for due_at, stays in ((OFF, True), (OFF - 1, False)):
        state = State("")
        state.set("moved", OFF)
        record = stored(DAILY, due_at=due_at, state=state.text(5))
        assert (recompute(record, Policies(), now=NOON - HOUR, revision="new") is None) is stays
    for now, stays in ((OFF - 1, False), (OFF, True)):
        assert (recompute(stored(DAILY, due_at=OFF), Policies(), now=now, revision="new") is None) is stays


@pytest.mark.parametrize(
    "due_at, now, found",
    [
        (NOON + 11 * HOUR, NOON - 1, NOON),
        (NOON + 12 * HOUR, NOON - 1, NOON),
        (NOON + 13 * HOUR, NOON - 1, NOON + 24 * HOUR),
        (NOON + HOUR, NOON, NOON + 24 * HOUR),
        (NOON - HOUR, NOON - 2 * HOUR, NOON),
    ],
)
def test_the_nearest(due_at: int, now: int, found: int) -> None:
    assert nearest(DAILY, due_at, now) == found


def test_the_nearest_of_a_schedule_that_ends() -> None:
    ends = replace(DAILY, bounds=Bounds(end_at=NOON))
    assert nearest(ends, NOON + 23 * HOUR, NOON - 1) == NOON
    assert nearest(ends, NOON + HOUR, NOON) is None


def test_an_occurrence_delayed_by_jitter_is_not_moved() -> None:
    record = replace(stored(DAILY, due_at=OFF), ready_at=OFF + 9)
    assert recompute(record, Policies(), now=OFF, revision="new") is None
    assert recompute(record, Policies(), now=OFF - 1, revision="new") is not None


def test_a_manual_run_does_not_prevent_moving() -> None:
    now = NOON - HOUR
    asked = changed(request(stored(DAILY, due_at=OFF), ExtraRun("id", now), now=now, revision="a"))
    new = changed(recompute(asked, Policies(), now=now, revision="new"))
    assert (new.due_at, new.ready_at) == (NOON, now)
