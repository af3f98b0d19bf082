"""Writes that give back leases on records that this process can't execute."""

from __future__ import annotations

import logging
from abc import abstractmethod

from pyncette import lease
from pyncette._tasks.names import name_of
from pyncette.record import Band, Change, Record

from .revisions import new_revision
from .writes import Write

logger: logging.Logger = logging.getLogger(__name__)


class _Unexecuted(Write):
    """Give back the lease on a record that this process can't execute, unless the record has changed since."""

    def __init__(self, record: Record) -> None:
        super().__init__(record.ref, record)
        self._claimed = record

    def decide(self, now: int) -> Change | None:
        if self.known is None or self.known.revision != self._claimed.revision:
            return None
        return self.change(self.known, now)

    @abstractmethod
    def change(self, record: Record, now: int) -> Change:
        """The change that gives the lease back."""

    def finished(self, error: Exception | None) -> None:
        if error is not None:
            key = name_of(self.ref.key)
            logger.warning("The lease on %r could not be given back: %s", key, error, extra={"task": key})


class SetAside(_Unexecuted):
    """Keep a damaged record, but exclude it from claims."""

    def change(self, record: Record, now: int) -> Change:
        return lease.hold(record, Band.UNREADABLE, moment=now, revision=new_revision())


class GiveBack(_Unexecuted):
    """Give the lease back with a delay: for a record that a later version wrote, or that is still being executed."""

    def __init__(self, record: Record, *, delay: int) -> None:
        super().__init__(record)
        self._delay = delay

    def change(self, record: Record, now: int) -> Change:
        return lease.release(record, at=now + self._delay, revision=new_revision())
