"""Instances that are created, changed and removed while the app runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pyncette import Context
from pyncette.record import Record
from pyncette.testing.contract.strategies import LOOKALIKES

from .bench import AppBase, Bench, duration, moment, seconds


class SchedulingContract(AppBase):
    async def test_a_schedule_is_stored_when_the_call_returns(self, bench: Bench) -> None:
        """Every worker sees the instance immediately, with its arguments; and that it is gone, once unscheduled."""
        app = bench.app()
        template = app.dynamic_task(name="template", size="small")(bench.log.note)
        async with app.create() as one, app.create() as other:
            instance = await one.schedule_task(template, "a", interval=duration(60), colour="red")
            for state in (await other.get_task(template, "a"), await other.get_task(instance)):
                assert state is not None
                assert (state.task.name, state.task.canonical_name) == ("a", "template:a")
                assert state.task.extra_args == {"size": "small", "colour": "red"}
                assert (state.scheduled_at, state.locked_until, state.locked_by) == (moment(60), None, None)
            await other.unschedule_task(instance)
            assert await one.get_task(template, "a") is None
            await one.unschedule_task(template, "a")

    async def test_scheduling_again_and_again_does_not_starve(self, bench: Bench) -> None:
        """An instance that is rescheduled more often than its interval still runs."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app) as worker:
            for _ in range(20):
                await worker.context.schedule_task(template, "a", interval=duration(60))
                await bench.advance(10)
        assert bench.log.due() == bench.log.at() == [60, 120, 180]

    async def test_force_keeps_nothing(self, bench: Bench) -> None:
        """With ``force=True`` the next occurrence is the new one, also if that is later."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", interval=duration(60))
            await bench.advance(30)
            await worker.context.schedule_task(template, "a", force=True, interval=duration(60))
            await bench.advance(70)
        assert bench.log.due() == bench.log.at() == [90]

    async def test_another_worker_schedules(self, bench: Bench) -> None:
        """What another process has scheduled is found within the poll interval."""
        app = bench.app(poll_interval=duration(5))
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app), app.create() as other:
            await bench.advance(7)
            await other.schedule_task(template, "overdue", execute_at=moment(0))
            await other.schedule_task(template, "soon", execute_at=moment(8))
            await bench.advance(10)
        assert sorted(bench.log.names()) == ["template:overdue", "template:soon"]
        assert all(7 <= at <= 12 for at in bench.log.at())

    async def test_a_task_that_schedules(self, bench: Bench) -> None:
        """Task functions may schedule and unschedule other instances, immediately and without waiting for a poll."""
        app = bench.app(poll_interval=duration(1000))

        @app.dynamic_task()
        async def template(context: Context) -> None:
            bench.log.begin(context)
            left = context.args["left"]
            if left:
                when = moment(10 - left)
                await context.app_context.schedule_task(template, f"{left - 1}", execute_at=when, left=left - 1)

        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "5", execute_at=moment(1), left=5)
            await bench.advance(10)
        assert bench.log.names() == [f"template:{left}" for left in (5, 4, 3, 2, 1, 0)]
        assert bench.log.at() == [1, 5, 6, 7, 8, 9]

    async def test_a_disabled_task_is_not_executed(self, bench: Bench) -> None:
        """Its instances are kept for the workers that execute it."""
        app = bench.app()
        enabled = app.dynamic_task(name="enabled")(bench.log.note)
        disabled = app.dynamic_task(name="disabled", enabled=False)(bench.log.note)
        app.task(name="static", interval=duration(10), enabled=False)(bench.log.note)
        async with bench.running(app) as worker:
            for template in (enabled, disabled):
                await worker.context.schedule_task(template, "a", execute_at=moment(10))
            await bench.advance(20)
            assert bench.log.names() == ["enabled:a"]
        disabled.enabled = True
        async with bench.running(app):
            await bench.advance(1)
        assert bench.log.names() == ["enabled:a", "disabled:a"]

    async def test_names_and_arguments(self, bench: Bench) -> None:
        """Names of any kind are different instances, and arguments arrive as they were given."""
        app = bench.app(concurrency_limit=200)
        template = app.dynamic_task(name="t\u00e9mplate: \U0001f600")(bench.log.note)
        values: list[Any] = [None, True, 0, -(2**70), 0.1, 1e300, "\u00fc\0\ud800", [], [1, [2]], {"": {"k": None}}]
        async with bench.running(app) as worker:
            for number, name in enumerate(LOOKALIKES):
                value = values[number % len(values)]
                await worker.context.schedule_task(template, name, execute_at=moment(1), args={"n": name, "v": value})
            await bench.advance(1)
            names = {run.args["n"]: run for run in bench.log.runs}
            assert len(bench.log.runs) == len(names) == len(LOOKALIKES)
            for number, name in enumerate(LOOKALIKES):
                assert names[name].name == "t\u00e9mplate:: \U0001f600:" + name.replace(":", "::")
                assert names[name].args["v"] == values[number % len(values)]
                assert await worker.context.get_task(template, name) is None

    async def test_arguments_are_a_copy_for_each_execution(self, bench: Bench) -> None:
        """The next execution doesn't see what this one does to its arguments."""
        app = bench.app()
        seen: list[list[int]] = []

        @app.dynamic_task(items=[1])
        async def template(context: Context) -> None:
            seen.append(list(context.args["items"]))
            context.args["items"].append(2)

        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", interval=duration(10))
            await bench.advance(30)
        assert seen == [[1], [1], [1]]

    @pytest.mark.parametrize("spec", ["", "not JSON", "[]", '{"v":1}', '{"v":1,"cron":"bad"}'])
    async def test_a_record_that_can_not_be_decoded(self, bench: Bench, spec: str) -> None:
        """Is set aside, as it is, and delays nothing; scheduling it again brings it back."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            for name in "ab":
                await context.schedule_task(template, name, execute_at=moment(10))
            instance = await context.schedule_task(template, "c", execute_at=moment(10))
            broken = await bench.damage(instance, spec)
        async with bench.running(app) as worker:
            await bench.advance(200)
            assert sorted(bench.log.names()) == ["template:a", "template:b"]
            kept = await bench.stored(instance)
            assert isinstance(kept, Record)
            assert (kept.spec, kept.due_at, kept.locked_until) == (spec, broken.due_at, None)
            await worker.context.schedule_task(template, "c", execute_at=moment(210))
            await bench.advance(10)
        assert bench.log.names()[2:] == ["template:c"]
        assert seconds(bench.clock.time) == bench.log.at()[-1] == 210

    async def test_a_record_of_a_later_version(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        """Is left to workers of that version: only its lease is given back, with a delay, and that is logged once."""
        app = bench.app()
        template = app.dynamic_task(name="template", lease_duration=duration(10))(bench.log.note)
        static = app.task(name="static", interval=duration(5))(bench.log.note)
        later = '{"v":999,"what":"nobody knows"}'
        async with app.create() as context:
            instance = await context.schedule_task(template, "a", execute_at=moment(10))
        async with bench.running(app):
            await bench.advance(1)
        readable = [await bench.stored(task) for task in (instance, static)]
        written = [await bench.damage(task, later) for task in (instance, static)]
        async with bench.running(app):
            await bench.advance(60)
            assert bench.log.names() == []
            for task, before in zip((instance, static), written, strict=True):
                found = await bench.stored(task)
                assert isinstance(found, Record)
                assert found.ready_at > bench.clock.now()
                assert replace(found, ready_at=0, revision="", fence=0) == replace(
                    before, ready_at=0, revision="", fence=0
                )
            for task, one in zip((instance, static), readable, strict=True):
                assert one is not None
                await bench.damage(task, one.spec)
            await bench.advance(15)
            assert set(bench.log.names()) == {"template:a", "static"}
        said = [record.getMessage() for record in caplog.records if "later version" in record.getMessage()]
        assert len(said) == 2
