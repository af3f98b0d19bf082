"""How near the PostgreSQL storage comes to the driver alone: claim 100, settle 100, until N records are done.

    python benchmarks/ceiling_postgres.py postgresql://user:password@host:port/database [records] [runs]

The driver does on one connection what somebody would write by hand for speed: an UPDATE of what a locking SELECT finds,
and an UPDATE joined to arrays for the settlement, which looks at no outcomes. Both work in turns on tables that are
the same, indexes included; the figures are medians. The tables are dropped in the end.
"""
# ruff: noqa: S608 - the statements are made of constants; it is a script

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

import asyncpg

from pyncette.postgres import postgres_repository, schema_sql
from pyncette.record import Change, Queue, QueueClaim, Record
from pyncette.repository import Repository

BATCH = 100
NOW = 1_800_000_000_000_000
LEASE = 60_000_000
NEXT = NOW + 3_600_000_000
SPEC = '{"v":1,"every":3600000000,"args":{"data":"' + "x" * 64 + '"}}'
BY_DRIVER, BY_STORAGE = TABLES = ("pyncette_ceiling_driver", "pyncette_ceiling_storage")

TAKE = f"""
UPDATE {BY_DRIVER} AS t
SET ready_at = $2, locked_until = $2, locked_by = $4, revision = $4, fence = greatest(fence + 1, $1),
    attempt = attempt + 1
FROM (
    SELECT ctid FROM {BY_DRIVER} WHERE queue = 'task' AND ready_at <= $1 ORDER BY ready_at LIMIT $3
    FOR UPDATE SKIP LOCKED
) AS f
WHERE t.ctid = f.ctid
RETURNING key, due_at, fence, spec
"""

SETTLE = f"""
UPDATE {BY_DRIVER} AS t
SET due_at = $4, ready_at = $4, locked_until = NULL, locked_by = NULL, revision = g.revision, attempt = 0
FROM unnest($1::text[], $2::text[]) AS g (key, revision)
WHERE t.queue = 'task' AND t.key = g.key AND t.revision = $3
"""


@dataclass(frozen=True)
class Figure:
    """Of one run: records per second, and microseconds of this process's time for each record."""

    rate: float
    cpu: float


_moments = count(NOW)
"""Each claim happens later than the one before, as it does in life: leases end at different moments."""


async def by_driver(connection: Any) -> int:
    """One batch."""
    now, token = next(_moments), os.urandom(8).hex()
    rows = await connection.fetch(TAKE, now, now + LEASE, BATCH, token)
    if rows:
        await connection.execute(SETTLE, [row[0] for row in rows], [os.urandom(8).hex() for _ in rows], token, NEXT)
    return len(rows)


async def by_storage(repository: Repository) -> int:
    """One batch."""
    now, token = next(_moments), os.urandom(8).hex()
    claims = [QueueClaim(Queue("task"), BATCH, now + LEASE)]
    taken = await repository.claim(claims, now=now, limit=BATCH, token=token, holder=f"benchmark:{token}")
    changes = [
        Change(one, Record(one.queue, one.key, NEXT, NEXT, None, None, os.urandom(8).hex(), one.fence, 0, one.spec))
        for one in taken
    ]
    if not all(await repository.swap(changes)):
        raise AssertionError("a settlement was not applied")
    return len(taken)


async def measure(batch: Callable[[], Awaitable[int]], number: int) -> Figure:
    started, cpu, done = time.perf_counter(), time.process_time(), 0
    while done < number:
        done += await batch()
    seconds, used = time.perf_counter() - started, time.process_time() - cpu
    return Figure(done / seconds, used / done * 1e6)


async def fill(connection: Any, table: str, number: int) -> None:
    await connection.execute(f"TRUNCATE {table}")
    await connection.execute(
        f"INSERT INTO {table} (queue, key, due_at, ready_at, fence, attempt, revision, spec) "
        "SELECT 'task', 'task:' || lpad(n::text, 8, '0'), $2::bigint - n, $2::bigint - n, 0, 0, md5(n::text), $3 "
        "FROM generate_series(1, $1::int) AS n",
        number,
        NOW,
        SPEC,
    )
    await connection.execute(f"VACUUM ANALYZE {table}")


async def main(url: str, number: int = 5000, runs: int = 7) -> None:
    connection = await asyncpg.connect(url)
    for table in TABLES:
        await connection.execute(f"DROP TABLE IF EXISTS {table}")
    await connection.execute(schema_sql(BY_DRIVER))
    driver, storage = [], []
    async with postgres_repository(postgres_url=url, postgres_table_name=BY_STORAGE) as repository:
        for _ in range(runs):
            await fill(connection, BY_DRIVER, number)
            driver.append(await measure(lambda: by_driver(connection), number))
            await fill(connection, BY_STORAGE, number)
            storage.append(await measure(lambda: by_storage(repository), number))
    for name, figures in (("driver", driver), ("storage", storage)):
        rate, cpu = (statistics.median(getattr(one, field) for one in figures) for field in ("rate", "cpu"))
        print(f"{name:8} {rate:8,.0f} records/s, {cpu:5.1f} µs of the client's time for each")
    ratios = [own.rate / raw.rate for own, raw in zip(storage, driver, strict=True)]
    print(f"ratio    {statistics.median(ratios):8.2f} (median of {runs} runs of {number:,} records)")
    await connection.execute(f"DROP TABLE {', '.join(TABLES)}")
    await connection.close()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
