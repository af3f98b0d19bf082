"""Partitions of a task whose ``concurrency`` is smaller than their number: those without work hold up no others."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

from pyncette import Context, Pyncette
from pyncette.memory import MemoryRepository
from pyncette.testing import ManualClock
from tests.running import running


async def test_an_empty_partition_lets_the_others_have_their_turn() -> None:
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
