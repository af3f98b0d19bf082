"""What happens to an occurrence: tables of every policy and every end of an attempt."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

import pytest

from pyncette import ExecutionMode, FailureMode, GiveUp, OnExhausted, Policies, Retry, RetryLater, Skip, lease
from pyncette._lifecycle.at_most_once import advance, conclude
from pyncette._lifecycle.begin import Execute, PutBack, Settle, begin, holds_lease
from pyncette._lifecycle.end import end
from pyncette._lifecycle.queueing import LATE
from pyncette._lifecycle.values import Attempt, AttemptEnd, Ended
from pyncette._tasks.spec import Spec, encode
from pyncette._tasks.state import Attempts, State, latest_runs, totals
from pyncette.record import Band, Record
from pyncette.schedule import Interval, Once

NOW = 1_800_000_000_000_000
SECOND = 1_000_000
LEASE = 60 * SECOND
UNLOCKED_AFTER = 7 * SECOND
REVISION = "80000000ffffffff"  # a chance of a half: no jitter
WORKER = "host:1"

ONCE = ExecutionMode.AT_MOST_ONCE
NONE, UNLOCK, COMMIT = FailureMode.NONE, FailureMode.UNLOCK, FailureMode.COMMIT
SUCCEEDED, FAILED, LOST = AttemptEnd.SUCCEEDED, AttemptEnd.FAILED, AttemptEnd.LOST
CANCELLED, RELEASED = AttemptEnd.CANCELLED, AttemptEnd.RELEASED

RECURRING, ONE_OFF = Spec(Interval(60 * SECOND)), Spec(Once(NOW - 10 * SECOND))
HOLD, NEXT = OnExhausted.HOLD, OnExhausted.NEXT


def seconds(number: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=number)


def due(spec: Spec = RECURRING, *, attempts: Attempts | None = None, row: int = 0) -> Record:
    """Due for ten seconds, with these attempts recorded."""
    state = State("")
    if attempts is not None:
        state.record_attempts(attempts)
    state.set("row", row)
    at = NOW - 10 * SECOND
    count = 0 if attempts is None else attempts.ended
    text = "" if attempts is None and not row else state.text(5)
    return Record("task", "task:a", at, at, None, None, "r", 5, count, encode(spec), text)


def claimed(waiting: Record) -> Record:
    return lease.claim(waiting, now=NOW - 5, locked_until=NOW + LEASE, token="t", holder=f"{WORKER}:t")


def ended(record: Record, spec: Spec, policies: Policies, how: AttemptEnd, error: BaseException | None = None) -> Ended:
    attempt = Attempt(how, record.due_at, NOW - SECOND, NOW - 2 * SECOND, error, WORKER)
    return end(record, spec, policies, attempt, now=NOW, retry_delay=UNLOCKED_AFTER, revision=REVISION)


@pytest.mark.parametrize(
    "waited, mode, expected",
    [
        (0, ExecutionMode.AT_LEAST_ONCE, Execute(advance=False)),
        (0, ONCE, Execute(advance=True)),
        (LEASE // 2, ExecutionMode.AT_LEAST_ONCE, Execute(advance=False)),
        (LEASE // 2 + 1, ExecutionMode.AT_LEAST_ONCE, PutBack("waited too long for a free slot")),
        (LEASE // 2 + 1, ONCE, PutBack("waited too long for a free slot")),
    ],
)
def test_begin(waited: int, mode: ExecutionMode, expected: object) -> None:
    policies = Policies(execution_mode=mode, lease_duration=seconds(60))
    before = due()
    assert begin(policies, RECURRING, claimed(before), before, claimed_at=NOW - waited, now=NOW) == expected
    assert holds_lease(policies) is (mode is not ONCE)


# Policies and the attempt's end; then what is stored for a recurring instance (the next occurrence, the time of a
# retry, the lease kept or given back), and the run's outcome.
ENDS: list[tuple[Policies, AttemptEnd, BaseException | None, str | int, str | None]] = [
    (Policies(), SUCCEEDED, None, "next", "succeeded"),
    (Policies(), FAILED, OSError(), "lease", None),
    (Policies(), CANCELLED, None, NOW, None),
    (Policies(), RELEASED, None, "release", None),
    (Policies(failure_mode=UNLOCK), SUCCEEDED, None, "next", "succeeded"),
    (Policies(failure_mode=UNLOCK), FAILED, OSError(), NOW - SECOND + UNLOCKED_AFTER, None),
    (Policies(failure_mode=UNLOCK), CANCELLED, None, NOW, None),
    (Policies(failure_mode=UNLOCK), RELEASED, None, "release", None),
    (Policies(failure_mode=COMMIT), SUCCEEDED, None, "next", "succeeded"),
    (Policies(failure_mode=COMMIT), FAILED, OSError(), "next", "failed"),
    (Policies(failure_mode=COMMIT), CANCELLED, None, NOW, None),
    (Policies(failure_mode=COMMIT), RELEASED, None, "release", None),
    (Policies(retry=Retry(3)), SUCCEEDED, None, "next", "succeeded"),
    (Policies(retry=Retry(3)), FAILED, OSError(), NOW, None),
    (Policies(retry=Retry(3)), CANCELLED, None, NOW, None),
    (Policies(retry=Retry(3)), RELEASED, None, "release", None),
    (Policies(retry=Retry(1)), FAILED, OSError(), "next", "failed"),
    (Policies(retry=Retry(1), on_exhausted=HOLD), FAILED, OSError(), "dead", "failed"),
    (Policies(failure_mode=COMMIT, on_exhausted=HOLD), FAILED, OSError(), "dead", "failed"),
    (Policies(retry=Retry(3, on=(ValueError,))), FAILED, OSError(), "next", "failed"),
    (Policies(retry=Retry(3, give_up_on=(OSError,))), FAILED, ConnectionError(), "next", "failed"),
    (Policies(retry=Retry(3, delay=seconds(9))), FAILED, OSError(), NOW + 8 * SECOND, None),
    (Policies(retry=Retry(3, max_elapsed=seconds(1))), FAILED, OSError(), "next", "failed"),
    (Policies(retry=Retry(3, max_elapsed=seconds(2))), FAILED, OSError(), NOW, None),
    (Policies(retry=lambda attempt, error: seconds(attempt + 10)), FAILED, OSError(), NOW + 10 * SECOND, None),
    (Policies(retry=lambda attempt, error: None), FAILED, OSError(), "next", "failed"),
    (Policies(retry=lambda attempt, error: seconds(1 // 0)), FAILED, OSError(), "next", "failed"),
    (Policies(), FAILED, RetryLater(seconds(30)), NOW + 29 * SECOND, None),
    (Policies(failure_mode=COMMIT), FAILED, RetryLater(seconds(30)), NOW + 29 * SECOND, None),
    (Policies(retry=Retry(1)), FAILED, RetryLater(seconds(30)), NOW + 29 * SECOND, None),
    (Policies(retry=Retry(1)), FAILED, RetryLater(seconds(30), count=True), "next", "failed"),
    (Policies(retry=Retry(2)), FAILED, RetryLater(seconds(30), count=True), NOW + 29 * SECOND, None),
    (Policies(), FAILED, GiveUp("no"), "next", "failed"),
    (Policies(on_exhausted=HOLD), FAILED, GiveUp("no"), "dead", "failed"),
    (Policies(retry=Retry(9)), FAILED, GiveUp("no"), "next", "failed"),
    (Policies(), FAILED, Skip("nothing"), "next", "skipped"),
    (Policies(retry=Retry(9)), FAILED, Skip("nothing"), "next", "skipped"),
]


@pytest.mark.parametrize("policies, how, error, stored, outcome", ENDS)
def test_end(
    policies: Policies, how: AttemptEnd, error: BaseException | None, stored: str | int, outcome: str | None
) -> None:
    record = claimed(due())
    result = ended(record, RECURRING, policies, how, error)
    assert result.outcome == outcome
    assert result.change is not None
    assert result.change.old == record
    new = result.change.new
    assert new is not None
    free = replace(record, locked_until=None, locked_by=None, revision=REVISION, state=new.state)
    following = record.due_at + 60 * SECOND
    expected = {
        "next": replace(free, due_at=following, ready_at=following, attempt=0),
        "release": replace(free, ready_at=record.due_at, attempt=0, state=""),
        "dead": replace(free, ready_at=Band.DEAD.at(NOW)),
        "lease": replace(record, revision=REVISION, state=new.state),
    }
    assert new == (expected[stored] if isinstance(stored, str) else replace(free, ready_at=stored))
    check_state(new, how, error, outcome)


def check_state(new: Record, how: AttemptEnd, error: BaseException | None, outcome: str | None) -> None:
    if how is RELEASED:
        return
    state = State(new.state)
    assert state.count("fence") == new.fence
    if outcome is None:
        attempts = state.attempts(new.due_at, 1)
        counts = how is FAILED and not (isinstance(error, RetryLater) and not error.count)
        assert (attempts.ended, attempts.failed, attempts.lost, attempts.first) == (1, counts, 0, NOW - 2 * SECOND)
        assert not latest_runs(new.state)
        return
    [run] = latest_runs(new.state)
    assert (run.outcome, run.attempts, run.worker) == (outcome, 1, WORKER)
    assert (run.scheduled_at, run.started_at, run.ended_at) == (NOW - 10 * SECOND, NOW - 2 * SECOND, NOW - SECOND)
    assert run.error.partition(":")[0] == ("" if error is None else type(error).__name__)
    assert run.reason == {"skipped": "by_task"}.get(outcome, run.reason)
    assert totals(new.state)[run.reason if outcome == "skipped" else outcome] == 1


def test_every_end_is_in_the_table() -> None:
    kinds = {(p.failure_mode, p.retry is not None, how) for p, how, _, _, _ in ENDS}
    ends = (SUCCEEDED, FAILED, CANCELLED, RELEASED)
    assert kinds >= {(mode, False, how) for mode in FailureMode for how in ends} | {(NONE, True, how) for how in ends}


ONE_OFFS: list[tuple[Policies, BaseException | None, bool]] = [
    (Policies(), None, False),
    (Policies(failure_mode=COMMIT), OSError(), False),
    (Policies(failure_mode=COMMIT), GiveUp(), False),
    (Policies(failure_mode=COMMIT, on_exhausted=HOLD), OSError(), True),
    (Policies(), GiveUp(), True),
    (Policies(), Skip(), False),
    (Policies(retry=Retry(1)), OSError(), True),
    (Policies(retry=Retry(1), on_exhausted=NEXT), OSError(), False),
    (Policies(retry=Retry(1), pause_after=1, on_exhausted=NEXT), OSError(), False),
]


@pytest.mark.parametrize("policies, error, dead", ONE_OFFS)
def test_one_off(policies: Policies, error: BaseException | None, dead: bool) -> None:
    """Removed, or dead."""
    record = claimed(due(ONE_OFF))
    change = ended(record, ONE_OFF, policies, SUCCEEDED if error is None else FAILED, error).change
    assert change is not None
    assert (change.new is not None) is dead
    if change.new is not None:
        assert (Band.of(change.new.ready_at), change.new.due_at, change.new.attempt) == (Band.DEAD, record.due_at, 1)


@pytest.mark.parametrize(
    "retry, delays",
    [
        (Retry(9, jitter=0), [1, 2, 4, 8, 16]),
        (Retry(9, delay=seconds(5), factor=1, jitter=0), [5, 5, 5, 5, 5]),
        (Retry(9, delay=seconds(5), factor=10, max_delay=seconds(60), jitter=0), [5, 50, 60, 60, 60]),
    ],
)
def test_delays_grow(retry: Retry, delays: list[float]) -> None:
    assert [retry.pause(times, 0.3) / SECOND for times in range(1, 6)] == delays
    assert (
        retry.pause(10_000_000, 0.3) == max(delays[-1], retry.max_delay.total_seconds() * (retry.factor > 1)) * SECOND
    )


def test_delays_are_randomized() -> None:
    assert [Retry(9, jitter=0.25).pause(1, chance) for chance in (0, 0.5, 1)] == [750_000, 1_000_000, 1_250_000]


def test_only_failed_attempts_count() -> None:
    """Lost, cancelled and postponed attempts don't count."""
    policies = Policies(retry=Retry(3, jitter=0))
    recorded = Attempts(NOW - 10 * SECOND, ended=5, failed=1, lost=2, first=NOW - 9 * SECOND)
    record = claimed(due(attempts=recorded))
    change = ended(record, RECURRING, policies, FAILED, OSError()).change
    assert change is not None
    assert change.new is not None
    assert change.new.ready_at == NOW - SECOND + 2 * SECOND
    attempts = State(change.new.state).attempts(record.due_at, 6)
    assert (attempts.ended, attempts.failed, attempts.lost, attempts.first) == (6, 2, 2, NOW - 9 * SECOND)
    second = replace(claimed(due(attempts=replace(recorded, failed=2))))
    assert ended(second, RECURRING, policies, FAILED, OSError()).outcome == "failed"


