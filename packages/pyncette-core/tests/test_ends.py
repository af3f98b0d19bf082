"""What happens to the record at each kind of end of an attempt: what is kept, reported and recorded."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from pyncette import CatchUp, FailureMode, Overlap, Policies, Retry, Skip, lease
from pyncette._lifecycle.end import end
from pyncette._lifecycle.extra import request
from pyncette._lifecycle.moments import came_due
from pyncette._lifecycle.steering import pause
from pyncette._lifecycle.values import Attempt, AttemptEnd, Ended, Skipped
from pyncette._tasks.extra import ExtraRun, extra_of
from pyncette._tasks.spec import Spec, encode
from pyncette._tasks.state import State, latest_runs
from pyncette.record import HELD, Band, Change, Record
from pyncette.schedule import Interval, Once

NOW = 1_800_000_000_000_000
SECOND = 1_000_000
MINUTE = 60 * SECOND
REVISION = "80000000ffffffff"
DUE = NOW - MINUTE
SPEC, ONE_OFF = Spec(Interval(MINUTE)), Spec(Once(DUE))
KEEPING = Policies(keep_runs=5)
COMMITTING = Policies(keep_runs=5, failure_mode=FailureMode.COMMIT)
RETRYING = Policies(keep_runs=5, retry=Retry(9, delay=datetime.timedelta(minutes=5), jitter=0))
SKIPS = (Skipped(DUE - 3 * MINUTE, DUE - 2 * MINUTE, 2, True, "late"),)
PAUSES = ((NOW - 3600 * SECOND, NOW - 3000 * SECOND),)


def changed(change: Change | None) -> Record:
    assert change is not None
    assert change.new is not None
    return change.new


def claimed(record: Record) -> Record:
    return lease.claim(record, now=NOW, locked_until=NOW + MINUTE, token="t", holder="host:1:t")


def plain(spec: Spec = SPEC) -> Record:
    return claimed(Record("task", "task:a", DUE, DUE, None, None, "r", 5, 0, encode(spec), ""))


def paused(spec: Spec = SPEC, since: int = NOW - SECOND) -> Record:
    """An instance that was paused during its execution."""
    return changed(pause(plain(spec), "", now=since, revision="p").change)


def beside() -> Record:
    """A manual run in progress."""
    waiting = Record("task", "task:a", NOW + MINUTE, NOW + MINUTE, None, None, "r", 5, 0, encode(SPEC), "")
    return claimed(changed(request(waiting, ExtraRun("id", NOW), now=NOW, revision="a")))


def ended(
    record: Record,
    how: AttemptEnd,
    policies: Policies = KEEPING,
    *,
    error: BaseException | None = None,
    skips: Sequence[Skipped] = (),
    go_to: int | None = None,
    moved: bool = False,
    pauses: Sequence[tuple[int, int]] = (),
    worker: str = "host:1",
    started_at: int = NOW - 7,
    spec: Spec = SPEC,
) -> Ended:
    run = extra_of(State(record.state)).run
    due_at = record.due_at if run is None else run.at
    attempt = Attempt(how, due_at, NOW - 1, started_at, error, worker, skips, go_to, moved, pauses)
    return end(record, spec, policies, attempt, now=NOW, retry_delay=SECOND, revision=REVISION)


WAYS = [
    (AttemptEnd.SUCCEEDED, None),
    (AttemptEnd.FAILED, ZeroDivisionError("no")),
    (AttemptEnd.FAILED, Skip()),
    (AttemptEnd.TIMED_OUT, TimeoutError()),
    (AttemptEnd.SUPERSEDED, None),
    (AttemptEnd.LOST, None),
    (AttemptEnd.CANCELLED, None),
    (AttemptEnd.RELEASED, None),
    (AttemptEnd.PASSED, None),
]


Make = Callable[[], Record]


@pytest.mark.parametrize("how, error", WAYS, ids=lambda one: getattr(one, "name", type(one).__name__))
@pytest.mark.parametrize("make", [plain, paused, beside])
@pytest.mark.parametrize("policies", [COMMITTING, RETRYING], ids=["commit", "retry"])
def test_every_end_ends_the_lease(make: Make, how: AttemptEnd, error: BaseException | None, policies: Policies) -> None:
    record = make()
    after = ended(record, how, policies, error=error, go_to=NOW + MINUTE)
    new = changed(after.change)
    assert after.change is not None
    assert after.change.old is record
    assert (new.key, new.spec, new.fence, new.revision) == (record.key, record.spec, record.fence, REVISION)
    assert (new.locked_by, new.locked_until) == (None, None)
    assert (Band.of(new.ready_at) is Band.PAUSED) == (make is paused)
    if make is beside:
        assert new.due_at == record.due_at
    if make is not beside and how is not AttemptEnd.RELEASED:
        assert State(new.state).count("fence") == record.fence
    if how is AttemptEnd.PASSED:
        assert new.attempt == 0


@pytest.mark.parametrize(
    "how, error, outcome, reason, text",
    [
        (AttemptEnd.SUCCEEDED, None, "succeeded", "", ""),
        (AttemptEnd.SUPERSEDED, None, "superseded", "", ""),
        (AttemptEnd.FAILED, Skip(), "skipped", "by_task", "Skip"),
        (AttemptEnd.FAILED, ZeroDivisionError("no"), "failed", "", "ZeroDivisionError: no"),
    ],
    ids=["succeeded", "superseded", "skipped", "failed"],
)
@pytest.mark.parametrize("make", [plain, paused, beside])
@pytest.mark.parametrize("pauses", [(), PAUSES], ids=["no pause", "after a pause of the template"])
def test_what_is_reported_about_a_run_is_recorded(
    make: Make,
    pauses: Sequence[tuple[int, int]],
    how: AttemptEnd,
    error: BaseException | None,
    outcome: str,
    reason: str,
    text: str,
) -> None:
    after = ended(make(), how, COMMITTING, error=error, pauses=pauses)
    [run] = latest_runs(changed(after.change).state)
    assert after.outcome == run.outcome == outcome
    assert after.reason == run.reason == reason
    assert run.error == text
    assert (run.started_at, run.ended_at, run.worker, run.lost) == (NOW - 7, NOW - 1, "host:1", ())


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("make", [plain, paused])
def test_an_occurrence_that_was_not_begun_is_given_back(make: Make, attempts: int) -> None:
    """As if it had not been claimed. An instance that was paused since is held from the pause on."""
    record = replace(make(), attempt=attempts)
    after = ended(record, AttemptEnd.RELEASED)
    new = changed(after.change)
    assert (new.due_at, new.attempt, after.outcome) == (DUE, attempts - 1, None)
    assert new.ready_at == (Band.PAUSED.at(NOW - SECOND) if make is paused else DUE)
    assert not latest_runs(new.state)


@pytest.mark.parametrize("how", [AttemptEnd.SUCCEEDED, AttemptEnd.CANCELLED, AttemptEnd.PASSED])
@pytest.mark.parametrize("make", [plain, paused])
def test_skips_are_reported_and_recorded_however_it_ends(make: Make, how: AttemptEnd) -> None:
    after = ended(make(), how, skips=SKIPS, go_to=NOW + MINUTE)
    assert list(after.skips)[:1] == list(SKIPS)
    run = next(run for run in latest_runs(changed(after.change).state) if run.outcome == "skipped")
    assert (run.scheduled_at, run.last, run.count, run.reason) == (SKIPS[0].first, SKIPS[0].last, 2, "late")
    assert (run.ended_at, run.worker, run.exact) == (NOW, "", True)


def test_a_retried_failure_is_recorded_until_the_run_ends() -> None:
    first = ended(plain(), AttemptEnd.FAILED, RETRYING, error=ZeroDivisionError("no"))
    waits = changed(first.change)
    assert first.outcome is None
    assert first.again_at == waits.ready_at == NOW - 1 + 5 * MINUTE
    assert waits.due_at == DUE
    recorded = State(waits.state).attempts(DUE, waits.attempt)
    assert (recorded.error, recorded.failed, recorded.ended, recorded.first) == ("ZeroDivisionError: no", 1, 1, NOW - 7)
    for how, error in ((AttemptEnd.SUPERSEDED, "ZeroDivisionError: no"), (AttemptEnd.SUCCEEDED, "")):
        last = ended(claimed(waits), how, RETRYING, started_at=NOW - 3)
        [run] = latest_runs(changed(last.change).state)
        assert (run.attempts, run.started_at, run.error) == (2, NOW - 7, error)


@pytest.mark.parametrize(
    "pauses, at",
    [((), NOW + MINUTE), (((NOW + MINUTE, NOW + 2 * MINUTE),), NOW + 2 * MINUTE)],
    ids=["the next", "the next after a pause"],
)
def test_a_retry_comes_no_later_than_the_occurrence_that_supersedes_it(
    pauses: Sequence[tuple[int, int]], at: int
) -> None:
    policies = Policies(keep_runs=5, retry=RETRYING.retry, overlap=Overlap.CANCEL)
    record = replace(plain(), due_at=NOW)
    after = ended(record, AttemptEnd.FAILED, policies, error=ZeroDivisionError("no"), pauses=pauses)
    assert (after.again_at, changed(after.change).ready_at) == (at, at)
    assert after.outcome is None


@pytest.mark.parametrize("pauses", [(), PAUSES], ids=["no pause", "after a pause of the template"])
def test_a_completed_instance_is_kept_for_retain(pauses: Sequence[tuple[int, int]]) -> None:
    keeping = Policies(keep_runs=5, retain=datetime.timedelta(hours=1))
    after = ended(plain(ONE_OFF), AttemptEnd.SUCCEEDED, keeping, pauses=pauses, spec=ONE_OFF)
    new = changed(after.change)
    assert new.ready_at == Band.COMPLETED.at(NOW + 60 * MINUTE)
    assert [run.outcome for run in latest_runs(new.state)] == ["succeeded"]
    removed = ended(plain(ONE_OFF), AttemptEnd.SUCCEEDED, pauses=pauses, spec=ONE_OFF).change
    assert removed is not None
    assert removed.new is None


@pytest.mark.parametrize("worker, lost", [("host:1", ("host:1",)), ("", ())])
def test_a_worker_that_is_lost_twice_is_named_once(worker: str, lost: tuple[str, ...]) -> None:
    record = plain()
    for _ in range(2):
        record = claimed(changed(ended(claimed(record), AttemptEnd.LOST, RETRYING, worker=worker).change))
    assert State(record.state).attempts(DUE, record.attempt).lost_with == list(lost)
    after = ended(record, AttemptEnd.SUCCEEDED, RETRYING)
    [run] = latest_runs(changed(after.change).state)
    assert run.lost == lost


def test_a_paused_instance_without_attempts_left_is_dead() -> None:
    """Its pause begins when it is retried."""
    once = Policies(keep_runs=5, retry=Retry(1))
    after = ended(paused(ONE_OFF), AttemptEnd.FAILED, once, error=ZeroDivisionError("no"), spec=ONE_OFF)
    new = changed(after.change)
    assert (Band.of(new.ready_at), new.due_at) == (Band.DEAD, DUE)
    assert State(new.state).count("since") == 0


def test_what_comes_due_during_a_pause_overlaps_no_run() -> None:
    """A run skips what overlaps it until the pause began. How the pause ends decides about what came due later."""
    began = NOW - 20 * MINUTE
    record = replace(paused(since=NOW - 10 * MINUTE), due_at=began)
    overlapping = Policies(keep_runs=5, overlap=Overlap.SKIP)
    after = ended(record, AttemptEnd.SUCCEEDED, overlapping, started_at=began)
    new = changed(after.change)
    assert (new.ready_at, new.due_at) == (Band.PAUSED.at(NOW - 10 * MINUTE), NOW - 9 * MINUTE)
    assert [(one.reason, one.count) for one in after.skips] == [("overlap", 10)]
    kept = {run.outcome: run for run in latest_runs(new.state)}
    assert (kept["skipped"].count, kept["skipped"].ended_at, kept["succeeded"].ended_at) == (10, NOW, NOW - 1)


def test_a_moved_occurrence_is_recorded() -> None:
    new = changed(ended(plain(), AttemptEnd.PASSED, go_to=NOW + MINUTE, moved=True).change)
    assert (new.due_at, State(new.state).count("moved")) == (NOW + MINUTE, NOW + MINUTE)


@pytest.mark.parametrize("how", [AttemptEnd.RELEASED, AttemptEnd.SUCCEEDED, AttemptEnd.CANCELLED])
def test_a_pause_without_a_known_beginning_begins_now(how: AttemptEnd) -> None:
    state = State("")
    state.set("why", "paused by hand")
    record = replace(plain(), state=state.text(4))
    assert changed(ended(record, how).change).ready_at == Band.PAUSED.at(NOW)


@pytest.mark.parametrize("make", [plain, paused])
def test_another_attempt_is_for_the_chosen_occurrence(make: Make) -> None:
    record, chosen = replace(make(), due_at=DUE - 3 * MINUTE), DUE - MINUTE
    attempt = Attempt(AttemptEnd.CANCELLED, chosen, NOW - 1, NOW - 7, worker="host:1", skips=SKIPS)
    after = end(record, SPEC, KEEPING, attempt, now=NOW, retry_delay=SECOND, revision=REVISION)
    new = changed(after.change)
    assert (new.due_at, new.attempt) == (chosen, 1)
    assert State(new.state).is_open(chosen)


def test_the_record_is_kept_for_a_requested_run_after_its_schedule_has_ended() -> None:
    asked = changed(request(plain(ONE_OFF), ExtraRun("id", NOW), now=NOW, revision="a"))
    new = changed(ended(asked, AttemptEnd.SUCCEEDED, spec=ONE_OFF).change)
    assert (new.revision, new.ready_at, new.locked_until) == (REVISION, NOW, None)
    assert extra_of(State(new.state)).run == ExtraRun("id", NOW)


LATEST = Policies(keep_runs=5, catch_up=CatchUp.LATEST)


@pytest.mark.parametrize("how", [AttemptEnd.SUCCEEDED, AttemptEnd.PASSED])
def test_what_came_due_while_the_template_was_paused_is_skipped_ahead_of_its_turn(how: AttemptEnd) -> None:
    """Otherwise ``catch_up`` might choose it."""
    late, pauses = DUE + 30 * MINUTE, ((DUE + 10 * MINUTE, DUE + 15 * MINUTE),)
    record = lease.claim(plain(), now=late, locked_until=late + MINUTE, token="t", holder="host:1:t")
    attempt = Attempt(how, DUE, late, None if how is AttemptEnd.PASSED else late, go_to=DUE, pauses=pauses)
    after = end(record, SPEC, LATEST, attempt, now=late, retry_delay=SECOND, revision=REVISION)
    first, last = DUE + 10 * MINUTE, DUE + 14 * MINUTE
    assert list(after.skips) == [Skipped(first, last, 5, True, "paused")]
    new = changed(after.change)
    assert State(new.state).fields["window"] == [DUE + 9 * MINUTE, last, 0]
    runs = {run.outcome: (run.scheduled_at, run.last, run.ended_at) for run in latest_runs(new.state)}
    succeeded = {"succeeded": (DUE, None, late)} if how is AttemptEnd.SUCCEEDED else {}
    assert runs == {"skipped": (first, last, late), **succeeded}


def test_what_comes_due_while_the_template_is_paused_overlaps_no_run() -> None:
    began = NOW - 20 * MINUTE
    record, since = replace(plain(), due_at=began), NOW - 10 * MINUTE
    overlapping = Policies(keep_runs=5, overlap=Overlap.SKIP)
    after = ended(record, AttemptEnd.SUCCEEDED, overlapping, started_at=began, pauses=((since, HELD),))
    assert changed(after.change).due_at == NOW - 9 * MINUTE
    assert [(one.reason, one.count) for one in after.skips] == [("overlap", 10)]


def test_the_occurrence_after_a_skip_comes_due_with_its_jitter() -> None:
    jittering = Policies(jitter=datetime.timedelta(seconds=50))
    new = changed(ended(plain(), AttemptEnd.PASSED, jittering, go_to=NOW + MINUTE).change)
    assert new.due_at < new.ready_at == came_due(SPEC, jittering, new.key, new.due_at) < NOW + 2 * MINUTE


def test_an_instance_that_ends_with_a_skip_is_kept_for_retain() -> None:
    keeping = Policies(retain=datetime.timedelta(hours=1))
    new = changed(ended(plain(), AttemptEnd.PASSED, keeping, go_to=None).change)
    assert new.ready_at == Band.COMPLETED.at(NOW + 60 * MINUTE)


CANCELLING = Policies(keep_runs=5, overlap=Overlap.CANCEL)


def test_a_retry_at_the_end_of_the_lease_is_not_moved_forward() -> None:
    """The next claim finds that it is superseded."""
    record = replace(plain(), due_at=NOW)
    after = ended(record, AttemptEnd.FAILED, CANCELLING, error=ZeroDivisionError("no"))
    assert (after.again_at, changed(after.change).locked_until) == (None, record.locked_until)


def test_a_retry_of_a_manual_run_is_not_superseded() -> None:
    policies = replace(CANCELLING, retry=RETRYING.retry)
    after = ended(beside(), AttemptEnd.FAILED, policies, error=ZeroDivisionError("no"))
    assert after.again_at == changed(after.change).ready_at == NOW - 1 + 5 * MINUTE


def test_a_retry_is_not_superseded_by_skipped_occurrences() -> None:
    policies, state = replace(CANCELLING, retry=RETRYING.retry), State("")
    state.set("window", [NOW, NOW + 2 * MINUTE, 0])
    record = replace(plain(), due_at=NOW, state=state.text(4))
    after = ended(record, AttemptEnd.FAILED, policies, error=ZeroDivisionError("no"))
    assert after.again_at == NOW + 3 * MINUTE


def test_a_retry_is_superseded_when_the_next_occurrence_comes_due_with_its_jitter() -> None:
    policies = replace(CANCELLING, retry=RETRYING.retry, jitter=datetime.timedelta(seconds=50))
    record = replace(plain(), due_at=NOW)
    after = ended(record, AttemptEnd.FAILED, policies, error=ZeroDivisionError("no"))
    assert after.again_at == came_due(SPEC, policies, record.key, NOW + MINUTE) > NOW + MINUTE
