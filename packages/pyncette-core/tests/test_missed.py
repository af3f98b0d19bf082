"""What happens to missed occurrences, and which one supersedes a run: compared with counting one by one."""

from __future__ import annotations

import datetime
import random
from dataclasses import replace

import pytest

from pyncette import CatchUp, Overlap, Policies
from pyncette._lifecycle.choice import Chosen, choose, moved_to, superseded, supersedes_at
from pyncette._lifecycle.continuation import (
    Continuation,
    add_skips,
    continuation,
    continue_or_complete,
    store_window,
    stored_window,
)
from pyncette._lifecycle.moments import Window, came_due
from pyncette._lifecycle.queueing import LATE
from pyncette._lifecycle.values import Skipped
from pyncette._tasks.spec import Bounds, Spec, encode
from pyncette._tasks.state import Attempts, Run, State, latest_runs, totals
from pyncette.record import BAND_WIDTH, HELD, Band, Record
from pyncette.schedule import Cron, Interval

SECOND = 1_000_000
STEP = 10 * SECOND
NOW = 1_800_000_000 * SECOND
MOST = 60
"""The maximum number of occurrences. The last one is further ahead than any case looks."""


class Case:
    """An instance whose occurrences are counted one by one."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.due = NOW - self.random.randrange(-2, 30) * STEP - self.random.choice([0, 0, 3 * SECOND])
        last = self.due + self.random.choice([3, 12, MOST]) * STEP
        self.spec = Spec(Interval(STEP), bounds=Bounds(end_at=last))
        self.jitter = datetime.timedelta(seconds=self.random.choice([0, 7]))
        self.window: Window | None = None
        self.every = list(range(self.due, last + 1, STEP))
        state = State("")
        if self.random.random() < 0.5:
            since = self.random.randrange(0, 20)
            self.window = Window(self.due + since * STEP, self.due + (since + self.random.randrange(0, 9)) * STEP)
            self.window.busy = self.random.random() < 0.5
            store_window(state, self.window)
            self.every = [at for at in self.every if not self.window.since < at <= self.window.until]
        text = state.text(5)
        self.record = Record("task", "task:a", self.due, self.due, None, None, "r", 5, 0, encode(self.spec), text)

    def ready(self, at: int) -> int:
        return came_due(self.spec, Policies(jitter=self.jitter), self.record.key, at)

    def counted(self, skips: list[Skipped]) -> list[tuple[str, int]]:
        """The occurrences one by one, without those that were skipped earlier."""
        counts = [(skip.reason, at) for skip in skips for at in range(skip.first, skip.last + 1, STEP)]
        assert len(counts) == sum(skip.count for skip in skips)
        assert all(skip.exact for skip in skips)
        return counts


@pytest.mark.parametrize("catch_up", [CatchUp.ALL, CatchUp.LATEST])
@pytest.mark.parametrize("lateness", [None, 0, 55])
def test_late_occurrences_are_skipped_then_all_but_the_latest(catch_up: CatchUp, lateness: int | None) -> None:
    for seed in range(100):
        case = Case(seed)
        late = None if lateness is None else datetime.timedelta(seconds=lateness)
        policies = Policies(catch_up=catch_up, max_lateness=late, jitter=case.jitter)
        for begun in (False, True):
            left, skips = case.every, list[tuple[str, int]]()
            if lateness is not None and not begun:
                left = [at for at in left if case.ready(at) >= NOW - lateness * SECOND]
                skips += [("late", at) for at in case.every if not left or at < left[0]]
            target = left[0] if left else None
            if catch_up is CatchUp.LATEST and left:
                target = max([at for at in left if case.ready(at) <= NOW], default=left[0])
                skips += [("coalesced", at) for at in left if at < target]
            ready = target is not None and (target == case.due or case.ready(target) <= NOW)
            chosen = choose(case.record, case.spec, policies, NOW, begun=begun)
            assert (chosen.due_at, chosen.ready, case.counted(chosen.skips)) == (target, ready, skips), seed


def test_a_run_is_superseded_by_the_first_that_comes_due_after_it_was_opened() -> None:
    """Unless that one was skipped ahead of its turn, or came due while its template was paused."""
    for seed in range(300):
        case = Case(seed)
        policies = Policies(overlap=Overlap.CANCEL, jitter=case.jitter)
        opened = case.due + case.random.randrange(-1, 12) * 5 * SECOND
        pauses = []
        for _ in range(case.random.choice([0, 1, 1, 2])):
            since = case.due + case.random.randrange(25) * 5 * SECOND
            pauses.append((since, since + case.random.randrange(1, 12) * 5 * SECOND + case.random.choice([0, 1])))
        if case.random.random() < 0.1:
            pauses.append((case.due + 12 * STEP, HELD))
        case.random.shuffle(pauses)
        others = [at for at in case.every[1:] if case.ready(at) > opened]
        others = [at for at in others if not any(since <= at < until for since, until in pauses)]
        expected = case.ready(others[0]) if others else None
        spec, key = case.spec, case.record.key
        assert supersedes_at(key, spec, policies, case.due, opened, case.window, pauses) == expected, seed
        for moment in (opened, *(() if expected is None else (expected - 1, expected, expected + 1))):
            found = superseded(case.record, spec, policies, Attempts(case.due), opened, moment, pauses)
            assert found is (expected is not None and expected <= moment), seed


def test_only_overlap_cancel_supersedes() -> None:
    assert supersedes_at("task:a", Spec(Interval(STEP)), Policies(), NOW, NOW) is None


NOON = 1_799_928_000 * SECOND
HOUR = 3600 * SECOND
BERLIN = Spec(Cron("0 13 * * *", "Europe/Berlin"))  # noon UTC in winter
OFF = NOON - HOUR


@pytest.mark.parametrize(
    "spec, due_at, now, moved, target",
    [
        pytest.param(BERLIN, OFF, OFF, 0, NOON, id="off its schedule"),
        pytest.param(BERLIN, NOON, NOON, 0, None, id="on it"),
        pytest.param(BERLIN, OFF, NOON - 1, 0, NOON, id="just before its moment"),
        pytest.param(BERLIN, OFF, NOON, 0, None, id="its moment has come"),
        pytest.param(BERLIN, OFF, OFF, OFF, None, id="moved before"),
        pytest.param(BERLIN, OFF, OFF, OFF - 1, NOON, id="another one was moved before"),
        pytest.param(replace(BERLIN, since=OFF + 1), OFF, OFF, 0, None, id="the schedule was stored after it"),
        pytest.param(replace(BERLIN, since=OFF), OFF, OFF, 0, NOON, id="the schedule was stored with it"),
        pytest.param(replace(BERLIN, bounds=Bounds(end_at=NOON - 1)), OFF, OFF, 0, None, id="there is none any more"),
        pytest.param(Spec(Cron("0 12 * * *")), OFF, OFF, 0, None, id="without a timezone, nothing changes"),
        pytest.param(Spec(Interval(STEP)), OFF, OFF, 0, None, id="an interval"),
    ],
)
def test_where_an_occurrence_off_its_schedule_is_moved(
    spec: Spec, due_at: int, now: int, moved: int, target: int | None
) -> None:
    state = State("")
    state.set("moved", moved)
    record = Record("task", "task:a", due_at, due_at, None, None, "r", 5, 0, encode(spec), state.text(5))
    assert moved_to(record, spec, now) == target


def test_no_remaining_occurrence_is_not_ready() -> None:
    """The schedule has ended while no worker was running."""
    spec = Spec(Interval(STEP), bounds=Bounds(end_at=NOW - 9 * STEP))
    record = Record("task", "task:a", NOW - 9 * STEP, NOW - 9 * STEP, None, None, "r", 5, 0, encode(spec), "")
    late = Skipped(NOW - 9 * STEP, NOW - 9 * STEP, 1, True, "late")
    policies = Policies(max_lateness=datetime.timedelta(seconds=1))
    assert choose(record, spec, policies, NOW, begun=False) == Chosen(None, ready=False, skips=[late])


EVERY_POLICY = [(catch_up, overlap, False) for catch_up in CatchUp for overlap in Overlap]
EVERY_POLICY += [(catch_up, Overlap.CANCEL, True) for catch_up in CatchUp]


def skipped(
    case: Case, policies: Policies, opened: int, now: int, superseded: bool
) -> tuple[list[tuple[str, int]], Window | None]:
    """What is skipped before the next occurrence, and the window afterwards, computed one by one."""
    due = [at for at in case.every[1:] if case.ready(at) <= now]
    window, overlaps = case.window, policies.overlap is Overlap.SKIP
    if not due or not (overlaps or (policies.catch_up is CatchUp.EARLIEST and not superseded)):
        return [], window
    if not overlaps:
        return [("coalesced", at) for at in due if case.ready(at) < now], window
    if window is not None and window.busy:
        opened = window.until
    missed = [at for at in due if case.ready(at) <= opened]
    overlapping = [("overlap", at) for at in due if case.ready(at) > opened]
    if not missed:
        return overlapping, window
    if policies.catch_up is not CatchUp.ALL:
        return [*(("coalesced", at) for at in missed), *overlapping], window
    if window is None or due[0] > window.until:
        return overlapping, Window(missed[-1], due[-1])
    if missed[-1] <= window.since <= due[-1]:
        return overlapping, Window(missed[-1], max(window.until, due[-1]))
    return [], window  # there is room for one window only


@pytest.mark.parametrize("catch_up, overlap, superseded", EVERY_POLICY)
def test_where_an_instance_continues(catch_up: CatchUp, overlap: Overlap, superseded: bool) -> None:
    for seed in range(200):
        case = Case(seed)
        policies = Policies(catch_up=catch_up, overlap=overlap, jitter=case.jitter)
        opened = case.due + case.random.randrange(0, 60) * 5 * SECOND
        near = case.ready(case.random.choice(case.every[:9])) + case.random.choice([-1, 0, 1])
        now = case.random.choice([NOW, near, opened + case.random.randrange(-2, 9) * 5 * SECOND])
        skips, window = skipped(case, policies, opened, now, superseded)
        kept = window is not case.window  # it overlaps while others are still to be executed
        passed = {at for reason, at in skips if not (kept and reason == "overlap")}
        target = next((at for at in case.every[1:] if at not in passed), None)
        state = State(case.record.state)
        found = continuation(
            case.record, case.spec, policies, case.due, now, opened=opened, state=state, superseded=superseded
        )
        assert (found.due_at, case.counted([*found.skips])) == (target, skips), seed
        if target is not None:
            assert found.ready_at == max(case.ready(target), now - LATE), seed
            assert found.window == (window if window and (kept or target <= window.since) else None), seed


def test_a_record_without_a_window_needs_no_state() -> None:
    for seed in range(100):
        case = Case(seed)
        for catch_up, overlap, _ in EVERY_POLICY[:9]:
            policies = Policies(catch_up=catch_up, overlap=overlap, jitter=case.jitter)
            case.record = replace(case.record, state="")
            with_state, without = (
                continuation(case.record, case.spec, policies, case.due, NOW, opened=case.due, state=state)
                for state in (State(""), None)
            )
            assert with_state == without, seed


@pytest.mark.parametrize("window", [None, Window(3, 5), Window(3, 5, busy=False), Window(0, 5)])
def test_a_window_is_stored_while_it_is_ahead(window: Window | None) -> None:
    state = State("")
    state.set("window", [7, 9])
    store_window(state, window)
    read = State(state.text(5))
    assert stored_window(read, 5) == window
    assert stored_window(read, 6) is None


@pytest.mark.parametrize("damaged", ["", 1, {}, [1], [1, 2, 0, 0], ["1", 2], [1, None], [1, 2, "0"]])
def test_a_damaged_window_is_ignored(damaged: object) -> None:
    state = State("")
    state.set("window", damaged)
    assert stored_window(state, 0) is None


@pytest.mark.parametrize("static, retain", [(False, None), (False, 60), (True, None), (True, 60)])
def test_without_another_occurrence_it_is_removed_or_kept(static: bool, retain: int | None) -> None:
    policies = Policies(retain=None if retain is None else datetime.timedelta(seconds=retain))
    record = Record(
        ":static:a" if static else "a", ":static:a" if static else "a:b", NOW, NOW, NOW, "w", "r", 5, 3, "s", ""
    )
    assert record.static is static
    change = continue_or_complete(record, policies, Continuation(None), NOW, "new", "state")
    assert change.old is record
    if not static and retain is None:
        assert change.new is None
        return
    moment = Band.COMPLETED.at(BAND_WIDTH if static else NOW + 60 * SECOND)
    assert change.new == replace(
        record, ready_at=moment, attempt=0, state="state", revision="new", locked_until=None, locked_by=None
    )


def test_skips_are_added_to_the_latest_runs() -> None:
    state = State("")
    one, several = Skipped(NOW, NOW, 1, True, "late"), Skipped(NOW + STEP, NOW + 9 * STEP, 9, False, "overlap")
    add_skips(state, [one, several], NOW + 99 * STEP, 5)
    text = state.text(5)
    skip = Run(
        scheduled_at=NOW,
        started_at=None,
        ended_at=NOW + 99 * STEP,
        attempts=0,
        outcome="skipped",
        worker="",
        reason="late",
    )
    further = replace(skip, scheduled_at=NOW + STEP, reason="overlap", last=NOW + 9 * STEP, count=9, exact=False)
    assert latest_runs(text) == [skip, further]
    assert totals(text) == {"succeeded": 0, "late": 1, "overlap": 9}
    add_skips(state, [one], NOW, 1)
    assert len(latest_runs(state.text(5))) == 1


def test_the_rest_of_an_expired_schedule_is_skipped() -> None:
    spec = Spec(Cron("0 12 * * * 0 2027"))
    due = spec.first(NOW)
    assert due is not None
    record = Record("task", "task:a", due, due, None, None, "r", 5, 0, encode(spec), "")
    policies = Policies(max_lateness=datetime.timedelta(days=1))
    chosen = choose(record, spec, policies, NOW + 400 * 24 * HOUR, begun=False)
    last = NOON + 351 * 24 * HOUR  # on New Year's Eve
    assert chosen == Chosen(
        None, ready=False, skips=[Skipped(due, last, (last - due) // (24 * HOUR) + 1, True, "late")]
    )


@pytest.mark.parametrize("catch_up, reasons", [(CatchUp.ALL, []), (CatchUp.LATEST, [("coalesced", 2)])])
def test_occurrences_may_be_a_microsecond_apart(catch_up: CatchUp, reasons: list[tuple[str, int]]) -> None:
    spec, policies = Spec(Interval(1)), Policies(catch_up=catch_up, overlap=Overlap.SKIP)
    record = Record("task", "task:a", NOW - 5, NOW - 5, None, None, "r", 5, 0, encode(spec), "")
    found = continuation(record, spec, policies, NOW - 5, NOW, opened=NOW - 3)
    assert [(skip.reason, skip.count) for skip in found.skips] == [*reasons, ("overlap", 3)]
