"""``look``: when there will be something to claim, and some records, in one query."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pyncette.record import HELD, Band, Change, Queue, Ref
from pyncette.repository import Repository

from .base import APPLIED, MINUTE, NOW, SECOND, TASK, ContractBase, fresh, insert, next_ready, record, static, want


class LookContract(ContractBase):
    async def shows_next(
        self, repository: Repository, expected: int | None, *queues: Queue, after: int | None = None
    ) -> None:
        await self.shows(lambda: next_ready(repository, queues or [TASK], after=after), expected)

    async def test_next_ready_of_nothing(self, repository: Repository) -> None:
        """No queues or no records, no time."""
        assert await next_ready(repository, []) is None
        assert await next_ready(repository, [TASK, Queue("static", static=True)]) is None
        assert await next_ready(repository, [TASK], after=NOW) is None

    async def test_next_ready_is_the_earliest_of_all(self, repository: Repository) -> None:
        """The earliest of all queues in the call, and of no others, whether past or future."""
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

    async def test_the_present_is_a_time_like_any_other(self, repository: Repository) -> None:
        """Near the time of the server and of the machine, too, moments are told as they were written, and the given
        time alone says what is ready and whether a lease has ended.
        """
        present = time.time_ns() // 1000
        for place, now in enumerate((present - 60 * MINUTE, present, present + 60 * MINUTE)):
            queue = Queue(f"queue{place}")
            one, later = record(queue.name, "one", ready_at=now), record(queue.name, "later", ready_at=now + SECOND)
            await insert(repository, [one, later])
            await self.shows_next(repository, now, queue)
            await self.shows_next(repository, now + SECOND, queue, after=now)
            looked = functools.partial(repository.look, [queue], (), until=now + SECOND, limit=5)
            await self.shows(looked, {queue.name: [now, now + SECOND]}, of=lambda found: found.moments)
            claims = want(queue, locked_until=now + SECOND)
            await self.take(repository, claims, now=now - 1, expect=0)
            taken = await self.take(repository, claims, now=now, expect=1)
            assert [each.key for each in taken] == [one.key]
            await self.take(repository, claims, now=now + SECOND - 1, expect=0)
            await self.take(repository, claims, now=now + SECOND, expect=2)

    async def test_next_ready_follows_every_move(self, repository: Repository) -> None:
        """Moves, leases and deletions change it."""
        one = record(ready_at=NOW)
        await insert(repository, [one, record(name="other", ready_at=NOW + MINUTE)])
        for ready_at, expected in ((NOW - 5, NOW - 5), (NOW + 2 * MINUTE, NOW + MINUTE), (-7, -7), (0, 0)):
            moved = replace(one, ready_at=ready_at, revision=fresh())
            assert await repository.swap([Change(one, moved)]) == [APPLIED]
            await self.shows_next(repository, expected)
            one = moved
        assert await repository.swap([Change(one, None)]) == [APPLIED]
        await self.shows_next(repository, NOW + MINUTE)

    async def test_next_ready_leaves_out_what_is_held(self, repository: Repository) -> None:
        """Held records are never next, and never hide others."""
        await insert(repository, [record(name=band.name, ready_at=band.at(NOW)) for band in Band])
        await insert(repository, [record("held", ready_at=HELD), static("static", ready_at=Band.PAUSED.at(0))])
        queues = [TASK, Queue("held"), Queue("static", static=True)]
        await self.shows_next(repository, None, *queues)
        await self.shows_next(repository, None, *queues, after=NOW)
        await self.shows_next(repository, None, *queues, after=HELD)
        await insert(repository, [record(ready_at=NOW)])
        await self.shows_next(repository, NOW, *queues)
        await self.shows_next(repository, None, *queues, after=NOW)

    async def test_next_ready_of_many_queues(self, repository: Repository) -> None:
        """600 queues in one call."""
        await insert(repository, [static(f"static{n}", ready_at=NOW + 1000 - n) for n in range(0, 500, 3)])
        await insert(repository, [record(f"template{n}", ready_at=NOW + 400 + n) for n in range(0, 100, 3)])
        queues = [Queue(f"static{n}", static=True) for n in range(500)] + [Queue(f"template{n}") for n in range(100)]
        await self.shows_next(repository, NOW + 400, *queues)
        await self.shows_next(repository, NOW + 502, *queues, after=NOW + 499)

    async def test_moments_of_queues(self, repository: Repository) -> None:
        """With ``until``, the moments of each queue up to it, in order, the same one as often as there is; none of
        queues that have none."""
        await insert(repository, [record("a", str(n), ready_at=NOW + n // 2 * 3) for n in (2, 3, 4, 0)])
        await insert(repository, [record("b", ready_at=NOW + 5), record("c", ready_at=NOW + 6), record("d")])
        await insert(repository, [static("e", ready_at=NOW + 2), static("f", ready_at=NOW + 9), static("g")])
        queues = [*map(Queue, "abcx"), *(Queue(name, static=True) for name in "efy")]

        async def moments(
            until: int, limit: int = 9, after: int | None = None
        ) -> tuple[int | None, dict[str, list[int]]]:
            found = await repository.look(queues, (), after=after, until=NOW + until, limit=limit)
            times = {queue: [time - NOW for time in some] for queue, some in found.moments.items()}
            return None if found.next_ready is None else found.next_ready - NOW, times

        await self.shows(lambda: moments(-1), (0, {}))
        await self.shows(lambda: moments(5), (0, {"a": [0, 3, 3], "b": [5], "e": [2]}))
        await self.shows(lambda: moments(5, limit=2), (0, {"a": [0, 3], "b": [5], "e": [2]}))
        await self.shows(lambda: moments(5, limit=1), (0, {"a": [0], "b": [5], "e": [2]}))
        await self.shows(lambda: moments(6, after=NOW + 3), (5, {"a": [6], "b": [5], "c": [6]}))
        await self.shows(lambda: moments(6, after=NOW + 6), (9, {}))

    async def test_moments_leave_out_what_is_held(self, repository: Repository) -> None:
        """However late ``until`` is."""
        await insert(repository, [record(ready_at=NOW), record(name="held", ready_at=HELD)])
        await insert(repository, [static("static", ready_at=Band.PAUSED.at(0))])
        queues = [TASK, Queue("static", static=True)]

        async def moments() -> Mapping[str, Sequence[int]]:
            return (await repository.look(queues, (), until=2**63 - 1, limit=9)).moments

        await self.shows(moments, {TASK.name: [NOW]})

    async def test_look_reads_too(self, clients: list[Repository]) -> None:
        """The records at the refs are those that are stored now, whoever wrote them; in the order of the refs."""
        control = static(":control")
        absent = Ref("task", "task:absent")
        for round_ in range(3):
            changed = record(":control", key=":control", attempt=round_)
            old = None if round_ == 0 else control
            assert await clients[round_ % len(clients)].swap([Change(old, changed)]) == [APPLIED]
            control = changed
            for client in clients:
                found = await client.look([TASK], [absent, control.ref, absent])
                assert found.records == [None, control, None]
        assert (await clients[0].look([], [control.ref])).records == [control]
        assert (await clients[0].look([], [])).records == []

    async def test_look_tells_the_time(self, repository: Repository) -> None:
        """The store's time, the same as from ``clock``, or None."""
        first = await repository.clock()
        now = (await repository.look([TASK], ())).now
        last = await repository.clock()
        if first is None or last is None:
            assert now is None
        else:
            assert now is None or first <= now <= last
