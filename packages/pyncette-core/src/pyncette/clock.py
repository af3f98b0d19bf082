"""Time as the scheduler sees it. Microseconds since the epoch, UTC."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import anyio
import anyio.lowlevel


class Clock(ABC):
    """Where an app gets its time from, and how it waits. ``pyncette.testing.ManualClock`` is one for tests."""

    @abstractmethod
    def now(self) -> int:
        """The time, in microseconds since the epoch."""

    @abstractmethod
    async def wait_until(
        self, when: int, event: anyio.Event | None = None, *, idle_until: int | None = None, background: bool = False
    ) -> None:
        """Return at ``when`` or as soon as ``event`` is set, whichever comes first.

        :param idle_until: nothing is to be done before then as far as this process and the storage know. A clock that
            is moved by hand may skip what would only look.
        :param background: no execution depends on it. A clock that is moved by hand returns only where it stops.
        """

    async def sleep(self, seconds: float) -> None:
        """Wait for that many seconds of this clock."""
        end = self.now() + round(seconds * 1_000_000)
        while self.now() < end:
            await self.wait_until(end)

    @abstractmethod
    def discipline(self, server_time: int, *, took: int) -> None:
        """The storage's clock has shown ``server_time`` at some moment of the last ``took`` microseconds: follow it."""

    @property
    def error(self) -> int:
        """Microseconds by which :meth:`now` may be behind. It is never ahead, so that nothing begins early; a lease
        ends so much later in exchange."""
        return 0

    @property
    def disturbed(self) -> bool:
        """Whether the storage's clock should be read again, because the machine was suspended."""
        return False

    def call_limit(self, seconds: float) -> float:
        """How many seconds of the machine's time a call to the storage gets that may take ``seconds`` of this clock.

        A clock that is moved by hand stands still during a call, so that none takes too long: ``math.inf``.
        """
        return seconds

    def busy(self, *, changes: bool) -> AbstractContextManager[None]:
        """Held while time must not be advanced by hand: a call to the storage or a worker thread is under way.

        :param changes: whether it may change what others have to do.
        """
        return nullcontext()


DRIFT = 5_000
"""Two clocks may drift apart by one in this many microseconds: 200 ppm, more than any working quartz does."""

_DISTURBED = 1_000_000
"""Microseconds that the machine's clock and the monotonic clock may drift apart between two readings."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known about the storage's clock: bounds of its difference from the monotonic clock. Microseconds.

    :ivar low, high: the bounds.
    :ivar at: when they were determined, by the monotonic clock.
    """

    low: int
    high: int
    at: int

    @classmethod
    def taken(cls, server_time: int, *, took: int, at: int) -> Reading:
        """The storage's clock has shown ``server_time`` at some moment of the ``took`` microseconds before ``at``."""
        return cls(server_time - at, server_time - at + took, at)

    def later(self, now: int) -> Reading:
        """The reading as it applies ``now``, with bounds widened by the drift."""
        drift = max(now - self.at, 0) // DRIFT
        return Reading(self.low - drift, self.high + drift, now)

    def narrowed(self, newer: Reading) -> Reading:
        """The intersection of both. If they contradict each other, a clock was set, and only the newer one counts."""
        old = self.later(newer.at)
        low, high = max(old.low, newer.low), min(old.high, newer.high)
        return Reading(low, high, newer.at) if low <= high else newer


class SystemClock(Clock):
    """The machine's clock until it is disciplined, from then on the storage's.

    Between two readings of the storage's clock it continues by the monotonic clock, so that a machine whose clock is
    wrong or is being set neither starts occurrences early nor takes leases that others still hold. A reading is as good
    as it was quick; one that took long does not spoil what better ones have shown.
    """

    def __init__(self) -> None:
        self._reading: Reading | None = None
        self._wall = 0  # how far the machine's clock was ahead of the monotonic one at the last reading

    def now(self) -> int:
        if self._reading is None:
            return time.time_ns() // 1000
        monotonic = time.monotonic_ns() // 1000
        return monotonic + self._reading.later(monotonic).low

    @property
    def error(self) -> int:
        if self._reading is None:
            return 0
        reading = self._reading.later(time.monotonic_ns() // 1000)
        return reading.high - reading.low

    @property
    def disturbed(self) -> bool:
        return self._reading is not None and abs(_wall_ahead() - self._wall) > _DISTURBED

    async def wait_until(
        self, when: int, event: anyio.Event | None = None, *, idle_until: int | None = None, background: bool = False
    ) -> None:
        # Sleep for an hour at most, because the clock may be disciplined meanwhile. Callers check the time anyway.
        seconds = min(max(when - self.now(), 0) / 1_000_000, 3600.0)
        if event is None:
            await anyio.sleep(seconds)
        elif seconds <= 0:
            await anyio.lowlevel.checkpoint()
        else:
            with anyio.move_on_after(seconds):
                await event.wait()

    def discipline(self, server_time: int, *, took: int) -> None:
        reading = Reading.taken(server_time, took=took, at=time.monotonic_ns() // 1000)
        known = None if self.disturbed else self._reading
        self._reading = reading if known is None else known.narrowed(reading)
        self._wall = _wall_ahead()


def _wall_ahead() -> int:
    return (time.time_ns() - time.monotonic_ns()) // 1000
