"""A worker process for the test of several processes: claims and completes records until all of them are done.

Arguments: the options of the storage as JSON, the moment to which records are advanced. Starts when it reads a line, so
that all processes begin together, however long each takes to import. Writes "claimed KEY FENCE" for each
record that it has claimed, and "completed KEY" for each that it knows to be settled.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from typing import Any

from pyncette import lease
from pyncette.errors import RepositoryUnavailableException
from pyncette.mysql import mysql_repository
from pyncette.record import Queue, QueueClaim, Swap
from pyncette.repository import Repository
from pyncette.testing.contract.base import claimed, next_ready, take

TASK = Queue("task")
BATCH = 20
LEASE = 1_000_000
PAUSE_SECONDS = 0.02


def say(lines: list[str]) -> None:
    sys.stdout.writelines(line + "\n" for line in lines)
    sys.stdout.flush()


async def one_batch(repository: Repository, advanced_to: int) -> bool:
    """Returns whether there is more to do."""
    now = await repository.clock()
    assert now is not None
    token = uuid.uuid4().hex
    claims = [QueueClaim(TASK, BATCH, now + LEASE)]
    before = await take(repository, claims, now=now, limit=BATCH, token=token, holder=token)
    taken = claimed(before, claims, now=now, token=token, holder=token)
    say([f"claimed {one.key} {one.fence}" for one in taken])
    if not taken:
        await asyncio.sleep(PAUSE_SECONDS)
        first = await next_ready(repository, [TASK])
        return first is not None and first < advanced_to
    changes = [lease.complete(one, next_due=advanced_to, revision=uuid.uuid4().hex) for one in taken]
    outcomes = await repository.swap(changes)
    say([f"completed {one.key}" for one, applied in zip(taken, outcomes, strict=True) if applied is Swap.APPLIED])
    return True


async def work(options: dict[str, Any], advanced_to: int) -> None:
    async with mysql_repository(**options) as repository:
        say(["ready"])
        await asyncio.to_thread(sys.stdin.readline)
        while True:
            try:
                if not await one_batch(repository, advanced_to):
                    return
            except RepositoryUnavailableException:
                await asyncio.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.argv[1]), int(sys.argv[2])))
