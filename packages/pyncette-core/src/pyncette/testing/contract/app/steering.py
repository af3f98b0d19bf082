"""Pausing, resuming and retrying single instances, and what is skipped when a pause ends."""

from __future__ import annotations

import datetime

import pytest

from pyncette import Context, OnExhausted, Retry
from pyncette.errors import TaskNotFoundException
from pyncette.record import Band

from .bench import AppBase, Bench, duration, moment
from .listing import listed

TEN = datetime.timedelta(seconds=10)


class SteeringContract(AppBase):
    async def test_a_paused_instance(self, bench: Bench) -> None:
        """Is not executed until it is resumed; what came due in the meantime is skipped, as one range."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app) as worker:
            for name in "ab":
                await worker.context.schedule_task(template, name, interval=TEN)
            await bench.advance(15)
            await worker.context.pause_task(template, "a", reason="by hand")
            await worker.context.pause_task(template, "a", reason="by hand")
            state = await worker.context.get_task(template, "a")
            assert state is not None
            assert (state.state, state.paused_reason, state.scheduled_at) == ("paused", "by hand", moment(20))
            await bench.advance(30)
            await worker.context.resume_task(template, "a")
            await bench.advance(10)
            state = await worker.context.get_task(template, "a")
            assert state is not None
            assert (state.state, state.paused_reason) == ("waiting", None)
            assert [(run.outcome, run.count, run.reason) for run in state.runs] == [
                ("succeeded", 1, ""),
                ("skipped", 3, "paused"),
                ("succeeded", 1, ""),
            ]
            assert state.totals == {"succeeded": 2, "paused": 3}
        assert bench.log.due("template:a") == [10, 50]
        assert bench.log.due("template:b") == [10, 20, 30, 40, 50]

    async def test_an_instance_that_is_scheduled_paused(self, bench: Bench) -> None:
        """Waits until it is resumed; an instance that exists is paused."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", interval=TEN, paused=True)
            await worker.context.schedule_task(template, "b", interval=TEN)
            await worker.context.schedule_task(template, "b", interval=TEN, paused=True)
            result = await worker.context.schedule_tasks(template, [("c", {"interval": TEN, "paused": True})])
            assert (result.done, result.refused) == (1, [])
            await bench.advance(25)
            assert {state.state for state in await listed(worker.context, template)} == {"paused"}
            assert bench.log.runs == []
            await worker.context.resume_task(template, "a")
            await bench.advance(10)
        assert bench.log.due() == [30]

    async def test_resuming_to_catch_up(self, bench: Bench) -> None:
        """What came due during the pause counts as missed."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", interval=TEN)
            await worker.context.pause_task(template, "a")
            await bench.advance(35)
            await worker.context.resume_task(template, "a", catch_up=True)
            await bench.advance(3)
        assert bench.log.due() == [10, 20, 30]

    async def test_a_pause_never_drops_a_one_off(self, bench: Bench) -> None:
        """It is executed when the instance, or its template, is resumed."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app) as worker:
            for name in "ab":
                await worker.context.schedule_task(template, name, execute_at=moment(10))
            await worker.context.pause_task(template, "a")
            await worker.context.pause_task(template)
            await bench.advance(30)
            await worker.context.resume_task(template)
            await bench.advance(5)
            assert bench.log.names() == ["template:b"]
            await worker.context.resume_task(template, "a")
            await bench.advance(5)
        assert bench.log.names() == ["template:b", "template:a"]

    async def test_what_came_due_in_a_paused_template_is_skipped(self, bench: Bench) -> None:
        """Each instance skips it as one range when it is claimed; what had been missed before the pause is executed."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            await context.schedule_task(template, "a", interval=TEN)
            await bench.advance(25)
            await context.pause_task(template)
            await bench.advance(60)
            await context.schedule_task(template, "late", interval=duration(100))
            await context.resume_task(template)
            await bench.advance(2)
        async with bench.running(app) as worker:
            await bench.advance_to(91)
            state = await worker.context.get_task(template, "a")
            assert state is not None
            assert state.totals == {"succeeded": 3, "paused": 6}
        assert bench.log.due() == [10, 20, 90]

    async def test_pausing_what_is_being_executed(self, bench: Bench) -> None:
        """The execution finishes as usual, and the instance is paused then; also if its worker dies instead."""
        app = bench.app()
        template = app.dynamic_task(name="template", lease_duration=duration(30))(bench.log.lasting(20))
        async with bench.running(app) as worker, app.create() as other:
            await worker.context.schedule_task(template, "a", interval=TEN)
            await bench.advance(15)
            await other.pause_task(template, "a")
            state = await other.get_task(template, "a")
            assert state is not None
            assert state.state == "running"
            await bench.advance(40)
            state = await other.get_task(template, "a")
            assert state is not None
            assert (state.state, state.scheduled_at, bench.log.ended) == ("paused", moment(20), 1)
        async with bench.running(app) as worker, app.create() as other:
            await other.schedule_task(template, "b", interval=TEN)
            await bench.advance(12)
            await other.pause_task(template, "b")
            await worker.kill()
        async with bench.running(app) as worker:
            await bench.advance(60)
            state = await worker.context.get_task(template, "b")
            assert state is not None
            assert state.state == "paused"
            assert len(bench.log.of("template:b")) == 1
            await worker.context.resume_task(template, "b")
            await bench.advance(1)
        assert len(bench.log.of("template:b")) == 2, "an occurrence that had begun is executed"

    async def test_a_static_task_is_paused(self, bench: Bench) -> None:
        """Across a restart, too."""
        app = bench.app()
        task = app.task(name="static", interval=TEN)(bench.log.note)
        async with bench.running(app) as worker:
            await bench.advance(12)
            await worker.context.pause_task(task, reason="why not")
        async with bench.running(app) as worker:
            await bench.advance(30)
            assert bench.log.due() == [10]
            await worker.context.resume_task(task)
            await bench.advance(10)
        assert bench.log.due() == [10, 50]

    async def test_an_instance_that_does_not_exist(self, bench: Bench) -> None:
        """Can't be controlled: the error names it."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            for call in (context.pause_task, context.resume_task, context.retry_task):
                with pytest.raises(TaskNotFoundException, match="'template:a'"):
                    await call(template, "a")

    async def test_retrying_the_dead(self, bench: Bench) -> None:
        """With fresh attempts; then it continues after now, and what came due in the meantime is skipped."""
        app = bench.app()
        broken = True

        async def body(context: Context) -> None:
            bench.log.begin(context)
            if broken:
                raise RuntimeError("The task fails, says the test.")

        template = app.dynamic_task(
            name="template", retry=Retry(2, delay=duration(1), jitter=0), on_exhausted=OnExhausted.HOLD
        )(body)
        async with bench.running(app) as worker:
            for name in "abc":
                await worker.context.schedule_task(template, name, interval=TEN)
            await bench.advance(45)
            states = await listed(worker.context, template)
            assert {(state.state, state.scheduled_at) for state in states} == {("dead", moment(10))}
            broken = False
            assert await worker.context.retry_task(template, "a")
            assert not await worker.context.retry_task(template, "a")
            progress: list[int] = []
            result = await worker.context.retry_dead(template, progress.append)
            assert (result.done, result.refused, progress[-1]) == (2, [], 2)
            await bench.advance(6)
            state = await worker.context.get_task(template, "a")
            assert state is not None
            assert state.totals == {"succeeded": 2, "failed": 1, "dead": 3}
        for name in "abc":
            assert bench.log.due(f"template:{name}") == [10, 10, 10, 50]
            assert bench.log.at(f"template:{name}") == [10, 11, 45, 50]

    async def test_many_are_paused_and_resumed(self, bench: Bench) -> None:
        """In bulk; names that don't exist are refused and listed."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            for number in range(5):
                await context.schedule_task(template, f"{number}", interval=TEN)
            result = await context.pause_tasks(template, ["1", "3", "other"], reason="herd")
            assert (result.done, [name for name, _ in result.refused]) == (2, ["other"])
            await self.shows(
                lambda: context.list_tasks(template, state="paused"),
                ["1", "3"],
                of=lambda page: sorted(state.task.name for state in page.tasks),
            )
            assert (await context.resume_tasks(template, ["1", "3"])).done == 2
            instance = await bench.stored(template.instantiate("1", interval=TEN))
            assert instance is not None
            assert Band.of(instance.ready_at) is None
