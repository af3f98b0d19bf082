"""Runs workers on a real store for hours, and reports whether memory, descriptors, connections or tables grow.

python -m tests.endurance --store postgres --hours 1
python -m tests.endurance --store redis --hours 0.1 --report redis.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import anyio

from tests.benchmarks.subjects import CREDENTIALS
from tests.chaos.stores import started
from tests.servers.cache import Unavailable
from tests.servers.pool import Pool

from .working import Effort, work

STORES = ("redis", "postgres", "mysql", "dynamodb", "sqlite")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=STORES, required=True)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--instances", type=int, default=200, help="how many occurrences a second")
    parser.add_argument("--report", type=Path, help="a file for all measurements, as JSON")
    given = parser.parse_args()
    os.environ.update(CREDENTIALS)
    effort = Effort(given.hours * 3600, given.workers, given.instances)
    pool = Pool()
    try:
        with tempfile.TemporaryDirectory() as scratch, started(given.store, pool.private, Path(scratch)) as store:
            found = anyio.run(work, effort, store, Path(scratch))
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        pool.close()
    for series in found:
        print(series)
    if given.report:
        told = [{"kind": each.kind, "of": each.of, "grows": each.grows, "points": each.points} for each in found]
        given.report.write_text(json.dumps(told) + "\n")
    return 1 if any(series.grows for series in found) else 0


if __name__ == "__main__":
    sys.exit(main())
