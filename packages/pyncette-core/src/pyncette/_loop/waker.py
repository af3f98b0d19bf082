"""Wakes the poll loop for events from outside."""

from __future__ import annotations

import anyio

from pyncette._leases.moments import Moments
from pyncette.clock import Clock
from pyncette.record import Record

from .agenda import Agenda


class Waker:
    """Passes events to the agenda, and ends the loop's sleep if the agenda asks for it."""

    def __init__(self, agenda: Agenda, moments: Moments, clock: Clock) -> None:
        self._agenda = agenda
        self._moments = moments
        self._clock = clock
        self._event = anyio.Event()

    def stored(self, record: Record) -> None:
        """This process has stored ``record``."""
        self._moments.note(record.queue, record.ready_at)
        self._scheduled(record.ready_at)

    def _scheduled(self, when: int) -> None:
        if self._agenda.scheduled(when, self._clock.now()):
            self._event.set()

    def freed(self, *, of_limited: bool = False) -> None:
        """A slot may have become free.

        :param of_limited: whether a task with ``concurrency`` was executed: more of its instances may be ready, which
            the agenda doesn't know.
        """
        if self._agenda.freed():
            self._event.set()
        elif of_limited:
            self._scheduled(self._clock.now())

    def wake(self) -> None:
        """Wake the loop unconditionally."""
        self._event.set()

    async def sleep(self) -> bool:
        """Sleep for as long as the agenda says; returns whether the sleep is over or has to be continued."""
        self._event = anyio.Event()
        sleep = self._agenda.sleep()
        await self._clock.wait_until(sleep.until, self._event, idle_until=sleep.idle_until)
        return self._agenda.is_over(self._clock.now(), woken=self._event.is_set())
