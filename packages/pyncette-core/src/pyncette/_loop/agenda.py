"""What the poll loop does next. Pure: derives the next step from the time and what has happened.

Times are microseconds since the epoch. A pass begins with :meth:`Agenda.begin`. The result of each step leads to the
next one, until that is :class:`Sleep`:

* What is due is claimed immediately.
* If nothing is due, one query per poll interval is enough; it also shows what other processes have stored.
* After a claim that got everything, the next moment is looked up, usually without the storage. After one that may have
  left something, the next claim follows immediately.
* As long as each claim gets all that it asks for, several are made concurrently, twice as many each time, because the
  storage may be far away. Once they get in each other's way, or nothing is left, the number is halved.
* Without a free slot, nothing is queried or claimed: the loop sleeps until one is free.
* While writes are overdue, nothing is claimed, because leases could not be renewed. The storage is queried to find out
  whether it answers.
* Workers that do the same work take turns, so that only one of them claims what comes due. The next one queries when
  its turn comes, and claims only what is left.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyncette.record import HELD

UNSETTLED_FACTOR = 4
"""Claims pause while more writes than this multiple of the concurrency limit are waiting for the storage."""

TURN = 10_000
"""Microseconds per turn: longer than a query and a claim, and too short for anybody to notice."""

DENSE = 2
"""If a claim gets at least this many occurrences, more will probably be due by this worker's next turn."""


@dataclass(frozen=True, slots=True)
class Turns:
    """When it is a worker's turn, among those that do the same work. The clock decides: workers don't communicate.

    :ivar place: the worker's place, from 0.
    :ivar workers: how many there are.
    """

    place: int = 0
    workers: int = 1

    @property
    def alone(self) -> bool:
        return self.workers == 1

    def since(self, moment: int) -> int:
        """The first moment within one of its turns that is not earlier than ``moment``."""
        turn = moment // TURN
        ahead = (self.place - turn) % self.workers
        return (turn + ahead) * TURN if ahead else moment


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim at most ``limit`` occurrences.

    :ivar times: how many concurrent claims to split that into.
    """

    limit: int
    times: int = 1


@dataclass(frozen=True, slots=True)
class Look:
    """Look up the next moment, later than ``after`` if that is given. This queries the storage unless it is known."""

    after: int | None


@dataclass(frozen=True, slots=True)
class Sleep:
    """Sleep until a moment, or until woken.

    :ivar idle_until: the moment before which there is nothing to do; None if that is unknown.
    """

    until: int
    idle_until: int | None


Step = Claim | Look | Sleep


def free_slots(limit: int, *, active: int, unsettled: int) -> int:
    """How many executions may be claimed; zero or less for none.

    :param active: executions in progress.
    :param unsettled: writes that the storage has not confirmed.
    """
    return min(limit - active, UNSETTLED_FACTOR * limit - unsettled)


class Agenda:
    """What the loop knows about the next moments.

    :ivar turns: when it is this worker's turn to claim what the others know about, too.
    """

    def __init__(self, poll_interval: int, batch_size: int) -> None:
        """``batch_size`` is the maximum size of one claim."""
        self.turns: Turns = Turns()
        self._poll_interval = poll_interval
        self._batch_size = batch_size
        self._times = 1  # how many claims are made concurrently
        self._wanted = 0  # how much the latest claims asked for
        self._known: int | None = None  # when the storage has something next; None if it has to be queried
        self._scheduled: int | None = None  # the earliest moment that this process has stored since then
        self._at_once: int | None = None  # something due that only this worker knows: it has stored it, or left it
        self._asked_at = 0
        self._all_asked_at: int | None = None
        self._starved = False
        self._failed = False  # the last pass
        self._until = 0
        self._idle_until: int | None = None

    # Events between passes. Each returns whether the loop has to wake up.

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
        """A slot may have become free, because an execution has ended or its end is stored; or overdue writes are
        stored."""
        return self._starved

    # A pass.

    def begin(self, now: int, free: int, *, overdue: bool = False) -> Step:
        """Begin a pass with ``free`` slots.

        :param overdue: whether writes are waiting for a storage that doesn't answer.
        """
        self._failed = False
        self._starved = overdue or free <= 0
        if overdue:
            return Look(None)
        if self._starved:
            return self._sleep(now + self._poll_interval, HELD)
        if self._at_once is not None or self._is_own_turn(now):
            return self._claim(free)
        return Look(None)

    def looked(self, look: Look, next_ready: int | None, now: int, free: int, *, asked_at: int) -> Step:
        """Continue with the result of a look.

        :param now: when the pass began.
        :param asked_at: when all queues were last queried.
        """
        self._known, self._asked_at = next_ready, now
        self._all_asked_at = asked_at
        if self._scheduled is not None and self._scheduled <= now:
            self._scheduled = None  # `_known` covers it now, or another worker has it
        if self._starved:
            return self._sleep(now + self._poll_interval, None)
        if look.after is None:
            if self._at_once is not None or self._due(now):
                return self._claim(free)
        elif not self.turns.alone and next_ready is not None and next_ready // TURN == now // TURN:
            self._known = _next_turn(now)  # the rate is high enough that the next turn can claim a whole batch
        return self._rest(now)

    def claimed(self, count: int, more: bool, now: int, free: int) -> Step:
        """Continue after a claim, whose occurrences are being executed.

        :param count: how many it got.
        :param more: whether more may be ready.
        :param now: when the pass began.
        :param free: how many slots are free now.
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
        """The pass that began at ``now`` has failed: try again after the poll interval, whatever comes due."""
        self._failed = True
        return self._sleep(now + self._poll_interval, None)

    # Sleep.

    def sleep(self) -> Sleep:
        """How long to sleep, taking into account what was scheduled since the pass ended."""
        scheduled = HELD if self._scheduled is None else self.turns.since(self._scheduled)
        if self._at_once is not None:
            scheduled = self._at_once
        if self._starved or self._failed:
            scheduled = HELD
        idle = None if self._idle_until is None else min(self._idle_until, scheduled)
        return Sleep(min(self._until, scheduled), idle)

    def is_over(self, now: int, *, woken: bool) -> bool:
        """Whether the sleep has ended, as opposed to being shortened."""
        return self._starved or not woken or now >= self._until

    def _claim(self, free: int) -> Claim:
        self._scheduled = self._at_once = None
        self._times = min(self._times, max(free // self._batch_size, 1))
        self._wanted = min(free, self._times * self._batch_size)
        return Claim(free, self._times)

    def _rest(self, now: int) -> Sleep:
        """Sleep until the next known moment. If that is after the next poll, forget it: the poll finds it again."""
        poll = (now if self._all_asked_at is None else self._all_asked_at) + self._poll_interval
        if self._known is not None and self._known <= poll:
            return self._sleep(min(self.turns.since(self._known), poll), None)
        idle_until = HELD if self._known is None else self._known
        self._known = None
        return self._sleep(poll, idle_until)

    def _sleep(self, until: int, idle_until: int | None) -> Sleep:
        self._until, self._idle_until = until, idle_until
        return self.sleep()

    def _is_own_turn(self, now: int) -> bool:
        """Whether something is due, and the turn in which it came due, or this worker looked it up, is not over."""
        due = self._due(now)
        return bool(due) and (self.turns.alone or max(self._asked_at, *due) // TURN == now // TURN)

    def _due(self, now: int) -> list[int]:
        return [moment for moment in (self._known, self._scheduled) if moment is not None and moment <= now]


def _next_turn(now: int) -> int:
    """The end of the turn that contains ``now``."""
    return (now // TURN + 1) * TURN
