"""Unknown keywords of the classes that users construct are met with the parameter that is meant."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from datetime import timedelta
from typing import Any

import pytest

from pyncette import GiveUp, Retry, RetryLater, Skip
from pyncette._tasks.retry import _WORDS
from pyncette.testing import Capabilities, ManualClock

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    "construct, args, keywords, said",
    [
        (Retry, (3,), {"retry_on": (OSError,)}, "Retry has no parameter 'retry_on': write on=(ConnectionError,)"),
        (Retry, (), {"max_retries": 3}, "'max_retries': write max_attempts=…, which counts the first attempt too."),
        (Retry, (3,), {"exclude": (OSError,)}, "'exclude': write give_up_on=(ValueError,)"),
        (Retry, (), {"max_atempts": 3}, "Retry has no parameter 'max_atempts'; did you mean 'max_attempts'?"),
        (Retry, (3,), {"zebra": 1}, "Retry has no parameter 'zebra'. Its parameters are: max_attempts, delay, factor,"),
        (Retry, (3,), {"self": 1}, "multiple values for argument 'self'"),
        (RetryLater, (), {"delay": SECOND}, "RetryLater has no parameter 'delay': write after=timedelta(seconds=…)."),
        (RetryLater, (SECOND,), {"resaon": "x"}, "'resaon'; did you mean 'reason'? Its parameters are: after, reason,"),
        (GiveUp, (), {"message": "x"}, "GiveUp has no parameter 'message': write reason='…'."),
        (Skip, (), {"why": "x"}, "Skip has no parameter 'why': write reason='…'."),
        (ManualClock, (), {"now": 0}, "ManualClock has no parameter 'now': write start=datetime(…, tzinfo=UTC)."),
        (
            Capabilities,
            (),
            {"keep_runs": True},
            "Capabilities has no parameter 'keep_runs'; did you mean 'keeps_runs'?",
        ),
    ],
)
def test_a_keyword_that_was_guessed(construct: Any, args: tuple[object, ...], keywords: Any, said: str) -> None:
    with pytest.raises(TypeError) as caught:
        construct(*args, **keywords)
    assert said in str(caught.value)


def test_words_of_other_libraries_are_no_parameters() -> None:
    known = {field.name for field in dataclasses.fields(Retry)}
    assert not known & set(_WORDS)
    assert {write.partition("=")[0] for write in _WORDS.values()} <= known


def test_what_is_missing_or_twice_is_told_by_python() -> None:
    construct: Any = Retry
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'max_attempts'"):
        construct(delay=SECOND)
    with pytest.raises(TypeError, match="multiple values for argument 'max_attempts'"):
        construct(3, max_attempts=4)


def test_the_classes_are_what_they_were() -> None:
    retry = Retry(3, delay=SECOND)
    assert [*inspect.signature(Retry).parameters] == [field.name for field in dataclasses.fields(Retry)]
    assert dataclasses.replace(retry, factor=1) == Retry(3, SECOND, 1)
    assert copy.copy(retry) == copy.deepcopy(retry) == retry
    assert str(inspect.signature(Skip)) == "(reason: 'str | BaseException' = '') -> 'None'"


class _Postponed(RetryLater):
    def __init__(self, *, minutes: int) -> None:
        super().__init__(timedelta(minutes=minutes))


def test_a_subclass_has_its_own_parameters() -> None:
    assert _Postponed(minutes=2).after == timedelta(minutes=2)
