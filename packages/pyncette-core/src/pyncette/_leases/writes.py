"""Pending writes. Each decides what to store when its batch is sent, from the record as it is known then."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import anyio

from pyncette.record import Change, Record, Ref


class Write(ABC):
    """Something to be stored at one key.

    :ivar known: the record as it was last seen, which compare-and-swap expects in the storage.
    :ivar fresh: whether ``known`` can be relied on; otherwise it is read first.
    :ivar was_read: whether ``known`` comes from the storage.
    :ivar persistent: whether to keep retrying while the storage is unreachable. A transient write fails after its
        second try.
    :ivar busy, busy_since: how often another transaction had locked the record, and since when.
    :ivar not_before: when to try next. Both times are in seconds of :func:`anyio.current_time`.
    :ivar carried: context, such as a trace: from a carrier for the call that made the write, or from an observer for
        the attempt that it concerns.
    :ivar lease_ends: microseconds; when the lease that it concerns ends, None if it concerns no lease.
    """

    persistent = False
    lease_ends: int | None = None
    carried: str | None = None

    ref: Ref
    known: Record | None = None
    fresh: bool = True
    was_read = False
    sent: Change | None = None
    done = False
    failures = 0
    conflicts = 0
    busy = 0
    busy_since: float = math.inf
    not_before: float = -math.inf

    def __init__(self, ref: Ref, known: Record | None, *, fresh: bool = True) -> None:
        self.ref = ref
        self.known = known
        self.fresh = fresh

    @abstractmethod
    def decide(self, now: int) -> Change | None:
        """The change from ``known``; None if there is nothing, or nothing more, to store."""

    def confirm(self) -> Change | None:
        """A change that keeps ``known`` but locks the record until the caller's transaction ends.

        Used when :meth:`decide` found nothing to store, but the caller relies on the record staying as it is.
        """
        return None

    def stored(self, new: Record | None) -> None:
        """Called when ``new`` has been stored."""
        self.known = new

    @abstractmethod
    def finished(self, error: Exception | None) -> None:
        """Called at the end: it was stored, had nothing to store, or failed with ``error``."""

    def arrived(self, sent: Change) -> bool:
        """Whether ``known`` shows that ``sent``, whose reply was lost, was stored."""
        if sent.new is None or self.known is None:
            return sent.new is self.known
        return sent.new.revision == self.known.revision


class Awaited(Write):
    """A write that a caller waits for."""

    _end: anyio.Event | None = None  # created on demand: most writes of a bulk call are done before anyone waits
    _error: Exception | None = None

    def finished(self, error: Exception | None) -> None:
        self._error = error
        if self._end is not None:
            self._end.set()

    async def wait(self) -> None:
        """Return when it is done. If the caller is cancelled in the meantime, the write continues.

        :raises RepositoryException: the storage failed; it is unknown whether the write was stored.
        """
        if not self.done:
            self._end = self._end or anyio.Event()
            await self._end.wait()
        if self._error is not None:
            raise self._error
