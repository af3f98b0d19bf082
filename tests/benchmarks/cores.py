"""The speed-up of a burst on PostgreSQL with two processes of `pyncette run` instead of one, measured in pairs.

    python -m tests.benchmarks.cores [pairs]

Each of 3,000 executions computes for 2 ms, so one core needs at least 6 seconds. Other programs on the machine slow
both down, so the CPU time is measured too. On two free cores, one process keeps one core busy, and two processes share
both with the server.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.helpers import postgres
from tests.helpers.burst import burst
from tests.helpers.terminal import Place
from tests.servers.pool import Pool

COUNT = 3_000


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a burst in seconds.

    :ivar took: elapsed time.
    :ivar workers: the CPU time of all workers together.
    :ivar server: the CPU time of the server.
    """

    took: float
    workers: float
    server: float


def cost(url: str, workers: int) -> Cost:
    """The cost of a burst, without the server's work before it."""
    with tempfile.TemporaryDirectory() as folder, postgres.table(url) as table:
        place = Place(Path(folder))
        before = cpu_of_server(url)
        burst(place, url, table, workers=workers, count=1)
        without = cpu_of_server(url) - before
        before = cpu_of_server(url)
        done = burst(place, url, f"{table}_2", workers=workers, count=COUNT)
        server = cpu_of_server(url) - before - without
        postgres.run(url, f"DROP TABLE {table}_2, {table}_2_runs")
    return Cost(done.seconds, done.cpu, server)


def cpu_of_server(url: str) -> float:
    """Seconds of CPU that the server and its children have used, including those that have ended."""
    ((folder,),) = postgres.run(url, "SHOW data_directory")
    postmaster = int(Path(folder, "postmaster.pid").read_text().split()[0])
    ticks = sum(_stat(postmaster))
    for path in Path("/proc").glob("[0-9]*"):
        fields = _fields(path)
        if fields and int(fields[1]) == postmaster:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[int]:
    return [int(field) for field in _fields(Path("/proc", str(pid)))[11:15]]


def _fields(process: Path) -> list[str]:
    """The fields of a process in /proc from the state on; empty if it has ended."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    pool = Pool()
    by_clock, by_cpu = [], []
    try:
        url = pool.shared("postgres").url
        for _ in range(pairs):
            one, two = cost(url, 1), cost(url, 2)
            by_clock.append(one.took / two.took)
            by_cpu.append(one.workers * 2 / (two.workers + two.server))
            print(
                f"one {one.took:.2f} s (CPU {one.workers:.2f}, server {one.server:.2f}), "
                f"two {two.took:.2f} s (CPU {two.workers:.2f}, server {two.server:.2f}): {by_clock[-1]:.2f} times, "
                f"by CPU {by_cpu[-1]:.2f}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
            )
    finally:
        pool.close()
    print(f"medians: {statistics.median(by_clock):.2f} times by the clock, {statistics.median(by_cpu):.2f} by CPU")


if __name__ == "__main__":
    main()
