"""The cases. Each returns the figures of one run of one version on one storage."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .subjects import THIS, Storage, Version

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("worker.py")

Figures = dict[str, float]

HIGHEST_RATE = 64_000
BISECTIONS = 2
IDLE_SECONDS = 20


class Process:
    """A worker process."""

    def __init__(self, version: Version, job: dict[str, Any]) -> None:
        self.count = 0
        self.result: dict[str, Any] = {}
        self._ready = threading.Event()
        self._popen = subprocess.Popen(
            [version.python, str(WORKER), json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            if line.startswith("ready"):
                self._ready.set()
            elif line.startswith("{"):
                self.result = json.loads(line)
            else:
                self.count = int(line)
        self._ready.set()

    def begin(self) -> None:
        """Start the measurement as soon as the process is ready."""
        self._ready.wait()
        assert self._popen.stdin is not None
        self._popen.stdin.write("begin\n")
        self._popen.stdin.flush()

    def ready(self) -> None:
        self._ready.wait()

    def end(self) -> dict[str, Any]:
        """Stop the process, and return what it measured."""
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        self._popen.wait()
        self._reader.join()
        if not self.result:
            raise RuntimeError(f"a worker failed with status {self._popen.returncode}: {self._popen.args!r}")
        return self.result


def job_on(storage: Storage, case: str) -> dict[str, Any]:
    """The common part of a worker's job, on an unused part of the storage."""
    return {"case": case, "backend": storage.backend, "options": storage.options()}


def execute(
    version: Version,
    storage: Storage,
    load: dict[str, Any],
    processes: int,
    enough: Callable[[int, float], bool],
    **extra: Any,
) -> list[dict[str, Any]]:
    """Run workers on one storage, whose instances the first one schedules, until ``enough(executions, seconds)``.

    :param extra: further entries of the workers' jobs.
    """
    job = {**job_on(storage, "execute"), **extra}
    workers = [Process(version, {**job, "load": load})]
    workers[0].ready()
    workers += [Process(version, job) for _ in range(processes - 1)]
    for process in workers[1:]:
        process.ready()
    for process in workers:
        process.begin()
    began = time.monotonic()
    while not enough(sum(process.count for process in workers), time.monotonic() - began):
        time.sleep(0.01)
    return [process.end() for process in workers]


def burst(version: Version, storage: Storage, count: int, processes: int = 1) -> Figures:
    """``count`` overdue one-off instances: executions per second, and the cost of each."""
    load = {"kind": "overdue", "count": count}
    results = execute(version, storage, load, processes, lambda done, seconds: done >= count or seconds > 120)
    done = sum(result["count"] for result in results)
    elapsed = max(result["last"] for result in results) - min(result["began"] for result in results)
    return {"fires/s": done / elapsed, "CPU us/fire": 1e6 * sum(result["cpu"] for result in results) / done}


def policies(storage: Storage, count: int) -> dict[str, tuple[float, float]]:
    """The cost of a burst with ``retry``, ``timeout`` and ``jitter`` declared, and without them: due at one moment, or
    at moments as scattered as ``jitter`` makes them, which by itself is more work for a storage. And the lateness of
    100 one-offs spread over 10 s, without ``jitter``, which would delay them."""

    def cost(kind: str, *, declared: bool) -> float:
        load = {"kind": kind, "count": count}
        [result] = execute(
            THIS,
            storage,
            load,
            1,
            lambda done, seconds: done >= count or seconds > 120,
            policies="all" if declared else "",
        )
        return 1e6 * float(result["cpu"]) / int(result["count"])

    declared = cost("overdue", declared=True)
    without, with_them = lag(THIS, storage), lag(THIS, storage, policies="without jitter")
    return {
        **{figure: (without[figure], with_them[figure]) for figure in without},
        "CPU us/fire, due at one moment": (cost("overdue", declared=False), declared),
        "CPU us/fire, scattered": (cost("scattered", declared=False), declared),
    }


def history(storage: Storage, count: int) -> dict[str, tuple[float, float]]:
    """The cost of a burst without the log of runs, with a log of failures only (nothing fails), and with all runs."""
    found: dict[str, Figures] = {}
    for kept in ("", "errors", "all"):
        load = {"kind": "overdue", "count": count}
        [result] = execute(THIS, storage, load, 1, lambda done, seconds: done >= count or seconds > 120, history=kept)
        done = result["count"]
        speed = done / (result["last"] - result["began"])
        found[kept] = {"fires/s": speed, "CPU us/fire": 1e6 * result["cpu"] / done}
    off = found.pop("")
    return {f"{figure}, {kept}": (off[figure], found[kept][figure]) for kept in found for figure in off}


PRUNED_A_SECOND = 20_000
"""The minimum rate at which lines are assumed to be deleted, from which the duration of the case follows."""


