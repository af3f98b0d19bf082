"""``scan``: the instances of a queue, page by page, in an order that time does not change."""

from __future__ import annotations

from dataclasses import replace

import anyio

from pyncette.record import Change, Queue, Record
from pyncette.repository import Repository

from .base import APPLIED, NOW, TASK, ContractBase, all_of, applied, fresh, insert, numbered, record, static


def keys(records: list[Record]) -> list[str]:
    return [one.key for one in records]


class ScanContract(ContractBase):
    async def test_scan_of_nothing(self, repository: Repository) -> None:
        """An empty queue has no records, after any key."""
        await insert(repository, numbered(2, "other"))
        assert await repository.scan(TASK, after=None, limit=10) == []
        assert await repository.scan(TASK, after="task:5", limit=10) == []

    async def test_scan_page_by_page(self, repository: Repository) -> None:
        """Pages of any size add up to all records of the queue, each once, always in the same order."""
        records = numbered(24)
        await insert(repository, [*records, *numbered(5, "tas"), *numbered(5, "task2"), static("static")])
        whole = await all_of(repository, TASK)
        assert sorted(whole, key=lambda one: one.key) == records
        for page in (1, 5, 8, 24, 25):
            assert await all_of(repository, TASK, page=page) == whole

    async def test_scan_limits_a_page(self, repository: Repository) -> None:
        """A page holds its limit, unless there are no more; after the last key there is nothing."""
        await insert(repository, numbered(10))
        assert len(await repository.scan(TASK, after=None, limit=9)) == 9
        everything = await repository.scan(TASK, after=None, limit=11)
        assert len(everything) == 10
        assert await repository.scan(TASK, after=everything[3].key, limit=3) == everything[4:7]
        assert await repository.scan(TASK, after=everything[-1].key, limit=3) == []

    async def test_scan_of_a_static_queue(self, repository: Repository) -> None:
        """The queue of a static task holds its one record."""
        one = static("static")
        await insert(repository, [one, static("static2")])
        queue = Queue("static", static=True)
        assert await repository.scan(queue, after=None, limit=10) == [one]
        assert await repository.scan(queue, after="static", limit=10) == []

    async def test_scan_with_a_prefix(self, repository: Repository) -> None:
        """Only keys that start with the prefix, whatever characters it has, in the order of the whole scan."""
        names = ("a", "a%", "a_", "ab", "a\u00e9", "a\U0010ffff", "aa", "A", "a*", "a[", "a\\", "b", "", "\u00e9a")
        await insert(repository, [record(name=name) for name in names])
        whole = await all_of(repository, TASK)
        for prefix in (
            "task:",
            "task:a",
            "task:a%",
            "task:a_",
            "task:a*",
            "task:a\\",
            "task:\u00e9",
            "task:c",
            "",
            "t",
        ):
            expected = [one for one in whole if one.key.startswith(prefix)]
            assert await repository.scan(TASK, after=None, limit=100, prefix=prefix) == expected
            if len(expected) > 1:
                page = await repository.scan(TASK, after=expected[0].key, limit=1, prefix=prefix)
                assert page == expected[1:2]
            if expected:
                assert await repository.scan(TASK, after=expected[-1].key, limit=5, prefix=prefix) == []
        beyond = await repository.scan(TASK, after=whole[-1].key, limit=5, prefix="task:")
        assert beyond == []

    async def test_scan_goes_on_after_a_deleted_key(self, repository: Repository) -> None:
        """The key of ``after`` need not exist any more."""
        await insert(repository, numbered(12))
        whole = await all_of(repository, TASK)
        page = await repository.scan(TASK, after=None, limit=4)
        assert await repository.swap([Change(one, None) for one in page[2:]]) == [APPLIED, APPLIED]
        assert await repository.scan(TASK, after=page[-1].key, limit=100) == whole[4:]

    async def test_scan_of_records_that_move_in_time(self, clients: list[Repository]) -> None:
        """Records that are claimed and advanced during a scan are neither skipped nor repeated."""
        records = numbered(60)
        await insert(clients[0], records)
        found: list[str] = []
        current = {one.key: one for one in records}
        while page := await clients[0].scan(TASK, after=found[-1] if found else None, limit=7):
            found += keys(page)
            assert len(set(found)) == len(found)
            moved = {
                key: replace(one, revision=fresh(), ready_at=2 * NOW - one.ready_at + len(found))
                for key, one in current.items()
            }
            assert applied(await clients[-1].swap([Change(current[key], moved[key]) for key in current]))
            current = moved
        assert sorted(found) == sorted(current)

    async def test_scan_while_others_come_and_go(self, clients: list[Repository]) -> None:
        """A scan finds what exists from its start to its end exactly once, whatever comes and goes."""
        lasting = numbered(80)[::2]
        await insert(clients[0], lasting)
        found: list[str] = []

        async def come_and_go(client: Repository) -> None:
            while not done.is_set():
                passing = numbered(80)[1::2]
                await insert(client, passing)
                assert applied(await client.swap([Change(one, None) for one in passing]))
                await anyio.lowlevel.checkpoint()

        done = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(come_and_go, clients[-1])
            for _ in range(3):
                found = keys(await all_of(clients[0], TASK, page=6))
                assert len(set(found)) == len(found)
                assert {one.key for one in lasting} <= set(found)
            done.set()
