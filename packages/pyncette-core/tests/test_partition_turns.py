"""If a task's ``concurrency`` is smaller than its number of partitions, those without work don't delay the others."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

from pyncette import Context, Pyncette
from pyncette.memory import MemoryRepository
from pyncette.testing import ManualClock
from tests.running import running


async def test_an_empty_partition_does_not_delay_the_others() -> None:
    clock, repository = ManualClock(datetime(2026, 1, 5, tzinfo=UTC)), MemoryRepository()
    app = Pyncette(repository_factory=lambda: nullcontext(repository), clock=clock)
    executed: list[str] = []

    @app.partitioned_task(partition_count=2, partition_selector=lambda count, name: int(name[0]), concurrency=1)
    async def task(context: Context) -> None:
        executed.append(context.task.name)

    async with running(app) as context:
        for name in ("0", "1 a", "1 b", "1 c"):
            await context.schedule_task(task, name, execute_at=clock.time)
            await clock.advance(timedelta(seconds=3))
    assert executed == ["0", "1 a", "1 b", "1 c"]


async def test_the_last_of_many_partitions_is_executed_on_time() -> None:
    """A claim reserves the room for the first partition. If that yields nothing, the next ones are claimed at once."""
    start = datetime(2026, 1, 5, tzinfo=UTC)
    clock, repository = ManualClock(start), MemoryRepository()
    app = Pyncette(repository_factory=lambda: nullcontext(repository), clock=clock)
    late: list[timedelta] = []

    @app.partitioned_task(partition_count=5, partition_selector=lambda count, name: int(name[0]), concurrency=1)
    async def task(context: Context) -> None:
        late.append(clock.time - context.scheduled_at)

    async with running(app) as context:
        for second in range(10):
            due = start + timedelta(seconds=60 + second * 10)
            await context.schedule_task(task, f"{second % 5} {second}", execute_at=due)
        await clock.advance(timedelta(seconds=200))
    assert late == [timedelta(0)] * 10
