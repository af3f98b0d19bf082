"""Stores that differ from the reference, but keep the contract."""

from __future__ import annotations

import functools
import hashlib
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any, TypeVar

import anyio
import anyio.lowlevel

from pyncette.errors import RecordRefusedException, RepositoryException
from pyncette.memory import MemoryRepository
from pyncette.record import HELD, LEAST, Change, Count, Look, Queue, QueueClaim, Record, Ref, Swap

_T = TypeVar("_T")

LAG = 0.005
SMALLEST = 65_536
"""The longest spec that the store with a size limit accepts."""


class Lagging(MemoryRepository):
    """``scan_ready``, ``claim``, ``count`` and ``look`` see the data as it was a moment ago."""

    def __init__(self) -> None:
        super().__init__()
        self._index = MemoryRepository()
        self._on_the_way: deque[tuple[float, Change]] = deque()

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        stored = await self.read([change.ref for change in changes])
        swaps = await super().swap(changes)
        for change, old, swap in zip(changes, stored, swaps, strict=True):
            if swap is Swap.APPLIED:
                self._on_the_way.append((monotonic() + LAG, Change(old, change.new)))
        return swaps

    async def scan_ready(self, queue: Queue, **options: Any) -> list[Record]:
        await self._arrive()
        return await self._index.scan_ready(queue, **options)

    async def count(self, queue: Queue, **options: Any) -> Count:
        await self._arrive()
        return await self._index.count(queue, **options)

    async def look(self, queues: Sequence[Queue], refs: Sequence[Ref], **options: Any) -> Look:
        await self._arrive()
        return replace(await self._index.look(queues, (), **options), records=await self.read(refs))

    async def _arrive(self) -> None:
        while self._on_the_way and self._on_the_way[0][0] <= monotonic():
            assert await self._index.swap([self._on_the_way.popleft()[1]]) == [Swap.APPLIED]


class LaggingKeys(Lagging):
    """Its index holds only keys: a record that has moved is found at its old time, and returned as it is now."""

    async def scan_ready(self, queue: Queue, **options: Any) -> list[Record]:
        found: list[Record] = []
        after: tuple[int, str] | None = options.pop("after", None)
        limit: int = options.pop("limit")
        while len(found) < limit:
            page = await super().scan_ready(queue, after=after, limit=limit, **options)
            found += [one for one in await self.read([one.ref for one in page]) if one is not None]
            if len(page) < limit:
                break
            after = page[-1].ready_at, page[-1].key
        return found[:limit]

    async def claim(self, claims: Sequence[QueueClaim], **options: Any) -> list[Record]:
        view = _WithoutWhatHasMoved()
        view.__dict__ = self.__dict__
        return await view.claim(claims, **options)


class _WithoutWhatHasMoved(LaggingKeys):
    """The same store as a claim sees it, without records that have moved."""

    async def claim(self, claims: Sequence[QueueClaim], **options: Any) -> list[Record]:
        return await Lagging.claim(self, claims, **options)

    async def scan_ready(self, queue: Queue, *, since: int = LEAST, before: int = HELD, **options: Any) -> list[Record]:
        found = await super().scan_ready(queue, since=since, before=before, **options)
        return list({one.key: one for one in found if since <= one.ready_at < before}.values())


def scattered(text: str) -> bytes:
    return hashlib.md5(text.encode(), usedforsecurity=False).digest()


