"""A week, or a month, of a hundred hourly tasks: every occurrence is accounted for."""

from __future__ import annotations

import datetime

import anyio
import pytest

from pyncette import Context, Pyncette
from pyncette.testing import ManualClock

HOUR = datetime.timedelta(hours=1)


@pytest.mark.timeout(300)
async def test_weeks_of_a_hundred_hourly_tasks(pytestconfig: pytest.Config) -> None:
    days = 30 if pytestconfig.getoption("--thorough", default=False) else 7
    start = datetime.datetime(2026, 3, 1, 0, 30, tzinfo=datetime.UTC)
    clock = ManualClock(start)
    app = Pyncette(clock=clock)
    runs: dict[str, list[datetime.datetime]] = {f"task {i}": [] for i in range(100)}
    lags: set[datetime.timedelta] = set()

    async def body(context: Context) -> None:
        runs[context.task.name].append(context.scheduled_at)
        lags.add(clock.time - context.scheduled_at)

    for i, name in enumerate(runs):
        app.task(name=name, schedule=f"{i % 4 * 15} * * * *")(body)
    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        await clock.advance(datetime.timedelta(days=days))
        context.shutdown()
    for i, name in enumerate(runs):
        minute = i % 4 * 15
        first = start.replace(minute=minute) + (HOUR if minute <= start.minute else HOUR * 0)
        assert runs[name] == [first + n * HOUR for n in range(24 * days)], name
    assert lags == {datetime.timedelta()}
