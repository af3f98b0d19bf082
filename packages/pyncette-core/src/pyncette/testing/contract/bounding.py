"""Limits and large sizes: many queues, many records of one moment, large results."""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from pyncette.record import Change, Queue, QueueClaim, Record
from pyncette.repository import Repository

from .base import (
    APPLIED,
    MINUTE,
    NOW,
    TASK,
    ContractBase,
    assert_same,
    fresh,
    insert,
    next_ready,
    ready,
    record,
    static,
    stored,
    want,
)


class BoundContract(ContractBase):
    async def test_claim_within_limits_over_many_queues(self, repository: Repository) -> None:
        """The limit of each queue and the overall limit hold over 60 queues, including static ones; what was not taken
        is unchanged, and is taken next.
        """
        dynamic = [record(f"template{n}", f"{m}", ready_at=NOW - 9 + m) for n in range(20) for m in range(3)]
        statics = [static(f"static{n}", ready_at=NOW - n % 2) for n in range(40)]
        await insert(repository, [*dynamic, *statics])
        queues = [Queue(f"template{n}") for n in range(20)] + [Queue(f"static{n}", static=True) for n in range(40)]
        random.Random(3).shuffle(queues)
        claims = [QueueClaim(queue, 1 + number % 2, NOW + MINUTE) for number, queue in enumerate(queues)]
        left = {one.key: one for one in (*dynamic, *statics)}

        async def shown() -> None:
            found = functools.partial(ready, repository, want(*queues, limit=3), now=NOW)
            await self.shows(found, sorted(left), of=lambda found: sorted(one.key for one in found))

        await shown()
        for limit in (33, 7, 1):
            expected = _taken(claims, left.values(), limit)
            taken = await self.take(repository, claims, limit=limit, expect=len(expected))
            assert {one.key for one in taken} == {one.key for one in expected}
            for one in taken:
                del left[one.key]
            untouched = list(left.values())
            assert_same(await stored(repository, untouched), untouched)
        await shown()

    async def test_many_of_one_moment(self, repository: Repository) -> None:
        """1,500 records (300 if ``quick``) that became ready at the same moment are found page by page, and claimed in
        two calls, each once."""
        count = self.sized(1500, quick=300)
        records = [record(name=f"{n:04}") for n in range(count)]
        await insert(repository, records)
        keys = [one.key for one in records]
        whole = functools.partial(repository.scan_ready, TASK, limit=count + 1)
        await self.shows(whole, keys, of=lambda found: sorted(one.key for one in found))
        found: list[Record] = []
        while page := await repository.scan_ready(
            TASK, after=(found[-1].ready_at, found[-1].key) if found else None, limit=count // 4 - 1
        ):
            found += page
            assert len(found) <= count
        assert_same(sorted(one.key for one in found), keys)
        first = await self.take(repository, want(TASK, limit=count), limit=count * 2 // 3, expect=count * 2 // 3)
        second = await self.take(repository, want(TASK, limit=count), limit=count, expect=count - len(first))
        assert Counter(one.key for one in (*first, *second)) == Counter(keys)

    async def test_the_last_of_many_queues(self, repository: Repository) -> None:
        """1,500 queues in one call, and only the last one has anything: static ones, and, unless ``quick``, those of
        templates.
        """
        for kind in ("static", *self.unless_quick("template")):
            is_static = kind == "static"
            queues = [Queue(f"{kind}{n}", static=is_static) for n in range(1500)]
            last = static(queues[-1].name) if is_static else record(queues[-1].name)
            await insert(repository, [last])
            await self.shows(functools.partial(next_ready, repository, queues), NOW)
            (taken,) = await self.take(repository, want(*queues, limit=2), expect=1)
            assert taken.key == last.key
            await self.shows(functools.partial(next_ready, repository, queues), NOW + MINUTE)

    async def test_values_that_no_store_takes(self, repository: Repository) -> None:
        """A text that is not valid Unicode, 30 times: whatever happens to it, it doesn't cost a connection."""
        one = record()
        await insert(repository, [one])
        for number in range(30):
            bad = record("bad", f"{number}", spec="\ud800" if number % 2 else "\0")
            with suppress(Exception):  # any error is fine, or none
                await repository.swap([Change(None, record("others", f"{number}")), Change(None, bad)])
        assert await repository.read([one.ref]) == [one]
        assert await repository.swap([Change(one, replace(one, revision=fresh()))]) == [APPLIED]
        await self.take(repository, want(TASK), expect=1)


def _taken(claims: list[QueueClaim], records: Iterable[Record], limit: int) -> list[Record]:
    """The earliest records of each queue, up to both limits. Within a queue, moments must differ."""
    by_queue: dict[str, list[Record]] = {}
    for one in sorted(records, key=lambda one: one.ready_at):
        by_queue.setdefault(one.queue, []).append(one)
    return [one for claim in claims for one in by_queue.get(claim.queue.name, [])[: claim.limit]][:limit]
