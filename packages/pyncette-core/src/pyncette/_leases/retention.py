"""Removes expired records: finished instances, dead workers, old actions."""

from __future__ import annotations

from collections.abc import Iterable

from pyncette._tasks.task import Task
from pyncette.record import Band, Change, Queue

from .store import Store

INTERVAL = 60_000_000
"""Microseconds between two sweeps of tasks with ``retain``."""

BATCH = 500
"""The maximum number of a queue's instances that one sweep removes. The next sweep removes more."""


class Retention:
    """The finished instances of the tasks that an app executes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._swept_at: int | None = None

    async def sweep(self, tasks: Iterable[Task], now: int) -> None:
        """Remove those that have expired, at most once a minute. An instance that has just been changed stays.

        :raises RepositoryException: the storage failed.
        """
        if self._swept_at is not None and 0 <= now - self._swept_at < INTERVAL:
            return
        self._swept_at = now
        for task in tasks:
            await remove_outlived(self._store, task.queue, now, limit=BATCH)


async def remove_outlived(store: Store, queue: Queue, now: int, *, limit: int) -> None:
    """Remove up to ``limit`` records of a queue that were to be kept until ``now`` at most. One that has just been
    changed stays.

    :raises RepositoryException: the storage failed.
    """
    old = await store.scan_ready(queue, since=Band.COMPLETED.since, before=Band.COMPLETED.at(now), limit=limit)
    if old:
        await store.swap([Change(record, None) for record in old])
