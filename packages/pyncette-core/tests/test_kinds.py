"""Tasks of the same name that one app declares as static, and another as dynamic or partitioned."""

from __future__ import annotations

import datetime
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Any, get_args

import anyio
import pytest

from pyncette import Context, Pyncette, PyncetteContext, Task
from pyncette._tasks import control
from pyncette._tasks.control import Control, Pause, RequestedRun, Window
from pyncette._tasks.names import Kind
from pyncette.errors import PartitionCountException, PyncetteException, TaskNotFoundException
from pyncette.events import OperationFinished
from pyncette.memory import MemoryRepository
from pyncette.observer import Observer
from pyncette.record import Change
from pyncette.testing import ManualClock

MINUTE, HOUR = (datetime.timedelta(minutes=minutes) for minutes in (1, 60))
KINDS: tuple[Kind, ...] = get_args(Kind)


class Harness(Observer):
    """One storage, and apps on it that declare the task "task"."""

    def __init__(self) -> None:
        self.store = MemoryRepository()
        self.clock = ManualClock(datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC))
        self.runs: list[str] = []
        self.calls: Counter[str] = Counter()

    def operation_finished(self, event: OperationFinished, /) -> None:
        self.calls[event.operation] += 1

    def declared(self, kind: str, *, partition_count: int = 2, **options: Any) -> tuple[Pyncette, Task]:
        app = Pyncette(lambda: nullcontext(self.store), clock=self.clock, **options)
        app.use_observer(self)

        async def body(context: Context) -> None:
            self.runs.append(context.task.canonical_name)

        if kind == "static":
            return app, app.task(name="task", interval=MINUTE)(body)
        if kind == "dynamic":
            return app, app.dynamic_task(name="task", interval=MINUTE)(body)
        return app, app.partitioned_task(name="task", interval=MINUTE, partition_count=partition_count)(body)

    @asynccontextmanager
    async def running(self, app: Pyncette) -> AsyncIterator[PyncetteContext]:
        async with app.create() as context, anyio.create_task_group() as group:
            group.start_soon(context.run)
            await self.clock.settle()
            yield context
            context.shutdown()

    async def leave(self, kind: str, *instances: str) -> tuple[Pyncette, Task]:
        """Store something for the task as this kind. Returns the app that declares it."""
        app, task = self.declared(kind)
        async with self.running(app) as context:
            for name in instances if task.dynamic else ():
                await context.schedule_task(task, name)
        return app, task


async def kinds(context: PyncetteContext) -> list[str]:
    return sorted(task.kind for task in await context.orphans() if task.name == "task")


@pytest.mark.parametrize("old", KINDS)
async def test_leftovers_cost_nothing(old: str) -> None:
    """Not a single additional claim or look, even though all of it is long overdue."""
    for new in KINDS:
        costs = []
        for leaves in (True, False) if new != old else ():
            harness = Harness()
            if leaves:
                await harness.leave(old, *map(str, range(500)))
            await harness.clock.advance(HOUR)
            app, _ = harness.declared(new, register_worker=False)
            async with harness.running(app):
                harness.calls.clear()
                await harness.clock.advance(HOUR)
            costs.append(harness.calls)
            assert harness.calls["claim"] == (60 if new == "static" else 0)
        for calls, without in itertools.pairwise(costs):
            assert calls["look"] <= without["look"] + 2  # concurrent writes may shorten the sleep


@pytest.mark.parametrize("old", ["dynamic", "partitioned"])
async def test_a_pause_of_the_template_does_not_affect_the_static_task(old: str) -> None:
    harness = Harness()
    before, template = await harness.leave(old, "a")
    async with before.create() as context:
        await context.pause_task(template, reason="too loud")
        await harness.clock.advance(MINUTE)
        await context.resume_task(template)  # leaves a past pause, in which occurrences are skipped
        await context.pause_task(template, reason="too loud")
    app, task = harness.declared("static")
    async with harness.running(app) as context:
        await harness.clock.advance(2 * MINUTE)
        state = await context.get_task(task)
        assert state is not None
        assert (state.state, state.paused_reason) == ("waiting", None)
        await context.trigger_task(task)
        await harness.clock.advance(MINUTE)
        paused = {stored.kind: stored.paused_reason for stored in await context.tasks()}
    assert harness.runs == ["task"] * 4
    assert paused == {old: "too loud", "static": None}


