"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import datetime
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import anyio
import anyio.lowlevel

from pyncette._validation.parameters import corrects_keywords
from pyncette.clock import Clock
from pyncette.record import HELD

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)

_QUIET_ITERATIONS = 4
"""Iterations without a runnable task after which asyncio's loop counts as idle. Until then callbacks may wake one."""


@corrects_keywords(dict.fromkeys(("at", "now", "time"), "start=datetime(…, tzinfo=UTC)"))
class ManualClock(Clock):
    """Drives an app in virtual time: ``Pyncette(clock=ManualClock())``.

    Time moves only in :meth:`advance` and :meth:`advance_to`, from one deadline of the app to the next, and never while
    a call to the storage or a synchronous task function is under way. Days of a schedule run in milliseconds, and each
    run of a test is the same.

    Task functions that want to wait in virtual time wait for this clock:
    ``await context.app_context.clock.sleep(seconds)``.

    :param start: the time at the beginning; an aware datetime.
    """

    def __init__(self, start: datetime.datetime = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)) -> None:
        if start.tzinfo is None:
            raise ValueError("start must be an aware datetime: write datetime.datetime(…, tzinfo=datetime.UTC).")
        self._now = (start - _EPOCH) // _MICROSECOND
        self._sleepers: list[_Sleeper] = []
        self._calls = 0
        self._changes = 0
        self._seen = 0
        self._quiet = anyio.Event()

    def now(self) -> int:
        return self._now

    @property
    def time(self) -> datetime.datetime:
        """The time as an aware datetime in UTC."""
        return _EPOCH + self._now * _MICROSECOND

    async def wait_until(
        self, when: int, event: anyio.Event | None = None, *, idle_until: int | None = None, background: bool = False
    ) -> None:
        if when <= self._now:
            await anyio.lowlevel.checkpoint()
            return
        with anyio.CancelScope() as scope:
            sleeper = _Sleeper(when, scope, HELD if background else idle_until, None if background else self._seen)
            self._sleepers.append(sleeper)
            try:
                if event is None:
                    await anyio.sleep_forever()
                else:
                    await event.wait()
            finally:
                self._sleepers.remove(sleeper)

    def discipline(self, server_time: int, *, took: int) -> None:
        """Ignored: the test decides what time it is."""

    def call_limit(self, seconds: float) -> float:
        return math.inf

    @contextmanager
    def busy(self, *, changes: bool) -> Iterator[None]:
        if not self._calls:
            self._seen = self._changes  # concurrent looks may have missed this change
        self._calls += 1
        self._changes += changes
        try:
            yield
        finally:
            self._calls -= 1
            if not self._calls:
                self._quiet.set()
                self._quiet = anyio.Event()

    async def advance(self, delta: datetime.timedelta) -> None:
        """Let ``delta`` pass, and everything happen that is due meanwhile. Returns when the app is idle again."""
        await self.advance_to(self.time + delta)

    async def advance_to(self, moment: datetime.datetime) -> None:
        """Let time pass until ``moment``.

        :raises ValueError: it is in the past, or is naive.
        """
        if moment.tzinfo is None or moment < self.time:
            raise ValueError(f"Time goes forward only: pass an aware datetime after {self.time.isoformat()}.")
        target = (moment - _EPOCH) // _MICROSECOND
        await self.settle()
        while (step := self._next_deadline()) <= target:
            await self._wake(step)
        # One look at the end makes up for the skipped ones.
        await self._wake(target)
        while (step := self._next_deadline()) <= target:
            await self._wake(step)

    def _next_deadline(self) -> int:
        return min((sleeper.deadline(self._changes) for sleeper in self._sleepers), default=HELD)

    async def _wake(self, now: int) -> None:
        self._now = max(self._now, now)
        for sleeper in self._sleepers:
            if sleeper.when <= self._now:
                sleeper.scope.cancel()
        await self.settle()

    async def settle(self) -> None:
        """Wait, without time passing, until all tasks of the event loop wait for something."""
        while True:
            while self._calls:
                await self._quiet.wait()
            if _on_asyncio():
                await _all_asyncio_tasks_blocked()
            else:
                await anyio.wait_all_tasks_blocked()
            if not self._calls:
                return


def _on_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@dataclass(eq=False, slots=True)
class _Sleeper:
    """A waiter, and how many changes it is known to have seen; None if changes don't matter to it."""

    when: int
    scope: anyio.CancelScope
    idle_until: int | None
    changes: int | None

    def deadline(self, changes: int) -> int:
        """When it has to be woken. If nothing has changed since, a look is not needed yet."""
        missed_some = self.changes is not None and changes != self.changes
        return self.when if self.idle_until is None or missed_some else self.idle_until


async def _all_asyncio_tasks_blocked() -> None:
    """Like :func:`anyio.wait_all_tasks_blocked`, which sleeps for a tenth of a second between two checks on asyncio."""
    me = asyncio.current_task()
    quiet = 0
    while quiet < _QUIET_ITERATIONS:
        await asyncio.sleep(0)
        waiting = (getattr(task, "_fut_waiter", None) for task in asyncio.all_tasks() if task is not me)
        quiet = quiet + 1 if all(future is not None and not future.done() for future in waiting) else 0
