"""Runs that are asked for beside the schedule: how they are stored, and claimed under a paused template."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pyncette import lease
from pyncette._lifecycle.extra import ask
from pyncette._tasks.control import Asked
from pyncette._tasks.extra import ExtraRun, extra_of
from pyncette._tasks.spec import LaterSpec, UndecodableSpec, decode
from pyncette._tasks.state import State
from pyncette.clock import Clock
from pyncette.errors import StorageVersionException, TaskNotFoundException
from pyncette.record import Change, Record, Ref

from .control import ChangeControl, ControlReading
from .held import new_revision
from .store import Store
from .writer import Awaited, Writer


class Ask(Awaited):
    """A run is asked for."""

    def __init__(self, ref: Ref, run: ExtraRun) -> None:
        super().__init__(ref, None, fresh=False)
        self._run = run

    def decide(self, now: int) -> Change | None:
        if self.known is None:
            raise TaskNotFoundException(self.ref.key)
        check_readable(self.known)
        return ask(self.known, self._run, now=now, revision=new_revision())


def check_readable(record: Record) -> None:
    """
    :raises StorageVersionException: a later version wrote the record.
    :raises ValueError: it was damaged.
    """
    key = record.key
    try:
        decode(record.spec, record.due_at)
    except LaterSpec as e:
        raise StorageVersionException(f"What is stored of {key!r} was {e}: upgrade Pyncette here.") from e
    except UndecodableSpec as e:
        raise ValueError(f"What is stored of {key!r} can't be read ({e}): schedule it anew.") from e


class AskedRuns:
    """The runs that the control record names: of instances of paused templates, which no claim finds."""

    def __init__(self, store: Store, writer: Writer, clock: Clock, reading: ControlReading) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._reading = reading

    async def next_ready(self, queues: Collection[str], after: int | None) -> int | None:
        """When the first of them may be claimed that is not earlier than ``after``. Drops those that have ended."""
        if not self._reading.control.asked:
            return None
        moments = [record.ready_at for record in await self._records(queues)]
        return min((moment for moment in moments if after is None or moment > after), default=None)

    async def claim(
        self, ends: Mapping[str, int], *, limit: int, token: str, holder: str
    ) -> list[tuple[Record, Record]]:
        """Claim those that are ready.

        :param ends: the end of the leases by queue.
        :return: the records as they were before and as they are stored now.
        """
        now = self._clock.now()
        ready = [record for record in await self._records(ends) if lease.state_of(record, now) is lease.State.READY]
        pairs = [
            (record, lease.claim(record, now=now, locked_until=ends[record.queue], token=token, holder=holder))
            for record in ready[:limit]
        ]
        if not pairs:
            return []
        swaps = await self._store.swap([Change(before, record) for before, record in pairs])
        return [pair for pair, swap in zip(pairs, swaps, strict=True) if swap]

    async def _records(self, queues: Collection[str]) -> list[Record]:
        """Of those of the queues."""
        asked = [run for run in self._reading.control.asked if run.queue in queues]
        refs = list(dict.fromkeys(run.ref for run in asked))
        if not refs:
            return []
        stored = dict(zip(refs, await self._store.read(refs), strict=True))
        still = [run for run in asked if _is_open(stored[run.ref], run)]
        over = [run for run in asked if run not in still]
        if over:
            self._writer.submit(ChangeControl(lambda control, _: control.answered(over), self._reading))
        return [record for ref in dict.fromkeys(run.ref for run in still) if (record := stored[ref]) is not None]


def _is_open(record: Record | None, run: Asked) -> bool:
    return record is not None and extra_of(State(record.state)).is_open(run.run_id)
