"""Announces this process to the other workers, and finds those that are alive."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable

from pyncette._tasks.names import escape
from pyncette._tasks.task import Task
from pyncette._tasks.worker import (
    FURTHER_RENEWAL,
    LIFETIME,
    RENEWAL,
    WORKERS,
    Worker,
    decode_all,
    encode,
    encode_further,
    new_record,
    place_among,
    pruning_worker,
    sampling_workers,
)
from pyncette.clock import Clock
from pyncette.errors import RepositoryException
from pyncette.record import Band, Change, Record, Ref

from .registration import Remove
from .retention import remove_outlived
from .revisions import new_revision
from .store import Store
from .writer import Writer
from .writes import Write

SWEEP_EACH = 4
"""A worker removes the records of dead workers once per this many writes of its own record."""

FURTHER_EACH = FURTHER_RENEWAL // RENEWAL
"""A worker writes the names of its further tasks once per this many writes of its own record."""

FURTHER_LIFETIME = 4 * FURTHER_RENEWAL

SWEEP = 100
"""The maximum number of dead workers' records that are removed at a time."""


class Announce(Write):
    """Store a record that shows that this process is alive."""

    def __init__(self, ref: Ref, known: Record | None, text: str, lifetime: int, on_lost: Callable[[], None]) -> None:
        """``on_lost`` is called if the record was stored before, and is gone."""
        super().__init__(ref, known)
        self._text = text
        self._lifetime = lifetime
        self._was_stored = known is not None
        self._on_lost = on_lost

    def decide(self, now: int) -> Change | None:
        if self._was_stored and self.known is None:
            self._was_stored = False
            self._on_lost()
        new = new_record(self.ref.key, self._text, now=now, revision=new_revision(), lifetime=self._lifetime)
        return Change(self.known, new)

    def finished(self, error: Exception | None) -> None:
        """Ignore errors: the next write makes up for this one."""


class Registry:
    """The workers' records, this one's included."""

    def __init__(self, store: Store, writer: Writer, clock: Clock, name: str) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._key = f"{WORKERS.name}:{escape(name)}:{os.urandom(4).hex()}"
        self._known: dict[str, Record | None] = {}  # what this worker has stored, by key

    async def announce(
        self, describe: Callable[[], Worker], on_lost: Callable[[], None], on_place: Callable[[int, int], None]
    ) -> None:
        """Write what ``describe`` returns four times a minute, and remove dead workers once a minute, until cancelled.

        :param on_lost: called if this worker's record was stored before, and is gone: other records may be gone too.
        :param on_place: called with this worker's place among those that do the same work, and their number.
        """
        for turn in itertools.count():
            worker = describe()
            writes = [self._write(self._key, encode(worker), LIFETIME, on_lost)]
            if turn % FURTHER_EACH == 0:
                texts = encode_further(worker, self._key)
                writes += [
                    self._write(f"{self._key}:{page}", text, FURTHER_LIFETIME, on_lost)
                    for page, text in enumerate(texts)
                ]
            with contextlib.suppress(RepositoryException):  # the store has logged it; retried next time
                if turn % SWEEP_EACH == 1:
                    await remove_outlived(self._store, WORKERS, self._clock.now(), limit=SWEEP)
                if turn:
                    on_place(*place_among(await self._alive(), self._key))
            now = self._clock.now()
            await self._clock.wait_until(now + RENEWAL, background=True)
            self._known.update({write.ref.key: write.known for write in writes})

    def _write(self, key: str, text: str, lifetime: int, on_lost: Callable[[], None]) -> Announce:
        write = Announce(Ref(WORKERS.name, key), self._known.setdefault(key, None), text, lifetime, on_lost)
        self._writer.submit(write)
        return write

    def leave(self) -> None:
        """Remove this worker's records: it has stopped working."""
        keys, self._known = list(self._known), {}
        for key in keys:
            self._writer.submit(Remove(Ref(WORKERS.name, key)))

    async def alive(self) -> list[Worker]:
        """The workers that have written recently, the one that wrote longest ago first."""
        return list((await self._alive()).values())

    async def prunes(self) -> bool:
        """Whether pruning the run log is this process's job. Two processes may both think so for a moment, when one
        joins or leaves."""
        return pruning_worker(await self._alive()) in (self._key, None)

    async def sampled(self, tasks: Iterable[Task]) -> list[Task]:
        """The tasks whose stored instances this process reports."""
        first = sampling_workers(await self._alive())
        return [task for task in tasks if first.get((task.name, task.kind), self._key) == self._key]

    async def _alive(self) -> dict[str, Worker]:
        """The workers that have written recently, by key."""
        now = self._clock.now()
        found: list[Record] = []
        place: tuple[int, str] | None = None
        while True:
            page = await self._store.scan_ready(
                WORKERS, since=Band.COMPLETED.at(now), before=Band.COMPLETED.before, after=place, limit=1000
            )
            found += page
            if len(page) < 1000:
                return decode_all(found)
            place = (page[-1].ready_at, page[-1].key)
