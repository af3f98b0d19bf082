"""Common code of the peers' programs. They run in separate environments, so this imports nothing of Pyncette.

Arguments: the server's URL, the number of jobs, and "burst" (all are overdue) or "spread" (over ten seconds). A program
schedules its jobs, prints "ready", starts at a line on standard input, and prints its measurements as JSON.
"""

from __future__ import annotations

import datetime
import json
import os
import resource
import statistics
import sys
import time

SECOND = datetime.timedelta(seconds=1)
PARALLEL = 100
"""The number of concurrent jobs if a peer has such a setting; it is Pyncette's default."""


class Run:
    """One measurement."""

    def __init__(self) -> None:
        self.url, count, mode = sys.argv[1:4]
        self.count = int(count)
        self.spread = mode == "spread"
        self.lags: list[float] = []

    def moments(self) -> list[datetime.datetime]:
        """When the jobs are due."""
        now = datetime.datetime.now(datetime.UTC)
        if self.spread:
            first = now + (3 + self.count / 500) * SECOND
            return [first + i * 10 * SECOND / self.count for i in range(self.count)]
        return [now - SECOND] * self.count

    def begin(self) -> None:
        """Announce that everything is scheduled, and wait for the signal to start."""
        print("ready", flush=True)
        sys.stdin.readline()
        self._began, self._cpu = time.time(), used()

    def fired(self, due: float) -> bool:
        """Record the execution of a job. Returns whether it is the last one."""
        self.lags.append(time.time() - due)
        return len(self.lags) == self.count

    def report(self) -> None:
        """Print the figures."""
        figures = {
            "seconds": time.time() - self._began,
            "cpu": used() - self._cpu,
            "lag": statistics.median(self.lags),
            "count": len(self.lags),
        }
        print(json.dumps(figures), flush=True)

    def leave(self) -> None:
        """Exit immediately, together with all processes that the peer has started."""
        self.report()
        os._exit(0)


def used() -> float:
    """Seconds of CPU of this process and of children that have ended."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in both)


run = Run()


def fire(due: float) -> None:
    """The job."""
    if run.fired(due):
        run.leave()


async def fire_async(due: float) -> None:
    """The job, as a coroutine."""
    fire(due)
