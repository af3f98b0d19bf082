"""Common code of all ceilings: the records, one batch by the storage, and the measurement."""

from __future__ import annotations

import asyncio
import os
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import count
from types import TracebackType
from typing import Any, Self

from pyncette import lease
from pyncette.record import Change, Queue, QueueClaim, Record
from pyncette.repository import Repository

BATCH = 100
WARM_UP = 3 * BATCH
"""Records processed before the measurement starts, while statements are prepared and scripts are loaded."""
NOW = 1_800_000_000_000_000
LEASE = 60_000_000
NEXT = NOW + 3_600_000_000
SPEC = '{"v":1,"every":3600000000,"args":{"data":"' + "x" * 64 + '"}}'
QUEUE = Queue("task")

_WRITTEN_AT_ONCE = 1000

moments = count(NOW)
"""Each claim happens later than the one before, as in reality, so leases end at different moments."""


@dataclass(frozen=True, slots=True)
class Figure:
    """The figures of one run: records per second, and microseconds of this process's CPU per record."""

    rate: float
    cpu: float


def fresh() -> str:
    """A revision or a token."""
    return os.urandom(8).hex()


def records(number: int) -> list[Record]:
    """Records that are due. The order of their moments is independent of that of their keys."""
    lateness = random.sample(range(number), number)
    return [
        Record(QUEUE.name, f"task:{fresh()}", NOW - late, NOW - late, None, None, fresh(), 0, 0, SPEC)
        for late in lateness
    ]


class Driver(ABC):
    """The driver of a storage alone: code as one would write it by hand for speed.

    It is connected within its context. When the context ends, everything stored under the names in the options is
    deleted, whoever wrote it.

    :param options: the options of the storage's repository, with unique names.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @abstractmethod
    async def connect(self) -> None: ...

    @abstractmethod
    async def close(self) -> None:
        """Delete everything that was written, and disconnect."""

    @abstractmethod
    async def fill(self, number: int) -> None:
        """Write this many due records for the driver to work on."""

    @abstractmethod
    async def batch(self) -> int:
        """Claim a batch and settle it. Returns its number of records."""

    async def tidy(self) -> None:  # noqa: B027 - most servers have nothing to do
        """After many writes, make the server do immediately what it would do sooner or later."""


def opened(storage: str, options: dict[str, Any]) -> AbstractAsyncContextManager[Repository]:
    """The repository of that storage."""
    factory = getattr(import_module(f"pyncette.{storage}"), f"{storage}_repository")
    repository: AbstractAsyncContextManager[Repository] = factory(**options)
    return repository


async def fill_storage(repository: Repository, number: int) -> None:
    changes = [Change(None, one) for one in records(number)]
    for start in range(0, number, _WRITTEN_AT_ONCE):
        if not all(await repository.swap(changes[start : start + _WRITTEN_AT_ONCE])):
            raise RuntimeError("a record is there already")


async def by_storage(repository: Repository) -> int:
    """One batch."""
    now, token = next(moments), fresh()
    claims = [QueueClaim(QUEUE, BATCH, now + LEASE)]
    holder, until = f"benchmark:{token}", now + LEASE
    before = await repository.claim(claims, now=now, limit=BATCH, token=token, holder=holder)
    taken = [lease.claim(one, now=now, locked_until=until, token=token, holder=holder) for one in before]
    changes = [
        Change(one, Record(one.queue, one.key, NEXT, NEXT, None, None, fresh(), one.fence, 0, one.spec))
        for one in taken
    ]
    if not all(await repository.swap(changes)):
        raise RuntimeError("a settlement was not applied")
    return len(taken)


async def measure(batch: Callable[[], Awaitable[int]], number: int) -> Figure:
    """The figures of ``number`` records; ``number + WARM_UP`` must be due."""
    await _work(batch, WARM_UP)
    started, cpu = time.perf_counter(), time.process_time()
    done = await _work(batch, number)
    seconds, used = time.perf_counter() - started, time.process_time() - cpu
    return Figure(done / seconds, used / done * 1e6)


async def _work(batch: Callable[[], Awaitable[int]], number: int) -> int:
    done = 0
    while done < number:
        size = await batch()
        if not size:
            raise RuntimeError(f"only {done} of {number} records were there to be claimed")
        done += size
    return done


async def run_driver(driver: Driver, number: int) -> Figure:
    async with driver:
        await driver.fill(number + WARM_UP)
        await driver.tidy()
        return await measure(driver.batch, number)


async def run_idle(driver: Driver, number: int) -> Figure:
    """One request per second that finds nothing, ``number`` times."""
    async with driver:
        await driver.fill(0)
        await driver.batch()
        started, cpu = time.perf_counter(), time.process_time()
        for _ in range(number):
            await asyncio.sleep(1)
            await driver.batch()
        seconds, used = time.perf_counter() - started, time.process_time() - cpu
        return Figure(number / seconds, used / number * 1e6)


async def run_storage(driver: Driver, storage: str, number: int) -> Figure:
    """The same with the storage; the driver only cleans up afterwards."""
    async with driver, opened(storage, driver.options) as repository:
        await fill_storage(repository, number + WARM_UP)
        await driver.tidy()
        return await measure(partial(by_storage, repository), number)
