"""Concurrent clients: every record is won by exactly one of them, and none waits forever."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import anyio
import anyio.lowlevel

from pyncette import lease
from pyncette.record import Change, Queue, Record, RunQuestion, Swap
from pyncette.repository import Repository

from .base import (
    APPLIED,
    CONFLICT,
    MINUTE,
    NOW,
    TASK,
    ContractBase,
    applied,
    assert_same,
    claimed,
    fresh,
    insert,
    next_ready,
    numbered,
    record,
    static,
    stored,
    swapped,
    want,
)
from .deadline import within

_T = TypeVar("_T")


class RaceContract(ContractBase):
    async def race(self, clients: list[Repository], run: Callable[[int, Repository], Awaitable[_T]]) -> list[_T]:
        """Run concurrently for all clients. Returns the results in the order of the clients."""
        results: dict[int, _T] = {}

        async def one(number: int, client: Repository) -> None:
            results[number] = await run(number, client)

        async def everyone() -> None:
            async with anyio.create_task_group() as tasks:
                for number, client in enumerate(clients):
                    tasks.start_soon(one, number, client)

        await within(self.deadlock_after, "A race", everyone)
        return [results[number] for number in range(len(clients))]

    async def test_race_of_claims(self, clients: list[Repository]) -> None:
        """Clients that claim the same 500 records: each record goes to exactly one of them, with its own token."""
        records = numbered(500)
        await insert(clients[0], records)
        taken_in_all = 0

        async def claim_all(number: int, client: Repository) -> list[Record]:
            nonlocal taken_in_all
            mine: list[Record] = []
            while taken_in_all < len(records):
                claims, token, holder = want(TASK, limit=40), fresh(), f"client {number}"
                before = await client.claim(claims, now=NOW, limit=40, token=token, holder=holder)
                taken = claimed(before, claims, now=NOW, token=token, holder=holder)
                mine += taken
                taken_in_all += len(taken)
                await anyio.lowlevel.checkpoint()  # lets a deadline end it
            return mine

        shares = await self.race(clients, claim_all)
        everything = [one for share in shares for one in share]
        assert_same(sorted(one.key for one in everything), sorted(one.key for one in records))
        assert {one.attempt for one in everything} == {1}
        for number, share in enumerate(shares):
            assert {one.locked_by for one in share} <= {f"client {number}"}
        assert_same(await stored(clients[0], everything), everything)

    async def test_race_of_claims_on_many_queues(self, clients: list[Repository]) -> None:
        """The same with 60 queues that the clients name in different orders, with settlements in between."""
        records = [static(f"static{number}") for number in range(40)]
        records += [one for number in range(20) for one in numbered(10, f"template{number}")]
        await insert(clients[0], records)
        queues = [Queue(one.queue, static=True) for one in records[:40]]
        queues += [Queue(f"template{number}") for number in range(20)]
        executed: Counter[str] = Counter()

        async def work(number: int, client: Repository) -> None:
            mine = random.Random(number).sample(queues, len(queues))
            while executed.total() < len(records):
                token = fresh()
                claims = want(*mine, limit=2)
                before = await client.claim(claims, now=NOW, limit=25, token=token, holder=token)
                taken = claimed(before, claims, now=NOW, token=token, holder=token)
                executed.update(one.key for one in taken)
                done = [lease.complete(one, next_due=NOW + MINUTE, revision=fresh()) for one in taken]
                assert applied(await swapped(client, done))
                await anyio.lowlevel.checkpoint()

        await self.race(clients, work)
        assert executed == Counter(one.key for one in records)
        after = await stored(clients[0], records)
        assert all(one is not None and one.locked_by is None and one.ready_at == NOW + MINUTE for one in after)

    async def test_race_of_swaps(self, clients: list[Repository]) -> None:
        """Clients that swap one record at the same time: exactly one wins each round, and its record is stored."""
        current = record()
        await insert(clients[0], [current])
        for round_ in range(20):
            attempts = [record(attempt=round_, spec=f"client {number}") for number in range(len(clients))]

            async def swap(
                number: int, client: Repository, current: Record = current, attempts: list[Record] = attempts
            ) -> bool:
                (swap,) = await client.swap([Change(current, attempts[number])])
                return swap is APPLIED

            outcomes = await self.race(clients, swap)
            assert sum(outcomes) == 1
            (found,) = await clients[0].read([current.ref])
            assert found == attempts[outcomes.index(True)]
            current = found

    async def test_race_of_inserts(self, clients: list[Repository]) -> None:
        """Clients that create the same records: each record is created exactly once, as its creator wrote it."""
        shuffled = [
            [record(name=f"{n:03}", spec=f"client {number}") for n in range(150)] for number in range(len(clients))
        ]

        async def create(number: int, client: Repository) -> list[Swap]:
            records = shuffled[number]
            random.Random(number).shuffle(records)
            return await client.swap([Change(None, one) for one in records])

        outcomes = await self.race(clients, create)
        created = [
            one
            for records, outcome in zip(shuffled, outcomes, strict=True)
            for one, swap in zip(records, outcome, strict=True)
            if swap is APPLIED
        ]
        assert Counter(one.key for one in created) == Counter(f"task:{n:03}" for n in range(150))
        assert await stored(clients[0], created) == created

    async def test_race_of_batches_in_different_orders(self, clients: list[Repository]) -> None:
        """Batches over the same records in different orders neither deadlock nor overwrite each other."""
        current = numbered(150)
        await insert(clients[0], current)
        for _ in range(3):
            batches = []
            for number in range(len(clients)):
                batch = [Change(one, replace(one, revision=fresh(), spec=f"client {number}")) for one in current]
                random.Random(fresh()).shuffle(batch)
                batches.append(batch)

            async def swap(
                number: int, client: Repository, batches: list[list[Change]] = batches
            ) -> list[Record | None]:
                won = await client.swap(batches[number])
                return [change.new for change, each in zip(batches[number], won, strict=True) if each is APPLIED]

            winners = [one for share in await self.race(clients, swap) for one in share if one is not None]
            assert Counter(one.key for one in winners) == Counter(one.key for one in current)
            current = sorted(winners, key=lambda one: one.key)
            assert await stored(clients[0], current) == current

    async def test_race_of_claims_with_swaps(self, clients: list[Repository]) -> None:
        """A claim races an overwriting swap on the same records: for each record, one of them comes first, and a swap
        of what was read before the claim fails.
        """
        records = numbered(200)
        await insert(clients[0], records)
        new = {one.key: replace(one, revision=fresh(), spec="new", ready_at=NOW + MINUTE) for one in records}

        async def run(number: int, client: Repository) -> list[Record]:
            if number % 2 == 0:
                token = fresh()
                claims = want(TASK, limit=200)
                before = await client.claim(claims, now=NOW, limit=200, token=token, holder=token)
                return claimed(before, claims, now=NOW, token=token, holder=token)
            mine = [one for position, one in enumerate(records) if position % len(clients) in (number, number - 1)]
            won = await client.swap([Change(one, new[one.key]) for one in mine])
            return [new[one.key] for one, swap in zip(mine, won, strict=True) if swap is APPLIED]

        winners = [one for share in await self.race(clients, run) for one in share]
        assert max(Counter(one.key for one in winners).values()) == 1
        won = {one.key: one for one in winners}
        assert await stored(clients[0], records) == [won.get(one.key, one) for one in records]
        assert all(won[one.key].spec == "new" for one in records if one.key in won and won[one.key].attempt == 0)

    async def test_race_within_one_client(self, repository: Repository) -> None:
        """A repository may be called concurrently: 40 calls of all kinds at once on one client."""
        records = numbered(40)

        async def life(number: int, client: Repository) -> None:
            one = records[number]
            await insert(client, [one])
            assert await client.read([one.ref]) == [one]
            changed = replace(one, revision=fresh(), attempt=7)
            assert await client.swap([Change(one, changed), Change(record(name="absent"), None)]) == [APPLIED, CONFLICT]
            assert one.key in {other.key for other in await client.scan(TASK, after=None, limit=100)}
            await next_ready(client, [TASK])
            await client.scan_ready(TASK, limit=100)
            await client.queues(after=None, limit=100)
            await client.count(TASK)
            await client.clock()
            await client.claim(want(Queue(f"empty{number}")), now=NOW, limit=3, token=fresh(), holder=fresh())
            if client.keeps_runs:
                await client.runs(RunQuestion(limit=3))
            created = Change(None, record(name=f"new{number}"))
            assert await client.swap([Change(one, None), created]) == [CONFLICT, APPLIED]
            assert await client.swap([Change(changed, None)]) == [APPLIED]

        await self.race([repository] * len(records), life)
        left = await repository.scan(TASK, after=None, limit=100)
        assert {one.key for one in left} == {f"task:new{number}" for number in range(40)}