class TiesInItsOwnOrder(MemoryRepository):
    """Returns keys, queues, and records with the same ``ready_at`` in an arbitrary order."""

    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        found = await super().scan(queue, after=None, limit=10**6, prefix=prefix)
        found.sort(key=lambda one: scattered(one.key))
        return [one for one in found if after is None or scattered(one.key) > scattered(after)][:limit]

    async def scan_ready(
        self,
        queue: Queue,
        *,
        since: int = LEAST,
        before: int = HELD,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> list[Record]:
        found = await super().scan_ready(queue, since=since, before=before, limit=10**6)
        found.sort(key=lambda one: (one.ready_at, scattered(one.key)))
        last = None if after is None else (after[0], scattered(after[1]))
        return [one for one in found if last is None or (one.ready_at, scattered(one.key)) > last][:limit]

    async def queues(self, *, after: str | None, limit: int) -> list[str]:
        names = sorted(await super().queues(after=None, limit=10**6), key=scattered)
        return [name for name in names if after is None or scattered(name) > scattered(after)][:limit]


class LooksTwice(MemoryRepository):
    """Its ``look`` consists of two statements, between which others may write: the first record may be missing from the
    moments."""

    async def look(self, queues: Sequence[Queue], refs: Sequence[Ref], **options: Any) -> Look:
        first = await super().look(queues, refs, **options)
        await anyio.lowlevel.checkpoint()
        later = await super().look(queues, (), **options)
        return replace(first, moments=later.moments)


class Slow(MemoryRepository):
    """Each answer is delayed by a different time, either before or after the work is done."""

    def __init__(self) -> None:
        super().__init__()
        self._chance = random.Random(0)

    async def _wait(self) -> None:
        await anyio.sleep(self._chance.random() * 0.002)

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        await self._wait()
        found = await super().read(refs)
        await self._wait()
        return found

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        await self._wait()
        swaps = await super().swap(changes)
        await self._wait()
        return swaps

    async def scan_ready(self, queue: Queue, **options: Any) -> list[Record]:
        await self._wait()
        return await super().scan_ready(queue, **options)

    async def look(self, queues: Sequence[Queue], refs: Sequence[Ref], **options: Any) -> Look:
        await self._wait()
        return await super().look(queues, refs, **options)


class CarriesOutLater(MemoryRepository):
    """Carries out a cancelled claim or swap nevertheless, a few calls later."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._chance = random.Random(seed)
        self._under_way: list[tuple[int, Callable[[], Awaitable[object]]]] = []
        self._calls = 0

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        await self._arrive()
        return await super().read(refs)

    async def scan(self, queue: Queue, **options: Any) -> list[Record]:
        await self._arrive()
        return await super().scan(queue, **options)

    async def count(self, queue: Queue, **options: Any) -> Count:
        await self._arrive()
        return await super().count(queue, **options)

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        return await self._send(functools.partial(super().swap, changes))

    async def claim(self, claims: Sequence[QueueClaim], **options: Any) -> list[Record]:
        own = MemoryRepository()
        own.__dict__ = self.__dict__
        return await self._send(functools.partial(own.claim, claims, **options))

    async def _send(self, work: Callable[[], Awaitable[_T]]) -> _T:
        await self._arrive()
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            self._under_way.append((self._calls + self._chance.randint(1, 6), work))
            raise
        return await work()

    async def _arrive(self) -> None:
        self._calls += 1
        arrived = [work for at, work in self._under_way if at <= self._calls]
        self._under_way = [(at, work) for at, work in self._under_way if at > self._calls]
        for work in arrived:
            await work()


class Minimal(MemoryRepository):
    """Does the minimum that the contract requires: no log of runs, the shortest allowed error messages, counts as lower
    bounds, outdated names of queues, and the inherited ``claim``."""

    keeps_runs = False

    def __init__(self) -> None:
        super().__init__()
        self._names: set[str] = set()

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        if any(change.new and len(change.new.spec.encode()) > SMALLEST for change in changes):
            raise RecordRefusedException(f"{SMALLEST}") from ValueError()
        self._names.update(change.ref.queue for change in changes)
        return await super().swap([replace(change, run=None) for change in changes])

    async def queues(self, *, after: str | None, limit: int) -> list[str]:
        return sorted(name for name in self._names if after is None or name > after)[:limit]

    async def count(self, queue: Queue, *, since: int = LEAST, before: int = HELD, limit: int = 10_000) -> Count:
        found = await super().count(queue, since=since, before=before)
        return found if found.value <= limit else Count(limit + 1, exact=False)

    async def runs(self, question: Any) -> Any:
        raise RepositoryException

    async def prune_runs(self, *, before: int, limit: int) -> int:
        raise RepositoryException
