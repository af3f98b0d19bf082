"""Records of static tasks that are gone or can't be right."""

from __future__ import annotations

import datetime
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Any

import anyio
import pytest

from pyncette import Context, Pyncette, Task
from pyncette._tasks.spec import Spec, decode, encode
from pyncette.memory import MemoryRepository
from pyncette.record import Band, Change, Queue, Record
from pyncette.testing import FaultPlan, FaultyRepository, ManualClock, fail

START = datetime.datetime(2026, 3, 1, 0, 30, tzinfo=datetime.UTC)
SECOND = 1_000_000
MINUTE, HOUR = (datetime.timedelta(minutes=minutes) for minutes in (1, 60))


class Harness:
    """A storage, and an app with one static task."""

    def __init__(self, **timing: Any) -> None:
        self.store = MemoryRepository()
        self.plan = FaultPlan()
        self.clock = ManualClock(START)
        self.runs: list[datetime.datetime] = []
        self.app, self.task = self.declared(**timing)

    def declared(self, **timing: Any) -> tuple[Pyncette, Task]:
        app = Pyncette(lambda: nullcontext(FaultyRepository(self.store, self.plan)), clock=self.clock)

        async def body(context: Context) -> None:
            self.runs.append(context.scheduled_at)

        return app, app.task(name="task", **timing)(body)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.app.create() as context, anyio.create_task_group() as group:
            group.start_soon(context.run)
            await self.clock.settle()
            yield
            context.shutdown()

    async def stored(self) -> Record | None:
        [record] = await self.store.read([self.task.ref])
        return record

    async def store_as(self, **changes: Any) -> None:
        record = await self.stored()
        assert record is not None
        await self.store.swap([Change(record, replace(record, revision="forged", **changes))])

    async def lose(self) -> None:
        record = await self.stored()
        assert record is not None
        await self.store.swap([Change(record, None)])
        assert await self.stored() is None


def at(moment: datetime.datetime) -> int:
    return int(moment.timestamp()) * SECOND


async def test_a_record_that_is_gone_is_stored_again_within_ten_minutes(caplog: pytest.LogCaptureFixture) -> None:
    harness = Harness(schedule="0 * * * *")
    async with harness.running():
        await harness.clock.advance(HOUR)
        await harness.lose()
        await harness.clock.advance(11 * MINUTE)
        await harness.clock.advance(2 * HOUR - 11 * MINUTE)
    assert harness.runs == [START + MINUTE * 30 + HOUR * n for n in range(3)]
    assert [record.levelname for record in caplog.records if "is gone from the storage" in record.getMessage()] == [
        "WARNING"
    ]


async def test_a_storage_that_comes_back_empty_is_noticed_when_the_worker_next_writes() -> None:
    """Even if it was down so briefly that no call failed."""
    harness = Harness(interval=MINUTE)
    async with harness.running():
        await harness.clock.advance(MINUTE)
        for queue in await harness.store.queues(after=None, limit=100):
            for record in await harness.store.scan(Queue(queue), after=None, limit=100):
                await harness.store.swap([Change(record, None)])
        assert await harness.stored() is None
        for _ in range(4):  # in steps, because background work doesn't keep the clock from skipping it
            await harness.clock.advance(MINUTE / 4)
        assert await harness.stored() is not None
        await harness.clock.advance(3 * MINUTE)
    assert len(harness.runs) == 4


async def test_a_record_that_was_lost_in_an_outage_is_stored_at_its_end() -> None:
    harness = Harness(interval=MINUTE)
    async with harness.running():
        await harness.clock.advance(2 * MINUTE)
        await harness.lose()
        harness.plan.always(fail(), "claim", "look")
        await harness.clock.advance(datetime.timedelta(seconds=5))
        harness.plan.clear()
        await harness.clock.advance(datetime.timedelta(seconds=5))
        assert await harness.stored() is not None
        await harness.clock.advance(3 * MINUTE)
    assert len(harness.runs) == 5


