"""Costs that should stay flat: with many tasks, many workers, a storage that is far away, and occurrences to catch up
with. Each case measures this version twice, in circumstances that differ in one thing, and returns pairs."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, replace
from typing import Any

from .cases import ROOT
from .counted import Job
from .subjects import Storage

Pairs = dict[str, tuple[float, float]]

FAR = 0.02
"""Seconds to a storage that is far away, and back."""

RATE, SECONDS = 500, 4
"""Occurrences a second that several workers share, and for how long."""

ACQUAINTED, SOON = 20, 1
"""Seconds until several workers begin, which know of each other by then, and until one does."""


def run(*jobs: Job) -> list[dict[str, Any]]:
    """Let workers do these jobs side by side; what each has measured."""
    commands = [[sys.executable, "-m", "tests.benchmarks.counted", json.dumps(asdict(job))] for job in jobs]
    pipe = subprocess.PIPE
    workers = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) for command in commands]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()  # it is ready
    begin = time.time() + (ACQUAINTED if len(jobs) > 1 else SOON)
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(f"{begin}\n")
        worker.stdin.flush()
    return [json.loads(worker.communicate()[0]) for worker in workers]


def round_trips(result: dict[str, Any]) -> int:
    return sum(result["calls"].values())


def many_tasks(where: Storage) -> Pairs:
    """What an occurrence costs among 100 and 5,000 static tasks; and a second without any among 100 and 10,000
    templates."""
    busy, idle = [], []
    for static, templates in ((100, 100), (5_000, 10_000)):
        [result] = run(Job(backend=where.backend, options=where.options(), static=static, spread=50, seconds=5))
        busy.append(1e3 * result["cpu"] / max(len(result["lags"]), 1))
        [result] = run(
            Job(backend=where.backend, options=where.options(), templates=templates, seconds=5)
        )  # and one more
        idle.append(1e3 * result["cpu"] / 6)
    return {"CPU ms/fire": (busy[0], busy[1]), "CPU ms/s idle": (idle[0], idle[1])}


def many_workers(where: Storage) -> Pairs:
    """500 occurrences a second: one worker, and each number of several."""
    alone = shared(where, 1)
    return {
        f"{figure}, {workers}": (alone[figure], value)
        for workers in (2, 8, 16)
        for figure, value in shared(where, workers).items()
    }


def shared(where: Storage, workers: int) -> dict[str, float]:
    loads = Job(backend=where.backend, options=where.options(), spread=RATE * SECONDS, seconds=SECONDS)
    results = run(loads, *[replace(loads, spread=0)] * (workers - 1))
    lags = [lag for result in results for lag in result["lags"]]
    cuts = statistics.quantiles(lags, n=100)
    claims = sum(result["calls"].get("claim", 0) for result in results)
    return {
        "round trips/fire": sum(map(round_trips, results)) / len(lags),
        "empty claims %": 100 * sum(result["empty"] for result in results) / max(claims, 1),
        "CPU us/fire": 1e6 * sum(result["cpu"] for result in results) / len(lags),
        "p50 ms": 1e3 * cuts[49],
        "p99 ms": 1e3 * cuts[98],
    }


def latency(where: Storage, count: int) -> Pairs:
    """A burst with slots for ten batches: near, and far away."""
    options = {**where.options(), "concurrency_limit": 1000}
    rates = []
    for away in (0.0, FAR):
        [result] = run(Job(backend=where.backend, options=options, overdue=count, enough=count, away=away))
        rates.append(len(result["lags"]) / result["took"])
    return {"fires/s": (rates[0], rates[1])}


def one_by_one(where: Storage) -> Pairs:
    """Round trips for each of 50 occurrences that come due alone, and of 500 that one instance catches up with."""
    [alone] = run(Job(backend=where.backend, options=where.options(), spread=50, seconds=5))
    [behind] = run(Job(backend=where.backend, options=where.options(), behind=True, enough=500))
    return {"round trips/fire": (round_trips(alone) / len(alone["lags"]), round_trips(behind) / len(behind["lags"]))}
