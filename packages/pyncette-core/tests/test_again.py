"""Whether another attempt follows, when, and with which reason."""

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
        assert found.at is None or type(found.at) is int  # storages refuse floats


def test_a_retry_function_gets_the_number_of_failed_attempts_and_the_error() -> None:
    seen: list[Any] = []
    failed(by_function(datetime.timedelta(0), seen))
    assert seen == [(1, ERROR)]


@pytest.mark.parametrize(
    "first, given_up", [(None, False), (NOW - 5 * SECOND, False), (NOW - 5 * SECOND - 1, True)], ids=str
)
def test_max_elapsed_counts_from_the_first_attempt(first: int | None, given_up: bool) -> None:
    expected = GivenUp("max_elapsed has passed") if given_up else Again(NOW + 5 * SECOND)
    assert failed(Policies(retry=BOUNDED), first=first) == expected


def test_without_retry_a_lost_attempt_is_repeated_immediately_and_does_not_count() -> None:
    attempt = Attempt(AttemptEnd.LOST, NOW, NOW - SECOND, NOW - SECOND, worker="host:1")
    assert after_loss(Policies(), attempt, 99, Attempts(NOW), NOW, 0.5) == Again(NOW, counts=False)


def test_max_elapsed_of_a_lost_attempt_counts_from_its_beginning() -> None:
    """Unless an earlier attempt had ended."""
    for began, given_up in ((NOW - 5 * SECOND, False), (NOW - 6 * SECOND, True)):
        attempt = Attempt(AttemptEnd.LOST, NOW, NOW, began, worker="host:1")
        decision = after_loss(Policies(retry=BOUNDED), attempt, 1, Attempts(NOW), NOW, 0.5)
        assert isinstance(decision, GivenUp) is given_up
