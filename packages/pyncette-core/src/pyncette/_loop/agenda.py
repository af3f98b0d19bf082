"""What the poll loop does next. Pure: from what has happened and the time, it derives the next step.

Times are microseconds since the epoch. A pass begins with :meth:`Agenda.begin` and continues with the answer to each
step, until that is :class:`Sleep`:

* what is due is claimed at once;
* what isn't due needs one question for each poll interval, which also shows what other processes have stored;
* after a claim that got all there was, the next moment is asked for, which is mostly known without the storage; after
  one that may have left something, the next claim follows at once;
* while each claim gets all that it asked for, several are made at once, twice as many each time: the storage may be far
  away. Once they get in each other's way, or there is no more, it is half as many;
* without a free slot nothing is asked or claimed: the loop sleeps until one is free;
* while writes are overdue nothing is claimed, as leases could not be renewed. The storage is asked, to see whether it
  answers;
* workers that do the same work take turns, so that what comes due is claimed by one of them. The next one asks when its
  turn comes, and claims only what is left.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyncette.record import HELD

UNSETTLED_FACTOR = 4
"""Claims pause while more than this many times the concurrency limit of writes is waiting for the storage."""

TURN = 10_000
"""Microseconds that a turn takes: longer than a question and a claim, and too short for anybody to notice."""

DENSE = 2
"""This many occurrences in one claim mean that more will be due when this worker's turn comes again."""


