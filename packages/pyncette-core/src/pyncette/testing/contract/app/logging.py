"""The run log, if the storage has one."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from pyncette import CatchUp, Context, ExecutionMode, LoggedRun, Pyncette, PyncetteContext, Retry, Task

from .bench import AppBase, Bench, duration, moment

DAY = datetime.timedelta(days=1)


class HistoryContract(AppBase):
    def logging(self, bench: Bench, **options: Any) -> Pyncette | None:
        """An app with a run log; None if the storage has none, after checking that opening the app raises."""
        return bench.app(history=DAY, **options) if self.capabilities.keeps_runs else None

    async def logged(self, context: PyncetteContext, task: Task, expected: int, **question: Any) -> list[LoggedRun]:
        """The log, oldest first. Waits if the index may lag behind."""
        page = await self.shows(lambda: context.runs(task, **question), expected, of=lambda found: len(found.runs))
        return page.runs[::-1]

    async def test_a_log_that_the_storage_has_not(self, bench: Bench) -> None:
        """``history`` is refused if there is no log."""
        if not self.capabilities.keeps_runs:
            with pytest.raises(ValueError, match="keeps a log of runs"):
                async with bench.app(history=DAY).create():
                    pass

    async def test_the_log_of_runs(self, bench: Bench) -> None:
        """One line for the end of each run, with its attempts and its error; what was skipped is logged as well."""
        app = self.logging(bench)
        if app is None:
            return
        retry = Retry(2, delay=duration(1), jitter=0)
        good = app.dynamic_task(name="good", catch_up=CatchUp.LATEST)(bench.log.note)
        bad = app.dynamic_task(name="bad", retry=retry)(bench.log.fail)
        async with app.create() as context:
            await context.schedule_task(good, "a", interval=duration(10))
        await bench.advance_to(35)
        async with bench.running(app) as worker:
            await worker.context.schedule_task(bad, "x", execute_at=moment(40))
            await bench.advance_to(45)
            first, second = await self.logged(worker.context, good, 2)
            assert (first.task, first.instance, first.outcome, first.attempts) == ("good", "a", "succeeded", 1)
            assert (first.scheduled_at, first.started_at, first.ended_at) == (moment(30), moment(35), moment(35))
            assert [(skip.reason, skip.first, skip.last, skip.count) for skip in first.skips] == [
                ("coalesced", moment(10), moment(20), 2)
            ]
            assert (second.scheduled_at, second.skips) == (moment(40), ())
            (failed,) = await self.logged(worker.context, bad, 1, outcomes=["failed"])
            assert (failed.attempts, failed.error) == (2, "RuntimeError: The task fails, says the test.")
            assert [run.task for run in (await worker.context.runs()).runs].count("good") == 2
            assert (await worker.context.runs(good, "b")).runs == []
            assert len((await worker.context.runs(containing="says the test")).runs) == 1
            page = await worker.context.runs(limit=2)
            rest = await worker.context.runs(limit=2, continuation_token=page.continuation_token)
            assert (len(page.runs), len(rest.runs)) == (2, 1)
            with pytest.raises(ValueError, match="outcomes must be of"):
                await worker.context.runs(outcomes=["fine"])  # type: ignore[list-item]  # that is the mistake

    async def test_a_log_of_errors(self, bench: Bench) -> None:
        """What succeeded or was skipped leaves no line."""
        app = self.logging(bench, history_of="errors")
        if app is None:
            return
        template = app.dynamic_task(name="template", execution_mode=ExecutionMode.AT_MOST_ONCE)(bench.log.note)

        async def fail(context: Context) -> None:
            raise RuntimeError("The task fails, says the test.")

        failing = app.dynamic_task(name="failing", execution_mode=ExecutionMode.AT_MOST_ONCE)(fail)
        async with bench.running(app) as worker:
            for task in (template, failing):
                await worker.context.schedule_task(task, "a", interval=duration(10))
            await bench.advance(25)
            assert len(await self.logged(worker.context, failing, 2)) == 2
            assert await self.logged(worker.context, template, 0) == []

    async def test_the_log_is_pruned(self, bench: Bench) -> None:
        """Lines are kept for as long as ``history`` says."""
        app = self.logging(bench)
        if app is None:
            return
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", execute_at=moment(10))
            await bench.advance(20)
            assert len(await self.logged(worker.context, template, 1)) == 1
            await bench.advance(24 * 3600)
            await bench.advance(120)
            assert await self.logged(worker.context, template, 0) == []
