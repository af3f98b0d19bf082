"""The process that measures a storage, or its driver alone: claim 100, settle 100, until N records are done.

Argument: a JSON object with the storage, its options, what to measure ("driver", "idle driver" or "storage") and the
number of records, or of requests that find none. Prints the figures as JSON. Driver and storage work on the same number
of records of the same size.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from importlib import import_module

from .common import Driver, run_driver, run_idle, run_storage


def main() -> None:
    job = json.loads(sys.argv[1])
    # The module of a storage imports its driver, which other storages do not need.
    driver: Driver = import_module(f".{job['storage']}", __package__).ByHand(job["options"])
    if job["worker"] == "driver":
        work = run_driver(driver, job["count"])
    elif job["worker"] == "idle driver":
        work = run_idle(driver, job["count"])
    else:
        work = run_storage(driver, job["storage"], job["count"])
    print(json.dumps(asdict(asyncio.run(work))))


if __name__ == "__main__":
    main()
