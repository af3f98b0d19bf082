"""Manual runs and backfills take turns with the scheduled occurrence: decision tables."""

from __future__ import annotations

import datetime
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from pyncette import ExecutionMode, FailureMode, GiveUp, OnExhausted, Overlap, Policies, Retry, Skip, lease
from pyncette._lifecycle.at_most_once import advance, conclude
from pyncette._lifecycle.begin import Begin, Execute, Settle, begin
from pyncette._lifecycle.cutting import superseded_at
from pyncette._lifecycle.end import end
from pyncette._lifecycle.extra import on_schedule, request, schedule_side
from pyncette._lifecycle.values import Attempt, AttemptEnd, Ended
from pyncette._tasks.extra import REMEMBERED, Extra, ExtraRun, extra_of, has_extra
from pyncette._tasks.spec import Spec, encode
from pyncette._tasks.state import Attempts, State, latest_runs
from pyncette.errors import TooManyRunsException
from pyncette.record import Band, Record
from pyncette.schedule import Interval, Once

NOW = 1_800_000_000_000_000
SECOND = 1_000_000
MINUTE = 60 * SECOND
REVISION = "80000000ffffffff"  # a chance of a half: no jitter

RECURRING, ONE_OFF = Spec(Interval(MINUTE)), Spec(Once(NOW + MINUTE))
DEFAULT = Policies()
ONCE = ExecutionMode.AT_MOST_ONCE
RETRY = Retry(3, datetime.timedelta(seconds=5), jitter=0)


def waiting(spec: Spec = RECURRING, *, ready_at: int = NOW + MINUTE, attempts: Attempts | None = None) -> Record:
    state = State("")
    state.record_attempts(attempts)
    count = 0 if attempts is None else attempts.ended
    text = "" if attempts is None else state.text(5)
    return Record("task", "task:a", NOW + MINUTE, ready_at, None, None, "r", 5, count, encode(spec), text)


def asked(record: Record, *ids: str, now: int = NOW) -> Record:
    for run_id in ids:
        change = request(record, ExtraRun(run_id, now, {"of": run_id}), now=now, revision=REVISION)
        assert change is not None
        assert change.new is not None
        record = change.new
    return record


def claimed(record: Record, now: int = NOW) -> Record:
    return lease.claim(record, now=now, locked_until=now + MINUTE, token="t", holder="host:1:t")


def ended(
    record: Record,
    how: AttemptEnd = AttemptEnd.SUCCEEDED,
    policies: Policies = DEFAULT,
    error: BaseException | None = None,
    spec: Spec = RECURRING,
) -> Ended:
    run = extra_of(State(record.state)).run
    due_at = record.due_at if run is None else run.at
    attempt = Attempt(how, due_at, NOW, NOW - SECOND, error, "host:1")
    return end(record, spec, policies, attempt, now=NOW, retry_delay=SECOND, revision=REVISION)


def current(record: Record | None) -> str | None:
    assert record is not None
    run = extra_of(State(record.state)).run
    return None if run is None else run.id


def stored(result: Ended) -> Record:
    assert result.change is not None
    assert result.change.new is not None
    return result.change.new


def side(record: Record) -> tuple[int, int, Any]:
    """The schedule's side of the record."""
    found = schedule_side(record)
    return found.ready_at, found.attempt, State(found.state).fields.get("now")


DEAD = Band.DEAD.at(NOW)


@pytest.mark.parametrize(
    "before",
    [
        waiting(),
        waiting(ready_at=NOW - MINUTE),
        waiting(attempts=Attempts(NOW + MINUTE, ended=2, failed=2, first=NOW)),
        waiting(ready_at=DEAD),
        waiting(ready_at=Band.PAUSED.at(NOW)),
        waiting(ready_at=Band.COMPLETED.at(NOW + MINUTE)),
    ],
)
def test_the_scheduled_occurrence_is_restored(before: Record) -> None:
    """However the run ends."""
    record = asked(before, "a")
    assert (record.ready_at, record.attempt, record.due_at, current(record)) == (NOW, 0, before.due_at, "a")
    assert side(record) == side(before)
    failures = [RuntimeError(), GiveUp(), Skip()]
    ends = [(AttemptEnd.SUCCEEDED, None), *((AttemptEnd.FAILED, error) for error in failures)]
    dying, pausing = Policies(retry=Retry(1), on_exhausted=OnExhausted.HOLD), Policies(retry=Retry(1), pause_after=1)
    for policies, (how, error) in product([dying, pausing], ends):
        after = stored(ended(claimed(record), how, policies, error))
        assert current(after) is None
        assert side(after) == side(before)
        assert (after.due_at, after.ready_at, after.attempt) == (before.due_at, before.ready_at, before.attempt)


