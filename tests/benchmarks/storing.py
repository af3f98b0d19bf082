"""The cost of a storage's calls with many records, an old transaction, large arguments, and after minutes of updates.

Each figure is a pair: under usual conditions, and under these. Uses the repository without a scheduler.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

from pyncette import lease
from pyncette.record import Change, QueueClaim, Record
from pyncette.repository import Repository

from .ceilings.common import BATCH, LEASE, NOW, QUEUE, SPEC, Driver, fresh, moments, opened
from .machine import cpu_of
from .subjects import Storage

Pairs = dict[str, tuple[float, float]]
Figures = dict[str, float]

DAY = 86_400_000_000
FEW = 2_000
ROUNDS = 40
"""The number of batches measured."""
WARM_UP = 5
AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Stored:
    """A repository with records, and the CPU time of its server."""

    where: Storage
    repository: Repository
    driver: Driver

    def cpu(self) -> float:
        return cpu_of(self.where.server)


@asynccontextmanager
async def filled(where: Storage, count: int, *, spec: str = SPEC) -> AsyncIterator[Stored]:
    """Stores ``count`` due records, whose moments are in a different order from their names. They are deleted in the
    end."""
    options = where.options()
    driver: Driver = import_module(f".ceilings.{where.backend}", __package__).ByHand(options)
    async with driver, opened(where.backend, options) as repository:
        batch = max(1, min(AT_ONCE, 4_000_000 // len(spec)))
        for start in range(0, count, batch):
            await repository.swap([Change(None, _due(i, count, spec)) for i in range(start, min(start + batch, count))])
        await driver.tidy()
        yield Stored(where, repository, driver)


def _due(number: int, count: int, spec: str) -> Record:
    moment = NOW - number * 7919 % count
    return Record(QUEUE.name, f"{QUEUE.name}:{number:09}", moment, moment, None, None, fresh(), 0, 0, spec)


async def claimed(stored: Stored, limit: int = BATCH) -> list[Record]:
    """Claim up to ``limit`` records, and return them as they are now."""
    now, token = next(moments), fresh()
    until, holder = now + LEASE, f"benchmark:{token}"
    claims = [QueueClaim(QUEUE, limit, until)]
    found = await stored.repository.claim(claims, now=now, limit=limit, token=token, holder=holder)
    return [lease.claim(one, now=now, locked_until=until, token=token, holder=holder) for one in found]


async def swapped(stored: Stored, records: list[Record], **fields: Any) -> list[Record]:
    """Write these fields to all records."""
    moved = [replace(one, revision=fresh(), **fields) for one in records]
    if not all(await stored.repository.swap([Change(*each) for each in zip(records, moved, strict=True)])):
        raise RuntimeError("a write was not applied")
    return moved


async def extended(stored: Stored, records: list[Record]) -> list[Record]:
    end = next(moments) + 2 * LEASE
    return await swapped(stored, records, ready_at=end, locked_until=end)


async def settled(stored: Stored, records: list[Record]) -> list[Record]:
    """Settle the records; they are next due tomorrow."""
    at = next(moments) + DAY
    return await swapped(
        stored, records, due_at=at, ready_at=at, locked_until=None, locked_by=None, attempt=0, state='{"v":1}'
    )


Call = Callable[[], Awaitable[Any]]


class Watch:
    """Measures calls: milliseconds per call, and microseconds of the server's CPU per record."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self.figures: Figures = {}

    async def __call__(self, name: str, calls: Sequence[Call], records: int = 1) -> list[Any]:
        """
        :param records: the number of records that each call works on.
        :return: the results of the calls.
        """
        results, took = [], []
        cpu = self._stored.cpu()
        for call in calls:
            began = time.perf_counter()
            results.append(await call())
            took.append(1e3 * (time.perf_counter() - began))
        self.figures[f"ms, {name}"] = statistics.median(took)
        if self._stored.where.server is not None:
            self.figures[f"CPU us/record, {name}"] = 1e6 * (self._stored.cpu() - cpu) / len(calls) / records
        return results


