"""What operators do to whole templates: one write, whatever the number of instances."""

from __future__ import annotations

from collections.abc import Callable

from pyncette._leases.control import ChangeControl, ControlReading
from pyncette._leases.writer import Writer
from pyncette._tasks.control import Control
from pyncette._tasks.task import Task

from .listing import Listing


class Templates:
    """The operations on templates of one app context."""

    def __init__(self, listing: Listing, writer: Writer, reading: ControlReading) -> None:
        self._listing = listing
        self._writer = writer
        self._reading = reading

    async def pause(self, template: Task, reason: str) -> None:
        name = template.canonical_name
        await self._change(lambda control, now: control.pause(name, now=now, reason=reason))

    async def resume(self, template: Task, *, catch_up: bool) -> None:
        name = template.canonical_name
        earliest = await self._listing.earliest(template)  # nothing that is still waiting came due earlier
        await self._change(
            lambda control, now: control.forget(name, before=earliest).resume(name, now=now, catch_up=catch_up)
        )

    async def _change(self, change: Callable[[Control, int], Control]) -> None:
        await self._writer.store(ChangeControl(change, self._reading))
