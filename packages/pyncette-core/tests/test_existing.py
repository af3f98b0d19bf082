"""Changes to existing instances, including those whose record can't be read."""

from __future__ import annotations

import datetime
import json
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import replace

import pytest

from pyncette import PyncetteContext, Task
from pyncette.errors import RepositoryException, StorageVersionException, TaskNotFoundException
from pyncette.memory import MemoryRepository
from pyncette.record import Change
from pyncette.testing.contract.app.bench import START, Bench, duration
from pyncette.testing.contract.base import APPLIED, fresh

Call = Callable[[PyncetteContext, Task, str | None], Awaitable[object]]

CALLS: dict[str, Call] = {
    "pause": lambda context, task, name: context.pause_task(task, name),
    "resume": lambda context, task, name: context.resume_task(task, name),
    "retry": lambda context, task, name: context.retry_task(task, name),
    "trigger": lambda context, task, name: context.trigger_task(task, name),
    "backfill": lambda context, task, name: context.backfill_task(task, name, START - duration(60), START),
    "list backfills": lambda context, task, name: context.list_backfills(task, name),
    "cancel backfill": lambda context, task, name: context.cancel_backfill(task, name, "none"),
}


@pytest.fixture
def bench() -> Bench:
    repository = MemoryRepository()
    return Bench(lambda **_: nullcontext(repository), repository)


@pytest.mark.parametrize("call", CALLS)
async def test_every_call_describes_a_broken_record_in_the_same_way(bench: Bench, call: str) -> None:
    app = bench.app()
    template = app.dynamic_task(name="template")(bench.log.note)
    async with app.create() as context:
        with pytest.raises(TaskNotFoundException, match="'template:a'"):
            await CALLS[call](context, template, "a")
        instance = await context.schedule_task(template, "a", interval=datetime.timedelta(minutes=1))
        whole = await bench.stored(instance)
        assert whole is not None
        later = await bench.damage(instance, json.dumps({**json.loads(whole.spec), "v": 1000}))
        with pytest.raises(StorageVersionException, match=r"'template:a'.*upgrade Pyncette"):
            await CALLS[call](context, template, "a")
        beyond = replace(whole, due_at=2**61, revision=fresh())
        assert await bench.repository.swap([Change(later, beyond)]) == [APPLIED]
        with pytest.raises(RepositoryException, match=r"'template:a' can't be read .*: schedule it again"):
            await CALLS[call](context, template, "a")
        damaged = await bench.damage(instance, "{")
        with pytest.raises(RepositoryException, match=r"'template:a' can't be read .*: schedule it again"):
            await CALLS[call](context, template, "a")
        assert await bench.stored(instance) == damaged


@pytest.mark.parametrize("call", CALLS)
async def test_a_static_task_that_no_worker_has_stored(bench: Bench, call: str) -> None:
    app = bench.app()
    task = app.task(name="nightly", interval=datetime.timedelta(minutes=1))(bench.log.note)
    async with app.create() as context:
        with pytest.raises(TaskNotFoundException, match="The task 'nightly' is not stored yet: the first worker"):
            await CALLS[call](context, task, None)


async def test_a_bulk_call_lists_what_can_not_be_read(bench: Bench) -> None:
    app = bench.app()
    template = app.dynamic_task(name="template")(bench.log.note)
    async with app.create() as context:
        for name in "ab":
            await context.schedule_task(template, name, interval=datetime.timedelta(minutes=1))
        await bench.damage(template.instantiate("a", interval=datetime.timedelta(minutes=1)), "{")
        for bulk in (context.pause_tasks, context.resume_tasks, context.trigger_tasks):
            result = await bulk(template, ["a", "b"])
            assert (result.done, [name for name, _ in result.refused]) == (1, ["a"])
