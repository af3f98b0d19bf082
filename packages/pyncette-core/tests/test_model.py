"""Random lives of an instance, decided by the code and by an oracle that knows nothing of it."""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass, field
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyncette import CatchUp, FailureMode, GiveUp, OnExhausted, Overlap, Policies, Retry, RetryLater, Skip, lease
from pyncette._lifecycle.begin import PutBack, Settle, begin
from pyncette._lifecycle.cutting import superseded_at
from pyncette._lifecycle.end import end
from pyncette._lifecycle.values import Attempt, AttemptEnd, Ended, Skipped
from pyncette._tasks.spec import Bounds, Spec, encode
from pyncette._tasks.state import latest_runs, totals
from pyncette.record import Band, Record
from pyncette.schedule import Interval
from tests.helpers.oracle import DELAY, LAST, LEASE, STEP, Oracle, Rules

SECOND = 1_000_000
EXAMPLES = int(os.environ.get("PYNCETTE_MODEL_EXAMPLES", "400"))
"""How many lives; more of them before a release."""

ERRORS: dict[str, tuple[AttemptEnd, BaseException | None]] = {
    "ok": (AttemptEnd.SUCCEEDED, None),
    "fail": (AttemptEnd.FAILED, OSError()),
    "skip": (AttemptEnd.FAILED, Skip()),
    "give up": (AttemptEnd.FAILED, GiveUp()),
    "later": (AttemptEnd.FAILED, RetryLater(datetime.timedelta(seconds=3))),
    "cancel": (AttemptEnd.CANCELLED, None),
    "superseded": (AttemptEnd.SUPERSEDED, None),
}


def policies_of(rules: Rules) -> Policies:
    given: dict[str, Any] = {
        "catch_up": CatchUp(rules.catch_up),
        "overlap": Overlap(rules.overlap),
        "on_exhausted": OnExhausted.HOLD if rules.hold else OnExhausted.NEXT,
        "pause_after": rules.pause_after,
        "keep_runs": 100,
        "lease_duration": datetime.timedelta(seconds=LEASE),
    }
    if rules.lateness is not None:
        given["max_lateness"] = datetime.timedelta(seconds=rules.lateness)
    if rules.attempts is None:
        given["failure_mode"] = FailureMode[rules.failure.upper()]
    else:
        delay = datetime.timedelta(seconds=DELAY)
        given["retry"] = Retry(rules.attempts, delay=delay, factor=1, jitter=0, max_lost=rules.max_lost)
    found = Policies(**given)
    found.check()
    return found


