"""``swap``: compare-and-swap on the revision, in batches."""

from __future__ import annotations

import random
from dataclasses import replace

from pyncette.record import HELD, Change, Record, Swap
from pyncette.repository import Repository

from .base import (
    APPLIED,
    CONFLICT,
    NOW,
    TASK,
    ContractBase,
    all_of,
    applied,
    assert_same,
    fresh,
    insert,
    next_ready,
    numbered,
    record,
    static,
    stored,
)


def rewritten(old: Record, **fields: object) -> Record:
    return replace(old, revision=fresh(), **fields)  # type: ignore[arg-type]  # names are checked at run time


class SwapContract(ContractBase):
    async def test_swap_of_nothing(self, repository: Repository) -> None:
        """No changes, no outcomes."""
        assert await repository.swap([]) == []

    async def test_swap_inserts(self, repository: Repository) -> None:
        """Where there is nothing, a change without an old record stores the new one."""
        one, other = record(), static("static")
        assert await repository.swap([Change(None, one), Change(None, other)]) == [APPLIED, APPLIED]
        assert await stored(repository, [one, other]) == [one, other]

    async def test_swap_does_not_insert_over_a_record(self, repository: Repository) -> None:
        """An insert fails where there is a record, and leaves it as it is."""
        one = record()
        await insert(repository, [one])
        assert await repository.swap([Change(None, rewritten(one, spec="other"))]) == [CONFLICT]
        assert await stored(repository, [one]) == [one]
        held = record(name="held", ready_at=HELD)
        await insert(repository, [held])
        assert await repository.swap([Change(None, rewritten(held, spec="other"))]) == [CONFLICT]
        assert await stored(repository, [held]) == [held]

    async def test_swap_updates(self, repository: Repository) -> None:
        """Every field but key and queue may change, also to and from None."""
        one = record()
        await insert(repository, [one])
        versions = [
            rewritten(one, due_at=-1, ready_at=NOW + 5, locked_until=7, locked_by="x", fence=9, attempt=2, spec="{}"),
            rewritten(one, state='{"v":1}'),
            rewritten(one, spec="another", state='{"v":1}'),
            rewritten(one, spec="", state=""),
            rewritten(one, locked_until=0, locked_by=""),
            replace(one, revision="Zz-_" * 16),
            rewritten(one),
        ]
        for version in versions:
            assert await repository.swap([Change(one, version)]) == [APPLIED]
            assert await stored(repository, [one]) == [version]
            one = version

    async def test_swap_deletes(self, repository: Repository) -> None:
        """A change without a new record removes the old one, and nothing else."""
        one, other = numbered(2)
        await insert(repository, [one, other])
        assert await repository.swap([Change(one, None)]) == [APPLIED]
        assert await stored(repository, [one, other]) == [None, other]
        assert await all_of(repository, TASK) == [other]

    async def test_swap_of_an_outdated_record_fails(self, repository: Repository) -> None:
        """Update and delete fail if the revision differs, and leave the record as it is."""
        first = record()
        second = rewritten(first, spec="second")
        await insert(repository, [first])
        assert await repository.swap([Change(first, second)]) == [APPLIED]
        assert await repository.swap([Change(first, rewritten(first, spec="late"))]) == [CONFLICT]
        assert await repository.swap([Change(first, None)]) == [CONFLICT]
        other_case = replace(second, revision=second.revision.upper())
        if other_case != second:
            assert await repository.swap([Change(other_case, None)]) == [CONFLICT]
        assert await stored(repository, [first]) == [second]

    async def test_swap_of_an_absent_record_fails(self, repository: Repository) -> None:
        """Update and delete fail where there is nothing, and create nothing."""
        one = record()
        assert await repository.swap([Change(one, rewritten(one))]) == [CONFLICT]
        assert await repository.swap([Change(one, None)]) == [CONFLICT]
        assert await stored(repository, [one]) == [None]
        assert await all_of(repository, TASK) == []

    async def test_swap_compares_the_revision_alone(self, repository: Repository) -> None:
        """Only the revision of the old record counts; whatever its other fields are, the indexes stay correct."""
        one = record(ready_at=NOW)
        await insert(repository, [one])
        seen = replace(one, due_at=5, ready_at=NOW + 77, locked_by="nobody", fence=3, attempt=9, spec="wrong")
        moved = rewritten(one, ready_at=NOW + 10)
        assert await repository.swap([Change(seen, moved)]) == [APPLIED]
        assert await stored(repository, [one]) == [moved]
        await self.shows(lambda: next_ready(repository, [TASK]), NOW + 10)
        assert await repository.swap([Change(replace(seen, revision=moved.revision), None)]) == [APPLIED]
        await self.shows(lambda: next_ready(repository, [TASK]), None)

    async def test_swap_compares_the_whole_revision(self, repository: Repository) -> None:
        """Of whatever length: one other character at the beginning or the end makes it another revision."""
        records = [record(name=each, revision=each) for each in ("00000000000000e1", "Zz-_" * 16)]
        await insert(repository, records)
        for one in records:
            for other in (one.revision[:-1] + "2", "1" + one.revision[1:], one.revision[:-1], one.revision + "1"):
                seen = replace(one, revision=other[:64])
                if seen != one:
                    assert await repository.swap([Change(seen, rewritten(one))]) == [CONFLICT]
                    assert await repository.swap([Change(seen, None)]) == [CONFLICT]
        assert await stored(repository, records) == records
        assert applied(await repository.swap([Change(one, rewritten(one)) for one in records]))

    async def test_swap_reports_each_change(self, repository: Repository) -> None:
        """The batch is not a transaction: what can be applied is applied, wherever it stands between what can't."""
        records = numbered(60)
        await insert(repository, records[:40])
        changes, expected, after = _mixed_batch(records[:40], records[40:])
        order = list(range(len(changes)))
        random.Random(1).shuffle(order)
        outcome = await repository.swap([changes[i] for i in order])
        assert outcome == [expected[i] for i in order]
        assert await stored(repository, records) == after

    async def test_swap_of_more_than_a_thousand(self, repository: Repository) -> None:
        """A batch may be larger than what a store takes at once; the outcomes stay in order."""
        records = numbered(2500)
        await insert(repository, records)
        changes, expected, after = _mixed_batch(records, numbered(1300, "other"))
        assert_same(await repository.swap(changes), expected)
        assert_same(await stored(repository, records), after[: len(records)])

    async def test_swap_of_a_deleted_and_recreated_record_fails(self, repository: Repository) -> None:
        """Deleting and creating again doesn't make an old revision valid, even if everything else is equal."""
        first = record()
        await insert(repository, [first])
        again = replace(first, revision=fresh())
        assert await repository.swap([Change(first, None)]) == [APPLIED]
        assert await repository.swap([Change(first, rewritten(first))]) == [CONFLICT]
        await insert(repository, [again])
        assert await repository.swap([Change(first, rewritten(first))]) == [CONFLICT]
        assert await repository.swap([Change(first, None)]) == [CONFLICT]
        assert await stored(repository, [first]) == [again]
        assert await repository.swap([Change(again, rewritten(again))]) == [APPLIED]

    async def test_swap_back_and_forth(self, repository: Repository) -> None:
        """A record can be rewritten, deleted and created any number of times."""
        current: Record | None = None
        for number in range(30):
            new = None if number % 5 == 4 else record(attempt=number)
            assert await repository.swap([Change(current, new)]) == [APPLIED]
            assert await stored(repository, [record()]) == [new]
            current = new


def _mixed_batch(present: list[Record], absent: list[Record]) -> tuple[list[Change], list[Swap], list[Record | None]]:
    """Changes of every kind, some of which must fail: with their outcomes, and what is stored afterwards."""
    changes, outcomes = [], []
    after: list[Record | None] = []
    for number, one in enumerate(present):
        new = rewritten(one, spec="new", attempt=number)
        stale = rewritten(one)
        change, applied, left = (
            (Change(one, new), APPLIED, new),
            (Change(stale, new), CONFLICT, one),
            (Change(one, None), APPLIED, None),
            (Change(stale, None), CONFLICT, one),
            (Change(None, new), CONFLICT, one),
        )[number % 5]
        changes.append(change)
        outcomes.append(applied)
        after.append(left)
    for number, one in enumerate(absent):
        change, applied, left = (
            (Change(None, one), APPLIED, one),
            (Change(one, rewritten(one)), CONFLICT, None),
            (Change(one, None), CONFLICT, None),
        )[number % 3]
        changes.append(change)
        outcomes.append(applied)
        after.append(left)
    return changes, outcomes, after