async def test_the_runs_of_each_kind() -> None:
    harness = Harness()
    for kind in ("dynamic", "static"):
        app, task = harness.declared(kind, history=HOUR)
        async with harness.running(app) as context:
            if task.dynamic:
                await context.schedule_task(task, "a")
            await harness.clock.advance(MINUTE)
            logged = [(run.task, run.instance) for run in (await context.runs(task)).runs]
        assert logged == [("task", None if kind == "static" else "a")]


async def test_nothing_is_an_orphan_while_a_worker_executes_it() -> None:
    """During a rolling deploy, both kinds are in use; after it, the old kind is an orphan."""
    harness = Harness()
    old, template = harness.declared("dynamic", register_worker=True)
    new, _ = harness.declared("static", register_worker=True)
    onlooker = Pyncette(lambda: nullcontext(harness.store), clock=harness.clock)
    async with onlooker.create() as context, harness.running(new):
        async with harness.running(old) as worker:
            await worker.schedule_task(template, "a")
            await harness.clock.settle()
            assert await kinds(context) == []
            found = [(task.kind, task.stored) for task in await context.tasks()]
            assert sorted(found) == [("dynamic", True), ("static", True)]
            with pytest.raises(LookupError, match=r"is dynamic and static: say which one is meant, kind='dynamic'"):
                await context.find_task("task")
        await harness.clock.settle()
        assert await kinds(context) == ["dynamic"]
        assert (await context.find_task("task")).kind == "static"


@pytest.mark.parametrize("old", KINDS)
@pytest.mark.parametrize("new", KINDS)
async def test_leftovers_are_found_and_removed_by_kind(old: Kind, new: Kind) -> None:
    if old == new:
        return
    harness = Harness()
    _, left = await harness.leave(old, "a", "b")
    app, task = harness.declared(new)
    async with harness.running(app) as context:
        if task.dynamic:
            await context.schedule_task(task, "a")
        assert await context.find_task("task") is task
        found = await context.find_task("task", old)
        assert found.kind == old
        if found.dynamic:
            assert sorted(each.task.name for each in (await context.list_tasks(found)).tasks) == ["a", "b"]
        else:
            assert await context.get_task(found) is not None
        with pytest.raises(ValueError, match="'task' is not an orphan"):
            await context.purge("task", kind=new)
        assert await context.purge("task", kind=old) == (2 if left.dynamic else 1)
        with pytest.raises(LookupError, match=f"There is no {old} task 'task': stored here is 'task'"):
            await context.find_task("task", old)
        await harness.clock.advance(MINUTE)
    assert harness.runs == [task.instantiate("a").canonical_name if task.dynamic else "task"]


async def test_a_template_that_is_purged_starts_over() -> None:
    """Its partition count, its pause and requested runs are removed with its instances."""
    harness = Harness()
    before, template = await harness.leave("partitioned", "a")
    async with before.create() as context:
        await context.pause_task(template)
        await context.trigger_task(template, "a")
    async with Pyncette(lambda: nullcontext(harness.store), clock=harness.clock).create() as context:
        assert await context.purge("task") == 1
    app, template = harness.declared("partitioned", partition_count=3)
    async with harness.running(app) as context:
        await context.schedule_task(template, "a")
        await harness.clock.advance(MINUTE)
    assert len(harness.runs) == 1


