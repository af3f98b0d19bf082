"""The claim of stores that have no way of their own: look what is due, then compare and swap."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pyncette.memory import MemoryRepository
from pyncette.record import Queue, QueueClaim, Record
from pyncette.repository import CLAIM_ATTEMPTS, Remembered
from pyncette.testing.contract.base import NOW, TASK, fresh, insert, numbered, want

pytestmark = pytest.mark.anyio


class Rivalled(MemoryRepository):
    """Somebody else is faster, this many times, and takes all that was found."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.looks = 0

    async def _ready(self, claims: Sequence[QueueClaim], *, now: int, limit: int) -> list[Record]:
        self.looks += 1
        found = await super()._ready(claims, now=now, limit=limit)
        if self.times:
            self.times -= 1
            rival = MemoryRepository()
            rival.__dict__ = self.__dict__ | {"times": 0}
            await rival.claim(claims, now=now, limit=limit, token=fresh(), holder="rival")
        return found


@pytest.mark.parametrize("times", range(CLAIM_ATTEMPTS))
async def test_who_loses_all_to_others_takes_what_comes_next(times: int) -> None:
    repository, records = Rivalled(times), numbered(50)
    await insert(repository, records)
    taken = await repository.claim(want(TASK, limit=10), now=NOW, limit=10, token=fresh(), holder="me")
    assert [one.key for one in taken] == [one.key for one in records[10 * times : 10 * times + 10]]


async def test_who_always_loses_gives_up() -> None:
    repository = Rivalled(99)
    await insert(repository, numbered(500))
    assert await repository.claim(want(TASK, limit=10), now=NOW, limit=10, token=fresh(), holder="me") == []
    assert repository.looks == CLAIM_ATTEMPTS


def test_what_was_made_of_the_same_queues_is_taken_again() -> None:
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
