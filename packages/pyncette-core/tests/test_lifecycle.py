"""What becomes of an occurrence: every policy and every end of an attempt, as tables."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest

from pyncette import ExecutionMode, FailureMode, Policies, lease
from pyncette._lifecycle.begin import Execute, PutBack, begin, holds_lease
from pyncette._lifecycle.end import AttemptEnd, advance, end, ends_run
from pyncette._tasks.spec import Spec, encode
from pyncette._tasks.state import settled
from pyncette.record import Record
from pyncette.schedule import Interval, Once

NOW = 1_800_000_000_000_000
SECOND = 1_000_000
LEASE = 60 * SECOND
RETRY = 7 * SECOND

ONCE = ExecutionMode.AT_MOST_ONCE
NONE, UNLOCK, COMMIT = FailureMode.NONE, FailureMode.UNLOCK, FailureMode.COMMIT
SUCCEEDED, FAILED = AttemptEnd.SUCCEEDED, AttemptEnd.FAILED
CANCELLED, RELEASED = AttemptEnd.CANCELLED, AttemptEnd.RELEASED


def claimed(spec: Spec, due_at: int = NOW - 10 * SECOND) -> Record:
    waiting = Record("task", "task:a", due_at, due_at, None, None, "r", 5, 1, encode(spec))
    return lease.claim(waiting, now=NOW - 5, locked_until=NOW + LEASE, token="t", holder="h")


@pytest.mark.parametrize(
    "waited, mode, expected",
    [
        (0, ExecutionMode.AT_LEAST_ONCE, Execute(advance=False)),
        (0, ONCE, Execute(advance=True)),
        (LEASE // 2, ExecutionMode.AT_LEAST_ONCE, Execute(advance=False)),
        (LEASE // 2 + 1, ExecutionMode.AT_LEAST_ONCE, PutBack(None, "waited too long for a free slot")),
        (LEASE // 2 + 1, ONCE, PutBack(None, "waited too long for a free slot")),
    ],
)
def test_begin(waited: int, mode: ExecutionMode, expected: object) -> None:
    policies = Policies(execution_mode=mode, lease_duration=datetime.timedelta(seconds=60))
    assert begin(policies, claimed_at=NOW - waited, now=NOW) == expected
    assert holds_lease(policies) is (mode is not ONCE)


# Policies and end of the attempt; what is stored (next occurrence, retry at, given back, nothing); is the run over?
ENDS = [
    (Policies(), SUCCEEDED, "next", True),
    (Policies(), FAILED, None, False),
    (Policies(), CANCELLED, NOW, False),
    (Policies(), RELEASED, "release", False),
    (Policies(failure_mode=UNLOCK), SUCCEEDED, "next", True),
    (Policies(failure_mode=UNLOCK), FAILED, NOW - SECOND + RETRY, False),
    (Policies(failure_mode=UNLOCK), CANCELLED, NOW, False),
    (Policies(failure_mode=UNLOCK), RELEASED, "release", False),
    (Policies(failure_mode=COMMIT), SUCCEEDED, "next", True),
    (Policies(failure_mode=COMMIT), FAILED, "next", True),
    (Policies(failure_mode=COMMIT), CANCELLED, NOW, False),
    (Policies(failure_mode=COMMIT), RELEASED, "release", False),
    (Policies(execution_mode=ONCE), SUCCEEDED, None, True),
    (Policies(execution_mode=ONCE), FAILED, None, True),
    (Policies(execution_mode=ONCE), CANCELLED, None, False),
    (Policies(execution_mode=ONCE), RELEASED, "release", False),
]


@pytest.mark.parametrize("policies, attempt_end, stored, over", ENDS)
def test_end(policies: Policies, attempt_end: AttemptEnd, stored: str | int | None, over: bool) -> None:
    spec = Spec(Interval(60 * SECOND))
    record = claimed(spec)
    change = end(record, spec, policies, attempt_end, ended_at=NOW - SECOND, now=NOW, retry_delay=RETRY, revision="new")
    following = record.due_at + 60 * SECOND
    free = replace(record, locked_until=None, locked_by=None, revision="new")
    expected = {
        "next": replace(
            free, due_at=following, ready_at=following, attempt=0, state=settled(record.state, record.fence)
        ),
        "release": replace(free, ready_at=record.due_at, attempt=1),
    }
    if stored is None:
        assert change is None
    else:
        assert change is not None
        assert change.old == record
        assert change.new == (expected[stored] if isinstance(stored, str) else replace(free, ready_at=stored))
    assert ends_run(policies, attempt_end) is over


def test_every_end_is_in_the_table() -> None:
    assert {(p.failure_mode, p.execution_mode, e) for p, e, _, _ in ENDS} == {
        *((mode, ExecutionMode.AT_LEAST_ONCE, e) for mode in FailureMode for e in AttemptEnd),
        *((NONE, ONCE, e) for e in AttemptEnd),
    }


def test_a_one_off_is_removed() -> None:
    spec = Spec(Once(NOW))
    record = claimed(spec)
    assert advance(record, spec, Policies(), now=NOW, revision="new").new is None


@pytest.mark.parametrize("fast_forward, following", [(False, NOW - 90 * SECOND), (True, NOW)])
def test_what_was_missed(fast_forward: bool, following: int) -> None:
    spec = Spec(Interval(10 * SECOND))
    change = advance(
        claimed(spec, NOW - 100 * SECOND), spec, Policies(fast_forward=fast_forward), now=NOW, revision="new"
    )
    assert change.new is not None
    assert change.new.due_at == following
