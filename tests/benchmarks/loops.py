"""Compares the speed of a burst on trio and on asyncio: ``python -m tests.benchmarks.loops [runs]``."""

from __future__ import annotations

import datetime
import statistics
import sys
import tempfile
import time
from pathlib import Path

import anyio

from pyncette import Context, Pyncette
from tests.servers.pool import Pool

from .subjects import Storage, storage

COUNT = 5_000
STORAGES = ("memory", "sqlite", "redis", "postgres")
LOOPS = ("asyncio", "trio")


async def burst(where: Storage) -> float:
    """Executions per second of overdue one-off instances."""
    options = where.options()
    if where.backend != "memory":
        module = __import__(f"pyncette.{where.backend}", fromlist=["repository"])
        options["repository_factory"] = getattr(module, f"{where.backend}_repository")
    app = Pyncette(**options)
    done, finished = 0, anyio.Event()

    @app.dynamic_task()
    async def work(context: Context) -> None:
        nonlocal done
        done += 1
        if done == COUNT:
            finished.set()

    now = datetime.datetime.now(datetime.UTC)
    async with app.create() as context, anyio.create_task_group() as group:
        await context.schedule_tasks(work, ((f"instance{i}", {"execute_at": now}) for i in range(COUNT)))
        began = time.perf_counter()
        group.start_soon(context.run)
        await finished.wait()
        elapsed = time.perf_counter() - began
        context.shutdown()
    return COUNT / elapsed


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    pool = Pool()
    print(f"{'storage':10} {'asyncio':>10} {'trio':>10} {'ratio':>6}   fires/s, medians of {runs} runs in turn")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            for name in STORAGES:
                where = storage(name, pool, Path(scratch))
                rates: dict[str, list[float]] = {loop: [] for loop in LOOPS}
                for _ in range(runs):
                    for loop in LOOPS:
                        rates[loop].append(anyio.run(burst, where, backend=loop))
                asyncio_rate, trio_rate = (statistics.median(rates[loop]) for loop in LOOPS)
                print(f"{name:10} {asyncio_rate:10,.0f} {trio_rate:10,.0f} {trio_rate / asyncio_rate:6.2f}", flush=True)
    finally:
        pool.close()


if __name__ == "__main__":
    main()
