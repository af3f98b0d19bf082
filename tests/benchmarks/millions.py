"""Measures the life of an app with millions of instances, and the operations of operators on them.

    python -m tests.benchmarks.millions                        # 10 million instances: some minutes and 6 GB of disk
    python -m tests.benchmarks.millions --storage redis        # the same: 6 GB of memory
    python -m tests.benchmarks.millions --instances 100000 --overdue 10000 --seconds 10

On PostgreSQL it also shows the plans, and the cost of a paused template. Everything stored is removed in the end,
whatever happens.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from pyncette import Context, Pyncette, PyncetteContext, Task
from pyncette.postgres import postgres_repository
from pyncette.record import Band
from pyncette.repository import Repository
from pyncette.testing import FaultPlan
from tests.benchmarks.ceilings.common import Driver, opened
from tests.benchmarks.life import Life, copy, month
from tests.benchmarks.storing import Stored, size_of
from tests.benchmarks.subjects import Storage, storage
from tests.helpers import postgres
from tests.helpers.postgres_plans import access, explained
from tests.servers.pool import Pool

HOUR = datetime.timedelta(hours=1)
DEAD = 50
CALLS = 20
"""How often each operation is measured."""
TRIGGERS = 5

FILL = """
INSERT INTO {table} (due_at, ready_at, fence, attempt, queue, key, revision, state, spec)
SELECT ready_at, ready_at, 0, 0, $1, $2 || lpad(number::text, 9, '0'), md5(number::text), '', $3
FROM (
    SELECT number, $4::bigint + (number * 7919 % $5::bigint) * $6::bigint / $5::bigint AS ready_at
    FROM generate_series(0, $5::bigint - 1) AS number
) AS made
ON CONFLICT DO NOTHING
"""
"""Rows like that of a scheduled instance, with names in order and moments in random order within a time span."""

KILL = """
UPDATE {table} SET ready_at = $3, attempt = 1
WHERE queue = $1 AND key IN (SELECT $2 || lpad((number * $4)::text, 9, '0') FROM generate_series(0, $5 - 1) AS number)
"""


class Reports:
    """An app with two templates, and the times of their executions."""

    def __init__(self, factory: Callable[..., Any], template: str = "report", **options: Any) -> None:
        self.app = Pyncette(repository_factory=factory, register_worker=False, **options)
        self.begun: list[tuple[str, float, float]] = []  # the cause of each run, when it was due, and when it began
        self.report: Task = self.app.dynamic_task(name=template)(self._note)
        self.overdue: Task = self.app.dynamic_task(name="overdue")(self._note)

    async def _note(self, context: Context) -> None:
        self.begun.append((context.trigger, context.scheduled_at.timestamp(), time.time()))


async def fill(
    context: PyncetteContext, url: str, table: str, task: Task, count: int, *, since: datetime.timedelta
) -> None:
    """Store instances whose next occurrences are within the hour that begins ``since`` from now."""
    first = await context.schedule_task(task, f"user-{0:09}", interval=datetime.timedelta(days=1), language="en")
    start = round((time.time() + since.total_seconds()) * 1_000_000)
    async with postgres.connection(url) as own:
        spec = await own.fetchval(f"SELECT spec FROM {table} WHERE key = $1", first.canonical_name)  # noqa: S608 -- the name is ours
        prefix = f"{task.canonical_name}:user-"
        await own.execute(
            FILL.format(table=table), task.canonical_name, prefix, spec, start, count, 3_600_000_000, timeout=None
        )


async def prepare(url: str, table: str, instances: int, overdue: int) -> None:
    """Fill the table, build its indexes, and update the server's statistics."""
    reports = Reports(postgres_repository, postgres_url=url, postgres_table_name=table)
    async with reports.app.create() as context, postgres.connection(url) as own:
        indexes = await own.fetch(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = $1 AND indexname NOT IN "
            "(SELECT conname FROM pg_constraint)",
            table,
        )
        for index in indexes:
            await own.execute(f'DROP INDEX "{index["indexname"]}"')
        await fill(context, url, table, reports.report, instances, since=HOUR)
        await fill(context, url, table, reports.overdue, overdue, since=-2 * HOUR)
        for index in indexes:
            await own.execute(index["indexdef"], timeout=None)
        moment = Band.DEAD.at(round(time.time() * 1_000_000))
        prefix = f"{reports.report.canonical_name}:user-"
        await own.execute(
            KILL.format(table=table), reports.report.canonical_name, prefix, moment, instances // DEAD, DEAD
        )
        await own.execute(f"VACUUM ANALYZE {table}", timeout=None)


