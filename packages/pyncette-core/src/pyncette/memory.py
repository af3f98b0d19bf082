"""The in-memory repository: the default, and the reference that every other one is tested against."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice

from sortedcontainers import SortedList

from .record import Change, Queue, QueueClaim, Record, Ref
from .repository import Repository


class MemoryRepository(Repository):
    """Records in a dictionary, with one sorted index by key and one by ``ready_at`` for each queue.

    Nothing is awaited between reading and writing, which makes every method atomic within one event loop.
    """

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._by_ready: defaultdict[str, SortedList] = defaultdict(SortedList)  # (ready_at, key)
        self._by_key: defaultdict[str, SortedList] = defaultdict(SortedList)

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        return [self._records.get(ref.key) for ref in refs]

    async def swap(self, changes: Sequence[Change]) -> list[bool]:
        return [self._swap(change) for change in changes]

    async def due(self, claims: Sequence[QueueClaim], *, now: int, limit: int) -> list[Record]:
        found: list[Record] = []
        for claim in claims:
            if (index := self._by_ready.get(claim.queue.name)) is not None:
                ready = index.irange(maximum=(now + 1,), inclusive=(True, False))
                take = min(claim.limit, limit - len(found))
                found += [self._records[key] for _, key in islice(ready, take)]
        return found

    async def scan(self, queue: Queue, *, after: str | None, limit: int) -> list[Record]:
        index = self._by_key.get(queue.name)
        keys = [] if index is None else islice(index.irange(minimum=after, inclusive=(False, True)), limit)
        return [self._records[key] for key in keys]

    async def next_ready(self, queues: Sequence[Queue], *, after: int | None = None) -> int | None:
        moments: list[int] = []
        for queue in queues:
            if (index := self._by_ready.get(queue.name)) is not None:
                later = index.irange(minimum=None if after is None else (after + 1,))
                moments += [ready_at for ready_at, _ in islice(later, 1)]
        return min(moments, default=None)

    def _swap(self, change: Change) -> bool:
        old, new = change.old, change.new
        stored = self._records.get(change.ref.key)
        if (stored and stored.revision) != (old and old.revision):
            return False
        if stored is not None:
            _remove(self._by_ready, stored.queue, (stored.ready_at, stored.key))
        if new is not None:
            self._records[new.key] = new
            self._by_ready[new.queue].add((new.ready_at, new.key))
            if stored is None:
                self._by_key[new.queue].add(new.key)
        elif stored is not None:
            del self._records[stored.key]
            _remove(self._by_key, stored.queue, stored.key)
        return True


def _remove(indexes: dict[str, SortedList], queue: str, entry: object) -> None:
    index = indexes[queue]
    index.remove(entry)
    if not index:
        del indexes[queue]


@asynccontextmanager
async def memory_repository() -> AsyncIterator[Repository]:
    """A repository that lives as long as the app context and is seen by it alone."""
    yield MemoryRepository()