@pytest.mark.parametrize("timing", [{"schedule": "0 * * * *"}, {"interval": HOUR}])
async def test_a_next_occurrence_that_is_too_late_is_recomputed_at_the_start(
    timing: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong clock once stored 2098 as the next occurrence."""
    harness = Harness(**timing)
    async with harness.running():
        pass
    wrong = at(datetime.datetime(2098, 1, 1, tzinfo=datetime.UTC))
    record = await harness.stored()
    assert record is not None
    spec: Spec = decode(record.spec)[0]
    await harness.store_as(due_at=wrong, ready_at=wrong, spec=encode(replace(spec, since=wrong)))
    await harness.clock.advance(10 * MINUTE)
    caplog.clear()
    async with harness.running():
        await harness.clock.advance(3 * HOUR)
    first = START + (30 * MINUTE if "schedule" in timing else HOUR + 10 * MINUTE)
    assert harness.runs == [first, first + HOUR, first + 2 * HOUR]
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1
    assert "2098-01-01T00:00:00+00:00, is later than on its schedule; it is now due at" in said[0]


async def test_a_clock_that_is_a_little_behind_moves_nothing() -> None:
    """A worker that has just executed 01:00 stored 02:00; another worker's clock still shows 00:59:55."""
    harness = Harness(schedule="0 * * * *")
    async with harness.running():
        pass
    two = at(START + 90 * MINUTE)
    await harness.store_as(due_at=two, ready_at=two)
    await harness.clock.advance(30 * MINUTE - datetime.timedelta(seconds=5))
    async with harness.running():
        record = await harness.stored()
    assert record is not None
    assert record.due_at == two


async def test_a_schedule_whose_year_has_passed_does_not_keep_others_from_running(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = Harness(schedule="0 0 1 1 * 0 2025", timezone="Europe/Berlin")
    others: list[datetime.datetime] = []

    @harness.app.task(interval=HOUR)
    async def other(context: Context) -> None:
        others.append(context.scheduled_at)

    for _ in range(2):
        async with harness.running():
            await harness.clock.advance(HOUR)
    record = await harness.stored()
    assert record is not None
    assert Band.of(record.ready_at) is Band.COMPLETED
    assert record.due_at == at(datetime.datetime(2024, 12, 31, 23, tzinfo=datetime.UTC))
    assert (harness.runs, len(others)) == ([], 2)
    said = [record.getMessage() for record in caplog.records if "completed" in record.getMessage()]
    assert said == ["Task 'task' is completed: the last occurrence of its schedule was at 2024-12-31T23:00:00+00:00."]


async def test_a_completed_task_runs_again_with_another_schedule() -> None:
    harness = Harness(schedule="0 0 1 1 * 0 2025")
    async with harness.running():
        pass
    harness.app, harness.task = harness.declared(schedule="0 * * * *")
    async with harness.running():
        await harness.clock.advance(HOUR)
    assert len(harness.runs) == 1
    harness.app, harness.task = harness.declared(schedule="0 0 1 1 * 0 2025")
    async with harness.running():
        await harness.clock.advance(HOUR)
    assert len(harness.runs) == 1
    record = await harness.stored()
    assert record is not None
    assert Band.of(record.ready_at) is Band.COMPLETED


async def test_an_instance_whose_year_has_passed_is_refused() -> None:
    app = Pyncette(clock=ManualClock(START))
    template = app.dynamic_task(name="template", schedule="0 0 1 1 * 0 2025")(_never)
    async with app.create() as context:
        with pytest.raises(ValueError, match="no match in the future"):
            await context.schedule_task(template, "x")


@pytest.mark.parametrize("schedule", ["0 0 30 2 *", "0 0 29 2 * 0 2097-2099"])
def test_a_schedule_without_matches_is_refused_at_declaration(schedule: str) -> None:
    app = Pyncette()
    with pytest.raises(ValueError, match="no match in the future"):
        app.task(schedule=schedule)(_never)


async def _never(context: Context) -> None: ...
