"""What a process knows about when its queues have something due. Pure; times are microseconds.

All queues are queried once per poll interval, for what comes due within the next one. What this process stores is added
to that, and what it claims is removed. So a claim names only queues that have something due. In between, a queue is
queried again only if its result was truncated, or if other workers may have claimed from it.
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
    :ivar number: the value of :attr:`Moments.passed` at the latest one.
    """

    since: int
    number: int


class Moments:
    """When queues have something due, up to the next query of all of them.

    A moment that is no longer true costs a query or a claim that comes back empty; one that isn't known waits for the
    next query of all queues.

    :ivar queues: the queues that it covers.
    :ivar asked_at: when all of them were last queried; None if they were not.
    :ivar until: the end of the period that the query covered.
    :ivar interval: the time between two queries of all queues.
    :ivar most: the maximum number of moments that a query returns per queue.
    :ivar passed: how many moments have passed so far.
    """

    def __init__(self, interval: int, most: int) -> None:
        self.interval: int = interval
        self.most: int = most
        self.start(())

    def start(self, queues: Collection[str]) -> None:
        """Start over with these queues. Nothing is known about them yet."""
        self.queues = queues
        self.asked_at: int | None = None
        self.until: int = LEAST
        self.passed: int = 0
        self._later: int | None = None  # the first moment beyond `until`; None if unknown
        self._coming: list[tuple[int, str, int]] = []  # a heap: moment, queue, and the number of the query it is from
        self._answers: dict[str, int] = {}  # how often each queue was queried separately
        self._due: dict[str, _Due] = {}
        self._cut: dict[str, int] = {}  # the last moment of each truncated result
        self._unknown: dict[str, None] = {}  # queues whose truncated result is used up

    def is_old(self, now: int) -> bool:
        """Whether to query all queues again."""
        return self.asked_at is None or not 0 <= now - self.asked_at < self.interval

    def note(self, queue: str, moment: int) -> None:
        """This process has stored something that is ready at ``moment``."""
        if queue not in self.queues:
            return
        if self.asked_at is None or moment <= self.until + self.interval:
            heappush(self._coming, (moment, queue, _NOTE))
        elif self._later is not None:
            self._later = min(self._later, moment)

    def all_answered(self, looked: Look, asked_at: int, until: int) -> None:
        """Record the result of a query of all queues."""
        self.asked_at, self.until = asked_at, until
        self._coming = [entry for entry in self._coming if entry[2] == _NOTE]
        heapify(self._coming)
        self._answers, self._due, self._cut, self._unknown = {}, {}, {}, {}
        self._take(looked.moments)
        first = HELD if looked.next_ready is None else looked.next_ready
        # Without moments, a `first` by `until` was claimed by others since it was read: a look need not be a snapshot.
        self._later = first if not looked.moments and first > until else None

    def ask(self, queues: Iterable[str]) -> None:
        """These queues are about to be queried separately, which makes their earlier results obsolete."""
        for queue in queues:
            self._answers[queue] = self._answers.get(queue, 0) + 1
            self._due.pop(queue, None)
            self._cut.pop(queue, None)
            self._unknown[queue] = None

    def answered(self, queues: Iterable[str], looked: Look) -> None:
        """Record the result of a separate query."""
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
        """Queues that have something due."""
        coming = self._coming
        while coming and coming[0][0] <= now:
            entry = moment, queue, _ = heappop(coming)
            if not self._holds(entry):
                continue
            self.passed += 1
            if (due := self._due.get(queue)) is None:
                self._due[queue] = _Due(moment, self.passed)
            else:
                due.number = self.passed
        return self._due

    def _holds(self, entry: tuple[int, str, int]) -> bool:
        """Whether this process has stored it, or it is from the latest query of its queue."""
        _, queue, answer = entry
        return answer in (_NOTE, self._answers.get(queue, 0))

    def claimed(self, queues: Iterable[str], now: int, passed: int) -> None:
        """Everything that these queues had at ``now``, after ``passed`` moments, has been claimed."""
        for queue in queues:
            due = self._due.get(queue)
            if due is not None and due.number <= passed:
                del self._due[queue]
            if self._cut.get(queue, HELD) <= now:
                del self._cut[queue]
                self._unknown[queue] = None

    def unsure(self, now: int, *, claimable: Callable[[str], bool], claimed: bool) -> list[str]:
        """Queues to query again: those whose result was truncated, and those that are due, because others may have
        claimed from them. After a claim (``claimed``) the latter are up to date."""
        due = () if claimed else self.due(now)
        return [*self._unknown, *(queue for queue in due if queue not in self._unknown and claimable(queue))]

    def next(self, now: int, *, claimable: Callable[[str], bool]) -> int | None:
        """The first moment when there is something to claim or to query; None if there never is."""
        due = [self._due[queue].since for queue in self.due(now) if claimable(queue)]
        if due:
            return min(due)
        while self._coming and not self._holds(self._coming[0]):
            heappop(self._coming)
        later = self.until if self._later is None else self._later
        first = min(later, self._coming[0][0]) if self._coming else later
        return None if first == HELD else first
