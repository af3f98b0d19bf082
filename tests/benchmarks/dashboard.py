"""Measures the dashboard among millions of instances on PostgreSQL: each page, and many viewers.

    python -m tests.benchmarks.dashboard                       # 10 million instances, 50 viewers, a minute
    python -m tests.benchmarks.dashboard --instances 100000 --seconds 10

The table is dropped in the end, whatever happens.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import httpx

from pyncette.postgres import postgres_repository
from pyncette.testing import FaultPlan
from pyncette_dashboard import Dashboard
from tests.helpers import postgres
from tests.servers.pool import Pool

from .millions import Reports, prepare

OVERDUE = 1000
FIRST_LOADS = 5
EVERY = 3.0
"""Seconds between two requests of one viewer, as in the page's script."""

PAGES: Mapping[str, str] = {
    "overview": "/",
    "task, next first": "/task?name=report",
    "task, by prefix": "/task?name=report&prefix=user-00012",
    "task, dead": "/task?name=report&state=dead",
    "instance": "/instance?task=report&name=user-000012345",
    "runs": "/runs",
    "runs, failed": "/runs?task=report&outcome=failed",
    "dead letters": "/dead",
    "calendar": "/calendar",
    "workers": "/workers",
    "actions": "/actions",
    "reschedule": "/act?verb=reschedule&task=report&kind=dynamic&name=user-000012345",
    "preview": "/act/preview?how=cron&cron=30+2+*+*+*&timezone=Europe/Berlin",
}


async def visit(client: httpx.AsyncClient, path: str) -> float:
    """The time in milliseconds that the server needs for a page."""
    began = time.perf_counter()
    answer = await client.get(path)
    took = (time.perf_counter() - began) * 1000
    assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
    return took


@asynccontextmanager
async def opened(dashboard: Dashboard, viewers: int) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A dashboard with an empty cache, and its viewers."""
    transport = httpx.ASGITransport(dashboard, client=("127.0.0.1", 1))
    async with dashboard.opened():
        yield [httpx.AsyncClient(transport=transport, base_url="http://localhost") for _ in range(viewers)]


async def first_loads(make: Callable[[], Dashboard]) -> None:
    """Each page as the first one of a dashboard. Late answers of the storage come with a refresh."""
    print(f"{'first page, medians':28} {'ms':>10} {'most ms':>10} {'CPU ms':>8} {'complete after ms':>18}")
    for name, path in PAGES.items():
        first, cpu, whole = [], [], []
        for _ in range(FIRST_LOADS):
            async with opened(make(), 1) as (client,):
                began, began_cpu = time.perf_counter(), time.process_time()
                first.append(await visit(client, path))
                cpu.append((time.process_time() - began_cpu) * 1000)
                while "data-partial" in (await client.get(path)).text:
                    pass
                whole.append((time.perf_counter() - began) * 1000)
        middle = [statistics.median(each) for each in (first, cpu, whole)]
        print(f"{name:28} {middle[0]:10.1f} {max(first):10.1f} {middle[1]:8.1f} {middle[2]:18.1f}", flush=True)


async def one_by_one(client: httpx.AsyncClient) -> None:
    """Each page when it is requested again."""
    print(f"\n{'page, one viewer':28} {'median ms':>10} {'most ms':>10} {'CPU ms':>8}")
    for name, path in PAGES.items():
        await visit(client, path)
        again, cpu = [], []
        for _ in range(10):
            await asyncio.sleep(0.3)
            began = time.process_time()
            again.append(await visit(client, path))
            cpu.append((time.process_time() - began) * 1000)
        took = statistics.median(again)
        print(f"{name:28} {took:10.1f} {max(again):10.1f} {statistics.median(cpu):8.1f}", flush=True)


async def together(clients: list[httpx.AsyncClient], lasting: float, plan: FaultPlan) -> None:
    """Many viewers, who stay on one page and now and then go to another."""
    took: defaultdict[str, list[float]] = defaultdict(list)
    until = time.monotonic() + lasting

    async def look(client: httpx.AsyncClient) -> None:
        name = random.choice(list(PAGES)[:-2])
        await asyncio.sleep(random.uniform(0, EVERY))
        while time.monotonic() < until:
            if random.random() < 0.1:
                name = random.choice(list(PAGES)[:-2])
            took[name].append(await visit(client, PAGES[name]))
            await asyncio.sleep(EVERY)

    plan.calls.clear()
    halves = []

    async def halfway() -> None:
        await asyncio.sleep(lasting / 2)
        halves.append(plan.calls.total())

    await asyncio.gather(halfway(), *map(look, clients))
    halves.append(plan.calls.total() - halves[0])
    print(f"\n{f'page, {len(clients)} viewers':28} {'visits':>8} {'median ms':>10} {'p95 ms':>10} {'most ms':>10}")
    for name in PAGES:
        if each := sorted(took[name]):
            p95 = each[int(len(each) * 0.95)]
            print(f"{name:28} {len(each):8} {statistics.median(each):10.1f} {p95:10.1f} {each[-1]:10.1f}")
    first, second = (asked * 2 / lasting for asked in halves)
    print(f"\nquestions to the storage a second: {first:.2f} in the first half, {second:.2f} in the second")
    print(dict(plan.calls))


async def run(url: str, table: str, options: argparse.Namespace) -> None:
    began = time.monotonic()
    await prepare(url, table, options.instances, OVERDUE)
    print(f"{options.instances:,} instances, filled in {time.monotonic() - began:.0f} s\n", flush=True)
    plan = FaultPlan()

    def make() -> Dashboard:
        reports = Reports(plan.wrap(postgres_repository), postgres_url=url, postgres_table_name=table)
        return Dashboard(reports.app)

    await first_loads(make)
    async with opened(make(), options.viewers) as clients:
        await one_by_one(clients[0])
        await together(clients, options.seconds, plan)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=10_000_000)
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    pool = Pool()
    try:
        url = pool.shared("postgres").url
        with postgres.table(url) as table:
            asyncio.run(run(url, table, options))
    finally:
        pool.close()


if __name__ == "__main__":
    main()
