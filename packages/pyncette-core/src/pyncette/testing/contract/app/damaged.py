"""Damaged records."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pyncette import Task
from pyncette.record import MAX_ATTEMPT, MAX_FENCE, Band, Change
from pyncette.testing.contract.base import APPLIED, fresh

from .bench import AppBase, Bench, duration, moment

SPECS = {
    "nothing": "",
    "no JSON": "{'v': 1}",
    "cut short": '{"v":1,"every":60000',
    "no object": "[1]",
    "no schedule": '{"v":1}',
    "no version": '{"every":60000000}',
    "every 0": '{"v":1,"every":0}',
    "every negative": '{"v":1,"every":-60000000}',
    "every infinite": '{"v":1,"every":Infinity}',
    "every overflowing": '{"v":1,"every":1e999}',
    "every no number": '{"v":1,"every":NaN}',
    "every not whole": '{"v":1,"every":1.5}',
    "every out of range": f'{{"v":1,"every":{10**30}}}',
    "at infinite": '{"v":1,"at":-Infinity}',
    "at overflowing": '{"v":1,"at":1e999}',
    "at out of range": f'{{"v":1,"at":{10**30}}}',
    "since infinite": '{"v":1,"every":60000000,"since":Infinity}',
    "since out of range": f'{{"v":1,"every":60000000,"since":{-(10**30)}}}',
    "from overflowing": '{"v":1,"every":60000000,"from":1e999}',
    "runs infinite": '{"v":1,"every":60000000,"runs":Infinity}',
    "no cron expression": '{"v":1,"cron":"every now and then"}',
    "no time zone": '{"v":1,"cron":"* * * * *","tz":"Nowhere/Else"}',
    "arguments no object": '{"v":1,"every":60000000,"args":[]}',
    "deep": '{"v":1,"every":60000000,"args":' + "[" * 100_000 + "}",
}

FIELDS: dict[str, dict[str, Any]] = {
    **{name: {"spec": spec} for name, spec in SPECS.items()},
    "due before the year 1": {"due_at": -(2**62)},
    "due after the year 9999": {"due_at": 2**62},
}


class DamageContract(AppBase):
    async def test_damaged_records(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        """Each is logged once and set aside, everything else runs, and it can be removed and scheduled again."""
        app = bench.app()
        template = app.dynamic_task(name="template", lease_duration=duration(10))(bench.log.note)
        async with app.create() as context:
            broken = {name: await context.schedule_task(template, name, interval=duration(5)) for name in _fields(self)}
            await context.schedule_task(template, "sound", interval=duration(5))
        for name, fields in _fields(self).items():
            await _damage(bench, broken[name], fields)
        async with bench.running(app) as worker:
            await bench.advance(60)
            assert bench.log.names() == ["template:sound"] * 12
            listed = await worker.context.list_tasks(template)
            states = {state.task.name: state.state for state in listed.tasks}
            assert states == {"sound": "waiting"} | dict.fromkeys(_fields(self), "unreadable")
            for name, task in broken.items():
                found = await bench.stored(task)
                assert found is not None, name
                assert Band.of(found.ready_at) is Band.UNREADABLE, name
                assert found.spec == FIELDS[name].get("spec", found.spec), name
                set_aside = f"The record of {task.canonical_name!r} can't be decoded"
                logged = [one.getMessage() for one in caplog.records if one.getMessage().startswith(set_aside)]
                assert len(logged) == 1, name
                await worker.context.unschedule_task(task)
                assert await bench.stored(task) is None, name
                await worker.context.schedule_task(template, name, execute_at=moment(70))
            await bench.advance(15)
        assert {name: bench.log.due(task) for name, task in broken.items()} == {name: [70] for name in broken}

    @pytest.mark.parametrize("force", [False, True])
    async def test_damaged_records_are_overwritten(self, bench: Bench, force: bool) -> None:
        """Once set aside, they can simply be overwritten; with ``force``, even before."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            for name, fields in _fields(self).items():
                await _damage(bench, await context.schedule_task(template, name, interval=duration(5)), fields)
            if not force:
                async with bench.running(app):
                    await bench.advance(10)
            for name in _fields(self):
                await context.schedule_task(template, name, force=force, execute_at=moment(20))
        async with bench.running(app):
            await bench.advance(30)
        assert bench.log.due() == [20] * len(_fields(self))

    async def test_numbers_at_the_end_of_their_range(self, bench: Bench) -> None:
        """Such records run."""
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        ends: list[dict[str, Any]] = [{"fence": MAX_FENCE}, {"attempt": MAX_ATTEMPT}, {"state": "[" * 1000}]
        async with app.create() as context:
            tasks = [await context.schedule_task(template, str(n), interval=duration(5)) for n in range(len(ends))]
        for task, end in zip(tasks, ends, strict=True):
            await _damage(bench, task, end)
        async with bench.running(app):
            await bench.advance(20)
        assert [bench.log.due(task) for task in tasks] == [[5, 10, 15, 20]] * len(ends)


def _fields(suite: DamageContract) -> dict[str, dict[str, Any]]:
    """The damages that the store accepts."""
    longest = suite.capabilities.max_spec_bytes
    return {n: some for n, some in FIELDS.items() if longest is None or len(some.get("spec", "")) <= longest}


async def _damage(bench: Bench, task: Task, fields: dict[str, Any]) -> None:
    whole = await bench.stored(task)
    assert whole is not None
    broken = replace(whole, revision=fresh(), **fields)
    assert await bench.repository.swap([Change(whole, broken)]) == [APPLIED]
