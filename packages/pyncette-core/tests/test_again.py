"""Whether an attempt is followed by another one: the decision, what it says, and when."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from pyncette import FailureMode, GiveUp, Policies, Retry, RetryLater
from pyncette._lifecycle.again import Again, GivenUp, after_failure, after_loss
from pyncette._lifecycle.values import Attempt, AttemptEnd
from pyncette._tasks.state import Attempts

NOW = 1_800_000_000_000_001
SECOND = 1_000_000
ERROR = ZeroDivisionError("no")
BOUNDED = Retry(9, datetime.timedelta(seconds=5), jitter=0, max_elapsed=datetime.timedelta(seconds=10))


def failed(policies: Policies, error: BaseException = ERROR, *, first: int | None = None) -> Again | GivenUp:
    attempt = Attempt(AttemptEnd.FAILED, NOW, NOW, NOW - SECOND, error, "host:1")
    return after_failure(policies, attempt, Attempts(NOW, first=first), 0.5, 3 * SECOND)


def by_function(delay: Any, seen: list[Any] | None = None) -> Policies:
    def retry(attempts: int, error: BaseException) -> datetime.timedelta | None:
        if seen is not None:
            seen.append((attempts, error))
        if isinstance(delay, Exception):
            raise delay
        answer: datetime.timedelta | None = delay
        return answer

    return Policies(retry=retry)


LATER = RetryLater(datetime.timedelta(seconds=2), count=True)
NOT_COUNTED = RetryLater(datetime.timedelta(seconds=2))


@pytest.mark.parametrize(
    "policies, error, decision",
    [
        pytest.param(Policies(), GiveUp("enough"), GivenUp("enough"), id="the task gives up"),
        pytest.param(Policies(), ERROR, Again(None), id="when the lease ends"),
        pytest.param(Policies(failure_mode=FailureMode.COMMIT), ERROR, GivenUp(), id="commit"),
        pytest.param(Policies(failure_mode=FailureMode.UNLOCK), ERROR, Again(NOW + 3 * SECOND), id="unlock"),
        pytest.param(Policies(), NOT_COUNTED, Again(NOW + 2 * SECOND, counts=False), id="later, not counted"),
        pytest.param(Policies(), LATER, Again(NOW + 2 * SECOND), id="later"),
        pytest.param(Policies(retry=BOUNDED), ERROR, Again(NOW + 5 * SECOND), id="by value"),
        pytest.param(Policies(retry=Retry(1)), ERROR, GivenUp(), id="out of attempts"),
        pytest.param(by_function(datetime.timedelta(seconds=4)), ERROR, Again(NOW + 4 * SECOND), id="by function"),
        pytest.param(by_function(datetime.timedelta(seconds=-4)), ERROR, Again(NOW), id="a function: not in the past"),
        pytest.param(by_function(None), ERROR, GivenUp(), id="a function: no more"),
        pytest.param(
            by_function(OSError("disk")),
            ERROR,
            GivenUp("the function given as retry failed: OSError: disk"),
            id="a function that fails",
        ),
    ],
)
def test_after_a_failure(policies: Policies, error: BaseException, decision: Again | GivenUp) -> None:
    found = failed(policies, error)
    assert found == decision
    if isinstance(found, Again):
        assert found.at is None or type(found.at) is int  # a store would take no float


def test_a_function_is_told_how_many_attempts_have_failed_and_with_what() -> None:
    seen: list[Any] = []
    failed(by_function(datetime.timedelta(0), seen))
    assert seen == [(1, ERROR)]


@pytest.mark.parametrize(
    "first, given_up", [(None, False), (NOW - 5 * SECOND, False), (NOW - 5 * SECOND - 1, True)], ids=str
)
def test_the_time_for_all_attempts_begins_with_the_first(first: int | None, given_up: bool) -> None:
    expected = GivenUp("max_elapsed has passed") if given_up else Again(NOW + 5 * SECOND)
    assert failed(Policies(retry=BOUNDED), first=first) == expected


def test_without_a_policy_what_is_lost_is_repeated_at_once_and_does_not_count() -> None:
    attempt = Attempt(AttemptEnd.LOST, NOW, NOW - SECOND, NOW - SECOND, worker="host:1")
    assert after_loss(Policies(), attempt, 99, Attempts(NOW), NOW, 0.5) == Again(NOW, counts=False)


def test_what_is_lost_has_until_its_time_is_over_since_its_attempt_began() -> None:
    """If none had ended before."""
    for began, given_up in ((NOW - 5 * SECOND, False), (NOW - 6 * SECOND, True)):
        attempt = Attempt(AttemptEnd.LOST, NOW, NOW, began, worker="host:1")
        decision = after_loss(Policies(retry=BOUNDED), attempt, 1, Attempts(NOW), NOW, 0.5)
        assert isinstance(decision, GivenUp) is given_up
