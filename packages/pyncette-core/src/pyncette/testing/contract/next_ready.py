"""``next_ready``: when there will be something to claim."""

from __future__ import annotations

from dataclasses import replace

from pyncette.record import NEVER, Change, Queue
from pyncette.repository import Repository

from .base import EXACT, MINUTE, NOW, TASK, ContractBase, fresh, insert, record, static


class NextReadyContract(ContractBase):
    async def shows_next(
        self, repository: Repository, expected: int | None, *queues: Queue, after: int | None = None
    ) -> None:
        await self.shows(lambda: repository.next_ready(queues or [TASK], after=after), expected)

    async def test_next_ready_of_nothing(self, repository: Repository) -> None:
        """No queues or no records, no time."""
        assert await repository.next_ready([]) is None
        assert await repository.next_ready([TASK, Queue("static", static=True)]) is None
        assert await repository.next_ready([TASK], after=NOW) is None

    async def test_next_ready_is_the_earliest_of_all(self, repository: Repository) -> None:
        """The earliest of all queues that are asked for, and of no others, whether past or future."""
        await insert(
            repository, [record("a", ready_at=NOW + 3), record("b", ready_at=NOW - 2), record("c", ready_at=-9)]
        )
        await insert(repository, [record("a", "second", ready_at=NOW + 7), static("d", ready_at=NOW + 1)])
        a, b, c, d = Queue("a"), Queue("b"), Queue("c"), Queue("d", static=True)
        await self.shows_next(repository, NOW + 3, a)
        await self.shows_next(repository, NOW - 2, a, b)
        await self.shows_next(repository, -9, a, b, c)
        await self.shows_next(repository, NOW + 1, a, d)
        await self.shows_next(repository, NOW + 1, d)

    async def test_next_ready_after_a_moment(self, repository: Repository) -> None:
        """With ``after``, the earliest that is later than that, to the microsecond."""
        await insert(repository, [record(name=str(n), ready_at=NOW + n) for n in (-5, 0, 1, 20)])
        await insert(repository, [static("static", ready_at=NOW + 10)])
        queue = Queue("static", static=True)
        for after, expected in ((-10, -5), (-5, 0), (-1, 0), (0, 1), (1, 20), (19, 20)):
            await self.shows_next(repository, NOW + expected, after=NOW + after)
        await self.shows_next(repository, None, after=NOW + 20)
        await self.shows_next(repository, NOW + 10, TASK, queue, after=NOW + 1)
        await self.shows_next(repository, NOW + 20, TASK, queue, after=NOW + 10)

    async def test_next_ready_follows_every_move(self, repository: Repository) -> None:
        """Moves, leases and deletions change it."""
        one = record(ready_at=NOW)
        await insert(repository, [one, record(name="other", ready_at=NOW + MINUTE)])
        for ready_at, expected in ((NOW - 5, NOW - 5), (NOW + 2 * MINUTE, NOW + MINUTE), (-7, -7), (0, 0)):
            moved = replace(one, ready_at=ready_at, revision=fresh())
            assert await repository.swap([Change(one, moved)]) == [True]
            await self.shows_next(repository, expected)
            one = moved
        assert await repository.swap([Change(one, None)]) == [True]
        await self.shows_next(repository, NOW + MINUTE)

    async def test_next_ready_of_parked_records(self, repository: Repository) -> None:
        """Parked records never hide others; alone they give no moment, or one that never comes."""
        parked = record(name="parked", ready_at=NEVER)
        await insert(repository, [parked, record(ready_at=NOW)])
        await self.shows_next(repository, NOW)
        found = await self.shows(
            lambda: repository.next_ready([TASK], after=NOW), True, of=lambda found: found is None or found > EXACT
        )
        assert found is None or found <= NEVER

    async def test_next_ready_of_many_queues(self, repository: Repository) -> None:
        """600 queues in one call."""
        await insert(repository, [static(f"static{n}", ready_at=NOW + 1000 - n) for n in range(0, 500, 3)])
        await insert(repository, [record(f"template{n}", ready_at=NOW + 400 + n) for n in range(0, 100, 3)])
        queues = [Queue(f"static{n}", static=True) for n in range(500)] + [Queue(f"template{n}") for n in range(100)]
        await self.shows_next(repository, NOW + 400, *queues)
        await self.shows_next(repository, NOW + 502, *queues, after=NOW + 499)