def lost_claim(policies: Policies, recorded: Attempts | None = None) -> tuple[Record, object]:
    """The decision about an occurrence whose worker died one second ago."""
    first = lease.claim(
        due(attempts=recorded), now=NOW - 61 * SECOND, locked_until=NOW - SECOND, token="t", holder="dead:7:token"
    )
    record = lease.claim(first, now=NOW, locked_until=NOW + LEASE, token="u", holder=f"{WORKER}:u")
    return record, begin(policies, RECURRING, record, first, claimed_at=NOW, now=NOW)


def test_a_lost_attempt_without_retry_is_only_reported() -> None:
    assert lost_claim(Policies())[1] == Execute(advance=False, lost_with="dead:7")
    assert lost_claim(Policies(execution_mode=ONCE))[1] == Execute(advance=True)


def test_a_failed_attempt_that_kept_the_lease_is_not_lost() -> None:
    before = claimed(due())
    change = ended(before, RECURRING, Policies(), FAILED, OSError()).change
    assert change is not None
    assert change.new is not None
    later = NOW + LEASE
    record = lease.claim(change.new, now=later, locked_until=later + LEASE, token="u", holder="h:u")
    assert begin(Policies(), RECURRING, record, change.new, claimed_at=later, now=later) == Execute(advance=False)


