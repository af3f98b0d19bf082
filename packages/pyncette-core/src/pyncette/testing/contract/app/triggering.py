"""Manual runs."""

from __future__ import annotations

from typing import Any

import pytest

from pyncette import Context, ExecutionMode, FailureMode, OnExhausted, PyncetteContext, Retry, Task
from pyncette._app.listing import HeldState
from pyncette._tasks.control import MAX_REQUESTED, Control, RequestedRun, decode, new_record
from pyncette._tasks.state import latest_runs, totals
from pyncette.errors import TaskNotFoundException, TooManyRunsException
from pyncette.record import Band, Change, Ref
from pyncette.testing.contract.base import APPLIED, fresh

from .bench import AppBase, Bench, duration, moment
from .listing import listed

EVERY_MINUTE: dict[str, Any] = {"interval": duration(60)}
ONCE: dict[str, Any] = {"execution_mode": ExecutionMode.AT_MOST_ONCE}


async def described(context: PyncetteContext, task: Task, name: str | None = None) -> tuple[str, float | None, int]:
    """State, next occurrence, and how many manual runs have not ended."""
    state = await context.get_task(task, name)
    assert state is not None
    return state.state, (state.scheduled_at - moment(0)).total_seconds(), state.triggered


def given(bench: Bench) -> list[Any]:
    """One argument of each run, in order of execution."""
    return [run.args.get("number") for run in bench.log.runs]


