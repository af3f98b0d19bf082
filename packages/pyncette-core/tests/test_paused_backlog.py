"""Overdue instances of a paused template cost nothing, whatever their number."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext

import pytest

from pyncette import Pyncette, Task
from pyncette.memory import MemoryRepository
from pyncette.testing import FaultPlan
from pyncette.testing.contract.app.bench import Bench, moment, seconds

OVERDUE = 1000
POLL = 1  # seconds
PAUSED_AT = 50
RESUMED_AT = 200


@pytest.fixture
def bench() -> Bench:
    repository = MemoryRepository()
    return Bench(lambda **_: nullcontext(repository), repository)


class Harness:
    """An app with a template that is paused, and another one."""

    def __init__(self, bench: Bench) -> None:
        self.plan = FaultPlan()
        self.app: Pyncette = bench.app(repository_factory=self.plan.wrap(bench.factory), batch_size=1000)
        self.paused: Task = self.app.dynamic_task(name="paused")(bench.log.note)
        self.other: Task = self.app.dynamic_task(name="other")(bench.log.note)

    async def prepare(self, bench: Bench, overdue: int) -> None:
        async with self.app.create() as context:
            found = await context.schedule_tasks(
                self.paused, ((f"late {number}", {"execute_at": moment(number % 40)}) for number in range(overdue))
            )
            assert found.done == overdue
            await context.schedule_task(self.paused, "on time", execute_at=moment(RESUMED_AT + 5))
            await bench.advance_to(PAUSED_AT)
            await context.pause_task(self.paused)

    async def asked_in_a_minute(self, bench: Bench) -> Counter[str]:
        await bench.advance(10)  # the first looks after the start
        self.plan.calls.clear()
        for _ in range(60):
            await bench.advance(1)
        return Counter(self.plan.calls)


async def idle(overdue: int) -> Counter[str]:
    repository = MemoryRepository()
    bench = Bench(lambda **_: nullcontext(repository), repository)
    harness = Harness(bench)
    await harness.prepare(bench, overdue)
    async with bench.running(harness.app):
        return await harness.asked_in_a_minute(bench)


async def test_a_paused_template_costs_what_an_idle_app_costs() -> None:
    """Nothing is claimed or written, and there are no more round trips than without the overdue instances."""
    found, idling = await idle(OVERDUE), await idle(0)
    assert found == idling
    assert found["claim"] == found["swap"] == 0
    assert 60 / POLL - 2 <= found["look"] <= 60 / POLL + 2


async def test_a_manual_run_within_a_paused_backlog(bench: Bench) -> None:
    """It begins within two polls, and no other instance of the template does."""
    harness = Harness(bench)
    await harness.prepare(bench, OVERDUE)
    async with bench.running(harness.app), bench.app().create() as operator:
        await bench.advance(10)
        asked = seconds(bench.clock.time)
        assert asked is not None
        await operator.trigger_task(await operator.find_task("paused"), "late 7")
        await bench.advance(2 * POLL)
        (run,) = bench.log.runs
        assert run.name == "paused:late 7"
        assert run.at - asked <= 2 * POLL
        await bench.advance(10)
        assert len(bench.log.runs) == 1


async def test_on_time_occurrences_after_a_resume(bench: Bench) -> None:
    """It is executed within a second, even though there is still a backlog, which is executed as well."""
    harness = Harness(bench)
    await harness.prepare(bench, OVERDUE)
    slow = bench.app(concurrency_limit=20)
    slow.dynamic_task(name="paused")(bench.log.lasting(0.5))
    async with bench.running(slow), bench.app().create() as operator:
        await bench.advance_to(RESUMED_AT)
        await operator.resume_task(await operator.find_task("paused"))
        await bench.advance_to(RESUMED_AT + 10)
        lags = {run.name: run.at - run.due for run in bench.log.runs}
        assert lags["paused:on time"] < 1
        assert len(bench.log.runs) < OVERDUE, "the backlog is not worked off yet"
        await bench.advance(120)
        assert len(bench.log.runs) == OVERDUE + 1
