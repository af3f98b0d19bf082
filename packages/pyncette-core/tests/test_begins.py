"""What happens to a claimed occurrence: each reason not to execute it as it is, alone and combined."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pyncette import CatchUp, ExecutionMode, Overlap, Policies, Retry, lease
from pyncette._lifecycle.begin import Begin, Execute, PutBack, Settle, begin, renews_lease
from pyncette._lifecycle.continuation import store_window
from pyncette._lifecycle.moments import Window, came_due
from pyncette._lifecycle.values import Attempt, AttemptEnd, Skipped
from pyncette._tasks.extra import Extra, ExtraRun, Waits
from pyncette._tasks.spec import Bounds, Spec, encode
from pyncette._tasks.state import Attempts, State
from pyncette.record import HELD, Band, Record
from pyncette.schedule import Cron, Interval, Once

SECOND = 1_000_000
MINUTE = 60 * SECOND
NOW = 1_800_000_000 * SECOND
DUE = NOW - 10 * MINUTE
BEGAN = NOW - 9 * MINUTE
"""When the previous attempt began, if there was one; an occurrence came due at that moment."""
SPEC = Spec(Interval(MINUTE))
DEFAULT = Policies()
ONCE = Policies(execution_mode=ExecutionMode.AT_MOST_ONCE)
RETRYING = Policies(retry=Retry(9))
LATEST = Policies(catch_up=CatchUp.LATEST)
PUNCTUAL = Policies(max_lateness=datetime.timedelta(minutes=5))
CANCELLING = Policies(overlap=Overlap.CANCEL)
PASSED, LOST, RELEASED = AttemptEnd.PASSED, AttemptEnd.LOST, AttemptEnd.RELEASED


def due(spec: Spec = SPEC, *, at: int = DUE, state: State | None = None, fence: int = 5) -> Record:
    """No worker has begun it."""
    text = "" if state is None else state.text(fence)
    return Record("task", "task:a", at, at, None, None, "r", fence, 0, encode(spec), text)


def left(
    before: Record | None = None, *, attempt: int = 1, until: int = NOW - SECOND, holder: str | None = "host:1:t"
) -> Record:
    """A worker has begun it and disappeared."""
    found = due() if before is None else before
    return replace(found, attempt=attempt, fence=BEGAN, locked_until=until, locked_by=holder, ready_at=until)


def begun(policies: Policies, before: Record, spec: Spec = SPEC, **further: Any) -> Begin:
    record = lease.claim(before, now=NOW, locked_until=NOW + MINUTE, token="t", holder="host:2:t")
    return begin(policies, spec, record, before, claimed_at=NOW, now=NOW, **further)


def lost(
    at: int = DUE, *, ended_at: int = NOW - SECOND, worker: str = "host:1", skips: Sequence[Skipped] = ()
) -> Settle:
    return Settle(Attempt(LOST, at, ended_at, started_at=BEGAN, worker=worker, skips=skips))


def passed(go_to: int | None, skips: Sequence[Skipped] = (), *, moved: bool = False) -> Settle:
    return Settle(Attempt(PASSED, DUE, NOW, skips=skips, go_to=go_to, moved=moved))


def skipped(first: int, last: int, reason: str) -> list[Skipped]:
    return [Skipped(first, last, (last - first) // MINUTE + 1, True, reason)]


def noting(attempts: Attempts | None = None, **fields: Any) -> State:
    state = State("")
    for name, value in fields.items():
        state.set(name, value)
    if attempts is not None:
        state.record_attempts(attempts)
    return state


RECORDED = Attempts(DUE, ended=1, failed=1, first=BEGAN)
TAKEN_OFF = ((NOW - 5 * MINUTE, NOW - 2 * MINUTE),)


def test_what_waited_too_long_for_a_slot_is_put_back() -> None:
    record, policies = left(), replace(RETRYING, lease_duration=datetime.timedelta(seconds=60))
    for waited, back in ((30 * SECOND, False), (30 * SECOND + 1, True)):
        found = begin(policies, SPEC, record, record, claimed_at=NOW - waited, now=NOW)
        assert isinstance(found, PutBack) is back


@pytest.mark.parametrize("policies", [DEFAULT, RETRYING, LATEST, PUNCTUAL, CANCELLING, ONCE])
def test_what_came_due_while_its_template_was_paused_is_skipped(policies: Policies) -> None:
    """Unless a worker has begun it, or it is a one-off."""
    until, go_to = NOW - 3 * MINUTE, NOW - 3 * MINUTE
    found = begun(policies, due(), paused_until=until)
    assert found == passed(go_to, skipped(DUE, go_to - MINUTE, "paused"))
    later = begun(policies, due(), paused_until=until + 1)
    assert later == passed(go_to + MINUTE, skipped(DUE, go_to, "paused"))
    assert begun(policies, left(), paused_until=until) == begun(policies, left())
    once = Spec(Once(DUE))
    assert begun(policies, due(once), once, paused_until=until) == begun(policies, due(once), once)


def test_skipping_for_a_pause_respects_earlier_skips() -> None:
    state = State("")
    store_window(state, Window(DUE + MINUTE, DUE + 3 * MINUTE))
    found = begun(DEFAULT, due(state=state), paused_until=DUE + 2 * MINUTE + 1)
    assert found == passed(DUE + 4 * MINUTE, skipped(DUE, DUE + MINUTE, "paused"))


@pytest.mark.parametrize("policies", [LATEST, PUNCTUAL, CANCELLING])
def test_a_pause_of_the_template_is_skipped_before_policies_choose(policies: Policies) -> None:
    assert begun(policies, due(), pauses=TAKEN_OFF) == passed(DUE)
    for pauses in ((), ((DUE - MINUTE, DUE),), ((NOW - 5 * MINUTE, HELD),)):
        assert begun(policies, due(), pauses=pauses) == begun(policies, due())
    assert begun(policies, left(), pauses=()) == begun(policies, left())
    assert begun(DEFAULT, due(), pauses=TAKEN_OFF) == Execute(advance=False)


def test_an_occurrence_that_is_off_its_schedule_is_moved() -> None:
    spec = Spec(Cron("0 13 * * *", "Europe/Berlin"))
    found = begun(DEFAULT, due(spec), spec)
    following = spec.following(DUE)
    assert found == passed(following, moved=True)
    assert begun(DEFAULT, left(due(spec)), spec) == Execute(advance=False, lost_with="host:1")
    moved = replace(due(spec), state=noting(moved=DUE).text(5))
    assert begun(DEFAULT, moved, spec) == Execute(advance=False)


def test_an_occurrence_whose_jitter_has_not_passed_is_put_back() -> None:
    """A program that doesn't know the jitter has stored it."""
    hour = datetime.timedelta(hours=1)
    hourly, policies = Spec(Interval(60 * MINUTE)), Policies(jitter=hour)
    late = came_due(hourly, policies, "task:a", DUE)
    at = DUE + (NOW - late)  # comes due now
    assert came_due(hourly, policies, "task:a", at) == NOW
    for early, found in ((0, Execute(advance=False)), (1, None)):
        before = due(hourly, at=at + early)
        expected = found or Settle(Attempt(PASSED, at + early, NOW, go_to=at + early))
        assert begun(policies, before, hourly) == expected
        assert begun(DEFAULT, before, hourly) == Execute(advance=False)
        other = replace(before, ready_at=before.ready_at + 1)
        assert begun(policies, other, hourly) == Execute(advance=False)


