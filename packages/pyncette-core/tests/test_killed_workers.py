"""What happens to an occurrence whose worker is killed, at each point of the table in `When things go wrong`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pyncette import Context, ExecutionMode, Overlap, Pyncette, Retry, Task
from pyncette._tasks.state import totals
from pyncette.memory import MemoryRepository
from pyncette.testing import FaultPlan
from pyncette.testing.contract.app.bench import Bench, duration, moment, seconds
from pyncette.testing.faults import fail

PAGE = Path(__file__).parents[3] / "docs" / "when_things_go_wrong.md"
ONCE = {"execution_mode": ExecutionMode.AT_MOST_ONCE}
RETRY = {"retry": Retry(3, delay=duration(30), jitter=0)}


class Harness:
    """A task that is due every minute, a worker that is killed at 70, and another one that takes over."""

    def __init__(self, **policies: Any) -> None:
        repository = MemoryRepository()
        self.bench = Bench(lambda **_: nullcontext(repository), repository)
        self.victims = FaultPlan()
        self.policies = policies
        self.executed: list[str] = []

    def app(self, body: Callable[[Harness], Any] | None, **options: Any) -> tuple[Pyncette, Task]:
        app = self.bench.app(**options)

        @app.task(name="task", interval=duration(60), **self.policies)
        async def task(context: Context) -> None:
            due, at = seconds(context.scheduled_at), seconds(self.bench.clock.time)
            assert due is not None
            assert at is not None
            self.executed.append(f"{due:.0f}@{at:.0f}#{context.attempt}")
            if body is not None:
                await body(self)

        return app, task


@dataclass(frozen=True)
class Point:
    """Where a worker is killed.

    :ivar row: the row of the table.
    :ivar body: the task function on the victim.
    :ivar before: runs before the function on the victim.
    :ivar at: when it is killed.
    :ivar gone: when the victim's writes begin to be lost.
    """

    row: str
    executed: str
    totals: dict[str, int]
    policies: dict[str, Any] = field(default_factory=dict)
    body: Callable[[Harness], Any] | None = None
    before: Callable[[Harness], Any] | None = None
    at: int = 70
    gone: int | None = None
    triggered: int | None = None
    paused: tuple[int, int] | None = None


async def lasts(harness: Harness) -> None:
    await harness.bench.clock.sleep(100)


async def the_second_lasts(harness: Harness) -> None:
    if len(harness.executed) == 2:
        await harness.bench.clock.sleep(100)


async def fails(harness: Harness) -> None:
    raise RuntimeError("The task fails, says the test.")


async def storage_is_gone(harness: Harness) -> None:
    """The worker's writes no longer reach the storage."""
    harness.victims.always(fail(), "swap")


