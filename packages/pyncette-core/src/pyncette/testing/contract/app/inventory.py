"""What is stored, regardless of who declares it: tasks, workers, orphans."""

from __future__ import annotations

from typing import Any

import pytest

from pyncette.errors import PartitionCountException

from .bench import AppBase, Bench, duration, moment
from .listing import listed, names


class InventoryContract(AppBase):
    async def test_tasks(self, bench: Bench) -> None:
        """Everything that is stored or declared, with its kind, and whether it is paused."""
        app = bench.app()
        static = app.task(name="static", interval=duration(60))(bench.log.note)
        dynamic = app.dynamic_task(name="dyn:amic")(bench.log.note)
        parted = app.partitioned_task(name="parted:1", partition_count=3)(bench.log.note)
        app.dynamic_task(name="empty")(bench.log.note)
        async with bench.running(app) as worker:
            for number in range(5):
                await worker.context.schedule_task(parted, f"{number}", execute_at=moment(1000))
                await worker.context.schedule_task(dynamic, f"{number}", execute_at=moment(1000))
            await bench.advance(1)
            assert await worker.context.get_task(static) is not None
            await worker.context.pause_task(dynamic, reason="tests")
        async with bench.app().create() as context:
            found = [(each.name, each.kind, each.declared, each.stored) for each in await context.tasks()]
            assert found == [
                ("dyn:amic", "dynamic", False, True),
                ("parted:1", "partitioned", False, True),
                ("static", "static", False, True),
            ]
            paused, partitioned, running = await context.tasks()
            assert (paused.paused_since, paused.paused_reason) == (moment(1), "tests")
            assert partitioned.partition_count == 3
            assert running.paused_since is None
            await context.pause_task(await context.find_task("static"), reason="maintenance")
            paused = (await context.tasks())[-1]
            assert paused.paused_since is not None
            assert duration(0) <= moment(1) - paused.paused_since < duration(0.002), (
                "rounded down to a millisecond or so"
            )
            assert paused.paused_reason == "maintenance"
            await context.resume_task(await context.find_task("static"))
            assert (await context.tasks())[-1].paused_since is None
        async with app.create() as context:
            assert [(each.name, each.stored) for each in await context.tasks() if each.declared] == [
                ("dyn:amic", True),
                ("empty", False),
                ("parted:1", True),
                ("static", True),
            ]

    async def test_a_program_without_the_code_of_the_tasks(self, bench: Bench) -> None:
        """Lists and controls what others have stored."""
        app = bench.app()
        dynamic = app.dynamic_task(name="dynamic")(bench.log.note)
        parted = app.partitioned_task(name="parted", partition_count=3)(bench.log.note)
        async with bench.running(app) as worker:
            await bench.advance(1)
            for task in (dynamic, parted):
                for number in range(4):
                    await worker.context.schedule_task(task, f"{number}", execute_at=moment(30))
            async with bench.app().create() as context:
                for name in ("dynamic", "parted"):
                    found = await context.find_task(name)
                    assert names(await listed(context, found)) == ["0", "1", "2", "3"]
                    await context.unschedule_task(found, "0")
                    await context.schedule_task(found, "1", execute_at=moment(50), n=1)
                    await context.schedule_task(found, "new", execute_at=moment(50), n=2)
                await context.pause_task(await context.find_task("parted"))
                with pytest.raises(LookupError, match=r"no task 'other': stored here is 'dynamic', 'parted'"):
                    await context.find_task("other")
            await bench.advance_to(60)
        assert sorted(bench.log.names()) == ["dynamic:1", "dynamic:2", "dynamic:3", "dynamic:new"]
        assert sorted(run.args["n"] for run in bench.log.runs if run.due == 50) == [1, 2]

    async def test_orphans(self, bench: Bench) -> None:
        """What no live worker declares is kept until it is removed by name."""
        old, new = bench.app(register_worker=True), bench.app(register_worker=True)
        removed = old.dynamic_task(name="removed")(bench.log.note)
        parted = old.partitioned_task(name="parted", partition_count=2)(bench.log.note)
        kept = new.dynamic_task(name="kept")(bench.log.note)
        async with bench.running(old), old.create() as context:
            for number in range(3):
                await context.schedule_task(removed, f"{number}", execute_at=moment(1000))
                await context.schedule_task(parted, f"{number}", execute_at=moment(1000))
            await bench.advance(1)
        async with new.create() as context:
            await context.schedule_task(kept, "a", execute_at=moment(1000))
        progress: list[int] = []
        async with bench.running(new), bench.app().create() as context:
            await self.shows(context.workers, 1, of=len)
            assert [task.name for task in await context.orphans()] == ["parted", "removed"]
            with pytest.raises(ValueError, match=r"'kept' is not an orphan: .* \(now 'parted', 'removed'\)"):
                await context.purge("kept")
            assert await context.purge("removed", progress.append) == 3
            assert progress == [3]
            assert [task.name for task in await context.orphans()] == ["parted"]
        async with bench.running(old), old.create() as context:
            assert len(await listed(context, parted)) == 3, "what comes back finds its instances"
            assert await listed(context, removed) == []

    async def test_actions(self, bench: Bench) -> None:
        """What operators did is listed newest first, page by page, by whichever program; it is kept for 90 days."""
        async with bench.app().create() as ada, bench.app().create() as eve:
            for number, context in enumerate((ada, eve, ada, eve, ada)):
                await context.note_action("ada", "pause", task="a:b", instance=f"“{number}”\n", detail=str(number))
                await bench.advance(1)
            await self.shows(lambda: eve.actions(10), 5, of=lambda page: len(page.actions))
            first = await eve.actions(3)
            rest = await eve.actions(3, first.continuation_token)
            found = [*first.actions, *rest.actions]
            assert [action.detail for action in found] == ["4", "3", "2", "1", "0"]
            assert rest.continuation_token is None
            assert (found[0].at, found[0].task, found[0].instance) == (moment(4), "a:b", "“4”\n")
            assert await eve.tasks() == []
            await bench.advance(90 * 86_400 - 3)
            await eve.note_action("eve", "resume")
            page = await self.shows(lambda: ada.actions(10), 4, of=lambda page: len(page.actions))
            assert [action.detail for action in page.actions] == ["", "4", "3", "2"]

    async def test_another_partition_count(self, bench: Bench) -> None:
        """Is refused when the app starts, and when it schedules, with an explanation: instances would not be found."""
        for count in (3, 4):
            app = bench.app()
            task = app.partitioned_task(name="parted", partition_count=count)(bench.log.note)
            async with app.create() as context:
                if count == 3:
                    await context.schedule_task(task, "a", execute_at=moment(1000))
                    continue
                at: dict[str, Any] = {"execute_at": moment(1000)}
                for refused in (
                    context.run(),
                    context.schedule_task(task, "a", **at),
                    context.schedule_tasks(task, [("a", at)]),
                    context.import_tasks(task, [("a", moment(1000), at)]),
                ):
                    with pytest.raises(PartitionCountException, match=r"partition_count=4.*stored in 3 partitions"):
                        await refused

    async def test_another_partition_count_of_an_empty_task(self, bench: Bench) -> None:
        """Is possible once an operator has purged the task, although it has no instances."""
        old, new = bench.app(register_worker=True), bench.app(register_worker=True)
        old.partitioned_task(name="parted", partition_count=3)(bench.log.note)
        parted = new.partitioned_task(name="parted", partition_count=4)(bench.log.note)
        async with bench.app().create() as operator:
            async with bench.running(old):
                await self.shows(operator.workers, 1, of=len)
                assert await operator.orphans() == []
            await self.shows(operator.workers, 0, of=len)
            async with new.create() as context:
                with pytest.raises(PartitionCountException, match="no instances any more"):
                    await context.run()
            (orphan,) = await self.shows(operator.orphans, 1, of=len)
            assert (orphan.name, orphan.partition_count, orphan.stored) == ("parted", 3, True)
            assert await operator.purge("parted") == 0
            assert await operator.orphans() == []
        async with bench.running(new) as worker:
            await worker.context.schedule_task(parted, "a", execute_at=moment(1))
            await bench.advance(2)
        assert bench.log.names() == ["parted:2:a"]
