"""Stores that find, claim or keep the wrong records."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio

from pyncette import lease
from pyncette.memory import MemoryRepository
from pyncette.record import HELD, LEAST, Change, Look, Queue, QueueClaim, Record, Ref, Swap
from pyncette.repository import ready_for
from pyncette.testing import Capabilities
from tests.contract.broken import caught_by

WRITES = "test_claim_writes_what_the_state_machine_says"

# The index


@caught_by("test_ready_from_the_moment_on", "test_ready_of_any_time")
class ReadyIsLateByATick(MemoryRepository):
    async def scan_ready(self, queue: Queue, *, before: int = HELD, **options: Any) -> list[Record]:
        return await super().scan_ready(queue, before=before - 1, **options)


@caught_by("test_ready_within_a_range", "test_claim_within_windows")
class RangesHaveNoBeginning(MemoryRepository):
    async def scan_ready(self, queue: Queue, *, since: int = LEAST, **options: Any) -> list[Record]:
        return await super().scan_ready(queue, **options)


@caught_by("test_ready_page_by_page")
class PagesSkipWhatIsReadyAtTheSameTime(MemoryRepository):
    async def scan_ready(
        self, queue: Queue, *, since: int = LEAST, after: tuple[int, str] | None = None, **options: Any
    ) -> list[Record]:
        beyond = since if after is None else max(since, after[0] + 1)
        return await super().scan_ready(queue, since=beyond, **options)


@caught_by("test_ready_page_by_page")
class PagesNeedTheirLastRecord(MemoryRepository):
    async def scan_ready(self, queue: Queue, *, after: tuple[int, str] | None = None, **options: Any) -> list[Record]:
        known = after is None or after[1] in self._records
        return await super().scan_ready(queue, after=after if known else None, **options)


GOES_ON = "test_ready_goes_on_where_a_page_ended"


@caught_by(GOES_ON)
class PagesFollowTheirLastRecord(MemoryRepository):
    """Starts the next page where the last record is now, instead of where it was."""

    async def scan_ready(self, queue: Queue, *, after: tuple[int, str] | None = None, **options: Any) -> list[Record]:
        last = None if after is None else self._records.get(after[1])
        place = after if last is None else (last.ready_at, last.key)
        return await super().scan_ready(queue, after=place, **options)


@caught_by(GOES_ON)
class TiesInTheOrderOfWriting(MemoryRepository):
    """Moves a record that is written again behind the others with the same ``ready_at``."""

    def _written(self, record: Record) -> tuple[int, int]:
        return record.ready_at, list(self._records).index(record.key)

    def _store(self, stored: Record | None, new: Record) -> None:
        self._records.pop(new.key, None)
        super()._store(stored, new)

    async def scan_ready(
        self, queue: Queue, *, after: tuple[int, str] | None = None, limit: int, **options: Any
    ) -> list[Record]:
        found = sorted(await super().scan_ready(queue, limit=10_000, **options), key=self._written)
        if after is not None:
            place = self._written(replace(self._records[after[1]], ready_at=after[0]))
            found = [one for one in found if self._written(one) > place]
        return found[:limit]


@caught_by("test_ready_in_bands")
class BandsAreOne(MemoryRepository):
    async def scan_ready(self, queue: Queue, *, before: int = HELD, **options: Any) -> list[Record]:
        return await super().scan_ready(queue, before=2**63 - 1 if before > HELD else before, **options)


@caught_by("test_ready_of_any_time", "test_claim_uses_the_time_that_it_is_given")
class ClaimsByItsOwnClock(MemoryRepository):
    async def claim(self, claims: Sequence[QueueClaim], **options: Any) -> list[Record]:
        return await super().claim(claims, **options | {"now": time.time_ns() // 1000})

    async def scan_ready(self, queue: Queue, *, before: int = HELD, **options: Any) -> list[Record]:
        return await super().scan_ready(queue, before=min(before, time.time_ns() // 1000), **options)


@caught_by("test_ready_gives_the_earliest_first", "test_claim_takes_what_is_due")
class ReadyWithoutOrder(MemoryRepository):
    async def scan_ready(self, queue: Queue, *, limit: int, **options: Any) -> list[Record]:
        found = await super().scan_ready(queue, limit=10_000, **options)
        return sorted(found, key=lambda one: one.revision)[:limit]


@caught_by("test_claim_takes_queues_in_the_order_given")
class ClaimMixesQueues(MemoryRepository):
    async def claim(self, claims: Sequence[QueueClaim], **options: Any) -> list[Record]:
        return await super().claim(sorted(claims, key=lambda claim: claim.queue.name), **options)


@caught_by("test_claim_takes_queues_in_the_order_given", "test_claim_within_windows")
class ClaimWithoutLimits(MemoryRepository):
    async def claim(self, claims: Sequence[QueueClaim], *, limit: int, **options: Any) -> list[Record]:
        return await super().claim([replace(claim, limit=limit) for claim in claims], limit=limit, **options)


@caught_by("test_claim_takes_queues_in_the_order_given", "test_claim_with_a_limit_of_zero")
class ClaimWithoutAnOverallLimit(MemoryRepository):
    async def claim(self, claims: Sequence[QueueClaim], **options: Any) -> list[Record]:
        return await super().claim(claims, **options | {"limit": 10_000})


@caught_by("test_claim_within_windows")
class ClaimWithoutWindows(MemoryRepository):
    async def claim(self, claims: Sequence[QueueClaim], **options: Any) -> list[Record]:
        wide = {claim.queue.name: replace(claim, since=LEAST, before=HELD) for claim in claims}
        return await super().claim(list(wide.values()), **options)


@caught_by("test_claim_returns_the_records_as_they_were")
class ClaimReturnsWhatItWrote(MemoryRepository):
    async def claim(self, claims: Sequence[QueueClaim], **options: Any) -> list[Record]:
        found = await super().claim(claims, **options)
        return [one for one in await self.read([record.ref for record in found]) if one]


@caught_by("test_ready_follows_every_move", "test_claim_moves_the_index", "test_next_ready_follows_every_move")
class IndexForgetsMoves(MemoryRepository):
    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        for change in changes:
            if change.old and change.new and change.old.ready_at < change.new.ready_at:
                self._by_ready[change.ref.queue].insert(0, (change.old.ready_at, change.ref.key))
        return await super().swap(changes)


@caught_by("test_next_ready_after_a_moment")
class LookIgnoresAfter(MemoryRepository):
    async def look(self, queues: Sequence[Queue], refs: Sequence[Ref], **options: Any) -> Look:
        return await super().look(queues, refs, **{**options, "after": None})


@caught_by("test_next_ready_after_a_moment")
class LookIncludesAfter(MemoryRepository):
    async def look(self, queues: Sequence[Queue], refs: Sequence[Ref], **options: Any) -> Look:
        after = options.pop("after", None)
        return await super().look(queues, refs, **options, after=None if after is None else after - 1)


PRESENT = "test_the_present_is_a_time_like_any_other"


@caught_by(PRESENT)
class NextReadyIsNeverPast(MemoryRepository):
    """Its ``look`` reports a record that became ready within the last day as ready now, by its own clock."""

    async def look(self, queues: Sequence[Queue], refs: Sequence[Ref], **options: Any) -> Look:
        found, now = await super().look(queues, refs, **options), time.time_ns() // 1000
        recent = found.next_ready is not None and now - 86_400_000_000 < found.next_ready < now
        return replace(found, next_ready=now) if recent else found


@caught_by(PRESENT)
class LeasesEndByItsOwnClock(MemoryRepository):
    async def scan_ready(self, queue: Queue, *, limit: int, **options: Any) -> list[Record]:
        found, now = await super().scan_ready(queue, limit=10_000, **options), time.time_ns() // 1000
        return [one for one in found if one.locked_until is None or one.locked_until <= now][:limit]


@caught_by("test_next_ready_is_the_earliest_of_all", "test_next_ready_of_nothing")
class LookAtAllQueues(MemoryRepository):
    async def look(self, queues: Sequence[Queue], refs: Sequence[Ref], **options: Any) -> Look:
        found = await super().look([Queue(name) for name in self._by_ready], refs, **options)
        return replace(found, next_ready=found.next_ready or 0)


@caught_by("test_next_ready_leaves_out_what_is_held")
class LookShowsWhatIsHeld(MemoryRepository):
    async def look(self, queues: Sequence[Queue], refs: Sequence[Ref], **options: Any) -> Look:
        found = await super().look(queues, refs, **options)
        held = [one.ready_at for queue in queues for one in await self.scan_ready(queue, before=2**63 - 1, limit=1)]
        return replace(found, next_ready=found.next_ready or min(held, default=None))


@caught_by("test_moments_of_queues")
class LookTellsOneMomentOfEachQueue(MemoryRepository):
    async def look(self, queues: Sequence[Queue], refs: Sequence[Ref], **options: Any) -> Look:
        return await super().look(queues, refs, **{**options, "limit": 1})


@caught_by("test_moments_leave_out_what_is_held")
class LookTellsMomentsThatAreHeld(MemoryRepository):
    async def look(self, queues: Sequence[Queue], refs: Sequence[Ref], **options: Any) -> Look:
        found = await super().look(queues, refs, **options)
        before, limit = min(options.get("until", LEAST), 2**63 - 2) + 1, options.get("limit", 1)
        pages = {queue.name: await self.scan_ready(queue, before=before, limit=limit) for queue in queues}
        return replace(found, moments={name: [one.ready_at for one in page] for name, page in pages.items() if page})


@caught_by("test_look_reads_too")
class LookReadsFromACache(MemoryRepository):
    async def look(self, queues: Sequence[Queue], refs: Sequence[Ref], **options: Any) -> Look:
        cache = self.__dict__.setdefault("cache", {})
        found = await super().look(queues, refs, **options)
        cached = [cache.setdefault(ref, one) for ref, one in zip(refs, found.records, strict=True)]
        return replace(found, records=cached)


@caught_by("test_look_tells_the_time")
class LookHasAClockOfItsOwn(MemoryRepository):
    async def look(self, queues: Sequence[Queue], refs: Sequence[Ref], **options: Any) -> Look:
        return replace(await super().look(queues, refs, **options), now=time.time_ns() // 1000)


# Claims


class Claiming(MemoryRepository):
    """Claims in a way that differs from the state machine."""

    def _claimed(self, record: Record, claim: QueueClaim, now: int) -> Record:
        raise NotImplementedError

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        found = await super().claim(claims, now=now, limit=limit, token=token, holder=holder)
        by_queue = {one.queue.name: one for one in claims}
        taken = [one for one in await self.read([record.ref for record in found]) if one]
        wrong = [self._claimed(one, by_queue[one.queue], now) for one in taken]
        await self.swap([Change(one, new) for one, new in zip(taken, wrong, strict=True)])
        return found


@caught_by(WRITES, "test_claim_uses_the_time_that_it_is_given")
class FenceIsTheClock(Claiming):
    def _claimed(self, record: Record, claim: QueueClaim, now: int) -> Record:
        return replace(record, fence=now)


@caught_by(WRITES)
class FenceIsACounter(Claiming):
    def _claimed(self, record: Record, claim: QueueClaim, now: int) -> Record:
        return replace(record, fence=record.attempt)


@caught_by(WRITES, "test_claim_excludes_others_until_the_lease_ends")
class AttemptsAreNotCounted(Claiming):
    def _claimed(self, record: Record, claim: QueueClaim, now: int) -> Record:
        return replace(record, attempt=1)


@caught_by(WRITES)
class RevisionOfItsOwn(Claiming):
    def _claimed(self, record: Record, claim: QueueClaim, now: int) -> Record:
        return replace(record, revision=record.revision + record.key)


@caught_by(WRITES, "test_claim_moves_the_index", "test_claim_excludes_others_until_the_lease_ends")
class ReadyAtStays(Claiming):
    def _claimed(self, record: Record, claim: QueueClaim, now: int) -> Record:
        return replace(record, ready_at=record.due_at)


@caught_by(WRITES)
class DueAtMoves(Claiming):
    def _claimed(self, record: Record, claim: QueueClaim, now: int) -> Record:
        return replace(record, due_at=now)


@caught_by("test_claim_ends_leases_queue_by_queue")
class OneEndForAllQueues(MemoryRepository):
    async def claim(self, claims: Sequence[QueueClaim], **options: Any) -> list[Record]:
        return await super().claim([replace(one, locked_until=claims[0].locked_until) for one in claims], **options)


@caught_by("test_claim_returns_the_records_as_they_were")
class ReturnsWhatItHasNotStored(MemoryRepository):
    async def claim(self, claims: Sequence[QueueClaim], **options: Any) -> list[Record]:
        return [replace(one, spec="") for one in await super().claim(claims, **options)]


@caught_by("test_race_of_claims", "test_race_of_claims_on_many_queues")
class ClaimsWithoutComparing(MemoryRepository):
    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        found = await ready_for(self, claims, now=now, limit=limit)
        ends = {one.queue.name: one.locked_until for one in claims}
        await anyio.lowlevel.checkpoint()
        stored = [one for one in await self.read([one.ref for one in found]) if one]
        new = [lease.claim(o, now=now, locked_until=ends[o.queue], token=token, holder=holder) for o in stored]
        await self.swap([Change(old, one) for old, one in zip(stored, new, strict=True)])
        return stored


@caught_by("test_race_of_swaps", "test_race_of_inserts", "test_race_of_batches_in_different_orders")
class ComparesBeforeItWrites(MemoryRepository):
    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        before = await self.read([change.ref for change in changes])
        await anyio.lowlevel.checkpoint()
        stored = await self.read([change.ref for change in changes])
        equal = [
            (one and one.revision) == (change.old and change.old.revision)
            for one, change in zip(before, changes, strict=True)
        ]
        await super().swap(
            [
                Change(now, change.new)
                for now, change, ok in zip(stored, changes, equal, strict=True)
                if ok and (now or change.new)
            ]
        )
        return [Swap.APPLIED if same else Swap.CONFLICT for same in equal]


@caught_by("test_race_within_one_client")
class NotForConcurrentUse(MemoryRepository):
    busy = False

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        assert not self.busy, "another operation is in progress"
        self.busy = True
        await anyio.lowlevel.checkpoint()
        self.busy = False
        return await super().read(refs)


# Cancellation, opening and closing


@caught_by("test_cancelled_calls_leave_nothing_behind")
class CancelledSwapKeepsItsLock(MemoryRepository):
    def __init__(self) -> None:
        super().__init__()
        self._free = anyio.Semaphore(5)

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        await self._free.acquire()
        await anyio.lowlevel.checkpoint()
        self._free.release()
        return await super().swap(changes)


@caught_by("test_cancelled_claim")
class CancelledClaimIsTorn(MemoryRepository):
    async def claim(self, claims: Sequence[QueueClaim], *, now: int, **options: Any) -> list[Record]:
        found = await ready_for(self, claims, now=now, limit=options["limit"])
        torn = [replace(one, fence=one.fence + 1) for one in found]
        await self.swap([Change(old, one) for old, one in zip(found, torn, strict=True)])
        await anyio.lowlevel.checkpoint()
        await self.swap([Change(one, old) for old, one in zip(found, torn, strict=True)])
        return await super().claim(claims, now=now, **options)


@caught_by("test_closing_keeps_the_data", forgets=True)
class ForgetsOnClosing(MemoryRepository):
    pass


@caught_by("test_clock")
class ClockWithoutNotice(MemoryRepository):
    async def clock(self) -> int | None:
        return time.time_ns() // 1000


@caught_by("test_clock", capabilities=Capabilities(server_clock=True))
class ClockInMilliseconds(MemoryRepository):
    async def clock(self) -> int | None:
        return time.time_ns() // 1_000_000


@caught_by("test_clock", capabilities=Capabilities(server_clock=True))
class NoClock(MemoryRepository):
    pass
