"""Many instances that are due at the same moment, spread by ``jitter``: evenly, and each with a constant delay."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pyncette import Context, Pyncette, Task
from pyncette.memory import MemoryRepository
from pyncette.testing import ManualClock
from tests.running import running

INSTANCES = int(os.environ.get("PYNCETTE_HERD", "200"))
"""The number of instances; more before a release."""

PARTS = 20
EXCEEDED_ONCE_IN_A_THOUSAND = 43.8
"""The limit of χ² with 19 degrees of freedom."""

BERLIN = ZoneInfo("Europe/Berlin")


async def test_jitter_spreads_a_herd() -> None:
    """Over four days, with a clock change and restarts in between."""
    clock, repository = ManualClock(datetime(2026, 3, 27, 12, tzinfo=UTC)), MemoryRepository()
    offsets: defaultdict[str, list[timedelta]] = defaultdict(list)

    @asynccontextmanager
    async def factory(**options: Any) -> AsyncIterator[MemoryRepository]:
        yield repository

    def herd() -> tuple[Pyncette, Task]:
        app = Pyncette(repository_factory=factory, clock=clock, batch_size=1000, concurrency_limit=1000)

        @app.dynamic_task(
            name="report", schedule="0 9 * * *", timezone="Europe/Berlin", jitter=timedelta(minutes=10), keep_runs=0
        )
        async def report(context: Context) -> None:
            assert (context.scheduled_at.hour, context.scheduled_at.minute) == (9, 0)
            offsets[context.task.name].append(clock.time - context.scheduled_at)

        return app, report

    app, report = herd()
    async with app.create() as context:
        result = await context.schedule_tasks(report, ((f"user-{number}", {}) for number in range(INSTANCES)))
        assert result.done == INSTANCES
    for day in (28, 29, 30, 31):  # the 29th is the last Sunday in March
        app, _ = herd()
        async with running(app):
            await clock.advance_to(datetime(2026, 3, day, 9, 10, tzinfo=BERLIN))

    assert len(offsets) == INSTANCES
    assert {len(found) for found in offsets.values()} == {4}
    assert {len(set(found)) for found in offsets.values()} == {1}, "each at the same offset each day"
    parts = Counter(found[0] // (timedelta(minutes=10) / PARTS) for found in offsets.values())
    even = INSTANCES / PARTS
    assert set(parts) <= set(range(PARTS))
    assert sum((parts[part] - even) ** 2 / even for part in range(PARTS)) < EXCEEDED_ONCE_IN_A_THOUSAND