@dataclass
class Subject:
    """The code under test, with a record in place of a storage."""

    rules: Rules
    fate: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.policies = policies_of(self.rules)
        end_at = LAST if self.rules.end_at is None else self.rules.end_at
        bounds = Bounds(end_at=end_at * SECOND, max_runs=self.rules.max_runs)
        self.spec = Spec(Interval(STEP * SECOND), bounds=bounds)
        first = STEP * SECOND
        self.record: Record | None = Record("t", "t:a", first, first, None, None, "r", 0, 0, encode(self.spec))
        self.skips: tuple[Skipped, ...] = ()

    @property
    def state(self) -> str:
        if self.record is None:
            return "finished"
        band = Band.of(self.record.ready_at)
        return {None: "alive", Band.DEAD: "dead", Band.PAUSED: "paused"}[band]

    def begin(self, now: int) -> int | None:
        assert self.record is not None
        before = self.record
        self.record = lease.claim(
            before, now=now * SECOND, locked_until=(now + LEASE) * SECOND, token="t", holder=f"host:{now}:t"
        )
        decision = begin(self.policies, self.spec, self.record, before, claimed_at=now * SECOND, now=now * SECOND)
        assert not isinstance(decision, PutBack)
        if isinstance(decision, Settle):
            self.apply(decision.attempt, now)
            return None
        self.skips = tuple(decision.skips)
        return (self.record.due_at if decision.due_at is None else decision.due_at) // SECOND

    def cut_at(self, due: int, began: int) -> int | None:
        assert self.record is not None
        at = superseded_at(self.record, self.spec, self.policies, due * SECOND, began * SECOND)
        return None if at is None else at // SECOND

    def end(self, due: int, began: int, how: str, now: int) -> None:
        if how == "kill":
            return
        assert self.record is not None
        if now > began + LEASE:  # the worker has renewed it
            self.record = lease.extend(self.record, locked_until=now * SECOND, revision="x").new
        attempt_end, error = ERRORS[how]
        attempt = Attempt(attempt_end, due * SECOND, now * SECOND, began * SECOND, error, "host:1", self.skips)
        self.apply(attempt, now)

    def apply(self, attempt: Attempt, now: int) -> None:
        assert self.record is not None
        result = end(
            self.record,
            self.spec,
            self.policies,
            attempt,
            now=now * SECOND,
            retry_delay=SECOND,
            revision="80000000ffffffff",
        )
        self.note(attempt, result)
        assert result.change is not None
        self.record = result.change.new

    def note(self, attempt: Attempt, result: Ended) -> None:
        for skip in result.skips:
            covered = range(skip.first // SECOND, skip.last // SECOND + 1, STEP)
            assert skip.exact
            assert skip.count == len(covered)
            for each in covered:
                assert each not in self.fate
                self.fate[each] = skip.reason
        if result.outcome is not None:
            due = attempt.due_at // SECOND
            assert due not in self.fate
            self.fate[due] = "by_task" if result.outcome == "skipped" else result.outcome


rules = st.builds(
    Rules,
    catch_up=st.sampled_from(["all", "earliest", "latest"]),
    lateness=st.sampled_from([None, None, 12, 35]),
    overlap=st.sampled_from(["queue", "skip", "cancel"]),
    attempts=st.sampled_from([None, 1, 2, 3]),
    max_lost=st.integers(1, 3),
    failure=st.sampled_from(["none", "unlock", "commit"]),
    hold=st.sampled_from([False, False, True]),
    pause_after=st.sampled_from([None, None, 1, 2]),
    end_at=st.sampled_from([None, None, 95, 100]),
    max_runs=st.sampled_from([None, None, 1, 3]),
)
hows = st.sampled_from(["ok", "ok", "fail", "fail", "kill", "kill", "skip", "give up", "later", "cancel"])
steps = st.lists(st.tuples(st.integers(0, 45), st.integers(0, 45), hows), max_size=12)


@settings(max_examples=EXAMPLES, deadline=None)
@given(rules, steps)
@example(Rules(overlap="skip"), [(60, 15, "ok"), (0, 0, "ok"), (0, 25, "ok"), (0, 0, "ok")])
def test_lives(rules: Rules, steps: list[tuple[int, int, str]]) -> None:
    oracle, subject, now = Oracle(rules), Subject(rules), 0
    for wait, duration, how in steps:
        now += wait
        compare(oracle, subject)
        if oracle.state != "alive" or oracle.ready_at > now:
            continue
        due = oracle.begin(now)
        assert subject.begin(now) == due
        if due is None:
            continue
        lasts = min(duration, LEASE - 1) if how == "kill" else duration
        cut = oracle.supersedes_at(due, now if not oracle.recorded or oracle.opened is None else oracle.opened)
        assert subject.cut_at(due, now) == cut
        over = now + lasts
        if cut is not None and cut <= over:
            over, how = max(cut, now), "superseded"  # noqa: PLW2901 - what really happened
        oracle.end(due, now, how, over)
        subject.end(due, now, how, over)
        now = over
    compare(oracle, subject)


def compare(oracle: Oracle, subject: Subject) -> None:
    assert subject.state == oracle.state
    assert subject.fate == oracle.fate
    record = subject.record
    if record is None:
        return
    told = totals(record.state)
    assert sum(told.values()) == len(oracle.fate)
    runs = [run for run in latest_runs(record.state) if run.outcome != "skipped" or run.reason == "by_task"]
    assert [run.scheduled_at // SECOND for run in runs] == sorted(run.scheduled_at // SECOND for run in runs)
    if oracle.state == "alive":
        assert record.ready_at == oracle.ready_at * SECOND
        assert record.attempt == oracle.attempt
        if oracle.dying is None:
            assert record.due_at // SECOND == oracle.due_at
