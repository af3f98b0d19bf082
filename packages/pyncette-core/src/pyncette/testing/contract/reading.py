"""``read``: records by their refs."""

from __future__ import annotations

from pyncette.record import Change, Ref
from pyncette.repository import Repository

from .base import APPLIED, ContractBase, assert_same, fresh, insert, numbered, record, static, stored


class ReadContract(ContractBase):
    async def test_read_of_an_empty_storage(self, repository: Repository) -> None:
        """There is nothing at first: None for each ref."""
        assert await repository.read([Ref("task", "task:a"), Ref("static", "static")]) == [None, None]

    async def test_read_of_nothing(self, repository: Repository) -> None:
        """No refs, no records."""
        assert await repository.read([]) == []

    async def test_read_keeps_the_order_of_the_refs(self, repository: Repository) -> None:
        """One answer for each ref, in order, with None in between; the same ref may come twice."""
        a, b, c = record(name="a"), record("other", "b"), static("c")
        await insert(repository, [a, b, c])
        absent = Ref("task", "task:absent")
        assert await repository.read([c.ref, absent, a.ref, b.ref, a.ref, absent]) == [c, None, a, b, a, None]

    async def test_read_of_more_than_a_thousand(self, repository: Repository) -> None:
        """A batch may be larger than what a store takes at once."""
        records = numbered(1200)
        await insert(repository, records[::2])
        expected = [one if number % 2 == 0 else None for number, one in enumerate(records)]
        assert_same(await stored(repository, records), expected)

    async def test_read_sees_the_writes_of_others(self, clients: list[Repository]) -> None:
        """All clients immediately see a write that was acknowledged to one of them."""
        one = record()
        await insert(clients[0], [one])
        for round_ in range(10):
            changed = record(attempt=round_)
            assert await clients[round_ % len(clients)].swap([Change(one, changed)]) == [APPLIED]
            for client in clients:
                assert await client.read([one.ref]) == [changed]
            one = changed
        assert await clients[-1].swap([Change(one, None)]) == [APPLIED]
        for client in clients:
            assert await client.read([one.ref]) == [None]

    async def test_read_tells_templates_apart(self, repository: Repository) -> None:
        """Instances with the same name under several templates are several records."""
        records = [record(queue, "same", spec=fresh()) for queue in ("task", "task2", "task:", "tas")]
        await insert(repository, records)
        assert await stored(repository, records) == records
