"""Moves next occurrences after a change of timezone rules, in bulk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import anyio.lowlevel

from pyncette._leases.access import Access
from pyncette._leases.recomputing import Recompute
from pyncette._leases.store import Store
from pyncette._leases.writer import MAX_BATCH
from pyncette._tasks.task import Task
from pyncette.clock import Clock
from pyncette.record import Record

from .bulk import STEPS_AT_ONCE, Progress, report_progress, store_all


async def recompute(access: Access, task: Task, progress: Progress | None, *, dry_run: bool) -> int:
    """Move next occurrences page by page. Returns how many were moved, or would have been."""
    moved = seen = 0
    async for page in _pages(access.store, task):
        writes = [Recompute(record, task.policies) for record in page]
        if dry_run:
            moved += await _would_move(writes, access.clock)
        else:
            await store_all(access.writer, writes)
            moved += sum(write.moved for write in writes)
        seen += len(page)
        await report_progress(progress, seen)
    return moved


async def _would_move(writes: Sequence[Recompute], clock: Clock) -> int:
    moved = 0
    for number, write in enumerate(writes):
        if number % STEPS_AT_ONCE == STEPS_AT_ONCE - 1:
            await anyio.lowlevel.checkpoint()
        moved += write.decide(clock.now()) is not None
    return moved


async def _pages(store: Store, task: Task) -> AsyncIterator[list[Record]]:
    if not task.dynamic:
        yield [record for record in await store.read((task.ref,)) if record is not None]
        return
    for parent in task.queues:
        after: str | None = None
        while page := await store.scan(parent.queue, after=after, limit=MAX_BATCH):
            yield page
            after = page[-1].key
