"""Policies that contradict each other are refused at the declaration, with what to write instead."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest

from pyncette import CatchUp, Context, ExecutionMode, FailureMode, OnExhausted, Overlap, Pyncette, Retry, RetryLater

SECOND = datetime.timedelta(seconds=1)
MINUTE = datetime.timedelta(minutes=1)
ONCE = ExecutionMode.AT_MOST_ONCE


async def body(context: Context) -> None: ...


CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"retry": Retry(3), "failure_mode": FailureMode.UNLOCK}, "leave failure_mode out. Retries after a fixed time are"),
    ({"retry": Retry(3), "failure_mode": FailureMode.COMMIT}, "on_exhausted=OnExhausted.NEXT"),
    ({"retry": Retry(3), "execution_mode": ONCE}, "retry has no meaning with ExecutionMode.AT_MOST_ONCE"),
    ({"on_exhausted": OnExhausted.HOLD, "execution_mode": ONCE}, "on_exhausted has no meaning"),
    ({"failure_mode": FailureMode.UNLOCK, "execution_mode": ONCE}, "failure_mode has no meaning"),
    ({"heartbeat": "cancel", "execution_mode": ONCE}, "heartbeat='cancel' has no meaning"),
    ({"overlap": Overlap.SKIP, "execution_mode": ONCE}, "overlap has no meaning"),
    ({"overlap": Overlap.CANCEL, "execution_mode": ONCE}, "overlap has no meaning"),
    ({"timeout": 61 * SECOND, "heartbeat": False}, "longer than the lease"),
    ({"fast_forward": True, "catch_up": CatchUp.LATEST}, "fast_forward=True is catch_up=CatchUp.EARLIEST"),
    ({"jitter": 5 * MINUTE}, "must be shorter than the interval"),
]


@pytest.mark.parametrize("policies, message", CONTRADICTIONS)
def test_contradictions(policies: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Pyncette().task(interval=5 * MINUTE, **policies)(body)


def test_an_instance_that_contradicts_its_template() -> None:
    template = Pyncette().dynamic_task(jitter=MINUTE)(body)
    with pytest.raises(ValueError, match="must be shorter than the interval"):
        template.instantiate("x", interval=MINUTE)


def test_a_plain_function_can_not_be_cancelled() -> None:
    with pytest.raises(ValueError, match=r"write async def, or overlap=Overlap\.SKIP"):
        Pyncette().task(interval=MINUTE, overlap=Overlap.CANCEL)(lambda context: None)


@pytest.mark.parametrize(
    "policies",
    [
        {"timeout": MINUTE, "heartbeat": False},
        {"timeout": 61 * SECOND, "execution_mode": ONCE},
        {"timeout": 10 * MINUTE},
        {"fast_forward": True, "catch_up": CatchUp.EARLIEST},
        {"on_exhausted": OnExhausted.HOLD, "failure_mode": FailureMode.COMMIT},
        {"jitter": 5 * MINUTE - SECOND},
        {"retry": lambda attempt, error: SECOND},
    ],
)
def test_compatible_policies(policies: dict[str, Any]) -> None:
    Pyncette().task(interval=5 * MINUTE, **policies)(body)


@pytest.mark.parametrize("error, again", [(OSError(), True), (ConnectionError(), False), (KeyError(), False)])
def test_errors_count_by_their_kind_in_a_task_group_too(error: Exception, again: bool) -> None:
    retry = Retry(3, on=(OSError,), give_up_on=(ConnectionError,))
    wrapped = ExceptionGroup("outer", [ExceptionGroup("inner", [error])])
    assert (retry.allows(error), retry.allows(wrapped)) == (again, again)
    assert Retry(3).allows(ExceptionGroup("both", [error, ValueError()]))


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"retry": 3}, TypeError, "write retry=Retry(3)"),
    ({"retry": True}, TypeError, "retry is True: write retry=Retry(3)"),
    ({"retry": Retry}, TypeError, "write retry=Retry(3)"),
    ({"pause_after": 0}, ValueError, "from 1"),
    ({"pause_after": 2, "on_exhausted": OnExhausted.HOLD}, ValueError, "Leave one out"),
    ({"keep_runs": 101}, ValueError, "from 0 to 100"),
    ({"keep_runs": True}, TypeError, "whole number"),
    ({"catch_up": "latest"}, TypeError, "CatchUp.LATEST"),
    ({"overlap": "skip"}, TypeError, "Overlap.SKIP"),
    ({"timeout": 5}, TypeError, "timedelta"),
    ({"timeout": 0 * SECOND}, ValueError, "positive"),
    ({"concurrency": 0}, ValueError, "from 1"),
    ({"max_runs": 0}, ValueError, "at least 1"),
    ({"end_at": 5}, TypeError, "datetime"),
    (
        {
            "start_at": datetime.datetime(2030, 1, 2, tzinfo=datetime.UTC),
            "end_at": datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC),
        },
        ValueError,
        "earlier than start_at",
    ),
]


@pytest.mark.parametrize("policies, kind, message", WRONG)
def test_wrong_values(policies: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as e:
        Pyncette().task(interval=5 * MINUTE, **policies)(body)
    assert message in str(e.value)


def test_bounds_are_refused_for_one_offs() -> None:
    template = Pyncette().dynamic_task()(body)
    with pytest.raises(ValueError, match="execute_at is a single moment"):
        template.instantiate("x", execute_at=datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC), max_runs=2)


@pytest.mark.parametrize(
    "given",
    [
        {"max_attempts": 0},
        {"max_attempts": 3, "factor": 0.5},
        {"max_attempts": 3, "jitter": 2},
        {"max_attempts": 3, "delay": MINUTE, "max_delay": SECOND},
        {"max_attempts": 3, "max_lost": 0},
        {"max_attempts": 3, "max_elapsed": 0 * SECOND},
    ],
)
def test_retry_values_out_of_range(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        Retry(**given)


@pytest.mark.parametrize("given", [{"on": "ValueError"}, {"give_up_on": (1,)}, {"factor": "2"}, {"delay": 5}])
def test_retry_values_of_a_wrong_type(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Retry(3, **given)


def test_one_class_of_errors_needs_no_tuple() -> None:
    assert Retry(3, on=ValueError) == Retry(3, on=(ValueError,))  # type: ignore[arg-type]  # for convenience


def test_retry_later_checks_its_arguments() -> None:
    with pytest.raises(TypeError, match="timedelta"):
        RetryLater(5)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(ValueError, match="negative"):
        RetryLater(-SECOND)
