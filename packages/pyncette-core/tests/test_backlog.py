"""A backlog, and occurrences that others have moved, don't delay what is on time."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Any

import anyio
import pytest

from pyncette import CatchUp, Context, Pyncette, PyncetteContext, Retry, Task
from pyncette._tasks.spec import decode, encode
from pyncette.memory import MemoryRepository
from pyncette.record import Change, Record
from pyncette.testing import ManualClock

START = datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC)
SECOND, MINUTE, HOUR, DAY = (datetime.timedelta(seconds=seconds) for seconds in (1, 60, 3600, 86400))


class Harness:
    """One store, and an app with one template.

    :ivar runs: instance, occurrence, and the moment at which it began.
    """

    def __init__(
        self,
        *,
        lasting: float = 0,
        failing: str = "never",
        catch_up: CatchUp = CatchUp.ALL,
        concurrency: int | None = None,
        retry: Retry | None = None,
        **options: Any,
    ) -> None:
        self.store = MemoryRepository()
        self.clock = ManualClock(START)
        self.runs: list[tuple[str, datetime.datetime, datetime.datetime]] = []
        self.app = Pyncette(lambda: nullcontext(self.store), clock=self.clock, **options)

        async def body(context: Context) -> None:
            self.runs.append((context.task.name, context.scheduled_at, self.clock.time))
            await self.clock.sleep(lasting)
            if context.task.name.startswith(failing):
                raise RuntimeError("it fails")

        self.body = body
        policies: dict[str, Any] = {"catch_up": catch_up, "concurrency": concurrency, "retry": retry}
        self.template: Task = self.app.dynamic_task(name="template", **policies)(body)

    @asynccontextmanager
    async def running(self, workers: int = 1) -> AsyncIterator[PyncetteContext]:
        async with AsyncExitStack() as stack:
            contexts = [await stack.enter_async_context(self.app.create()) for _ in range(workers)]
            group = await stack.enter_async_context(anyio.create_task_group())
            for context in contexts:
                group.start_soon(context.run)
            await self.clock.settle()
            yield contexts[0]
            group.cancel_scope.cancel()

    async def miss_a_month(self, count: int, templates: Sequence[Task] | None = None) -> None:
        """Make this many instances of each template a month late."""
        async with self.app.create() as context:
            for template in templates or [self.template]:
                given = ((f"behind {number}", {"interval": HOUR, "start_at": START}) for number in range(count))
                assert (await context.schedule_tasks(template, given)).done == count
            await self.clock.advance(30 * DAY + HOUR / 2)

    def lags_on_time(self) -> list[datetime.timedelta]:
        return [at - due for name, due, at in self.runs if name.startswith("on time")]

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
    """Neither a backlog from an outage, which takes longer than seconds to execute, nor instances that catch up one
    occurrence after another delay it."""
    harness = Harness(lasting=0.05, catch_up=catch_up, concurrency_limit=50)
    await harness.miss_a_month(count)
    async with harness.running() as context:
        for number in range(5):
            await context.schedule_task(harness.template, f"on time {number}", interval=2 * SECOND)
        await harness.clock.advance(11 * SECOND)
    lags = harness.lags_on_time()
    assert len(lags) == 5 * 5
    assert max(lags) <= SECOND
    assert len({name for name, _, _ in harness.runs if name.startswith("behind")}) == count


SHAPES = [
    pytest.param(10, 1, {}, id="ten slots"),
    pytest.param(10, 3, {}, id="three workers"),
    pytest.param(2, 1, {}, id="two slots"),
    pytest.param(100, 1, {"concurrency": 5}, id="concurrency"),
    pytest.param(10, 1, {"catch_up": CatchUp.LATEST}, id="first ones"),
]


@pytest.mark.parametrize("slots, workers, policies", SHAPES)
async def test_a_backlog_that_fills_every_slot(slots: int, workers: int, policies: dict[str, Any]) -> None:
    """What is on time gets each slot that becomes free, and no slot is ever idle."""
    harness = Harness(lasting=0.5, concurrency_limit=slots, **policies)
    await harness.miss_a_month(300 if "catch_up" not in policies else 2000)
    async with harness.running(workers) as context:
        await harness.clock.advance(5 * SECOND)
        began = len(harness.runs)
        for number in range(min(slots, 4)):
            await context.schedule_task(harness.template, f"on time {number}", interval=(2 + number % 2) * SECOND)
            await harness.clock.advance(datetime.timedelta(seconds=0.13))
        await harness.clock.advance(60 * SECOND)
    lags = harness.lags_on_time()
    assert len(lags) >= 24 * min(slots, 4)
    assert max(lags) < SECOND
    # The other slots were never idle.
    assert len(harness.runs) - began >= 60 * 2 * policies.get("concurrency", slots) * workers - 20


@pytest.mark.parametrize(
    "slots, workers, policies",
    [
        pytest.param(10, 1, {}, id="ten slots"),
        pytest.param(10, 3, {}, id="three workers"),
        pytest.param(2, 1, {}, id="two slots"),
        pytest.param(100, 1, {"concurrency": 5}, id="concurrency"),
        pytest.param(10, 1, {"catch_up": CatchUp.LATEST}, id="first ones"),
    ],
)
@pytest.mark.parametrize("attempts", [2, 5])
async def test_a_backlog_that_fails(slots: int, workers: int, policies: dict[str, Any], attempts: int) -> None:
    """Its retries have only just come due, but delay neither what is on time nor the rest of the backlog."""
    retry = Retry(attempts, delay=SECOND)
    harness = Harness(lasting=0.5, failing="behind", concurrency_limit=slots, retry=retry, **policies)
    await harness.miss_a_month(2000)
    async with harness.running(workers) as context:
        await harness.clock.advance(10 * SECOND)
        for number in range(min(slots, 4)):
            await context.schedule_task(harness.template, f"on time {number}", interval=(2 + number % 2) * SECOND)
            await harness.clock.advance(datetime.timedelta(seconds=0.13))
        begun = len({name for name, _, _ in harness.runs})
        await harness.clock.advance(60 * SECOND)
    lags = harness.lags_on_time()
    assert len(lags) >= 24 * min(slots, 4)
    assert max(lags) < SECOND
    executed = 60 * 2 * policies.get("concurrency", slots) * workers
    assert len({name for name, _, _ in harness.runs}) - begun >= executed / 3


async def test_a_backlog_on_the_only_slot() -> None:
    """What is on time waits for the current execution, and for another one that is on time and came first."""
    harness = Harness(lasting=0.5, concurrency_limit=1)
    await harness.miss_a_month(50)
    async with harness.running() as context:
        await harness.clock.advance(5.2 * SECOND)
        await context.schedule_task(harness.template, "on time", interval=2 * SECOND)
        await harness.clock.advance(40 * SECOND)
    assert len(harness.lags_on_time()) >= 19
    assert max(harness.lags_on_time()) <= 0.5 * SECOND


@pytest.mark.parametrize("slots, policies", [(4, {}), (1, {}), (100, {"concurrency": 1})])
async def test_a_backlog_when_more_is_on_time_than_there_are_slots(slots: int, policies: dict[str, Any]) -> None:
    """The backlog gets half of the slots, and doesn't starve."""
    harness = Harness(lasting=0.5, concurrency_limit=slots, **policies)
    await harness.miss_a_month(1000)
    per_second = 2 * policies.get("concurrency", slots)
    async with harness.running() as context:
        for number in range(4 * per_second):
            await context.schedule_task(harness.template, f"on time {number}", interval=SECOND)
        await harness.clock.advance(4 * SECOND)
        began = len(harness.runs)
        await harness.clock.advance(20 * SECOND)
    begun = harness.runs[began:]
    behind = [name for name, _, _ in begun if name.startswith("behind")]
    assert len(begun) >= 19 * per_second
    assert 0.4 <= len(behind) / len(begun) <= 0.6


