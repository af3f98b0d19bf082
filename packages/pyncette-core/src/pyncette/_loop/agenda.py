"""What the poll loop does next. Pure: told what has happened and the time, it answers with a step.

Times are microseconds since the epoch. A pass begins with :meth:`Agenda.begin` and goes on with the answer to each
step, until that is :class:`Sleep`:

* what is due is claimed at once;
* what isn't due needs one question for each poll interval, which also shows what other processes have stored;
* after a claim that got all there was, the next moment is asked for; after one that may have left something, the next
  claim follows at once;
* without a free slot nothing is asked or claimed: the loop sleeps until one is free;
* while writes are overdue nothing is claimed, as leases could not be renewed. The storage is asked, to see whether it
  answers.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyncette.record import HELD

UNSETTLED_FACTOR = 4
"""Claims pause while more than this many times the concurrency limit of writes is waiting for the storage."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim at most ``limit`` occurrences."""

    limit: int


@dataclass(frozen=True, slots=True)
class Look:
    """Ask the storage for the next moment; of those greater than ``after`` if that is given."""

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
    """What is known of the next moments."""

    def __init__(self, poll_interval: int) -> None:
        self._poll_interval = poll_interval
        self._known: int | None = None  # when the storage will have something; None if that has to be asked
        self._scheduled: int | None = None  # the earliest moment that this process has stored since
        self._starved = False
        self._until = 0
        self._idle_until: int | None = None

    # What happens outside of a pass: whether the loop has to wake for it.

    def scheduled(self, when: int) -> bool:
        """This process has stored something that is ready at ``when``."""
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
        self._starved = overdue or free <= 0
        if overdue:
            return Look(None)
        if self._starved:
            return self._sleep(now + self._poll_interval, HELD)
        if not self._is_due(now):
            return Look(None)
        return self._claim(free)

    def looked(self, look: Look, next_ready: int | None, now: int, free: int) -> Step:
        """The answer to a question; ``now`` is the time at which the pass began."""
        self._known = next_ready
        if self._starved:
            return self._sleep(now + self._poll_interval, None)
        if look.after is None and self._is_due(now):
            return self._claim(free)
        return self._rest(now)

    def claimed(self, more: bool, now: int, free: int) -> Step:
        """A claim was answered, and what it got is being executed.

        :param more: whether more may be ready.
        :param now: the time at which the pass began.
        :param free: slots that are free now.
        """
        if not more:
            return Look(now)
        self._known = now
        self._starved = free <= 0
        return self._sleep(now + self._poll_interval if self._starved else now, None)

    def failed(self, now: int) -> Step:
        """The pass, which began at ``now``, could not be finished: the next one comes after the poll interval."""
        return self._sleep(now + self._poll_interval, None)

    # Sleep.

    def sleep(self) -> Sleep:
        """How long to sleep from here, given what was scheduled since the pass has ended."""
        scheduled = HELD if self._scheduled is None or self._starved else self._scheduled
        idle = None if self._idle_until is None else min(self._idle_until, scheduled)
        return Sleep(min(self._until, scheduled), idle)

    def is_over(self, now: int, *, woken: bool) -> bool:
        """Whether the sleep has ended, rather than become shorter."""
        return self._starved or not woken or now >= self._until

    def _claim(self, free: int) -> Claim:
        self._scheduled = None
        return Claim(free)

    def _rest(self, now: int) -> Sleep:
        """Until what is known; what lies beyond the next poll has to be asked for again then."""
        poll = now + self._poll_interval
        if self._known is not None and self._known <= poll:
            return self._sleep(self._known, None)
        idle_until = HELD if self._known is None else self._known
        self._known = None
        return self._sleep(poll, idle_until)

    def _sleep(self, until: int, idle_until: int | None) -> Sleep:
        self._until, self._idle_until = until, idle_until
        return self.sleep()

    def _is_due(self, now: int) -> bool:
        return any(moment is not None and moment <= now for moment in (self._known, self._scheduled))
