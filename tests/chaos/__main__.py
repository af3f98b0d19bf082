"""Injects faults into a real store and its workers for a while, and accounts for every occurrence.

    python -m tests.chaos --store postgres --seconds 60 --seed 1 --report postgres.json
    python -m tests.chaos --store redis --seconds 600 --instances 2000 --faults kill,stop
    python -m tests.chaos --store mysql --faults disk,operators      # on a small disk, in a namespace of its own

The report lists the faults, and explains each second execution. The command fails if something was lost, started early,
or was executed again without a reason.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.subjects import CREDENTIALS
from tests.servers.cache import Unavailable
from tests.servers.pool import Pool

from .disks import again, mounted, with_small_disk
from .report import as_text
from .scene import Plan
from .showing import show
from .stores import FAULTS, STORES, chosen_faults, started


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=STORES, required=True)
    parser.add_argument("--seconds", type=float, default=60, help="for how long things come due and faults happen")
    parser.add_argument("--seed", type=int, help="decides which faults, and when; a random one by default")
    parser.add_argument("--faults", help=f"some of {','.join(FAULTS)}; by default all that the store can have but disk")
    parser.add_argument("--workers", type=int, default=Plan.workers)
    parser.add_argument("--operators", type=int, default=Plan.operators)
    parser.add_argument("--instances", type=int, default=Plan.instances, help="how many occurrences a second")
    parser.add_argument("--every", type=float, default=Plan.every, help="seconds between two faults, on average")
    parser.add_argument("--lease", type=float, default=Plan.lease, help="seconds")
    parser.add_argument("--batch", type=int, default=Plan.batch, help="how many are executed at a time by each worker")
    parser.add_argument("--report", type=Path, help="a file for the report, as JSON")
    parser.add_argument("--keep", type=Path, help="a folder that keeps what the processes wrote")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    try:
        chosen = None if given.faults is None else chosen_faults(given.faults)
        if chosen and "disk" in chosen and mounted() is None:
            return with_small_disk(again())
        told = run(given, chosen)
    except (ValueError, Unavailable) as error:
        print(error, file=sys.stderr)
        return 2
    print(as_text(told))
    if given.report:
        given.report.write_text(json.dumps(told, indent=2) + "\n")
    return 0 if told["passed"] else 1


def run(given: argparse.Namespace, chosen: tuple[str, ...] | None) -> dict[str, Any]:
    """Run the chaos and return the report."""
    os.environ.update(CREDENTIALS)
    seed = random.randrange(10**6) if given.seed is None else given.seed
    pool = Pool()
    with tempfile.TemporaryDirectory() as written, tempfile.TemporaryDirectory(dir=mounted()) as scratch:
        tempfile.tempdir = scratch  # the servers' data too
        try:
            with started(given.store, pool.private, Path(scratch)) as store:
                folder = given.keep or Path(written) / "journals"
                folder.mkdir(parents=True)
                plan = Plan(
                    store=given.store,
                    seconds=given.seconds,
                    seed=seed,
                    faults=store.faults(chosen),
                    workers=given.workers,
                    operators=given.operators,
                    instances=given.instances,
                    every=given.every,
                    lease=given.lease,
                    batch=given.batch,
                )
                return show(plan, store, folder)
        finally:
            pool.close()
            tempfile.tempdir = None


if __name__ == "__main__":
    sys.exit(main())