class TriggerContract(AppBase):
    @pytest.mark.parametrize("options", [{}, ONCE], ids=["at-least-once", "at-most-once"])
    async def test_a_trigger(self, bench: Bench, options: dict[str, Any]) -> None:
        """One run now, of an instance, of one in a partition, of a static task; the schedule doesn't change."""
        app = bench.app()
        static = app.task(name="static", number=0, kept=1, **EVERY_MINUTE, **options)(bench.log.note)
        template = app.dynamic_task(name="template", **options)(bench.log.note)
        split = app.partitioned_task(name="split", partition_count=3, **options)(bench.log.note)
        async with bench.running(app), bench.running(app) as worker:
            instance = await worker.context.schedule_task(template, "a", **EVERY_MINUTE, number=0, kept=2)
            await worker.context.schedule_task(split, "b", **EVERY_MINUTE, number=0, kept=3)
            await bench.advance_to(10)
            await worker.context.trigger_task(static, args={"number": 1})
            await worker.context.trigger_task(instance, args={"number": 2})
            await worker.context.trigger_task(split, "b", {"number": 3})
            await bench.advance_to(12)
            assert sorted((run.args["number"], run.args["kept"], run.due) for run in bench.log.runs) == [
                (1, 1, 10),
                (2, 2, 10),
                (3, 3, 10),
            ]
            assert await described(worker.context, template, "a") == ("waiting", 60, 0)
            await bench.advance_to(61)
        assert sorted(given(bench)) == [0, 0, 0, 1, 2, 3]

    async def test_what_the_function_sees(self, bench: Bench) -> None:
        """What caused the run, and its id; the recent runs show it too."""
        app = bench.app()
        seen: list[tuple[Any, ...]] = []

        @app.task(retry=Retry(2, duration(5), jitter=0), **EVERY_MINUTE)
        async def task(context: Context) -> None:
            seen.append((context.trigger, context.run_id, context.attempt))
            if len(seen) == 1:
                raise RuntimeError("The task fails, says the test.")

        async with bench.running(app) as worker:
            await bench.advance_to(10)
            run_id = await worker.context.trigger_task(task)
            await bench.advance_to(61)
            record = await bench.stored(task)
        assert seen == [("manual", run_id, 1), ("manual", run_id, 2), ("schedule", None, 1)]
        assert record is not None
        runs = [(run.trigger, run.run_id, run.attempts, run.outcome) for run in latest_runs(record.state)]
        assert runs == [("manual", run_id, 2, "succeeded"), ("schedule", None, 1, "succeeded")]

    async def test_a_one_off_that_is_triggered_early(self, bench: Bench) -> None:
        """Still runs at its moment. If triggered while it runs, it is executed once more, and then gone."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.lasting(10))
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", execute_at=moment(50))
            await worker.context.trigger_task(template, "a")
            await bench.advance_to(55)
            await worker.context.trigger_task(template, "a")
            await bench.advance_to(65)
            assert await described(worker.context, template, "a") == ("running", 50, 1)
            await bench.advance_to(80)
            assert await worker.context.get_task(template, "a") is None
        assert bench.log.due() == [0, 50, 55]

    @pytest.mark.parametrize("band", [Band.PAUSED, Band.DEAD, Band.COMPLETED])
    async def test_a_trigger_of_what_is_held(self, bench: Bench, band: Band) -> None:
        """Is executed, and the instance stays held, whether the run succeeds or fails."""
        app = bench.app()
        template = app.dynamic_task(name="template", retry=Retry(1))(bench.log.failing(1))
        async with bench.running(app) as worker:
            instance = await worker.context.schedule_task(template, "a", **EVERY_MINUTE)
            held = await bench.hold(instance, band, moment=10**6)
            for _ in range(2):
                await worker.context.trigger_task(template, "a")
                await bench.advance(2)
                stored = await bench.stored(instance)
                assert stored is not None
                assert (stored.ready_at, stored.due_at) == (held.ready_at, held.due_at)
                assert await described(worker.context, template, "a") == (band.name.lower(), 60, 0)
        assert len(bench.log.runs) == 2

    async def test_what_is_held_is_listed_while_its_run_waits(self, bench: Bench) -> None:
        """Among the paused, the dead or the completed, as if it had not been triggered; not while it is running."""
        app = bench.app()
        task = app.dynamic_task(name="task")(bench.log.lasting(5))
        async with app.create() as context:

            async def held(state: HeldState) -> list[str]:
                found = [one.task.name for one in await listed(context, task, limit=1, state=state)]
                assert (await context.count_tasks(task, state=state)).value == len(found)
                return found

            for name in "abcd":
                await context.schedule_task(task, name, interval=duration(1000))
            for name in "abc":
                await context.pause_task(task, name)
                await bench.advance(1)
            await bench.hold(task.instantiate("d", interval=duration(1000)), Band.DEAD, moment=2)
            assert (await context.trigger_tasks(task, ["b", "d"])).done == 2
            await context.trigger_task(task, "a")
            assert (await held("paused"), await held("dead")) == (["a", "b", "c"], ["d"])
            assert (await context.retry_dead(task)).done == 1
            assert await held("dead") == []
            async with bench.running(app):
                await bench.advance(2)
                assert await held("paused") == ["c"]
                await bench.advance(10)
                assert await held("paused") == ["a", "b", "c"]
                await bench.advance(2)
                assert (await _control(bench)).requested == ()

    @pytest.mark.parametrize("options", [{}, ONCE], ids=["at-least-once", "at-most-once"])
    async def test_a_trigger_inside_of_a_paused_template(self, bench: Bench, options: dict[str, Any]) -> None:
        """Runs within two polls, including its retries, and nothing else of the template does; also with several
        partitions and a second worker.
        """
        app = bench.app()
        paused = app.dynamic_task(name="paused", **options)(bench.log.note)
        split = app.partitioned_task(name="split", partition_count=3, retry=Retry(2, duration(5), jitter=0))(
            bench.log.failing(1)
        )
        async with bench.running(app), bench.running(app), app.create() as operator:
            for name in ("a", "b"):
                await operator.schedule_task(paused, name, interval=duration(10))
                await operator.schedule_task(split, name, interval=duration(10))
            await operator.pause_task(paused)
            await operator.pause_task(split)
            await bench.advance_to(15)
            for number in range(3):
                await operator.trigger_task(paused, "a", {"number": number})
            await operator.trigger_task(split, "b")
            await bench.advance_to(18.5)
            assert sorted(bench.log.names()) == ["paused:a"] * 3 + ["split:2:b"]
            await bench.advance_to(40)
            assert sorted(bench.log.names()) == ["paused:a"] * 3 + ["split:2:b"] * 2
            assert await described(operator, paused, "a") == ("paused", 10, 0)
            assert (await _control(bench)).requested == ()
            await operator.resume_task(paused, catch_up=True)
            await bench.advance_to(42)
        assert sorted(given(bench), key=str)[:3] == [0, 1, 2]
        assert bench.log.due("paused:b") == [10, 20, 30, 40]

    async def test_triggers_of_paused_templates_are_limited(self, bench: Bench) -> None:
        """The next one is refused."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            await context.schedule_task(template, "a", **EVERY_MINUTE)
            await context.pause_task(template)
            (record,) = await bench.repository.read([Ref(":control", ":control")])
            assert record is not None
            full = decode(record.spec)
            for number in range(MAX_REQUESTED):
                full = full.request("template", RequestedRun("template", "template:a", f"{number}"))
            assert await bench.repository.swap([Change(record, new_record(record, full, revision=fresh()))]) == [
                APPLIED
            ]
            with pytest.raises(TooManyRunsException):
                await context.trigger_task(template, "a")

    async def test_three_triggers_while_it_runs(self, bench: Bench) -> None:
        """Three runs, each with its own arguments, one after another, when it has ended."""
        app = bench.app()
        task = app.task(name="task", number=0, **EVERY_MINUTE)(bench.log.lasting(5))
        async with bench.running(app) as worker, bench.running(app), app.create() as other:
            await bench.advance_to(62)
            for number, context in enumerate((worker.context, other, worker.context), 1):
                await context.trigger_task(task, args={"number": number})
            assert await described(other, task) == ("running", 60, 3)
            await bench.advance_to(100)
            assert await described(other, task) == ("waiting", 120, 0)
        assert given(bench) == [0, 1, 2, 3]
        assert bench.log.most_running == 1

    async def test_attempts_of_the_schedule_wait(self, bench: Bench) -> None:
        """Attempts and the moment of a retry are the same after the manual run as before, however it failed."""
        app = bench.app()
        attempts: list[tuple[str, int, float]] = []

        @app.task(retry=Retry(3, duration(20), factor=1, jitter=0), **EVERY_MINUTE)
        async def task(context: Context) -> None:
            bench.log.begin(context)
            attempts.append((context.trigger, context.attempt, bench.log.runs[-1].at))
            raise RuntimeError("The task fails, says the test.")

        async with bench.running(app) as worker:
            await bench.advance_to(65)
            await worker.context.trigger_task(task)
            await bench.advance_to(119)
            state = await worker.context.get_task(task)
            record = await bench.stored(task)
        assert attempts == [
            *[("schedule", 1, 60), ("manual", 1, 65), ("manual", 2, 85), ("manual", 3, 105)],
            *[("schedule", 2, 105)],
        ]
        assert state is not None
        assert (state.state, state.attempt, state.next_attempt_at) == ("retrying", 2, moment(125))
        assert record is not None
        assert [run.trigger for run in latest_runs(record.state)] == ["manual"]
        assert totals(record.state) == {"succeeded": 0, "failed": 1}

    @pytest.mark.parametrize("mode", [FailureMode.NONE, FailureMode.UNLOCK, FailureMode.COMMIT])
    async def test_a_schedule_that_always_fails_holds_no_trigger_back(self, bench: Bench, mode: FailureMode) -> None:
        """The run gets its turn before the next attempt of the scheduled occurrence."""
        app = bench.app()
        task = app.task(name="task", number=0, failure_mode=mode, **EVERY_MINUTE)(bench.log.failing(2))
        async with bench.running(app) as worker:
            await bench.advance_to(60.5)
            await worker.context.trigger_task(task, args={"number": 1})
            await bench.advance_to(61)
            assert given(bench) == [0, 1]
            await bench.advance_to(250)
            assert await described(worker.context, task) == ("waiting", 300, 0)

    async def test_pausing_and_resuming_beside_a_manual_run(self, bench: Bench) -> None:
        """They affect the schedule, and the run continues, through retries and dying workers."""
        app = bench.app()
        options: dict[str, Any] = {"retry": Retry(3, duration(5), jitter=0), "lease_duration": duration(30)}
        template = app.dynamic_task(name="template", **options)(bench.log.failing(1))
        async with bench.running(app), app.create() as operator:
            await operator.schedule_task(template, "a", interval=duration(20))
            await operator.trigger_task(template, "a")
            await bench.advance_to(2)
            await operator.pause_task(template, "a")
            await operator.pause_task(template, "a", reason="another")
            assert await described(operator, template, "a") == ("paused", 20, 1)
            await bench.advance_to(45)
            assert await described(operator, template, "a") == ("paused", 20, 0)
            await operator.trigger_task(template, "a")
            await operator.resume_task(template, "a")
            await bench.advance_to(61)
        assert bench.log.due() == [0, 0, 45, 60]

    @pytest.mark.parametrize(
        "options", [{"pause_after": 1}, {"on_exhausted": OnExhausted.HOLD}], ids=["paused", "dead"]
    )
    async def test_failures_of_manual_runs_change_nothing(self, bench: Bench, options: dict[str, Any]) -> None:
        """They neither pause nor kill an instance."""
        app = bench.app()
        task = app.task(name="task", retry=Retry(1), **options, **EVERY_MINUTE)(bench.log.fail)
        async with bench.running(app) as worker:
            await worker.context.trigger_task(task)
            await bench.advance_to(10)
            assert await described(worker.context, task) == ("waiting", 60, 0)

    async def test_at_most_ten_wait(self, bench: Bench) -> None:
        """The next one is refused. What doesn't exist can't be triggered."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            with pytest.raises(TaskNotFoundException, match="'template:a'"):
                await context.trigger_task(template, "a")
            await context.schedule_task(template, "a", **EVERY_MINUTE)
            for number in range(10):
                await context.trigger_task(template, "a", {"number": number})
            with pytest.raises(TooManyRunsException, match="10 manual runs of 'template:a' are already waiting"):
                await context.trigger_task(template, "a")
            with pytest.raises(ValueError, match="JSON"):
                await context.trigger_task(template, "a", {"number": object()})
        async with bench.running(app):
            await bench.advance(10)
        assert given(bench) == list(range(10))

    async def test_many_are_triggered(self, bench: Bench) -> None:
        """In bulk, also in a paused template, each with its own arguments or with those of all; refusals are listed."""
        app = bench.app()
        template = app.partitioned_task(name="template", partition_count=2)(bench.log.note)
        async with bench.running(app), app.create() as operator:
            pairs = [(f"{number}", {**EVERY_MINUTE, "number": -1}) for number in range(5)]
            await operator.schedule_tasks(template, pairs)
            progress: list[int] = []
            wanted: list[str | tuple[str, Any]] = [
                "0",
                ("1", {"number": 1}),
                "missing",
                "0",
                ("2", {"number": object()}),
            ]
            result = await operator.trigger_tasks(template, wanted, progress.append, args={"number": 7})
            assert (result.done, progress) == (3, [5])
            assert {name: type(error) for name, error in result.refused} == {
                "missing": TaskNotFoundException,
                "2": ValueError,
            }
            await bench.advance(2)
            assert sorted((run.name[-1], run.args["number"]) for run in bench.log.runs) == [
                ("0", 7),
                ("0", 7),
                ("1", 1),
            ]
            await operator.pause_task(template)
            await bench.advance(2)
            result = await operator.trigger_tasks(template, {"3": {"number": 3}, "4": {"number": 4}})
            assert (result.done, result.refused) == (2, [])
            await bench.advance(2)
            assert sorted(given(bench)) == [1, 3, 4, 7, 7]
            assert (await _control(bench)).requested == ()

    async def test_an_update_meets_a_manual_run(self, bench: Bench) -> None:
        """It changes the schedule immediately, and the run continues."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.lasting(10))
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", **EVERY_MINUTE, number=1)
            await worker.context.trigger_task(template, "a")
            await bench.advance_to(5)
            await worker.context.schedule_task(template, "a", interval=duration(20), number=2)
            assert await described(worker.context, template, "a") == ("running", 25, 1)
            await bench.advance_to(26)
        assert bench.log.due() == [0, 25]
        assert given(bench) == [1, 2]

    @pytest.mark.parametrize("paused", [False, True])
    async def test_a_worker_that_dies(self, bench: Bench, paused: bool) -> None:
        """With the scheduled occurrence or with the manual run: that one is executed again, the other one once."""
        app = bench.app()
        template = app.dynamic_task(name="template", lease_duration=duration(30))(bench.log.lasting(20))
        async with bench.running(app) as worker, app.create() as operator:
            await operator.schedule_task(template, "a", **EVERY_MINUTE, number=0)
            await bench.advance_to(62)
            if paused:
                await operator.pause_task(template)
            await operator.trigger_task(template, "a", {"number": 1})
            await bench.advance_to(65)
            await worker.kill()
        await bench.run_and_kill(app, at=100)
        async with bench.running(app), app.create() as operator:
            await bench.advance_to(170)
            if paused:
                assert given(bench) == [0, 1, 1]
                await operator.resume_task(template, catch_up=True)
            await bench.advance_to(220)
        numbers = given(bench)
        assert (numbers.count(1), sum(run.due == 60 for run in bench.log.runs)) == (2, 2)


async def _control(bench: Bench) -> Control:
    (record,) = await bench.repository.read([Ref(":control", ":control")])
    return Control() if record is None else decode(record.spec)