async def test_many_templates_with_a_backlog() -> None:
    """What is on time in one of them doesn't wait for that template's turn."""
    harness = Harness(lasting=0.5, concurrency_limit=4)
    others = [harness.app.dynamic_task(name=f"other {number}")(harness.body) for number in range(40)]
    await harness.miss_a_month(20, others)
    async with harness.running() as context:
        await harness.clock.advance(30 * SECOND)
        for number in (3, 17, 39):
            await context.schedule_task(others[number], "on time", interval=3 * SECOND)
        await harness.clock.advance(30 * SECOND)
    assert len(harness.lags_on_time()) >= 27
    assert max(harness.lags_on_time()) < SECOND


async def test_a_backfill_delays_nothing_that_is_on_time() -> None:
    """Its moments belong to the backlog, even if the backfill has just been requested."""
    harness = Harness(lasting=0.5, concurrency_limit=4)
    async with harness.app.create() as context:
        for number in range(100):
            await context.schedule_task(harness.template, f"behind {number}", interval=HOUR)
    async with harness.running() as context:
        for number in range(100):
            await context.backfill_task(harness.template, f"behind {number}", START - 10 * HOUR, START - HOUR)
        await harness.clock.advance(10 * SECOND)
        await context.schedule_task(harness.template, "on time", interval=2 * SECOND)
        await harness.clock.advance(30 * SECOND)
    assert len(harness.lags_on_time()) >= 14
    assert max(harness.lags_on_time()) < SECOND
    assert len([name for name, _, _ in harness.runs if name.startswith("behind")]) >= 290


