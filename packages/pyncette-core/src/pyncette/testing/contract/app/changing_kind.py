"""Tasks whose kind a deploy changes: static, dynamic or partitioned."""

from __future__ import annotations

from itertools import permutations
from typing import Any

from pyncette import Pyncette, Task
from pyncette.record import Record

from .bench import AppBase, Bench, duration

CHANGES = {f"{old} to {new}": (old, new) for old, new in permutations(("static", "dynamic", "partitioned"), 2)}
"""The kinds of each task before and after the deploy, by name."""

INTERVAL = 60


class Version:
    """The code before or after the deploy.

    :ivar tasks: by name.
    """

    def __init__(self, bench: Bench, place: int) -> None:
        self._bench = bench
        self.app: Pyncette = bench.app()
        self.tasks: dict[str, Task] = {
            name: self._declared(kinds[place], name=name, interval=duration(INTERVAL))
            for name, kinds in CHANGES.items()
        }

    def _declared(self, kind: str, **options: Any) -> Task:
        note = self._bench.log.note
        if kind == "static":
            return self.app.task(**options)(note)
        if kind == "dynamic":
            return self.app.dynamic_task(**options)(note)
        return self.app.partitioned_task(partition_count=2, **options)(note)

    async def schedule(self, *instances: str) -> list[str]:
        """Schedule instances of all templates. Returns the canonical names of what runs."""
        names = []
        async with self.app.create() as context:
            for task in self.tasks.values():
                made = [await context.schedule_task(task, name) for name in instances] if task.dynamic else [task]
                names += [each.canonical_name for each in made]
        return sorted(names)

    async def stored(self) -> list[Record]:
        queues = [parent.queue for task in self.tasks.values() for parent in task.queues]
        return [record for queue in queues for record in await self._bench.repository.scan(queue, after=None, limit=9)]


class KindContract(AppBase):
    async def test_what_a_task_was_before(self, bench: Bench) -> None:
        """A task that a deploy turns into a static, dynamic or partitioned one executes nothing of its former kind. The
        old records are left as they are, delay nothing, and are an orphan that can be removed separately.
        """
        old, new = Version(bench, 0), Version(bench, 1)
        async with bench.running(old.app):
            await old.schedule("a", "b", "c")
            await bench.advance(1)
        left = await old.stored()
        assert len(left) == 2 * (1 + 3 + 3)
        await bench.advance_to(600)
        async with bench.running(new.app) as worker:
            names = await new.schedule("c", "d")
            await bench.advance(INTERVAL + 1)
            assert sorted(bench.log.names()) == names
            assert set(bench.log.due()) == set(bench.log.at()) == {600 + INTERVAL}
            assert await old.stored() == left
            orphans = [(task.name, task.kind) for task in await worker.context.orphans()]
            assert sorted(orphans) == sorted((name, was) for name, (was, _) in CHANGES.items())
            for name, kind in orphans:
                assert await worker.context.purge(name) == (1 if kind == "static" else 3)
            assert await worker.context.orphans() == []
            await bench.advance(INTERVAL)
            assert sorted(bench.log.names()) == sorted(names * 2)

    async def test_what_a_task_was_before_side_by_side(self, bench: Bench) -> None:
        """In a rolling deploy, old and new workers each execute what their code declares, and nothing else; after a
        rollback, the old code continues with everything it had.
        """
        old, new = Version(bench, 0), Version(bench, 1)
        async with bench.running(old.app), bench.running(old.app):
            before = await old.schedule("a", "b")
            await bench.advance(INTERVAL + 1)
            async with bench.running(new.app), bench.running(new.app):
                after = await new.schedule("b", "c")
                await bench.advance(2 * INTERVAL)
        assert sorted(bench.log.names()) == sorted([*before * 3, *after * 2])
        assert bench.log.due() == bench.log.at()
        assert len({(run.name, run.due, run.token) for run in bench.log.runs}) == len(bench.log.runs)
        async with bench.running(old.app):
            await bench.advance(INTERVAL)
        assert sorted(bench.log.names()) == sorted([*before * 4, *after * 2])
