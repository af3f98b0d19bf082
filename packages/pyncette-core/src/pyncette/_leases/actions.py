"""The log of what operators did: writing and reading it."""

from __future__ import annotations

import os
from typing import Any

from pyncette._tasks.action import ACTIONS, Action, decode, key_of, new_record
from pyncette.clock import Clock
from pyncette.record import Change, Record, Ref

from .retention import remove_outlived
from .revisions import new_revision
from .store import Store
from .writer import Writer
from .writes import Awaited

SWEEP = 100
"""The maximum number of expired actions that are removed when a new one is stored."""


class _Note(Awaited):
    """Store an action."""

    def __init__(self, record: Record) -> None:
        super().__init__(Ref(record.queue, record.key), None)
        self._record = record

    def decide(self, now: int) -> Change | None:
        return None if self.known is not None else Change(None, self._record)


class Actions:
    """The actions of one storage."""

    def __init__(self, store: Store, writer: Writer, clock: Clock) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock

    async def note(self, **fields: Any) -> None:
        """Store an action and remove those older than three months. Returns when it is stored."""
        now = self._clock.now()
        write = _Note(new_record(key_of(now, os.urandom(4).hex()), now, new_revision(), **fields))
        await self._writer.store(write)
        await remove_outlived(self._store, ACTIONS, now, limit=SWEEP)

    async def latest(self, limit: int, after: str | None) -> tuple[list[Action], str | None]:
        """The latest actions, and the key after which the next page begins; None if there are no more."""
        records = await self._store.scan(ACTIONS, after=after, limit=limit)
        found = [action for record in records if (action := decode(record)) is not None]
        return found, records[-1].key if len(records) == limit else None
