"""Stores that read or write the wrong data."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from pyncette.errors import RecordRefusedException
from pyncette.memory import MemoryRepository
from pyncette.record import HELD, Change, Queue, Record, Ref, Swap
from pyncette.testing import Capabilities
from tests.contract.broken import caught_by

# Reading


@caught_by("test_read_keeps_the_order_of_the_refs")
class ReadLosesOrder(MemoryRepository):
    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        found = {one.key: one for one in await super().read(refs) if one}
        return [*found.values(), *[None] * (len(refs) - len(found))]


@caught_by("test_read_of_more_than_a_thousand", "test_swap_of_more_than_a_thousand")
class ReadStopsAtAThousand(MemoryRepository):
    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        return await super().read(refs[:1000])


@caught_by("test_read_sees_the_writes_of_others", "test_swap_updates")
class ReadLagsBehind(MemoryRepository):
    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        cache = self.__dict__.setdefault("cache", {})
        for ref, one in zip(refs, await super().read(refs), strict=True):
            cache.setdefault(ref.key, one)
        return [cache[ref.key] for ref in refs]


# Names and values


class Folding(MemoryRepository):
    """Treats different names as equal, as collations do."""

    @staticmethod
    def fold(name: str) -> str:
        raise NotImplementedError

    def _change(self, change: Change) -> Change:
        old, new = (one and replace(one, key=self.fold(one.key)) for one in (change.old, change.new))
        return Change(old, new)

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        return await super().swap([self._change(change) for change in changes])

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        found = await super().read([Ref(ref.queue, self.fold(ref.key)) for ref in refs])
        return [one and replace(one, key=ref.key) for one, ref in zip(found, refs, strict=True)]


NAMES = ("test_names_that_look_alike_are_different",)


@caught_by(*NAMES, "test_random_histories")
class NamesWithoutCase(Folding):
    @staticmethod
    def fold(name: str) -> str:
        return str.casefold(name)


@caught_by(*NAMES, "test_random_histories")
class NamesWithoutTrailingSpace(Folding):
    @staticmethod
    def fold(name: str) -> str:
        return str.rstrip(name)


@caught_by(*NAMES)
class NamesInNormalForm(Folding):
    @staticmethod
    def fold(name: str) -> str:
        return unicodedata.normalize("NFC", name)


@caught_by("test_the_longest_names")
class NamesCutAtTheEnd(Folding):
    @staticmethod
    def fold(name: str) -> str:
        return name[:1022]


class Converting(MemoryRepository):
    """Alters the values that it stores."""

    @staticmethod
    def convert(record: Record) -> Record:
        raise NotImplementedError

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        return await super().swap([Change(one.old, one.new and self.convert(one.new)) for one in changes])


VALUES = ("test_every_value_comes_back",)


@caught_by(*VALUES)
class TimesAsDoubles(Converting):
    @staticmethod
    def convert(record: Record) -> Record:
        return replace(record, due_at=int(float(record.due_at)))


@caught_by(*VALUES, "test_claim_writes_what_the_state_machine_says")
class FenceAsDouble(Converting):
    @staticmethod
    def convert(record: Record) -> Record:
        return replace(record, fence=int(float(record.fence)))


@caught_by(*VALUES, "test_swap_updates")
class NoneBecomesZero(Converting):
    @staticmethod
    def convert(record: Record) -> Record:
        return replace(record, locked_until=record.locked_until or 0)


@caught_by(*VALUES)
class SpecIsStripped(Converting):
    @staticmethod
    def convert(record: Record) -> Record:
        return replace(record, spec=record.spec.strip())


@caught_by(*VALUES, "test_swap_updates")
class StateIsForgotten(Converting):
    @staticmethod
    def convert(record: Record) -> Record:
        return replace(record, state="")


@caught_by("test_swap_updates")
class SpecFollowsState(MemoryRepository):
    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        return await super().swap([self._unchanged(change) for change in changes])

    @staticmethod
    def _unchanged(change: Change) -> Change:
        old, new = change.old, change.new
        kept = old is not None and new is not None and old.state == new.state
        return replace(change, new=replace(new, spec=old.spec)) if kept and old and new else change


@caught_by("test_a_large_spec", "test_a_batch_of_large_specs")
class SpecIsCut(Converting):
    @staticmethod
    def convert(record: Record) -> Record:
        return replace(record, spec=record.spec[:65536])


@caught_by("test_held_records_are_kept")
class HeldRecordsAreLost(MemoryRepository):
    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        found = await super().scan(queue, after=after, limit=limit, prefix=prefix)
        return [one for one in found if one.ready_at < HELD]


@caught_by("test_a_spec_that_is_too_large_is_refused", capabilities=Capabilities(max_spec_bytes=1000))
class TooLargeIsCutSilently(Converting):
    @staticmethod
    def convert(record: Record) -> Record:
        return replace(record, spec=record.spec[:1000])


@caught_by("test_a_spec_that_is_too_large_is_refused", capabilities=Capabilities(max_spec_bytes=1000))
class RefusalWithoutTheLimit(Converting):
    @staticmethod
    def convert(record: Record) -> Record:
        if len(record.spec) > 1000:
            raise RecordRefusedException("Too large.")
        return record


# Compare and swap


class Comparing(MemoryRepository):
    """Compares a wrong stored record, or a wrong old one."""

    def _old(self, old: Record | None, stored: Record | None, new: Record | None) -> Record | None:
        raise NotImplementedError

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        stored = await self.read([change.ref for change in changes])
        seen = [Change(self._old(one.old, found, one.new), one.new) for one, found in zip(changes, stored, strict=True)]
        possible = [change for change in seen if change.old or change.new]
        applied = dict(zip(map(id, possible), await super().swap(possible), strict=True))
        return [applied.get(id(change), Swap.CONFLICT) for change in seen]


@caught_by("test_swap_of_an_outdated_record_fails", "test_race_of_swaps", "test_claim_counts_as_a_write")
class LastWriterWins(Comparing):
    def _old(self, old: Record | None, stored: Record | None, new: Record | None) -> Record | None:
        return stored if old and stored else old


@caught_by("test_swap_of_an_outdated_record_fails", "test_swap_reports_each_change")
class DeletesWhatever(Comparing):
    def _old(self, old: Record | None, stored: Record | None, new: Record | None) -> Record | None:
        return stored if new is None else old


@caught_by("test_swap_does_not_insert_over_a_record", "test_race_of_inserts")
class InsertsOverARecord(Comparing):
    def _old(self, old: Record | None, stored: Record | None, new: Record | None) -> Record | None:
        return stored if old is None else old


@caught_by("test_swap_of_an_absent_record_fails")
class UpdatesCreate(Comparing):
    def _old(self, old: Record | None, stored: Record | None, new: Record | None) -> Record | None:
        return None if stored is None and new else old


@caught_by("test_swap_of_a_deleted_and_recreated_record_fails")
class RevisionIsACounter(Comparing):
    def _old(self, old: Record | None, stored: Record | None, new: Record | None) -> Record | None:
        return stored if old and stored and old.fence == stored.fence and old.attempt == stored.attempt else old


@caught_by("test_swap_compares_the_revision_alone")
class ComparesMoreThanTheRevision(Comparing):
    def _old(self, old: Record | None, stored: Record | None, new: Record | None) -> Record | None:
        return replace(old, revision="other") if old and stored and old.attempt != stored.attempt else old


@caught_by("test_swap_compares_the_whole_revision")
class ComparesHalfOfTheRevision(Comparing):
    def _old(self, old: Record | None, stored: Record | None, new: Record | None) -> Record | None:
        return stored if old and stored and old.revision[:8] == stored.revision[:8] else old


@caught_by("test_swap_reports_each_change", "test_random_histories")
class SwapIsATransaction(MemoryRepository):
    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        stored = await self.read([change.ref for change in changes])
        same = [
            (found and found.revision) == (one.old and one.old.revision)
            for found, one in zip(stored, changes, strict=True)
        ]
        return await super().swap(changes) if all(same) else [Swap.CONFLICT] * len(changes)


@caught_by("test_swap_reports_each_change", "test_swap_of_more_than_a_thousand")
class OutcomesInAnotherOrder(MemoryRepository):
    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        return await super().swap(sorted(changes, key=lambda change: change.ref.key))
