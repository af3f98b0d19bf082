"""Measures this version against pyncette 1.1.0, side by side on the same servers: ``./dev bench --help``."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version as version_of
from pathlib import Path

from tests.servers.pool import Pool

from . import cases
from .cases import Figures
from .subjects import STORAGES, Storage, Version, storage, versions

Measure = Callable[[Version, Storage], Figures]

# 1.1.0 executes some hundred a second: it gets less to do, so that a run ends in reasonable time.
BURST = {"this": 10_000, "1.1.0": 1_000}
REGISTER = {"this": 500, "1.1.0": 500}
BULK = {"this": 20_000, "1.1.0": 2_000}
CASES = ("burst", "burst, 2 processes", "lag", "steady", "register", "register in bulk", "idle")
LESS_IS_BETTER = ("CPU", "p50", "p99", "commands")


def measures(chosen: list[str], idle_instances: int) -> Iterator[tuple[str, Measure]]:
    every: dict[str, Measure] = {
        "burst": lambda v, s: cases.burst(v, s, BURST[v.name]),
        "burst, 2 processes": lambda v, s: cases.burst(v, s, BURST[v.name], processes=2),
        "lag": cases.lag,
        "steady": lambda v, s: cases.steady(v, s, start=500 if v.name == "this" else 50),
        "register": lambda v, s: cases.register(v, s, REGISTER[v.name], bulk=False),
        "register in bulk": lambda v, s: cases.register(v, s, BULK[v.name], bulk=True),
        "idle": lambda v, s: cases.idle(v, s, idle_instances),
    }
    for name, measure in every.items():
        if name in chosen:
            yield name, measure


def compare(measure: Measure, where: Storage, pair: tuple[Version, Version], runs: int) -> dict[str, dict[str, float]]:
    """The medians of both versions, which take turns, and their ratio: how many times better this one is."""
    figures: dict[str, list[Figures]] = {version.name: [] for version in pair}
    for _ in range(runs):
        for version in pair:
            figures[version.name].append(measure(version, where))
    table: dict[str, dict[str, float]] = {}
    for figure in figures["this"][0]:
        ours, theirs = (statistics.median(run[figure] for run in figures[version.name]) for version in pair)
        better = theirs / max(ours, 1e-9) if figure.startswith(LESS_IS_BETTER) else ours / max(theirs, 1e-9)
        table[figure] = {"1.1.0": theirs, "this": ours, "ratio": better}
    return table


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("./dev bench", description=__doc__)
    parser.add_argument("--storage", action="append", choices=STORAGES, help="may be repeated; default: all")
    parser.add_argument("--case", action="append", choices=CASES, help="may be repeated; default: all but idle")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, of which the median counts (3)")
    parser.add_argument("--idle-instances", type=int, default=100_000, help="instances that are not due (100,000)")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    pair = versions()
    names = options.storage or list(STORAGES)
    chosen = options.case or list(CASES[:-1])
    report: dict[str, object] = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "versions": {name: version_of(name) for name in ("pyncette-core", "anyio", "croniter")},
    }
    print(f"{'storage':10} {'case':20} {'figure':16} {'1.1.0':>12} {'this':>12} {'ratio':>8}")
    pool = Pool()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            for name in names:
                where = storage(name, pool, Path(scratch))
                for case, measure in measures(chosen, options.idle_instances):
                    if name == "memory" and "2 processes" in case:
                        continue
                    table = compare(measure, where, pair, options.runs)
                    report[f"{name}: {case}"] = table
                    for figure, row in table.items():
                        print(
                            f"{name:10} {case:20} {figure:16} {row['1.1.0']:12,.1f} {row['this']:12,.1f} "
                            f"{row['ratio']:7.1f}x",
                            flush=True,
                        )
    finally:
        pool.close()
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
