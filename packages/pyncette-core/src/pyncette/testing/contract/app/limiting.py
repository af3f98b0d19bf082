"""Limits: missed occurrences, overlap, timeouts, concurrency."""

from __future__ import annotations

from typing import Any

import pytest

from pyncette import CatchUp, Context, ExecutionMode, Overlap, Retry
from pyncette._tasks.state import latest_runs, totals
from pyncette.record import Band

from .bench import AppBase, Bench, duration, moment

ONCE = ExecutionMode.AT_MOST_ONCE


class LimitContract(AppBase):
    @pytest.mark.parametrize("mode", ExecutionMode, ids=lambda mode: mode.name)
    @pytest.mark.parametrize(
        "policies, executed, skipped",
        [
            ({}, [120, 180, 240], {}),
            ({"catch_up": CatchUp.EARLIEST}, [120], {"coalesced": 2}),
            ({"catch_up": CatchUp.LATEST}, [240], {"coalesced": 2}),
            ({"max_lateness": duration(90)}, [180, 240], {"late": 1}),
            ({"max_lateness": duration(10)}, [], {"late": 3}),
            ({"max_lateness": duration(90), "catch_up": CatchUp.LATEST}, [240], {"late": 1, "coalesced": 1}),
        ],
    )
    async def test_what_was_missed(
        self,
        bench: Bench,
        policies: dict[str, Any],
        executed: list[float],
        skipped: dict[str, int],
        mode: ExecutionMode,
    ) -> None:
        """What came due while no worker ran is executed late: all of it, one run or none, as ``catch_up`` and
        ``max_lateness`` say; what is skipped is counted.
        """
        app = bench.app()
        policies = {"interval": duration(60), "execution_mode": mode, **policies}
        task = app.task(name="task", **policies)(bench.log.note)
        async with bench.running(app):
            await bench.advance_to(70)
        await bench.advance_to(270)
        async with bench.running(app), bench.running(app):
            await bench.advance_to(300)
            record = await bench.stored(task)
        assert bench.log.due() == [60, *executed, 300]
        assert bench.log.at() == [60, *[270] * len(executed), 300]
        assert record is not None
        assert totals(record.state) == {"succeeded": len(executed) + 2, **skipped}

    async def test_a_one_off_that_is_too_late(self, bench: Bench) -> None:
        """A one-off that is later than ``max_lateness`` is removed without being executed."""
        app = bench.app()
        template = app.dynamic_task(name="template", max_lateness=duration(60))(bench.log.note)
        async with bench.running(app) as worker:
            late = await worker.context.schedule_task(template, "late", execute_at=moment(-61))
            await worker.context.schedule_task(template, "in time", execute_at=moment(-60))
            await bench.advance(10)
            assert await bench.stored(late) is None
        assert bench.log.names() == ["template:in time"]

    @pytest.mark.parametrize(
        "overlap, executed, ended, counted",
        [
            (Overlap.QUEUE, [60, 120, 180], 2, {"succeeded": 2}),
            (Overlap.SKIP, [60, 240], 2, {"succeeded": 2, "overlap": 4}),
            (Overlap.CANCEL, [60, 120, 180, 240, 300, 360], 0, {"succeeded": 0, "superseded": 5}),
        ],
    )
    async def test_overlap(
        self, bench: Bench, overlap: Overlap, executed: list[float], ended: int, counted: dict[str, int]
    ) -> None:
        """Each execution takes two and a half intervals."""
        app = bench.app()
        task = app.task(name="task", interval=duration(60), overlap=overlap)(bench.log.lasting(150))
        async with bench.running(app), bench.running(app):
            await bench.advance_to(395)
            record = await bench.stored(task)
        assert (bench.log.due(), bench.log.ended, bench.log.most_running) == (executed, ended, 1)
        assert record is not None
        assert totals(record.state) == counted

    async def test_what_had_been_missed_is_not_what_overlaps(self, bench: Bench) -> None:
        """``Overlap.SKIP`` skips what comes due during an execution. What had been missed before is executed."""
        app = bench.app()
        task = app.task(name="task", interval=duration(60), overlap=Overlap.SKIP)(bench.log.lasting(50))
        async with bench.running(app):
            await bench.advance_to(30)
        await bench.advance_to(185)
        async with bench.running(app):
            await bench.advance_to(400)
            record = await bench.stored(task)
        # 60, 120 and 180 take from 185 to 335; 240 and 300 come due in the meantime.
        assert (bench.log.due(), bench.log.at()) == ([60, 120, 180, 360], [185, 235, 285, 360])
        assert record is not None
        assert totals(record.state) == {"succeeded": 3, "overlap": 2}

    async def test_a_time_out(self, bench: Bench) -> None:
        """Counts as a failure, unless the time is extended."""
        app, remaining = bench.app(), []
        policies: dict[str, Any] = {"timeout": duration(20), "retry": Retry(2, delay=duration(5), jitter=0)}

        @app.task(interval=duration(100), **policies)
        async def task(context: Context) -> None:
            bench.log.begin(context)
            remaining.append(context.remaining)
            if context.attempt == 2:
                context.extend_timeout(duration(15))
            await bench.clock.sleep(30)
            bench.log.ended += 1

        async with bench.running(app), bench.running(app):
            await bench.advance_to(199)
            record = await bench.stored(task)
        assert (bench.log.at(), bench.log.ended) == ([100, 125], 1)
        assert remaining == [duration(20), duration(20)]
        assert record is not None
        assert [(run.outcome, run.attempts) for run in latest_runs(record.state)] == [("succeeded", 2)]

    async def test_a_time_out_at_most_once(self, bench: Bench) -> None:
        """The execution is cancelled and recorded as failed. It is not retried."""
        app = bench.app()
        policies: dict[str, Any] = {"timeout": duration(20), "execution_mode": ONCE}
        task = app.task(name="task", interval=duration(100), **policies)(bench.log.lasting(30))
        async with bench.running(app):
            await bench.advance_to(199)
            record = await bench.stored(task)
        assert (bench.log.at(), bench.log.ended) == ([100], 0)
        assert record is not None
        assert [(run.outcome, run.error) for run in latest_runs(record.state)] == [
            ("failed", "TimeoutError: timed out after 0:00:20")
        ]

    async def test_so_many_at_a_time(self, bench: Bench) -> None:
        """Others continue, and nothing is claimed that can't be executed."""
        app = bench.app()
        limited = app.dynamic_task(name="limited", concurrency=1)(bench.log.lasting(10))
        other = app.dynamic_task(name="other")(bench.log.note)
        async with bench.running(app) as worker:
            for name in "abc":
                await worker.context.schedule_task(limited, name, execute_at=bench.clock.time)
            await worker.context.schedule_task(other, "x", execute_at=moment(5))
            await bench.advance(29)
            assert bench.log.running == 1
            await bench.advance(1)
        limited_at = [run.at for run in bench.log.runs if run.name != "other:x"]
        assert (limited_at, bench.log.at("other:x"), bench.log.most_running) == ([0, 10, 20], [5], 1)

    async def test_jitter(self, bench: Bench) -> None:
        """Each instance starts later by its own offset, which is always the same."""
        app = bench.app()
        template = app.dynamic_task(name="template", jitter=duration(30))(bench.log.note)
        names = [str(number) for number in range(20)]
        async with bench.running(app) as worker:
            await worker.context.schedule_tasks(template, [(name, {"interval": duration(60)}) for name in names])
            await bench.advance_to(240)
        late = {name: {round(run.at - run.due, 3) for run in bench.log.of(f"template:{name}")} for name in names}
        assert all(len(each) == 1 for each in late.values())
        offsets = [offset for each in late.values() for offset in each]
        assert len(set(offsets)) == 20
        assert 0 <= min(offsets) < 10 < 20 < max(offsets) < 30

    async def test_finished_instances_are_kept_for_a_while(self, bench: Bench) -> None:
        """A one-off with ``retain`` is kept once it is completed, with its last run, and not executed again."""
        app = bench.app()
        template = app.dynamic_task(name="template", retain=duration(3600))(bench.log.note)
        async with bench.running(app) as worker:
            instance = await worker.context.schedule_task(template, "a", execute_at=moment(5))
            await bench.advance(10)
            record = await bench.stored(instance)
            assert record is not None
            assert Band.of(record.ready_at) is Band.COMPLETED
            assert [run.outcome for run in latest_runs(record.state)] == ["succeeded"]
            await bench.advance(3500)
            assert await bench.stored(instance) is not None
            await bench.advance(200)
            assert await bench.stored(instance) is None
        assert len(bench.log.runs) == 1

    @pytest.mark.parametrize("mode", ExecutionMode, ids=lambda mode: mode.name)
    @pytest.mark.parametrize(
        "bounds, executed",
        [
            ({"start_at": moment(90)}, [90, 150, 210, 270]),
            ({"start_at": moment(-3590)}, [10, 70, 130, 190, 250]),
            ({"end_at": moment(180)}, [60, 120, 180]),
            ({"end_at": moment(179)}, [60, 120]),
            ({"max_runs": 2}, [60, 120]),
            ({"start_at": moment(100), "end_at": moment(250), "max_runs": 5}, [100, 160, 220]),
        ],
    )
    async def test_bounds(
        self, bench: Bench, bounds: dict[str, Any], executed: list[float], mode: ExecutionMode
    ) -> None:
        """A static task that is completed is kept, also across a restart; an instance is removed."""
        app = bench.app()
        policies: dict[str, Any] = {"interval": duration(60), "execution_mode": mode, **bounds}
        static = app.task(name="static", **policies)(bench.log.note)
        template = app.dynamic_task(name="template", execution_mode=mode)(bench.log.note)
        async with bench.running(app) as worker:
            instance = await worker.context.schedule_task(template, "a", interval=duration(60), **bounds)
            await bench.advance_to(185)
        async with bench.running(app):
            await bench.advance_to(299)
            kept, gone = await bench.stored(static), await bench.stored(instance)
        assert bench.log.due(static) == bench.log.due(instance) == executed
        ended = executed[-1] < 240
        assert kept is not None
        assert (Band.of(kept.ready_at) is Band.COMPLETED, gone is None) == (ended, ended)

    async def test_bounds_that_change_keep_the_next_occurrence(self, bench: Bench) -> None:
        """If it is within them. A completed task starts afresh."""
        steps: list[tuple[float, dict[str, Any], list[float]]] = [
            (150, {}, [60, 120]),
            (200, {"end_at": moment(1000)}, [180]),
            (270, {"end_at": moment(200)}, []),
            (400, {"max_runs": 1}, [330]),
            (600, {"max_runs": 2}, [460, 520]),
        ]
        for until, bounds, executed in steps:
            app = bench.app()
            task = app.task(name="task", interval=duration(60), **bounds)(bench.log.note)
            bench.log.runs.clear()
            async with bench.running(app):
                await bench.advance_to(until)
            assert bench.log.due(task) == executed
