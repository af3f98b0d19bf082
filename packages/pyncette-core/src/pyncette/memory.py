"""The in-memory repository: the default, and the reference that every other one is tested against."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from .record import Change, Queue, QueueClaim, Record, Ref
from .repository import Repository

_Entry = TypeVar("_Entry", str, tuple[int, str])


class MemoryRepository(Repository):
    """Records in a dictionary, with one sorted index by key and one by ``ready_at`` for each queue.

    Nothing is awaited between reading and writing, which makes every method atomic within one event loop.
    """

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._by_ready: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        self._by_key: defaultdict[str, list[str]] = defaultdict(list)

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        return [self._records.get(ref.key) for ref in refs]

    async def swap(self, changes: Sequence[Change]) -> list[bool]:
        return [self._swap(change) for change in changes]

    async def due(self, claims: Sequence[QueueClaim], *, now: int, limit: int) -> list[Record]:
        found: list[Record] = []
        for claim in claims:
            index = self._by_ready.get(claim.queue.name, [])
            ready = bisect.bisect_right(index, now, key=lambda entry: entry[0])
            take = min(ready, claim.limit, limit - len(found))
            found += [self._records[key] for _, key in index[:take]]
        return found

    async def scan(self, queue: Queue, *, after: str | None, limit: int) -> list[Record]:
        keys = self._by_key.get(queue.name, [])
        start = 0 if after is None else bisect.bisect_right(keys, after)
        return [self._records[key] for key in keys[start : start + limit]]

    async def next_ready(self, queues: Sequence[Queue], *, after: int | None = None) -> int | None:
        first: int | None = None
        for queue in queues:
            index = self._by_ready.get(queue.name, [])
            start = 0 if after is None else bisect.bisect_right(index, after, key=lambda entry: entry[0])
            if start < len(index) and (first is None or index[start][0] < first):
                first = index[start][0]
        return first

    def _swap(self, change: Change) -> bool:
        stored = self._records.get(change.ref.key)
        if (stored and stored.revision) != (change.old and change.old.revision):
            return False
        if stored is not None:
            self._unindex(self._by_ready, stored.queue, (stored.ready_at, stored.key))
        new = change.new
        if new is None:
            del self._records[change.ref.key]
            self._unindex(self._by_key, change.ref.queue, change.ref.key)
            return True
        self._records[new.key] = new
        bisect.insort(self._by_ready[new.queue], (new.ready_at, new.key))
        if stored is None:
            bisect.insort(self._by_key[new.queue], new.key)
        return True

    @staticmethod
    def _unindex(indexes: dict[str, list[_Entry]], queue: str, entry: _Entry) -> None:
        index = indexes[queue]
        del index[bisect.bisect_left(index, entry)]
        if not index:
            del indexes[queue]


@asynccontextmanager
async def memory_repository() -> AsyncIterator[Repository]:
    """A repository that lives as long as the app context and is seen by it alone."""
    yield MemoryRepository()
