"""Stores that find, claim or keep something else than they should."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio

from pyncette import lease
from pyncette.memory import MemoryRepository
from pyncette.record import Change, Queue, QueueClaim, Record, Ref
from pyncette.testing import Capabilities
from tests.contract.broken import caught_by

# The index


@caught_by("test_due_from_the_moment_on", "test_due_of_any_time")
class DueIsLateByATick(MemoryRepository):
    async def due(self, claims: Sequence[QueueClaim], *, now: int, limit: int) -> list[Record]:
        return await super().due(claims, now=now - 1, limit=limit)


@caught_by("test_due_of_any_time", "test_claim_uses_the_time_that_it_is_given")
class DueByItsOwnClock(MemoryRepository):
    async def due(self, claims: Sequence[QueueClaim], *, now: int, limit: int) -> list[Record]:
        return await super().due(claims, now=time.time_ns() // 1000, limit=limit)


@caught_by("test_due_gives_the_earliest_first", "test_claim_takes_what_is_due")
class DueWithoutOrder(MemoryRepository):
    async def due(self, claims: Sequence[QueueClaim], *, now: int, limit: int) -> list[Record]:
        everything = [replace(claim, limit=10_000) for claim in claims]
        found = await super().due(everything, now=now, limit=10_000)
        found.sort(key=lambda one: one.revision)
        limits = {claim.queue.name: itertools.count(claim.limit, -1) for claim in claims}
        return [one for one in found if next(limits[one.queue]) > 0][:limit]


@caught_by("test_due_takes_queues_in_the_order_given", "test_claim_takes_queues_in_the_order_given")
class DueMixesQueues(MemoryRepository):
    async def due(self, claims: Sequence[QueueClaim], *, now: int, limit: int) -> list[Record]:
        ordered = sorted(claims, key=lambda claim: claim.queue.name)
        return await super().due(ordered, now=now, limit=limit)


@caught_by("test_due_takes_queues_in_the_order_given", "test_claim_takes_queues_in_the_order_given")
class DueWithoutLimits(MemoryRepository):
    async def due(self, claims: Sequence[QueueClaim], *, now: int, limit: int) -> list[Record]:
        return await super().due([replace(claim, limit=limit) for claim in claims], now=now, limit=limit)


@caught_by("test_due_takes_queues_in_the_order_given", "test_claim_with_a_limit_of_zero")
class DueWithoutAnOverallLimit(MemoryRepository):
    async def due(self, claims: Sequence[QueueClaim], *, now: int, limit: int) -> list[Record]:
        return await super().due(claims, now=now, limit=10_000)


@caught_by("test_due_follows_every_move", "test_claim_moves_the_index", "test_next_ready_follows_every_move")
class IndexForgetsMoves(MemoryRepository):
    async def swap(self, changes: Sequence[Change]) -> list[bool]:
        for change in changes:
            if change.old and change.new and change.old.ready_at < change.new.ready_at:
                self._by_ready[change.ref.queue].insert(0, (change.old.ready_at, change.ref.key))
        return await super().swap(changes)


@caught_by("test_next_ready_after_a_moment")
class NextReadyIgnoresAfter(MemoryRepository):
    async def next_ready(self, queues: Sequence[Queue], *, after: int | None = None) -> int | None:
        return await super().next_ready(queues)


@caught_by("test_next_ready_after_a_moment")
class NextReadyIncludesAfter(MemoryRepository):
    async def next_ready(self, queues: Sequence[Queue], *, after: int | None = None) -> int | None:
        return await super().next_ready(queues, after=None if after is None else after - 1)


@caught_by("test_next_ready_is_the_earliest_of_all", "test_next_ready_of_nothing")
class NextReadyOfAllQueues(MemoryRepository):
    async def next_ready(self, queues: Sequence[Queue], *, after: int | None = None) -> int | None:
        return await super().next_ready([Queue(name) for name in self._by_ready], after=after) or 0


# Scans


@caught_by("test_scan_of_records_that_move_in_time")
class ScanInTheOrderOfTime(MemoryRepository):
    async def scan(self, queue: Queue, *, after: str | None, limit: int) -> list[Record]:
        records = await super().scan(queue, after=None, limit=10_000)
        records.sort(key=lambda one: one.ready_at)
        keys = [one.key for one in records]
        start = keys.index(after) + 1 if after in keys else 0
        return records[start : start + limit]


@caught_by("test_scan_goes_on_after_a_deleted_key", "test_scan_of_nothing")
class ScanNeedsItsLastKey(MemoryRepository):
    async def scan(self, queue: Queue, *, after: str | None, limit: int) -> list[Record]:
        keys = [one.key for one in await super().scan(queue, after=None, limit=10_000)]
        if after is not None and after not in keys:
            raise LookupError(after)
        return await super().scan(queue, after=after, limit=limit)


@caught_by("test_scan_page_by_page", "test_scan_limits_a_page")
class ScanRepeatsItsLastKey(MemoryRepository):
    async def scan(self, queue: Queue, *, after: str | None, limit: int) -> list[Record]:
        return await super().scan(queue, after=after[:-1] if after else None, limit=limit)


@caught_by("test_scan_page_by_page", "test_scan_of_a_static_queue")
class ScanByPrefix(MemoryRepository):
    async def scan(self, queue: Queue, *, after: str | None, limit: int) -> list[Record]:
        matching = [one for one in self._records.values() if one.key.startswith(queue.name)]
        matching.sort(key=lambda one: one.key)
        return [one for one in matching if after is None or one.key > after][:limit]


# Claims


class Claiming(MemoryRepository):
    """Claims something else than what the state machine says."""

    def _claimed(self, record: Record, claim: QueueClaim, now: int) -> Record:
        raise NotImplementedError

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        taken = await super().claim(claims, now=now, limit=limit, token=token, holder=holder)
        by_queue = {one.queue.name: one for one in claims}
        wrong = [self._claimed(one, by_queue[one.queue], now) for one in taken]
        await self.swap([Change(one, new) for one, new in zip(taken, wrong, strict=True)])
        return wrong


WRITES = "test_claim_writes_what_the_state_machine_says"


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


@caught_by(WRITES)
class ReturnsWhatItHasNotStored(MemoryRepository):
    async def claim(self, claims: Sequence[QueueClaim], **options: Any) -> list[Record]:
        return [replace(one, spec="") for one in await super().claim(claims, **options)]


@caught_by("test_race_of_claims", "test_race_of_claims_on_many_queues")
class ClaimsWithoutComparing(MemoryRepository):
    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        found = await self.due(claims, now=now, limit=limit)
        ends = {one.queue.name: one.locked_until for one in claims}
        await anyio.lowlevel.checkpoint()
        stored = [one for one in await self.read([one.ref for one in found]) if one]
        new = [lease.claim(o, now=now, locked_until=ends[o.queue], token=token, holder=holder) for o in stored]
        await self.swap([Change(old, one) for old, one in zip(stored, new, strict=True)])
        return new


@caught_by("test_race_of_swaps", "test_race_of_inserts", "test_race_of_batches_in_different_orders")
class ComparesBeforeItWrites(MemoryRepository):
    async def swap(self, changes: Sequence[Change]) -> list[bool]:
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
        return equal


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

    async def swap(self, changes: Sequence[Change]) -> list[bool]:
        await self._free.acquire()
        await anyio.lowlevel.checkpoint()
        self._free.release()
        return await super().swap(changes)


@caught_by("test_cancelled_claim")
class CancelledClaimIsTorn(MemoryRepository):
    async def claim(self, claims: Sequence[QueueClaim], *, now: int, **options: Any) -> list[Record]:
        found = await self.due(claims, now=now, limit=options["limit"])
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
