"""``queues`` and ``count``: what is stored, for operators."""

from __future__ import annotations

import functools

from pyncette.record import LEAST, Band, Change, Count, Queue
from pyncette.repository import Repository

from .base import APPLIED, NOW, TASK, ContractBase, insert, numbered, record, static


async def all_queues(repository: Repository, page: int) -> list[str]:
    names: list[str] = []
    while True:
        more = await repository.queues(after=names[-1] if names else None, limit=page)
        assert len(more) <= page
        names += more
        assert len(set(names)) == len(names)
        if len(more) < page:
            return names


class ListContract(ContractBase):
    async def test_queues_of_an_empty_storage(self, repository: Repository) -> None:
        """There are none at first."""
        assert await repository.queues(after=None, limit=5) == []

    async def test_queues_page_by_page(self, clients: list[Repository]) -> None:
        """All queues that hold a record: static ones, templates, partitions, reserved ones, whichever client wrote
        them.
        """
        records = [static("static"), static(":control"), record(":workers", "one"), record("template:1", "a")]
        records += [record("template:12", "b"), record("t\u00e4sk", "a"), *numbered(30)]
        await insert(clients[0], records[::2])
        await insert(clients[-1], records[1::2])
        for page in (1, 4, 100):
            assert sorted(await all_queues(clients[0], page)) == sorted({one.queue for one in records})

    async def test_queues_go_on_after_one_that_is_gone(self, repository: Repository) -> None:
        """A queue that a page ended with may have become empty since: the next one has those that follow it."""
        records = [record(f"queue{number}") for number in range(9)]
        await insert(repository, records)
        every = await all_queues(repository, 100)
        assert sorted(every) == [one.queue for one in records]
        for last in every[2::3]:
            [gone] = [one for one in records if one.queue == last]
            assert await repository.swap([Change(gone, None)]) == [APPLIED]
            assert await repository.queues(after=last, limit=100) == every[every.index(last) + 1 :]

    async def test_queues_that_are_used_again(self, repository: Repository) -> None:
        """A queue whose last record was deleted may be listed or not; one that has a record again is."""
        await insert(repository, [record("other")])
        for _ in range(2):
            one = record()
            await insert(repository, [one])
            assert sorted(await all_queues(repository, 10)) == ["other", "task"]
            assert await repository.swap([Change(one, None)]) == [APPLIED]
            assert set(await all_queues(repository, 10)) <= {"other", "task"}

    async def test_count(self, repository: Repository) -> None:
        """Exact up to the limit, for the queue and the range of the call."""
        await insert(repository, [*numbered(20), *numbered(5, "other"), static("static")])
        await insert(repository, [record(name=f"held{n}", ready_at=Band.DEAD.at(NOW + n)) for n in range(3)])
        static_queue = Queue("static", static=True)
        for queue, since, before, expected in (
            (TASK, LEAST, 2**63 - 1, 23),
            (TASK, LEAST, NOW + 1, 20),
            (TASK, LEAST, NOW, 19),
            (TASK, NOW - 1, NOW + 1, 2),
            (TASK, NOW, NOW - 5, 0),
            (TASK, Band.DEAD.since, Band.DEAD.before, 3),
            (TASK, Band.PAUSED.since, Band.PAUSED.before, 0),
            (static_queue, NOW, NOW + 1, 1),
            (static_queue, NOW + 1, NOW + 2, 0),
            (Queue("absent"), LEAST, NOW, 0),
        ):
            count = functools.partial(repository.count, queue, since=since, before=before)
            await self.shows(count, Count(expected, exact=True))

    async def test_count_beyond_the_limit(self, repository: Repository) -> None:
        """Beyond its limit a count says whether it is exact."""
        await insert(repository, numbered(30))
        found = await self.shows(
            functools.partial(repository.count, TASK, limit=7), True, of=lambda count: count.value >= 7
        )
        assert found.exact == (found.value == 30) or not found.exact
        assert await repository.count(TASK, limit=30) == Count(30, exact=True)
