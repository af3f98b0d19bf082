"""Leases: how long they last, how they are extended, and what a worker may do once it has lost one."""

from __future__ import annotations

from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Self

import anyio
import pytest

from pyncette import Context, ExecutionMode, FailureMode
from pyncette.errors import LeaseLostException
from pyncette.utils import with_heartbeat

from .bench import AppBase, Bench, duration, seconds


class OneByOne:
    """An executor that accepts two executions, but starts the second one when the first has ended."""

    concurrency_limit = 2

    def __init__(self) -> None:
        self._lock = anyio.Lock()
        self._group = anyio.create_task_group()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._group.__aexit__(exc_type, exc, traceback)

    async def spawn_task(self, task: Awaitable[None]) -> None:
        self._group.start_soon(self._run, task)

    async def _run(self, task: Awaitable[None]) -> None:
        async with self._lock:
            await task


class LeaseContract(AppBase):
    async def test_a_lease_while_a_task_runs(self, bench: Bench) -> None:
        """The record shows who holds the lease and until when; afterwards no lease."""
        app = bench.app()
        task = app.task(name="task", interval=duration(60), lease_duration=duration(45))(bench.log.lasting(20))
        async with bench.running(app) as worker:
            await bench.advance(70)
            state = await worker.context.get_task(task)
            assert state is not None
            assert (seconds(state.scheduled_at), seconds(state.locked_until)) == (60, 105)
            assert state.locked_by
            await bench.advance(10)
            state = await worker.context.get_task(task)
            assert state is not None
            assert (seconds(state.scheduled_at), state.locked_until, state.locked_by) == (120, None, None)

    @pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
    async def test_a_worker_that_lost_its_lease(self, bench: Bench, fails: bool) -> None:
        """What takes longer than its lease is executed again; the first worker then neither commits nor unlocks."""
        app = bench.app(poll_interval=duration(100))
        lasting = iter([45, 25, 1])

        @app.task(
            interval=duration(1000), lease_duration=duration(30), failure_mode=FailureMode.UNLOCK, heartbeat=False
        )
        async def task(context: Context) -> None:
            mine = next(lasting)
            await bench.log.lasting(mine)(context)
            if fails and mine == 45:
                raise RuntimeError("The task fails, says the test.")

        async with bench.running(app) as worker:
            await bench.advance(1000)
            first = await bench.stored(task)
            worker.context.shutdown()
            async with bench.running(app) as other:
                await bench.advance(46)
                assert (bench.log.at(), bench.log.ended) == ([1000, 1030], 1)
                state = await other.context.get_task(task)
                assert state is not None
                assert (seconds(state.scheduled_at), seconds(state.locked_until)) == (1000, 1060)
                assert first is not None
                assert state.locked_by != first.locked_by
                await bench.advance_to(2001)
        assert bench.log.due() == [1000, 1000, 2000]
        assert bench.log.at() == [1000, 1030, 2000]

    async def test_an_expired_lease_that_nobody_claimed(self, bench: Bench) -> None:
        """It still counts: its holder may prolong it, and commit."""
        app = bench.app()

        @app.task(interval=duration(60), lease_duration=duration(10), heartbeat=False)
        async def task(context: Context) -> None:
            bench.log.begin(context)
            await bench.clock.sleep(15)
            await context.heartbeat()
            await bench.clock.sleep(15)

        async with bench.running(app) as worker:
            await bench.advance(60)
            worker.context.shutdown()
            await bench.advance(16)
            state = await worker.context.get_task(task)
            assert state is not None
            assert (seconds(state.scheduled_at), seconds(state.locked_until)) == (60, 85)
            await bench.advance(20)
            assert worker.ended
            state = await worker.context.get_task(task)
            assert state is not None
            assert (seconds(state.scheduled_at), state.locked_until) == (120, None)
        assert bench.log.at() == [60]

    async def test_heartbeats(self, bench: Bench) -> None:
        """Each prolongs the lease by its whole duration from then on, so that no other worker claims it."""
        app = bench.app()

        @app.task(interval=duration(200), lease_duration=duration(30), heartbeat=False)
        async def task(context: Context) -> None:
            bench.log.begin(context)
            for _ in range(5):
                await bench.clock.sleep(20)
                await context.heartbeat()

        async with bench.running(app) as worker, bench.running(app):
            await bench.advance(245)
            state = await worker.context.get_task(task)
            assert state is not None
            assert (seconds(state.scheduled_at), seconds(state.locked_until)) == (200, 270)
            await bench.advance_to(420)
        assert bench.log.at() == [200, 400]

    async def test_a_heartbeat_of_a_lost_lease(self, bench: Bench) -> None:
        """Raises ``LeaseLostException``, because another worker has the occurrence."""
        app = bench.app()
        lost: list[bool] = []

        @app.task(interval=duration(100), lease_duration=duration(30), heartbeat=False)
        async def task(context: Context) -> None:
            bench.log.begin(context)
            await bench.clock.sleep(40 if len(bench.log.runs) == 1 else 1)
            try:
                await context.heartbeat()
            except LeaseLostException:
                lost.append(True)
                with pytest.raises(LeaseLostException) as caught:
                    await context.heartbeat()
                assert caught.value.task is context.task
            else:
                lost.append(False)

        async with bench.running(app) as worker:
            await bench.advance(100)
            worker.context.shutdown()
            async with bench.running(app):
                await bench.advance(101)
        assert bench.log.at() == [100, 130, 200]
        assert lost == [False, True, False]

    async def test_a_heartbeat_at_most_once(self, bench: Bench) -> None:
        """Does nothing: there is no lease."""
        app = bench.app()

        @app.task(interval=duration(60), execution_mode=ExecutionMode.AT_MOST_ONCE)
        async def task(context: Context) -> None:
            bench.log.begin(context)
            before = await bench.stored(task)
            await context.heartbeat()
            assert await bench.stored(task) == before
            bench.log.ended += 1

        async with bench.running(app):
            await bench.advance(120)
        assert (bench.log.at(), bench.log.ended) == ([60, 120], 2)

    async def test_automatic_heartbeats(self, bench: Bench) -> None:
        """``with_heartbeat`` keeps the lease for as long as the function runs."""
        app = bench.app()
        app.task(name="task", interval=duration(200), lease_duration=duration(30), heartbeat=False)(
            with_heartbeat(lease_remaining_ratio=0.5)(bench.log.lasting(100))
        )
        async with bench.running(app), bench.running(app):
            await bench.advance(500)
        assert bench.log.at() == [200, 400]

    async def test_cancelled_when_the_lease_is_lost(self, bench: Bench) -> None:
        """``with_heartbeat(cancel_on_lease_lost=True)`` ends the function at the next heartbeat."""
        app = bench.app()
        lasting = with_heartbeat(cancel_on_lease_lost=True)(bench.log.lasting(100))
        template = app.dynamic_task(name="template", lease_duration=duration(20), heartbeat=False)(lasting)
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", interval=duration(10))
            await bench.advance(15)
            await worker.context.unschedule_task(template, "a")
            await bench.advance(4)
            assert bench.log.running == 1
            await bench.advance(2)
            assert (bench.log.running, bench.log.ended) == (0, 0)

    async def test_unscheduled_while_it_runs(self, bench: Bench) -> None:
        """An instance that is unscheduled while it runs does not come back, however its execution ends."""
        app = bench.app()
        ending = app.dynamic_task(name="ending")(bench.log.lasting(30))
        unlock = app.dynamic_task(name="unlock", failure_mode=FailureMode.UNLOCK)

        @unlock
        async def failing(context: Context) -> None:
            await bench.log.lasting(30)(context)
            raise RuntimeError("The task fails, says the test.")

        @app.dynamic_task()
        async def beating(context: Context) -> None:
            await bench.log.lasting(30)(context)
            with pytest.raises(LeaseLostException):
                await context.heartbeat()

        templates = (ending, failing, beating)
        async with bench.running(app) as worker:
            for template in templates:
                await worker.context.schedule_task(template, "a", interval=duration(60))
            await bench.advance(70)
            for template in templates:
                await worker.context.unschedule_task(template, "a")
            await bench.advance(300)
            for template in templates:
                assert await worker.context.get_task(template, "a") is None
        assert (bench.log.at(), bench.log.ended) == ([60, 60, 60], 3)

    async def test_recreated_while_it_runs(self, bench: Bench) -> None:
        """The execution of an instance that was removed and created again doesn't affect the new one."""
        app = bench.app()
        template = app.dynamic_task(name="template", lease_duration=duration(60))(bench.log.lasting(30))
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", interval=duration(60), version=1)
            await bench.advance(70)
            await worker.context.unschedule_task(template, "a")
            await worker.context.schedule_task(template, "a", interval=duration(15), version=2)
            await bench.advance(16)
            assert [run.args["version"] for run in bench.log.runs] == [1, 2]
            await bench.advance(10)
            state = await worker.context.get_task(template, "a")
            assert state is not None
            assert (seconds(state.scheduled_at), seconds(state.locked_until)) == (85, 145)
            await bench.advance_to(116)
        assert bench.log.due() == [60, 85, 100]
        assert bench.log.at() == [60, 85, 115]

    async def test_overwritten_while_it_runs(self, bench: Bench) -> None:
        """``force=True`` overwrites the lease, too: the execution under way loses it."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.lasting(30))
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", interval=duration(60), version=1)
            await bench.advance(70)
            await worker.context.schedule_task(template, "a", force=True, interval=duration(100), version=2)
            state = await worker.context.get_task(template, "a")
            assert state is not None
            assert (seconds(state.scheduled_at), state.locked_until) == (170, None)
            await bench.advance_to(300)
        assert [(run.due, run.args["version"]) for run in bench.log.runs] == [(60, 1), (170, 2), (270, 2)]

    async def test_fencing_tokens(self, bench: Bench) -> None:
        """Every claim of an instance has a larger token, whichever worker makes it, and also after the instance was
        created again.
        """
        app = bench.app(poll_interval=duration(3))
        options: dict[str, Any] = {"lease_duration": duration(10), "failure_mode": FailureMode.UNLOCK}
        template = app.dynamic_task(name="template", **options)(bench.log.failing(3))
        for _ in range(2):
            async with bench.running(app) as worker, bench.running(app):
                instance = await worker.context.schedule_task(template, "a", interval=duration(5))
                await bench.advance(30)
                await worker.context.unschedule_task(instance)
        tokens = [run.token for run in bench.log.runs]
        assert len(tokens) >= 10
        assert tokens == sorted(set(tokens))

    async def test_fencing_tokens_of_one_moment(self, bench: Bench) -> None:
        """Tokens grow even if an instance is claimed several times within one microsecond."""
        app = bench.app()

        @app.dynamic_task()
        async def template(context: Context) -> None:
            bench.log.begin(context)
            if len(bench.log.runs) < 5:
                schedule = context.app_context.schedule_task
                await schedule(template, "a", force=True, execute_at=bench.clock.time)

        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", execute_at=bench.clock.time)
            await bench.advance(0)
            for _ in range(5 - len(bench.log.runs)):
                # A claim may skip a row that another transaction is about to unlock; the next look finds it.
                await bench.advance(2)
        assert len(bench.log.runs) == 5
        tokens = [run.token for run in bench.log.runs]
        assert tokens == sorted(set(tokens))

    async def test_a_lease_that_is_half_spent(self, bench: Bench) -> None:
        """What was claimed but can't start on time is given back, not started: the next claim has a whole lease."""
        app = bench.app(executor_cls=OneByOne)
        template = app.dynamic_task(name="template", lease_duration=duration(60))(bench.log.lasting(40))
        async with bench.running(app) as worker:
            for name in "ab":
                await worker.context.schedule_task(template, name, execute_at=bench.clock.time)
            await bench.advance(41)
            second = bench.log.runs[-1].name.removeprefix("template:")
            state = await worker.context.get_task(template, second)
            assert state is not None
            assert seconds(state.locked_until) == 100
            await bench.advance(60)
        assert sorted(bench.log.names()) == ["template:a", "template:b"]
        assert (bench.log.at(), bench.log.ended) == ([0, 40], 2)
