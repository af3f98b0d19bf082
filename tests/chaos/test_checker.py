"""The checker finds each kind of problem, and excuses only those that a fault explains."""

from __future__ import annotations

import pytest

from .checker import Checker, Verdict
from .faults import EVERYBODY, SHORT_STOP, Fault
from .journal import SECOND, Call, Execution, History, Trouble

LEASE = 3 * SECOND
OFFSET = 1_000_000 * SECOND


def executed(
    process: str,
    at: float,
    *,
    claimed: float | None = None,
    lasting: float | None = 0.0,
    name: str = "s1",
    what: str = "",
) -> Execution:
    """:param at: when it starts; by default also its occurrence and its claim."""
    begun = round(at * SECOND)
    fence = begun if claimed is None else round(claimed * SECOND)
    ended = None if lasting is None else begun + round(lasting * SECOND)
    outcome = "" if lasting is None else "ok"
    return Execution(process, name, what or str(begun + OFFSET), 1, fence + OFFSET, begun, ended, outcome)


def verdict(*executions: Execution, faults: tuple[Fault, ...] = (), seconds: int = 1, name: str = "s1") -> Verdict:
    """Check an instance that is due this many times, from second 10 on."""
    first = 10 * SECOND + OFFSET
    expected = {name: (first, first + (seconds - 1) * SECOND)}
    return Checker(History(list(executions)), faults, expected, OFFSET, LEASE).check()


def fault(kind: str, target: str, began: float, ended: float, detail: str = "") -> Fault:
    return Fault(kind, detail, target, round(began * SECOND), round(ended * SECOND))


KILL = fault("kill", "0.0", 10.5, 10.5)
TEN = str(10 * SECOND + OFFSET)


def test_nothing_is_wrong() -> None:
    found = verdict(executed("0.0", 10), executed("1.0", 11), seconds=2)
    assert not found.wrong
    assert (found.occurrences, found.executions, found.lags) == (2, 2, [0, 0])


@pytest.mark.parametrize("lasting", [None, 0.0])
def test_lost(lasting: float | None) -> None:
    """Not executed, or started but never ended."""
    beginning = [executed("0.0", 11, lasting=None)] if lasting is None else []
    found = verdict(executed("0.0", 10), *beginning, seconds=2)
    assert len(found.lost) == len(found.wrong) == 1


def test_early() -> None:
    found = verdict(executed("0.0", 9.99, what=TEN))
    assert len(found.early) == len(found.wrong) == 1


def test_a_moment_that_is_none() -> None:
    found = verdict(executed("0.0", 10), executed("0.0", 12))
    assert len(found.broken) == len(found.wrong) == 1


@pytest.mark.parametrize(
    "faults, again, explained",
    [
        ((KILL,), 13.0, True),
        ((KILL,), 12.8, False),  # within the lease
        ((), 13.0, False),
        ((fault("kill", "1.0", 10.5, 10.5),), 13.0, False),  # another worker
        ((fault("kill", "0.1", 10.5, 10.5),), 13.0, False),  # its successor
        ((fault("kill", "0.0", 9.5, 9.5),), 13.0, False),  # before the claim
        ((fault("kill", "0.0", 14.0, 14.0),), 13.0, False),  # too late
        ((fault("network", "0", 9.5, 10.5),), 13.0, True),
        ((fault("restart", EVERYBODY, 11, 12),), 13.0, True),
        ((fault("stop", "0.0", 10.5, 11, SHORT_STOP),), 13.0, False),
    ],
)
def test_executed_again(faults: tuple[Fault, ...], again: float, explained: bool) -> None:
    found = verdict(executed("0.0", 10, lasting=None), executed("1.0", again, what=TEN), faults=faults)
    assert len(found.unexplained) == len(found.wrong) == (0 if explained else 1)
    assert sum(found.explained.values()) == (1 if explained else 0)


def test_a_worker_that_stood_still_by_itself() -> None:
    history = History([executed("0.0", 10, lasting=None), executed("1.0", 13, what=TEN)])
    history.troubles.append(Trouble("0.0", "stall", 11 * SECOND, 12 * SECOND))
    found = Checker(history, (), {}, OFFSET, LEASE).check()
    assert not found.wrong
    assert found.explained == {"stall": 1}


def test_a_retry_is_none() -> None:
    first = executed("0.0", 10)
    first.outcome = "failed"
    assert not verdict(first, executed("1.0", 10.5, what=TEN)).wrong


def test_two_occurrences_at_the_same_time() -> None:
    found = verdict(executed("0.0", 10, lasting=5), executed("1.0", 11), seconds=2)
    assert len(found.unexplained) == len(found.wrong) == 1


def test_a_token_twice() -> None:
    found = verdict(executed("0.0", 10), executed("1.0", 13, claimed=10, what=TEN), faults=(KILL,))
    assert "twice with the token" in found.broken[0]


def test_at_most_once() -> None:
    twice = executed("0.0", 10, name="o1"), executed("1.0", 13, name="o1", what=TEN)
    assert len(verdict(*twice, faults=(KILL,), name="o1").broken) == 1
    never = executed("0.0", 11, name="o1")
    assert len(verdict(never, seconds=2, name="o1").lost) == 1
    found = verdict(never, faults=(KILL,), seconds=2, name="o1")
    assert not found.wrong
    assert found.never_begun == 1


