"""Where the claims of a queue continue.

A claimed record leaves a dead entry in the index, which the server removes only when no older transaction is left.
Until then each claim would scan the entries of everything claimed before, so one old transaction would make claims
slower with every execution.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pyncette.record import LEAST, Change, QueueClaim, Record

FULL_LOOK = 1.0
"""Seconds after which a queue is scanned from its beginning again, for records that others stored before the place."""

WORTH_IT = 100
"""A place is remembered after this many records claimed in a row. With fewer, it would cost more round trips than it
saves."""

Place = tuple[int, str]
"""``ready_at`` and key."""


@dataclass(slots=True)
class _Window:
    """What is known of one part of a queue: everything up to a border, or what has come due since.

    :ivar taken: the number of records claimed since a claim last emptied this part.
    """

    place: Place
    until: float
    taken: int = 0


class Places:
    """Remembers how far claims have advanced in each queue."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, bool], _Window] = {}

    def begin(self, claims: Sequence[QueueClaim]) -> dict[int, Place]:
        """The place after which each claim starts, by the index of the claim. Claims without one start at their own
        bounds."""
        if not self._windows:
            return {}
        places = ((number, self._begin(claim)) for number, claim in enumerate(claims))
        return {number: place for number, place in places if place is not None}

    def _begin(self, claim: QueueClaim) -> Place | None:
        window = self._windows.get(_name(claim))
        if window is None or window.taken < WORTH_IT or window.place[0] < claim.since:
            return None
        now = self._clock()
        if now >= window.until:
            window.until = now + FULL_LOOK
            return None
        return window.place

    def claimed(
        self, claims: Sequence[QueueClaim], begun: Mapping[int, Place], found: Sequence[Record], limit: int
    ) -> list[QueueClaim]:
        """Take note of the answer to claims for at most ``limit`` records in total.

        :return: the claims that may have missed something before their places, with what they still want.
        """
        taken = defaultdict(list)
        for record in found:
            taken[record.queue].append((record.ready_at, record.key))
        left = []
        for number, claim in enumerate(claims):
            places = [place for place in taken[claim.queue.name] if claim.since <= place[0] < claim.before]
            if len(places) >= claim.limit or len(found) >= limit:
                self._go_on(claim, places)
                continue
            self._windows.pop(_name(claim), None)
            if number in begun:
                left.append(replace(claim, limit=claim.limit - len(places)))
        return left

    def _go_on(self, claim: QueueClaim, taken: Sequence[Place]) -> None:
        if not taken or claim.queue.static:
            return
        last, name = max(taken), _name(claim)
        if last[0] >= claim.locked_until:  # the records that it took will be ready again before that place
            self._windows.pop(name, None)
            return
        window = self._windows.setdefault(name, _Window(last, self._clock() + FULL_LOOK))
        window.place = max(window.place, last)
        window.taken += len(taken)

    def stored(self, changes: Iterable[Change]) -> None:
        """Forget the places that come after a record that was just stored."""
        if not self._windows:
            return
        last = max(window.place[0] for window in self._windows.values())
        for change in changes:
            new = change.new
            if new is None or new.ready_at > last:
                continue
            for late in (False, True):
                window = self._windows.get((new.queue, late))
                if window is not None and (new.ready_at, new.key) <= window.place:
                    del self._windows[new.queue, late]


def _name(claim: QueueClaim) -> tuple[str, bool]:
    return claim.queue.name, claim.since != LEAST