Operation = Callable[[], Awaitable[object]]


def operations(context: PyncetteContext, task: Task) -> dict[str, Operation]:
    """The operations to measure. One that changes something is undone by the next one."""
    soon = datetime.datetime.now(datetime.UTC) + 3 * HOUR
    return {
        "pause_task(template)": lambda: context.pause_task(task, reason="maintenance"),
        "resume_task(template)": lambda: context.resume_task(task),
        'list_tasks(state="dead")': lambda: context.list_tasks(task, state="dead", limit=100),
        'list_tasks(prefix="user-00012")': lambda: context.list_tasks(task, prefix="user-00012", limit=100),
        "list_tasks(due_before=…, limit=20)": lambda: context.list_tasks(task, due_before=soon, limit=20),
        'count_tasks(state="dead")': lambda: context.count_tasks(task, state="dead"),
        "get_task(instance)": lambda: context.get_task(task, "user-000012345"),
        "pause_task(instance)": lambda: context.pause_task(task, "user-000012345"),
        "resume_task(instance)": lambda: context.resume_task(task, "user-000012345"),
        "tasks()": context.tasks,
    }


async def measure(factory: Callable[..., Any], template: str, **options: Any) -> None:
    """Print how long each operation takes."""
    reports = Reports(factory, template, **options)
    async with reports.app.create() as context:
        every = operations(context, reports.report)
        took: dict[str, list[float]] = {name: [] for name in every}
        for _ in range(CALLS):
            for name, operation in every.items():
                began = time.perf_counter()
                await operation()
                took[name].append((time.perf_counter() - began) * 1000)
    print(f"\n{'operation':40} {'median ms':>10} {'most ms':>10}")
    for name, each in took.items():
        print(f"{name:40} {statistics.median(each):10.2f} {max(each):10.2f}")


async def show_plans(url: str, table: str) -> None:
    """Print the plan of each operation."""
    print(f"\n{'operation':40} {'plan ms':>8} {'rows':>5}  how the server gets at the table")
    async with explained(url, table, 100) as (repository, plans):

        @asynccontextmanager
        async def factory(**_: Any) -> AsyncIterator[Repository]:
            yield repository

        reports = Reports(factory)
        async with reports.app.create() as context:
            for name, operation in operations(context, reports.report).items():
                plans.clear()
                await operation()
                for plan in plans:
                    found = access(plan, table)
                    print(f"{name:40} {plan['Actual Total Time']:8.2f} {found.rows:5}  {', '.join(sorted(found.ways))}")


async def watch_paused(url: str, table: str, empty: str, lasting: float) -> None:
    """Measure the cost of overdue instances of a paused template, compared with an idle app, and then the effect of a
    trigger and of a resume."""
    plans = {"paused": FaultPlan(), "idle": FaultPlan()}
    options = {"postgres_url": url, "postgres_table_name": table}
    paused = Reports(plans["paused"].wrap(postgres_repository), **options)
    idle = Reports(plans["idle"].wrap(postgres_repository), postgres_url=url, postgres_table_name=empty)
    async with AsyncExitStack() as stack:
        operator = await stack.enter_async_context(Reports(postgres_repository, **options).app.create())
        await operator.pause_task(paused.overdue)
        contexts = [await stack.enter_async_context(each.app.create()) for each in (paused, idle)]
        group = await stack.enter_async_context(asyncio.TaskGroup())
        for context in contexts:
            group.create_task(context.run())
        await asyncio.sleep(2)
        for plan in plans.values():
            plan.calls.clear()
        await asyncio.sleep(lasting)
        print(f"\ncalls of the storage in {lasting:.0f} seconds:")
        for name, plan in plans.items():
            print(f"{name:40} {dict(plan.calls)}")
        asked: list[float] = []
        for number in range(TRIGGERS):
            await asyncio.sleep(0.9 + 0.23 * number)  # at varying moments between two polls
            asked.append(time.time())
            await operator.trigger_task(paused.overdue, f"user-{number:09}")
        await asyncio.sleep(3)
        waited = [at - moment for moment, (_, _, at) in zip(asked, paused.begun, strict=True)]
        print(f"{'triggers inside begin after':40} {', '.join(f'{each:.2f}' for each in waited)} s")
        await show_lag(operator, paused)
        for context in contexts:
            context.shutdown()


