"""What a process knows of when its queues have something. Pure; times are microseconds.

All queues are asked once for each poll interval, and tell what comes due within the next one. What this process stores
itself is added, and what it has claimed is crossed out. So a claim names only queues that have something due, and
nothing is asked in between but a queue whose answer was cut short, or that others may have claimed from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from pyncette.record import HELD, LEAST, Look

_NOTE = -1


@dataclass(slots=True)
class _Due:
    """
    :ivar since: the earliest moment.
    :ivar number: grows with each moment that has come.
    """

    since: int
    number: int


class Moments:
    """When queues have something, up to the next question about all of them.

    A moment that is no longer true costs a question or a claim that comes back empty; one that is not known waits for
    the next question about all queues.

    :ivar queues: those to know about.
    :ivar asked_at: when all of them were asked; None if they were not.
    :ivar until: what comes later is not known.
    :ivar interval: from one question about all queues to the next.
    :ivar most: how many moments of one queue are asked for.
    :ivar came: how many moments have come.
    """

    def __init__(self, interval: int, most: int) -> None:
        self.interval: int = interval
        self.most: int = most
        self.start(())

    def start(self, queues: Collection[str]) -> None:
        """These are the queues. Nothing is known of them."""
        self.queues = queues
        self.asked_at: int | None = None
        self.until: int = LEAST
        self.came: int = 0
        self._later: int | None = None  # what comes first if nothing is known; None if that has to be asked at `until`
        self._coming: list[tuple[int, str, int]] = []  # a heap: moment, queue, and which answer it is from
        self._answers: dict[str, int] = {}  # how often a queue was asked by itself
        self._due: dict[str, _Due] = {}
        self._cut: dict[str, int] = {}  # the last moment of an answer that was cut short
        self._unknown: dict[str, None] = {}  # queues whose cut answer is over

    def is_old(self, now: int) -> bool:
        """Whether all queues are to be asked again."""
        return self.asked_at is None or not 0 <= now - self.asked_at < self.interval

    def note(self, queue: str, moment: int) -> None:
        """Something is ready then, as this process has stored it."""
        if queue not in self.queues:
            return
        if self.asked_at is None or moment <= self.until + self.interval:
            heappush(self._coming, (moment, queue, _NOTE))
        elif self._later is not None:
            self._later = min(self._later, moment)

    def all_told(self, looked: Look, asked_at: int, until: int) -> None:
        """All queues were asked until when they have something, and have answered."""
        self.asked_at, self.until = asked_at, until
        self._coming = [entry for entry in self._coming if entry[2] == _NOTE]
        heapify(self._coming)
        self._answers, self._due, self._cut, self._unknown = {}, {}, {}, {}
        self._take(looked.moments)
        first = HELD if looked.next_ready is None else looked.next_ready
        # An earlier one was claimed by others before the moments were read: the answer need not be a snapshot.
        self._later = first if not looked.moments and first > until else None

    def ask(self, queues: Iterable[str]) -> None:
        """These queues are asked by themselves: what they said before is out of date."""
        for queue in queues:
            self._answers[queue] = self._answers.get(queue, 0) + 1
            self._due.pop(queue, None)
            self._cut.pop(queue, None)
            self._unknown[queue] = None

    def told(self, queues: Iterable[str], looked: Look) -> None:
        """They have answered."""
        for queue in queues:
            self._unknown.pop(queue, None)
        self._take(looked.moments)

    def _take(self, moments: Mapping[str, Sequence[int]]) -> None:
        for queue, found in moments.items():
            answer = self._answers.get(queue, 0)
            for moment in dict.fromkeys(found):
                heappush(self._coming, (moment, queue, answer))
            if len(found) >= self.most:
                self._cut[queue] = found[-1]

    def due(self, now: int) -> Collection[str]:
        """Queues that have something."""
        coming = self._coming
        while coming and coming[0][0] <= now:
            entry = moment, queue, _ = heappop(coming)
            if not self._holds(entry):
                continue
            self.came += 1
            if (due := self._due.get(queue)) is None:
                self._due[queue] = _Due(moment, self.came)
            else:
                due.number = self.came
        return self._due

    def _holds(self, entry: tuple[int, str, int]) -> bool:
        """Whether it was noted, or is of the last answer of its queue."""
        _, queue, answer = entry
        return answer in (_NOTE, self._answers.get(queue, 0))

    def claimed(self, queues: Iterable[str], now: int, came: int) -> None:
        """All that these queues had at ``now`` is claimed, when ``came`` moments had come."""
        for queue in queues:
            due = self._due.get(queue)
            if due is not None and due.number <= came:
                del self._due[queue]
            if self._cut.get(queue, HELD) <= now:
                del self._cut[queue]
                self._unknown[queue] = None

    def unsure(self, now: int, *, claimable: Callable[[str], bool], claimed: bool) -> list[str]:
        """Queues to ask again: those whose answer was cut short; and those that are due, which others may have claimed
        from, unless a claim has just shown that."""
        due = () if claimed else self.due(now)
        return [*self._unknown, *(queue for queue in due if queue not in self._unknown and claimable(queue))]

    def next(self, now: int, *, claimable: Callable[[str], bool]) -> int | None:
        """The first moment when something may be claimed, or is to be asked for; None if nothing ever is."""
        due = [self._due[queue].since for queue in self.due(now) if claimable(queue)]
        if due:
            return min(due)
        while self._coming and not self._holds(self._coming[0]):
            heappop(self._coming)
        later = self.until if self._later is None else self._later
        first = min(later, self._coming[0][0]) if self._coming else later
        return None if first == HELD else first
