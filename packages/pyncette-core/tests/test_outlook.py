"""What is known about when queues have something, between two queries of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from pyncette._leases.moments import Moments
from pyncette.record import Look

POLL = 100
NOW = 1000
QUEUES = ("a", "b", "c")


def every(queue: str) -> bool:
    return True


def other_than(closed: str) -> Callable[[str], bool]:
    return lambda queue: queue != closed


def answer(moments: Mapping[str, Sequence[int]], next_ready: int | None = None) -> Look:
    first = min((times[0] for times in moments.values()), default=next_ready)
    return Look(first, [], None, moments)


def made(moments: Mapping[str, Sequence[int]], next_ready: int | None = None, *, most: int = 3) -> Moments:
    """All queues were queried at :data:`NOW`."""
    found = Moments(POLL, most)
    found.start(QUEUES)
    found.all_answered(answer(moments, next_ready), NOW, NOW + POLL)
    return found


def next_of(moments: Moments, now: int = NOW, claimable: Callable[[str], bool] = every) -> int | None:
    return moments.next(now, claimable=claimable)


def test_all_queues_are_queried_once_per_interval() -> None:
    moments = Moments(POLL, 3)
    assert moments.is_old(NOW)
    moments.all_answered(answer({}), NOW, NOW + POLL)
    assert not moments.is_old(NOW + POLL - 1)
    assert moments.is_old(NOW + POLL)
    assert moments.is_old(NOW - 1), "the clock was put back"
    moments.start(QUEUES)
    assert moments.is_old(NOW)


@pytest.mark.parametrize(
    "moments, expected",
    [
        (made({}), None),
        (made({}, NOW + 500), NOW + 500),
        (made({"a": [NOW + 7, NOW + 9], "b": [NOW + 5]}), NOW + 5),
        (made({"a": [NOW - 7], "b": [NOW - 5]}), NOW - 7),
        (made({}, NOW - 7), NOW + POLL),  # another worker claimed it before the moments were read
    ],
)
def test_the_next_moment(moments: Moments, expected: int | None) -> None:
    assert next_of(moments) == expected


def test_claimed_moments_are_removed() -> None:
    moments = made({"a": [NOW - 7, NOW + 9], "b": [NOW - 5]})
    assert set(moments.due(NOW)) == {"a", "b"}
    moments.claimed(["a"], NOW, moments.passed)
    assert set(moments.due(NOW)) == {"b"}
    moments.claimed(["b"], NOW, moments.passed)
    assert next_of(moments) == NOW + 9
    moments.claimed(list(moments.due(NOW + 9)), NOW + 9, moments.passed)
    assert next_of(moments, NOW + 9) == NOW + POLL, "what comes later has to be asked for"


def test_what_comes_due_during_a_claim_remains() -> None:
    moments = made({"a": [NOW - 7]})
    moments.due(NOW)
    came = moments.passed
    moments.note("a", NOW)
    assert set(moments.due(NOW)) == {"a"}
    moments.claimed(["a"], NOW, came)
    assert next_of(moments) == NOW - 7


def test_moments_stored_by_this_process_are_known() -> None:
    moments = made({}, NOW + 5000)
    moments.note("another app's", NOW + 1)
    assert next_of(moments) == NOW + 5000
    moments.note("a", NOW + 3000)
    assert next_of(moments) == NOW + 3000, "not asked for yet"
    moments.note("b", NOW + 50)
    assert next_of(moments) == NOW + 50
    moments.all_answered(answer({}), NOW + 1, NOW + 1 + POLL)
    assert next_of(moments) == NOW + 50, "an index that lags behind does not show it"


def test_before_the_first_query() -> None:
    moments = Moments(POLL, 3)
    moments.start(QUEUES)
    moments.note("a", NOW + 1)
    moments.all_answered(answer({}), NOW, NOW + POLL)
    assert next_of(moments) == NOW + 1


def test_a_truncated_result_is_queried_again() -> None:
    moments = made({"a": [NOW + 1, NOW + 1, NOW + 2], "b": [NOW + 2]})
    for now, unsure in ((NOW + 1, []), (NOW + 2, ["a"])):
        moments.claimed(list(moments.due(now)), now, moments.passed)
        assert moments.unsure(now, claimable=every, claimed=True) == unsure
    moments.ask(["a"])
    moments.answered(["a"], answer({"a": [NOW + 4]}))
    assert moments.unsure(NOW + 2, claimable=every, claimed=True) == []
    assert next_of(moments, NOW + 2) == NOW + 4


def test_a_failed_query_is_repeated() -> None:
    moments = made({"a": [NOW]})
    moments.ask(moments.unsure(NOW, claimable=every, claimed=False))
    assert moments.unsure(NOW, claimable=every, claimed=True) == ["a"]


def test_due_queues_are_queried_again() -> None:
    moments = made({"a": [NOW - 1, NOW + 5, NOW + 6], "b": [NOW + 8]})
    assert moments.unsure(NOW, claimable=every, claimed=False) == ["a"]
    moments.ask(["a"])
    moments.answered(["a"], answer({"a": [NOW + 6]}))
    assert next_of(moments) == NOW + 6, "its earlier answer is out of date"


def test_unclaimable_queues_are_ignored() -> None:
    moments = made({"a": [NOW - 1], "b": [NOW + 3]})
    assert next_of(moments, claimable=other_than("a")) == NOW + 3
    assert moments.unsure(NOW, claimable=other_than("a"), claimed=False) == []
    assert next_of(moments) == NOW - 1, "once it may"
