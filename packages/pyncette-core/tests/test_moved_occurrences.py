"""Occurrences that no longer exist after a change of timezone rules are moved, once, when they are claimed."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from pyncette import ExecutionMode
from pyncette._tasks.spec import decode, encode
from pyncette.memory import MemoryRepository
from pyncette.record import Change
from pyncette.testing.contract.app.bench import Bench
from pyncette.testing.contract.base import APPLIED, fresh

HOUR = 3600
DAILY: dict[str, Any] = {"schedule": "0 8 * * *", "timezone": "Europe/Berlin"}  # 07:00 UTC in January


class Harness:
    """The instance ``a`` of ``template``, whose stored next occurrence follows different rules."""

    def __init__(self, **policies: Any) -> None:
        repository = MemoryRepository()
        self.bench = Bench(lambda **_: nullcontext(repository), repository)
        self.app = self.bench.app()
        self.template = self.app.dynamic_task(name="template", **policies)(self.bench.log.note)

    async def store(self, due: int, *, since: int | None = None) -> None:
        """Store an occurrence at ``due`` seconds after midnight, and optionally when the schedule was stored."""
        (ref,) = [self.template.instantiate("a", **DAILY).ref]
        (record,) = await self.bench.repository.read([ref])
        assert record is not None
        midnight, text = int(self.bench.clock.time.timestamp()), record.spec
        if since is not None:
            spec, _ = decode(text)
            text = encode(replace(spec, since=(midnight + since) * 1_000_000))
        moment = (midnight + due) * 1_000_000
        other = replace(record, due_at=moment, ready_at=moment, spec=text, revision=fresh())
        assert await self.bench.repository.swap([Change(record, other)]) == [APPLIED]


@pytest.mark.parametrize("mode", ExecutionMode, ids=lambda mode: mode.name)
async def test_a_premature_occurrence_is_moved(mode: ExecutionMode, caplog: pytest.LogCaptureFixture) -> None:
    """It was due an hour before the schedule's moment, which is still ahead. There are two workers."""
    harness = Harness(execution_mode=mode)
    async with harness.bench.running(harness.app) as worker, harness.bench.running(harness.app):
        await worker.context.schedule_task(harness.template, "a", **DAILY)
        await harness.store(6 * HOUR)
        await harness.bench.advance_to(32 * HOUR)
        state = await worker.context.get_task(harness.template, "a")
    assert harness.bench.log.due() == harness.bench.log.at() == [7 * HOUR, 31 * HOUR], "daily, at eight in Berlin"
    reported = [record.getMessage() for record in caplog.records if "not on its schedule" in record.getMessage()]
    assert len(reported) == 1
    assert "template:a" in reported[0]
    assert state is not None
    assert state.totals == {"succeeded": 2}


async def test_an_occurrence_whose_next_one_is_due_is_executed() -> None:
    """Late is better than twice: 08:00 by the old rules is 07:00 by the new ones, which is past."""
    harness = Harness()
    async with harness.app.create() as context:
        await context.schedule_task(harness.template, "a", **DAILY)
        await harness.store(6 * HOUR)
    await harness.bench.advance_to(8 * HOUR)
    async with harness.bench.running(harness.app):
        await harness.bench.advance_to(32 * HOUR)
    assert harness.bench.log.due() == [6 * HOUR, 7 * HOUR, 31 * HOUR]


async def test_an_occurrence_is_moved_only_once() -> None:
    """Workers with different rules must not move it back and forth: once moved, whoever claims it executes it."""
    harness = Harness()
    async with harness.bench.running(harness.app) as worker:
        await worker.context.schedule_task(harness.template, "a", **DAILY)
        await harness.store(6 * HOUR)
        await harness.bench.advance_to(6 * HOUR + 1)  # it was moved to 07:00
        stored = await harness.bench.stored(harness.template.instantiate("a", **DAILY))
        assert stored is not None
        # By another worker's rules it is at half past, and 07:00 is not on the schedule.
        other = replace(stored, spec=stored.spec.replace("0 8 *", "30 8 *"), revision=fresh())
        assert await harness.bench.repository.swap([Change(stored, other)]) == [APPLIED]
        await harness.bench.advance_to(10 * HOUR)
    assert harness.bench.log.due()[0] == 7 * HOUR


async def test_a_schedule_stored_later_is_respected() -> None:
    """An occurrence that was due when the instance was rescheduled need not be on the new schedule."""
    harness = Harness()
    async with harness.bench.running(harness.app) as worker:
        await worker.context.schedule_task(harness.template, "a", **DAILY)
        await harness.store(6 * HOUR, since=6 * HOUR + 60)
        await harness.bench.advance_to(10 * HOUR)
    assert harness.bench.log.due() == [6 * HOUR, 7 * HOUR]
