"""Stored values are returned exactly, and different values stay different."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st

from pyncette.errors import RecordRefusedException
from pyncette.record import MAX_ATTEMPT, Band, Change, Queue, Record
from pyncette.repository import Repository

from . import strategies
from .base import APPLIED, NOW, ContractBase, all_of, fresh, insert, ready, record, static, stored, want

MIB = 2**20


class KeepingContract(ContractBase):
    async def test_every_value_comes_back(self, repository: Repository) -> None:
        """All fields come back exactly as they were given: by insert, update, read, scan and due."""

        async def comes_back(versions: list[Record]) -> None:
            first, second = versions
            queue = Queue(first.queue, first.ref.static)
            try:
                await insert(repository, [first])
                assert await repository.read([first.ref]) == [first]
                second = replace(second, revision=fresh())
                assert await repository.swap([Change(first, second)]) == [APPLIED]
                assert await repository.read([first.ref]) == [second]
                assert await repository.scan(queue, after=None, limit=2) == [second]
            finally:
                await repository.swap([Change(one, None) for one in await all_of(repository, queue)])
            assert await repository.read([first.ref]) == [None]

        versions = strategies.places().flatmap(
            lambda place: st.lists(strategies.records(place), min_size=2, max_size=2)
        )
        await self.for_all(versions, comes_back, max_examples=2 * self.property_examples)

    async def test_due_and_claim_give_every_value(self, repository: Repository) -> None:
        """``due`` and ``claim`` give all fields exactly, extreme ones too."""
        extreme: dict[str, Any] = {
            "fence": 2**62,
            "attempt": 2**31 - 1,
            "spec": "\U0010ffff\n\u00e9'\\u0000",
            "state": "\U0010ffff\n\u00e9'\\u0000 ",
            "due_at": 2**53 + 1,
        }
        one = record("\u00e9 \U0001f600", "\u0301 ", locked_until=-(2**53) - 1, locked_by="x", **extreme)
        await insert(repository, [one])
        claims = want(Queue(one.queue))
        await self.shows(lambda: ready(repository, claims, now=NOW, limit=5), [one])
        (taken,) = await self.take(repository, claims, expect=1)
        assert (taken.fence, taken.attempt) == (2**62 + 1, MAX_ATTEMPT)
        assert (taken.spec, taken.state, taken.due_at) == (one.spec, one.state, one.due_at)
        assert await repository.read([one.ref]) == [taken]

    async def test_names_that_look_alike_are_different(self, repository: Repository) -> None:
        """Names that differ in case, accent, normal form, trailing space or anything else are different names."""
        instances = [record(name=name, spec=f"{number}") for number, name in enumerate(strategies.LOOKALIKES)]
        await insert(repository, instances)
        assert await stored(repository, instances) == instances
        for page in (7, 1 if not self.quick else 2):
            found = await all_of(repository, Queue("task"), page=page)
            assert sorted(found, key=lambda one: int(one.spec)) == instances

    async def test_queues_that_look_alike_are_different(self, repository: Repository) -> None:
        """The same holds for the names of queues, dynamic and static."""
        names = [name for name in strategies.LOOKALIKES if name]
        statics = [static(name, spec=f"{number}") for number, name in enumerate(names)]
        instances = [record(f"task {name}", "a", spec=f"{number}") for number, name in enumerate(names)]
        await insert(repository, [*statics, *instances])
        for one in (*statics[::5], *instances[::5]):
            queue = Queue(one.queue, one.ref.static)
            assert await repository.scan(queue, after=None, limit=5) == [one]
            await self.shows(functools.partial(ready, repository, want(queue), now=NOW, limit=5), [one])
        queues = [Queue(one.queue, one.ref.static) for one in (*statics, *instances)]
        taken = await self.take(repository, want(*queues), expect=len(queues))
        assert {one.key for one in taken} == {one.key for one in (*statics, *instances)}

    async def test_the_longest_names(self, repository: Repository) -> None:
        """Names may take 1,024 bytes, of one, two, three or four bytes per character, and differ in the last."""
        longest = strategies.MAX_KEY_BYTES
        statics = [
            static(letter * ((longest - 4) // len(letter.encode())) + end)
            for letter in ("a", "\u00e9", "\u3042", "\U0001f600")
            for end in ("", "1234", "1235")
        ]
        instances = [record("q" * 1000, end, key="q" * 1000 + ":" + end * 23) for end in "ab"]
        await insert(repository, [*statics, *instances])
        assert await stored(repository, [*statics, *instances]) == [*statics, *instances]
        assert sorted(await all_of(repository, Queue("q" * 1000), page=1), key=lambda one: one.key) == instances
        queues = [Queue("q" * 1000), *(Queue(one.queue, static=True) for one in statics)]
        taken = await self.take(repository, want(*queues), expect=len(statics) + 2)
        assert await stored(repository, taken) == taken
        assert await repository.swap([Change(one, None) for one in taken]) == [APPLIED] * len(taken)

    async def test_a_large_spec(self, repository: Repository) -> None:
        """A spec may be as large as the store says, or 1 MiB; it comes back from every method."""
        size = min(self.capabilities.max_spec_bytes or MIB, MIB)
        one = record(spec="\u00e9" + "x" * (size - 2))
        await insert(repository, [one])
        assert await repository.read([one.ref]) == [one]
        assert await repository.scan(Queue("task"), after=None, limit=2) == [one]
        (taken,) = await self.take(repository, want(Queue("task")), expect=1)
        assert taken.spec == one.spec

    async def test_a_batch_of_large_specs(self, repository: Repository) -> None:
        """20 MB (8 MB if ``quick``) in one batch are stored completely, even if one request of the store would be too
        small.
        """
        size = min(self.capabilities.max_spec_bytes or MIB, 200_000)
        count = self.sized(100, quick=40)
        records = [record(name=f"{number:03}", spec=f"{number:03}" + "x" * (size - 3)) for number in range(count)]
        await insert(repository, records)
        assert await stored(repository, records) == records
        assert sorted(await all_of(repository, Queue("task")), key=lambda one: one.key) == records
        taken = await self.take(repository, want(Queue("task")), expect=count)
        assert {len(one.spec) for one in taken} == {len(one.spec) for one in records}
        assert await repository.swap([Change(one, None) for one in taken]) == [APPLIED] * count

    async def test_a_spec_that_is_too_large_is_refused(self, repository: Repository) -> None:
        """A spec that the store will never take is refused with an error that states the limit, and leaves no trace."""
        limit = self.capabilities.max_spec_bytes
        if limit is None:
            await insert(repository, [record(spec="x" * MIB)])
            return
        fine, large = record(name="fine"), record(name="large", spec="x" * 2 * limit)
        with pytest.raises(RecordRefusedException, match=r"\d"):
            await repository.swap([Change(None, large)])
        await insert(repository, [fine])
        with pytest.raises(RecordRefusedException, match=r"\d"):
            await repository.swap([Change(fine, replace(fine, revision=fresh(), spec=large.spec))])
        assert await stored(repository, [fine, large]) == [fine, None]

    async def test_held_records_are_kept(self, repository: Repository) -> None:
        """``read`` and ``scan`` show a record that is never ready, and it can be overwritten."""
        held = record(ready_at=Band.UNREADABLE.at(NOW), due_at=2**63 - 1)
        await insert(repository, [held])
        assert await stored(repository, [held]) == [held]
        assert await all_of(repository, Queue("task")) == [held]
        await self.take(repository, want(Queue("task")), now=2**53 - 1, expect=0)
        revived = record()
        assert await repository.swap([Change(held, revived)]) == [APPLIED]
        await self.shows(lambda: ready(repository, want(Queue("task")), now=NOW, limit=5), [revived])