@pytest.mark.parametrize("retry", [Retry(1, jitter=0), lambda attempt, error: None])
def test_a_lost_attempt_is_recorded_and_backs_off(retry: Any) -> None:
    policies = Policies(retry=retry)
    recorded = Attempts(NOW - 10 * SECOND, ended=1, lost=1, lost_with=["dead:6"], first=NOW - 100 * SECOND)
    record, decision = lost_claim(policies, recorded)
    assert isinstance(decision, Settle)
    assert (decision.attempt.end, decision.attempt.worker) == (LOST, "dead:7")
    result = end(record, RECURRING, policies, decision.attempt, now=NOW, retry_delay=0, revision=REVISION)
    assert result.change is not None
    new = result.change.new
    assert new is not None
    assert (new.ready_at, new.locked_by, new.attempt, result.outcome) == (NOW - SECOND + 2 * SECOND, None, 2, None)
    assert State(new.state).attempts(record.due_at, 2) == replace(
        recorded, ended=2, lost=2, lost_with=["dead:6", "dead:7"]
    )
    again = lease.claim(new, now=NOW + LEASE, locked_until=NOW + 2 * LEASE, token="v", holder="h:v")
    assert begin(policies, RECURRING, again, new, claimed_at=NOW + LEASE, now=NOW + LEASE) == Execute(advance=False)


