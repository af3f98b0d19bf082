from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyncette._tasks.keywords import TASK_PARAMETERS
from pyncette._validation.suggest import edit_distance, near_miss, nearest

WORDS = st.text("abcd", max_size=8)


def recursive_distance(a: str, b: str) -> int:
    """The definition, without optimizations."""
    if not a or not b:
        return len(a) + len(b)
    ways = [
        recursive_distance(a[1:], b) + 1,
        recursive_distance(a, b[1:]) + 1,
        recursive_distance(a[1:], b[1:]) + (a[0] != b[0]),
    ]
    if len(a) > 1 and len(b) > 1 and a[0] == b[1] and a[1] == b[0]:
        ways.append(recursive_distance(a[2:], b[2:]) + 1)
    return min(ways)


@given(st.text("abc", max_size=5), st.text("abc", max_size=5))
def test_edit_distance_by_its_definition(a: str, b: str) -> None:
    assert edit_distance(a, b) == recursive_distance(a, b)


@given(WORDS, WORDS)
def test_edit_distance_is_symmetric(a: str, b: str) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)


@pytest.mark.parametrize(
    "word, meant",
    [
        ("lease_duraton", "lease_duration"),
        ("laese_duration", "lease_duration"),
        ("scheduel", "schedule"),
        ("shedul", "schedule"),
        ("intervall", "interval"),
        ("enable", "enabled"),
        ("nam", "name"),
        ("nmae", "name"),
        ("Timezone", "timezone"),
        ("failuremode", "failure_mode"),
    ],
)
def test_near_misses(word: str, meant: str) -> None:
    assert near_miss(word, TASK_PARAMETERS) == meant


@pytest.mark.parametrize("word", ["username", "game", "same", "user_id", "time", "date", "label", "able", "args"])
def test_words_that_are_not_typos(word: str) -> None:
    assert near_miss(word, TASK_PARAMETERS) is None


def test_nearest_gives_up_if_nothing_is_close() -> None:
    assert nearest("batchsize", ["batch_size", "redis_url"]) == "batch_size"
    assert nearest("something_else", ["batch_size", "redis_url"]) is None
    assert nearest("x", []) is None
