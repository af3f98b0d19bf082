"""Stores that list or count the wrong records."""

from __future__ import annotations

import re
from typing import Any

from pyncette.memory import MemoryRepository
from pyncette.record import Count, Queue, Record
from tests.contract.broken import caught_by

# For operators


@caught_by("test_queues_page_by_page")
class QueuesWithoutStaticOnes(MemoryRepository):
    async def queues(self, *, after: str | None, limit: int) -> list[str]:
        every = await super().queues(after=after, limit=1000)
        return [name for name in every if name not in self._records][:limit]


@caught_by("test_queues_page_by_page")
class QueuesRepeatTheLast(MemoryRepository):
    async def queues(self, *, after: str | None, limit: int) -> list[str]:
        return sorted(name for name in self._by_key if after is None or name >= after)[:limit]


@caught_by("test_queues_go_on_after_one_that_is_gone")
class QueuesNeedTheirLastOne(MemoryRepository):
    async def queues(self, *, after: str | None, limit: int) -> list[str]:
        gone = after is not None and after not in self._by_key
        return [] if gone else await super().queues(after=after, limit=limit)


@caught_by("test_queues_that_are_used_again")
class QueuesAreRegisteredOnce(MemoryRepository):
    async def queues(self, *, after: str | None, limit: int) -> list[str]:
        seen = self.__dict__.setdefault("seen", set())
        now = await super().queues(after=after, limit=limit)
        gone = seen - set(now)
        seen |= set(now)
        self.__dict__.setdefault("gone", set()).update(gone)
        return [name for name in now if name not in self.__dict__["gone"]]


@caught_by("test_count")
class CountsWhateverTheTime(MemoryRepository):
    async def count(self, queue: Queue, **options: Any) -> Count:
        return await super().count(queue)


@caught_by("test_count_beyond_the_limit")
class CountsToItsLimitAndSaysExact(MemoryRepository):
    async def count(self, queue: Queue, *, limit: int = 10_000, **options: Any) -> Count:
        found = await super().count(queue, **options)
        return Count(min(found.value, limit), exact=True)


# Scans


@caught_by("test_scan_of_records_that_move_in_time")
class ScanInTheOrderOfTime(MemoryRepository):
    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        records = await super().scan(queue, after=None, limit=10_000)
        records.sort(key=lambda one: one.ready_at)
        keys = [one.key for one in records]
        start = keys.index(after) + 1 if after in keys else 0
        return records[start : start + limit]


@caught_by("test_scan_goes_on_after_a_deleted_key", "test_scan_of_nothing")
class ScanNeedsItsLastKey(MemoryRepository):
    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        keys = [one.key for one in await super().scan(queue, after=None, limit=10_000)]
        if after is not None and after not in keys:
            raise LookupError(after)
        return await super().scan(queue, after=after, limit=limit)


@caught_by("test_scan_page_by_page", "test_scan_limits_a_page")
class ScanRepeatsItsLastKey(MemoryRepository):
    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        return await super().scan(queue, after=after[:-1] if after else None, limit=limit)


@caught_by("test_scan_with_a_prefix")
class ScanWithPatterns(MemoryRepository):
    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        pattern = re.compile(re.escape(prefix).replace("%", ".*").replace("_", "."))
        found = await super().scan(queue, after=after, limit=1000)
        return [one for one in found if pattern.match(one.key)][:limit]


@caught_by("test_scan_with_a_prefix")
class ScanForgetsWhereItWas(MemoryRepository):
    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        return await super().scan(queue, after=None if prefix else after, limit=limit, prefix=prefix)


@caught_by("test_scan_page_by_page", "test_scan_of_a_static_queue")
class ScanByPrefix(MemoryRepository):
    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        matching = [one for one in self._records.values() if one.key.startswith(queue.name)]
        matching.sort(key=lambda one: one.key)
        return [one for one in matching if after is None or one.key > after][:limit]
