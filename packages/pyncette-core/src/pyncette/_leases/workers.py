"""Writes that announce this process to the others, and find those that are alive."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable

from pyncette._tasks.names import escape
from pyncette._tasks.worker import RENEWAL, WORKERS, Worker, decode, encode, new_record
from pyncette.clock import Clock
from pyncette.errors import RepositoryException
from pyncette.record import Band, Change, Record, Ref

from .held import new_revision
from .registration import Remove
from .store import Store
from .writer import Write, Writer

SWEEP_EACH = 4
"""Every so often that a worker writes, it looks for records of dead ones."""

SWEEP = 100
"""How many records of dead workers are removed at most by one look."""


class Announce(Write):
    """This process is alive."""

    def __init__(self, ref: Ref, known: Record | None, text: str) -> None:
        super().__init__(ref, known)
        self._text = text

    def decide(self, now: int) -> Change | None:
        return Change(self.known, new_record(self.ref.key, self._text, now=now, revision=new_revision()))

    def finished(self, error: Exception | None) -> None:
        """If it is not stored, the next one will be."""


class Registry:
    """The records of all workers, and that of this one."""

    def __init__(self, store: Store, writer: Writer, clock: Clock, name: str) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._ref = Ref(WORKERS.name, f"{WORKERS.name}:{escape(name)}:{os.urandom(4).hex()}")

    async def announce(self, describe: Callable[[], Worker]) -> None:
        """Write what ``describe`` returns four times a minute, until cancelled, and sweep once a minute."""
        known: Record | None = None
        for turn in itertools.count():
            write = Announce(self._ref, known, encode(describe()))
            self._writer.submit(write)
            if turn % SWEEP_EACH == 1:
                with contextlib.suppress(RepositoryException):  # logged where it happens; the next one comes
                    await self._sweep()
            now = self._clock.now()
            await self._clock.wait_until(now + RENEWAL, background=True)
            known = write.known

    def leave(self) -> None:
        """This process has ended its work."""
        self._writer.submit(Remove(self._ref))

    async def alive(self) -> list[Worker]:
        """The workers that have written lately, the one that wrote longest ago first."""
        now = self._clock.now()
        found: list[Record] = []
        place: tuple[int, str] | None = None
        while True:
            page = await self._store.scan_ready(
                WORKERS, since=Band.COMPLETED.at(now), before=Band.COMPLETED.before, after=place, limit=1000
            )
            found += page
            if len(page) < 1000:
                workers = map(decode, found)
                return [worker for worker in workers if worker is not None]
            place = (page[-1].ready_at, page[-1].key)

    async def _sweep(self) -> None:
        """Remove records of workers that have died."""
        before = Band.COMPLETED.at(self._clock.now())
        dead = await self._store.scan_ready(WORKERS, since=Band.COMPLETED.since, before=before, limit=SWEEP)
        if dead:
            await self._store.swap([Change(record, None) for record in dead])
