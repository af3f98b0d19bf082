"""``scan_ready``: a queue, or a part of it, in order of time."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

from pyncette.record import GRAIN, HELD, LEAST, Band, Change, Queue, QueueClaim, Record
from pyncette.repository import Repository

from .base import (
    APPLIED,
    CONFLICT,
    MINUTE,
    NOW,
    SECOND,
    TASK,
    ContractBase,
    fresh,
    insert,
    numbered,
    ready,
    record,
    static,
    stored,
    want,
)


class ReadyContract(ContractBase):
    async def shows_due(
        self,
        repository: Repository,
        claims: Sequence[QueueClaim],
        expected: Sequence[Record],
        *,
        now: int = NOW,
        limit: int = 1000,
    ) -> None:
        await self.shows(lambda: ready(repository, claims, now=now, limit=limit), list(expected))

    async def test_ready_of_nothing(self, repository: Repository) -> None:
        """No records, nothing ready."""
        assert await ready(repository, want(TASK, Queue("static", static=True)), now=NOW, limit=10) == []

    async def test_ready_from_the_moment_on(self, repository: Repository) -> None:
        """A record is due from its ``ready_at`` on, to the microsecond, whatever its ``due_at`` is."""
        one = record(ready_at=NOW, due_at=NOW - MINUTE)
        await insert(repository, [one])
        await self.shows_due(repository, want(TASK), [one])
        await self.shows_due(repository, want(TASK), [one], now=NOW + 1)
        await self.shows_due(repository, want(TASK), [], now=NOW - 1)

    async def test_ready_gives_the_earliest_first(self, repository: Repository) -> None:
        """The records of a queue come in the order of ``ready_at``, whatever order they were written in."""
        records = numbered(50)
        await insert(repository, sorted(records, key=lambda one: one.revision))
        await self.shows_due(repository, want(TASK), records)
        await self.shows_due(repository, want(TASK, limit=7), records[:7])
        await self.shows_due(repository, want(TASK), records[:7], limit=7)
        await self.shows_due(repository, want(TASK), records[:20], now=records[19].ready_at)

    async def test_ready_takes_queues_in_the_order_given(self, repository: Repository) -> None:
        """Each queue gives at most its limit, in the order of the queues, until the overall limit is reached."""
        a, b, c = numbered(5, "a"), numbered(5, "b"), static("c")
        await insert(repository, [*a, *b, c])
        first, second, third = Queue("a"), Queue("b"), Queue("c", static=True)
        claims = [QueueClaim(second, 3, NOW), QueueClaim(third, 1, NOW), QueueClaim(first, 4, NOW)]
        await self.shows_due(repository, claims, [*b[:3], c, *a[:4]])
        await self.shows_due(repository, claims, [*b[:3], c, *a[:1]], limit=5)
        await self.shows_due(repository, claims, b[:2], limit=2)
        await self.shows_due(repository, claims[::-1], [*a[:4], c, *b[:3]])
        await self.shows_due(repository, claims[2:], a[:4])

    async def test_ready_with_a_limit_of_zero(self, repository: Repository) -> None:
        """A limit of zero returns nothing, from one queue or from all."""
        a, b = numbered(2, "a"), numbered(2, "b")
        await insert(repository, [*a, *b])
        claims = [QueueClaim(Queue("a"), 0, NOW), QueueClaim(Queue("b"), 5, NOW)]
        await self.shows_due(repository, claims, b)
        assert await ready(repository, claims, now=NOW, limit=0) == []

    async def test_ready_follows_every_move(self, repository: Repository) -> None:
        """A record that is moved in time, leased, held or deleted is found where it is now, and nowhere else."""
        one, other = numbered(2)
        await insert(repository, [one, other])
        await self.shows_due(repository, want(TASK), [one, other])
        for ready_at, due in ((NOW + MINUTE, False), (NOW - SECOND, True), (HELD, False), (NOW - MINUTE, True)):
            moved = replace(one, ready_at=ready_at, revision=fresh(), locked_until=ready_at, locked_by="me")
            assert await repository.swap([Change(one, moved)]) == [APPLIED]
            expected = sorted([moved, other], key=lambda each: each.ready_at) if due else [other]
            await self.shows_due(repository, want(TASK), expected)
            one = moved
        assert await repository.swap([Change(one, None)]) == [APPLIED]
        await self.shows_due(repository, want(TASK), [other])

    async def test_ready_ignores_changes_that_failed(self, repository: Repository) -> None:
        """A swap that was not applied leaves no trace in the index."""
        one = record(ready_at=NOW + MINUTE)
        await insert(repository, [one])
        early = replace(one, ready_at=NOW - MINUTE, revision=fresh())
        assert await repository.swap([Change(early, replace(early, revision=fresh()))]) == [CONFLICT]
        assert await repository.swap([Change(None, early)]) == [CONFLICT]
        absent = record(name="absent", ready_at=NOW)
        assert await repository.swap([Change(absent, absent)]) == [CONFLICT]
        await self.shows_due(repository, want(TASK), [])
        await self.shows_due(repository, want(TASK), [one], now=NOW + MINUTE)

    async def test_ready_of_any_time(self, repository: Repository) -> None:
        """Only the given time counts: before 1970, now, and in 200 years."""
        times = (-60_000_000_000_000_000, -1, 0, 1, NOW, 8_000_000_000_000_000)
        records = [record(name=str(number), ready_at=time) for number, time in enumerate(times)]
        await insert(repository, [*records, record(name="never", ready_at=HELD)])
        for number, time in enumerate(times):
            await self.shows_due(repository, want(TASK), records[: number + 1], now=time)
            await self.shows_due(repository, want(TASK), records[:number], now=time - 1)

    async def test_ready_does_not_write(self, repository: Repository) -> None:
        """Asking what is ready leases nothing."""
        records = numbered(3)
        await insert(repository, records)
        for _ in range(2):
            await self.shows_due(repository, want(TASK), records)
        assert await stored(repository, records) == records

    async def test_ready_of_more_than_a_thousand(self, repository: Repository) -> None:
        """All that is due, or as much of it as requested."""
        records = numbered(1500)
        await insert(repository, records)
        await self.shows_due(repository, want(TASK, limit=5000), records, limit=5000)
        await self.shows_due(repository, want(TASK, limit=1100), records[:1100], limit=5000)

    async def test_ready_of_many_queues(self, repository: Repository) -> None:
        """600 queues in one call: 500 of static tasks, 100 of templates, most of them with nothing due."""
        statics = [static(f"static{number}", ready_at=NOW + number % 7) for number in range(500)]
        dynamic = [one for number in range(0, 100, 9) for one in numbered(3, f"template{number}")]
        await insert(repository, [*statics, *dynamic])
        queues = [Queue(f"static{number}", static=True) for number in range(500)]
        queues += [Queue(f"template{number}") for number in range(100)]
        expected = [one for one in [*statics, *dynamic] if one.ready_at <= NOW]
        await self.shows_due(repository, want(*queues, limit=3), expected)
        few = [one for one in statics[:70] if one.ready_at <= NOW]
        await self.shows_due(repository, want(*queues, limit=3), few, limit=len(few))

    async def test_ready_within_a_range(self, repository: Repository) -> None:
        """From ``since`` on, to the microsecond, and before ``before``."""
        records = numbered(10)
        await insert(repository, [*records, static("static", ready_at=NOW)])
        first = records[0].ready_at
        for since, before in ((LEAST, HELD), (first, NOW), (first + 1, NOW + 1), (NOW, NOW + 1), (NOW, NOW), (5, 3)):
            expected = [one for one in records if since <= one.ready_at < before]
            await self.shows(
                functools.partial(repository.scan_ready, TASK, since=since, before=before, limit=100), expected
            )
        queue = Queue("static", static=True)
        for since, before, count in ((NOW, HELD, 1), (NOW + 1, HELD, 0), (LEAST, NOW, 0)):
            found = await self.shows(
                functools.partial(repository.scan_ready, queue, since=since, before=before, limit=5), count, of=len
            )
            assert [one.key for one in found] == ["static"] * count

    async def test_ready_page_by_page(self, repository: Repository) -> None:
        """Pages of any size add up to all records, each once, even if many have the same moment; the record of
        ``after`` need not exist any more.
        """
        records = [record(name=f"{n:02}", ready_at=NOW + n // 15) for n in range(40)]
        await insert(repository, records)
        whole = await self.shows(functools.partial(repository.scan_ready, TASK, limit=100), 40, of=len)
        assert [one.ready_at for one in whole] == sorted(one.ready_at for one in records)
        for page in (1, 7, 40):
            found: list[Record] = []
            while more := await repository.scan_ready(TASK, after=_place(found), limit=page):
                found += more
                assert len(found) <= 40
            assert found == whole
        assert await repository.swap([Change(whole[19], None)]) == [APPLIED]
        rest = functools.partial(repository.scan_ready, TASK, after=_place(whole[:20]), limit=100)
        await self.shows(rest, whole[20:])
        since = functools.partial(repository.scan_ready, TASK, since=NOW + 2, after=_place(whole[:5]), limit=100)
        await self.shows(since, whole[30:])
        within = functools.partial(repository.scan_ready, TASK, since=NOW + 1, after=_place(whole[:20]), limit=100)
        await self.shows(within, whole[20:])

    async def test_ready_goes_on_where_a_page_ended(self, repository: Repository) -> None:
        """After the place of the last record, wherever that is now: of what nobody has changed nothing is skipped or
        repeated.
        """
        for number, moves in enumerate((0, MINUTE, -MINUTE, HELD - NOW)):
            queue = Queue(f"queue{number}")
            await insert(repository, [record(queue.name, f"{n:02}", ready_at=NOW + n // 6) for n in range(12)])
            whole = await self.shows(functools.partial(repository.scan_ready, queue, limit=100), 12, of=len)
            for count in (3, 6, 8):
                last = whole[count - 1]
                moved = replace(last, ready_at=last.ready_at + moves, revision=fresh())
                assert await repository.swap([Change(last, moved)]) == [APPLIED]
                rest = functools.partial(repository.scan_ready, queue, before=NOW + 2, after=_place([last]), limit=100)
                await self.shows(rest, whole[count:])

    async def test_ready_in_bands(self, repository: Repository) -> None:
        """Held records are found by their reason, in the order of their moments, to the grain."""
        held = {
            band: [record(name=f"{band.name}{n}", ready_at=band.at(NOW + n * GRAIN)) for n in range(4)] for band in Band
        }
        await insert(repository, [one for some in held.values() for one in reversed(some)])
        await insert(repository, [record(ready_at=NOW)])
        for band, some in held.items():
            whole = functools.partial(repository.scan_ready, TASK, since=band.since, before=band.before, limit=100)
            await self.shows(whole, some)
            late = functools.partial(
                repository.scan_ready, TASK, since=band.at(NOW + GRAIN), before=band.at(NOW + 3 * GRAIN), limit=100
            )
            await self.shows(late, some[1:3])


def _place(records: Sequence[Record]) -> tuple[int, str] | None:
    return (records[-1].ready_at, records[-1].key) if records else None
