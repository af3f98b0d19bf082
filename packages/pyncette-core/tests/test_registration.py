"""Scheduling when replies of the storage are lost."""

from __future__ import annotations

import datetime
from contextlib import nullcontext
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from pyncette import Context, ExecutionMode, Pyncette
from pyncette._app.bulk import STEPS_AT_ONCE
from pyncette.errors import RepositoryUnavailableException
from pyncette.memory import MemoryRepository
from pyncette.testing import Call, FaultPlan, FaultyRepository, ManualClock, refuse
from pyncette.testing.faults import unavailable


async def test_an_at_most_once_instance_is_not_scheduled_again_when_it_may_have_run() -> None:
    store, plan, ran = MemoryRepository(), FaultPlan(), anyio.Event()
    executed: list[str] = []

    async def body(context: Context) -> None:
        executed.append(context.task.name)
        ran.set()

    def declared(repository: Any) -> tuple[Pyncette, Any]:
        app = Pyncette(lambda: nullcontext(repository), poll_interval=datetime.timedelta(milliseconds=10))
        return app, app.dynamic_task(name="t", execution_mode=ExecutionMode.AT_MOST_ONCE)(body)

    async def lose_reply_once_it_ran(call: Call) -> None:
        await call()
        await ran.wait()
        raise unavailable()

    (worker, _), (client, template) = declared(store), declared(FaultyRepository(store, plan))
    async with worker.create() as working, client.create() as scheduling, anyio.create_task_group() as group:
        group.start_soon(working.run)
        plan.script("swap", lose_reply_once_it_ran)
        with anyio.fail_after(30), pytest.raises(RepositoryUnavailableException, match="at most once"):
            await scheduling.schedule_task(template, "x", execute_at=datetime.datetime.now(datetime.UTC))
        assert await scheduling.get_task(template, "x") is None
        working.shutdown()
    assert executed == ["x"]


async def test_at_most_once_instances_in_a_batch_with_a_refused_write() -> None:
    plan, clock = FaultPlan(), ManualClock()
    app = Pyncette(lambda: nullcontext(FaultyRepository(MemoryRepository(), plan)), clock=clock)

    @app.dynamic_task(execution_mode=ExecutionMode.AT_MOST_ONCE)
    async def work(context: Context) -> None: ...

    plan.always(refuse(lambda record: record.key == "work:3"), "swap")
    async with app.create() as context:
        result = await context.schedule_tasks(work, ((str(i), {"execute_at": clock.time}) for i in range(8)))
    assert result.done == 7
    assert [name for name, _ in result.refused] == ["3"]


async def test_a_bulk_call_yields_to_others() -> None:
    """Even if the storage answers immediately: executions and heartbeats get their turn during a batch, too."""
    app = Pyncette()
    template = app.dynamic_task(name="t")(_never)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(other)
        at = datetime.datetime(2099, 1, 1, tzinfo=datetime.UTC)
        await context.schedule_tasks(template, ((str(number), {"execute_at": at}) for number in range(10_000)))
        scheduled = turns
        await context.unschedule_tasks(template, (str(number) for number in range(10_000)))
        group.cancel_scope.cancel()
    assert scheduled > 10_000 / STEPS_AT_ONCE
    assert turns - scheduled > 10_000 / STEPS_AT_ONCE


async def _never(context: Context) -> None: ...
