"""The state text: what has happened to an instance, including fields that this version doesn't know."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyncette._tasks.spec import Spec, encode, keep_unknown
from pyncette._tasks.state import Attempts, Run, State, after_success, described, last_settled, latest_runs, totals
from pyncette.schedule import Interval

NOW = 1_800_000_000_000_000
WORKER = "host:123"

fences = st.integers(-(2**63), 2**63 - 1)
moments = st.integers(-(2**60), 2**60)
texts = st.text(st.characters(exclude_categories=[]), max_size=20) | st.sampled_from(["]]", "],[", "}", '"runs":[['])


def run(**other: Any) -> Run:
    fields = {"scheduled_at": NOW, "started_at": NOW + 5, "ended_at": NOW + 9, "attempts": 1, "outcome": "succeeded"}
    return Run(**{**fields, "worker": WORKER, **other})


def succeeded(text: str, fence: int, keep: int = 3) -> str | None:
    return after_success(
        text, fence, keep, scheduled_at=NOW, started_at=NOW + 5, ended_at=NOW + 9, attempts=1, worker=WORKER
    )


def decoded(text: str, fence: int, keep: int = 3) -> str:
    """The same result via decoding."""
    state = State(text)
    state.add(run(), keep)
    return state.text(fence)


@given(fences, fences)
def test_the_fence_that_was_settled_last(first: int, second: int) -> None:
    state = succeeded("", first)
    assert state is not None
    assert last_settled(state) == first
    assert last_settled(succeeded(state, second) or "") == second


@pytest.mark.parametrize("text", ["", '{"v":1}', '{"v":1,"fence":"text"}', "x", "[]", "null", "[" * 100_000])
def test_nothing_was_settled(text: str) -> None:
    assert last_settled(text) is None
    assert json.loads(decoded(text, 7)) == {"v": 1, "fence": 7, "ok": 1, "runs": [[NOW, 5, 4, 1, "succeeded", WORKER]]}


others = st.builds(
    run,
    started_at=st.none() | moments,
    ended_at=moments,
    attempts=st.integers(0, 9),
    outcome=st.sampled_from(["succeeded", "failed", "superseded"]),
    error=texts,
    reason=texts,
    lost=st.lists(texts, max_size=2).map(tuple),
)


@given(st.lists(others, max_size=5), st.integers(0, 4), st.integers(0, 4), fences)
def test_editing_the_text_equals_decoding(runs: list[Run], kept: int, keep: int, fence: int) -> None:
    state = State("")
    for one in runs:
        state.add(one, kept)
    text = state.text(3)
    edited = succeeded(text, fence, keep)
    plain = all(one.outcome == "succeeded" and not (one.error or one.reason or one.lost) for one in runs)
    if edited is None:
        assert not (plain and runs and kept and keep and fence is not None), "decoded without need"
    else:
        assert edited == decoded(text, fence, keep)


@pytest.mark.parametrize("field", ["row", "now", "window", "later"])
def test_unknown_texts_are_decoded(field: str) -> None:
    text = decoded("", 1)[:-1] + f',"{field}":{{"a":[[1]]}}}}'
    assert succeeded(text, 2) is None
    assert json.loads(decoded(text, 2))[field] == {"a": [[1]]}


@given(texts)
def test_a_damaged_text_never_prevents_settling(damage: str) -> None:
    whole = decoded(decoded("", 1), 2)
    for place in range(0, len(whole), 7):
        text = whole[:place] + damage + whole[place + 2 :]
        for _ in range(3):  # an edit may leave it damaged; in the end it starts over
            text = succeeded(text, 3) or decoded(text, 3)


def test_a_task_that_failed_once_is_still_edited() -> None:
    state = State("")
    state.add(run(outcome="failed", error="ValueError: ]]"), 1)
    text = decoded(state.text(1), 2, keep=1)
    assert json.loads(text)["past"] == {"failed": 1}
    edited = succeeded(text, 3, keep=1)
    assert edited == decoded(text, 3, keep=1)
    assert totals(edited) == {"succeeded": 2, "failed": 1}


@given(st.lists(others, max_size=4))
def test_runs_are_read_as_they_were_written(runs: list[Run]) -> None:
    state = State("")
    for one in runs:
        state.add(one, 3)
    assert latest_runs(state.text(1)) == runs[-3:]


def test_runs_that_cannot_be_read_are_left_out() -> None:
    good = [NOW, 5, 4, 1, "succeeded", WORKER]
    text = json.dumps({"v": 1, "runs": [good, 7, [], [1, 2], [*good, 5], [*good, {"later": 1}], ["x", *good[1:]]]})
    assert latest_runs(text) == [run(), run()]


@pytest.mark.parametrize(
    "now", [None, 5, {}, {"due": 7}, {"due": NOW, "ended": "x"}, {"due": NOW, "ended": 9}, {"due": NOW, "lost_with": 3}]
)
def test_attempts_of_another_run_and_damaged_ones_are_no_attempts(now: object) -> None:
    assert State(json.dumps({"v": 1, "now": now})).attempts(NOW, 3) == Attempts(NOW)


def test_attempts_are_read_as_they_were_written() -> None:
    attempts = Attempts(NOW, ended=3, failed=1, lost=1, first=NOW + 1, lost_with=["a:1"], error="E: x")
    state = State(succeeded("", 1) or "")
    state.record_attempts(attempts)
    again = State(state.text(2))
    assert again.attempts(NOW, 3) == attempts
    again.record_attempts(None)
    assert again.text(1) == succeeded("", 1)


def test_errors_are_truncated() -> None:
    assert described(ValueError("x" * 1000)) == "ValueError: " + "x" * 488


def test_fields_of_a_later_version_are_kept() -> None:
    later = '{"v":1,"fence":3,"plans":[1,2]}'
    assert json.loads(decoded(later, 4))["plans"] == [1, 2]
    assert last_settled(later) == 3


def test_a_new_spec_keeps_unknown_fields() -> None:
    old = '{"v":1,"every":5,"later":9,"args":{"a":1}}'
    new = encode(Spec(Interval(7)))
    assert json.loads(keep_unknown(old, new)) == {"v": 1, "every": 7, "later": 9}
    assert keep_unknown(encode(Spec(Interval(5), '{"a":1}')), new) == new


@pytest.mark.parametrize("damaged", ["", "x", "[]", "7", "[" * 100_000])
def test_a_damaged_spec_has_no_fields_to_keep(damaged: str) -> None:
    assert keep_unknown(damaged, '{"v":1,"every":7}') == '{"v":1,"every":7}'


@pytest.mark.parametrize(
    "text, keep",
    [
        ('{"v":1,"fence":4,"why":"","ok":3,"runs":[]}', 0),
        ('{"v":1,"fence":4,"ok":many,"runs":[[1,2,3,1,"succeeded","w"]]}', 1),
    ],
)
def test_a_differently_formatted_text_is_decoded(text: str, keep: int) -> None:
    assert succeeded(text, 5, keep) is None
