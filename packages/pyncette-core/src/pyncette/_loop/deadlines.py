"""Cuts executions short: those that take longer than their ``timeout``, and those that the next occurrence supersedes.

One task looks after all of them, so that an execution pays for no timer.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Sequence

import anyio

from pyncette._leases.held import HeldLease
from pyncette._lifecycle.cutting import superseded_at, times_out_at
from pyncette._lifecycle.values import AttemptEnd
from pyncette.clock import Clock
from pyncette.record import HELD

logger: logging.Logger = logging.getLogger(__name__)

_MICROSECOND = datetime.timedelta(microseconds=1)

PausesOf = Callable[[HeldLease], Sequence[tuple[int, int]]]
"""Since when, and until when, the template of what is executed was paused."""


class Limit:
    """How long one execution may go on.

    :ivar times_out_at: microseconds; None for never.
    :ivar cut: how it was cut short, None if it was not.
    """

    __slots__ = ("_held", "_on_renewed", "_pauses", "_started_at", "cut", "scope", "times_out_at")

    def __init__(
        self,
        held: HeldLease,
        started_at: int,
        scope: anyio.CancelScope,
        on_renewed: Callable[[Limit], None],
        pauses: PausesOf,
    ) -> None:
        self._held = held
        self._pauses = pauses
        self._started_at = started_at
        self._on_renewed = on_renewed
        self.scope = scope
        self.times_out_at: int | None = times_out_at(held.task.policies, started_at)
        self.cut: AttemptEnd | None = None

    def next(self) -> tuple[int, AttemptEnd]:
        """When it is cut short, and how. By the schedule as it is stored now: it may have been changed meanwhile."""
        held = self._held
        policies, pauses = held.task.policies, self._pauses(held)
        at = superseded_at(held.record, held.spec, policies, held.due_at, self._started_at, pauses)
        if self.times_out_at is not None and (at is None or self.times_out_at <= at):
            return self.times_out_at, AttemptEnd.TIMED_OUT
        return (HELD, AttemptEnd.TIMED_OUT) if at is None else (at, AttemptEnd.SUPERSEDED)

    def renewed(self) -> None:
        """The lease was renewed, which shows whether the instance was paused, resumed or scheduled anew meanwhile."""
        self._on_renewed(self)

    def apply(self, end: AttemptEnd, on_timeout: Callable[[HeldLease], None]) -> None:
        """Cut it short. A plain function in a thread can't be cancelled: that it has timed out is told at once, and its
        slot stays taken until it returns."""
        self.cut = end
        if self._held.task.synchronous:
            on_timeout(self._held)
        else:
            self.scope.cancel()


class Deadlines:
    """The limits of all executions under way.

    :param on_timeout: called when a function in a thread has timed out, while it goes on.
    :param pauses: of a template.
    """

    def __init__(self, clock: Clock, on_timeout: Callable[[HeldLease], None], pauses: PausesOf) -> None:
        self._clock = clock
        self._pauses = pauses
        self._on_timeout = on_timeout
        self._limits: dict[Limit, None] = {}  # in order
        self._wake_at = HELD
        self._earlier = anyio.Event()

    def begin(self, held: HeldLease, started_at: int, scope: anyio.CancelScope) -> Limit:
        """Limit what is executed from now on within ``scope``."""
        limit = Limit(held, started_at, scope, self._look_in_time, self._pauses)
        self._limits[limit] = None
        self._look_in_time(limit)
        return limit

    def end(self, limit: Limit) -> None:
        """What it limits has ended, in time or not."""
        self._limits.pop(limit, None)

    def _look_in_time(self, limit: Limit) -> None:
        if limit.next()[0] < self._wake_at:
            self._earlier.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._earlier = anyio.Event()
            self._wake_at = self.look(self._clock.now())
            await self._clock.wait_until(self._wake_at, self._earlier)

    def look(self, now: int) -> int:
        """Cut short what is to be cut short now; returns when to look again."""
        wake_at = HELD
        for limit in list(self._limits):
            if limit.cut is not None:
                continue
            at, end = limit.next()
            if at <= now:
                limit.apply(end, self._on_timeout)
            else:
                wake_at = min(wake_at, at)
        return wake_at


def extend(held: HeldLease, delta: datetime.timedelta) -> None:
    """Let an execution time out later. Has no effect without a ``timeout``.

    :raises TypeError: ``delta`` is no ``timedelta``.
    :raises ValueError: it is negative.
    """
    if not isinstance(delta, datetime.timedelta):
        raise TypeError(f"extend_timeout takes a timedelta, not {delta!r}: write datetime.timedelta(seconds=…).")
    if delta < datetime.timedelta(0):
        raise ValueError(f"A timeout can be extended, not shortened: {delta!r} is negative.")
    limit = held.limit
    if limit is not None and limit.times_out_at is not None:
        limit.times_out_at += delta // _MICROSECOND


def remaining(held: HeldLease, now: int) -> datetime.timedelta | None:
    """How long until an execution times out, not less than 0; None if it never does."""
    limit = held.limit
    if limit is None or limit.times_out_at is None:
        return None
    return datetime.timedelta(microseconds=max(limit.times_out_at - now, 0))