async def show_lag(operator: PyncetteContext, reports: Reports) -> None:
    """Print the lateness of instances that come due after the resume, while the others are skipped."""
    since = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=3)
    moments = [since + datetime.timedelta(seconds=number / 50) for number in range(500)]
    pairs = [(f"on time {number}", {"execute_at": moment}) for number, moment in enumerate(moments)]
    await operator.schedule_tasks(reports.overdue, pairs)
    await operator.resume_task(reports.overdue)
    await asyncio.sleep((moments[-1] - datetime.datetime.now(datetime.UTC)).total_seconds() + 3)
    lags = [at - due for trigger, due, at in reports.begun if trigger == "schedule" and due >= since.timestamp()]
    page = await operator.list_tasks(reports.overdue, due_before=since, limit=1)
    print(f"{'after the resume, on time':40} {len(lags)} of {len(moments)}", end=", ")
    print(f"lag p50 {statistics.median(lags) * 1000:.0f} ms, most {max(lags) * 1000:.0f} ms", end=", ")
    print("while others are skipped" if page.tasks else "the others are skipped by now")


async def operate(url: str, table: str, empty: str, options: argparse.Namespace) -> None:
    """Measure operations of operators on PostgreSQL."""
    began = time.monotonic()
    await prepare(url, table, options.instances, options.overdue)
    size = await _size(url, table)
    print(f"{options.instances:,} + {options.overdue:,} instances, {size}, filled in {time.monotonic() - began:.0f} s")
    await measure(postgres_repository, "report", postgres_url=url, postgres_table_name=table)
    await show_plans(url, table)
    await watch_paused(url, table, empty, options.seconds)


async def live(where: Storage, names: dict[str, Any], options: argparse.Namespace, copies: int) -> None:
    """Measure the life of an app on any storage.

    :param copies: the number of instances that are stored in addition to the registered ones.
    """
    driver: Driver = import_module(f"tests.benchmarks.ceilings.{where.backend}").ByHand(names)
    factory = getattr(import_module(f"pyncette.{where.backend}"), f"{where.backend}_repository")
    life = Life(where, factory, names)
    async with driver, opened(where.backend, names) as repository:
        stored = Stored(where, repository, driver)
        async with life.app.create() as context:
            await life.register(context, options.registered)
            [sample] = await repository.scan(life.waiting.queue, after=None, limit=1)
            await copy(repository, sample, copies, options.registered)
            print(f"{'stored':30} {await size_of(stored) / 1e6:,.0f} MB")
            await life.idle(context, options.seconds)
        async with life.app.create() as context:
            await context.schedule_task(life.nine, "first", execute_at=datetime.datetime.now(datetime.UTC))
            [sample] = await repository.scan(life.nine.queue, after=None, limit=1)
            await copy(repository, sample, options.overdue - 1, 0, moment=sample.due_at)
            await life.herd(context, options.overdue)
        if copies:
            await measure(factory, "waiting", **names)
        await month(stored, lambda: size_of(stored))


async def _size(url: str, table: str) -> str:
    async with postgres.connection(url) as own:
        size: str = await own.fetchval("SELECT pg_size_pretty(pg_total_relation_size($1::regclass))", table)
        return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", choices=("postgres", "redis"), default="postgres")
    parser.add_argument("--instances", type=int, default=10_000_000)
    parser.add_argument("--registered", type=int, default=200_000, help="by the public call; the others are copies")
    parser.add_argument("--overdue", type=int, default=1_000_000, help="the herd, and instances of a paused template")
    parser.add_argument("--seconds", type=float, default=60, help="how long what waits is watched")
    options = parser.parse_args()
    pool = Pool()
    try:
        where = storage(options.storage, pool, Path())
        if options.storage == "redis":
            copies = max(0, options.instances - options.registered)
            asyncio.run(live(where, where.options(), options, copies))
            return
        url = pool.shared("postgres").url
        with postgres.table(url) as table, postgres.table(url) as empty:
            asyncio.run(operate(url, table, empty, options))
            asyncio.run(live(where, {"postgres_url": url, "postgres_table_name": table}, options, 0))
    finally:
        pool.close()


if __name__ == "__main__":
    main()
