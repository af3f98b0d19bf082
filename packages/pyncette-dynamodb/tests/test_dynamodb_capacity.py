"""Budgets: what an execution, a poll and a record cost, as DynamoDB itself counts it and as documented."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from pyncette import Context, Pyncette, lease
from pyncette.record import Change, Queue, Record, Swap
from pyncette.repository import Repository
from pyncette.testing.contract.base import applied, next_ready, take
from tests.helpers.dynamodb import MINUTE, NOW, TASK, Wire, fresh, introduce, numbered, record, want
from tests.helpers.dynamodb_capacity import Cost, Meter

Factory = Callable[..., AbstractAsyncContextManager[Repository]]

pytestmark = pytest.mark.anyio


@pytest.fixture
async def meter(proxy: Wire, direct: Factory) -> Meter:
    """Starts counting once the table exists."""
    async with direct():
        return Meter(proxy)


async def insert(repository: Repository, records: list[Record]) -> None:
    assert applied(await repository.swap([Change(None, one) for one in records]))


async def claim(repository: Repository, *queues: Queue) -> list[Record]:
    token = fresh()
    return await take(repository, want(*(queues or (TASK,))), now=NOW, limit=100, token=token, holder=token)


class TestWrites:
    async def test_the_cost_of_each_step(self, watched: Factory, meter: Meter) -> None:
        async with watched() as repository:
            records = numbered(100)
            await introduce(repository)
            meter.read()
            await insert(repository, records)
            assert meter.read() == Cost(table_writes=100, index_writes=100)
            taken = await claim(repository)
            claimed = meter.read()
            assert (claimed.table_writes, claimed.index_writes) == (100, 200)
            assert claimed.reads <= 8, "of an index that holds no more than it must"
            longer = [lease.extend(one, locked_until=NOW + 2 * MINUTE, revision=fresh()) for one in taken]
            assert applied(await repository.swap(longer))
            assert meter.read() == Cost(table_writes=100, index_writes=200)
            held = [change.new for change in longer if change.new]
            advanced = [lease.complete(one, next_due=NOW + 5 * MINUTE, revision=fresh()) for one in held]
            assert applied(await repository.swap(advanced))
            assert meter.read() == Cost(table_writes=100, index_writes=200)
            current = [change.new for change in advanced if change.new]
            same_time = [Change(one, replace(one, spec='{"new": 1}', revision=fresh())) for one in current]
            assert applied(await repository.swap(same_time))
            assert meter.read() == Cost(table_writes=100, index_writes=100)
            assert applied(await repository.swap([Change(change.new, None) for change in same_time]))
            assert meter.read() == Cost(table_writes=100, index_writes=100)

    async def test_the_cost_of_a_conflict(self, watched: Factory, meter: Meter) -> None:
        async with watched() as repository:
            one = record("a")
            await introduce(repository)
            await insert(repository, [one])
            meter.read()
            late = [Change(replace(one, revision=fresh()), replace(one, revision=fresh()))]
            assert await repository.swap(late) == [Swap.CONFLICT]
            assert await repository.swap([Change(None, one)]) == [Swap.CONFLICT]
            assert meter.read() == Cost(table_writes=2)

    async def test_large_arguments_are_not_in_the_index(self, watched: Factory, meter: Meter) -> None:
        """10 kB of them cost 10 units per write of the table, and no more than usual for the index."""
        async with watched() as repository:
            await introduce(repository)
            meter.read()
            await insert(repository, [record("a", spec="x" * 9_900)])
            assert meter.read() == Cost(table_writes=10, index_writes=1)
            (taken,) = await claim(repository)
            cost = meter.read()
            assert (cost.table_writes, cost.index_writes, cost.reads) == (10, 2, 2)
            assert applied(await repository.swap([lease.complete(taken, next_due=NOW + 5 * MINUTE, revision=fresh())]))
            assert meter.read() == Cost(table_writes=10, index_writes=2)


class TestReads:
    async def test_an_idle_poll(self, watched: Factory, meter: Meter) -> None:
        """It costs half a unit for all static tasks together, and two for each dynamic task."""
        async with watched() as repository:
            statics = [record(f"static{n}", queue=f"static{n}", ready_at=NOW + MINUTE + n) for n in range(500)]
            later = [replace(one, ready_at=NOW + MINUTE) for one in numbered(500)]
            partition = [replace(one, ready_at=NOW + MINUTE) for one in numbered(10, "task:7")]
            await insert(repository, [*statics, *later, *partition])
            meter.read()
            static = [Queue(one.queue, static=True) for one in statics]
            for queues, budget in ((static, 0.5), ([TASK], 2), ([Queue("task:7")], 0.5), ([*static, TASK], 2.5)):
                assert await next_ready(repository, queues) == NOW + MINUTE
                assert meter.read() == Cost(reads=budget)
                assert await next_ready(repository, queues, after=NOW) == NOW + MINUTE
                assert meter.read() == Cost(reads=budget)
                assert await claim(repository, *queues) == []
                assert meter.read() == Cost(reads=budget)

    async def test_reading_records(self, watched: Factory, meter: Meter) -> None:
        """By name, each costs one unit; by page, about ten of them do."""
        async with watched() as repository:
            records = numbered(100)
            await insert(repository, records)
            meter.read()
            assert await repository.read([one.ref for one in records]) == records
            assert meter.read() == Cost(reads=100)
            assert len(await repository.scan(TASK, after=None, limit=100)) == 100
            assert meter.read().reads <= 10


class TestApp:
    """The same costs, measured with a whole app."""

    COUNT = 40
    ANNOUNCED = Cost(table_writes=3, index_writes=2)  # the worker's record, the name of its queue, the removal

    async def executed(self, factory: Factory, meter: Meter, **schedule: object) -> Cost:
        """The cost of executing each overdue instance once, without the fixed cost of a worker."""
        app = Pyncette(repository_factory=factory, poll_interval=timedelta(seconds=0.5))
        done = anyio.Event()
        names: set[str] = set()

        @app.dynamic_task(name="task")
        async def task(context: Context) -> None:
            names.add(context.task.name)
            if len(names) == self.COUNT:
                done.set()

        async with app.create() as context:
            result = await context.schedule_tasks(task, ((f"{n}", schedule) for n in range(self.COUNT)))
            assert result.done == self.COUNT
            cost = meter.read()
            assert (cost.table_writes, cost.index_writes) == (self.COUNT + 1, self.COUNT), "one for the queue's name"
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(context.run)
                with anyio.fail_after(60):
                    await done.wait()
                context.shutdown()
        cost, announced = meter.read(), self.ANNOUNCED
        return replace(
            cost,
            table_writes=cost.table_writes - announced.table_writes,
            index_writes=cost.index_writes - announced.index_writes,
        )

    async def test_an_execution_of_a_one_off(self, watched: Factory, meter: Meter) -> None:
        overdue = datetime.now(UTC) - timedelta(minutes=1)
        cost = await self.executed(watched, meter, execute_at=overdue)
        assert (cost.table_writes, cost.index_writes) == (2 * self.COUNT, 3 * self.COUNT)
        assert cost.reads <= 0.5 * self.COUNT

    async def test_an_execution_of_a_recurring_instance(self, watched: Factory, meter: Meter) -> None:
        cost = await self.executed(watched, meter, interval=timedelta(seconds=2))
        fires = round(cost.table_writes / 2)
        assert fires >= self.COUNT
        assert cost.writes == 6 * fires
