"""Manual runs and backfills: how they are requested, and how manual runs are claimed while the template is paused."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from pyncette import lease
from pyncette._lifecycle.backfill import add, drop
from pyncette._lifecycle.extra import request, schedule_side
from pyncette._tasks.control import RequestedRun
from pyncette._tasks.extra import Backfill, ExtraRun, current_run, extra_of
from pyncette._tasks.spec import Spec, decode
from pyncette._tasks.state import State
from pyncette._tasks.task import Task
from pyncette.clock import Clock
from pyncette.record import HELD, Change, Record, Ref

from .control import ChangeControl, ControlReading
from .existing import OnExisting
from .store import Store
from .writer import Writer


class RequestRun(OnExisting):
    """Request a manual run."""

    def __init__(self, task: Task, ref: Ref, run: ExtraRun) -> None:
        super().__init__(ref)
        self.run = run
        self._task = task

    def change(self, record: Record, spec: Spec, now: int, revision: str) -> Change | None:
        if self._task.arguments is not None and self.run.args:
            stored = self._task.extra_args if record.static else decode(record.spec, record.due_at)[1]
            self._task.arguments.check_override(stored, self.run.args)
        return request(record, self.run, now=now, revision=revision)

    @property
    def held(self) -> bool:
        """Whether the instance is dead, paused or completed, apart from this run. Valid once it is stored."""
        return self.known is not None and schedule_side(self.known).ready_at >= HELD


class AddBackfill(OnExisting):
    """Request a backfill."""

    def __init__(self, ref: Ref, fill: Backfill) -> None:
        super().__init__(ref)
        self._fill = fill

    def change(self, record: Record, spec: Spec, now: int, revision: str) -> Change | None:
        return add(record, self._fill, now=now, revision=revision)


class DropBackfill(OnExisting):
    """Cancel a backfill."""

    def __init__(self, ref: Ref, backfill_id: str) -> None:
        super().__init__(ref)
        self._id = backfill_id

    def change(self, record: Record, spec: Spec, now: int, revision: str) -> Change | None:
        return drop(record, self._id, now=now, revision=revision)


class RequestedRuns:
    """The manual runs that the control record lists: their templates are paused, so that ordinary claims don't find
    them."""

    def __init__(self, store: Store, writer: Writer, clock: Clock, reading: ControlReading) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._reading = reading

    async def next_ready(self, queues: Collection[str], after: int | None) -> int | None:
        """When the first of them after ``after`` may be claimed. Removes those that have ended from the control
        record."""
        if not self._reading.control.requested:
            return None
        moments = [record.ready_at for record in await self._records(queues) if _is_claimable(record)]
        return min((moment for moment in moments if after is None or moment > after), default=None)

    async def claim(
        self, ends: Mapping[str, int], *, admit: Callable[[list[Record]], list[Record]], token: str, holder: str
    ) -> list[tuple[Record, Record]]:
        """Claim those that are ready.

        :param ends: when the leases end, by queue.
        :param admit: selects from the ready records.
        :return: pairs of the record before the claim and the record as stored now.
        """
        now = self._clock.now()
        records = [record for record in await self._records(ends) if _is_claimable(record)]
        ready = [record for record in records if lease.state_of(record, now) is lease.State.READY]
        pairs = [
            (record, lease.claim(record, now=now, locked_until=ends[record.queue], token=token, holder=holder))
            for record in admit(ready)
        ]
        if not pairs:
            return []
        swaps = await self._store.swap([Change(before, record) for before, record in pairs])
        return [pair for pair, swap in zip(pairs, swaps, strict=True) if swap]

    async def _records(self, queues: Collection[str]) -> list[Record]:
        """The records of the requested runs of these queues."""
        requested = [run for run in self._reading.control.requested if run.queue in queues]
        refs = list(dict.fromkeys(run.ref for run in requested))
        if not refs:
            return []
        stored = dict(zip(refs, await self._store.read(refs), strict=True))
        still = [run for run in requested if _is_open(stored[run.ref], run)]
        over = [run for run in requested if run not in still]
        if over:
            self._writer.submit(ChangeControl(lambda control, _: control.answered(over), self._reading))
        return [record for ref in dict.fromkeys(run.ref for run in still) if (record := stored[ref]) is not None]


def _is_open(record: Record | None, run: RequestedRun) -> bool:
    return record is not None and extra_of(State(record.state)).is_open(run.run_id)


def _is_claimable(record: Record) -> bool:
    """Whether its current run is not part of a backfill, which waits while the template is paused."""
    run = current_run(record.state)
    return run is None or run.trigger == "manual"
