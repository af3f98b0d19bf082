"""The loop: sleep until something is due, claim it, hand it to the executor."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import anyio

from pyncette._leases.coordinator import Coordinator
from pyncette._leases.held import HeldLease
from pyncette._tasks.task import Task
from pyncette.clock import Clock
from pyncette.executor import Executor
from pyncette.observer import Observers
from pyncette.record import HELD

from .execution import Execution, Executions

logger: logging.Logger = logging.getLogger(__name__)

UNSETTLED_FACTOR = 4
"""Claims pause while more than this many times the concurrency limit of writes is waiting for the storage."""


class Poller:
    """Runs one app's poll loop. Its deadlines: the next due moment, and ``poll_interval`` at the latest.

    :ivar stopped: set by :meth:`stop`.
    :ivar last_tick: microseconds; when the last pass that succeeded began, None before the first.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        executions: Executions,
        clock: Clock,
        observers: Observers,
        *,
        poll_interval: int,
    ) -> None:
        self._coordinator = coordinator
        self._executions = executions
        self._clock = clock
        self._observers = observers
        self._poll_interval = poll_interval
        self._limit = 0
        self.stopped: anyio.Event = anyio.Event()
        self._wake = anyio.Event()
        self._starved = False
        self._known: int | None = None  # when the storage will have something, None if that has to be asked
        self._local: int | None = None  # the earliest moment that this process has stored since
        self._idle_until: int | None = None
        self.last_tick: int | None = None
        executions.on_end = self._room
        coordinator.on_settled = self._room

    def stop(self) -> None:
        """Claim nothing more; :meth:`run` returns."""
        self.stopped.set()
        self._wake.set()

    @property
    def stopping(self) -> bool:
        return self.stopped.is_set()

    def expect(self, when: int) -> None:
        """Something will be ready at ``when``: this process has just stored it."""
        if self._local is None or when < self._local:
            self._local = when
            self._wake.set()

    def _room(self) -> None:
        if self._starved:
            self._wake.set()

    async def run(self, tasks: Iterable[Task], executor: Executor, limit: int) -> None:
        """Poll until :meth:`stop`, with at most ``limit`` executions at a time.

        A pass that fails is tried again after ``poll_interval``.
        """
        self._limit = limit
        started = False
        chosen = list(tasks)
        self._executions.active.clear()
        while not self.stopping:
            look_again = self._clock.now() + self._poll_interval
            self._idle_until = None
            try:
                with self._observed_tick():
                    tick = self._clock.now()
                    await self._coordinator.follow_clock()
                    if not started:
                        await self._coordinator.start(chosen)
                        started = True
                    look_again = min(look_again, await self._pass(executor))
                    self.last_tick = tick
            except Exception as e:
                logger.debug("A tick failed.", exc_info=e)
            await self._sleep(look_again)

    @contextmanager
    def _observed_tick(self) -> Iterator[None]:
        began = time.perf_counter()
        error: BaseException | None = None
        self._observers.tick_started()
        try:
            yield
        except BaseException as e:
            error = e
            raise
        finally:
            self._observers.tick_finished(duration=time.perf_counter() - began, error=error)

    async def _sleep(self, until: int) -> None:
        """Until the deadline, or the moment of a local schedule, or until there is room for work that waits."""
        while not self.stopping:
            local = HELD if self._local is None or self._starved else self._local
            idle = None if self._idle_until is None else min(self._idle_until, local)
            self._wake = anyio.Event()
            await self._clock.wait_until(min(until, local), self._wake, idle_until=idle)
            if self._starved or not self._wake.is_set() or self._clock.now() >= until:
                return

    async def _pass(self, executor: Executor) -> int:
        """Claim what is ready, if anything is. Returns when to look again."""
        now = self._clock.now()
        poll = now + self._poll_interval
        free = self._free()
        self._starved = free <= 0
        if self._starved:
            self._idle_until = HELD
            return poll
        if not self._is_due(now):
            # Woken by the poll interval: ask for the next moment alone, which also shows what other processes stored.
            self._known = await self._coordinator.next_ready()
            if not self._is_due(now):
                return self._deadline(poll)
        self._local = None
        held, more = await self._coordinator.claim(free)
        for lease in held:
            await self._spawn(executor, lease)
        if more:
            self._known = now
            self._starved = self._free() <= 0
            return poll if self._starved else now
        self._known = await self._coordinator.next_ready(after=now)
        return self._deadline(poll)

    async def _spawn(self, executor: Executor, lease: HeldLease) -> None:
        self._executions.active.add(lease)
        try:
            await executor.spawn_task(Execution(self._executions, lease))
        except Exception:
            self._executions.active.discard(lease)
            logger.exception("The executor failed to take %s; it will be tried when its lease expires.", lease.task)

    def _is_due(self, now: int) -> bool:
        return any(moment is not None and moment <= now for moment in (self._known, self._local))

    def _deadline(self, poll: int) -> int:
        """When to look again; what lies beyond the next poll has to be asked for again then."""
        if self._known is not None and self._known <= poll:
            return self._known
        self._idle_until = HELD if self._known is None else self._known
        self._known = None
        return poll

    def _free(self) -> int:
        unsettled = UNSETTLED_FACTOR * self._limit - self._coordinator.unsettled
        return min(self._limit - len(self._executions.active), unsettled)