PAUSED = noting(why="by hand")


@pytest.mark.parametrize(
    "policies, before, expected",
    [
        pytest.param(DEFAULT, due(state=PAUSED), PutBack("paused"), id="nobody has begun"),
        pytest.param(DEFAULT, left(due(state=PAUSED)), PutBack("paused"), id="a loss that does not count"),
        pytest.param(RETRYING, left(due(state=PAUSED)), lost(), id="a loss that counts"),
        pytest.param(CANCELLING, left(due(state=PAUSED)), lost(), id="one that may be superseded"),
        pytest.param(ONCE, left(due(state=PAUSED)), PutBack("paused"), id="at most once"),
        pytest.param(
            replace(LATEST, execution_mode=ExecutionMode.AT_MOST_ONCE),
            left(due(state=PAUSED)),
            PutBack("paused"),
            id="at most once, with a policy that follows attempts",
        ),
        pytest.param(
            RETRYING, left(due(state=noting(RECORDED, why="x"))), PutBack("paused"), id="the end of which is recorded"
        ),
        pytest.param(
            RETRYING, left(due(state=noting(RECORDED, why="x")), attempt=2), lost(), id="a loss after a failure"
        ),
    ],
)
def test_an_instance_paused_in_the_meantime_is_put_back(policies: Policies, before: Record, expected: Begin) -> None:
    assert begun(policies, before) == expected
    assert begun(policies, before, pauses=TAKEN_OFF, paused_until=NOW) == expected