POINTS = [
    Point("before it claims the occurrence", "60@60#1 120@120#1", {"succeeded": 3}, at=50),
    Point("between the claim and the start of the function", "60@120#2 120@120#1", {"succeeded": 3}, before=lasts),
    Point("while the function runs", "60@60#1 60@120#2 120@120#1", {"succeeded": 3}, body=lasts),
    Point(
        "after the function has returned, before that is stored",
        "60@60#1 60@120#2 120@120#1",
        {"succeeded": 3},
        body=storage_is_gone,
    ),
    Point("after that is stored", "60@60#1 120@120#1", {"succeeded": 3}),
    Point("while it waits for its next attempt", "60@60#1 60@90#2 120@120#1", {"succeeded": 3}, RETRY, fails),
    Point(
        "during a requested run ([manual](operations.md), or a backfill)",
        "60@60#1 65@65#1 65@125#2 120@125#1",
        {"succeeded": 4},
        body=the_second_lasts,
        triggered=65,
    ),
    Point(
        "while the function runs, and the instance is paused in the meantime",
        "60@60#1 60@150#2",
        {"succeeded": 2, "paused": 1},
        body=lasts,
        paused=(75, 150),
    ),
    Point("with `retry`, while the function runs", "60@60#1 60@150#2 120@150#1", {"succeeded": 3}, RETRY, lasts),
    Point(
        "with `retry`, while the function runs, for the last time that `max_lost` allows",
        "60@60#1 120@120#1",
        {"succeeded": 2, "failed": 1},
        {"retry": Retry(3, max_lost=1)},
        lasts,
    ),
    Point(
        "with `max_lateness`, while the function runs",
        "60@60#1 60@120#2 120@120#1",
        {"succeeded": 3},
        {"max_lateness": duration(30)},
        lasts,
    ),
    Point(
        "with `overlap=Overlap.SKIP`, while the function runs",
        "60@60#1 60@120#2",
        {"succeeded": 2, "overlap": 1},
        {"overlap": Overlap.SKIP},
        lasts,
    ),
    Point(
        "with `overlap=Overlap.CANCEL`, while the function runs",
        "60@60#1 120@120#1",
        {"succeeded": 2, "superseded": 1},
        {"overlap": Overlap.CANCEL},
        lasts,
    ),
    Point("at most once, before its start is stored", "60@120#2 120@120#1", {"succeeded": 3}, ONCE, gone=59),
    Point("at most once, before the function starts", "120@120#1", {"succeeded": 2, "unknown": 1}, ONCE, before=lasts),
    Point(
        "at most once, while the function runs", "60@60#1 120@120#1", {"succeeded": 2, "unknown": 1}, ONCE, body=lasts
    ),
    Point(
        "at most once, after the function has returned, before that is stored",
        "60@60#1 120@120#1",
        {"succeeded": 2, "unknown": 1},
        ONCE,
        storage_is_gone,
    ),
    Point(
        "at most once, during a requested run",
        "60@60#1 65@65#1 120@120#1",
        {"succeeded": 3, "unknown": 1},
        ONCE,
        the_second_lasts,
        triggered=65,
    ),
]


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.row)
async def test_the_occurrence_of_a_killed_worker(point: Point) -> None:
    harness = Harness(**point.policies)
    victim, task = harness.app(point.body, repository_factory=harness.victims.wrap(harness.bench.factory))
    other, _ = harness.app(None)

    @victim.middleware
    async def come_before(context: Context, following: Callable[[], Any]) -> None:
        if point.before is not None:
            await point.before(harness)
        await following()

    async with harness.bench.running(victim) as worker:
        if point.gone is not None:
            await harness.bench.advance_to(point.gone)
            await storage_is_gone(harness)
        if point.triggered is not None:
            await harness.bench.advance_to(point.triggered)
            await worker.context.trigger_task(task)
        await harness.bench.advance_to(point.at)
        await worker.kill()
        harness.victims.always(fail())  # writes that were on their way are lost, too
        async with harness.bench.running(other) as successor:
            if point.paused is not None:
                since, until = point.paused
                await harness.bench.advance_to(since)
                await successor.context.pause_task(task)
                await harness.bench.advance_to(until)
                await successor.context.resume_task(task)
            await harness.bench.advance_to(190)
            stored = await harness.bench.stored(task)
    assert " ".join(harness.executed) == f"{point.executed} 180@180#1"
    assert stored is not None
    assert totals(stored.state) == point.totals


ALL_RENEWALS = "all renewals, until the lease has expired"


@pytest.mark.parametrize("heartbeat", [True, "cancel"])
async def test_all_renewals_are_lost(heartbeat: Any) -> None:
    """The victim's writes are lost from the start of the execution on."""
    ended: list[str] = []

    async def is_cut_off(harness: Harness) -> None:
        await storage_is_gone(harness)
        try:
            await lasts(harness)
            ended.append("by itself")
        finally:
            ended.append(f"at {seconds(harness.bench.clock.time):.0f}")

    harness = Harness(heartbeat=heartbeat)
    victim, task = harness.app(is_cut_off, repository_factory=harness.victims.wrap(harness.bench.factory))
    other, _ = harness.app(None)
    async with harness.bench.running(victim):
        await harness.bench.advance_to(61)
        async with harness.bench.running(other):
            await harness.bench.advance_to(170)
            stored = await harness.bench.stored(task)
    assert " ".join(harness.executed) == "60@60#1 60@120#2 120@120#1"
    # The victim notices at its next renewal, within a poll interval.
    assert ended in ([["by itself", "at 160"]] if heartbeat is True else [["at 120"], ["at 121"]])
    assert stored is not None
    assert totals(stored.state) == {"succeeded": 2}


def test_the_page_has_all_points() -> None:
    page = PAGE.read_text()
    assert [row for row in [*(point.row for point in POINTS), ALL_RENEWALS] if f"| {row} |" not in page] == []


async def test_a_one_off_at_most_once_leaves_nothing() -> None:
    """As documented, its outcome is not recorded anywhere."""
    harness = Harness()
    app = harness.bench.app()

    async def body(context: Context) -> None:
        harness.executed.append(context.task.name)
        await lasts(harness)

    template = app.dynamic_task(name="template", execution_mode=ExecutionMode.AT_MOST_ONCE)(body)
    async with harness.bench.running(app) as worker:
        await worker.context.schedule_task(template, "one", execute_at=moment(60))
        await harness.bench.advance_to(70)
        await worker.kill()
        assert await worker.context.get_task(template, "one") is None
    assert harness.executed == ["one"]