async def _operations(where: Storage, count: int, **options: Any) -> Figures:
    """The cost of each call with ``count`` records."""
    batch = min(BATCH, count // 2 // (ROUNDS + WARM_UP))
    async with filled(where, count, **options) as stored:
        for _ in range(WARM_UP):
            await settled(stored, await extended(stored, await claimed(stored, batch)))
        watch, repository = Watch(stored), stored.repository
        batches = await watch(f"claim {batch}", [partial(claimed, stored, batch)] * ROUNDS, batch)
        batches = await watch(f"extend {batch}", [partial(extended, stored, each) for each in batches], batch)
        batches = await watch(f"settle {batch}", [partial(settled, stored, each) for each in batches], batch)
        one = [each[0] for each in batches]
        await watch("read", [partial(repository.read, [each.ref]) for each in one])
        pages = [partial(repository.scan, QUEUE, after=each.key, limit=20) for each in one]
        await watch("page of 20", pages, 20)
        await watch("look", [partial(repository.look, [QUEUE], [], after=next(moments))] * ROUNDS)
        return watch.figures


def _pairs(usual: Figures, other: Figures) -> Pairs:
    return {name: (usual[name], other[name]) for name in usual}


def scale(where: Storage, count: int) -> Pairs:
    """Each call with 10,000 records, and with ``count``."""
    few = asyncio.run(_operations(where, 10_000))
    return _pairs(few, asyncio.run(_operations(where, count)))


def arguments(where: Storage) -> Pairs:
    """Each call on records with 100 bytes of arguments, and with 100 kB (DynamoDB, which sends them all, 10 kB)."""
    size = 10_000 if where.name == "dynamodb" else 100_000
    large = '{"v":1,"every":3600000000,"args":{"data":"' + "x" * size + '"}}'
    return _pairs(asyncio.run(_operations(where, FEW)), asyncio.run(_operations(where, FEW, spec=large)))


async def _herd(where: Storage, count: int, old: Callable[[Stored], AbstractAsyncContextManager[None]]) -> Figures:
    """The cost of the last tenth of many records that are due at once."""
    async with filled(where, count) as stored, old(stored):
        rounds = count // BATCH
        for _ in range(rounds - rounds // 10):
            await settled(stored, await claimed(stored))
        watch = Watch(stored)

        async def both() -> None:
            await settled(stored, await claimed(stored))

        await watch("claim and settle 100", [both] * (rounds // 10), BATCH)
        return watch.figures


def old_transaction(where: Storage, count: int) -> Pairs:
    """The last tenth of ``count`` records that are due at once, without and with a transaction that stays open."""
    nothing = asyncio.run(_herd(where, count, _no_transaction))
    return _pairs(nothing, asyncio.run(_herd(where, count, OLD[where.name])))


@asynccontextmanager
async def _no_transaction(_: Stored) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _old_in_postgres(stored: Stored) -> AsyncIterator[None]:
    import asyncpg

    options = stored.driver.options
    connection = await asyncpg.connect(options["postgres_url"])
    try:
        async with connection.transaction(isolation="repeatable_read"):
            await connection.fetchval(f"SELECT count(*) FROM {options['postgres_table_name']}")  # noqa: S608 -- ours
            yield
    finally:
        await connection.close()


@asynccontextmanager
async def _old_in_mysql(stored: Stored) -> AsyncIterator[None]:
    import asyncmy

    options = stored.driver.options
    names = ("host", "port", "user", "password", "database")
    connection = await asyncmy.connect(**{name: options[f"mysql_{name}"] for name in names})
    try:
        async with connection.cursor() as cursor:
            await cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            await cursor.execute(f"SELECT count(*) FROM {options['mysql_table_name']}")  # noqa: S608 -- ours
            yield
    finally:
        connection.close()


OLD = {"postgres": _old_in_postgres, "mysql": _old_in_mysql}


async def size_of(stored: Stored) -> float:
    """The size of all records in bytes: in memory for Redis, in files otherwise."""
    return float(await SIZES[stored.where.name](stored.driver.options))


async def _of_postgres(options: dict[str, Any]) -> int:
    import asyncpg

    connection = await asyncpg.connect(options["postgres_url"])
    try:
        query = "SELECT pg_total_relation_size($1::text::regclass)"
        size: int = await connection.fetchval(query, options["postgres_table_name"])
        return size
    finally:
        await connection.close()


async def _of_redis(options: dict[str, Any]) -> int:
    import redis

    with redis.Redis.from_url(options["redis_url"]) as client:
        used: int = client.info("memory")["used_memory"]
        return used


SIZES: dict[str, Callable[[dict[str, Any]], Awaitable[int]]] = {"postgres": _of_postgres, "redis": _of_redis}


async def _bloat(where: Storage, count: int, seconds: float) -> Pairs:
    """In each round, all records are executed once, and then due again after all the others."""
    async with filled(where, 0) as nothing:
        empty = await size_of(nothing)
    async with filled(where, count) as stored:
        ends = time.monotonic() + seconds
        rounds: list[Figures] = []

        async def both() -> None:
            at = next(moments)
            await swapped(stored, await claimed(stored), ready_at=at, due_at=at, locked_until=None, locked_by=None)

        while len(rounds) < 2 or time.monotonic() < ends:
            watch = Watch(stored)
            await watch("claim and settle 100", [both] * (count // BATCH), BATCH)
            rounds.append({**watch.figures, "bytes/record": (await size_of(stored) - empty) / count})
        return _pairs(rounds[0], rounds[-1])


def bloat(where: Storage, minutes: float) -> Pairs:
    """20,000 records that are executed again and again: the first round, and after some minutes."""
    return asyncio.run(_bloat(where, 20_000, 60 * minutes))
