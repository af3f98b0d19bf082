"""What is to be stored: each write decides from the record as it is known when its batch leaves."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import anyio

from pyncette.record import Change, Record, Ref


class Write(ABC):
    """Something to be stored at one key.

    :ivar known: the record as it was last seen; compare-and-swap goes against it.
    :ivar fresh: whether ``known`` can be trusted, or has to be read first.
    :ivar was_read: whether ``known`` comes from the storage.
    :ivar persistent: whether to keep retrying while the storage is unreachable. A transient write fails after its
        second try.
    :ivar busy, busy_since: how often another transaction had locked the record, and since when, in seconds of
        :func:`anyio.current_time`; it waits until ``not_before``.
    :ivar carried: what a carrier gave the call that asked for it, or what an observer gave the attempt that it
        is about.
    :ivar lease_ends: microseconds; when the lease ends that it is about, None if it is about none.
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
        """The change from ``known``, None when there is nothing (more) to store."""

    def confirm(self) -> Change | None:
        """The change that leaves ``known`` as it is, where a caller in a transaction relies on it although
        :meth:`decide` found nothing to store: it holds the record until the transaction ends."""
        return None

    def stored(self, new: Record | None) -> None:
        """``new`` is in storage now."""
        self.known = new

    @abstractmethod
    def finished(self, error: Exception | None) -> None:
        """No more will be tried: stored, ended by :meth:`decide`, or failed with ``error``."""

    def arrived(self, sent: Change) -> bool:
        """Whether ``sent``, whose answer was lost, is what is stored according to ``known``."""
        if sent.new is None or self.known is None:
            return sent.new is self.known
        return sent.new.revision == self.known.revision


class Awaited(Write):
    """A write whose end is waited for."""

    _end: anyio.Event | None = None  # made by whoever waits: most writes of a bulk call are done before that
    _error: Exception | None = None

    def finished(self, error: Exception | None) -> None:
        self._error = error
        if self._end is not None:
            self._end.set()

    async def wait(self) -> None:
        """Return when it is done. If the caller is cancelled meanwhile, the write continues.

        :raises RepositoryException: the storage failed; whether the write took place is unknown.
        """
        if not self.done:
            self._end = self._end or anyio.Event()
            await self._end.wait()
        if self._error is not None:
            raise self._error