def pruning(storage: Storage, lines: int) -> dict[str, tuple[float, float]]:
    """The lateness of 500 instances per second while ``lines`` of the log are deleted, and while there are none."""
    seconds = 10 + lines // PRUNED_A_SECOND
    count = 500 * seconds
    found: list[Figures] = []
    for old in (0, lines):
        [result] = execute(
            THIS,
            storage,
            {"kind": "spread", "count": count, "seconds": seconds},
            1,
            lambda done, passed: done >= count or passed > 2 * seconds + 60,
            history="all",
            old_lines=old,
        )
        cuts = statistics.quantiles(result["lags"], n=100)
        figures = {"p50 ms": cuts[49], "p99 ms": cuts[98], "longest ms": max(result["lags"])}
        found.append({figure: 1e3 * lag for figure, lag in figures.items()} | {"lines deleted": result["pruned"]})
    return {figure: (found[0][figure], found[1][figure]) for figure in found[0]}


def lag(version: Version, storage: Storage, policies: str = "") -> Figures:
    """The lateness of 100 one-off instances spread over 10 s."""
    load = {"kind": "spread", "count": 100, "seconds": 10}
    [result] = execute(version, storage, load, 1, lambda done, seconds: done >= 100 or seconds > 60, policies=policies)
    lags = sorted(result["lags"])
    return {"p50 ms": 1000 * statistics.median(lags), "p99 ms": 1000 * lags[int(0.99 * len(lags))]}


def steady(version: Version, storage: Storage, start: int) -> Figures:
    """Instances that are due every second: the highest rate at which half of them start in time.

    The rate is doubled or halved from ``start`` until one is sustained and its double is not, and then narrowed down to
    a quarter of the difference.
    """
    kept = start
    while kept > 1 and not keeps_up(version, storage, kept):
        kept //= 2
    late = 2 * kept
    while kept >= start and kept < HIGHEST_RATE and keeps_up(version, storage, late):
        kept, late = late, 2 * late
    for _ in range(BISECTIONS):
        middle = (kept + late) // 2
        if keeps_up(version, storage, middle):
            kept = middle
        else:
            late = middle
    return {"steady fires/s": float(kept)}


def keeps_up(version: Version, storage: Storage, rate: int) -> bool:
    """Whether half of the last second's instances start at most a second late."""
    [result] = execute(version, storage, {"kind": "steady", "count": rate}, 1, lambda done, seconds: seconds > 6)
    lags = result["lags"]
    return len(lags) >= 4 * rate and statistics.median(lags[-rate:]) <= 1


def register(version: Version, storage: Storage, count: int, *, bulk: bool) -> Figures:
    """Instances scheduled per second, one by one or in bulk (in 1.1.0 by 100 concurrent calls)."""
    process = Process(version, {**job_on(storage, "register"), "count": count, "bulk": bulk})
    process.begin()
    return {"bulk/s" if bulk else "one by one/s": process.end()["rate"]}


def idle(version: Version, storage: Storage, count: int) -> Figures:
    """The cost per minute of an app with ``count`` instances, none of them due."""
    seconds = float(IDLE_SECONDS)
    settled = 12.0  # by then start-up is over, and the server has counted it
    load = {"kind": "later", "count": count}
    process = Process(version, {**job_on(storage, "execute"), "load": load, "tell": settled + seconds})
    process.begin()
    time.sleep(settled)
    process.begin()  # again: only what follows is counted
    before = storage.round_trips.served() if storage.round_trips else 0
    time.sleep(seconds)
    after = storage.round_trips.served() if storage.round_trips else 0
    figures = {"CPU ms/min": 1000 * process.end()["cpu"] * 60 / seconds}
    if storage.round_trips is not None:
        figures[f"{storage.round_trips.unit}/min"] = (after - before) * 60 / seconds
    return figures


def polling(storage: Storage, count: int) -> dict[str, tuple[float, float]]:
    """Compares an idle app with a loop that sends its driver one request per second."""
    by_hand = without_scheduler(storage, "idle driver", IDLE_SECONDS)
    figure = "CPU ms/min"
    return {figure: (by_hand["cpu"] * 60 / 1000, idle(THIS, storage, count)[figure])}


def without_scheduler(storage: Storage, worker: str, count: int) -> Figures:
    """Records claimed and settled by the storage or by its driver alone ("storage", "driver"), or requests of the
    driver that find none ("idle driver"), in a separate process."""
    job = {"storage": storage.backend, "options": storage.options(), "worker": worker, "count": count}
    command = [sys.executable, "-m", "tests.benchmarks.ceilings", json.dumps(job)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    figures: Figures = json.loads(done.stdout)
    return figures


def warm_up(storage: Storage, count: int) -> None:
    """Let the server do first what is slower the first time; otherwise the first measurement would include that."""
    for worker in ("storage", "driver"):
        without_scheduler(storage, worker, count)


def ceiling(storage: Storage, count: int) -> dict[str, tuple[float, float]]:
    """Compares the storage, and the whole scheduler on it, with hand-written code on the driver alone.

    Each figure is a pair: the driver's, and ours.
    """
    driver, own = (without_scheduler(storage, worker, count) for worker in ("driver", "storage"))
    return {
        "storage/s": (driver["rate"], own["rate"]),
        "CPU us/record": (driver["cpu"], own["cpu"]),
        "burst, fires/s": (driver["rate"], burst(THIS, storage, count)["fires/s"]),
    }
