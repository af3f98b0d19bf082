"""Compares the cost of computing the next occurrence with croniter and CronSim.

Needs `pyncette-core` (which brings croniter) and `cronsim`; run it on a machine that is otherwise idle:

    pip install cronsim
    python tests/benchmarks/schedule.py

For each of ten typical expressions and two timezones it prints the time of one step: `following()` of a parsed
schedule, `get_next()` of a croniter iterator that is reused, and `next()` of a CronSim. All three compute the same
occurrences in turns, so that other load on the machine affects them equally; a figure is the median of the rounds.
The ratios are per expression, and their median is printed below each table.

The last lines print the cost of fast-forwarding over ten million missed seconds, the cost of a repeated declaration,
and the memory of 100,000 instances with 100 different expressions.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import perf_counter
from zoneinfo import ZoneInfo

from croniter import croniter
from cronsim import CronSim

from pyncette.schedule import Cron, Interval, make_schedule

EXPRESSIONS = (
    "* * * * *",
    "*/15 * * * *",
    "0 * * * *",
    "30 2 * * *",
    "0 9-17 * * 1-5",
    "0 0,12 * * *",
    "15 8 * * 1",
    "0 6 1 * *",
    "0 0 L * *",
    "45 23 1,15 3,6,9,12 *",
)
START = datetime(2026, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
NOW = (START - datetime(1970, 1, 1, tzinfo=UTC)) // MICROSECOND


def step_of_pyncette(text: str, zone: str) -> Callable[[], object]:
    following = Cron(text, zone).following
    moment = NOW

    def step() -> None:
        nonlocal moment
        found = following(moment, moment)
        if found is None:
            raise ValueError("the calendar has come to its end")
        moment = found

    return step


def steps(text: str, zone: str) -> dict[str, Callable[[], object]]:
    local = START.astimezone(UTC if zone == "UTC" else ZoneInfo(zone))
    return {
        "pyncette": step_of_pyncette(text, zone),
        "croniter": croniter(text, local).get_next,
        "cronsim": CronSim(text, local).__next__,
    }


def measure(text: str, zone: str, rounds: int, calls: int) -> dict[str, float]:
    """Microseconds per step, by library."""
    every = steps(text, zone)
    samples: dict[str, list[float]] = {name: [] for name in every}
    for _ in range(rounds):
        for name, step in every.items():
            begin = perf_counter()
            for _ in range(calls):
                step()
            samples[name].append((perf_counter() - begin) / calls * 1e6)
    return {name: statistics.median(found) for name, found in samples.items()}


def compare(zone: str, rounds: int, calls: int) -> None:
    print(f"\n{zone}: microseconds per step, and how many times faster than each\n")
    print(f"{'expression':<24}{'pyncette':>10}{'croniter':>10}{'':>8}{'cronsim':>10}")
    ratios: dict[str, list[float]] = {"croniter": [], "cronsim": []}
    for text in EXPRESSIONS:
        cost = measure(text, zone, rounds, calls)
        line = f"{text:<24}{cost['pyncette']:>10.2f}"
        for name, found in ratios.items():
            found.append(cost[name] / cost["pyncette"])
            line += f"{cost[name]:>10.1f}{found[-1]:>7.0f}x"
        print(line)
    medians = {name: statistics.median(found) for name, found in ratios.items()}
    print(f"{'median':<24}{'':>20}{medians['croniter']:>7.0f}x{'':>10}{medians['cronsim']:>7.0f}x")


def per_call(work: Callable[[], object], calls: int = 20_000, rounds: int = 7) -> float:
    """Microseconds per call, as the median of some rounds."""
    samples = []
    for _ in range(rounds):
        begin = perf_counter()
        for _ in range(calls):
            work()
        samples.append((perf_counter() - begin) / calls * 1e6)
    return statistics.median(samples)


def other_figures() -> None:
    now = NOW + 10_000_000 * 1_000_000
    every_second = Cron("* * * * * *", "Europe/Berlin")
    interval = Interval(1_000_000)
    minute = timedelta(minutes=1)
    print("\nmicroseconds per call\n")
    for name, work in {
        "fast_forward over 10,000,000 s, cron": lambda: every_second.following(NOW, now, True),
        "fast_forward over 10,000,000 s, interval": lambda: interval.following(NOW, now, True),
        "make_schedule, cron in a zone": lambda: make_schedule(schedule="30 2 * * *", timezone="Europe/Berlin"),
        "make_schedule, interval": lambda: make_schedule(interval=minute),
        "Cron(...) as read from storage": lambda: Cron("30 2 * * *", "Europe/Berlin"),
    }.items():
        print(f"{name:<44}{per_call(work):>8.2f}")
    tracemalloc.start()
    instances = [Cron(f"{number % 50} {number // 50 % 2} * * *") for number in range(100_000)]
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"\n{len(instances):,} instances with 100 expressions: {size / len(instances):.0f} bytes each, text included")


def main() -> None:
    parser = argparse.ArgumentParser(description="What the next occurrence costs, against croniter and CronSim.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=100, help="steps per round (default: 100)")
    options = parser.parse_args()
    print(f"CPython {sys.version.split()[0]}; {options.rounds} rounds of {options.calls} steps")
    for zone in ("UTC", "Europe/Berlin", "America/New_York"):
        compare(zone, options.rounds, options.calls)
    other_figures()


if __name__ == "__main__":
    main()
