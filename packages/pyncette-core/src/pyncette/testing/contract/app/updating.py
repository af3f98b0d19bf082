"""Instances that are scheduled again: each cell of the table of updates."""

from __future__ import annotations

from typing import Any

import pytest

from pyncette import Context, Retry, Scheduling
from pyncette.errors import TaskExistsException
from pyncette.record import Band

from .bench import AppBase, Bench, duration, moment

EVERY_MINUTE: dict[str, Any] = {"interval": duration(60)}


class UpdateContract(AppBase):
    async def test_the_same_schedule_keeps_the_next_occurrence(self, bench: Bench) -> None:
        """Arguments are those of the last call."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app) as worker:
            first = await worker.context.schedule_task(template, "a", **EVERY_MINUTE, version=1)
            await bench.advance(30)
            second = await worker.context.schedule_task(template, "a", **EVERY_MINUTE, version=2)
            assert (first.scheduling, second.scheduling) == (Scheduling.CREATED, Scheduling.UPDATED)
            await bench.advance(100)
        assert bench.log.due() == bench.log.at() == [60, 120]
        assert {run.args["version"] for run in bench.log.runs} == {2}

    @pytest.mark.parametrize(
        "new, due",
        [
            ({"interval": duration(10)}, [40, 50, 60]),
            ({"interval": duration(50)}, [80]),
            ({"schedule": "* * * * * 45"}, [45]),
            ({"execute_at": moment(35)}, [35]),
            ({"execute_at": moment(75)}, [75]),
            ({"execute_at": moment(20)}, [20]),
        ],
    )
    async def test_another_schedule_counts_from_now(self, bench: Bench, new: dict[str, Any], due: list[float]) -> None:
        """The next occurrence is the new schedule's, be it sooner or later than the old one."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", **EVERY_MINUTE)
            await bench.advance(30)
            await worker.context.schedule_task(template, "a", **new)
            await bench.advance_to(89)
        assert bench.log.due()[: len(due)] == due

    @pytest.mark.parametrize("later", [100, 20, 5])
    async def test_a_one_off_moves_in_either_direction(self, bench: Bench, later: float) -> None:
        """Later, sooner, and to a moment that has passed."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", execute_at=moment(50))
            await bench.advance(10)
            moved = await worker.context.schedule_task(template, "a", execute_at=moment(later))
            assert moved.scheduling is Scheduling.UPDATED
            await bench.advance(150)
        assert bench.log.due() == [later]
        assert bench.log.at() == [max(10, later)]

    async def test_what_is_overdue_is_executed_once(self, bench: Bench) -> None:
        """A recurring instance whose schedule changes while it is overdue; the new one counts from the change."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            await context.schedule_task(template, "a", **EVERY_MINUTE)
            await bench.advance(300)
            await context.schedule_task(template, "a", interval=duration(40))
        async with bench.running(app):
            await bench.advance(90)
        assert bench.log.due() == [60, 340, 380]

    async def test_an_overdue_one_off_is_moved(self, bench: Bench) -> None:
        """It is not executed at its old moment."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            await context.schedule_task(template, "a", execute_at=moment(10))
            await bench.advance(30)
            await context.schedule_task(template, "a", execute_at=moment(70))
        async with bench.running(app):
            await bench.advance(60)
        assert bench.log.due() == [70]

    @pytest.mark.parametrize("new, due", [(EVERY_MINUTE, [60, 120]), ({"interval": duration(25)}, [60, 90, 115])])
    async def test_what_is_being_executed(self, bench: Bench, new: dict[str, Any], due: list[float]) -> None:
        """Continues with the arguments that it started with; the update applies when it ends."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.lasting(20))
        async with bench.running(app) as worker, app.create() as other:
            await worker.context.schedule_task(template, "a", **EVERY_MINUTE, version=1)
            await bench.advance_to(65)
            updated = await other.schedule_task(template, "a", **new, version=2)
            assert updated.scheduling is Scheduling.UPDATED
            state = await other.get_task(template, "a")
            assert state is not None
            assert (state.state, state.scheduled_at, state.task.extra_args) == ("running", moment(60), {"version": 2})
            await bench.advance_to(135)
        assert bench.log.due() == due
        assert [run.args["version"] for run in bench.log.runs] == [1] + [2] * (len(due) - 1)

    @pytest.mark.parametrize("later", [100, 70])
    async def test_a_one_off_that_is_moved_while_it_runs(self, bench: Bench, later: float) -> None:
        """Runs again at its new moment."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.lasting(20))
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", execute_at=moment(60))
            await bench.advance_to(65)
            await worker.context.schedule_task(template, "a", execute_at=moment(later))
            await bench.advance_to(200)
            assert await worker.context.get_task(template, "a") is None
        assert bench.log.due() == [60, later]
        assert bench.log.at() == [60, max(80, later)]

    async def test_new_arguments_alone_come_too_late_for_a_one_off_under_way(self, bench: Bench) -> None:
        """It is not executed again for them, and the call says so."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.lasting(20))
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", execute_at=moment(60), version=1)
            await bench.advance_to(65)
            again = await worker.context.schedule_task(template, "a", execute_at=moment(60), version=2)
            assert again.scheduling is Scheduling.UNDER_WAY
            await bench.advance_to(200)
        assert [run.args["version"] for run in bench.log.runs] == [1]

    async def test_a_task_that_reschedules_itself(self, bench: Bench) -> None:
        """As a one-off instance that postpones itself, again and again."""
        app = bench.app()

        @app.dynamic_task()
        async def template(context: Context) -> None:
            bench.log.begin(context)
            if context.args["left"]:
                when = context.scheduled_at + duration(10)
                left = context.args["left"] - 1
                await context.app_context.schedule_task(template, "a", execute_at=when, left=left)

        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", execute_at=moment(10), left=3)
            await bench.advance_to(100)
            assert await worker.context.get_task(template, "a") is None
        assert bench.log.due() == bench.log.at() == [10, 20, 30, 40]

    @pytest.mark.parametrize("band, revives", [(Band.DEAD, True), (Band.COMPLETED, True), (Band.PAUSED, False)])
    async def test_what_is_held(self, bench: Bench, band: Band, revives: bool) -> None:
        """The dead and the completed revive if the schedule changes, and only then. A pause stays."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            instance = await context.schedule_task(template, "a", **EVERY_MINUTE)
            held = await bench.hold(instance, band, moment=0)
            await context.schedule_task(template, "a", **EVERY_MINUTE, version=2)
            same = await context.get_task(template, "a")
            assert same is not None
            assert (same.state, same.scheduled_at) == (band.name.lower(), moment(60))
            assert same.task.extra_args == {"version": 2}
            await context.schedule_task(template, "a", interval=duration(20))
            other = await context.get_task(template, "a")
            assert other is not None
            assert (other.state, other.scheduled_at) == ("waiting" if revives else band.name.lower(), moment(20))
            stored = await bench.stored(instance)
            assert stored is not None
            assert revives or stored.ready_at == held.ready_at

    @pytest.mark.parametrize(
        "new, due", [(EVERY_MINUTE, [60, 60, 120]), ({"interval": duration(25)}, [60, 60, 90, 115])]
    )
    async def test_an_occurrence_that_waits_for_its_retry(
        self, bench: Bench, new: dict[str, Any], due: list[float]
    ) -> None:
        """Its attempts and the moment of the retry stay, with the new arguments; then the schedule applies."""
        app = bench.app()
        template = app.dynamic_task(name="template", retry=Retry(3, duration(15), jitter=0))(bench.log.failing(1))
        async with bench.running(app) as worker, app.create() as other:
            await worker.context.schedule_task(template, "a", **EVERY_MINUTE, version=1)
            await bench.advance_to(65)
            await other.schedule_task(template, "a", **new, version=2)
            state = await other.get_task(template, "a")
            assert state is not None
            assert (state.state, state.attempt, state.next_attempt_at) == ("retrying", 1, moment(75))
            await bench.advance_to(121)
        assert bench.log.due() == due
        assert bench.log.at()[:2] == [60, 75]
        assert [run.args["version"] for run in bench.log.runs] == [1] + [2] * (len(due) - 1)

    async def test_what_is_overdue_stays_so(self, bench: Bench) -> None:
        """With the same schedule and new arguments, nothing that was missed is lost, not even a one-off."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            for version in (1, 2):
                await context.schedule_task(template, "a", **EVERY_MINUTE, version=version)
                await context.schedule_task(template, "b", execute_at=moment(60), version=version)
                await bench.advance(130)
        async with bench.running(app):
            await bench.advance_to(261)
        assert bench.log.due("template:a") == [60, 120, 180, 240]
        assert bench.log.due("template:b") == [60]
        assert {run.args["version"] for run in bench.log.runs} == {2}

    @pytest.mark.parametrize("new", [EVERY_MINUTE, {"interval": duration(25)}])
    async def test_what_an_update_leaves_alone(self, bench: Bench, new: dict[str, Any]) -> None:
        """Pause, counters, recent runs and backfills."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app) as worker:
            context = worker.context
            await context.schedule_task(template, "a", **EVERY_MINUTE)
            await bench.advance_to(125)
            await context.pause_task(template, "a", reason="why")
            await context.backfill_task(template, "a", moment(-30), moment(0), backfill_id="past")
            before = await context.get_task(template, "a")
            await context.schedule_task(template, "a", **new, version=2)
            after = await context.get_task(template, "a")
            assert before is not None
            assert after is not None
            assert (after.state, after.paused_reason) == ("paused", "why")
            assert (after.runs, after.totals) == (before.runs, {"succeeded": 2})
            assert [fill.id for fill in await context.list_backfills(template, "a")] == ["past"]
            await context.resume_task(template, "a")
            await bench.advance(2)
        assert bench.log.due() == [60, 120, 0]

    @pytest.mark.parametrize(
        "new, due",
        [
            ({"timezone": "Asia/Kathmandu"}, 4 * 3600 + 15 * 60),
            ({"end_at": moment(86_400)}, 10 * 3600),
            ({"start_at": moment(40_000)}, 86_400 + 10 * 3600),
            ({"max_runs": 5}, 10 * 3600),
        ],
    )
    async def test_another_timezone_or_other_bounds(self, bench: Bench, new: dict[str, Any], due: float) -> None:
        """They make a different schedule, whose next occurrence counts from the call."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            await context.schedule_task(template, "a", schedule="0 10 * * *")
            await context.schedule_task(template, "a", schedule="0 10 * * *", **new)
            state = await context.get_task(template, "a")
        assert state is not None
        assert state.scheduled_at == moment(due)

    async def test_what_is_completed_starts_over(self, bench: Bench) -> None:
        """``max_runs`` then counts from 0, if the schedule changes, and only then."""
        app = bench.app()
        template = app.dynamic_task(name="template", retain=duration(10_000))(bench.log.note)
        async with bench.running(app) as worker:
            for interval in (10, 10, 20):
                await worker.context.schedule_task(template, "a", interval=duration(interval), max_runs=2)
                await bench.advance(100)
            state = await worker.context.get_task(template, "a")
            assert state is not None
            assert (state.state, state.totals) == ("completed", {"succeeded": 4})
        assert bench.log.due() == [10, 20, 220, 240]

    async def test_keep_and_error(self, bench: Bench) -> None:
        """The first one wins; or the second one gets an error."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            await context.schedule_task(template, "a", if_exists="error", **EVERY_MINUTE, version=1)
            before = await bench.stored(template.instantiate("a", **EVERY_MINUTE))
            kept = await context.schedule_task(template, "a", if_exists="keep", interval=duration(5), version=2)
            assert kept.scheduling is Scheduling.KEPT
            with pytest.raises(TaskExistsException, match="'template:a' exists already") as caught:
                await context.schedule_task(template, "a", if_exists="error", interval=duration(5), version=3)
            assert caught.value.task.canonical_name == "template:a"
            assert await bench.stored(template.instantiate("a", **EVERY_MINUTE)) == before

    async def test_replacing_takes_the_lease_away(self, bench: Bench) -> None:
        """Everything starts afresh; the execution under way settles nothing."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.lasting(20))
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", **EVERY_MINUTE)
            await bench.advance_to(65)
            replaced = await worker.context.schedule_task(template, "a", if_exists="replace", interval=duration(30))
            assert replaced.scheduling is Scheduling.REPLACED
            await bench.advance_to(130)
        assert bench.log.due() == [60, 95, 125]