OVERDUE = skipped(DUE, NOW - MINUTE, "coalesced")
BY_THEN = skipped(DUE, BEGAN - MINUTE, "coalesced")
TOO_LATE = skipped(DUE, NOW - 6 * MINUTE, "late")
LATEST_ONCE = replace(LATEST, execution_mode=ExecutionMode.AT_MOST_ONCE)
PUNCTUAL_ONCE = replace(PUNCTUAL, execution_mode=ExecutionMode.AT_MOST_ONCE)
OPEN = due(state=noting(RECORDED), fence=BEGAN)
"""The state with a recorded end of an attempt."""


@pytest.mark.parametrize(
    "policies, before, expected",
    [
        (LATEST, due(), Execute(advance=False, due_at=NOW, skips=OVERDUE)),
        (LATEST_ONCE, due(), Execute(advance=True, due_at=NOW, skips=OVERDUE)),
        (LATEST_ONCE, left(), Execute(advance=True, due_at=NOW, skips=OVERDUE)),
        (PUNCTUAL, due(), Execute(advance=False, due_at=NOW - 5 * MINUTE, skips=TOO_LATE)),
        (PUNCTUAL_ONCE, left(), Execute(advance=True, due_at=NOW - 5 * MINUTE, skips=TOO_LATE)),
        (LATEST, left(), lost(BEGAN, skips=BY_THEN)),
        (LATEST, left(attempt=2), lost(BEGAN, skips=BY_THEN)),
        (LATEST, left(OPEN, attempt=2), lost()),
        (LATEST, left(OPEN), Execute(advance=False)),
        (LATEST, replace(OPEN, attempt=1), Execute(advance=False)),
        (LATEST, left(replace(OPEN, fence=5, state=noting(RECORDED).text(5))), Execute(False, "host:1")),
        (PUNCTUAL, left(), lost(skips=[])),
        (PUNCTUAL, left(OPEN), Execute(advance=False)),
    ],
)
def test_which_missed_occurrence_is_chosen(policies: Policies, before: Record, expected: Begin) -> None:
    assert begun(policies, before) == expected


@pytest.mark.parametrize("attempt, at, skips", [(1, BEGAN, skipped(DUE, BEGAN - MINUTE, "late")), (2, DUE, [])])
def test_a_lost_attempt_had_chosen_by_lateness_at_its_claim(attempt: int, at: int, skips: list[Skipped]) -> None:
    """Only the first attempt can be too late."""
    policies = Policies(max_lateness=datetime.timedelta(0))
    assert begun(policies, left(attempt=attempt)) == lost(at, skips=skips)


def test_a_lost_attempt_is_reported_even_if_nothing_is_left_to_choose() -> None:
    """A fencing token may be ahead of the clock at the claim; by its time, nothing had come due."""
    policies = Policies(max_lateness=datetime.timedelta(0))
    ended = Spec(Interval(MINUTE), bounds=Bounds(end_at=DUE))
    assert begun(policies, left(due(ended)), ended) == lost()
    assert begun(policies, replace(left(), fence=DUE + 1)) == Settle(
        Attempt(LOST, DUE, NOW - SECOND, started_at=DUE + 1, worker="host:1")
    )


def test_occurrences_that_are_too_late_are_skipped() -> None:
    policies = Policies(max_lateness=datetime.timedelta(0))
    off = due(at=DUE + 7)
    go_to = NOW + 7
    assert begun(policies, off) == Settle(
        Attempt(PASSED, DUE + 7, NOW, skips=skipped(DUE + 7, go_to - MINUTE, "late"), go_to=go_to)
    )
    ended = Spec(Interval(MINUTE), bounds=Bounds(end_at=DUE))
    assert begun(policies, due(ended), ended) == passed(None, skipped(DUE, DUE, "late"))