@pytest.mark.parametrize("hold", [True, False])
def test_a_run_that_kills_its_workers_ends(hold: bool) -> None:
    policies = Policies(retry=Retry(9, max_lost=3), on_exhausted=HOLD if hold else NEXT)
    recorded = Attempts(NOW - 10 * SECOND, ended=2, lost=2, lost_with=["dead:5", "dead:6"])
    record, decision = lost_claim(policies, recorded)
    assert isinstance(decision, Settle)
    result = end(record, RECURRING, policies, decision.attempt, now=NOW, retry_delay=0, revision=REVISION)
    assert result.outcome == "failed"
    assert result.reason == "lost with its worker 3 times: dead:5, dead:6, dead:7"
    assert result.change is not None
    new = result.change.new
    assert new is not None
    assert Band.of(new.ready_at) is (Band.DEAD if hold else None)
    [run] = latest_runs(new.state)
    assert (run.lost, run.attempts, run.outcome) == (("dead:5", "dead:6", "dead:7"), 3, "failed")


def test_unrecorded_attempts_count_as_lost() -> None:
    """Earlier workers had no policy, or the worker that should have recorded a loss died itself."""
    first = replace(due(), attempt=3)
    record = claimed(first)
    decision = begin(Policies(retry=Retry(1, max_lost=3)), RECURRING, record, first, claimed_at=NOW, now=NOW)
    assert isinstance(decision, Settle)
    result = end(
        record,
        RECURRING,
        Policies(retry=Retry(1, max_lost=3)),
        decision.attempt,
        now=NOW,
        retry_delay=0,
        revision=REVISION,
    )
    assert (result.outcome, result.reason) == ("failed", "lost with its worker 3 times: unknown workers")


@pytest.mark.parametrize("row, paused", [(0, False), (1, False), (2, True)])
def test_consecutive_failures_pause(row: int, paused: bool) -> None:
    policies = Policies(retry=Retry(1), pause_after=3)
    record = claimed(due(row=row))
    change = ended(record, RECURRING, policies, FAILED, OSError()).change
    assert change is not None
    assert change.new is not None
    assert change.new.due_at == record.due_at + 60 * SECOND
    assert change.new.ready_at == (Band.PAUSED.at(NOW) if paused else change.new.due_at)
    assert State(change.new.state).fields.get("why") == ("3 consecutive failed runs" if paused else None)
    skipped = ended(record, RECURRING, policies, FAILED, Skip()).change
    succeeded = ended(record, RECURRING, policies, SUCCEEDED).change
    for other, left in ((skipped, row), (succeeded, 0)):
        assert other is not None
        assert other.new is not None
        assert State(other.new.state).count("row") == left


