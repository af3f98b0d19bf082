"""The records that workers write about themselves, and what they cost."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pytest

from pyncette._tasks.worker import FURTHER_RENEWAL, WORKERS, Worker, decode_all, place_among
from pyncette.errors import OrphansUnknownException
from pyncette.memory import MemoryRepository
from pyncette.record import HELD, Change, Record, RunLine, RunQuestion
from pyncette.testing import FaultPlan
from pyncette.testing.contract.app.bench import Bench, duration
from pyncette.testing.contract.base import APPLIED, fresh

MINUTES = 10


@pytest.fixture
def bench() -> Bench:
    repository = MemoryRepository()
    return Bench(lambda **_: nullcontext(repository), repository)


def executing(*tasks: str) -> Worker:
    now, count = datetime.datetime.now(datetime.UTC), len(tasks)
    about: dict[str, Any] = {"version": "2.0", "python": "3", "event_loop": "trio", "clock_offset": 0.0, "running": 0}
    moments: dict[str, Any] = {"started_at": now, "last_tick": now, "last_seen": now}
    about["kinds"] = ("dynamic",) * count
    return Worker(name="w", host="h", pid=1, tasks=tasks, task_count=count, concurrency_limit=1, **about, **moments)


@pytest.mark.parametrize(
    "workers, place",
    [
        ({}, (0, 1)),
        ({"other": executing("task")}, (0, 1)),
        ({"me": executing("task")}, (0, 1)),
        ({"me": executing("task"), "other": executing("other")}, (0, 1)),
        ({"me": executing("task"), "other": executing("task"), "a": executing("task")}, (1, 3)),
        ({"me": executing("task", "own"), "a": executing("task")}, (0, 1)),  # no other worker executes "own"
        ({"me": executing("task", "both"), "a": executing("task"), "b": executing("task", "both")}, (1, 2)),
    ],
)
def test_the_place_of_a_worker(workers: dict[str, Worker], place: tuple[int, int]) -> None:
    assert place_among(workers, "me") == place


async def left(bench: Bench) -> Sequence[Record]:
    return await bench.repository.scan(WORKERS, after=None, limit=100)


async def pass_time(bench: Bench, seconds: int) -> None:
    """Advance in steps, because background work doesn't keep the clock from skipping it."""
    for _ in range(seconds // 15):
        await bench.advance(15)


async def test_an_idle_worker_writes_four_times_a_minute(bench: Bench) -> None:
    plan = FaultPlan()
    app = bench.app(register_worker=True, repository_factory=plan.wrap(bench.factory))
    app.dynamic_task(name="template")(bench.log.note)
    async with bench.running(app):
        await bench.advance(1)
        (record,) = await left(bench)
        assert len(record.spec) < 350
        plan.calls.clear()
        await pass_time(bench, 60 * MINUTES)
        assert plan.calls["swap"] == 4 * MINUTES
        assert plan.calls["scan_ready"] == (1 + 4) * MINUTES, "to sweep, and to see who is there"
        assert plan.calls["read"] == plan.calls["claim"] == plan.calls["scan"] == 0
    assert await left(bench) == []


@pytest.mark.parametrize("count", [1000, 1001, 2500])
async def test_a_worker_with_many_tasks_lists_them_all(bench: Bench, count: int) -> None:
    plan = FaultPlan()
    app = bench.app(register_worker=True, worker_name="a:b", repository_factory=plan.wrap(bench.factory))
    for number in range(count):
        app.dynamic_task(name=f"task {number}")(bench.log.note)
    further = -(-count // 1000) - 1
    async with bench.app().create() as operator:
        async with bench.running(app):
            await bench.advance(1)
            for _ in range(3):
                (worker,) = await operator.workers()
                assert worker.tasks == tuple(f"task {number}" for number in range(count))
                assert worker.kinds == ("dynamic",) * count
                assert worker.task_count == count
                assert len(await left(bench)) == 1 + further
                await pass_time(bench, FURTHER_RENEWAL // 1_000_000 * 2)
            writes = plan.calls["swap"]
            await pass_time(bench, 60)
            assert plan.calls["swap"] == writes + 4
        assert await left(bench) == []


async def test_names_that_are_not_stored_yet(bench: Bench) -> None:
    """No task counts as an orphan as long as a worker might execute it."""
    app = bench.app(register_worker=True)
    for number in range(1500):
        app.dynamic_task(name=f"task {number}")(bench.log.note)
    async with bench.running(app), bench.app().create() as operator:
        await bench.advance(1)
        assert await operator.orphans() == []
        further = [record for record in await left(bench) if record.key.endswith(":0")]
        assert await bench.repository.swap([Change(record, None) for record in further]) == [APPLIED]
        with pytest.raises(OrphansUnknownException, match=r"executes 1,500 tasks and lists 1,000 of them so far"):
            await operator.orphans()
        await pass_time(bench, FURTHER_RENEWAL // 1_000_000)
        assert await operator.orphans() == []


async def test_damaged_records_of_workers_are_left_out(bench: Bench) -> None:
    app = bench.app(register_worker=True)
    app.dynamic_task(name="task")(bench.log.note)
    async with bench.running(app), bench.app().create() as operator:
        await bench.advance(1)
        (whole,) = await left(bench)
        for number, text in enumerate(["", "{", "[]", "7", '{"of":7}', '{"of":"x","page":"y","tasks":[]}']):
            damaged = Record(
                WORKERS.name, f"{whole.key}:{number}", whole.due_at, whole.ready_at, None, None, fresh(), 0, 0, text
            )
            assert await bench.repository.swap([Change(None, damaged)]) == [APPLIED]
        assert [worker.tasks for worker in await operator.workers()] == [("task",)]


async def test_one_worker_prunes_the_log(bench: Bench) -> None:
    """The one that keeps it for the shortest time; when it ends, another one takes over."""
    plans = {name: FaultPlan() for name in ("a", "b", "c", "d")}
    kept = {"a": None, "b": 3600.0, "c": 60.0, "d": 60.0}
    async with contextlib.AsyncExitStack() as stack:
        workers = {
            name: await stack.enter_async_context(
                bench.running(
                    bench.app(
                        register_worker=True,
                        worker_name=name,
                        repository_factory=plan.wrap(bench.factory),
                        history=None if (seconds := kept[name]) is None else duration(seconds),
                    )
                )
            )
            for name, plan in plans.items()
        }
        await pass_time(bench, 60)

        async def pruning() -> set[str]:
            for plan in plans.values():
                plan.calls.clear()
            await pass_time(bench, 60)
            return {name for name, plan in plans.items() if plan.calls["prune_runs"]}

        assert await pruning() == {"c"}
        workers["c"].context.shutdown()
        await pass_time(bench, 60)
        assert await pruning() == {"d"}
        workers["d"].context.shutdown()
        await pass_time(bench, 60)
        assert await pruning() == {"b"}


async def test_a_log_of_any_length_is_pruned_completely(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that has expired, so that a log never grows faster than it is pruned."""
    monkeypatch.setattr("pyncette._leases.history.PRUNE_BATCH", 1)
    lines = [RunLine(f"{number}", "q", f"q:{number}", number, "succeeded", "{}") for number in range(300)]
    changes = [Change(None, Record("q", line.key, HELD, HELD, None, None, fresh(), 0, 0, "{}"), line) for line in lines]
    assert await bench.repository.swap(changes) == [APPLIED] * len(lines)
    async with bench.running(bench.app(history=duration(60))):
        await bench.advance(1)
        assert await bench.repository.runs(RunQuestion(limit=1)) == []


def test_further_names_of_a_worker_that_is_gone_are_left_out() -> None:
    text = '{"v":1,"of":"gone","page":0,"tasks":["a"],"kinds":"s"}'
    assert decode_all([Record(WORKERS.name, "further", HELD, HELD, None, None, "r", 0, 0, text)]) == {}
