"""The control record as a process knows it, and the write that changes it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pyncette._tasks.control import CONTROL, Control, decode, new_record
from pyncette.clock import Clock
from pyncette.record import Change, Record

from .revisions import new_revision
from .store import Store
from .writes import Awaited

logger: logging.Logger = logging.getLogger(__name__)


class ControlReading:
    """The control record as this process last saw it.

    :ivar control: its content.
    """

    def __init__(self, store: Store, clock: Clock, poll_interval: int) -> None:
        self.control: Control = Control()
        self._store = store
        self._clock = clock
        self._poll_interval = poll_interval
        self._read_at: int | None = None
        self._revision: str | None = None
        self._damaged: str | None = None

    async def follow(self) -> Control:
        """The content, read again if the last reading is older than the poll interval."""
        now = self._clock.now()
        if self._read_at is None or abs(now - self._read_at) >= self._poll_interval:
            looked = await self._store.look((), (CONTROL,))
            self.take(looked.records[0], now)
        return self.control

    async def reread(self) -> Control:
        """The content, read again in any case."""
        now = self._clock.now()
        (record,) = await self._store.read((CONTROL,))
        self.take(record, now)
        return self.control

    def independent(self) -> ControlReading:
        """A new, independent reading that starts with no knowledge."""
        return ControlReading(self._store, self._clock, self._poll_interval)

    def take(self, record: Record | None, asked_at: int) -> bool:
        """Use ``record``, which was requested at ``asked_at``.

        A damaged record changes nothing: paused templates stay paused.

        :return: whether the content has changed.
        """
        self._read_at = asked_at
        if record is not None and record.revision in (self._revision, self._damaged):
            return False
        try:
            control = decode(record.spec) if record else Control()
        except ValueError as e:
            self._damaged = record.revision if record else None
            logger.error("%s What was paused stays paused; pausing or resuming a template rewrites it.", e)
            return False
        changed = control != self.control
        self.control, self._revision = control, record.revision if record else None
        return changed


class ChangeControl(Awaited):
    """Change the control record, even if others change it concurrently.

    :param change: maps the stored content and the time to the new content.
    :ivar control: the content once the change is stored.
    """

    control: Control

    def __init__(self, change: Callable[[Control, int], Control], reading: ControlReading) -> None:
        super().__init__(CONTROL, None, fresh=False)
        self._change = change
        self._reading = reading
        self._asked_at = 0

    def decide(self, now: int) -> Change | None:
        self._asked_at = now
        try:
            before = decode(self.known.spec) if self.known else Control()
        except ValueError:
            before = self._reading.control
        self.control = self._change(before, now)
        if self.control == before and self.known is not None:
            return None
        return Change(self.known, new_record(self.known, self.control, revision=new_revision()))

    def stored(self, new: Record | None) -> None:
        super().stored(new)
        self._reading.take(new, self._asked_at)
