"""Next occurrences after a change of timezone rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pyncette import Task
from pyncette._tasks.spec import decode, encode
from pyncette.record import Band, Change
from pyncette.testing.contract.base import APPLIED, fresh

from .bench import AppBase, Bench, seconds

HOUR = 3600
DAILY: dict[str, Any] = {"schedule": "0 8 * * *", "timezone": "Europe/Berlin"}  # 07:00 UTC at the beginning of the year


class RecomputeContract(AppBase):
    @staticmethod
    async def shift(bench: Bench, task: Task, by: int, since: int | None = None) -> None:
        """Move the stored next occurrence, as if by different rules; optionally set when the schedule was stored."""
        record = await bench.stored(task)
        assert record is not None
        due_at = record.due_at + by * 1_000_000
        ready_at = record.ready_at if Band.of(record.ready_at) else due_at
        text = record.spec
        if since is not None:
            spec, _ = decode(text)
            text = encode(replace(spec, since=bench.clock.now() + since * 1_000_000))
        other = replace(record, due_at=due_at, ready_at=ready_at, spec=text, revision=fresh())
        assert await bench.repository.swap([Change(record, other)]) == [APPLIED]

    async def test_next_occurrences_are_recomputed(self, bench: Bench) -> None:
        """Each is moved to the nearest one of the schedule; what is right, or was stored later, stays. Paused instances
        stay paused, and manual runs are not disturbed.
        """
        app = bench.app()
        template = app.partitioned_task(name="template", partition_count=2)(bench.log.note)
        reported: list[int] = []
        async with app.create() as context:
            tasks = {
                name: await context.schedule_task(template, name, **DAILY)
                for name in ("late", "early", "right", "paused", "stored later", "triggered")
            }
            await context.pause_task(template, "paused")
            await context.trigger_task(template, "triggered")
            await self.shift(bench, tasks["late"], HOUR)
            await self.shift(bench, tasks["early"], -HOUR)
            await self.shift(bench, tasks["paused"], HOUR)
            await self.shift(bench, tasks["triggered"], HOUR)
            await self.shift(bench, tasks["stored later"], HOUR, since=9 * HOUR)
            assert await context.recompute(template, dry_run=True) == 4
            assert await context.recompute(template, reported.append) == 4
            assert reported[-1] == 6
            due = {}
            for name in tasks:
                state = await context.get_task(template, name)
                assert state is not None
                due[name] = (state.state, seconds(state.scheduled_at), state.triggered)
            assert due == {
                "late": ("waiting", 7 * HOUR, 0),
                "early": ("waiting", 7 * HOUR, 0),
                "right": ("waiting", 7 * HOUR, 0),
                "paused": ("paused", 7 * HOUR, 0),
                "stored later": ("waiting", 8 * HOUR, 0),
                "triggered": ("waiting", 7 * HOUR, 1),
            }
            assert await context.recompute(template) == 0

    async def test_recomputing_again_moves_nothing(self, bench: Bench) -> None:
        """Under different rules, an occurrence that was moved here is wrong again: it stays."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            task = await context.schedule_task(template, "a", **DAILY)
            await self.shift(bench, task, HOUR)
            assert await context.recompute(task) == 1
            record = await bench.stored(task)
            assert record is not None
            other = replace(record, spec=record.spec.replace("0 8 *", "30 8 *"), revision=fresh())
            assert await bench.repository.swap([Change(record, other)]) == [APPLIED]
            assert await context.recompute(task) == 0
