"""Each skip, failure and dead letter is reported once, with task, instance and reason: events, metrics, logs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from pyncette import (
    CatchUp,
    Context,
    ExecutionMode,
    FailureMode,
    GiveUp,
    OnExhausted,
    Overlap,
    Retry,
    RetryLater,
    Skip,
)
from pyncette.events import AttemptEnded, RunEnded
from pyncette.memory import MemoryRepository
from pyncette.observer import Observer
from pyncette.prometheus import use_prometheus
from pyncette.testing.contract.app.bench import Bench, duration, moment, seconds

MEANWHILE = Callable[["Harness"], Awaitable[None]]
RETRY = Retry(2, delay=duration(1), jitter=0)
ONCE = ExecutionMode.AT_MOST_ONCE


class Recorder(Observer):
    def __init__(self) -> None:
        self.runs: list[RunEnded] = []
        self.lost = 0

    def run_ended(self, event: RunEnded, /) -> None:
        self.runs.append(event)

    def attempt_ended(self, event: AttemptEnded, /) -> None:
        self.lost += event.outcome == "lost"


class Harness:
    """The instance ``a`` of the template ``crowd``, due every 60 seconds, on two workers that share an observer."""

    def __init__(self, policies: dict[str, Any], first: BaseException | int | None) -> None:
        repository = MemoryRepository()
        self.bench = Bench(lambda **_: nullcontext(repository), repository)
        self.recorder, self.registry = Recorder(), CollectorRegistry()
        self.app = self.bench.app()
        self.app.use_observer(self.recorder)
        use_prometheus(self.app, registry=self.registry)
        self.stack = AsyncExitStack()
        self.workers: list[Any] = []

        @self.app.dynamic_task(name="crowd", **policies)
        async def crowd(context: Context) -> None:
            if seconds(context.scheduled_at) != 60:
                return
            if isinstance(first, int):
                await self.bench.clock.sleep(first)
            elif first is not None:
                raise first

        self.crowd = crowd

    async def start(self) -> None:
        self.workers = [await self.stack.enter_async_context(self.bench.running(self.app)) for _ in range(2)]

    async def kill(self) -> None:
        for worker in self.workers:
            await worker.kill()

    async def down(self) -> None:
        """No worker runs from 70 to 270."""
        await self.bench.advance_to(70)
        await self.kill()
        await self.bench.advance_to(270)
        await self.start()

    async def die(self) -> None:
        """Kill each attempt."""
        for second in (70, 135):
            await self.bench.advance_to(second)
            await self.kill()
            await self.start()

    async def pause(self) -> None:
        context = self.workers[0].context
        await self.bench.advance_to(70)
        await context.pause_task(self.crowd, "a")
        await self.bench.advance_to(190)
        await context.resume_task(self.crowd, "a")

    async def retry(self) -> None:
        await self.bench.advance_to(190)
        await self.workers[0].context.retry_task(self.crowd, "a")


async def nothing(harness: Harness) -> None: ...


@dataclass
class Expected:
    """The expected reports: outcome, reason, first occurrence and number of unsuccessful runs; and the log lines, each
    once."""

    policies: dict[str, Any]
    first: BaseException | int | None
    meanwhile: MEANWHILE
    runs: list[tuple[str, str, float, int]]
    logged: list[str]
    lost: int = 0


CASES = {
    "late": Expected(
        {"max_lateness": duration(100)},
        None,
        Harness.down,
        [("skipped", "late", 120, 1)],
        [r"An occurrence of crowd:a is skipped \(late\)"],
    ),
    "coalesced": Expected(
        {"catch_up": CatchUp.LATEST},
        None,
        Harness.down,
        [("skipped", "coalesced", 120, 2)],
        [r"2 occurrences of crowd:a are skipped \(coalesced\)"],
    ),
    "late and coalesced, at most once": Expected(
        {"catch_up": CatchUp.LATEST, "max_lateness": duration(100), "execution_mode": ONCE},
        None,
        Harness.down,
        [("skipped", "late", 120, 1), ("skipped", "coalesced", 180, 1)],
        [r"crowd:a is skipped \(late\)", r"crowd:a is skipped \(coalesced\)"],
    ),
    "overlap": Expected(
        {"overlap": Overlap.SKIP},
        150,
        nothing,
        [("skipped", "overlap", 120, 2)],
        [r"2 occurrences of crowd:a are skipped \(overlap\)"],
    ),
    "superseded": Expected(
        {"overlap": Overlap.CANCEL},
        150,
        nothing,
        [("superseded", "", 60, 1)],
        ["crowd:a was cancelled, because its next occurrence"],
    ),
    "paused": Expected(
        {}, None, Harness.pause, [("skipped", "paused", 120, 2)], [r"2 occurrences of crowd:a are skipped \(paused\)"]
    ),
    "by the task": Expected(
        {}, Skip("nothing to do"), nothing, [("skipped", "by_task", 60, 1)], ["Task crowd:a: nothing to do"]
    ),
    "by the task, which says no more": Expected(
        {}, Skip(), nothing, [("skipped", "by_task", 60, 1)], ["Task crowd:a: Skip$"]
    ),
    "failed": Expected(
        {"retry": RETRY, "on_exhausted": OnExhausted.NEXT},
        OSError("disk full"),
        nothing,
        [("failed", "", 60, 1)],
        ["The run of crowd:a has failed after 2 attempts: OSError: disk full"],
    ),
    "failed for good": Expected(
        {"failure_mode": FailureMode.COMMIT},
        OSError("disk full"),
        nothing,
        [("failed", "", 60, 1)],
        ["Task crowd:a failed"],
    ),
    "given up": Expected(
        {"retry": RETRY},
        GiveUp("the customer is gone"),
        nothing,
        [("failed", "the customer is gone", 60, 1)],
        ["The run of crowd:a has failed: the customer is gone"],
    ),
    "given up without a reason": Expected(
        {"retry": RETRY}, GiveUp(), nothing, [("failed", "", 60, 1)], ["The run of crowd:a has failed: GiveUp$"]
    ),
    "dead, and retried": Expected(
        {"retry": RETRY, "on_exhausted": OnExhausted.HOLD},
        OSError("disk full"),
        Harness.retry,
        [("failed", "", 60, 1), ("skipped", "dead", 120, 2), ("failed", "", 60, 1)],
        [r"2 occurrences of crowd:a are skipped \(dead\)"],
    ),
    "dead": Expected(
        {"retry": RETRY, "on_exhausted": OnExhausted.HOLD},
        OSError("disk full"),
        nothing,
        [("failed", "", 60, 1)],
        ["crowd:a is dead until it is retried or rescheduled: OSError: disk full"],
    ),
    "paused after failures": Expected(
        {"retry": RETRY, "pause_after": 1},
        OSError("disk full"),
        nothing,
        [("failed", "", 60, 1)],
        ["crowd:a is paused after consecutive failures, the last one: OSError: disk full"],
    ),
    "lost with its workers": Expected(
        {"retry": Retry(2, delay=duration(1), jitter=0, max_lost=2), "catch_up": CatchUp.LATEST},
        1000,
        Harness.die,
        [("failed", "lost with its worker 2 times: WORKER", 60, 1), ("skipped", "coalesced", 120, 1)],
        ["The run of crowd:a has failed after 2 attempts: lost with its worker 2 times"],
        lost=2,
    ),
    "later, at most once": Expected(
        {"execution_mode": ONCE},
        RetryLater(duration(30), "the server is busy"),
        nothing,
        [("failed", "at most once, there is no other attempt: the server is busy", 60, 1)],
        ["The run of crowd:a has failed: at most once, there is no other attempt: the server is busy"],
    ),
    "given up, at most once": Expected(
        {"execution_mode": ONCE},
        GiveUp("the customer is gone"),
        nothing,
        [("failed", "the customer is gone", 60, 1)],
        ["The run of crowd:a has failed: the customer is gone"],
    ),
    "unknown": Expected(
        {"execution_mode": ONCE},
        1000,
        Harness.down,
        [("unknown", "", 60, 1)],
        ["It is unknown how the run of crowd:a at .* ended"],
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_each_outcome_is_reported_once(case: str, caplog: pytest.LogCaptureFixture) -> None:
    expected = CASES[case]
    harness = Harness(expected.policies, expected.first)
    async with harness.stack:
        await harness.start()
        await harness.workers[0].context.schedule_task(harness.crowd, "a", interval=duration(60))
        with caplog.at_level("INFO", "pyncette"):
            await expected.meanwhile(harness)
            await harness.bench.advance_to(290)
    ended = [event for event in harness.recorder.runs if event.outcome != "succeeded"]
    assert {(event.task, event.instance, event.key) for event in ended} == {("crowd", "a", "crowd:a")}
    runs = [
        (run.outcome, run.reason.replace(run.worker, "WORKER"), seconds(run.scheduled_at), run.count) for run in ended
    ]
    assert runs == expected.runs
    assert harness.recorder.lost == expected.lost

    counted = Counter[tuple[str, str]]()
    for outcome, reason, _, count in expected.runs:
        counted[outcome, reason if outcome == "skipped" else ""] += count
    labels = {"task_name": "crowd"}
    for (outcome, reason), count in counted.items():
        named = {**labels, "outcome": outcome, "reason": reason}
        assert harness.registry.get_sample_value("pyncette_runs_total", named) == count
    families = [family for family in harness.registry.collect() if family.name == "pyncette_runs"]
    total = sum(sample.value for family in families for sample in family.samples if sample.name.endswith("_total"))
    assert total == sum(run.count for run in harness.recorder.runs)

    for pattern in expected.logged:
        found = [record for record in caplog.records if re.search(pattern, record.getMessage())]
        assert len(found) == 1, pattern
        assert getattr(found[0], "task", None) == "crowd:a"


LATER: dict[str, tuple[dict[str, Any], RetryLater, bool, str]] = {
    "with a reason": ({}, RetryLater(duration(100), "rates are down"), False, "runs again at {0}: rates are down"),
    "without one": ({}, RetryLater(duration(100)), False, "runs again at {0}: again after 0:01:40"),
    "as an attempt": (
        {"retry": RETRY},
        RetryLater(duration(100), "rates are down", count=True),
        False,
        "runs again at {0}: rates are down",
    ),
    "paused meanwhile": (
        {},
        RetryLater(duration(100), "rates are down"),
        True,
        "runs again when it is resumed: rates are down",
    ),
    "at most once": (
        {"execution_mode": ONCE},
        RetryLater(duration(100), "rates are down"),
        False,
        "The run of crowd:a has failed: at most once, there is no other attempt: rates are down",
    ),
}


@pytest.mark.parametrize("case", LATER)
async def test_retry_later_is_logged(case: str, caplog: pytest.LogCaptureFixture) -> None:
    """The request and the time of the next run are logged in one line."""
    policies, error, paused, expected = LATER[case]
    repository = MemoryRepository()
    bench = Bench(lambda **_: nullcontext(repository), repository)
    app = bench.app()

    @app.dynamic_task(name="crowd", **policies)
    async def crowd(context: Context) -> None:
        await bench.clock.sleep(5)
        raise error

    async with bench.running(app) as worker:
        await worker.context.schedule_task(crowd, "a", interval=duration(60))
        with caplog.at_level("INFO", "pyncette"):
            await bench.advance_to(62)
            if paused:
                await worker.context.pause_task(crowd, "a")
            await bench.advance_to(90)
    [said] = [record for record in caplog.records if "crowd:a" in record.getMessage()]
    assert expected.format(moment(165)) in said.getMessage()
    assert getattr(said, "task", None) == "crowd:a"


class Unshown(Exception):
    def __str__(self) -> str:
        raise AttributeError("this error can't be shown")


NOTHING: Any = None
"""Values that a program without a reason may pass, contrary to the annotation."""

HARD: dict[str, tuple[Exception, tuple[str, str, str]]] = {
    "an error as a reason": (GiveUp(ValueError("no address")), ("failed", "no address", "GiveUp: no address")),
    "no reason": (GiveUp(NOTHING), ("failed", "", "GiveUp: None")),
    "an error as a reason of a skip": (Skip(ValueError("no")), ("skipped", "by_task", "Skip: no")),
    "given up in a task group": (
        ExceptionGroup("a", [ExceptionGroup("b", [GiveUp("no address")])]),
        ("failed", "no address", "GiveUp: no address"),
    ),
    "skipped in a task group": (ExceptionGroup("a", [Skip("no")]), ("skipped", "by_task", "Skip: no")),
    "given up in a task group where more has failed": (
        ExceptionGroup("a", [GiveUp("no address"), OSError()]),
        ("failed", "", "ExceptionGroup: a (2 sub-exceptions)"),
    ),
    "a long reason": (GiveUp("x" * 100_000), ("failed", "x" * 500, "GiveUp: " + "x" * 492)),
    "a long error": (ValueError("x" * 100_000), ("failed", "", "ValueError: " + "x" * 488)),
    "an error that can't be shown": (Unshown(), ("failed", "", "Unshown: <exception str() failed>")),
}


@pytest.mark.parametrize("policies", [{"retry": Retry(1)}, {"execution_mode": ONCE}], ids=["retry", "once"])
@pytest.mark.parametrize("case", HARD)
async def test_whatever_is_raised_ends_the_run(case: str, policies: dict[str, Any]) -> None:
    """Its end can be stored, and takes little space."""
    error, expected = HARD[case]
    repository = MemoryRepository()
    bench = Bench(lambda **_: nullcontext(repository), repository)
    app = bench.app()

    @app.task(name="task", interval=duration(60), **policies)
    async def task(context: Context) -> None:
        raise error

    async with bench.running(app) as worker:
        await bench.advance_to(62)
        state = await worker.context.get_task(task)
    assert state is not None
    assert state.state == "waiting"
    assert [(run.outcome, run.reason, run.error) for run in state.runs] == [expected]


async def test_an_error_of_a_retry_function_that_can_not_be_shown() -> None:
    repository = MemoryRepository()
    bench = Bench(lambda **_: nullcontext(repository), repository)
    app = bench.app()

    def decide(attempt: int, error: BaseException) -> None:
        raise Unshown

    task = app.task(name="task", interval=duration(60), retry=decide)(bench.log.fail)
    async with bench.running(app) as worker:
        await bench.advance_to(62)
        state = await worker.context.get_task(task)
    assert state is not None
    assert [run.reason for run in state.runs] == [
        "the function given as retry failed: Unshown: <exception str() failed>"
    ]
