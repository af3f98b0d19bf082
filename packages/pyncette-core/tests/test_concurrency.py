"""``concurrency`` applies to manual runs, too, even while the template is paused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pyncette import Context, Pyncette
from pyncette.testing import ManualClock
from tests.running import running

NAMES = ("a", "b", "c")


@pytest.mark.parametrize("resumed", [False, True])
async def test_manual_runs_of_a_paused_template(resumed: bool) -> None:
    """Even if the pause ends while they are waiting, and scheduled occurrences of others come due with them."""
    clock = ManualClock(datetime(2026, 1, 5, tzinfo=UTC))
    app = Pyncette(clock=clock)
    at_once: list[int] = []
    executed: list[str] = []
    under_way = 0

    @app.dynamic_task(concurrency=1)
    async def task(context: Context) -> None:
        nonlocal under_way
        under_way += 1
        at_once.append(under_way)
        await clock.sleep(5)
        executed.append(context.task.name)
        under_way -= 1

    async with running(app) as context:
        for name in NAMES:
            await context.schedule_task(task, name, execute_at=clock.time + timedelta(days=1))
        await context.schedule_task(task, "due", execute_at=clock.time + timedelta(seconds=12))
        await context.pause_task(task)
        await clock.advance(timedelta(seconds=3))
        for name in NAMES:
            await context.trigger_task(task, name)
        await clock.advance(timedelta(seconds=8))
        if resumed:
            await context.resume_task(task)
        await clock.advance(timedelta(seconds=60))
    assert sorted(executed) == sorted([*NAMES, "due"] if resumed else NAMES)
    assert max(at_once) == 1
