"""What is late, and what has been moved by others, does not disturb what is on time."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Any

import anyio
import pytest

from pyncette import CatchUp, Context, Pyncette, PyncetteContext, Task
from pyncette._tasks.spec import decode, encode
from pyncette.memory import MemoryRepository
from pyncette.record import Change, Record
from pyncette.testing import ManualClock

START = datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC)
SECOND, MINUTE, HOUR, DAY = (datetime.timedelta(seconds=seconds) for seconds in (1, 60, 3600, 86400))


class World:
    """One store, and an app with one template.

    :ivar runs: instance, occurrence, and the moment at which it began.
    """

    def __init__(self, *, lasting: float = 0, catch_up: CatchUp = CatchUp.ALL, **options: Any) -> None:
        self.store = MemoryRepository()
        self.clock = ManualClock(START)
        self.runs: list[tuple[str, datetime.datetime, datetime.datetime]] = []
        self.app = Pyncette(lambda: nullcontext(self.store), clock=self.clock, **options)

        async def body(context: Context) -> None:
            self.runs.append((context.task.name, context.scheduled_at, self.clock.time))
            await self.clock.sleep(lasting)

        self.template: Task = self.app.dynamic_task(name="template", catch_up=catch_up)(body)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[PyncetteContext]:
        async with self.app.create() as context, anyio.create_task_group() as group:
            group.start_soon(context.run)
            await self.clock.settle()
            yield context
            group.cancel_scope.cancel()

    async def stored(self, name: str) -> Record:
        (record,) = await self.store.read([self.template.instantiate(name, interval=HOUR).ref])
        assert record is not None
        return record

    async def forge(self, name: str, **fields: Any) -> None:
        record = await self.stored(name)
        await self.store.swap([Change(record, replace(record, revision="forged", **fields))])


def micros(moment: datetime.datetime) -> int:
    return round(moment.timestamp()) * 1_000_000


@pytest.mark.parametrize("catch_up, count", [(CatchUp.LATEST, 4000), (CatchUp.ALL, 300)])
async def test_a_month_of_missed_occurrences_delays_nothing_that_is_on_time(catch_up: CatchUp, count: int) -> None:
    """Neither what came due in an outage, more than can be executed within seconds, nor what is caught up with one
    after another, whose instances wait for each other."""
    world = World(lasting=0.05, catch_up=catch_up, concurrency_limit=50)
    behind = [f"behind {number}" for number in range(count)]
    async with world.app.create() as context:
        given = ((name, {"interval": HOUR, "start_at": START}) for name in behind)
        assert (await context.schedule_tasks(world.template, given)).done == count
        await world.clock.advance(30 * DAY)
    async with world.running() as context:
        for number in range(5):
            await context.schedule_task(world.template, f"on time {number}", interval=2 * SECOND)
        await world.clock.advance(11 * SECOND)
    lags = [at - due for name, due, at in world.runs if name.startswith("on time")]
    assert len(lags) == 5 * 5
    assert max(lags) <= SECOND
    assert len({name for name, _, _ in world.runs if name.startswith("behind")}) == count


async def test_what_is_caught_up_with_queues_behind_what_is_ready() -> None:
    """It is not served in the order in which it came due, or one instance would keep the others waiting for all it has
    missed."""
    world = World(lasting=1, concurrency_limit=1)
    async with world.app.create() as context:
        for name, hours in (("first", 1), ("second", 4)):
            await context.schedule_task(world.template, name, interval=hours * HOUR)
        await world.clock.advance(5 * HOUR)
    async with world.running():
        await world.clock.advance(10 * SECOND)
    assert [(name, due) for name, due, _ in world.runs] == [
        ("first", START + HOUR),
        ("second", START + 4 * HOUR),
        *(("first", START + hours * HOUR) for hours in range(2, 6)),
    ]


@pytest.mark.parametrize("stored_later", [False, True])
async def test_an_occurrence_that_is_not_on_its_schedule_any_more(stored_later: bool) -> None:
    """It was stored by other rules of its timezone: it is moved, unless the schedule was stored after it."""
    world = World()
    async with world.running() as context:
        await context.schedule_task(world.template, "a", schedule="0 8 * * *", timezone="Africa/Nairobi")
        wrong, right = START + 4 * HOUR, START + 5 * HOUR  # 7:00 and 8:00 there
        spec, _ = decode((await world.stored("a")).spec)
        since = micros(wrong + MINUTE) if stored_later else spec.since
        await world.forge("a", due_at=micros(wrong), ready_at=micros(wrong), spec=encode(replace(spec, since=since)))
        await world.clock.advance(12 * HOUR)
    due = [wrong, right] if stored_later else [right]
    assert [(name, at) for name, _, at in world.runs] == [("a", moment) for moment in due]


async def test_an_occurrence_is_moved_once_at_most() -> None:
    """Workers with other rules than the one that moved it execute it, and don't move it on."""
    world = World()
    async with world.running() as context:
        await context.schedule_task(world.template, "a", schedule="0 8 * * *", timezone="Africa/Nairobi")
        wrong, moved = START + 4 * HOUR, START + 5 * HOUR
        await world.forge("a", due_at=micros(wrong), ready_at=micros(wrong))
        await world.clock.advance(4 * HOUR + MINUTE)
        record = await world.stored("a")
        assert (record.due_at, world.runs) == (micros(moved), [])
        await world.forge(
            "a", spec=record.spec.replace("Africa/Nairobi", "Africa/Maputo")
        )  # as rules of others have it
        await world.clock.advance(2 * HOUR)
    # Executed where it was moved to; the next one is on the others' schedule.
    assert [at for _, _, at in world.runs] == [moved, START + 6 * HOUR]