@pytest.mark.parametrize(
    "policies, before, expected",
    [
        pytest.param(DEFAULT, due(), Execute(advance=False), id="it is the first"),
        pytest.param(ONCE, due(), Execute(advance=True), id="at most once"),
        pytest.param(ONCE, left(), Execute(advance=True), id="at most once: whoever has tried has executed nothing"),
        pytest.param(DEFAULT, left(), Execute(False, "host:1"), id="a loss that is not limited"),
        pytest.param(DEFAULT, left(holder="some"), Execute(False, "some"), id="of somebody without a token"),
        pytest.param(DEFAULT, left(OPEN), Execute(advance=False), id="its end is stored"),
        pytest.param(DEFAULT, replace(due(), attempt=1), Execute(advance=False), id="given back"),
        pytest.param(RETRYING, left(), lost(), id="a loss that is limited"),
        pytest.param(RETRYING, left(until=NOW + 9), lost(ended_at=NOW), id="by a clock that is ahead"),
        pytest.param(RETRYING, left(holder=None), lost(worker=""), id="of nobody knows whom"),
        pytest.param(
            RETRYING, replace(left(), locked_until=None, locked_by=None), lost(ended_at=NOW, worker=""), id="unlocked"
        ),
        pytest.param(RETRYING, left(OPEN), Execute(advance=False), id="a retry"),
        pytest.param(RETRYING, left(OPEN, attempt=2), lost(), id="a loss after a retry"),
        pytest.param(
            CANCELLING,
            left(),
            Settle(Attempt(AttemptEnd.SUPERSEDED, DUE, NOW, started_at=BEGAN, worker="host:1")),
            id="superseded",
        ),
    ],
)
def test_after_attempts(policies: Policies, before: Record, expected: Begin) -> None:
    assert begun(policies, before) == expected


@pytest.mark.parametrize(
    "first, pauses, superseded",
    [
        (None, (), False),
        (NOW, (), False),
        (NOW - 1, (), True),
        (NOW - 1, ((NOW, NOW + 1),), False),
    ],
)
def test_a_run_is_superseded_since_its_first_attempt(
    first: int | None, pauses: Sequence[tuple[int, int]], superseded: bool
) -> None:
    state = noting(Attempts(DUE, ended=1, first=first))
    before = replace(left(due(state=state, fence=NOW), attempt=1), fence=NOW)
    found = begun(CANCELLING, before, pauses=pauses)
    assert (isinstance(found, Settle) and found.attempt.end is AttemptEnd.SUPERSEDED) is superseded


RETRIED = noting(Attempts(DUE))
"""The state of an instance that was dead and is being retried."""


@pytest.mark.parametrize("policies", [DEFAULT, PUNCTUAL, LATEST, ONCE, PUNCTUAL_ONCE, LATEST_ONCE])
def test_a_retried_dead_occurrence_is_executed_whatever_has_come_due(policies: Policies) -> None:
    once = policies.execution_mode is ExecutionMode.AT_MOST_ONCE
    found = begun(policies, due(state=RETRIED), pauses=TAKEN_OFF, paused_until=NOW)
    assert found == Execute(advance=once)
    other = begun(policies, due(state=noting(Attempts(DUE - 1))))
    assert other == begun(policies, due())


RUN = ExtraRun("id", NOW - 3 * MINUTE)
MOMENT = ExtraRun("fill", NOW - 90 * MINUTE, trigger="backfill")
MUST_WAIT = Settle(Attempt(RELEASED, MOMENT.at, NOW))


def beside(
    run: ExtraRun | None, waits: Waits | None = None, attempts: Attempts | None = None, asked: ExtraRun | None = None
) -> Record:
    state = noting(attempts)
    Extra(run=run, waits=waits, requested=[] if asked is None else [asked]).store(state)
    return due(state=state)


