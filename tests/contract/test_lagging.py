"""A store whose index lags behind keeps the contract if it says so, and does not if it doesn't."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from time import monotonic

import pytest

from pyncette.memory import MemoryRepository
from pyncette.record import Change, Queue, QueueClaim, Record
from pyncette.repository import Repository
from pyncette.testing import AppContract, Capabilities, RepositoryContract
from pyncette.testing.contract.base import NOW, TASK, insert, numbered, want

LAG = 0.005


class LaggingRepository(MemoryRepository):
    """``due`` and ``next_ready`` show what was stored a moment ago."""

    def __init__(self) -> None:
        super().__init__()
        self._index = MemoryRepository()
        self._on_the_way: deque[tuple[float, Change]] = deque()

    async def swap(self, changes: Sequence[Change]) -> list[bool]:
        stored = await self.read([change.ref for change in changes])
        applied = await super().swap(changes)
        for change, old, ok in zip(changes, stored, applied, strict=True):
            if ok:
                self._on_the_way.append((monotonic() + LAG, Change(old, change.new)))
        return applied

    async def due(self, claims: Sequence[QueueClaim], *, now: int, limit: int) -> list[Record]:
        await self._arrive()
        return await self._index.due(claims, now=now, limit=limit)

    async def next_ready(self, queues: Sequence[Queue], *, after: int | None = None) -> int | None:
        await self._arrive()
        return await self._index.next_ready(queues, after=after)

    async def _arrive(self) -> None:
        while self._on_the_way and self._on_the_way[0][0] <= monotonic():
            assert await self._index.swap([self._on_the_way.popleft()[1]]) == [True]


class TestLagging(RepositoryContract, AppContract):
    capabilities = Capabilities(immediate_index=False, index_lag=5)
    property_examples = 10

    @pytest.fixture
    def repository_factory(self) -> Callable[[], AbstractAsyncContextManager[Repository]]:
        shared = LaggingRepository()
        return lambda: nullcontext(shared)


async def test_a_store_that_does_not_say_so() -> None:
    repository, records = LaggingRepository(), numbered(3)
    await insert(repository, records)
    with pytest.raises(AssertionError):
        await RepositoryContract().shows(lambda: repository.due(want(TASK), now=NOW, limit=5), records)
    await TestLagging().shows(lambda: repository.due(want(TASK), now=NOW, limit=5), records)
