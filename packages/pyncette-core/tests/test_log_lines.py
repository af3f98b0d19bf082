"""Lines of the run log, and the position of missed occurrences in their queue."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pyncette._lifecycle.extra import request
from pyncette._lifecycle.log import Logged, decode, encode, line
from pyncette._lifecycle.queueing import LATE, RECENT, is_retry_of_missed, queued, to_backlog
from pyncette._lifecycle.values import Attempt, AttemptEnd, Ended, Skipped
from pyncette._tasks.extra import ExtraRun
from pyncette._tasks.spec import Spec
from pyncette._tasks.spec import encode as spec_text
from pyncette._tasks.state import Attempts, State
from pyncette.events import RunOutcome
from pyncette.record import Record
from pyncette.schedule import Interval

NOW = 1_800_000_000_000_000
SPEC = Spec(Interval(60_000_000))
RECORD = Record("queue", "task:a", NOW, NOW, None, None, "r", 17, 3, spec_text(SPEC), "")
SKIPS = (Skipped(1, 2, 2, True, "late"), Skipped(3, 3, 1, False, "overlap"))


def attempt(end: AttemptEnd = AttemptEnd.FAILED, error: BaseException | None = None) -> Attempt:
    return Attempt(end, NOW, NOW + 9, NOW + 1, error, "host:1")


def logged(ended: Ended, made: Attempt, record: Record = RECORD, *, errors_only: bool = False) -> Logged:
    found = line(record, made, ended, errors_only=errors_only)
    assert found is not None
    read = decode(found.text)
    assert read is not None
    return read


def test_the_id_of_a_line_is_deterministic() -> None:
    first, second = (line(RECORD, attempt(), Ended(None, "failed"), errors_only=True) for _ in range(2))
    assert first == second
    assert first is not None
    assert first.id == f"{NOW:x}-11-e63097eb3f5aac6a"
    assert (first.queue, first.key, first.ended_at, first.outcome) == ("queue", "task:a", NOW + 9, "failed")
    others = [replace(RECORD, fence=18), replace(RECORD, key="task:b")]
    found = [line(other, attempt(), Ended(None, "failed"), errors_only=True) for other in others]
    assert len({one.id for one in [first, *found] if one is not None}) == 3


@pytest.mark.parametrize(
    "outcome, skips, written, of_errors",
    [
        ("failed", (), "failed", True),
        ("superseded", SKIPS, "superseded", True),
        ("succeeded", SKIPS, "succeeded", False),
        ("skipped", (), "skipped", False),
        (None, SKIPS, "skipped", False),
        (None, (), None, False),
    ],
)
def test_what_is_logged(
    outcome: RunOutcome | None, skips: tuple[Skipped, ...], written: str | None, of_errors: bool
) -> None:
    ended = Ended(None, outcome, skips=skips)
    for errors_only in (False, True):
        found = line(RECORD, attempt(), ended, errors_only=errors_only)
        assert (None if found is None else found.outcome) == (written if of_errors or not errors_only else None)


def test_the_content_of_a_line() -> None:
    error = ValueError("no")
    whole = Logged(NOW, NOW + 1, 3, "why", "ValueError: no", "host:1", SKIPS)
    assert logged(Ended(None, "failed", "why", SKIPS), attempt(error=error)) == whole
    assert logged(Ended(None, "succeeded"), attempt(error=error)).error == ""
    assert logged(Ended(None, "failed"), attempt(AttemptEnd.LOST)).attempts == 2
    for end in (AttemptEnd.PASSED, AttemptEnd.RELEASED):
        assert logged(Ended(None, skips=SKIPS), attempt(end)).attempts == 0
    change = request(replace(RECORD, attempt=0), ExtraRun("id", NOW), now=NOW, revision="a")
    assert change is not None
    assert change.new is not None
    beside = logged(Ended(None, "failed"), attempt(), change.new)
    assert (beside.trigger, beside.run_id) == ("manual", "id")


def test_empty_fields_take_no_space() -> None:
    short = Logged(NOW, None, 0, "", "", "host:1", ())
    assert json.loads(encode(short)) == {"v": 1, "due": NOW, "n": 0, "worker": "host:1"}
    assert encode(replace(short, worker="hôst")) == f'{{"v":1,"due":{NOW},"n":0,"worker":"hôst"}}'
    kept = Logged(NOW, NOW + 1, 2, "why", "error", "host:1", SKIPS, "manual", "id")
    assert json.loads(encode(kept)) == {
        "v": 1,
        "due": NOW,
        "n": 2,
        "worker": "host:1",
        "began": NOW + 1,
        "by": "manual",
        "id": "id",
        "why": "why",
        "error": "error",
        "skips": [["late", 1, 2, 2, True], ["overlap", 3, 3, 1, False]],
    }


def test_a_line_with_only_the_required_fields_is_read() -> None:
    assert decode('{"due":1,"n":2,"worker":"w"}') == Logged(1, None, 2, "", "", "w", ())


def test_occurrences_missed_long_ago_join_the_end_of_the_backlog() -> None:
    assert LATE > RECENT
    for came, stands in ((NOW + 5, NOW + 5), (NOW - LATE, NOW - LATE), (NOW - LATE - 1, NOW - LATE)):
        assert queued(came, NOW) == stands
    retry = replace(RECORD, ready_at=NOW - 3, attempt=1)
    change = to_backlog(retry, NOW, "new")
    assert change.new == replace(retry, ready_at=NOW - LATE, revision="new")
    assert to_backlog(replace(retry, ready_at=NOW - LATE - 1), NOW, "new").new == replace(
        retry, ready_at=NOW - LATE - 1, revision="new"
    )


@pytest.mark.parametrize(
    "first, attempt, locked_by, repeats",
    [
        (NOW + RECENT + 1, 1, None, True),
        (NOW + RECENT, 1, None, False),
        (NOW + RECENT + 1, 0, None, False),
        (NOW + RECENT + 1, 1, "w", False),
        (None, 1, None, False),
    ],
)
def test_retries_of_late_occurrences(first: int | None, attempt: int, locked_by: str | None, repeats: bool) -> None:
    state = State("")
    state.record_attempts(Attempts(NOW, ended=attempt, first=first))
    record = replace(RECORD, attempt=attempt, locked_by=locked_by, state=state.text(5))
    assert is_retry_of_missed(record) is repeats