@pytest.mark.parametrize("at, excused", [(19.0, False), (25.0, True), (129.0, True), (134.0, False)])
def test_at_most_once_long_after_its_moment(at: float, excused: bool) -> None:
    """It was claimed after the previous occurrence and before the next one, so a fault at any other time doesn't
    explain it."""
    before = executed("0.0", 20, name="o1", what=TEN)
    after = executed("0.0", 130, name="o1", what=str(12 * SECOND + OFFSET))
    found = verdict(before, after, faults=(fault("kill", "0.0", at, at),), seconds=3, name="o1")
    assert (found.never_begun, len(found.lost)) == ((1, 0) if excused else (0, 1))


@pytest.mark.parametrize("at, excused", [(9.0, False), (11.0, True)])
def test_at_most_once_and_a_slow_storage(at: float, excused: bool) -> None:
    """It may be unknown whether the end was stored: then it is not executed."""
    history = History([executed("0.0", 10, name="o1")])
    history.troubles.append(Trouble("1.0", "storage slow", round(at * SECOND), round(at * SECOND)))
    first = 10 * SECOND + OFFSET
    found = Checker(history, (), {"o1": (first, first + SECOND)}, OFFSET, LEASE).check()
    assert (found.never_begun, len(found.lost)) == ((1, 0) if excused else (0, 1))


def call(operation: str, began: float, outcome: str = "ok", word: str = "", name: str = "p") -> Call:
    moment = round(began * SECOND)
    return Call(operation, name, word, moment, moment + SECOND // 10, outcome)


@pytest.mark.parametrize(
    "ended, lasting, excused",
    [(10.5, 0.1, True), (10.1, 0.1, False), (10.5, None, False)],  # in the last case, it is still being executed
)
def test_scheduled_again(ended: float, lasting: float | None, excused: bool) -> None:
    """By one call that was repeated after its answer was lost, when the instance had already ended."""
    first = executed("0.0", 10, name="x1", lasting=lasting, what=TEN)
    second = executed("0.0", 10.3, name="x1", what=TEN)
    calls = [Call("once", "x1", "", round(9.9 * SECOND), round(ended * SECOND), "ok")]
    found = Checker(History([first, second], [], calls), (), {}, OFFSET, LEASE).check()
    assert (sum(found.explained.values()), len(found.unexplained)) == ((1, 0) if excused else (0, 1))


def told(calls: list[Call], *executions: Execution) -> list[str]:
    return Checker(History(list(executions), [], calls), (), {}, OFFSET, LEASE).check().wrong


def p(at: float, what: str = "") -> Execution:
    return executed("0.0", at, name="p", what=what)


def test_a_token_tells_the_earliest_moment_of_a_claim() -> None:
    """The execution was claimed after the call, although its token is older."""
    late = executed("0.0", 12, claimed=10.9, name="p")
    assert not told([call("pause", 10), call("resume", 11)], late)
    assert not told([call("unschedule", 10), call("schedule", 11)], late)
    assert told([call("pause", 10), call("resume", 12.5)], late)


@pytest.mark.parametrize("operation, wrong", [("replace", 0), ("trigger", 1)])
def test_replaced_while_it_ran(operation: str, wrong: int) -> None:
    """A replacement takes its lease away; a trigger waits."""
    long = executed("0.0", 10, lasting=5, name="p")
    calls = [call(operation, 10.5, "refused" if wrong else "ok"), call("schedule", 1)]
    assert len(told(calls, long, p(11.5))) == wrong


@pytest.mark.parametrize(
    "calls, executions, wrong",
    [
        ([call("trigger", 10, word="7")], [], True),
        ([call("trigger", 10, word="7")], [p(11, "#7")], False),
        ([call("trigger", 10, "unknown", "7")], [], False),
        ([call("trigger", 10, word="7"), call("replace", 11)], [], False),
        ([call("replace", 9), call("trigger", 10, word="7")], [], True),
        ([call("once", 10)], [], True),
        ([call("once", 10)], [p(11)], False),
        ([call("unschedule", 10)], [p(10.05)], False),  # it was claimed before the answer came
        ([call("unschedule", 10)], [p(11)], True),
        ([call("unschedule", 10), call("schedule", 10.5)], [p(11)], False),
        ([call("unschedule", 10, "unknown")], [p(11)], False),
        ([call("pause", 10)], [p(11)], True),
        ([call("pause", 10)], [p(11, "#7")], False),
        ([call("pause", 10), call("resume", 10.5)], [p(11)], False),
        ([call("resume", 9), call("pause", 10)], [p(11)], True),
        ([call("pause", 10, name=""), call("schedule", 1)], [p(11)], False),  # workers need time to learn of it
        ([call("pause", 10, name=""), call("schedule", 1)], [p(15)], True),
        ([call("pause", 10, name=""), call("schedule", 1), call("resume", 11, name="")], [p(15)], False),
    ],
)
def test_calls_of_operators(calls: list[Call], executions: list[Execution], wrong: bool) -> None:
    assert len(told(calls, *executions)) == wrong
