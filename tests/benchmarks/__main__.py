"""Measures this version against pyncette 1.1.0, side by side on the same servers, and against the drivers alone."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import version as version_of
from pathlib import Path

from tests.servers.pool import Pool

from . import cases, flat, herd, peering, storing
from .cases import Figures
from .subjects import STORAGES, THIS, Storage, Version, baseline, storage

Pairs = dict[str, tuple[float, float]]
"""The figures of one run by name: those of the baseline and of this version."""
Measure = Callable[[Storage], Pairs]

LEGEND = (
    'The baseline is pyncette 1.1.0; of the case "ceiling" it is the driver alone, with requests written by hand; '
    'of "polling" it is one such request per second, which finds nothing; '
    'of the case "policies" it is this version, without retry, timeout and jitter; of "history" it is this version '
    'without a log of runs; of "pruning" with a log in which there is nothing to delete; '
    'of "scale" it is 10,000 records, of "arguments" those of 100 bytes (against 100 kB), of "bloat" the first round, '
    'of "old transaction" and "herd" the same without it; of "many tasks" it is 100 of them, of "many workers" one, '
    'of "latency" a storage that is near, of "one by one" occurrences that come due alone (alongside late ones).'
)
STEADY, IDLE, POLLING, POLICIES, PRUNING = "steady", "idle", "polling", "policies", "pruning"
LESS_IS_BETTER = (
    "CPU",
    "ms",
    "bytes",
    "p50",
    "p99",
    "longest",
    "commands",
    "transactions",
    "statements",
    "round trips",
    "empty",
)


def count(usual: int, **others: int) -> Callable[[Storage], int]:
    """The number of instances, the same for both versions; fewer on storages where it would take too long."""
    return lambda where: others.get(where.name, usual)


BURST = count(5_000, dynamodb=2_000)
REGISTER = count(2_000, dynamodb=500)
BULK = count(5_000, dynamodb=1_000)
CEILING = count(10_000, dynamodb=2_000)
OLD_LINES = count(100_000, dynamodb=2_000)
HERD = count(200_000, dynamodb=5_000)
IDLE_INSTANCES = count(100_000, sqlite=20_000, dynamodb=5_000)


def against_baseline(measure: Callable[[Version, Storage], Figures]) -> Measure:
    def both(where: Storage) -> Pairs:
        ours, theirs = measure(THIS, where), measure(baseline(), where)
        return {figure: (theirs[figure], ours[figure]) for figure in ours}

    return both


def measures(old_lines: int | None = None, instances: int = 100_000, minutes: float = 2) -> Mapping[str, Measure]:
    every: dict[str, Callable[[Version, Storage], Figures]] = {
        "burst": lambda v, s: cases.burst(v, s, BURST(s)),
        "burst, 2 processes": lambda v, s: cases.burst(v, s, BURST(s), processes=2),
        "lag": cases.lag,
        # 1.1.0 starts lower, as each step takes long; the final steps are equally fine for both.
        STEADY: lambda v, s: cases.steady(v, s, start=8_000 if v is THIS else 400),
        "register": lambda v, s: cases.register(v, s, REGISTER(s), bulk=False),
        "register in bulk": lambda v, s: cases.register(v, s, BULK(s), bulk=True),
        IDLE: lambda v, s: cases.idle(v, s, IDLE_INSTANCES(s)),
    }
    return {name: against_baseline(measure) for name, measure in every.items()} | {
        POLICIES: lambda where: cases.policies(where, BURST(where)),
        "history": lambda where: cases.history(where, BURST(where)),
        PRUNING: lambda where: cases.pruning(where, old_lines or OLD_LINES(where)),
        "ceiling": lambda where: cases.ceiling(where, CEILING(where)),
        POLLING: lambda where: cases.polling(where, IDLE_INSTANCES(where)),
        "many tasks": flat.many_tasks,
        "many workers": flat.many_workers,
        "latency": lambda where: flat.latency(where, BURST(where)),
        "one by one": flat.one_by_one,
        "scale": lambda where: storing.scale(where, instances),
        "arguments": storing.arguments,
        "old transaction": lambda where: storing.old_transaction(where, 40_000),
        "bloat": lambda where: storing.bloat(where, minutes),
        "herd": lambda where: herd.herd(where, HERD(where)),
    }


CASES = tuple(measures())
ONCE = (STEADY, IDLE, POLLING, "many workers", "scale", "arguments", "old transaction", "bloat", "herd")
"""Cases that take minutes, or consist of many measurements."""
NOT_IN_MEMORY = (
    "burst, 2 processes",
    "many workers",
    "ceiling",
    POLLING,
    PRUNING,
    "scale",
    "arguments",
    "old transaction",
    "bloat",
)
ONLY_ON: dict[str, Collection[str]] = {"old transaction": storing.OLD, "bloat": storing.SIZES}


def compare(measure: Measure, where: Storage, runs: int) -> dict[str, dict[str, float]]:
    """The medians of the runs, and their ratio: by which factor this version is better."""
    found = [measure(where) for _ in range(runs)]
    table: dict[str, dict[str, float]] = {}
    for figure in found[0]:
        theirs, ours = (statistics.median(run[figure][side] for run in found) for side in (0, 1))
        better = theirs / max(ours, 1e-9) if figure.startswith(LESS_IS_BETTER) else ours / max(theirs, 1e-9)
        table[figure] = {"baseline": theirs, "this": ours, "ratio": better}
    return table


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("./dev bench", description=f"{__doc__} {LEGEND}")
    parser.add_argument("--storage", action="append", choices=STORAGES, help="may be repeated; default: all")
    parser.add_argument("--case", action="append", choices=CASES, help="may be repeated; default: all")
    parser.add_argument(
        "--runs", type=int, default=3, help=f"runs of each; the median counts (3); {' and '.join(ONCE)}: one"
    )
    parser.add_argument("--old-lines", type=int, metavar="N", help=f"how many are deleted in the case {PRUNING}")
    parser.add_argument(
        "--instances", type=int, metavar="N", default=100_000, help="of the case scale, up to 10 million"
    )
    parser.add_argument("--minutes", type=float, default=2, help="of the case bloat")
    parser.add_argument(
        "--peers", nargs="*", metavar="NAME", help="measure other schedulers instead, all or those whose names begin so"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    return parser.parse_args()


def tell(name: str, case: str, table: dict[str, dict[str, float]]) -> None:
    for figure, row in table.items():
        values = f"{row['baseline']:12,.1f} {row['this']:12,.1f} {row['ratio']:7.2f}x"
        print(f"{name:10} {case:20} {figure:28} {values}", flush=True)


def measured(pool: Pool, options: argparse.Namespace) -> dict[str, object]:
    """Measure the chosen cases, and print and return the figures."""
    report: dict[str, object] = {}
    print(LEGEND)
    print(f"{'storage':10} {'case':20} {'figure':28} {'baseline':>12} {'this':>12} {'ratio':>8}")
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.storage or STORAGES:
            where = storage(name, pool, Path(scratch))
            if name != "memory":
                cases.warm_up(where, CEILING(where))
            for case, measure in measures(options.old_lines, options.instances, options.minutes).items():
                if (options.case and case not in options.case) or not can_run(case, name):
                    continue
                table = compare(measure, where, 1 if case in ONCE else options.runs)
                report[f"{name}: {case}"] = table
                tell(name, case, table)
    return report


def can_run(case: str, name: str) -> bool:
    if name == "memory":
        return case not in NOT_IN_MEMORY
    return case not in ONLY_ON or name in ONLY_ON[case]


def main() -> None:
    options = arguments()
    report: dict[str, object] = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "versions": {name: version_of(name) for name in ("pyncette-core", "anyio", "croniter")},
        "baseline": LEGEND,
    }
    pool = Pool()
    try:
        if options.peers is None:
            report |= measured(pool, options)
        else:
            report |= peering.compare(pool, options.peers)
    finally:
        pool.close()
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
