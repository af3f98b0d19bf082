"""Lists, bulk calls and partitions."""

from __future__ import annotations

import anyio

from pyncette import PyncetteContext, Scheduling, Task, TaskState
from pyncette._app.listing import HeldState
from pyncette._tasks.partition import PartitionedTask

from .bench import AppBase, Bench, duration, moment


async def listed(
    context: PyncetteContext, task: Task, limit: int | None = None, state: HeldState | None = None
) -> list[TaskState]:
    """All pages together."""
    states: list[TaskState] = []
    token: str | None = None
    while True:
        page = await context.list_tasks(task, limit, token, state=state)
        assert limit is None or len(page.tasks) <= limit
        states += page.tasks
        token = page.continuation_token
        if token is None:
            return states


def names(states: list[TaskState]) -> list[str]:
    return sorted(state.task.name for state in states)


class ListingContract(AppBase):
    async def test_list_page_by_page(self, bench: Bench) -> None:
        """Pages of any size add up to all instances of the template, each once."""
        app = bench.app(batch_size=10)
        template = app.dynamic_task(name="template")(bench.log.note)
        other = app.dynamic_task(name="template2")(bench.log.note)
        expected = sorted(f"{number}" for number in range(25))
        async with app.create() as context:
            assert (await context.list_tasks(template)).tasks == []
            await context.schedule_task(other, "not listed", interval=duration(60))
            for name in expected:
                await context.schedule_task(template, name, interval=duration(60), name_again=name)
            first = await context.list_tasks(template)
            assert len(first.tasks) == 10
            for limit in (None, 1, 7, 25, 26):
                states = await listed(context, template, limit)
                assert names(states) == expected
            for state in await listed(context, template):
                assert state.task.extra_args == {"name_again": state.task.name}
                assert (state.scheduled_at, state.locked_until, state.locked_by) == (moment(60), None, None)

    async def test_list_while_instances_run(self, bench: Bench) -> None:
        """Instances that run and move on between pages are neither skipped nor listed twice."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app) as worker:
            for number in range(20):
                await worker.context.schedule_task(template, f"{number}", interval=duration(number + 1))
            found: list[TaskState] = []
            token: str | None = None
            while True:
                page = await worker.context.list_tasks(template, 3, token)
                found += page.tasks
                token = page.continuation_token
                if token is None:
                    break
                await bench.advance(7)
        assert names(found) == sorted(f"{number}" for number in range(20))

    async def test_list_of_a_running_instance(self, bench: Bench) -> None:
        """The list shows leases as ``get_task`` does."""
        app = bench.app()
        template = app.dynamic_task(name="template", lease_duration=duration(50))(bench.log.lasting(20))
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", interval=duration(60))
            await bench.advance(70)
            (state,) = await listed(worker.context, template)
            assert (state.scheduled_at, state.locked_until) == (moment(60), moment(110))
            assert state.locked_by

    async def test_bulk_scheduling(self, bench: Bench) -> None:
        """Many instances in few calls: progress is reported, and refused instances don't affect the rest."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        wanted = [f"{number:04}" for number in range(1500)]
        progress: list[int] = []
        async with app.create() as context:
            instances = [(name, {"execute_at": moment(60), "n": name}) for name in wanted]
            instances[700] = ("no schedule", {})
            result = await context.schedule_tasks(template, instances, progress=progress.append)
            assert result.done == 1499
            assert [name for name, _ in result.refused] == ["no schedule"]
            assert progress == sorted(progress)
            assert progress[-1] == 1500
            states = await listed(context, template, 1000)
            assert names(states) == [name for name in wanted if name != "0700"]

            removed = await context.unschedule_tasks(template, wanted[:1450])
            assert (removed.done, removed.refused) == (1450, [])
            assert names(await listed(context, template)) == wanted[1450:]
        async with bench.running(app):
            await bench.advance(61)
        assert sorted(run.args["n"] for run in bench.log.runs) == wanted[1450:]

    async def test_bulk_scheduling_of_what_exists(self, bench: Bench) -> None:
        """What exists is updated, even while it is being executed, and counted by what happened to it."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.lasting(20))
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "running", interval=duration(5))
            await bench.advance(6)
            instances = [(name, {"interval": duration(30)}) for name in ("a", "running", "b")]
            result = await worker.context.schedule_tasks(template, instances)
            assert (result.done, result.refused) == (3, [])
            assert result.scheduling == {Scheduling.CREATED: 2, Scheduling.UPDATED: 1}
            refused = await worker.context.schedule_tasks(template, [*instances, ("c", {})], if_exists="error")
            assert (refused.done, [name for name, _ in refused.refused]) == (0, ["c", "a", "running", "b"])
            kept = await worker.context.schedule_tasks(template, instances, if_exists="keep")
            assert kept.scheduling == {Scheduling.KEPT: 3}
            forced = await worker.context.schedule_tasks(template, instances, force=True)
            assert forced.scheduling == {Scheduling.REPLACED: 3}

    async def test_many_calls_at_once(self, bench: Bench) -> None:
        """Calls for different and for the same instances may overlap, on one context and on several."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as one, app.create() as other, anyio.create_task_group() as tasks:
            for context in (one, other):
                for number in range(40):
                    tasks.start_soon(schedule, context, template, f"{number % 25}")
        async with app.create() as context:
            assert names(await listed(context, template)) == sorted(f"{number}" for number in range(25))

    async def test_partitions(self, bench: Bench) -> None:
        """Instances are spread over the partitions; all of them are executed, listed, found and removed."""
        app = bench.app()
        task = app.partitioned_task(name="task", partition_count=4)(bench.log.note)
        wanted = [f"{number:02}" for number in range(40)]
        async with bench.running(app) as worker:
            for name in wanted:
                instance = await worker.context.schedule_task(task, name, interval=duration(60))
                template, partition, own = instance.canonical_name.split(":")
                assert (template, partition in "0123", own) == ("task", True, name)
            assert names(await listed(worker.context, task, 7)) == wanted
            state = await worker.context.get_task(task, "07")
            assert state is not None
            assert state.scheduled_at == moment(60)
            await worker.context.unschedule_task(task, "07")
            assert await worker.context.get_task(task, "07") is None
            await bench.advance(60)
        assert sorted(name.split(":")[2] for name in bench.log.names()) == [name for name in wanted if name != "07"]
        assert len({name.split(":")[1] for name in bench.log.names()}) == 4

    async def test_enabled_partitions(self, bench: Bench) -> None:
        """A worker executes the partitions that are enabled; several workers together execute all, each once."""
        apps = [(bench.app(), half) for half in ({0, 2}, {1, 3})]
        tasks: list[PartitionedTask] = []
        for app, half in apps:
            task = app.partitioned_task(name="task", partition_count=4)(bench.log.note)
            task.enabled_partitions = half
            tasks.append(task)
        async with apps[0][0].create() as context:
            for number in range(40):
                await context.schedule_task(tasks[0], f"{number}", execute_at=moment(0))
        async with bench.running(apps[0][0]):
            await bench.advance(5)
            assert {name.split(":")[1] for name in bench.log.names()} == {"0", "2"}
            async with bench.running(apps[1][0]):
                await bench.advance(5)
        assert len(bench.log.runs) == len(set(bench.log.names())) == 40


async def schedule(context: PyncetteContext, template: Task, name: str) -> None:
    await context.schedule_task(template, name, interval=duration(60))
