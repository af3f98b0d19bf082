"""Stores that fail only under certain conditions: cancellation, deletions, certain batch sizes, large answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio

from pyncette import lease
from pyncette.errors import RecordRefusedException
from pyncette.memory import MemoryRepository
from pyncette.record import Change, Look, Queue, QueueClaim, Record, Ref, Swap
from pyncette.repository import ready_for
from pyncette.testing import Capabilities
from tests.contract.broken import caught_by

# Cancellation


@caught_by("test_cancelled_writes_leave_the_index_right")
class CancelledSwapLeavesTheIndexBehind(MemoryRepository):
    """Writes the record first, and its index entry after a round trip."""

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        swaps = await super().swap(changes)
        done = [c for c, swap in zip(changes, swaps, strict=True) if swap and c.old and c.new]
        for change in done:
            self._put(change.ref, change.new, change.old)
        await anyio.lowlevel.checkpoint()
        for change in done:
            self._put(change.ref, change.old, change.new)
        return swaps

    def _put(self, ref: Ref, instead_of: Record | None, one: Record | None) -> None:
        assert instead_of is not None
        assert one is not None
        index = self._by_ready[ref.queue]
        index.discard((instead_of.ready_at, ref.key))
        index.add((one.ready_at, ref.key))


@caught_by("test_cancelled_writes_leave_the_index_right")
class CancelledDeletionLeavesItsPlace(MemoryRepository):
    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        swaps = await super().swap(changes)
        gone = [c.old for c, swap in zip(changes, swaps, strict=True) if swap and c.old and c.new is None]
        extra = self.__dict__.setdefault("extra", [])
        extra += gone
        await anyio.lowlevel.checkpoint()
        del extra[len(extra) - len(gone) :]
        return swaps

    async def count(self, queue: Queue, **options: Any) -> Any:
        found = await super().count(queue, **options)
        return replace(
            found, value=found.value + len([o for o in self.__dict__.get("extra", ()) if o.queue == queue.name])
        )


# Races


class Late(MemoryRepository):
    """Compares, and writes some changes a moment later without comparing again."""

    def is_late(self, change: Change, changes: Sequence[Change]) -> bool:
        raise NotImplementedError

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        late = [change for change in changes if self.is_late(change, changes)]
        stored = await self.read([change.ref for change in late])
        equal = [
            (one and one.revision) == (change.old and change.old.revision)
            for one, change in zip(stored, late, strict=True)
        ]
        rest = [change for change in changes if not any(change is each for each in late)]
        swaps = {id(change): swap for change, swap in zip(rest, await super().swap(rest), strict=True)}
        if late:
            await anyio.lowlevel.checkpoint()
        for change, now, same in zip(late, await self.read([change.ref for change in late]), equal, strict=True):
            swaps[id(change)] = Swap.APPLIED if same else Swap.CONFLICT
            if same and (now or change.new):
                await super().swap([Change(now, change.new)])
        return [swaps[id(change)] for change in changes]


@caught_by("test_race_of_deletions", "test_race_of_deletions_with_new_records")
class DeletesLate(Late):
    def is_late(self, change: Change, changes: Sequence[Change]) -> bool:
        return change.new is None


@caught_by("test_race_of_deletions")
class UpdatesBringBackToLife(Late):
    def is_late(self, change: Change, changes: Sequence[Change]) -> bool:
        return change.old is not None and change.new is not None


@caught_by("test_race_of_batches_of_any_size")
class OneAloneIsNotCompared(Late):
    def is_late(self, change: Change, changes: Sequence[Change]) -> bool:
        return len(changes) == 1


@caught_by("test_race_of_batches_of_any_size")
class TwoAreNotCompared(Late):
    def is_late(self, change: Change, changes: Sequence[Change]) -> bool:
        return len(changes) == 2


@caught_by("test_race_of_batches_of_any_size")
class UpToTenAreNotCompared(Late):
    def is_late(self, change: Change, changes: Sequence[Change]) -> bool:
        return 2 < len(changes) <= 10


@caught_by("test_race_of_batches_of_any_size")
class SomeAreNotCompared(Late):
    def is_late(self, change: Change, changes: Sequence[Change]) -> bool:
        return 25 < len(changes) <= 50


@caught_by("test_race_of_batches_of_any_size", quick=False)
class ManyAreNotCompared(Late):
    def is_late(self, change: Change, changes: Sequence[Change]) -> bool:
        return len(changes) > 500


@caught_by("test_race_of_batches_of_any_size")
class SmallBatchesOfInsertsAreNotCompared(Late):
    def is_late(self, change: Change, changes: Sequence[Change]) -> bool:
        return change.old is None and len(changes) == 30


@caught_by("test_race_of_claims_with_changes_that_keep_the_time", "test_race_of_deletions")
class ClaimsCompareTheTime(MemoryRepository):
    """Compares only ``ready_at`` before it claims a record, and so ignores other changes."""

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        found = await ready_for(self, claims, now=now, limit=limit)
        await anyio.lowlevel.checkpoint()
        ends = {one.queue.name: one.locked_until for one in claims}
        taken = []
        for one, stored in zip(found, await self.read([each.ref for each in found]), strict=True):
            if stored is None or stored.ready_at == one.ready_at:
                new = lease.claim(one, now=now, locked_until=ends[one.queue], token=token, holder=holder)
                await self.swap([Change(stored, new)])
                taken.append(one)
        return taken


@caught_by("test_reads_are_never_torn")
class ReadsInTwoParts(MemoryRepository):
    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        first = await super().read(refs)
        await anyio.lowlevel.checkpoint()
        second = await super().read(refs)
        return [
            one and replace(one, state=other.state if other else "") for one, other in zip(first, second, strict=True)
        ]


@caught_by("test_reads_are_never_torn")
class LooksInTwoParts(MemoryRepository):
    async def look(self, queues: Sequence[Queue], refs: Sequence[Ref], **options: Any) -> Look:
        first = await super().look(queues, refs, **options)
        await anyio.lowlevel.checkpoint()
        second = await super().look(queues, refs, **options)
        pairs = zip(first.records, second.records, strict=True)
        return replace(second, records=[a and b and replace(a, fence=b.fence) for a, b in pairs])


@caught_by("test_scan_sees_the_writes_of_others")
class ScanIsCached(MemoryRepository):
    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        cache = self.__dict__.setdefault("cache", {})
        if time.monotonic() - cache.get("at", 0) > 0.05:
            cache.clear()
            cache["at"] = time.monotonic()
        return list(
            cache.setdefault(
                (queue, after, limit, prefix), await super().scan(queue, after=after, limit=limit, prefix=prefix)
            )
        )


# Limits and sizes


@caught_by("test_claim_within_limits_over_many_queues")
class LeasesMoreThanItReturns(MemoryRepository):
    async def claim(self, claims: Sequence[QueueClaim], *, limit: int, **options: Any) -> list[Record]:
        generous = limit + 5 if len(claims) > 20 else limit
        return (await super().claim(claims, limit=generous, **options))[:limit]


@caught_by("test_claim_within_limits_over_many_queues")
class StaticQueuesComeFirst(MemoryRepository):
    async def claim(self, claims: Sequence[QueueClaim], **options: Any) -> list[Record]:
        if len(claims) > 10:
            claims = sorted(claims, key=lambda one: not one.queue.static)
        return await super().claim(claims, **options)


@caught_by("test_many_of_one_moment")
class TiesUpToAHundred(MemoryRepository):
    async def scan_ready(self, queue: Queue, *, limit: int, **options: Any) -> list[Record]:
        found = await super().scan_ready(queue, limit=limit, **options)
        per_moment: dict[int, int] = {}
        kept = []
        for one in found:
            per_moment[one.ready_at] = per_moment.get(one.ready_at, 0) + 1
            if per_moment[one.ready_at] <= 100:
                kept.append(one)
        return kept


@caught_by("test_the_last_of_many_queues")
class LooksAtAThousandQueues(MemoryRepository):
    async def look(self, queues: Sequence[Queue], refs: Sequence[Ref], **options: Any) -> Look:
        return await super().look(queues[:1000], refs, **options)


@caught_by("test_the_last_of_many_queues")
class ClaimsOfAThousandQueues(MemoryRepository):
    async def claim(self, claims: Sequence[QueueClaim], **options: Any) -> list[Record]:
        return await super().claim(claims[:1000], **options)


@caught_by("test_a_batch_of_large_specs", quick=False)
class AnswersUpToTenMegabytes(MemoryRepository):
    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        found = await super().read(refs)
        size = 0
        for place, one in enumerate(found):
            size += len(one.spec) if one else 0
            if size > 10_000_000:
                found[place] = None
        return found


@caught_by("test_values_that_no_store_takes")
class ErrorsKeepTheirConnection(MemoryRepository):
    def __init__(self) -> None:
        super().__init__()
        self._pool = anyio.Semaphore(10)

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        await self._pool.acquire()
        for change in changes:
            assert change.new is None or "\0" not in change.new.spec.encode().decode()
        self._pool.release()
        return await super().swap(changes)


# Values


class Storing(MemoryRepository):
    def stored(self, record: Record, change: Change) -> Record:
        raise NotImplementedError

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        return await super().swap([replace(c, new=c.new and self.stored(c.new, c)) for c in changes])


@caught_by("test_holders_of_any_kind")
class HoldersOfAHundredCharacters(Storing):
    def stored(self, record: Record, change: Change) -> Record:
        return replace(record, locked_by=record.locked_by and record.locked_by[:100])


@caught_by("test_holders_of_any_kind")
class HoldersInAscii(Storing):
    def stored(self, record: Record, change: Change) -> Record:
        holder = record.locked_by
        return replace(record, locked_by=holder and holder.encode("ascii", "replace").decode())


@caught_by("test_text_comes_back_to_the_byte")
class TextAsJson(Storing):
    def stored(self, record: Record, change: Change) -> Record:
        import json

        try:
            return replace(record, spec=json.dumps(json.loads(record.spec), ensure_ascii=False, separators=(",", ":")))
        except ValueError:
            return record


@caught_by("test_text_comes_back_to_the_byte")
class LineEndsAreNormal(Storing):
    def stored(self, record: Record, change: Change) -> Record:
        return replace(record, state=record.state.replace("\r\n", "\n"))


@caught_by("test_text_comes_back_to_the_byte")
class UpdatesNormalizeText(Storing):
    def stored(self, record: Record, change: Change) -> Record:
        return replace(record, spec=record.spec.lstrip("\ufeff")) if change.old else record


@caught_by("test_a_large_text_by_update")
class UpdatesCutText(Storing):
    def stored(self, record: Record, change: Change) -> Record:
        return replace(record, spec=record.spec[:65536]) if change.old else record


@caught_by("test_refusals_again_and_again", capabilities=Capabilities(max_spec_bytes=1000))
class RefusalsKeepTheirConnection(MemoryRepository):
    def __init__(self) -> None:
        super().__init__()
        self._pool = anyio.Semaphore(10)

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        await self._pool.acquire()
        if any(change.new and len(change.new.spec) > 1000 for change in changes):
            raise RecordRefusedException("Longer than 1000 bytes.")
        self._pool.release()
        return await super().swap(changes)


@caught_by("test_names_that_look_alike_are_different")
class PagesGoOnWithoutCase(MemoryRepository):
    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        found = await super().scan(queue, after=None, limit=10**6, prefix=prefix)
        return [one for one in found if after is None or (one.key > after and one.key.casefold() != after.casefold())][
            :limit
        ]
