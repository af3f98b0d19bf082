"""Static tasks whose schedule changes in code, as in a deploy."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from pyncette import Pyncette, Task

from .bench import AppBase, Bench, duration, moment, seconds


def declared(bench: Bench, function: Any = None, **timing: Any) -> tuple[Pyncette, Task]:
    """An app with one static task, as one version of the code declares it."""
    app = bench.app()
    return app, app.task(name="task", lease_duration=duration(30), **timing)(function or bench.log.note)


class RedefinitionContract(AppBase):
    @pytest.mark.parametrize(
        "new, first",
        [({"interval": duration(20)}, 50), ({"interval": duration(90)}, 120), ({"schedule": "* * * * *"}, 60)],
    )
    async def test_a_new_schedule_counts_from_the_start_with_it(
        self, bench: Bench, new: dict[str, Any], first: float
    ) -> None:
        """A starting app that finds a different schedule stores its own, and the next occurrence counts from then."""
        old_app, _ = declared(bench, interval=duration(100))
        new_app, task = declared(bench, **new)
        async with bench.running(old_app):
            await bench.advance(30)
        async with bench.running(new_app) as worker:
            state = await worker.context.get_task(task)
            assert state is not None
            assert state.scheduled_at == moment(first)
            await bench.advance_to(first)
        assert (bench.log.due(), bench.log.at()) == ([first], [first])

    async def test_the_same_schedule_changes_nothing(self, bench: Bench) -> None:
        """An app that starts with the stored schedule writes nothing."""
        app, task = declared(bench, schedule="0 0 1 1 *", timezone="Europe/Paris")
        async with bench.running(app):
            before = await bench.stored(task)
        await bench.advance(100)
        async with bench.running(app), bench.running(app):
            assert await bench.stored(task) == before

    async def test_old_and_new_code_side_by_side(self, bench: Bench) -> None:
        """In a rolling deploy all workers follow the stored schedule, which neither flips back nor starves the task."""
        old_app, _ = declared(bench, interval=duration(100))
        new_app, _ = declared(bench, interval=duration(7))
        async with bench.running(old_app), bench.running(old_app):
            await bench.advance(50)
            async with bench.running(new_app):
                await bench.advance(50)
            await bench.advance(50)
        expected = [*range(57, 151, 7)]
        assert bench.log.due() == bench.log.at() == expected

    async def test_the_app_that_started_last_wins(self, bench: Bench) -> None:
        """Even if it runs the old code, as after a rollback."""
        old_app, _ = declared(bench, interval=duration(100))
        new_app, _ = declared(bench, interval=duration(7))
        async with bench.running(old_app), bench.running(new_app):
            await bench.advance(15)
            async with bench.running(old_app):
                await bench.advance(200)
        assert bench.log.due() == bench.log.at() == [7, 14, 115, 215]

    async def test_an_overdue_occurrence_runs_once(self, bench: Bench) -> None:
        """What was due under the old schedule still runs, once; then the new schedule continues from now."""
        old_app, _ = declared(bench, interval=duration(10))
        new_app, _ = declared(bench, interval=duration(40))
        async with bench.running(old_app):
            await bench.advance(15)
        await bench.advance_to(105)
        async with bench.running(new_app):
            await bench.advance(100)
        assert bench.log.at()[:2] == [10, 105]
        assert bench.log.due()[:2] == [10, 20]
        later = bench.log.due()[2:]
        assert later == bench.log.at()[2:]
        assert 105 < later[0] <= 145
        assert later[1] - later[0] == 40
        assert len(later) == 2

    async def test_a_lease_that_is_held_is_respected(self, bench: Bench) -> None:
        """An execution under way is not repeated; at its settlement the new schedule applies."""
        old_app, _ = declared(bench, bench.log.lasting(20), interval=duration(60))
        new_app, task = declared(bench, interval=duration(25))
        async with bench.running(old_app):
            await bench.advance(65)
            async with bench.running(new_app) as worker:
                state = await worker.context.get_task(task)
                assert state is not None
                assert (seconds(state.scheduled_at), seconds(state.locked_until)) == (60, 90)
                await bench.advance_to(120)
        assert bench.log.due()[0] == bench.log.at()[0] == 60
        later = bench.log.due()[1:]
        assert later == bench.log.at()[1:]
        assert 80 <= later[0] <= 105
        assert [b - a for a, b in itertools.pairwise(later)] == [25] * (len(later) - 1)

    async def test_a_stored_schedule_that_can_not_be_read(self, bench: Bench) -> None:
        """A static task whose record is damaged gets its schedule from the code."""
        app, task = declared(bench, interval=duration(60))
        async with bench.running(app):
            await bench.advance(10)
        await bench.damage(task, "not JSON")
        async with bench.running(app):
            await bench.advance(70)
        assert len(bench.log.runs) == 1

    async def test_arguments_and_policies_are_those_of_the_code(self, bench: Bench) -> None:
        """Only the schedule of a static task is stored; new code with other arguments uses its own at once."""
        for version in (1, 2):
            app = bench.app()
            app.task(name="task", interval=duration(60), version=version)(bench.log.note)
            async with bench.running(app):
                await bench.advance(60)
        assert [(run.due, run.args) for run in bench.log.runs] == [(60, {"version": 1}), (120, {"version": 2})]
