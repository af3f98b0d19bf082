"""A store whose index lags behind keeps the contract if it says so, and does not if it doesn't."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from time import monotonic
from typing import Any

import pytest

from pyncette.memory import MemoryRepository
from pyncette.record import Change, Count, Look, Queue, Record, Ref, Swap
from pyncette.repository import Repository
from pyncette.testing import AppContract, Capabilities, RepositoryContract
from pyncette.testing.contract.base import TASK, insert, numbered

LAG = 0.005


class LaggingRepository(MemoryRepository):
    """``scan_ready``, ``claim`` and ``look`` find what was stored a moment ago; what they return is current."""

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

    async def look(self, queues: Sequence[Queue], refs: Sequence[Ref], *, after: int | None = None) -> Look:
        await self._arrive()
        return replace(await self._index.look(queues, (), after=after), records=await self.read(refs))

    async def _arrive(self) -> None:
        while self._on_the_way and self._on_the_way[0][0] <= monotonic():
            assert await self._index.swap([self._on_the_way.popleft()[1]]) == [Swap.APPLIED]


@pytest.mark.one_loop  # each test waits for the index
class TestLagging(RepositoryContract, AppContract):
    capabilities = Capabilities(immediate_index=False, index_lag=5, keeps_runs=True)
    property_examples = 10

    @pytest.fixture
    def repository_factory(self) -> Callable[[], AbstractAsyncContextManager[Repository]]:
        shared = LaggingRepository()
        return lambda: nullcontext(shared)


async def test_a_store_that_does_not_say_so() -> None:
    repository, records = LaggingRepository(), numbered(3)
    await insert(repository, records)
    with pytest.raises(AssertionError):
        await RepositoryContract().shows(lambda: repository.scan_ready(TASK, limit=5), records)
    await TestLagging().shows(lambda: repository.scan_ready(TASK, limit=5), records)
