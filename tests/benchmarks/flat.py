"""Costs that should stay flat with many tasks, many workers, a distant storage, and occurrences to catch up on. Each
case measures this version twice, under conditions that differ in one respect, and returns pairs."""

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
"""The round trip to a distant storage in seconds."""

RATE, SECONDS = 500, 4
"""The rate of occurrences that several workers share, and the duration in seconds."""

ACQUAINTED, SOON = 20, 1
"""Seconds until several workers begin, which know each other by then; and until a single worker begins."""


def run(*jobs: Job) -> list[dict[str, Any]]:
    """Run workers with these jobs concurrently, and return what each has measured."""
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
    """The cost of an occurrence among 100 and 5,000 static tasks, and of an idle second among 100 and 10,000
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
    """500 occurrences per second, executed by one worker, and by different numbers of workers."""
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
    """A burst with slots for ten batches, on a near and on a distant storage."""
    options = {**where.options(), "concurrency_limit": 1000}
    rates = []
    for away in (0.0, FAR):
        [result] = run(Job(backend=where.backend, options=options, overdue=count, enough=count, away=away))
        rates.append(len(result["lags"]) / result["took"])
    return {"fires/s": (rates[0], rates[1])}


def one_by_one(where: Storage) -> Pairs:
    """Round trips for each of 50 occurrences that come due alone, and of 500 that one instance catches up on."""
    [alone] = run(Job(backend=where.backend, options=where.options(), spread=50, seconds=5))
    [behind] = run(Job(backend=where.backend, options=where.options(), behind=True, enough=500))
    return {"round trips/fire": (round_trips(alone) / len(alone["lags"]), round_trips(behind) / len(behind["lags"]))}
