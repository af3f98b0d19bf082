"""Measures how a long log of runs affects other operations on PostgreSQL, and shows the plans.

    python -m tests.benchmarks.longlog                    # 10 million lines: some minutes and 4 GB of disk
    python -m tests.benchmarks.longlog --lines 100000

The tables are dropped in the end, whatever happens.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

from pyncette.record import Queue, QueueClaim, RunQuestion
from tests.helpers import postgres
from tests.helpers.postgres_plans import access, explained, made, nodes
from tests.servers.pool import Pool

from .cases import execute
from .subjects import THIS, Storage

INSTANCES = 5_000
PAGES = 20

FILL = """
INSERT INTO {table}_runs (ended_at, id, queue, key, outcome, text)
SELECT $1::bigint + n * 1000, lpad(n::text, 16, '0'), 'task' || n % 20, 'task' || n % 20 || ':' || n % 200000,
    CASE WHEN n % 1000 = 7 THEN 'failed' ELSE 'succeeded' END, '{{"v":1,"at":0}}' || repeat(' ', 100)
FROM generate_series(1, $2::bigint) AS n
"""
"""Lines of the last days, one per millisecond."""

QUESTIONS = {
    "all": RunQuestion(limit=100),
    "of a task": RunQuestion(queues=["task3"], limit=100),
    "of an instance": RunQuestion(key="task3:3", limit=100),
    "that failed": RunQuestion(outcomes=["failed"], limit=100),
}


def burst(url: str, table: str) -> tuple[float, float]:
    """Executions per second, and microseconds of CPU for each; every run is logged."""
    options = {"postgres_url": url, "postgres_table_name": table}
    load = {"kind": "overdue", "count": INSTANCES}
    where = Storage("postgres", "postgres", lambda: options)
    [result] = execute(THIS, where, load, 1, lambda done, passed: done >= INSTANCES or passed > 120, history="all")
    return result["count"] / (result["last"] - result["began"]), 1e6 * result["cpu"] / result["count"]


async def show_plans(url: str, table: str) -> None:
    """Print the plans of a claim, of a logged end, and of pages of the log."""
    now = round(time.time() * 1_000_000)
    async with explained(url, table, 100) as (repository, plans):
        claims = [QueueClaim(Queue("work"), now + 60_000_000, 100)]
        await repository.claim(claims, now=now, limit=100, token="00" * 8, holder="x:00")
        (plan,) = plans
        touched = {node.get("Relation Name") for node in nodes(plan)} - {None}
        print(
            f"{'claim':40} {plan['Actual Total Time']:8.2f} ms, {access(plan, table)}, of the log: {touched - {table}}"
        )
        for name, question in QUESTIONS.items():
            took = []
            for _ in range(PAGES):
                plans.clear()
                began = time.perf_counter()
                assert await repository.runs(question)
                took.append((time.perf_counter() - began) * 1000)
            print(f"{f'runs(), {name}':40} {statistics.median(took):8.2f} ms, {access(plans[0], f'{table}_runs')}")


def run(url: str, lines: int, rounds: int) -> None:
    with made(url) as empty, made(url) as long:
        began = time.monotonic()
        since = round(time.time() * 1_000_000) - lines * 1000
        postgres.run(url, FILL.format(table=long), since, lines)
        postgres.run(url, f"VACUUM ANALYZE {long}_runs")
        print(f"{lines:,} lines, filled in {time.monotonic() - began:.0f} s", flush=True)
        asyncio.run(show_plans(url, long))
        found: dict[str, list[tuple[float, float]]] = {"empty": [], "long": []}
        for _ in range(rounds):
            for name, table in (("empty", empty), ("long", long)):
                found[name].append(burst(url, table))
        for name, each in found.items():
            speed, cpu = (statistics.median(figures) for figures in zip(*each, strict=True))
            print(f"{f'burst of {INSTANCES:,}, log {name}':40} {speed:8,.0f}/s, {cpu:.0f} us of CPU each", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    pool = Pool()
    try:
        run(pool.shared("postgres").url, options.lines, options.rounds)
    finally:
        pool.close()


if __name__ == "__main__":
    main()
