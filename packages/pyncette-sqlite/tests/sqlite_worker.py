"""A worker process for the test of several processes: claims and completes records until none is left.

Arguments: database, holder, event loop. Writes a line "claimed KEY" or "completed KEY" after each.
Starts when it reads a line from standard input.
"""

from __future__ import annotations

import sys
import uuid

import anyio

from pyncette import lease
from pyncette.record import Queue, QueueClaim
from pyncette.sqlite import sqlite_repository
from pyncette.testing.contract.base import claimed

NOW = 1_800_000_000_000_000
LEASES_END = NOW + 60_000_000
BATCH = 10
NEXT_DUE = NOW + 3_600_000_000


def say(lines: list[str]) -> None:
    sys.stdout.writelines(line + "\n" for line in lines)
    sys.stdout.flush()


async def work(database: str, holder: str) -> None:
    wanted = [QueueClaim(Queue("task"), BATCH, LEASES_END)]
    async with sqlite_repository(sqlite_database=database) as repository:
        say(["ready"])
        sys.stdin.readline()
        while True:
            token = uuid.uuid4().hex
            before = await repository.claim(wanted, now=NOW, limit=BATCH, token=token, holder=holder)
            taken = claimed(before, wanted, now=NOW, token=token, holder=holder)
            say([f"claimed {record.key}" for record in taken])
            if not taken:
                return
            changes = [lease.complete(record, next_due=NEXT_DUE, revision=uuid.uuid4().hex) for record in taken]
            swapped = await repository.swap(changes)
            assert all(swapped), "somebody else wrote a record that this process has a lease on"
            say([f"completed {record.key}" for record in taken])


if __name__ == "__main__":
    anyio.run(work, sys.argv[1], sys.argv[2], backend=sys.argv[3])
