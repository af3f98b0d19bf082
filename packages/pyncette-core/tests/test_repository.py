"""The default claim of stores without their own: query what is due, then compare and swap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pyncette.memory import MemoryRepository
from pyncette.record import Change, Queue, Record, Swap
from pyncette.repository import CLAIM_ATTEMPTS, Remembered, Repository
from pyncette.testing.contract.base import NOW, TASK, fresh, insert, numbered, want

pytestmark = pytest.mark.anyio


class WithRival(MemoryRepository):
    """A rival is faster ``times`` times, and claims up to ``takes`` of the found records."""

    def __init__(self, times: int, takes: int = 10) -> None:
        super().__init__()
        self.times = times
        self.takes = takes
        self.looks = 0

    async def scan_ready(self, queue: Queue, **options: Any) -> list[Record]:
        self.looks += 1
        found = await super().scan_ready(queue, **options)
        if self.times:
            self.times -= 1
            rival = MemoryRepository()
            rival.__dict__ = self.__dict__ | {"times": 0}
            await rival.claim(want(queue, limit=10), now=NOW, limit=self.takes, token=fresh(), holder="rival")
        return found


@pytest.mark.parametrize("times", range(CLAIM_ATTEMPTS))
async def test_a_claim_that_loses_everything_takes_the_next_records(times: int) -> None:
    repository, records = WithRival(times), numbered(10 * CLAIM_ATTEMPTS)
    await insert(repository, records)
    taken = await repository.claim(want(TASK, limit=10), now=NOW, limit=10, token=fresh(), holder="me")
    assert [one.key for one in taken] == [one.key for one in records[10 * times : 10 * times + 10]]


@pytest.mark.parametrize("takes", [1, 4, 9])
async def test_a_claim_that_loses_some_fills_up_to_its_limit(takes: int) -> None:
    """A worker that gets less assumes that nothing is left until the next poll."""
    repository, records = WithRival(3, takes), numbered(50)
    await insert(repository, records)
    taken = await repository.claim(want(TASK, limit=10), now=NOW, limit=10, token=fresh(), holder="me")
    assert len({one.key for one in taken}) == 10
    assert {one.key for one in taken} <= {one.key for one in records[: 10 + 3 * takes]}


async def test_limits_apply_across_attempts() -> None:
    """For each window separately, even if both are of the same queue."""
    repository, records = WithRival(2, 1), numbered(40)
    await insert(repository, records)
    [whole] = want(TASK, limit=7)
    border = records[20].ready_at
    asked = [replace(whole, since=border, limit=3), replace(whole, before=border)]
    taken = await repository.claim(asked, now=NOW, limit=99, token=fresh(), holder="me")
    assert sum(one.ready_at >= border for one in taken) == 3
    assert sum(one.ready_at < border for one in taken) == 7


class Stuck(MemoryRepository):
    """A transaction has locked the first records."""

    swaps = 0

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        self.swaps += 1
        free = [change for change in changes if change.old is None or change.old.key[-1] > "4"]
        done = iter(await super().swap(free))
        return [next(done) if change in free else Swap.BUSY for change in changes]


async def test_locked_records_are_not_retried() -> None:
    repository, records = Stuck(), numbered(10)
    await insert(repository, records)
    repository.swaps = 0
    taken = await repository.claim(want(TASK, limit=3), now=NOW, limit=3, token=fresh(), holder="me")
    assert (taken, repository.swaps) == ([], 1)


async def test_a_claim_that_always_loses_gives_up() -> None:
    repository = WithRival(99)
    await insert(repository, numbered(500))
    assert await repository.claim(want(TASK, limit=10), now=NOW, limit=10, token=fresh(), holder="me") == []
    assert repository.looks == CLAIM_ATTEMPTS


def test_a_backend_names_its_helpers_as_it_likes() -> None:
    """The base class has no helper methods, which a backend's method of the same name would replace."""
    assert [name for name in vars(Repository) if name.startswith("_") and not name.startswith("__")] == ["_abc_impl"]


def test_the_result_for_the_same_queues_is_cached() -> None:
    made: list[Sequence[Queue]] = []

    def make(queues: Sequence[Queue]) -> int:
        made.append(queues)
        return len(queues)

    remembered, queues, changing = Remembered(make), (TASK, TASK), [TASK]
    made.clear()
    assert [remembered.of(queues), remembered.of(queues), remembered.of(())] == [2, 2, 0]
    assert made == [queues, ()]
    assert remembered.of(changing) == 1
    changing.append(TASK)
    assert remembered.of(changing) == 2, "a list may have changed"
