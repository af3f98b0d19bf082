"""``claim``: leases what is due, exactly as :func:`pyncette.lease.claim` says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio

from pyncette import lease
from pyncette.record import HELD, Band, Change, Queue, QueueClaim, Record
from pyncette.repository import Repository

from .base import (
    APPLIED,
    CONFLICT,
    MINUTE,
    NOW,
    TASK,
    ContractBase,
    all_of,
    assert_same,
    fresh,
    insert,
    next_ready,
    numbered,
    ready,
    record,
    static,
    stored,
    want,
)


def by_key(records: list[Record]) -> list[Record]:
    return sorted(records, key=lambda one: one.key)


class ClaimContract(ContractBase):
    async def test_claim_of_nothing(self, repository: Repository) -> None:
        """Without queues, or with nothing due, there are no leases, and nothing changes."""
        waiting = [
            record(ready_at=NOW + 1),
            record(name="held", ready_at=Band.DEAD.at(NOW)),
            static("static", ready_at=NOW + 1),
        ]
        await insert(repository, waiting)
        await self.take(repository, [], expect=0)
        await self.take(repository, want(TASK, Queue("static", static=True), Queue("empty")), expect=0)
        assert await stored(repository, waiting) == waiting

    async def test_claim_writes_what_the_state_machine_says(self, repository: Repository) -> None:
        """Every field of every claimed record is what ``lease.claim`` computes."""
        held: dict[str, Any] = {"locked_until": NOW - 1, "locked_by": "someone"}
        records = [
            record(name="new", due_at=NOW - MINUTE),
            record(name="often", fence=17, attempt=5),
            record(name="fence ahead", fence=NOW + MINUTE),
            record(name="fence behind", fence=NOW - 1),
            record(name="fence now", fence=NOW),
            record(name="large fence", fence=2**62),
            record(name="expired", ready_at=NOW - 1, **held, fence=NOW - MINUTE, attempt=1),
            record(name="retried", ready_at=NOW - 3, due_at=NOW - 100, attempt=4),
            record(name="negative", ready_at=-5, due_at=-7),
            record(name="long", spec="\u00fc" * 20_000),
            record(name='Zo\u00eb\'s 100% "task" \\ :x'),
            static("static", attempt=3),
        ]
        await insert(repository, records)
        token, holder = fresh(), fresh()
        claims = want(TASK, Queue("static", static=True))
        taken = await self.take(repository, claims, expect=len(records), token=token, holder=holder)
        expected = [lease.claim(one, now=NOW, locked_until=NOW + MINUTE, token=token, holder=holder) for one in records]
        assert by_key(taken) == by_key(expected)
        assert await stored(repository, records) == expected

    async def test_claim_returns_the_records_as_they_were(self, repository: Repository) -> None:
        """What was stored before, so that core can see an expired lease and its owner."""
        expired = record(name="expired", ready_at=NOW - 1, locked_until=NOW - 1, locked_by="worker 1", attempt=3)
        records = [expired, record(state='{"v":1}', spec="x" * 5000), static("static", ready_at=NOW - 5)]
        await insert(repository, records)
        claims = want(TASK, Queue("static", static=True))
        found: list[Record] = []
        with anyio.move_on_after(self.capabilities.index_lag):
            while len(found) < 3:
                found += await repository.claim(claims, now=NOW, limit=10, token=fresh(), holder="worker 2")
        assert by_key(found) == by_key(records)

    async def test_claim_within_windows(self, repository: Repository) -> None:
        """A claim may name a queue several times: a share of what has just become due, and the oldest of the rest."""
        old, new = numbered(6), [record(name=f"new{n}", ready_at=NOW - 9 + n) for n in range(5)]
        old = [replace(one, ready_at=one.ready_at - MINUTE) for one in old]
        statics = [static("early", ready_at=NOW - MINUTE), static("late", ready_at=NOW - 9)]
        await insert(repository, [*old, *new, *statics])
        border, end = NOW - 9, NOW + MINUTE

        def windows(limit: int) -> list[QueueClaim]:
            return [QueueClaim(TASK, limit, end, since=border), QueueClaim(TASK, limit, end, before=border)]

        taken = await self.take(repository, windows(2), expect=4)
        assert {one.key for one in taken} == {one.key for one in (*new[:2], *old[:2])}
        taken = await self.take(repository, windows(2), limit=3, expect=3)
        assert {one.key for one in taken} == {one.key for one in (*new[2:4], old[2])}
        taken = await self.take(repository, windows(2)[::-1], limit=1, expect=1)
        assert {one.key for one in taken} == {old[3].key}
        taken = await self.take(repository, windows(10), now=NOW - 6, expect=2)
        assert {one.key for one in taken} == {one.key for one in old[4:]}
        queues = [Queue("early", static=True), Queue("late", static=True)]
        late = [QueueClaim(queue, 1, end, since=border) for queue in queues]
        assert [one.key for one in await self.take(repository, late, expect=1)] == ["late"]
        early = [QueueClaim(queue, 1, end, before=border) for queue in queues]
        assert [one.key for one in await self.take(repository, early, expect=1)] == ["early"]
        await self.take(repository, [QueueClaim(TASK, 5, end, since=NOW, before=HELD)], expect=0)

    async def test_claim_takes_what_is_due(self, repository: Repository) -> None:
        """What is ready: from its moment on, the earliest first, up to the limits."""
        records = numbered(20)
        late = record(name="late", ready_at=NOW + 1)
        await insert(repository, [late, *records[::-1]])
        taken = await self.take(repository, want(TASK, limit=6), expect=6)
        assert {one.key for one in taken} == {one.key for one in records[:6]}
        taken = await self.take(repository, want(TASK), limit=3, expect=3)
        assert {one.key for one in taken} == {one.key for one in records[6:9]}
        taken = await self.take(repository, want(TASK), expect=11)
        assert {one.key for one in taken} == {one.key for one in records[9:]}
        await self.take(repository, want(TASK), expect=0)
        assert await stored(repository, [late]) == [late]

    async def test_claim_takes_queues_in_the_order_given(self, repository: Repository) -> None:
        """Each queue gives at most its limit, in the order of the queues, until the overall limit is reached."""
        a, b, c = numbered(5, "a"), numbered(5, "b"), static("c")
        await insert(repository, [*a, *b, c])
        queues = [Queue("b"), Queue("c", static=True), Queue("a")]
        taken = await self.take(repository, want(*queues, limit=3), limit=5, expect=5)
        assert {one.key for one in taken} == {*(one.key for one in b[:3]), c.key, a[0].key}
        untouched = [*a[1:], *b[3:]]
        assert await stored(repository, untouched) == untouched

    async def test_claim_with_a_limit_of_zero(self, repository: Repository) -> None:
        """A limit of zero takes nothing, from one queue or from all."""
        a, b = numbered(2, "a"), numbered(2, "b")
        await insert(repository, [*a, *b])
        claims = [QueueClaim(Queue("a"), 0, NOW + MINUTE), QueueClaim(Queue("b"), 1, NOW + MINUTE)]
        await self.take(repository, claims, limit=0, expect=0)
        taken = await self.take(repository, claims, expect=1)
        assert [one.key for one in taken] == [b[0].key]
        assert await stored(repository, [*a, b[1]]) == [*a, b[1]]

    async def test_claim_ends_leases_queue_by_queue(self, repository: Repository) -> None:
        """Each queue has its own end of leases."""
        records = [*numbered(2, "a"), *numbered(2, "b"), static("c")]
        await insert(repository, records)
        ends = {"a": NOW + 1, "b": NOW + MINUTE, "c": NOW + 3 * MINUTE}
        claims = [QueueClaim(Queue(name, static=name == "c"), 10, end) for name, end in ends.items()]
        taken = await self.take(repository, claims, expect=5)
        assert {(one.queue, one.locked_until, one.ready_at) for one in taken} == {
            (name, end, end) for name, end in ends.items()
        }

    async def test_claim_excludes_others_until_the_lease_ends(self, clients: list[Repository]) -> None:
        """No client can claim a leased record until the lease has expired; then any can."""
        one = record()
        await insert(clients[0], [one])
        (first,) = await self.take(clients[0], want(TASK), expect=1)
        for client in clients:
            await self.take(client, want(TASK), now=NOW + MINUTE - 1, expect=0)
        end = NOW + MINUTE
        (second,) = await self.take(clients[-1], want(TASK, locked_until=end + MINUTE), now=end, expect=1)
        assert second.attempt == 2
        assert second.fence > first.fence
        assert second.locked_by != first.locked_by
        assert not lease.holds(first, second)

    async def test_claim_counts_as_a_write(self, repository: Repository) -> None:
        """What was read before the claim is outdated; what the claim made of it is what can be swapped."""
        one, other = numbered(2)
        await insert(repository, [one, other])
        taken = {each.key: each for each in await self.take(repository, want(TASK), expect=2)}
        late = replace(one, revision=fresh())
        assert await repository.swap([Change(one, late), Change(other, None)]) == [CONFLICT, CONFLICT]
        settled = [
            lease.complete(taken[one.key], next_due=NOW + MINUTE, revision=fresh()),
            lease.complete(taken[other.key], next_due=None, revision=fresh()),
        ]
        assert await repository.swap(settled) == [APPLIED, APPLIED]
        assert await stored(repository, [one, other]) == [settled[0].new, None]

    async def test_claim_uses_the_time_that_it_is_given(self, repository: Repository) -> None:
        """Neither the server's nor the machine's clock matters: claims in 1970 and in 200 years, and back again."""
        one = record(ready_at=0)
        await insert(repository, [one])
        await self.take(repository, want(TASK), now=-1, expect=0)
        future = 8_000_000_000_000_000
        expected = one
        for now in (5, future, 10, 10):
            token, holder = fresh(), fresh()
            expected = lease.claim(expected, now=now, locked_until=now + 1, token=token, holder=holder)
            claims = want(TASK, locked_until=now + 1)
            assert await self.take(repository, claims, now=now, token=token, holder=holder, expect=1) == [expected]
            early = lease.retry(expected, at=0, revision=fresh())
            assert await repository.swap([early]) == [APPLIED]
            assert early.new is not None
            expected = early.new
        assert expected.fence == future + 2

    async def test_claim_of_many_queues(self, repository: Repository) -> None:
        """600 queues in one call: 500 of static tasks, 100 of templates; 34 have something due."""
        due = [static(f"static{number}") for number in range(0, 500, 20)]
        due += [one for number in range(0, 100, 12) for one in numbered(2, f"template{number}")]
        idle = [static(f"static{number}", ready_at=NOW + 1) for number in range(1, 500, 2)]
        await insert(repository, [*due, *idle])
        queues = [Queue(f"static{number}", static=True) for number in range(500)]
        queues += [Queue(f"template{number}") for number in range(100)]
        taken = await self.take(repository, want(*queues, limit=2), expect=len(due))
        assert {one.key for one in taken} == {one.key for one in due}
        assert by_key(taken) == by_key([one for one in await stored(repository, due) if one])
        assert await stored(repository, idle) == idle

    async def test_claim_of_more_than_a_thousand(self, repository: Repository) -> None:
        """A claim may be larger than what a store takes at once."""
        records = numbered(1300)
        await insert(repository, records)
        taken = await self.take(repository, want(TASK, limit=1200), limit=5000, expect=1200)
        assert_same(sorted(one.key for one in taken), [one.key for one in records[:1200]])
        left = {one.key: one for one in await all_of(repository, TASK)}
        assert_same([left[one.key] for one in taken], taken)
        assert_same([left[one.key] for one in records[1200:]], records[1200:])

    async def test_claim_moves_the_index(self, repository: Repository) -> None:
        """After a claim the record is due, and is next, at the end of its lease."""
        await insert(repository, numbered(3))
        taken = await self.take(repository, want(TASK), expect=3)
        await self.shows(lambda: ready(repository, want(TASK), now=NOW + MINUTE - 1, limit=10), [])
        await self.shows(lambda: next_ready(repository, [TASK]), NOW + MINUTE)
        await self.shows(lambda: ready(repository, want(TASK), now=NOW + MINUTE, limit=10), by_key(taken), of=by_key)