@pytest.mark.parametrize(
    "how, policies, ready_at, attempt",
    [
        (AttemptEnd.FAILED, Policies(retry=RETRY), NOW + 5 * SECOND, 1),
        (AttemptEnd.FAILED, Policies(failure_mode=FailureMode.UNLOCK), NOW + SECOND, 1),
        (AttemptEnd.FAILED, Policies(), NOW + MINUTE, 1),
        (AttemptEnd.CANCELLED, Policies(), NOW, 1),
        (AttemptEnd.RELEASED, Policies(), NOW, 0),
    ],
)
def test_a_further_attempt(how: AttemptEnd, policies: Policies, ready_at: int, attempt: int) -> None:
    """The run stays current, and the ones after it wait."""
    before = waiting()
    after = stored(ended(claimed(asked(before, "a", "b")), how, policies, RuntimeError()))
    assert (current(after), after.ready_at, after.attempt) == ("a", ready_at, attempt)
    assert side(after) == side(before)


def test_runs_take_turns() -> None:
    """Runs that are requested during an execution follow it, oldest first; then the schedule continues."""
    record = asked(claimed(waiting()), "a", "b")
    assert current(record) is None
    record = stored(ended(record))
    order = []
    while (run := current(record)) is not None:
        order.append(run)
        record = stored(ended(claimed(record)))
    assert order == ["a", "b"]
    assert (record.due_at, record.ready_at) == (NOW + 2 * MINUTE, NOW + 2 * MINUTE)
    assert [(run.trigger, run.run_id) for run in latest_runs(record.state)] == [
        ("schedule", None),
        ("manual", "a"),
        ("manual", "b"),
    ]


@pytest.mark.parametrize("policies", [Policies(), Policies(failure_mode=FailureMode.UNLOCK), Policies(retry=RETRY)])
def test_a_retry_of_the_schedule_waits_for_the_run(policies: Policies) -> None:
    """Even if the lease is kept until the retry."""
    failed = stored(ended(claimed(waiting()), AttemptEnd.FAILED, policies, RuntimeError()))
    during = stored(ended(asked(claimed(waiting()), "a"), AttemptEnd.FAILED, policies, RuntimeError()))
    for record in (asked(failed, "a"), during):
        assert (current(record), record.ready_at, record.locked_until) == ("a", NOW, None)
        assert side(record) == side(failed)


@pytest.mark.parametrize("spec", [ONE_OFF, Spec(Interval(MINUTE), since=NOW)])
def test_the_record_is_kept_until_the_last_run(spec: Spec) -> None:
    """A one-off that was triggered while it ran is removed after the last run."""
    record = stored(ended(asked(claimed(waiting(spec)), "a", "b"), spec=spec))
    assert current(record) == "a"
    record = stored(ended(claimed(record), spec=spec))
    assert current(record) == "b"
    last = ended(claimed(record), spec=spec)
    assert last.change is not None
    assert (last.change.new is None) is (spec is ONE_OFF)


def test_a_call_is_stored_once() -> None:
    """Even if its reply is lost and it is decided again after the run has ended."""
    record = asked(waiting(), "a")
    again = ExtraRun("a", NOW)
    assert request(record, again, now=NOW, revision=REVISION) is None
    assert request(claimed(record), again, now=NOW, revision=REVISION) is None
    over = stored(ended(claimed(record)))
    assert request(over, again, now=NOW, revision=REVISION) is None
    much_later = asked(over, "b", now=NOW + REMEMBERED + 1)
    assert extra_of(State(much_later.state)).done == {}


def test_old_ids_are_dropped() -> None:
    """Once the ids of ended runs are dropped, settling takes the fast path again."""
    record = stored(ended(claimed(asked(waiting(), "a"))))
    attempt = Attempt(AttemptEnd.SUCCEEDED, record.due_at, NOW, NOW, None, "host:1")
    late = NOW + REMEMBERED + 1
    settled = end(claimed(record), RECURRING, Policies(), attempt, now=late, retry_delay=0, revision=REVISION)
    assert not has_extra(stored(settled).state)


def test_ten_wait() -> None:
    record = asked(waiting(), *map(str, range(10)))
    with pytest.raises(TooManyRunsException):
        asked(record, "more")
    assert asked(claimed(record), "more")


@pytest.mark.parametrize("at_most_once", [False, True])
def test_it_begins(at_most_once: bool) -> None:
    """Policies about occurrences don't apply."""
    mode = ONCE if at_most_once else ExecutionMode.AT_LEAST_ONCE
    policies = Policies(execution_mode=mode, max_lateness=datetime.timedelta(0), fast_forward=True)
    before = asked(waiting(), "a", now=NOW - MINUTE)
    assert _begin(before, policies) == Execute(advance=at_most_once)


def test_it_is_not_superseded() -> None:
    policies = Policies(overlap=Overlap.CANCEL)
    record = claimed(asked(waiting(), "a"))
    assert superseded_at(record, RECURRING, policies, NOW, NOW) is None
    assert superseded_at(claimed(waiting()), RECURRING, policies, NOW + MINUTE, NOW) is not None


