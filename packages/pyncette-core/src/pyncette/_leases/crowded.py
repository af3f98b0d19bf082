"""Moves retries of a failing backlog out of the way of what is on time."""

from __future__ import annotations

from collections.abc import Iterable

from pyncette._lifecycle.queueing import RECENT, is_retry_of_missed, to_backlog
from pyncette._tasks.task import Task

from .revisions import new_revision
from .store import Store

INTERVAL = 250_000
"""Microseconds between two checks; retries delay what is on time by no more than this."""

BATCH = 1000
"""Instances of a queue that are checked at a time."""


class Crowded:
    """Handles queues that have more retries than can be executed.

    Retries come due one at a time, so each sorts among what is on time, until a worker notices that there are too many.
    Each is moved once.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looked_at: int | None = None

    async def clear(self, tasks: Iterable[Task], now: int) -> set[str]:
        """Move the retries of ``tasks`` to the backlog, unless that happened a moment ago. Records that have changed in
        the meantime stay.

        :return: queues in which there was nothing to move.
        :raises RepositoryException: the storage failed.
        """
        empty: set[str] = set()
        if self._looked_at is not None and 0 <= now - self._looked_at < INTERVAL:
            return empty
        self._looked_at = now
        for task in tasks:
            recent = await self._store.scan_ready(task.queue, since=now - RECENT, before=now + 1, limit=BATCH)
            changes = [to_backlog(record, now, new_revision()) for record in recent if is_retry_of_missed(record)]
            if changes:
                await self._store.swap(changes)
            else:
                empty.add(task.queue.name)
        return empty
