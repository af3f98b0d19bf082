"""Occurrences that the rules of a timezone, which have changed, have no longer: moved when they are claimed, once."""

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
DAILY: dict[str, Any] = {"schedule": "0 8 * * *", "timezone": "Europe/Berlin"}  # at seven in UTC, in January


class Scene:
    """The instance ``a`` of ``template``, whose next occurrence is stored as other rules have it."""

    def __init__(self, **policies: Any) -> None:
        repository = MemoryRepository()
        self.bench = Bench(lambda **_: nullcontext(repository), repository)
        self.app = self.bench.app()
        self.template = self.app.dynamic_task(name="template", **policies)(self.bench.log.note)

    async def store(self, due: int, *, since: int | None = None) -> None:
        """Due this many seconds after midnight; the schedule was stored then, if that is given."""
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
async def test_an_occurrence_that_comes_too_early_is_moved(
    mode: ExecutionMode, caplog: pytest.LogCaptureFixture
) -> None:
    """Clocks go by another rule: it was due an hour before the schedule's moment, which is ahead. Two workers."""
    scene = Scene(execution_mode=mode)
    async with scene.bench.running(scene.app) as worker, scene.bench.running(scene.app):
        await worker.context.schedule_task(scene.template, "a", **DAILY)
        await scene.store(6 * HOUR)
        await scene.bench.advance_to(32 * HOUR)
        state = await worker.context.get_task(scene.template, "a")
    assert scene.bench.log.due() == scene.bench.log.at() == [7 * HOUR, 31 * HOUR], "once each day, at eight in Berlin"
    told = [record.getMessage() for record in caplog.records if "not on its schedule" in record.getMessage()]
    assert len(told) == 1
    assert "template:a" in told[0]
    assert state is not None
    assert state.totals == {"succeeded": 2}


async def test_one_whose_next_moment_has_come_is_executed() -> None:
    """Late rather than twice: 08:00 by the old rules is 07:00 by the new ones, and that is over."""
    scene = Scene()
    async with scene.app.create() as context:
        await context.schedule_task(scene.template, "a", **DAILY)
        await scene.store(6 * HOUR)
    await scene.bench.advance_to(8 * HOUR)
    async with scene.bench.running(scene.app):
        await scene.bench.advance_to(32 * HOUR)
    assert scene.bench.log.due() == [6 * HOUR, 7 * HOUR, 31 * HOUR]


async def test_it_is_moved_once() -> None:
    """Workers with other rules must not push it around forever: once moved, it is executed by whoever claims it."""
    scene = Scene()
    async with scene.bench.running(scene.app) as worker:
        await worker.context.schedule_task(scene.template, "a", **DAILY)
        await scene.store(6 * HOUR)
        await scene.bench.advance_to(6 * HOUR + 1)  # moved to seven
        stored = await scene.bench.stored(scene.template.instantiate("a", **DAILY))
        assert stored is not None
        # Another worker's rules have it at half past: for them, seven is not on the schedule.
        other = replace(stored, spec=stored.spec.replace("0 8 *", "30 8 *"), revision=fresh())
        assert await scene.bench.repository.swap([Change(stored, other)]) == [APPLIED]
        await scene.bench.advance_to(10 * HOUR)
    assert scene.bench.log.due()[0] == 7 * HOUR


async def test_a_schedule_that_was_stored_after_it_is_respected() -> None:
    """What was due when somebody rescheduled the instance is not on the new schedule, of course."""
    scene = Scene()
    async with scene.bench.running(scene.app) as worker:
        await worker.context.schedule_task(scene.template, "a", **DAILY)
        await scene.store(6 * HOUR, since=6 * HOUR + 60)
        await scene.bench.advance_to(10 * HOUR)
    assert scene.bench.log.due() == [6 * HOUR, 7 * HOUR]