@pytest.mark.parametrize("fast_forward, following", [(False, NOW - 90 * SECOND), (True, NOW)])
def test_what_was_missed(fast_forward: bool, following: int) -> None:
    spec = Spec(Interval(10 * SECOND))
    record = replace(claimed(due(spec)), due_at=NOW - 100 * SECOND)
    change = ended(record, spec, Policies(fast_forward=fast_forward), SUCCEEDED).change
    assert change is not None
    assert change.new is not None
    assert (change.new.due_at, change.new.ready_at) == (following, max(following, NOW - LATE))  # the end of the backlog


def advanced(policies: Policies, record: Record | None = None) -> Record:
    record = claimed(due()) if record is None else record
    result = advance(record, RECURRING, policies, record.due_at, now=NOW, worker=WORKER, revision=REVISION)
    assert result.change is not None
    assert result.change.new is not None
    return result.change.new


CONCLUSIONS: list[tuple[AttemptEnd, BaseException | None, str, dict[str, int]]] = [
    (SUCCEEDED, None, "succeeded", {"succeeded": 1}),
    (FAILED, OSError("x"), "failed", {"succeeded": 0, "failed": 1}),
    (FAILED, RetryLater(seconds(1)), "failed", {"succeeded": 0, "failed": 1}),
    (FAILED, Skip(), "skipped", {"succeeded": 0, "by_task": 1}),
]


@pytest.mark.parametrize("how, error, outcome, counted", CONCLUSIONS)
def test_at_most_once(how: AttemptEnd, error: BaseException | None, outcome: str, counted: dict[str, int]) -> None:
    policies = Policies(execution_mode=ONCE)
    record = advanced(policies)
    assert (record.due_at, record.locked_by, record.attempt) == (NOW + 50 * SECOND, None, 0)
    [run] = latest_runs(record.state)
    assert (run.outcome, run.ended_at, run.fence) == ("running", None, record.fence)
    attempt = Attempt(how, NOW - 10 * SECOND, NOW + SECOND, NOW, error, WORKER)
    result = conclude(record, record.fence, policies, attempt, NOW + SECOND, "x")
    assert result.outcome == outcome
    assert result.change is not None
    new = result.change.new
    assert new is not None
    assert replace(new, state="") == replace(record, state="", revision="x")
    [run] = latest_runs(new.state)
    assert (run.outcome, run.ended_at) == (outcome, NOW + SECOND)
    assert totals(new.state) == counted
    assert conclude(new, record.fence, policies, attempt, NOW + SECOND, "y").change is None  # once


def test_at_most_once_with_an_unreported_end() -> None:
    policies = Policies(execution_mode=ONCE)
    first = new = advanced(policies)
    for later, unknown in [(60 * SECOND, 0), (60 * SECOND + 1, 1)]:
        second = replace(first, fence=first.fence + 1)
        result = advance(second, RECURRING, policies, second.due_at, now=NOW + later, worker=WORKER, revision=REVISION)
        assert len(result.unknown) == unknown
        assert result.change is not None
        assert result.change.new is not None
        new = result.change.new
        assert totals(new.state).get("unknown", 0) == unknown
    attempt = Attempt(SUCCEEDED, first.due_at, NOW + 99 * SECOND, NOW, None, WORKER)
    change = conclude(new, first.fence, policies, attempt, NOW + 99 * SECOND, "x").change  # only slow
    assert change is not None
    assert change.new is not None
    assert totals(change.new.state) == {"succeeded": 1}


@pytest.mark.parametrize("leased", [False, True])
def test_at_most_once_pauses_unless_the_next_one_is_being_executed(leased: bool) -> None:
    policies = Policies(execution_mode=ONCE, pause_after=1)
    record = advanced(policies)
    stored = claimed(record) if leased else record
    attempt = Attempt(FAILED, NOW, NOW, NOW, OSError(), WORKER)
    change = conclude(stored, record.fence, policies, attempt, NOW, "x").change
    assert change is not None
    assert change.new is not None
    assert Band.of(change.new.ready_at) is (None if leased else Band.PAUSED)
    assert conclude(None, record.fence, policies, attempt, NOW, "x").change is None
