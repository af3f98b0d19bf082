"""How near the DynamoDB storage comes to the driver alone: claim 100, settle 100, until N records are done.

    python benchmarks/ceiling_dynamodb.py http://host:port [records] [runs]
    python benchmarks/ceiling_dynamodb.py eu-west-1 [records] [runs]        # AWS itself, which costs money

The driver does what somebody would write by hand for speed on a table of the same keys: it asks all four places of the
index at once for a quarter of the batch each, and sends the conditional statements 25 by 25, all at once; it looks at
no outcomes. Both work in turns on tables that are the same; the figures are medians. The tables are dropped in the end.
Credentials are taken from where AWS's tools look for them; a server on this machine takes any.
"""
# ruff: noqa: S608 - the statements are made of constants; it is a script

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import aioboto3
from aiobotocore.config import AioConfig

from pyncette.dynamodb import dynamodb_repository, table_definition
from pyncette.record import Change, Queue, QueueClaim, Record
from pyncette.repository import Repository

BATCH = 100
STATEMENTS = 25
PLACES = 4
NOW = 1_800_000_000_000_000
LEASE = 60_000_000
NEXT = NOW + 3_600_000_000
SPEC = '{"v":1,"every":3600000000,"args":{"data":"' + "x" * 64 + '"}}'
BY_DRIVER, BY_STORAGE = TABLES = ("pyncette_ceiling_driver", "pyncette_ceiling_storage")

TAKE = (
    f'UPDATE "{BY_DRIVER}" SET "ready_at"=? SET "locked_until"=? SET "locked_by"=? SET "revision"=? SET "fence"=? '
    'SET "attempt"=? WHERE "pk"=? AND "sk"=? AND "revision"=? RETURNING ALL NEW *'
)
SETTLE = (
    f'UPDATE "{BY_DRIVER}" SET "due_at"=? SET "ready_at"=? SET "locked_until"=? SET "locked_by"=? SET "revision"=? '
    'SET "attempt"=? WHERE "pk"=? AND "sk"=? AND "revision"=?'
)


@dataclass(frozen=True)
class Figure:
    """Of one run: records per second, and microseconds of this process's time for each record."""

    rate: float
    cpu: float


_moments = count(NOW)


async def by_driver(client: Any) -> int:
    """One batch."""
    now, token = str(next(_moments)), os.urandom(8).hex()
    until = {"N": str(int(now) + LEASE)}
    pages = await asyncio.gather(*(ready(client, f":{place}:task", now) for place in range(PLACES)))
    items = [item for page in pages for item in page]
    lease = [until, until, {"S": f"benchmark:{token}"}, {"S": token}, {"N": now}, {"N": "1"}]
    await execute(client, TAKE, [[*lease, item["pk"], item["sk"], item["revision"]] for item in items])
    later, nothing, none = {"N": str(NEXT)}, {"NULL": True}, {"N": "0"}
    await execute(
        client,
        SETTLE,
        [
            [later, later, nothing, nothing, {"S": os.urandom(8).hex()}, none, item["pk"], item["sk"], {"S": token}]
            for item in items
        ],
    )
    return len(items)


async def ready(client: Any, place: str, now: str) -> list[dict[str, Any]]:
    answer = await client.query(
        TableName=BY_DRIVER,
        IndexName="pyncette-ready-1",
        Limit=BATCH // PLACES,
        KeyConditionExpression="pk = :place AND ready_at <= :now",
        ExpressionAttributeValues={":place": {"S": place}, ":now": {"N": now}},
    )
    items: list[dict[str, Any]] = answer["Items"]
    return items


async def execute(client: Any, statement: str, parameters: list[list[Any]]) -> None:
    statements = [{"Statement": statement, "Parameters": one} for one in parameters]
    await asyncio.gather(
        *(
            client.batch_execute_statement(Statements=statements[start : start + STATEMENTS])
            for start in range(0, len(statements), STATEMENTS)
        )
    )


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


async def fill(client: Any, table: str, options: dict[str, Any], number: int) -> None:
    """A new table with records that are due, written by the storage."""
    await drop(client, table)
    async with dynamodb_repository(**options, dynamodb_table_name=table) as repository:
        for start in range(0, number, 1000):
            records = [
                Record("task", f"task:{n:08}", NOW - n, NOW - n, None, None, os.urandom(8).hex(), 0, 0, SPEC)
                for n in range(start, min(start + 1000, number))
            ]
            await repository.swap([Change(None, one) for one in records])


async def drop(client: Any, table: str) -> None:
    with suppress(client.exceptions.ResourceNotFoundException):
        await client.delete_table(TableName=table)
        await client.get_waiter("table_not_exists").wait(TableName=table, WaiterConfig={"Delay": 2})


async def main(where: str, number: int = 2000, runs: int = 5) -> None:
    endpoint = where if "://" in where else None
    region = "local" if endpoint else where
    if endpoint:
        os.environ.setdefault("AWS_ACCESS_KEY_ID", "benchmark")
        os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "benchmark")
    options: dict[str, Any] = {"dynamodb_endpoint": endpoint, "dynamodb_region_name": region}
    config = AioConfig(max_pool_connections=32, parameter_validation=False, retries={"total_max_attempts": 1})
    driver, storage = [], []
    session = aioboto3.Session()
    async with session.client("dynamodb", region_name=region, endpoint_url=endpoint, config=config) as client:
        print(f"index {table_definition()['GlobalSecondaryIndexes'][0]['IndexName']}, {number:,} records, {runs} runs")
        for _ in range(runs):
            await fill(client, BY_DRIVER, options, number)
            driver.append(await measure(partial(by_driver, client), number))
            await fill(client, BY_STORAGE, options, number)
            async with dynamodb_repository(**options, dynamodb_table_name=BY_STORAGE) as repository:
                storage.append(await measure(partial(by_storage, repository), number))
        for name, figures in (("driver", driver), ("storage", storage)):
            rate, cpu = (statistics.median(getattr(one, field) for one in figures) for field in ("rate", "cpu"))
            print(f"{name:8} {rate:8,.0f} records/s, {cpu:5.1f} µs of the client's time for each")
        ratios = [own.rate / raw.rate for own, raw in zip(storage, driver, strict=True)]
        print(f"ratio    {statistics.median(ratios):8.2f} (median of {runs} runs of {number:,} records)")
        for table in TABLES:
            await drop(client, table)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
