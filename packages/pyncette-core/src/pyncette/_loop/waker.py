"""Wakes the poll loop for what happens outside of it."""

from __future__ import annotations

import anyio

from pyncette._leases.moments import Moments
from pyncette.clock import Clock
from pyncette.record import Record

from .agenda import Agenda


class Waker:
    """Tells the agenda what has happened, and ends the loop's sleep if that matters."""

    def __init__(self, agenda: Agenda, moments: Moments, clock: Clock) -> None:
        self._agenda = agenda
        self._moments = moments
        self._clock = clock
        self._event = anyio.Event()

    def stored(self, record: Record) -> None:
        """This process has stored something."""
        self._moments.note(record.queue, record.ready_at)
        self._scheduled(record.ready_at)

    def _scheduled(self, when: int) -> None:
        if self._agenda.scheduled(when, self._clock.now()):
            self._event.set()

    def freed(self, *, of_limited: bool = False) -> None:
        """A slot may have become free.

        :param of_limited: the execution was one of a task with ``concurrency``: more of it may be ready, which the
            agenda doesn't know about.
        """
        if self._agenda.freed():
            self._event.set()
        elif of_limited:
            self._scheduled(self._clock.now())

    def wake(self) -> None:
        """Whatever the agenda says."""
        self._event.set()

    async def sleep(self) -> bool:
        """Sleep as the agenda says; returns whether the sleep is over, rather than to be continued."""
        self._event = anyio.Event()
        nap = self._agenda.sleep()
        await self._clock.wait_until(nap.until, self._event, idle_until=nap.idle_until)
        return self._agenda.is_over(self._clock.now(), woken=self._event.is_set())
