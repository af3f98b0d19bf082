"""What operators do with whole templates, in one write whatever the number of instances."""

from __future__ import annotations

from collections.abc import Callable

from pyncette._leases.control import ChangeControl, ControlReading
from pyncette._leases.store import Store
from pyncette._leases.writer import Writer
from pyncette._tasks.control import Control
from pyncette._tasks.task import Task
from pyncette.record import HELD


class Templates:
    """The operations on templates of one app context."""

    def __init__(self, store: Store, writer: Writer, reading: ControlReading) -> None:
        self._store = store
        self._writer = writer
        self._reading = reading

    async def pause(self, template: Task, reason: str) -> None:
        name = template.canonical_name
        await self._change(lambda control, now: control.pause(name, now=now, reason=reason))

    async def resume(self, template: Task, *, catch_up: bool) -> None:
        name = template.canonical_name
        earliest = await self._earliest(template)
        await self._change(
            lambda control, now: control.forget(name, before=earliest).resume(name, now=now, catch_up=catch_up)
        )

    async def _earliest(self, template: Task) -> int:
        """The earliest moment at which an instance is ready: nothing that still waits came due before it."""
        earliest = HELD
        for queue in template.queues:
            for record in await self._store.scan_ready(queue.queue, limit=1):
                earliest = min(earliest, record.ready_at)
        return earliest

    async def _change(self, change: Callable[[Control, int], Control]) -> None:
        write = ChangeControl(change, self._reading)
        self._writer.submit(write)
        await write.wait()
