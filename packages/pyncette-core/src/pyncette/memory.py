"""The in-memory repository: the default, and the reference that every other one is tested against."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import islice, takewhile
from typing import cast

from sortedcontainers import SortedDict, SortedList

from .record import HELD, LEAST, Change, Count, Look, Queue, Record, Ref, RunLine, RunQuestion, Swap
from .repository import Repository


class MemoryRepository(Repository):
    """Records in a dictionary, with one sorted index by key and one by ``ready_at`` for each queue.

    Nothing is awaited between reading and writing, which makes every method atomic within one event loop.
    """

    keeps_runs = True

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._by_ready: defaultdict[str, SortedList] = defaultdict(SortedList)  # (ready_at, key)
        self._by_key: defaultdict[str, SortedList] = defaultdict(SortedList)
        self._runs: SortedDict = SortedDict()  # by (ended_at, id)

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        return [self._records.get(ref.key) for ref in refs]

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        return [self._swap(change) for change in changes]

    async def look(
        self,
        queues: Sequence[Queue],
        refs: Sequence[Ref],
        *,
        after: int | None = None,
        until: int = LEAST,
        limit: int = 1,
    ) -> Look:
        first: list[int] = []
        moments: dict[str, list[int]] = {}
        since = LEAST if after is None else after + 1
        for queue in queues:
            found = [ready_at for ready_at, _ in islice(self._range(queue, since, HELD), 1)]
            first += found
            if found and found[0] <= until:
                until_then = self._range(queue, since, min(until + 1, HELD))
                moments[queue.name] = [ready_at for ready_at, _ in islice(until_then, limit)]
        return Look(min(first, default=None), [self._records.get(ref.key) for ref in refs], None, moments)

    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        index = self._by_key.get(queue.name)
        if index is None:
            return []
        beyond = after is not None and after >= prefix
        keys = index.irange(minimum=after if beyond else prefix, inclusive=(not beyond, True))
        return [self._records[key] for key in islice(takewhile(lambda key: key.startswith(prefix), keys), limit)]

    async def scan_ready(
        self,
        queue: Queue,
        *,
        since: int = LEAST,
        before: int = HELD,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> list[Record]:
        return [self._records[key] for _, key in islice(self._range(queue, since, before, after), limit)]

    async def queues(self, *, after: str | None, limit: int) -> list[str]:
        return sorted(name for name in self._by_key if after is None or name > after)[:limit]

    async def count(self, queue: Queue, *, since: int = LEAST, before: int = HELD, limit: int = 10_000) -> Count:
        index = self._by_ready.get(queue.name)
        value = 0 if index is None else index.bisect_left((before,)) - index.bisect_left((since,))
        return Count(max(value, 0), exact=True)

    async def runs(self, question: RunQuestion) -> list[RunLine]:
        def fits(line: RunLine) -> bool:
            return (
                (question.queues is None or line.queue in question.queues)
                and (question.key is None or line.key == question.key)
                and (question.outcomes is None or line.outcome in question.outcomes)
                and (question.containing is None or question.containing in line.text)
            )

        end = (question.before,) if question.after is None else min(question.after, (question.before,))
        places = self._runs.irange((question.since,), end, inclusive=(True, False), reverse=True)
        return list(islice(filter(fits, map(self._runs.__getitem__, places)), question.limit))

    async def prune_runs(self, *, before: int, limit: int) -> int:
        old = list(islice(self._runs.irange(maximum=(before,), inclusive=(True, False)), limit))
        for place in old:
            del self._runs[place]
        return len(old)

    def _range(
        self, queue: Queue, since: int, before: int, after: tuple[int, str] | None = None
    ) -> Iterable[tuple[int, str]]:
        """The entries of the index by ``ready_at`` that are in the range."""
        index = self._by_ready.get(queue.name)
        if index is None:
            return ()
        if after is not None and after >= (since,):
            return cast(Iterable[tuple[int, str]], index.irange(after, (before,), (False, False)))
        return cast(Iterable[tuple[int, str]], index.irange((since,), (before,), (True, False)))

    def _swap(self, change: Change) -> Swap:
        old, new = change.old, change.new
        stored = self._records.get(change.ref.key if old is None else old.key)
        if (None if stored is None else stored.revision) != (None if old is None else old.revision):
            return Swap.CONFLICT
        if new is None:
            self._delete(stored)
        else:
            self._store(stored, new)
        if change.run is not None:
            self._runs[change.run.ended_at, change.run.id] = change.run
        return Swap.APPLIED

    def _store(self, stored: Record | None, new: Record) -> None:
        self._records[new.key] = new
        index = self._by_ready[new.queue]
        if stored is None:
            self._by_key[new.queue].add(new.key)
        else:
            index.remove((stored.ready_at, stored.key))
        index.add((new.ready_at, new.key))

    def _delete(self, stored: Record | None) -> None:
        if stored is not None:
            del self._records[stored.key]
            _remove(self._by_ready, stored.queue, (stored.ready_at, stored.key))
            _remove(self._by_key, stored.queue, stored.key)


def _remove(indexes: dict[str, SortedList], queue: str, entry: object) -> None:
    index = indexes[queue]
    index.remove(entry)
    if not index:
        del indexes[queue]


@asynccontextmanager
async def memory_repository() -> AsyncIterator[Repository]:
    """A repository that lives as long as the app context, and that only this context sees."""
    yield MemoryRepository()