@dataclass(frozen=True, slots=True)
class Turns:
    """When it is a worker's turn, among those that do the same work. By the clock alone: workers don't ask each other.

    :ivar place: of the worker, from 0.
    :ivar workers: how many there are.
    """

    place: int = 0
    workers: int = 1

    @property
    def alone(self) -> bool:
        return self.workers == 1

    def since(self, moment: int) -> int:
        """The first moment of a turn that is not earlier than ``moment``."""
        turn = moment // TURN
        ahead = (self.place - turn) % self.workers
        return (turn + ahead) * TURN if ahead else moment


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim at most ``limit`` occurrences.

    :ivar times: as much as one claim may get is claimed this many times at once.
    """

    limit: int
    times: int = 1


@dataclass(frozen=True, slots=True)
class Look:
    """Ask for the next moment, of those greater than ``after`` if that is given: the storage, unless it has told."""

    after: int | None


@dataclass(frozen=True, slots=True)
class Sleep:
    """Sleep until a moment, or until woken.

    :ivar idle_until: nothing is to be done before then as far as is known; None if that is not known.
    """

    until: int
    idle_until: int | None


Step = Claim | Look | Sleep


def free_slots(limit: int, *, active: int, unsettled: int) -> int:
    """How many executions may be claimed; zero or less for none.

    :param active: executions under way.
    :param unsettled: writes that the storage has not confirmed.
    """
    return min(limit - active, UNSETTLED_FACTOR * limit - unsettled)


class Agenda:
    """What is known of the next moments.

    :ivar turns: when what others know, too, is this worker's to claim.
    """

    def __init__(self, poll_interval: int, batch_size: int) -> None:
        """``batch_size`` is the most that one claim gets."""
        self.turns: Turns = Turns()
        self._poll_interval = poll_interval
        self._batch_size = batch_size
        self._times = 1  # how many claims are made at once
        self._wanted = 0  # by the last ones
        self._known: int | None = None  # when the storage will have something; None if that has to be asked
        self._scheduled: int | None = None  # the earliest moment that this process has stored since
        self._at_once: int | None = None  # what this worker alone knows to be due: it has stored it, or left it
        self._asked_at = 0
        self._all_asked_at: int | None = None
        self._starved = False
        self._failed = False  # the last pass
        self._until = 0
        self._idle_until: int | None = None

    # What happens outside of a pass: whether the loop has to wake for it.

    def scheduled(self, when: int, now: int) -> bool:
        """This process has stored something that is ready at ``when``."""
        if when <= now:
            self._at_once, known = when, self._at_once
            return known is None
        if self._scheduled is not None and self._scheduled <= when:
            return False
        self._scheduled = when
        return True

    def freed(self) -> bool:
        """A slot may have become free: an execution has ended, or its end is stored; or overdue writes are stored."""
        return self._starved

    # A pass.

    def begin(self, now: int, free: int, *, overdue: bool = False) -> Step:
        """A pass begins, with this many free slots.

        :param overdue: whether writes wait for a storage that does not answer.
        """
        self._failed = False
        self._starved = overdue or free <= 0
        if overdue:
            return Look(None)
        if self._starved:
            return self._sleep(now + self._poll_interval, HELD)
        if self._at_once is not None or self._is_first(now):
            return self._claim(free)
        return Look(None)

    def looked(self, look: Look, next_ready: int | None, now: int, free: int, *, asked_at: int) -> Step:
        """The answer to a question.

        :param now: the time at which the pass began.
        :param asked_at: when all queues were asked last.
        """
        self._known, self._asked_at = next_ready, now
        self._all_asked_at = asked_at
        if self._scheduled is not None and self._scheduled <= now:
            self._scheduled = None  # known, or another worker's by now
        if self._starved:
            return self._sleep(now + self._poll_interval, None)
        if look.after is None:
            if self._at_once is not None or self._due(now):
                return self._claim(free)
        elif not self.turns.alone and next_ready is not None and next_ready // TURN == now // TURN:
            self._known = _next_turn(now)  # as much comes due here as fills a turn: whose is next claims it all at once
        return self._rest(now)

    def claimed(self, count: int, more: bool, now: int, free: int) -> Step:
        """A claim was answered, and what it got is being executed.

        :param count: how much that is.
        :param more: whether more may be ready.
        :param now: the time at which the pass began.
        :param free: slots that are free now.
        """
        self._times = 2 * self._times if count >= self._wanted else max(self._times // 2, 1)
        if more:
            self._known, self._at_once = None, now
            self._starved = free <= 0
            return self._sleep(now + self._poll_interval if self._starved else now, None)
        if count >= DENSE and not self.turns.alone:
            self._known = _next_turn(now)
            return self._rest(now)
        return Look(now)

    def failed(self, now: int) -> Step:
        """The pass, which began at ``now``, could not be finished: the next one comes after the poll interval, whatever
        has come due."""
        self._failed = True
        return self._sleep(now + self._poll_interval, None)

    # Sleep.

    def sleep(self) -> Sleep:
        """How long to sleep from here, given what was scheduled since the pass has ended."""
        scheduled = HELD if self._scheduled is None else self.turns.since(self._scheduled)
        if self._at_once is not None:
            scheduled = self._at_once
        if self._starved or self._failed:
            scheduled = HELD
        idle = None if self._idle_until is None else min(self._idle_until, scheduled)
        return Sleep(min(self._until, scheduled), idle)

    def is_over(self, now: int, *, woken: bool) -> bool:
        """Whether the sleep has ended, rather than become shorter."""
        return self._starved or not woken or now >= self._until

    def _claim(self, free: int) -> Claim:
        self._scheduled = self._at_once = None
        self._times = min(self._times, max(free // self._batch_size, 1))
        self._wanted = min(free, self._times * self._batch_size)
        return Claim(free, self._times)

    def _rest(self, now: int) -> Sleep:
        """Until what is known; what is beyond the next poll has to be asked for again then."""
        poll = (now if self._all_asked_at is None else self._all_asked_at) + self._poll_interval
        if self._known is not None and self._known <= poll:
            return self._sleep(min(self.turns.since(self._known), poll), None)
        idle_until = HELD if self._known is None else self._known
        self._known = None
        return self._sleep(poll, idle_until)

    def _sleep(self, until: int, idle_until: int | None) -> Sleep:
        self._until, self._idle_until = until, idle_until
        return self.sleep()

    def _is_first(self, now: int) -> bool:
        """Whether something is due, and no worker had a turn since then, or since this worker has asked for it."""
        due = self._due(now)
        return bool(due) and (self.turns.alone or max(self._asked_at, *due) // TURN == now // TURN)

    def _due(self, now: int) -> list[int]:
        return [moment for moment in (self._known, self._scheduled) if moment is not None and moment <= now]


def _next_turn(now: int) -> int:
    """When the turn ends in which this moment is."""
    return (now // TURN + 1) * TURN
