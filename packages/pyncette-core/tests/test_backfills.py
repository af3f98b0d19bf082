"""Backfills: which moments they contain, and how they take turns with the schedule."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from pyncette import Policies, Retry, lease
from pyncette._lifecycle.backfill import add, drop, moments, schedule_text
from pyncette._lifecycle.begin import PutBack, begin
from pyncette._lifecycle.end import end
from pyncette._lifecycle.extra import end_run, in_turn, on_schedule, proceed, remainder, request, schedule_side
from pyncette._lifecycle.queueing import LATE
from pyncette._lifecycle.steering import pause
from pyncette._lifecycle.values import Attempt, AttemptEnd, Ended
from pyncette._tasks.extra import (
    BACKFILL_REMEMBERED,
    MAX_BACKFILLS,
    MAX_WAITING,
    REMEMBERED,
    Backfill,
    Extra,
    ExtraRun,
    Waits,
    extra_of,
)
from pyncette._tasks.spec import Bounds, Spec, encode
from pyncette._tasks.state import Attempts, State
from pyncette.errors import TooManyRunsException
from pyncette.record import GRAIN, Band, Change, Record
from pyncette.schedule import Cron, Interval, Once

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
NOW = 1_800_000_000 * SECOND
DUE = NOW + MINUTE
SPEC = Spec(Interval(MINUTE))
PAST = NOW - 9 * HOUR


def stored(ready_at: int = DUE, *, due_at: int = DUE, spec: Spec = SPEC, state: str = "") -> Record:
    return Record("task", "task:a", due_at, ready_at, None, None, "r", 5, 0, encode(spec), state)


def new(change: Change | None) -> Record:
    assert change is not None
    assert change.new is not None
    return change.new


def claimed(record: Record) -> Record:
    return lease.claim(record, now=NOW, locked_until=NOW + MINUTE, token="t", holder="host:1:t")


def fill(name: str = "fill", count: int = 3, *, carried: str | None = None) -> Backfill:
    return Backfill(name, PAST, PAST + (count - 1) * MINUTE, count, 0, schedule_text(SPEC), carried)


def extra(record: Record) -> Extra:
    return extra_of(State(record.state))


def test_the_moments_of_a_backfill() -> None:
    """An interval's moments are counted backwards from its next occurrence, or forwards from ``start_at``."""
    for seed in range(200):
        choice = random.Random(seed)
        period, due_at = choice.randrange(1, 9), 1_000
        begin_at = choice.choice([None, choice.randrange(900, 990)])
        end_at = choice.choice([None, None, choice.randrange(980, 1_000)])
        if begin_at is not None:
            due_at = begin_at + -(-(1_000 - begin_at) // period) * period
        spec = Spec(Interval(period), since=choice.choice([None, 995]), bounds=Bounds(begin_at, end_at))
        start, last = choice.randrange(850, 1_020), choice.randrange(850, 1_020)
        completed = choice.random() < 0.3
        ready_at = Band.COMPLETED.at(5) if completed else due_at
        grid = range(due_at % period, due_at + (1 if completed else 0), period)
        expected = [at for at in grid if start <= at <= last and (end_at is None or at <= end_at)]
        expected = [at for at in expected if begin_at is None or at >= begin_at]
        found = list(moments(stored(ready_at, due_at=due_at, spec=spec), spec, start, last))
        assert found == expected, seed


def test_the_moments_of_a_cron_expression() -> None:
    spec = Spec(Cron("0 12 * * *"), since=NOW)
    noon = 1_799_928_000 * SECOND
    record = stored(due_at=noon, spec=spec)
    day = 24 * HOUR
    assert list(moments(record, spec, noon - 2 * day, noon + day)) == [noon - 2 * day, noon - day]
    assert list(moments(record, spec, noon - 2 * day + 1, noon - day)) == [noon - day]
    assert list(moments(record, spec, noon - day, noon - day - 1)) == []
    assert list(moments(record, Spec(Once(noon - day)), noon - 2 * day, noon)) == []


def test_the_schedule_alone() -> None:
    spec = replace(SPEC, args='{"x":1}', since=3, bounds=Bounds(max_runs=2))
    assert schedule_text(spec) == encode(replace(SPEC, bounds=Bounds(max_runs=2)))


def test_it_begins_while_nothing_scheduled_is_due() -> None:
    record = stored(state=State("").text(3))
    after = new(change := add(record, fill(carried="c"), now=NOW, revision="new"))
    assert change is not None
    assert change.old is record
    assert after == replace(record, ready_at=NOW - LATE, revision="new", state=after.state)
    assert extra(after).run == ExtraRun("fill", PAST, trigger="backfill", carried="c")
    assert extra(after).waits is not None
    assert State(after.state).count("fence") == 3
    assert add(after, fill(), now=NOW, revision="again") is None


@pytest.mark.parametrize(
    "record",
    [
        stored(NOW, due_at=NOW),
        stored(Band.PAUSED.at(NOW)),
        stored(Band.DEAD.at(NOW)),
        stored(Band.UNREADABLE.at(NOW)),
        claimed(stored(NOW, due_at=NOW)),
    ],
)
def test_it_waits(record: Record) -> None:
    after = new(add(record, fill(), now=NOW, revision="new"))
    assert (extra(after).run, [each.id for each in extra(after).fills]) == (None, ["fill"])
    assert after.ready_at == record.ready_at


def test_it_is_executed_for_a_completed_instance() -> None:
    record = stored(Band.COMPLETED.at(NOW + HOUR), due_at=NOW - HOUR)
    assert extra(new(add(record, fill(), now=NOW, revision="new"))).run is not None


def test_ten_of_them_wait() -> None:
    record = stored(NOW, due_at=NOW)
    for number in range(MAX_BACKFILLS):
        record = new(add(record, fill(str(number)), now=NOW, revision="new"))
    with pytest.raises(TooManyRunsException, match=f"^{MAX_BACKFILLS} backfills of 'task:a' are already waiting"):
        add(record, fill("more"), now=NOW, revision="new")
    record = new(drop(record, "3", now=NOW, revision="new"))
    assert len(extra(record).fills) == MAX_BACKFILLS - 1
    assert add(record, fill("more"), now=NOW, revision="new") is not None
    assert add(record, fill("3"), now=NOW, revision="new") is None, "it was asked for before"


def test_a_cancelled_backfill() -> None:
    record = new(add(stored(NOW, due_at=NOW, state=State("").text(3)), fill(), now=NOW, revision="new"))
    assert drop(record, "other", now=NOW, revision="x") is None
    after = new(change := drop(record, "fill", now=NOW, revision="x"))
    assert change is not None
    assert (change.old, after.revision) == (record, "x")
    assert (extra(after).fills, extra(after).done) == ([], {"fill": NOW + BACKFILL_REMEMBERED})
    assert State(after.state).count("fence") == 3
    current = new(add(stored(), fill(), now=NOW, revision="new"))
    back = new(drop(current, "fill", now=NOW, revision="x"))
    assert (extra(back).run, back.ready_at, back.due_at) == (None, DUE, DUE)
    begun = claimed(current)
    kept = new(drop(begun, "fill", now=NOW, revision="x"))
    assert (extra(kept).run, kept.locked_until) == (extra(begun).run, begun.locked_until)
    after = ended(kept)
    assert (extra(after).run, extra(after).fills, after.ready_at) == (None, [], DUE)
    two = new(add(current, fill("next"), now=NOW, revision="new"))
    moved_on = new(drop(two, "fill", now=NOW, revision="x"))
    assert extra(moved_on).run == ExtraRun("next", PAST, trigger="backfill")
    after = ended(new(drop(claimed(two), "fill", now=NOW, revision="x")))
    assert [(each.id, each.done) for each in extra(after).fills] == [("next", 0)]


def ended(record: Record, how: AttemptEnd = AttemptEnd.SUCCEEDED, policies: Policies | None = None) -> Record:
    run = extra(record).run
    error = ValueError() if how is AttemptEnd.FAILED else None
    attempt = Attempt(how, record.due_at if run is None else run.at, NOW, NOW - SECOND, error, "host:1")
    given = Policies() if policies is None else policies
    return new(end(record, SPEC, given, attempt, now=NOW, retry_delay=SECOND, revision="e" * 8).change)


def test_one_moment_after_another_until_the_last() -> None:
    record = new(add(stored(), fill(), now=NOW, revision="new"))
    record = new(add(record, fill("next", 1), now=NOW, revision="new"))
    seen = []
    for _ in range(4):
        run = extra(record).run
        assert run is not None
        seen.append((run.id, run.at, [each.done for each in extra(record).fills]))
        assert ("fill" in extra(record).done) is (run.id == "next")
        record = ended(claimed(record))
    assert seen == [
        ("fill", PAST, [0, 0]),
        ("fill", PAST + MINUTE, [1, 0]),
        ("fill", PAST + 2 * MINUTE, [2, 0]),
        ("next", PAST, [0]),
    ]
    assert (extra(record).run, record.ready_at) == (None, DUE)
    assert extra(record).done == dict.fromkeys(("fill", "next"), NOW + BACKFILL_REMEMBERED)


def test_a_backfill_ends_with_its_schedule() -> None:
    ends = Spec(Interval(MINUTE), bounds=Bounds(end_at=PAST))
    short = replace(fill(), spec=schedule_text(ends))
    record = new(add(stored(), short, now=NOW, revision="new"))
    after = ended(claimed(record))
    assert (extra(after).run, extra(after).fills, after.ready_at) == (None, [], DUE)


def test_other_runs_get_their_turn_between_two_moments() -> None:
    record = new(add(stored(), fill(), now=NOW, revision="new"))
    asked = new(request(claimed(record), ExtraRun("manual", NOW), now=NOW, revision="a"))
    after = ended(asked)
    assert (extra(after).run, after.ready_at) == (ExtraRun("manual", NOW), NOW)
    back = ended(claimed(after))
    assert extra(back).run == ExtraRun("fill", PAST + MINUTE, trigger="backfill")
    unbegun = new(request(record, ExtraRun("manual", NOW), now=NOW, revision="a"))
    assert extra(unbegun).run == ExtraRun("manual", NOW)
    failed = ended(claimed(record), AttemptEnd.FAILED, Policies(retry=Retry(9)))
    retries = new(request(failed, ExtraRun("manual", NOW), now=NOW, revision="a"))
    assert (extra(retries).run, retries.attempt) == (extra(failed).run, 1), "it has begun"
    due = proceed(record, DUE)
    assert (extra(due).run, due.ready_at, due.due_at) == (None, DUE, DUE)
    assert extra(proceed(record, DUE - 1)).run is not None


def test_a_moment_that_is_paused_starts_over_later() -> None:
    record = claimed(new(add(stored(), fill(), now=NOW, revision="new")))
    paused = new(pause(schedule_side(record), "", now=NOW, revision="p").change)
    held = new(on_schedule(record, lambda side: pause(side, "", now=NOW, revision="p").change, now=NOW))
    assert (extra(held).run, held.locked_until) == (extra(record).run, record.locked_until)
    assert Band.of(paused.ready_at) is Band.PAUSED
    after = ended(held, AttemptEnd.FAILED, Policies(retry=Retry(9)))
    assert (extra(after).run, Band.of(after.ready_at)) == (None, Band.PAUSED)
    assert [(each.next_at, each.done) for each in extra(after).fills] == [(PAST, 0)]
    found = begin(Policies(), SPEC, claimed(after), after, claimed_at=NOW, now=NOW)
    assert found == PutBack("paused")


def test_a_begun_occurrence_is_restored() -> None:
    """The scheduled occurrence's attempts are kept while another run is executed."""
    state = State("")
    state.record_attempts(Attempts(DUE, ended=2, failed=1, first=NOW))
    record = replace(stored(NOW + 30 * SECOND, state=state.text(5)), attempt=2)
    current = new(request(record, ExtraRun("a", NOW), now=NOW, revision="a"))
    assert (current.attempt, State(current.state).fields.get("now")) == (0, None)
    failed = ended(claimed(current), AttemptEnd.FAILED, Policies(retry=Retry(9)))
    assert State(failed.state).attempts(NOW, 1).ended == 1
    assert State(schedule_side(failed).state).attempts(DUE, 2) == Attempts(DUE, ended=2, failed=1, first=NOW)
    changed = new(on_schedule(failed, lambda side: lease.update(side, spec="s", revision="u"), now=NOW))
    assert (changed.spec, changed.revision) == ("s", "u")
    assert replace(changed, spec=failed.spec, revision=failed.revision, state=failed.state) == failed
    assert json.loads(changed.state) == json.loads(failed.state)
    over_now = ended(claimed(failed))
    assert (over_now.attempt, over_now.ready_at) == (2, NOW + 30 * SECOND)
    assert State(over_now.state).attempts(DUE, 2) == Attempts(DUE, ended=2, failed=1, first=NOW)


def test_a_change_of_the_schedule_refers_to_the_stored_record() -> None:
    current = new(request(stored(), ExtraRun("a", NOW), now=NOW, revision="a"))
    waiting = new(request(claimed(stored()), ExtraRun("a", NOW), now=NOW, revision="a"))
    for record in (current, waiting, stored()):
        assert on_schedule(record, lambda side: None, now=NOW) is None
        removed = on_schedule(record, lambda side: Change(side, None), now=NOW)
        assert removed == Change(record, None)
        changed = on_schedule(record, lambda side: lease.update(side, spec="s", revision="u"), now=NOW)
        assert changed is not None
        assert changed.old is record

    def freed(side: Record) -> Change:
        return lease.move(side, due_at=DUE, spec=side.spec, state=side.state, revision="m")

    freed_now = new(on_schedule(waiting, freed, now=NOW))
    assert (extra(freed_now).run, freed_now.ready_at) == (ExtraRun("a", NOW), NOW)


def test_ids_of_ended_backfills_expire() -> None:
    record = ended(claimed(new(request(stored(), ExtraRun("a", NOW), now=NOW, revision="a"))))
    assert extra(record).done == {"a": NOW}
    assert extra(proceed(record, NOW + REMEMBERED)).done == {"a": NOW}
    assert extra(proceed(record, NOW + REMEMBERED + 1)).done == {}


@pytest.mark.parametrize("until, gone", [(NOW - GRAIN, True), (NOW, True), (NOW + GRAIN, False)])
def test_a_record_kept_only_for_a_run_is_removed_after_it(until: int, gone: bool) -> None:
    completed = stored(Band.COMPLETED.at(until), due_at=NOW - HOUR)
    current = claimed(new(request(completed, ExtraRun("a", NOW), now=NOW, revision="a")))
    after = end_run(current, State(current.state), now=NOW, revision="o")
    assert (after is None) is gone
    more = new(request(current, ExtraRun("b", NOW), now=NOW, revision="b"))
    later = end_run(more, State(more.state), now=NOW, revision="o")
    assert later is not None
    assert (extra(later).run, later.revision, State(later.state).count("fence")) == (ExtraRun("b", NOW), "o", NOW)


def test_a_requested_run() -> None:
    record = stored(state=State("").text(3))
    after = new(change := request(record, ExtraRun("a", NOW - HOUR), now=NOW, revision="asked"))
    assert change is not None
    assert change.old is record
    assert (after.revision, after.ready_at) == ("asked", NOW), "it is on time, however long ago it was asked for"
    leased = claimed(stored(NOW, due_at=NOW))
    for number in range(MAX_WAITING):
        leased = new(request(leased, ExtraRun(str(number), NOW), now=NOW, revision="a"))
    with pytest.raises(TooManyRunsException) as raised:
        request(leased, ExtraRun("more", NOW), now=NOW, revision="a")
    assert str(raised.value) == f"{MAX_WAITING} manual runs of 'task:a' are already waiting: trigger it later."


@pytest.mark.parametrize("why, begins", [(None, True), ("x", False)])
def test_a_backfill_begins_before_a_retry_at_the_end_of_the_lease_unless_paused(why: str | None, begins: bool) -> None:
    state = State("")
    state.set("why", why)
    leased = claimed(stored(NOW, due_at=NOW))
    settled = replace(leased, state=state.text(leased.fence))
    after = new(add(settled, fill(), now=NOW, revision="new"))
    assert (extra(after).run is not None) is begins
    assert (after.locked_until, after.locked_by) == (
        (None, None) if begins else (settled.locked_until, settled.locked_by)
    )


def test_what_remains_after_the_schedule_has_ended() -> None:
    """The schedule's own state is dropped."""
    state = State("")
    Extra(done={"a": NOW}).store(state)
    state.record_attempts(Attempts(DUE, ended=1))
    assert remainder(stored(state=state.text(5)), NOW) is None
    assert remainder(stored(), NOW) is None
    Extra(requested=[ExtraRun("a", NOW)]).store(state)
    left = remainder(claimed(stored(state=state.text(5))), NOW)
    assert left is not None
    assert (left.locked_until, left.locked_by, left.attempt) == (None, None, 0)
    assert extra(left).waits == Waits(0, Band.COMPLETED.since, None)


def test_without_a_record_no_run_gets_a_turn() -> None:
    nothing = Ended(None, "succeeded")
    assert in_turn(nothing, NOW, "r") == Ended(None, "succeeded")
