"""Executions longer than their lease: the worker renews it, and never executes an occurrence twice concurrently."""

from __future__ import annotations

from typing import Any, Literal

import anyio
import pytest

from pyncette import Context
from pyncette.record import QueueClaim
from pyncette.testing.contract.base import fresh

from .bench import AppBase, Bench, duration, seconds

HOUR = 3_600_000_000


class RenewalContract(AppBase):
    async def test_an_execution_longer_than_its_lease(self, bench: Bench) -> None:
        """Its lease is renewed as long as it runs, also while draining: it is executed once, and committed."""
        app = bench.app()
        template = app.dynamic_task(name="template", lease_duration=duration(60))(bench.log.lasting(200))
        async with bench.running(app) as worker, bench.running(app) as other:
            await worker.context.schedule_task(template, "a", execute_at=bench.clock.time)
            await bench.advance(100)
            worker.context.shutdown()
            await bench.advance(99)
            state = await other.context.get_task(template, "a")
            assert state is not None
            assert seconds(state.locked_until) == 240
            await bench.advance(2)
            assert await other.context.get_task(template, "a") is None
            await bench.advance(100)
        assert (bench.log.at(), bench.log.ended) == ([0], 1)

    async def test_a_short_execution_costs_no_renewal(self, bench: Bench) -> None:
        """An execution that ends within half of its lease writes its claim and its settlement, and nothing else."""
        app = bench.app()
        task = app.task(name="task", interval=duration(300), lease_duration=duration(60))(bench.log.lasting(29))
        async with bench.running(app):
            await bench.advance(300)
            claimed = await bench.stored(task)
            await bench.advance(28)
            assert await bench.stored(task) == claimed

    @pytest.mark.parametrize("heartbeat", [True, False], ids=["renewed", "not renewed"])
    async def test_a_task_that_hangs(self, bench: Bench, heartbeat: bool) -> None:
        """It takes one slot of its process, and the others run on time."""
        app = bench.app(concurrency_limit=3)

        @app.task(interval=duration(40), lease_duration=duration(60), heartbeat=heartbeat)
        async def hanging(context: Context) -> None:
            bench.log.begin(context)
            await anyio.sleep_forever()

        other = app.task(name="other", interval=duration(50))(bench.log.note)
        async with bench.running(app) as worker:
            await bench.advance(300)
            assert bench.log.at(hanging) == [40]
            assert bench.log.at(other) == [50, 100, 150, 200, 250, 300]
            await worker.kill()

    async def test_another_process_executes_what_is_not_renewed(self, bench: Bench) -> None:
        """With ``heartbeat=False``: once the lease has expired; the process that still executes it stands back."""
        app = bench.app()
        options: dict[str, Any] = {"lease_duration": duration(60), "heartbeat": False}
        template = app.dynamic_task(name="template", **options)(bench.log.lasting(2000))
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", execute_at=bench.clock.time)
            await bench.advance(200)
            assert bench.log.at() == [0]
            async with bench.running(app):
                for _ in range(40):  # if this process claims first, it puts it back; the other one executes it
                    await bench.advance(15)
                    if len(bench.log.runs) > 1:
                        break
                assert len(bench.log.runs) == 2
                await bench.advance(200)
                assert len(bench.log.runs) == 2

    @pytest.mark.parametrize("heartbeat", [True, "cancel"])
    async def test_a_lease_that_somebody_takes(self, bench: Bench, heartbeat: Literal[True, "cancel"]) -> None:
        """The execution runs to its end, or is cancelled with ``heartbeat="cancel"``. Either way, nothing is stored."""
        app = bench.app()
        template = app.dynamic_task(name="template", heartbeat=heartbeat)(bench.log.lasting(200))
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "a", execute_at=bench.clock.time)
            await bench.advance(70)
            now = bench.clock.now() + HOUR
            claims = [QueueClaim(template.queue, 1, now + HOUR)]
            await bench.repository.claim(claims, now=now, limit=1, token=fresh(), holder="somebody")
            instance = template.instantiate("a", execute_at=bench.clock.time)
            taken = await bench.stored(instance)
            await bench.advance(60)
            assert bench.log.running == (1 if heartbeat is True else 0)
            await bench.advance(100)
            assert await bench.stored(instance) == taken
        assert bench.log.ended == (1 if heartbeat is True else 0)
