"""Cuts executions short that exceed their ``timeout``, or that the next occurrence supersedes.

One task watches all of them, so that no execution needs its own timer.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Sequence

import anyio

from pyncette._leases.held import HeldLease, Limit
from pyncette._lifecycle.cutting import may_be_superseded, superseded_at, times_out_at
from pyncette._lifecycle.values import AttemptEnd
from pyncette.clock import Clock
from pyncette.record import HELD

logger: logging.Logger = logging.getLogger(__name__)

_MICROSECOND = datetime.timedelta(microseconds=1)

PausesOf = Callable[[HeldLease], Sequence[tuple[int, int]]]
"""Returns the pauses of the template, as pairs of begin and end."""


class Deadlines:
    """The limits of all executions in progress.

    :param on_timeout: called when a function in a thread has timed out; it keeps running.
    :param pauses: returns the pauses of an execution's template.
    """

    def __init__(self, clock: Clock, on_timeout: Callable[[HeldLease], None], pauses: PausesOf) -> None:
        self._clock = clock
        self._pauses = pauses
        self._on_timeout = on_timeout
        self._limited: dict[HeldLease, Limit] = {}
        self._wake_at = HELD
        self._earlier = anyio.Event()

    def begin(self, held: HeldLease, started_at: int, scope: anyio.CancelScope) -> None:
        """Limit the execution that is about to run within ``scope``."""
        limit = Limit(scope, started_at, times_out_at(held.task.policies, started_at), self._schedule_look)
        held.limit = self._limited[held] = limit
        self._schedule_look(held)

    def end(self, held: HeldLease) -> None:
        """The execution has ended, in time or not. Its end is yet to be stored, but the scope is no longer needed."""
        if self._limited.pop(held, None) is not None:
            held.limit = None

    def _schedule_look(self, held: HeldLease) -> None:
        at, _ = self._next(held, self._limited[held])
        if at < self._wake_at:
            self._wake_at = at
            self._earlier.set()

    def _next(self, held: HeldLease, limit: Limit) -> tuple[int, AttemptEnd]:
        """When to cut it short, and how, by the schedule as it is stored now: it may have changed since."""
        policies, at = held.task.policies, None
        if may_be_superseded(policies):
            pauses = self._pauses(held)
            at = superseded_at(held.record, held.spec, policies, held.due_at, limit.started_at, pauses)
        if limit.times_out_at is not None and (at is None or limit.times_out_at <= at):
            return limit.times_out_at, AttemptEnd.TIMED_OUT
        return (HELD, AttemptEnd.TIMED_OUT) if at is None else (at, AttemptEnd.SUPERSEDED)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._earlier = anyio.Event()
            self._wake_at = self.look(self._clock.now())
            await self._clock.wait_until(self._wake_at, self._earlier)

    def look(self, now: int) -> int:
        """Cut short what has reached its limit; returns when to look again."""
        wake_at = HELD
        for held, limit in list(self._limited.items()):
            if limit.cut is not None:
                continue
            at, end = self._next(held, limit)
            if at <= now:
                self._cut(held, limit, end)
            else:
                wake_at = min(wake_at, at)
        return wake_at

    def _cut(self, held: HeldLease, limit: Limit, end: AttemptEnd) -> None:
        """Cut an execution short. A plain function in a thread can't be cancelled: its timeout is reported immediately,
        but it keeps its slot until it returns."""
        limit.cut = end
        if held.task.synchronous:
            self._on_timeout(held)
        else:
            limit.scope.cancel()


def extend(held: HeldLease, delta: datetime.timedelta) -> None:
    """Extend an execution's timeout. Has no effect without a ``timeout``.

    :raises TypeError: ``delta`` is not a ``timedelta``.
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
    """How long until an execution times out, at least 0; None if it has no timeout, or has ended."""
    limit = held.limit
    if limit is None or limit.times_out_at is None:
        return None
    return datetime.timedelta(microseconds=max(limit.times_out_at - now, 0))
