"""A spec or state that a later version has stored is left to that version."""

from __future__ import annotations

import datetime
import json
from contextlib import nullcontext
from dataclasses import replace

import pytest

from pyncette import ExecutionMode, Task
from pyncette._tasks.spec import LaterSpec
from pyncette._tasks.state import VERSION, State, check_version, is_later
from pyncette.errors import StorageVersionException
from pyncette.memory import MemoryRepository
from pyncette.record import Change, Record
from pyncette.testing.contract.app.bench import Bench, duration, moment
from pyncette.testing.contract.base import fresh

LATER = f'{{"v":{VERSION + 1},"runs":"in another form"}}'


@pytest.fixture
def bench() -> Bench:
    repository = MemoryRepository()
    return Bench(lambda **_: nullcontext(repository), repository)


async def overwrite(bench: Bench, task: Task) -> Record:
    whole = await bench.stored(task)
    assert whole is not None
    new = replace(whole, revision=fresh(), state=LATER)
    assert all(await bench.repository.swap([Change(whole, new)]))
    return new


@pytest.mark.parametrize("text", ["", State("").text(1), '{"fence":1}', "{", "[]", '{"v":"2"}'])
def test_states_of_this_version(text: str) -> None:
    check_version(text)
    assert not is_later(text)


def test_a_state_of_a_later_version() -> None:
    assert is_later(LATER)
    with pytest.raises(LaterSpec, match="written in format 2 of the state"):
        check_version(LATER)


async def test_neither_executed_nor_overwritten(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    app = bench.app()
    template = app.dynamic_task(name="template", lease_duration=duration(10))(bench.log.note)
    static = app.task(name="static", interval=duration(5), lease_duration=duration(10))(bench.log.note)
    async with app.create() as context:
        instance = await context.schedule_task(template, "a", execute_at=moment(10))
    async with bench.running(app):
        await bench.advance(1)
    for task in (instance, static):
        await overwrite(bench, task)
    async with bench.running(app):
        await bench.advance(60)
    assert bench.log.names() == []
    for task in (instance, static):
        found = await bench.stored(task)
        assert found is not None
        assert (found.state, found.attempt, found.locked_until) == (LATER, 0, None)
    said = [record.getMessage() for record in caplog.records if "later version" in record.getMessage()]
    assert len(said) == 2


async def test_not_changed_by_operators(bench: Bench) -> None:
    app = bench.app()
    template = app.dynamic_task(name="template")(bench.log.note)
    async with app.create() as context:
        instance = await context.schedule_task(template, "a", interval=duration(60))
        later = await overwrite(bench, instance)
        with pytest.raises(StorageVersionException, match="'template:a' was written in format 2"):
            await context.pause_task(template, "a")
        with pytest.raises(StorageVersionException, match="'template:a' was written in format 2"):
            await context.schedule_task(template, "a", interval=duration(30))
        assert await bench.stored(instance) == later
        await context.schedule_task(template, "a", interval=duration(30), if_exists="replace")


@pytest.mark.parametrize("mode", ExecutionMode)
async def test_not_overwritten_by_the_end_of_an_execution(bench: Bench, mode: ExecutionMode) -> None:
    app = bench.app()

    @app.dynamic_task(name="template", execution_mode=mode, keep_runs=5)
    async def template(context: object) -> None:
        await overwrite(bench, instance)

    async with app.create() as context:
        instance = await context.schedule_task(template, "a", interval=duration(60))
    async with bench.running(app):
        await bench.advance(65)
    found = await bench.stored(instance)
    assert found is not None
    assert found.state == LATER


@pytest.mark.parametrize("at_start", [True, False])
async def test_a_static_task_keeps_the_schedule_of_the_later_version(bench: Bench, at_start: bool) -> None:
    """Even if its next occurrence is later than on this version's schedule."""
    app = bench.app()
    static = app.task(name="static", interval=duration(5))(bench.log.note)
    async with bench.running(app):
        await bench.advance(1)
        whole = await bench.stored(static)
        assert whole is not None
        spec = json.dumps({**json.loads(whole.spec), "v": 1000})
        year = bench.clock.now() + datetime.timedelta(days=365) // datetime.timedelta(microseconds=1)
        later = replace(whole, spec=spec, due_at=year, ready_at=year, revision=fresh())
        assert all(await bench.repository.swap([Change(whole, later)]))
        if not at_start:
            await bench.advance(700)
    if at_start:
        async with bench.running(app):
            await bench.advance(1)
    assert await bench.stored(static) == later
