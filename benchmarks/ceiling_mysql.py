"""How near the MySQL storage comes to the driver alone: claim 100, settle 100, until N records are done.

    python benchmarks/ceiling_mysql.py mysql://user:password@host:port/database [records] [runs]

The driver does what somebody would write by hand: a locking SELECT, an UPDATE of the keys that it found, and an UPDATE
joined to a table of values for the settlement, without looking at outcomes. Both work on tables of the same shape, in
turns; the figures are medians. The tables are dropped in the end.
"""
# ruff: noqa: S608 - the statements are made of constants and of values that the driver quotes; it is a script

from __future__ import annotations

import asyncio
import statistics
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import asyncmy
from asyncmy.connection import Connection

from pyncette.mysql import backend, mysql_repository
from pyncette.record import Change, Queue, QueueClaim, Record
from pyncette.repository import Repository

BATCH = 100
NOW = 1_800_000_000_000_000
LEASE = 60_000_000
NEXT = NOW + 3_600_000_000
SPEC = '{"v": 1, "schedule": "0 * * * *", "timezone": "Europe/Ljubljana", "args": {"user": 12345}}'
TABLES = ("pyncette_ceiling_driver", "pyncette_ceiling_storage")


@dataclass(frozen=True)
class Figure:
    """Of one run: records per second, and microseconds of this process's time for each record."""

    rate: float
    cpu: float


_moments = count(NOW)
"""Each claim happens later than the one before, as it does in life: leases end at different moments."""


def records(number: int) -> list[Record]:
    return [
        Record("task", f"task:{n:08}", NOW - n, NOW - n, None, None, uuid.uuid4().hex, 0, 0, SPEC)
        for n in range(number)
    ]


async def send(connection: Connection, script: str) -> list[Any]:
    cursor = connection.cursor()
    await cursor.execute(script)
    replies = [await cursor.fetchall()]
    while await cursor.nextset():
        replies.append(await cursor.fetchall())
    return replies


async def by_driver(connection: Connection) -> int:
    """One batch."""
    table, now = TABLES[0], next(_moments)
    quote: Callable[[object], str] = connection.escape
    (_, rows) = await send(
        connection,
        f"START TRANSACTION; SELECT queue, `key`, due_at, fence, spec FROM {table} WHERE queue = 'task' "
        f"AND ready_at <= {now} ORDER BY ready_at LIMIT {BATCH} FOR UPDATE SKIP LOCKED",
    )
    if not rows:
        await send(connection, "COMMIT")
        return 0
    token = uuid.uuid4().hex
    keys = ",".join(quote(row[1]) for row in rows)
    await send(
        connection,
        f"UPDATE {table} SET ready_at = {now + LEASE}, locked_until = {now + LEASE}, locked_by = '{token}', "
        f"revision = '{token}', fence = GREATEST(fence + 1, {now}), attempt = attempt + 1 "
        f"WHERE queue = 'task' AND `key` IN ({keys}); COMMIT",
    )
    values = [f"({quote(row[1])},'{uuid.uuid4().hex}',{NEXT})" for row in rows]
    if "MariaDB" in str(connection.get_server_info()):
        new = f"(WITH v (k, r, d) AS (VALUES {','.join(values)}) SELECT * FROM v) AS n"
    else:
        new = f"(VALUES {','.join(f'ROW{value}' for value in values)}) AS n (k, r, d)"
    await send(
        connection,
        f"UPDATE {new} JOIN {table} AS t ON t.queue = 'task' AND t.`key` = n.k AND t.revision = '{token}' SET "
        "t.due_at = n.d, t.ready_at = n.d, t.locked_until = NULL, t.locked_by = NULL, t.revision = n.r, t.attempt = 0",
    )
    return len(rows)


async def by_storage(repository: Repository) -> int:
    """One batch."""
    token, now = uuid.uuid4().hex, next(_moments)
    claims = [QueueClaim(Queue("task"), BATCH, now + LEASE)]
    taken = await repository.claim(claims, now=now, limit=BATCH, token=token, holder=token)
    settled = [
        Change(one, Record(one.queue, one.key, NEXT, NEXT, None, None, uuid.uuid4().hex, one.fence, 0, one.spec))
        for one in taken
    ]
    if not all(await repository.swap(settled)):
        raise RuntimeError("a lease was lost")
    return len(taken)


async def timed(batch: Callable[[], Awaitable[int]], number: int) -> Figure:
    start, cpu, done = time.perf_counter(), time.process_time(), 0
    while batch_size := await batch():
        done += batch_size
    if done != number:
        raise RuntimeError(f"{done} of {number} done")
    return Figure(done / (time.perf_counter() - start), (time.process_time() - cpu) / done * 1e6)


async def main(url: str, number: int = 5000, runs: int = 7) -> None:
    options = dict(backend.options_from_url(url))
    figures: dict[str, list[Figure]] = {table: [] for table in TABLES}
    connection = await asyncmy.connect(
        host=options["mysql_host"],
        port=options.get("mysql_port", 3306),
        user=options["mysql_user"],
        password=options.get("mysql_password", ""),
        database=options["mysql_database"],
        autocommit=True,
        init_command="SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    )
    try:
        async with (
            mysql_repository(**options, mysql_table_name=TABLES[0]) as other,
            mysql_repository(**options, mysql_table_name=TABLES[1]) as storage,
        ):
            for _ in range(runs):
                for table, repository in zip(TABLES, (other, storage), strict=True):
                    await send(connection, f"TRUNCATE TABLE {table}")
                    await repository.swap([Change(None, one) for one in records(number)])
                    await send(connection, f"ANALYZE TABLE {table}")
                figures[TABLES[0]].append(await timed(lambda: by_driver(connection), number))
                figures[TABLES[1]].append(await timed(lambda: by_storage(storage), number))
        await send(connection, ";".join(f"DROP TABLE {table}" for table in TABLES))
    finally:
        connection.close()
    rates = []
    for name, table in zip(("driver alone", "storage"), TABLES, strict=True):
        rates.append(statistics.median(figure.rate for figure in figures[table]))
        cpu = statistics.median(figure.cpu for figure in figures[table])
        print(f"{name:13} {rates[-1]:8,.0f} records/s   {cpu:5.1f} us of client time per record")
    print(f"ratio         {rates[1] / rates[0]:8.2f}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