LATER, PRESENT = Waits(0, NOW + 1), Waits(0, NOW)
HELD_BACK = Waits(0, Band.PAUSED.at(NOW))


@pytest.mark.parametrize(
    "policies, before, expected",
    [
        pytest.param(DEFAULT, beside(RUN, PRESENT), Execute(advance=False), id="a run that was asked for"),
        pytest.param(ONCE, beside(RUN, PRESENT), Execute(advance=True), id="at most once"),
        pytest.param(DEFAULT, beside(MOMENT, LATER), Execute(advance=False), id="a backfill"),
        pytest.param(DEFAULT, beside(MOMENT, PRESENT), MUST_WAIT, id="a backfill waits for the schedule"),
        pytest.param(DEFAULT, beside(MOMENT, HELD_BACK), MUST_WAIT, id="a backfill waits for the end of a pause"),
        pytest.param(DEFAULT, left(beside(MOMENT, HELD_BACK)), MUST_WAIT, id="also after an attempt"),
        pytest.param(
            DEFAULT, left(beside(MOMENT, PRESENT)), Execute(False, "host:1"), id="a backfill that has begun continues"
        ),
        pytest.param(DEFAULT, left(beside(RUN, LATER)), Execute(False, "host:1"), id="a loss that is not limited"),
        pytest.param(ONCE, left(beside(RUN, LATER)), Execute(advance=True), id="at most once, after another"),
        pytest.param(RETRYING, beside(RUN, LATER), Execute(advance=False), id="the first attempt"),
        pytest.param(RETRYING, left(beside(RUN, LATER)), lost(RUN.at), id="a loss that is limited"),
        pytest.param(CANCELLING, left(beside(RUN, LATER)), Execute(False, "host:1"), id="limited by retry alone"),
        pytest.param(
            RETRYING,
            left(beside(RUN, LATER, Attempts(RUN.at, ended=1))),
            Execute(advance=False),
            id="the end of the attempt is recorded",
        ),
        pytest.param(
            RETRYING, left(beside(RUN, LATER, Attempts(RUN.at, ended=1)), attempt=2), lost(RUN.at), id="not of this one"
        ),
        pytest.param(
            DEFAULT, beside(None, asked=RUN), Settle(Attempt(RELEASED, DUE, NOW)), id="the schedule makes room"
        ),
        pytest.param(
            DEFAULT, left(beside(None, asked=RUN)), Settle(Attempt(RELEASED, DUE, NOW)), id="also after a loss"
        ),
        pytest.param(RETRYING, left(beside(None, asked=RUN)), lost(), id="and one that counts is stored"),
        pytest.param(LATEST, left(beside(None, asked=RUN)), lost(BEGAN, skips=BY_THEN), id="with what it had chosen"),
        pytest.param(
            RETRYING,
            left(beside(None, None, RECORDED, asked=RUN)),
            Settle(Attempt(RELEASED, DUE, NOW)),
            id="if it is not recorded",
        ),
        pytest.param(
            LATEST_ONCE,
            left(beside(None, asked=RUN)),
            Settle(Attempt(RELEASED, DUE, NOW)),
            id="nothing is at most once",
        ),
    ],
)
def test_manual_runs_and_backfills(policies: Policies, before: Record, expected: Begin) -> None:
    assert begun(policies, before) == expected
    assert begun(policies, before, pauses=TAKEN_OFF, paused_until=NOW) == expected


@pytest.mark.parametrize("heartbeat, renews", [(True, True), ("cancel", True), (False, False)])
def test_which_policies_renew_leases(heartbeat: Any, renews: bool) -> None:
    assert renews_lease(Policies(heartbeat=heartbeat)) is renews
    assert renews_lease(replace(ONCE, heartbeat=heartbeat)) is False


def test_an_earlier_manual_run_has_no_influence() -> None:
    state = State("")
    Extra(done={"id": NOW}).store(state)
    assert begun(DEFAULT, due(state=state)) == Execute(advance=False)


def test_a_worker_may_have_any_name() -> None:
    state = State("")
    state.runs.append([DUE, 0, 0, 1, "succeeded", "why"])
    assert '"why"' in state.text(5)
    assert begun(DEFAULT, due(state=state)) == Execute(advance=False)
