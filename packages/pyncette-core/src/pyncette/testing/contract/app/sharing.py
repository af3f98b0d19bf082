"""Several workers on one storage, limits, and fairness."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest

from pyncette import ExecutionMode, FailureMode

from .bench import AppBase, Bench, Log, duration, moment


class SharingContract(AppBase):
    @pytest.mark.parametrize("execution_mode", ExecutionMode, ids=lambda mode: mode.name)
    async def test_every_occurrence_runs_once(self, bench: Bench, execution_mode: ExecutionMode) -> None:
        """With any number of workers: as long as none fails, each occurrence of each instance is executed once."""
        app = bench.app()
        app.task(name="static", schedule="* * * * * *", execution_mode=execution_mode)(bench.log.note)
        template = app.dynamic_task(name="template", execution_mode=execution_mode)(bench.log.note)
        async with app.create() as context:
            for number in range(20):
                await context.schedule_task(template, f"{number}", interval=duration(1 + number % 3))
        async with AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(bench.running(app))
            await bench.advance(12)
        expected = Counter(("static", second) for second in range(1, 13))
        for number in range(20):
            period = 1 + number % 3
            expected += Counter((f"template:{number}", second) for second in range(period, 13, period))
        assert Counter((run.name, run.due) for run in bench.log.runs) == expected
        assert all(run.at == run.due for run in bench.log.runs)

    async def test_workers_that_are_killed(self, bench: Bench) -> None:
        """Workers come and are killed in the middle of their work: at-least-once instances all run, again if their
        worker was killed; at-most-once instances never run twice.
        """
        app = bench.app(concurrency_limit=5)
        safe = app.dynamic_task(name="safe", lease_duration=duration(10))(bench.log.lasting(3))
        once = app.dynamic_task(name="once", execution_mode=ExecutionMode.AT_MOST_ONCE)(bench.log.lasting(3))
        async with app.create() as context:
            for number in range(15):
                await context.schedule_task(safe, f"{number}", execute_at=moment(number / 2))
                await context.schedule_task(once, f"{number}", execute_at=moment(number / 2))
        async with bench.running(app):
            for _ in range(5):
                async with bench.running(app) as doomed:
                    await bench.advance(2.5)
                    await doomed.kill()
            await bench.advance(60)
            remaining = await bench.repository.scan(safe.queue, after=None, limit=100)
            remaining += await bench.repository.scan(once.queue, after=None, limit=100)
        assert remaining == []
        executed = Counter(bench.log.names())
        assert {name for name in executed if name.startswith("safe")} == {f"safe:{number}" for number in range(15)}
        assert all(count == 1 for name, count in executed.items() if name.startswith("once"))

    async def test_claims_do_not_exceed_the_free_slots(self, bench: Bench) -> None:
        """A worker claims only what it can start, so that others take the rest at once."""
        logs = [Log(bench.clock), Log(bench.clock)]
        apps = [bench.app(concurrency_limit=3) for _ in logs]
        template, _ = (app.dynamic_task(name="template")(log.lasting(10)) for app, log in zip(apps, logs, strict=True))
        async with apps[0].create() as context:
            for number in range(8):
                await context.schedule_task(template, f"{number}", execute_at=moment(0))
        async with bench.running(apps[0]):
            await bench.advance(1)
            assert [log.running for log in logs] == [3, 0]
            async with bench.running(apps[1]):
                await bench.advance(1)
                assert [log.running for log in logs] == [3, 3]
                await bench.advance(20)
        assert [log.most_running for log in logs] == [3, 3]
        assert sorted(logs[0].names() + logs[1].names()) == [f"template:{number}" for number in range(8)]

    @pytest.mark.parametrize("execution_mode", ExecutionMode, ids=lambda mode: mode.name)
    async def test_a_slot_that_comes_free_is_used_at_once(self, bench: Bench, execution_mode: ExecutionMode) -> None:
        """Work that waits for a slot doesn't wait for the poll interval."""
        app = bench.app(concurrency_limit=2, poll_interval=duration(1000))
        template = app.dynamic_task(name="template", execution_mode=execution_mode)(bench.log.lasting(10))
        async with bench.running(app) as worker:
            for number in range(6):
                await worker.context.schedule_task(template, f"{number}", execute_at=moment(0))
            await bench.advance(30)
        assert bench.log.at() == [0, 0, 10, 10, 20, 20]
        assert bench.log.most_running == 2

    async def test_more_than_a_batch(self, bench: Bench) -> None:
        """Everything is executed when it is due, however small the batches are."""
        app = bench.app(batch_size=3, poll_interval=duration(1000))
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app) as worker:
            for number in range(25):
                await worker.context.schedule_task(template, f"{number}", execute_at=moment(5))
            await bench.advance(5)
        assert bench.log.at() == [5] * 25
        assert len(set(bench.log.names())) == 25

    @pytest.mark.parametrize("workers", [1, 2])
    async def test_a_crowded_task_does_not_hold_back_the_others(self, bench: Bench, workers: int) -> None:
        """A template with many overdue instances leaves room for the other tasks."""
        app = bench.app(concurrency_limit=8, batch_size=8)
        crowded = app.dynamic_task(name="crowded")(bench.log.lasting(1))
        other = app.dynamic_task(name="other")(bench.log.note)
        app.task(name="static", interval=duration(5))(bench.log.note)
        async with bench.running(app):
            await bench.advance(1)
        async with app.create() as context:
            result = await context.schedule_tasks(crowded, [(f"{n}", {"execute_at": moment(-n)}) for n in range(180)])
            assert result.done == 180
            await context.schedule_task(other, "a", interval=duration(5))
        await bench.advance(10)
        async with AsyncExitStack() as stack:
            for _ in range(workers):
                await stack.enter_async_context(bench.running(app))
            await bench.advance(9)
        for name, first in (("static", 5), ("other:a", 6)):
            due = bench.log.due(name)
            assert due == [*range(first, 21, 5)]
            assert all(run.at - max(run.due, 11) <= 2 for run in bench.log.of(name))
        assert 8 <= bench.log.most_running <= 8 * workers
        # Workers may get in each other's way, but together they must not do less than one alone.
        assert len([name for name in bench.log.names() if name.startswith("crowded")]) >= 50

    async def test_retries_do_not_hold_back_the_others(self, bench: Bench) -> None:
        """Instances that keep failing leave room for the others."""
        app = bench.app(concurrency_limit=4, batch_size=4)
        options: dict[str, Any] = {"failure_mode": FailureMode.UNLOCK}
        failing = app.dynamic_task(name="failing", **options)(bench.log.fail)
        fine = app.dynamic_task(name="fine")(bench.log.note)
        async with bench.running(app) as worker:
            for number in range(10):
                await worker.context.schedule_task(failing, f"{number}", execute_at=moment(0))
            for number in range(4):
                await worker.context.schedule_task(fine, f"{number}", interval=duration(4))
            await bench.advance(12)
        for number in range(4):
            assert bench.log.due(f"fine:{number}") == bench.log.at(f"fine:{number}") == [4, 8, 12]