async def test_catching_up_queues_at_the_end_of_the_backlog() -> None:
    """If it were served in the order of due times, one instance could delay the others by everything it has missed."""
    harness = Harness(lasting=1, concurrency_limit=1)
    async with harness.app.create() as context:
        for name, hours in (("first", 1), ("second", 4)):
            await context.schedule_task(harness.template, name, interval=hours * HOUR)
        await harness.clock.advance(5 * HOUR)
    async with harness.running():
        await harness.clock.advance(10 * SECOND)
    assert [(name, due) for name, due, _ in harness.runs] == [
        ("first", START + HOUR),
        ("second", START + 4 * HOUR),
        *(("first", START + hours * HOUR) for hours in range(2, 6)),
    ]


@pytest.mark.parametrize("stored_later", [False, True])
async def test_an_occurrence_that_is_not_on_its_schedule_any_more(stored_later: bool) -> None:
    """It was stored with different timezone rules. It is moved, unless the schedule was stored later."""
    harness = Harness()
    async with harness.running() as context:
        await context.schedule_task(harness.template, "a", schedule="0 8 * * *", timezone="Africa/Nairobi")
        wrong, right = START + 4 * HOUR, START + 5 * HOUR  # 7:00 and 8:00 there
        spec, _ = decode((await harness.stored("a")).spec)
        since = micros(wrong + MINUTE) if stored_later else spec.since
        await harness.forge("a", due_at=micros(wrong), ready_at=micros(wrong), spec=encode(replace(spec, since=since)))
        await harness.clock.advance(12 * HOUR)
    due = [wrong, right] if stored_later else [right]
    assert [(name, at) for name, _, at in harness.runs] == [("a", moment) for moment in due]


async def test_an_occurrence_is_moved_once_at_most() -> None:
    """Workers with different rules execute it where it was moved to, and don't move it again."""
    harness = Harness()
    async with harness.running() as context:
        await context.schedule_task(harness.template, "a", schedule="0 8 * * *", timezone="Africa/Nairobi")
        wrong, moved = START + 4 * HOUR, START + 5 * HOUR
        await harness.forge("a", due_at=micros(wrong), ready_at=micros(wrong))
        await harness.clock.advance(4 * HOUR + MINUTE)
        record = await harness.stored("a")
        assert (record.due_at, harness.runs) == (micros(moved), [])
        await harness.forge("a", spec=record.spec.replace("Africa/Nairobi", "Africa/Maputo"))  # other rules
        await harness.clock.advance(2 * HOUR)
    # Executed where it was moved to; the next one follows the other rules.
    assert [at for _, _, at in harness.runs] == [moved, START + 6 * HOUR]
