"""Runs random histories of operators, executions and crashes in virtual time, and reports what is wrong with them.

    python -m tests.scenarios.histories                                  # 10,000 in memory: about half an hour
    python -m tests.scenarios.histories --storage redis --count 300
    python -m tests.scenarios.histories --since 4711 --count 1           # one again; in memory it is the same one

The contract of apps runs a few of them on each storage: pyncette.testing.contract.app.operating.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import logging
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path

import anyio

from pyncette.memory import MemoryRepository
from pyncette.testing import Capabilities
from pyncette.testing.contract.app import bench as benches
from pyncette.testing.contract.app.bench import Bench
from pyncette.testing.contract.app.catching_up import CaughtUpRepository, catching_up
from pyncette.testing.contract.app.operating import History
from tests.benchmarks.subjects import STORAGES, Storage, storage
from tests.servers.pool import Pool

PROGRESS_SECONDS = 60
"""Seconds between two progress messages."""

Run = Callable[[int, int], Awaitable[list[str]]]
"""Takes a seed and the number of steps, and returns the problems found."""


async def in_memory(seed: int, steps: int) -> list[str]:
    repository = MemoryRepository()
    return await History(Bench(lambda **_: nullcontext(repository), repository), seed).run(steps)


async def on_a_server(where: Storage, seed: int, steps: int) -> list[str]:
    """Run a history on separate tables."""
    options = where.options()
    make = getattr(importlib.import_module(f"pyncette.{where.backend}"), f"{where.backend}_repository")
    factory = functools.partial(make, **options)
    async with factory() as repository:
        bench = Bench(factory, repository)
        if where.name == "dynamodb":
            lag = Capabilities().index_lag
            bench = Bench(catching_up(factory, lag), CaughtUpRepository(repository, lag))
        return await History(bench, seed).run(steps)


async def run_all(run: Run, seeds: range, steps: int) -> int:
    """Run all seeds. Returns the number of histories with problems."""
    wrong = 0
    began = reported = time.monotonic()
    for number, seed in enumerate(seeds, start=1):
        if found := await run(seed, steps):
            wrong += 1
            print(f"seed {seed}:", *found, sep="\n    ", flush=True)
        if time.monotonic() - reported >= PROGRESS_SECONDS or number == len(seeds):
            reported = time.monotonic()
            print(f"{number} histories, {wrong} wrong, {reported - began:.0f} s", flush=True)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", choices=STORAGES, default="memory")
    parser.add_argument("--since", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--loop", choices=("asyncio", "trio"), default="asyncio")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    benches.TIMEOUT = 600  # other programs may keep the machine busy
    pool = Pool()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            run: Run = in_memory
            if options.storage != "memory":
                run = functools.partial(on_a_server, storage(options.storage, pool, Path(scratch)))
            seeds = range(options.since, options.since + options.count)
            return 1 if anyio.run(run_all, run, seeds, options.steps, backend=options.loop) else 0
    finally:
        pool.close()


if __name__ == "__main__":
    sys.exit(main())