@pytest.mark.parametrize("retry", [None, RETRY])
def test_its_worker_dies(retry: Retry | None) -> None:
    """It is executed again; the lost attempt counts if their number is limited."""
    policies = Policies(retry=retry)
    dead = claimed(asked(waiting(), "a"), NOW - 2 * MINUTE)
    decision = _begin(dead, policies)
    if retry is None:
        assert decision == Execute(advance=False, lost_with="host:1")
        return
    assert isinstance(decision, Settle)
    attempt = decision.attempt
    assert (attempt.end, attempt.due_at) == (AttemptEnd.LOST, NOW)
    again = end(claimed(dead), RECURRING, policies, attempt, now=NOW, retry_delay=0, revision=REVISION)
    assert (current(stored(again)), stored(again).attempt, again.outcome) == ("a", 1, None)


@pytest.mark.parametrize(
    "policies", [DEFAULT, Policies(retry=RETRY), Policies(max_lateness=datetime.timedelta(seconds=1))]
)
def test_a_worker_of_the_schedule_dies(policies: Policies) -> None:
    """The manual run comes first. The lost attempt and its beginning stay recorded, so that the occurrence doesn't
    count as late."""
    dead = asked(claimed(waiting(), NOW - 2 * MINUTE), "a")
    assert current(dead) is None
    decision = _begin(dead, policies)
    assert isinstance(decision, Settle)
    settled = end(claimed(dead), RECURRING, policies, decision.attempt, now=NOW, retry_delay=0, revision=REVISION)
    record = stored(settled)
    assert (current(record), record.attempt, record.ready_at) == ("a", 0, NOW)
    assert side(record)[1] == 1
    if policies.follows_attempts:
        assert side(record)[2] == {
            "due": dead.due_at,
            "ended": 1,
            "lost": 1,
            "first": dead.fence,
            "lost_with": ["host:1"],
        }


def test_a_worker_of_the_schedule_dies_between_two_attempts() -> None:
    """No attempt was lost. The schedule makes room for the manual run, which may come from another version."""
    between = waiting(attempts=Attempts(NOW + MINUTE, ended=1, failed=1, first=NOW))
    state = State(between.state)
    Extra(requested=[ExtraRun("a", NOW)]).store(state)
    decision = _begin(replace(between, state=state.text(5)), Policies(retry=RETRY))
    assert isinstance(decision, Settle)
    assert decision.attempt.end is AttemptEnd.RELEASED


def _begin(before: Record, policies: Policies) -> Begin:
    return begin(policies, RECURRING, claimed(before), before, claimed_at=NOW, now=NOW)


def test_at_most_once() -> None:
    """The run is over before it is executed; its failure, recorded afterwards, pauses nothing."""
    policies = Policies(execution_mode=ONCE, pause_after=1)
    before = waiting()
    record = claimed(asked(before, "a", "b"))
    advanced = stored(
        advance(record, RECURRING, policies, NOW, now=NOW, worker="host:1", revision=REVISION),
    )
    assert current(advanced) == "b"
    attempt = Attempt(AttemptEnd.FAILED, NOW, NOW, NOW, RuntimeError(), "host:1")
    concluded = conclude(advanced, record.fence, policies, attempt, NOW, REVISION, trigger="manual")
    assert current(stored(concluded)) == "b"
    assert side(stored(concluded)) == side(before)
    paused = conclude(advanced, record.fence, policies, attempt, NOW, REVISION)
    assert current(stored(paused)) == "b"
    assert Band.of(side(stored(paused))[0]) is Band.PAUSED


@pytest.mark.parametrize("is_claimed", [False, True])
def test_changes_of_the_schedule(is_claimed: bool) -> None:
    """They apply to the schedule's side and don't touch the run and its lease."""
    record = asked(waiting(attempts=Attempts(NOW + MINUTE, ended=1)), "a", "b")
    record = claimed(record) if is_claimed else record
    change = on_schedule(
        record, lambda found: lease.hold(found, Band.DEAD, moment=NOW, revision="new", attempt=3), now=NOW
    )
    assert change is not None
    assert change.old == record
    held = change.new
    assert held is not None
    assert side(held) == (DEAD, 3, {"due": NOW + MINUTE, "ended": 1})
    assert replace(held, state=record.state, revision=record.revision) == record
    assert [run.id for run in extra_of(State(held.state)).open] == ["a", "b"]


@pytest.mark.parametrize("damaged", [["id", "now", {}, "manual"], ["id", NOW, [], "manual"], [], "run"])
def test_damaged_runs_are_ignored(damaged: Any) -> None:
    state = State("")
    state.set("extra", {"asked": [damaged]})
    assert extra_of(state) == Extra()
