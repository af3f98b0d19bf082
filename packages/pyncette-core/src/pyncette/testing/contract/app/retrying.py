"""Attempts of a run: retries, dead instances, lost workers, and what is recorded about them."""

from __future__ import annotations

from typing import Any

import pytest

from pyncette import Context, ExecutionMode, GiveUp, OnExhausted, Retry, RetryLater, Skip
from pyncette._tasks.state import latest_runs, totals
from pyncette.record import Band

from .bench import AppBase, Bench, duration, seconds

RETRY = Retry(3, delay=duration(5), jitter=0, max_lost=2)


class RetryContract(AppBase):
    async def test_retries(self, bench: Bench) -> None:
        """Each delay counts from the end of the previous attempt; attempts belong to one run and end with it."""
        app, attempts = bench.app(), []
        fail = bench.log.failing(3)

        @app.task(interval=duration(60), retry=RETRY)
        async def task(context: Context) -> None:
            attempts.append(context.attempt)
            await fail(context)

        async with bench.running(app), bench.running(app):
            await bench.advance_to(185)
            record = await bench.stored(task)
        assert (bench.log.due(), bench.log.at()) == ([60, 60, 60, 120, 180], [60, 65, 75, 120, 180])
        assert attempts == [1, 2, 3, 1, 1]
        assert record is not None
        assert totals(record.state) == {"failed": 1, "succeeded": 2}
        assert [(run.outcome, run.attempts) for run in latest_runs(record.state)] == [
            ("failed", 3),
            ("succeeded", 1),
            ("succeeded", 1),
        ]

    @pytest.mark.parametrize("held", [False, True])
    async def test_out_of_attempts(self, bench: Bench, held: bool) -> None:
        """A one-off is kept as dead, and not executed again; or it is removed."""
        app = bench.app()
        policies: dict[str, Any] = {"retry": RETRY} if held else {"retry": RETRY, "on_exhausted": OnExhausted.NEXT}
        template = app.dynamic_task(name="template", **policies)(bench.log.fail)
        async with bench.running(app) as worker, bench.running(app):
            instance = await worker.context.schedule_task(template, "a", execute_at=bench.clock.time)
            await bench.advance(1000)
            record = await bench.stored(instance)
        assert bench.log.at() == [0, 5, 15]
        assert (record is not None) is held
        if record is not None:
            assert (Band.of(record.ready_at), record.attempt, record.locked_by) == (Band.DEAD, 3, None)
            assert latest_runs(record.state)[0].error == "RuntimeError: The task fails, says the test."

    async def test_failures_in_a_row_pause(self, bench: Bench) -> None:
        """After ``pause_after`` consecutive failed runs, the task is paused before its next occurrence."""
        app = bench.app()
        task = app.task(name="task", interval=duration(10), retry=Retry(1), pause_after=3)(bench.log.fail)
        async with bench.running(app) as worker, bench.running(app):
            await bench.advance(100)
            state = await worker.context.get_task(task)
            record = await bench.stored(task)
        assert bench.log.due() == [10, 20, 30]
        assert state is not None
        assert seconds(state.scheduled_at) == 40
        assert record is not None
        assert Band.of(record.ready_at) is Band.PAUSED

    async def test_what_a_task_raises_to_steer(self, bench: Bench) -> None:
        """``RetryLater``, ``Skip`` and ``GiveUp`` end an attempt as documented, and are counted by their outcome."""
        app = bench.app()
        steps = iter([RetryLater(duration(7)), RetryLater(duration(7), count=True), Skip(), GiveUp("enough"), None])

        @app.task(interval=duration(60), retry=RETRY)
        async def task(context: Context) -> None:
            bench.log.begin(context)
            if step := next(steps):
                raise step

        async with bench.running(app), bench.running(app):
            await bench.advance(180)
            record = await bench.stored(task)
        assert bench.log.at() == [60, 67, 74, 120, 180]
        assert record is not None
        assert totals(record.state) == {"by_task": 1, "failed": 1, "succeeded": 1}

    async def test_a_run_that_kills_its_workers(self, bench: Bench) -> None:
        """It ends, and is reported; until then it is executed again after a while."""
        app = bench.app()
        policies: dict[str, Any] = {"retry": RETRY, "lease_duration": duration(30)}
        task = app.task(name="task", interval=duration(100), **policies)(bench.log.lasting(20))
        await bench.run_and_kill(app, at=105)
        await bench.run_and_kill(app, at=136)
        async with bench.running(app):
            await bench.advance_to(225)
            record = await bench.stored(task)
        assert bench.log.due() == [100, 100, 200]
        assert bench.log.at() == [100, 135, 200]
        assert record is not None
        lost, kept = latest_runs(record.state)
        assert (lost.outcome, lost.attempts, kept.outcome) == ("failed", 2, "succeeded")
        assert lost.lost
        assert lost.reason.startswith("lost with its worker 2 times: ")

    async def test_at_most_once_is_remembered(self, bench: Bench) -> None:
        """The start with the advance, the end afterwards; unknown if it was not reported."""
        app = bench.app()
        policies: dict[str, Any] = {"execution_mode": ExecutionMode.AT_MOST_ONCE, "lease_duration": duration(30)}
        failing = app.task(name="failing", interval=duration(60), **policies)(bench.log.fail)
        lasting = app.task(name="lasting", interval=duration(60), **policies)(bench.log.lasting(10))
        await bench.run_and_kill(app, at=65)
        async with bench.running(app):
            await bench.advance_to(131)
            records = [await bench.stored(task) for task in (failing, lasting)]
        assert bench.log.due(lasting) == [60, 120]
        outcomes = [[run.outcome for run in latest_runs(record.state)] for record in records if record]
        assert outcomes == [["failed", "failed"], ["unknown", "succeeded"]]
