"""How near the Redis storage comes to the driver alone: claim 100, settle 100, until N records are done.

    python benchmarks/ceiling_redis.py redis://host:port/0 [records] [runs]

The driver does what somebody would write by hand for speed: a Lua script that takes what is ready and moves it on, and
a pipeline of HSET and ZADD for the settlement, which looks at no outcomes and compares nothing. Both work in turns on
the same number of records of the same size; the figures are medians. What was written is deleted in the end.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from redis.asyncio import Redis

from pyncette.record import Change, Queue, QueueClaim, Record
from pyncette.redis import redis_repository
from pyncette.repository import Repository

BATCH = 100
NOW = 1_800_000_000_000_000
LEASE = 60_000_000
NEXT = NOW + 3_600_000_000
SPEC = '{"v":1,"every":3600000000,"args":{"data":"' + "x" * 64 + '"}}'
NAMESPACE = "ceiling"
KEYS = ("pyncette-ceiling-rows", "pyncette-ceiling-ready")

TAKE = """
local found = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
if #found == 0 then return {{}, {}} end
local moved = {}
for i = 1, #found do moved[2 * i - 1] = ARGV[3]; moved[2 * i] = found[i] end
redis.call('ZADD', KEYS[2], unpack(moved))
return {found, redis.call('HMGET', KEYS[1], unpack(found))}
"""


@dataclass(frozen=True)
class Figure:
    """Of one run: records per second, and microseconds of this process's time for each record."""

    rate: float
    cpu: float


_moments = count(NOW)
"""Each claim happens later than the one before, as it does in life: leases end at different moments."""


def records(number: int) -> list[Record]:
    return [
        Record("task", f"task:{n:08}", NOW - n, NOW - n, None, None, os.urandom(8).hex(), 0, 0, SPEC)
        for n in range(number)
    ]


async def by_driver(client: Redis, script: Any) -> int:
    """One batch."""
    now = next(_moments)
    keys, rows = await script(keys=KEYS, args=[now, BATCH, now + LEASE])
    if not keys:
        return 0
    async with client.pipeline(transaction=False) as pipeline:
        await pipeline.execute_command(
            "HSET", KEYS[0], *(part for pair in zip(keys, rows, strict=True) for part in pair)
        )
        await pipeline.execute_command("ZADD", KEYS[1], *(part for key in keys for part in (NEXT, key)))
        await pipeline.execute()
    return len(keys)


async def by_storage(repository: Repository) -> int:
    """One batch."""
    now, token = next(_moments), os.urandom(8).hex()
    claims = [QueueClaim(Queue("task"), BATCH, now + LEASE)]
    taken = await repository.claim(claims, now=now, limit=BATCH, token=token, holder=f"benchmark:{token}")
    changes = [
        Change(
            one,
            Record(one.queue, one.key, NEXT, NEXT, None, None, os.urandom(8).hex(), one.fence, 0, one.spec),
        )
        for one in taken
    ]
    if changes and not all(await repository.swap(changes)):
        raise AssertionError("a settlement was not applied")
    return len(taken)


async def measure(batch: Callable[[], Awaitable[int]], number: int) -> Figure:
    started, cpu, done = time.perf_counter(), time.process_time(), 0
    while done < number:
        done += await batch()
    seconds, used = time.perf_counter() - started, time.process_time() - cpu
    return Figure(done / seconds, used / done * 1e6)


async def fill_driver(client: Redis, number: int) -> None:
    await client.delete(*KEYS)
    for start in range(0, number, 1000):
        some = records(number)[start : start + 1000]
        rows: dict[Any, Any] = {one.key: f"{one.due_at} {one.fence} {one.revision} {one.spec}" for one in some}
        await client.hset(KEYS[0], mapping=rows)
        await client.zadd(KEYS[1], {one.key: one.ready_at for one in some})


async def fill_storage(repository: Repository, number: int) -> None:
    while found := await repository.scan(Queue("task"), after=None, limit=1000):
        await repository.swap([Change(one, None) for one in found])
    for start in range(0, number, 1000):
        await repository.swap([Change(None, one) for one in records(number)[start : start + 1000]])


def tell(name: str, figures: list[Figure]) -> float:
    rate = statistics.median(figure.rate for figure in figures)
    cpu = statistics.median(figure.cpu for figure in figures)
    print(f"{name:12} {rate:10,.0f} records/s claimed and settled   {cpu:6.1f} µs of client CPU per record")
    return rate


async def main(url: str, number: int, runs: int) -> None:
    client = Redis.from_url(url)
    script = client.register_script(TAKE)
    raw: list[Figure] = []
    ours: list[Figure] = []
    async with redis_repository(redis_url=url, redis_namespace=NAMESPACE) as repository:
        for _ in range(runs):
            await fill_driver(client, number)
            raw.append(await measure(lambda: by_driver(client, script), number))
            await fill_storage(repository, number)
            ours.append(await measure(lambda: by_storage(repository), number))
        ratio = tell("pyncette", ours) / tell("redis-py", raw)
        print(f"ratio        {ratio:10.2f}")
        await fill_storage(repository, 0)
    await client.delete(*KEYS, f"pyncette:{{{NAMESPACE}|}}:schema")
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])) if len(sys.argv) > 3 else main(sys.argv[1], 5000, 7))
