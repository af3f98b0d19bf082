"""Time as the scheduler sees it. Microseconds since the epoch, UTC."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext

import anyio
import anyio.lowlevel


class Clock(ABC):
    """Where an app gets its time from, and how it waits. ``pyncette.testing.ManualClock`` is one for tests."""

    @abstractmethod
    def now(self) -> int:
        """The time, in microseconds since the epoch."""

    @abstractmethod
    async def wait_until(self, when: int, event: anyio.Event | None = None, *, idle_until: int | None = None) -> None:
        """Return at ``when`` or as soon as ``event`` is set, whichever comes first.

        :param idle_until: nothing is to be done before then as far as this process and the storage know. A clock that
            is moved by hand may skip what would only look.
        """

    async def sleep(self, seconds: float) -> None:
        """Wait for that many seconds of this clock."""
        end = self.now() + round(seconds * 1_000_000)
        while self.now() < end:
            await self.wait_until(end)

    @abstractmethod
    def discipline(self, server_time: int) -> None:
        """The storage's clock has just shown ``server_time``: follow it."""

    def busy(self, *, changes: bool) -> AbstractContextManager[None]:
        """Held while time must not be advanced by hand: a call to the storage or a worker thread is under way.

        :param changes: whether it may change what others have to do.
        """
        return nullcontext()


class SystemClock(Clock):
    """The machine's clock until it is disciplined, from then on the storage's.

    Between two readings of the storage's clock it goes on by the monotonic clock, so that a machine whose clock is
    wrong or is being set neither starts occurrences early nor takes leases that others still hold. It errs on the slow
    side, by at most the time that the reading took.
    """

    def __init__(self) -> None:
        self._offset: int | None = None

    def now(self) -> int:
        if self._offset is None:
            return time.time_ns() // 1000
        return time.monotonic_ns() // 1000 + self._offset

    async def wait_until(self, when: int, event: anyio.Event | None = None, *, idle_until: int | None = None) -> None:
        # A long sleep is cut into hours: the clock may be disciplined meanwhile, and callers look again anyway.
        seconds = min(max(when - self.now(), 0) / 1_000_000, 3600.0)
        if event is None:
            await anyio.sleep(seconds)
        elif seconds <= 0:
            await anyio.lowlevel.checkpoint()
        else:
            with anyio.move_on_after(seconds):
                await event.wait()

    def discipline(self, server_time: int) -> None:
        self._offset = server_time - time.monotonic_ns() // 1000
