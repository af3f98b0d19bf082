"""Renews the leases of executions, as long as the event loop is not blocked."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import anyio

from pyncette._leases.active import Active
from pyncette._leases.coordinator import Coordinator
from pyncette._leases.held import HeldLease
from pyncette._leases.renewals import is_due, is_unusual, look_interval, next_look
from pyncette._lifecycle.begin import holds_lease, renews_lease
from pyncette._tasks.task import Task
from pyncette.clock import Clock
from pyncette.observer import Observers

logger: logging.Logger = logging.getLogger(__name__)


class Renewer:
    """Checks all executions a few times per lease. Sleeps while there are none."""

    def __init__(self, coordinator: Coordinator, active: Active, clock: Clock, observers: Observers) -> None:
        self._coordinator = coordinator
        self._active = active
        self._clock = clock
        self._observers = observers
        self._begun = anyio.Event()
        self._scope = anyio.CancelScope(shield=True)

    def begun(self) -> None:
        """Executions are about to begin."""
        self._begun.set()

    def stop(self) -> None:
        """End :meth:`run`. Call this when all executions have ended."""
        self._scope.cancel()

    async def run(self, tasks: Iterable[Task]) -> None:
        """Work until :meth:`stop`, even if the surrounding scope is cancelled: a function in a thread keeps running."""
        interval = look_interval(task.policies.lease_microseconds for task in tasks)
        with self._scope:
            while True:
                if not self._active:
                    self._begun = anyio.Event()
                    await self._begun.wait()
                error = self._clock.error  # the real time may be ahead of the clock by this much
                await self._clock.wait_until(self.look(self._clock.now() + error, interval) - error)

    def look(self, now: int, interval: int) -> int:
        """Renew the leases that need it; returns when to look again."""
        later: list[tuple[int, int]] = []
        for held in self._active:
            if held.started_at is None:
                continue
            policies = held.task.policies
            lease = policies.lease_microseconds
            if now - held.started_at >= lease // 2:
                self._report(held, lease, now)
            if held.renewing or held.lost or not renews_lease(policies):
                continue
            until = held.record.locked_until or now
            if is_due(until, lease, now):
                self._coordinator.renew(held)
            else:
                later.append((until, lease))
        return next_look(later, interval, now)

    def _report(self, held: HeldLease, lease: int, now: int) -> None:
        running = now - (held.started_at or now)
        seconds = running / 1_000_000
        self._observers.attempt_running(held.task, held.record, duration=seconds)
        expired = holds_lease(held.task.policies) and not held.lost and now >= (held.record.locked_until or now)
        if not held.warned and is_unusual(running, lease, expired=expired):
            held.warned = True
            logger.warning(
                "%s has been running for %.0f s%s.",
                held.task,
                seconds,
                ", and its lease has ended: others may execute it too" if expired else "",
                extra={"task": held.task.canonical_name, "running_seconds": seconds},
            )
