"""Pausing and resuming templates, and the lists of instances and workers."""

from __future__ import annotations

from functools import partial

import anyio

from pyncette import PyncetteContext, Task
from pyncette._tasks.worker import encode, new_record
from pyncette.options import LONGEST_WORKER_NAME
from pyncette.record import Band, Change
from pyncette.testing.contract.base import APPLIED, fresh

from .bench import AppBase, Bench, duration, moment
from .listing import listed, names


async def states(context: PyncetteContext, task: Task) -> dict[str, str]:
    return {state.task.name: state.state for state in await listed(context, task)}


class PausingContract(AppBase):
    async def test_a_paused_template(self, bench: Bench) -> None:
        """Nothing of it is executed, on any worker, from two poll intervals after the pause until it is resumed."""
        app = bench.app()
        paused = app.dynamic_task(name="paused")(bench.log.note)
        other = app.dynamic_task(name="other")(bench.log.note)
        async with bench.running(app), bench.running(app) as worker:
            for task in (paused, other):
                await worker.context.schedule_task(task, "a", interval=duration(10))
            await bench.advance(15)
            await worker.context.pause_task(paused, reason="maintenance")
            await bench.advance(30)
            state = await worker.context.get_task(paused, "a")
            assert state is not None
            assert (state.state, state.paused_reason, state.attempt) == ("paused", "maintenance", 0)
            assert bench.log.at("paused:a") == [10]
            assert bench.log.at("other:a") == [10, 20, 30, 40]
            await worker.context.resume_task(paused, catch_up=True)
            await bench.advance(4)
        assert bench.log.due("paused:a") == [10, 20, 30, 40]

    async def test_a_pause_survives_a_restart_and_an_update(self, bench: Bench) -> None:
        """It outlives workers, and changes of instances; one-off instances wait too."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            await context.pause_task(template)
            await context.schedule_task(template, "a", interval=duration(5))
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "b", execute_at=moment(1))
            await bench.advance(30)
            assert await states(worker.context, template) == {"a": "paused", "b": "paused"}
            assert bench.log.runs == []
            await worker.context.resume_task(template, catch_up=True)
            await bench.advance(1)
        assert bench.log.due("template:b") == [1]
        assert bench.log.due("template:a")[0] == 5

    async def test_all_partitions_are_paused(self, bench: Bench) -> None:
        """A partitioned task is paused with all its partitions."""
        app = bench.app()
        task = app.partitioned_task(name="task", partition_count=3)(bench.log.note)
        async with bench.running(app) as worker:
            await worker.context.pause_task(task)
            for number in range(9):
                await worker.context.schedule_task(task, f"{number}", execute_at=moment(5))
            await bench.advance(10)
            assert bench.log.runs == []
            await worker.context.resume_task(task)
            await bench.advance(1)
        assert len(bench.log.runs) == 9, "one-off instances are never skipped"

    async def test_what_is_under_way_ends_as_usual(self, bench: Bench) -> None:
        """An execution that is running when its template is paused finishes and is settled."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.lasting(20))
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", interval=duration(10))
            await bench.advance(12)
            await worker.context.pause_task(template)
            assert await states(worker.context, template) == {"a": "running"}
            await bench.advance(20)
            state = await worker.context.get_task(template, "a")
        assert bench.log.ended == 1
        assert state is not None
        assert (state.state, state.scheduled_at) == ("paused", moment(20))

    async def test_pausing_and_resuming_again_changes_nothing(self, bench: Bench) -> None:
        """The second pause changes only the reason; resuming what is not paused does nothing."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            await context.schedule_task(template, "a", interval=duration(10))
            await context.resume_task(template)
            await context.pause_task(template, reason="first")
            await context.pause_task(template, reason="second")
            state = await context.get_task(template, "a")
            assert state is not None
            assert state.paused_reason == "second"
            await context.resume_task(template)
            await context.resume_task(template)
            state = await context.get_task(template, "a")
            assert state is not None
            assert (state.state, state.paused_reason) == ("waiting", None)

    async def test_several_operators(self, bench: Bench) -> None:
        """An operator who pauses another template at the same time is not overwritten."""
        app = bench.app()
        templates = [app.dynamic_task(name=f"{number}")(bench.log.note) for number in range(6)]
        async with app.create() as one, app.create() as other, anyio.create_task_group() as tasks:
            for number, template in enumerate(templates):
                context = one if number % 2 else other
                await context.schedule_task(template, "a", interval=duration(10))
                tasks.start_soon(context.pause_task, template)
        async with app.create() as context:
            for template in templates:
                assert await states(context, template) == {"a": "paused"}

    async def test_list_by_prefix(self, bench: Bench) -> None:
        """Instances whose name starts with a text, in every partition, page by page."""
        app = bench.app(batch_size=2)
        template = app.dynamic_task(name="template")(bench.log.note)
        task = app.partitioned_task(name="task", partition_count=3)(bench.log.note)
        async with app.create() as context:
            for each in (template, task):
                for name in ("eu:1", "eu:2", "eu:3", "eu", "us:1", "Eu:1", "e"):
                    await context.schedule_task(each, name, interval=duration(10))
                found = []
                token = None
                while True:
                    page = await context.list_tasks(each, continuation_token=token, prefix="eu:")
                    found += page.tasks
                    token = page.continuation_token
                    if token is None:
                        break
                assert names(found) == ["eu:1", "eu:2", "eu:3"]

    async def test_list_in_the_order_of_time(self, bench: Bench) -> None:
        """What comes next, earliest first, over all partitions, page by page."""
        app = bench.app(batch_size=4)
        template = app.dynamic_task(name="template")(bench.log.note)
        task = app.partitioned_task(name="task", partition_count=3)(bench.log.note)
        async with app.create() as context:
            for each in (template, task):
                for number in (7, 3, 9, 1, 5, 2, 8, 6, 4, 0):
                    await context.schedule_task(each, f"{number}", execute_at=moment(number + 10))
                await self.shows(
                    partial(context.list_tasks, each, 10, due_before=moment(18)),
                    [f"{number}" for number in range(8)],
                    of=lambda page: [state.task.name for state in page.tasks],
                )
                first = await context.list_tasks(each, due_before=moment(18))
                assert [state.task.name for state in first.tasks] == ["0", "1", "2", "3"]
                second = await context.list_tasks(each, 3, first.continuation_token, due_before=moment(18))
                assert [state.task.name for state in second.tasks] == ["4", "5", "6"]
                assert [state.next_attempt_at for state in second.tasks] == [moment(14), moment(15), moment(16)]

    async def test_list_and_count_by_state(self, bench: Bench) -> None:
        """Held instances are found without the others."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            for number in range(6):
                await context.schedule_task(template, f"{number}", interval=duration(10))
            bands = {"0": Band.DEAD, "1": Band.PAUSED, "2": Band.DEAD, "3": Band.COMPLETED}
            for place, (name, band) in enumerate(bands.items()):
                await bench.hold(template.instantiate(name, interval=duration(10)), band, moment=-place)
            assert await states(context, template) == {
                "0": "dead",
                "1": "paused",
                "2": "dead",
                "3": "completed",
                "4": "waiting",
                "5": "waiting",
            }
            await self.shows(
                lambda: context.list_tasks(template, state="dead"),
                ["2", "0"],
                of=lambda page: [state.task.name for state in page.tasks],
            )
            counts = [await context.count_tasks(template, state=state) for state in ("dead", "paused", "completed")]
            assert [count.value for count in counts] == [2, 1, 1]
            assert (await context.count_tasks(template)).value == 6

    async def test_workers(self, bench: Bench) -> None:
        """A running worker is listed with what it reports; a stopped one isn't, one that died only for a while."""
        app = bench.app(register_worker=True, worker_name="first", concurrency_limit=7)
        app.dynamic_task(name="template")(bench.log.note)
        app.task(name="static", interval=duration(3600))(bench.log.lasting(100))
        other = bench.app(register_worker=True)
        async with bench.app().create() as context:
            assert await context.workers() == []
            async with bench.running(app):
                async with bench.running(other):
                    await bench.advance(1)
                    await self.shows(context.workers, 2, of=len)
                await self.shows(context.workers, 1, of=len)
                (worker,) = await context.workers()
                assert (worker.name, worker.concurrency_limit) == ("first", 7)
                assert (worker.tasks, worker.kinds) == (("template", "static"), ("dynamic", "static"))
                assert (worker.started_at, worker.running) == (moment(0), 0)
                await bench.advance_to(3620)
                (worker,) = await self.shows(context.workers, [1], of=lambda found: [one.running for one in found])
                assert worker.last_tick is not None
                assert worker.last_seen > moment(3600)
            await self.shows(context.workers, 0, of=len)

    async def test_the_longest_name_of_a_worker(self, bench: Bench) -> None:
        """It is found whole in the leases and among the workers."""
        name = "ü" * (LONGEST_WORKER_NAME // 2)
        app = bench.app(register_worker=True, worker_name=name)
        template = app.dynamic_task(name="template")(bench.log.lasting(5))
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", execute_at=moment(1))
            await bench.advance_to(3)
            state = await worker.context.get_task(template, "a")
            assert state is not None
            assert state.locked_by is not None
            assert state.locked_by.startswith(f"{name}:")
            (listed,) = await self.shows(worker.context.workers, 1, of=len)
            assert listed.name == name
            await bench.advance_to(7)
        assert bench.log.ended == 1

    async def test_a_worker_that_was_killed(self, bench: Bench) -> None:
        """It is listed until it has not written for a minute; then another worker removes what it left."""
        app = bench.app(register_worker=True)
        app.task(name="static", interval=duration(1))(bench.log.note)
        async with bench.running(app) as worker:
            (alive,) = await self.shows(worker.context.workers, 1, of=len)
            left = new_record(":workers:dead", encode(alive), now=bench.clock.now(), revision=fresh())
            assert await bench.repository.swap([Change(None, left)]) == [APPLIED]
            await bench.advance(50)
            await self.shows(worker.context.workers, 2, of=len)
            await bench.advance(40)
            await self.shows(worker.context.workers, 1, of=len)
            await bench.advance(120)
            assert await bench.repository.read([left.ref]) == [None]
