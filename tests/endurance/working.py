"""Runs workers for a while, and measures what they and their store use."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio

from pyncette import PyncetteContext
from tests.chaos.processes import LOOPS, ended, spawn
from tests.chaos.stores import Store
from tests.chaos.worker import Declared, declare

from .judge import Series
from .measures import of_worker, records, stored_bytes

TIMEOUT_SECONDS = 240
ONE_OFFS = 20
"""The number of one-off instances scheduled with each measurement, so that records are created and deleted."""
BYTES_SECONDS = 600
"""The store's bytes are judged only in runs of at least this length, because stores reclaim space only now and then."""
MEASUREMENTS = 400
"""The maximum number of measurements."""


@dataclass(frozen=True, slots=True)
class Effort:
    """The parameters of a run.

    :ivar instances: the number of instances that are due each second.
    """

    seconds: float
    workers: int = 2
    instances: int = 200


async def work(effort: Effort, store: Store, folder: Path) -> list[Series]:
    """Run workers and measure. ``folder`` holds their output, and SQLite's files."""
    address = store.address
    options = {**store.options(address[1] if address else 0), "lease": 20.0, "poll": 0.5, "seed": 0}
    declared = declare(options)
    points: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    async with declared.app.create() as context:
        each_second = {"interval": timedelta(seconds=1)}
        names = (f"e{number}" for number in range(effort.instances))
        result = await context.schedule_tasks(declared.steady, ((name, each_second) for name in names))
        assert not result.refused, result.refused[:3]
        async with _workers(effort.workers, options, folder) as pids:
            await _until_registered(context, effort.workers)
            began = time.monotonic()
            while (moment := time.monotonic() - began) < effort.seconds:
                await _come_and_go(context, declared)
                for kind, of, value in await _measured(context, declared, store, folder, pids):
                    points[kind, of].append((moment, value))
                await anyio.sleep(max(effort.seconds / MEASUREMENTS, 0.2))
    judged = effort.seconds >= BYTES_SECONDS
    return [Series(kind, of, found) for (kind, of), found in points.items() if judged or kind != "bytes"]


async def _measured(
    context: PyncetteContext, declared: Declared, store: Store, folder: Path, pids: Mapping[str, int]
) -> list[tuple[str, str, float]]:
    found = [(kind, name, value) for name, pid in pids.items() for kind, value in of_worker(pid).items()]
    found.append(("records", "store", await records(context, declared)))
    found.append(("bytes", "store", await stored_bytes(store, folder)))
    return found


async def _come_and_go(context: PyncetteContext, declared: Declared) -> None:
    now = datetime.now(UTC)
    stem = f"{time.monotonic_ns()}"
    one_offs = ((f"x{stem}.{number}", {"execute_at": now}) for number in range(ONE_OFFS))
    await context.schedule_tasks(declared.operated, one_offs)


async def _until_registered(context: PyncetteContext, count: int) -> None:
    with anyio.fail_after(TIMEOUT_SECONDS):
        while len(await context.workers()) < count:  # noqa: ASYNC110 - nothing signals it
            await anyio.sleep(0.1)


@asynccontextmanager
async def _workers(count: int, options: dict[str, Any], folder: Path) -> AsyncIterator[dict[str, int]]:
    """Starts workers without a journal, and gives their process ids by name."""
    processes = [
        spawn(
            "tests.chaos.worker",
            [LOOPS[number % 2], os.devnull, json.dumps(options)],
            folder / f"output-{number}",
        )
        for number in range(count)
    ]
    try:
        yield {f"worker {number}, {LOOPS[number % 2]}": process.pid for number, process in enumerate(processes)}
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            await ended(process)
