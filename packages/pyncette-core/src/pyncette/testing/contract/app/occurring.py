"""When tasks run: first and next occurrences, catching up, one-offs."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from pyncette import Context

from .bench import START, AppBase, Bench, duration, moment


class OccurrenceContract(AppBase):
    @pytest.mark.parametrize(
        "timing, first",
        [
            ({"interval": duration(45)}, 45),
            ({"schedule": "* * * * * */20"}, 20),
            ({"schedule": "5 * * * *"}, 300),
            ({"schedule": "0 0 * * *"}, 86_400),
        ],
        ids=["interval", "seconds", "minutes", "the match of this very moment is over"],
    )
    async def test_first_occurrence_of_a_static_task(self, bench: Bench, timing: dict[str, Any], first: float) -> None:
        """Counted from the moment when an app first starts with it: after one interval, or at the next match."""
        app = bench.app()
        task = app.task(name="task", **timing)(bench.log.note)
        async with bench.running(app) as worker:
            state = await worker.context.get_task(task)
            assert state is not None
            assert (state.scheduled_at, state.locked_until) == (moment(first), None)
            await bench.advance(first - 1)
            assert bench.log.due() == []
            await bench.advance(1)
        assert (bench.log.due(), bench.log.at()) == ([first], [first])

    async def test_first_occurrence_is_kept_over_restarts(self, bench: Bench) -> None:
        """Starting again doesn't postpone the first occurrence, with any number of apps."""
        app = bench.app()
        app.task(name="task", interval=duration(60))(bench.log.note)
        for _ in range(4):
            async with bench.running(app), bench.running(app):
                await bench.advance(10)
        async with bench.running(app):
            await bench.advance(20)
        assert (bench.log.due(), bench.log.at()) == ([60], [60])

    @pytest.mark.parametrize(
        "timing, first",
        [({"interval": duration(45)}, 55), ({"schedule": "* * * * * */20"}, 20), ({"execute_at": moment(31)}, 31)],
        ids=["interval", "cron", "once"],
    )
    async def test_first_occurrence_of_an_instance(self, bench: Bench, timing: dict[str, Any], first: float) -> None:
        """Counted from ``schedule_task``, executed at its moment however long the poll interval is."""
        app = bench.app(poll_interval=duration(1000))
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app) as worker:
            await bench.advance(10)
            instance = await worker.context.schedule_task(template, "a", **timing)
            state = await worker.context.get_task(template, "a")
            assert state is not None
            assert state.scheduled_at == moment(first)
            await bench.advance_to(first)
        assert (bench.log.due(instance), bench.log.at(instance)) == ([first], [first])

    async def test_no_drift(self, bench: Bench) -> None:
        """The next occurrence counts from the scheduled moment, not from when it ran or how long it took."""
        app = bench.app(poll_interval=duration(0.7))
        app.task(name="interval", interval=duration(10))(bench.log.lasting(3.3))
        app.task(name="cron", schedule="* * * * * */15")(bench.log.lasting(7.7))
        async with bench.running(app):
            await bench.advance(100)
        assert bench.log.due("interval") == bench.log.at("interval") == [*range(10, 101, 10)]
        assert bench.log.due("cron") == bench.log.at("cron") == [*range(15, 91, 15)]

    async def test_occurrences_of_one_task_do_not_overlap(self, bench: Bench) -> None:
        """A task that takes longer than its interval runs all occurrences, one after another."""
        app = bench.app()
        app.task(name="task", interval=duration(10))(bench.log.lasting(25))
        async with bench.running(app), bench.running(app):
            await bench.advance(120)
        assert bench.log.due() == [10, 20, 30, 40, 50]
        assert bench.log.at() == [10, 35, 60, 85, 110]
        assert bench.log.most_running == 1

    async def test_catching_up(self, bench: Bench) -> None:
        """After a downtime, every missed occurrence runs, one after another."""
        app = bench.app()
        app.task(name="interval", interval=duration(10))(bench.log.note)
        app.task(name="cron", schedule="*/1 * * * *")(bench.log.note)
        async with bench.running(app):
            await bench.advance(25)
        await bench.advance(500 - 25)
        async with bench.running(app):
            await bench.advance(9)
        assert bench.log.due("interval") == [*range(10, 501, 10)]
        assert bench.log.due("cron") == [*range(60, 481, 60)]
        assert {run.at for run in bench.log.runs if run.due > 20} == {500}

    @pytest.mark.parametrize("down_until, following", [(125, 130), (120, 120)])
    async def test_fast_forward(self, bench: Bench, down_until: float, following: float) -> None:
        """The occurrence that is due runs, those up to now are skipped; the next one is on the grid, not before now."""
        app = bench.app()
        app.task(name="interval", interval=duration(10), fast_forward=True)(bench.log.note)
        app.task(name="cron", schedule="* * * * * */10", fast_forward=True)(bench.log.note)
        async with bench.running(app):
            await bench.advance(25)
        await bench.advance_to(down_until)
        async with bench.running(app):
            await bench.advance_to(140)
        expected = [10, 20, 30, *range(int(following), 141, 10)]
        assert bench.log.due("interval") == expected
        assert bench.log.due("cron") == expected
        assert bench.log.at("interval")[2] == down_until

    async def test_a_week(self, bench: Bench) -> None:
        """A week of hourly and daily tasks, to the occurrence."""
        app = bench.app()
        app.task(name="hourly", interval=duration(3600))(bench.log.note)
        app.task(name="daily", schedule="30 2 * * *", timezone="America/New_York")(bench.log.note)
        async with bench.running(app):
            await bench.advance(7 * 86_400)
        assert bench.log.due("hourly") == bench.log.at("hourly") == [*range(3600, 7 * 86_400 + 1, 3600)]
        daily = [day * 86_400 + 7.5 * 3600 for day in range(7)]
        assert bench.log.due("daily") == bench.log.at("daily") == daily

    async def test_time_zones(self, bench: Bench) -> None:
        """Cron expressions are in the task's timezone, over changes of DST, and so is ``scheduled_at``."""
        app = bench.app()
        seen: list[datetime.datetime] = []

        async def note(context: Context) -> None:
            seen.append(context.scheduled_at)

        template = app.dynamic_task(name="template")(note)
        async with bench.running(app) as worker:
            await bench.clock.advance_to(datetime.datetime(2026, 3, 27, 12, tzinfo=datetime.UTC))
            await worker.context.schedule_task(template, "a", schedule="30 2 * * *", timezone="Europe/Berlin")
            await bench.advance(4 * 86_400)
        assert [when.isoformat() for when in seen] == [
            "2026-03-28T02:30:00+01:00",
            "2026-03-29T03:00:00+02:00",
            "2026-03-30T02:30:00+02:00",
            "2026-03-31T02:30:00+02:00",
        ]

    async def test_one_off(self, bench: Bench) -> None:
        """Executed once, at its moment, and removed after success."""
        app = bench.app(poll_interval=duration(3600))
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", execute_at=moment(12.345678), answer=42)
            await bench.advance(12)
            assert bench.log.runs == []
            await bench.advance(3600)
            assert await worker.context.get_task(template, "a") is None
        assert (bench.log.due(), bench.log.at()) == ([12.345678], [12.345678])
        assert bench.log.runs[0].args == {"answer": 42}

    async def test_one_off_that_is_overdue(self, bench: Bench) -> None:
        """Runs immediately. A naive datetime is local time."""
        app = bench.app(poll_interval=duration(3600))
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app) as worker:
            long_ago = moment(-86_400)
            await worker.context.schedule_task(template, "aware", execute_at=long_ago)
            await worker.context.schedule_task(template, "naive", execute_at=long_ago.astimezone().replace(tzinfo=None))
            await bench.advance(0)
        assert sorted(bench.log.names()) == ["template:aware", "template:naive"]
        assert (bench.log.due(), bench.log.at()) == ([-86_400] * 2, [0, 0])

    async def test_one_off_that_fails_is_kept(self, bench: Bench) -> None:
        """It has the same guarantees as other tasks: it is retried until it succeeds."""
        app = bench.app()
        template = app.dynamic_task(name="template", lease_duration=duration(30))(bench.log.failing(2))
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", execute_at=moment(5))
            await bench.advance(40)
            assert await worker.context.get_task(template, "a") is not None
            await bench.advance(40)
            assert await worker.context.get_task(template, "a") is None
        assert (bench.log.due(), bench.log.at()) == ([5, 5, 5], [5, 35, 65])

    async def test_far_times(self, bench: Bench) -> None:
        """Occurrences before 1970 and after 2255 are stored, listed and found."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        far = datetime.datetime(9000, 1, 1, tzinfo=datetime.UTC)
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "far", execute_at=far)
            await worker.context.schedule_task(template, "old", execute_at=START - datetime.timedelta(days=80 * 365))
            await bench.advance(86_400)
            state = await worker.context.get_task(template, "far")
        assert bench.log.names() == ["template:old"]
        assert state is not None
        assert state.scheduled_at == far