def test_purging_a_template_from_the_control_record() -> None:
    asked = RequestedRun("task:1", "task:1:a", "run")
    everything = Control(
        paused={"task": Pause(1), "other": Pause(2)},
        windows={"task": (Window(1, 2),), "other": (Window(3, 4),)},
        partitions={"task": 2, "other": 3},
        requested=(asked, RequestedRun("task", "task:b", "run"), RequestedRun("other", "other:c", "run")),
    )
    others = Control(
        paused={"other": Pause(2)},
        windows={"other": (Window(3, 4),)},
        partitions={"other": 3},
        requested=everything.requested[1:],
    )
    queues = ["task:0", "task:1"]
    assert everything.purged("task", queues, partitioned=True, other=False) == others
    assert everything.purged("task", queues, partitioned=True, other=True) == replace(
        everything, partitions=others.partitions, requested=others.requested
    )
    assert everything.purged("task", ["task"], partitioned=False, other=True) == replace(
        everything, requested=(asked, everything.requested[2])
    )


async def test_messages_name_a_static_task_as_it_is_declared(caplog: pytest.LogCaptureFixture) -> None:
    harness = Harness()
    app, task = harness.declared("static")
    async with harness.running(app) as context:
        (record,) = await harness.store.read([task.ref])
        assert record is not None
        damaged = replace(record, revision="forged", spec="not JSON")
        await harness.store.swap([Change(record, damaged)])
        messages = []
        for call in (context.pause_task(task), context.trigger_task(task)):
            with pytest.raises((PyncetteException, ValueError)) as raised:
                await call
            messages.append(str(raised.value))
        await harness.clock.advance(2 * MINUTE)
        await harness.store.swap([Change(await _only(harness, task), None)])
        with pytest.raises(TaskNotFoundException) as missing:
            await context.resume_task(task)
        assert missing.value.key == "task"
        await harness.clock.advance(15 * MINUTE)
    messages += [record.getMessage() for record in caplog.records]
    assert [message for message in messages if "'task'" in message]
    assert [message for message in messages if ":static:" in message] == []
    assert {record.task for record in caplog.records if hasattr(record, "task")} == {"task"}


async def _only(harness: Harness, task: Task) -> Any:
    (record,) = await harness.store.read([task.ref])
    return record


def test_a_control_record_that_is_damaged_is_refused() -> None:
    with pytest.raises(ValueError, match="can't be decoded"):
        control.decode('{"v":1,"windows":{"task":[[1]]}}')


def test_only_runs_that_need_it_are_added_to_the_control_record() -> None:
    run = RequestedRun("task", "task:a", "id")
    nothing = Control()
    assert nothing.request("task", run) is nothing
    noted = nothing.request("task", run, held=True)
    assert noted.requested == (run,)
    assert noted.request("task", run, held=True) is noted


async def test_a_count_that_was_purged_is_stored_again() -> None:
    """A program that checked it long ago schedules an instance: nobody must look for that in other partitions."""
    harness = Harness()
    app, template = harness.declared("partitioned", partition_count=3, register_worker=False)
    other, elsewhere = harness.declared("partitioned", partition_count=4, register_worker=False)
    async with app.create() as context:
        await context.schedule_task(template, "before")
        async with Pyncette(lambda: nullcontext(harness.store), clock=harness.clock).create() as operator:
            assert await operator.purge("task") == 1
        await harness.clock.advance(MINUTE)
        await context.schedule_task(template, "after")
    async with other.create() as context:
        with pytest.raises(PartitionCountException, match="stored in 3 partitions"):
            await context.schedule_task(elsewhere, "after")


async def test_two_counts_that_are_stored_at_once() -> None:
    """The first one wins and the other is refused, although neither was stored when they checked."""
    harness = Harness()
    app, template = harness.declared("partitioned", partition_count=3)
    other, elsewhere = harness.declared("partitioned", partition_count=4)
    async with app.create() as quick, other.create() as slow:
        await slow.tasks()  # reads that there is no count yet, which is cached for a poll interval
        await quick.schedule_task(template, "a")
        with pytest.raises(PartitionCountException, match=r"partition_count=4.*stored in 3 partitions"):
            await slow.schedule_task(elsewhere, "a")
