"""Backfills."""

from __future__ import annotations

from typing import Any

import pytest

from pyncette import Context, ExecutionMode, PyncetteContext, Retry, Task
from pyncette.errors import TaskNotFoundException, TooManyRunsException
from pyncette.record import Band

from .bench import AppBase, Bench, duration, moment

EVERY_MINUTE: dict[str, Any] = {"interval": duration(60)}
CRON: dict[str, Any] = {"schedule": "* * * * *", "timezone": "Europe/Berlin"}
ONCE: dict[str, Any] = {"execution_mode": ExecutionMode.AT_MOST_ONCE}


async def left(context: PyncetteContext, task: Task, name: str | None = None) -> list[tuple[str, int, int]]:
    """The backfills: id, number of moments, and how many of them are done."""
    return [(each.id, each.total, each.done) for each in await context.list_backfills(task, name)]


class BackfillContract(AppBase):
    @pytest.mark.parametrize("timing", [EVERY_MINUTE, CRON], ids=["interval", "cron"])
    @pytest.mark.parametrize("options", [{}, ONCE], ids=["at-least-once", "at-most-once"])
    async def test_a_backfill(self, bench: Bench, timing: dict[str, Any], options: dict[str, Any]) -> None:
        """The schedule's moments in the range, both ends included, before the next occurrence, oldest first."""
        app = bench.app()
        seen: list[tuple[str, str | None]] = []

        @app.dynamic_task(**options)
        async def template(context: Context) -> None:
            bench.log.begin(context)
            seen.append((context.trigger, context.run_id))

        async with bench.running(app), bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", **timing)
            await bench.advance_to(70)
            started = await worker.context.backfill_task(template, "a", moment(-180), moment(900), backfill_id="b")
            assert (started.id, started.total, started.exact) == ("b", 5, True)
            assert (started.next_at, started.last_at) == (moment(-180), moment(60))
            await bench.advance_to(85)
            assert await worker.context.list_backfills(template, "a") == []
            await bench.advance_to(121)
        assert bench.log.due() == [60, -180, -120, -60, 0, 60, 120]
        assert seen == [("schedule", None), *[("backfill", "b")] * 5, ("schedule", None)]

    async def test_a_backfill_that_is_refused(self, bench: Bench) -> None:
        """For a single occurrence, for what doesn't exist, for a range that ends before it starts, for too many
        moments.
        """
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            with pytest.raises(TaskNotFoundException):
                await context.backfill_task(template, "a", moment(-60), moment(0))
            await context.schedule_task(template, "a", execute_at=moment(10))
            with pytest.raises(ValueError, match="single occurrence"):
                await context.backfill_task(template, "a", moment(-60), moment(0))
            await context.schedule_task(template, "b", interval=duration(1))
            with pytest.raises(ValueError, match="later than end"):
                await context.backfill_task(template, "b", moment(0), moment(-60))
            with pytest.raises(ValueError, match="confirm=True"):
                await context.backfill_task(template, "b", moment(-(10**6)), moment(0))
            planned = await context.backfill_task(template, "b", moment(-(10**6)), moment(0), dry_run=True)
            assert (planned.total, planned.exact) == (100_001, False)
            assert await left(context, template, "b") == []
            await context.backfill_task(template, "b", moment(-(10**6)), moment(0), confirm=True)
            for number in range(9):
                await context.backfill_task(template, "b", moment(number - 9), moment(0))
            with pytest.raises(TooManyRunsException):
                await context.backfill_task(template, "b", moment(-9), moment(0))
            nothing = await context.backfill_task(template, "b", moment(500), moment(600))
            assert (nothing.total, nothing.next_at, nothing.last_at) == (0, None, None)

    async def test_backfills_are_listed_and_cancelled(self, bench: Bench) -> None:
        """The same id is ignored, even after the end; an execution under way at the cancellation finishes as usual."""
        app = bench.app()
        task = app.task(name="task", **EVERY_MINUTE)(bench.log.lasting(5))
        async with bench.running(app), app.create() as operator:
            await operator.backfill_task(task, None, moment(-300), moment(-1), backfill_id="first")
            await operator.backfill_task(task, None, moment(-600), moment(-1), backfill_id="first")
            await operator.backfill_task(task, None, moment(-120), moment(-1), backfill_id="second")
            assert await left(operator, task) == [("first", 5, 0), ("second", 2, 0)]
            await bench.advance_to(12)
            assert await left(operator, task) == [("first", 5, 2), ("second", 2, 0)]
            assert await operator.cancel_backfill(task, None, "first")
            assert not await operator.cancel_backfill(task, None, "first")
            await bench.advance_to(50)
            assert await left(operator, task) == []
            await operator.backfill_task(task, None, moment(-300), moment(-1), backfill_id="first")
            await operator.backfill_task(task, None, moment(-300), moment(-1), backfill_id="second")
            assert await left(operator, task) == []
        assert bench.log.due() == [-300, -240, -180, -120, -60]
        assert bench.log.ended == 5

    async def test_a_backfill_comes_last(self, bench: Bench) -> None:
        """After the schedule and manual runs; it keeps its schedule if a different one is stored, and survives
        failures.
        """
        app = bench.app()
        template = app.dynamic_task(name="template", retry=Retry(1))(bench.log.lasting(8))
        failing = app.dynamic_task(name="failing", retry=Retry(2, duration(5), jitter=0))(bench.log.fail)
        async with bench.running(app), app.create() as operator:
            await operator.schedule_task(template, "a", interval=duration(20))
            await operator.schedule_task(failing, "a", interval=duration(600))
            await operator.backfill_task(failing, "a", moment(-1200), moment(-1))
            await operator.backfill_task(template, "a", moment(-60), moment(-1))
            await operator.schedule_task(template, "a", interval=duration(25))
            await bench.advance_to(18)
            await operator.trigger_task(template, "a")
            await bench.advance_to(57)
            assert await left(operator, failing, "a") == []
        assert bench.log.due("template:a") == [-60, -40, -20, 18, 25, 50]
        assert bench.log.due("failing:a") == [-1200, -1200, -600, -600]

    @pytest.mark.parametrize("how", ["instance", "template", "dead"])
    async def test_a_backfill_waits(self, bench: Bench, how: str) -> None:
        """While the instance or its template is paused, or it is dead, except for manual runs; then it continues."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.lasting(5))
        async with bench.running(app), app.create() as operator:
            instance = await operator.schedule_task(template, "a", interval=duration(600))
            if how == "dead":
                await bench.hold(instance, Band.DEAD, moment=0)
            await operator.backfill_task(template, "a", moment(-3000), moment(-1))
            if how != "dead":
                await bench.advance_to(7)
                await operator.pause_task(template, "a" if how == "instance" else None)
            await bench.advance_to(20)
            begun = len(bench.log.runs)
            assert begun == (0 if how == "dead" else 2)
            await operator.trigger_task(template, "a")
            await bench.advance_to(40)
            assert bench.log.due()[begun:] == [20]
            if how == "dead":
                await operator.retry_task(template, "a")
            else:
                await operator.resume_task(template, "a" if how == "instance" else None)
            await bench.advance_to(100)
            assert await left(operator, template, "a") == []
        executed = sorted(bench.log.due())
        assert executed == sorted([-3000, -2400, -1800, -1200, -600, 20, *([600] if how == "dead" else [])])

    async def test_a_worker_that_dies_in_a_backfill(self, bench: Bench) -> None:
        """The moment is executed again, and the backfill continues."""
        app = bench.app()
        task = app.task(name="task", interval=duration(600), lease_duration=duration(30))(bench.log.lasting(5))
        async with bench.running(app) as worker, app.create() as operator:
            await bench.settle()
            await operator.backfill_task(task, None, moment(-1800), moment(-1))
            await bench.advance_to(7)
            await worker.kill()
        async with bench.running(app):
            await bench.advance_to(60)
        assert bench.log.due() == [-1800, -1200, -1200, -600]
