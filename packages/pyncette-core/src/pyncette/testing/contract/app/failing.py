"""What happens to an occurrence whose execution fails or is cut short."""

from __future__ import annotations

from typing import Any

import pytest

from pyncette import Context, ExecutionMode, FailureMode

from .bench import AppBase, Bench, duration, seconds


class FailureContract(AppBase):
    async def test_failure_mode_none(self, bench: Bench) -> None:
        """The lease stays; the occurrence is retried when it expires, and the next one is not delayed by it."""
        app = bench.app()
        task = app.task(name="task", interval=duration(60), lease_duration=duration(25))(bench.log.failing(2))
        async with bench.running(app) as worker:
            await bench.advance(61)
            state = await worker.context.get_task(task)
            assert state is not None
            assert (seconds(state.scheduled_at), seconds(state.locked_until)) == (60, 85)
            await bench.advance_to(180)
        assert bench.log.due() == [60, 60, 60, 120, 180]
        assert bench.log.at() == [60, 85, 110, 120, 180]

    async def test_failure_mode_unlock(self, bench: Bench) -> None:
        """The occurrence is retried one poll interval after the failure, by any app."""
        app = bench.app(poll_interval=duration(4))
        options: dict[str, Any] = {"interval": duration(60), "failure_mode": FailureMode.UNLOCK}
        task = app.task(name="task", **options)(bench.log.failing(3))
        async with bench.running(app) as worker, bench.running(app):
            await bench.advance_to(61)
            state = await worker.context.get_task(task)
            assert state is not None
            assert (seconds(state.scheduled_at), state.locked_until, state.locked_by) == (60, None, None)
            await bench.advance_to(120)
        assert bench.log.due() == [60, 60, 60, 60, 120]
        assert bench.log.at() == [60, 64, 68, 72, 120]

    async def test_failure_mode_commit(self, bench: Bench) -> None:
        """A failure ends the run: what follows is the same as after a success."""
        app = bench.app()
        template = app.dynamic_task(name="template", failure_mode=FailureMode.COMMIT)(bench.log.fail)
        app.task(name="task", interval=duration(60), failure_mode=FailureMode.COMMIT)(bench.log.fail)
        async with bench.running(app) as worker:
            instance = await worker.context.schedule_task(template, "once", execute_at=bench.clock.time)
            await bench.advance(180)
            assert await worker.context.get_task(instance) is None
        assert bench.log.at("task") == [60, 120, 180]
        assert bench.log.at(instance) == [0]

    async def test_at_most_once(self, bench: Bench) -> None:
        """The occurrence is over before it is executed: no lease is held during the execution, and a failure is not
        retried.
        """
        app = bench.app()
        options: dict[str, Any] = {"execution_mode": ExecutionMode.AT_MOST_ONCE, "interval": duration(60)}
        failing = app.task(name="failing", **options)(bench.log.fail)
        lasting = app.task(name="lasting", **options)(bench.log.lasting(30))
        async with bench.running(app) as worker:
            await bench.advance(70)
            for task in (failing, lasting):
                state = await worker.context.get_task(task)
                assert state is not None
                assert (seconds(state.scheduled_at), state.locked_until, state.locked_by) == (120, None, None)
            await bench.advance_to(180)
        for task in (failing, lasting):
            assert bench.log.due(task) == bench.log.at(task) == [60, 120, 180]

    async def test_at_most_once_one_off(self, bench: Bench) -> None:
        """It is gone from the storage before it is executed."""
        app = bench.app()
        template = app.dynamic_task(name="template", execution_mode=ExecutionMode.AT_MOST_ONCE)(bench.log.lasting(30))
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", execute_at=bench.clock.time)
            await bench.advance(1)
            assert bench.log.running == 1
            assert await worker.context.get_task(template, "a") is None
            await bench.advance(60)
        assert (bench.log.at(), bench.log.ended) == ([0], 1)

    async def test_at_most_once_may_overlap_itself(self, bench: Bench) -> None:
        """Since no lease is held, the next occurrence doesn't wait for the previous one."""
        app = bench.app()
        options: dict[str, Any] = {"execution_mode": ExecutionMode.AT_MOST_ONCE, "interval": duration(10)}
        app.task(name="task", **options)(bench.log.lasting(25))
        async with bench.running(app):
            await bench.advance(50)
        assert bench.log.at() == [10, 20, 30, 40, 50]
        assert bench.log.most_running == 3

    @pytest.mark.parametrize("failure_mode", FailureMode, ids=lambda mode: mode.name)
    async def test_a_killed_worker(self, bench: Bench, failure_mode: FailureMode) -> None:
        """A cancelled execution is neither committed nor unlocked: another worker repeats it when its lease expires."""
        app = bench.app()
        options: dict[str, Any] = {
            "interval": duration(60),
            "lease_duration": duration(30),
            "failure_mode": failure_mode,
        }
        task = app.task(name="task", **options)(bench.log.lasting(10))
        async with bench.running(app) as worker:
            await bench.advance(65)
            await worker.kill()
        async with bench.running(app) as worker:
            state = await worker.context.get_task(task)
            assert state is not None
            assert (seconds(state.scheduled_at), seconds(state.locked_until)) == (60, 90)
            await bench.advance_to(130)
        assert bench.log.due() == [60, 60, 120]
        assert bench.log.at() == [60, 90, 120]
        assert bench.log.ended == 2

    async def test_a_killed_worker_at_most_once(self, bench: Bench) -> None:
        """What a killed worker had started is not executed again."""
        app = bench.app()
        options: dict[str, Any] = {"execution_mode": ExecutionMode.AT_MOST_ONCE, "interval": duration(60)}
        app.task(name="task", **options)(bench.log.lasting(10))
        async with bench.running(app) as worker:
            await bench.advance(65)
            await worker.kill()
        async with bench.running(app):
            await bench.advance_to(120)
        assert (bench.log.due(), bench.log.at()) == ([60, 120], [60, 120])

    async def test_a_synchronous_function(self, bench: Bench) -> None:
        """A plain function runs in a worker thread, with the same guarantees."""
        app = bench.app()
        outcomes = iter([RuntimeError("The task fails, says the test."), None, None])

        @app.task(interval=duration(60), failure_mode=FailureMode.UNLOCK)
        def task(context: Context) -> None:
            bench.log.begin(context)
            if error := next(outcomes):
                raise error

        async with bench.running(app):
            await bench.advance(120)
        assert (bench.log.due(), bench.log.at()) == ([60, 60, 120], [60, 61, 120])

    async def test_graceful_shutdown(self, bench: Bench) -> None:
        """Executions finish and are settled, nothing more is claimed; then ``run()`` returns."""
        app = bench.app()
        app.task(name="task", interval=duration(60))(bench.log.lasting(30))
        async with bench.running(app) as worker:
            await bench.advance(70)
            worker.context.shutdown()
            await bench.advance(19)
            assert (bench.log.running, worker.ended) == (1, False)
            await bench.advance(1)
            assert (bench.log.ended, worker.ended) == (1, True)
            await bench.advance(100)
        assert bench.log.at() == [60]
        async with bench.running(app):
            await bench.advance(1)
        assert bench.log.due() == [60, 120]

    async def test_a_drain_deadline(self, bench: Bench) -> None:
        """What outlasts it is cancelled and given back: another worker can take it immediately."""
        app = bench.app(drain_timeout=duration(5))
        task = app.task(name="task", interval=duration(60))(bench.log.lasting(30))
        async with bench.running(app) as worker:
            await bench.advance(60)
            worker.context.shutdown()
            await bench.advance(5)
            assert worker.ended
            state = await worker.context.get_task(task)
            assert state is not None
            assert (seconds(state.scheduled_at), state.locked_until) == (60, None)
        async with bench.running(app):
            await bench.advance(31)
        assert (bench.log.due(), bench.log.at(), bench.log.ended) == ([60, 60], [60, 65], 1)
