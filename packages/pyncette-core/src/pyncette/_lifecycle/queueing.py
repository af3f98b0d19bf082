"""Where an occurrence stands in its queue: what was missed stands apart from what is on time. Pure.

Times are microseconds.
"""

from __future__ import annotations

from pyncette import lease
from pyncette._tasks.state import State
from pyncette.record import Change, Record

RECENT = 5_000_000
"""What became ready no longer ago than this counts as on time; the rest is a backlog."""

LATE = 2 * RECENT
"""Where what is caught up with joins the backlog: beyond what counts as on time, by the clocks of all workers."""


def queued(came_due: int, now: int) -> int:
    """The ``ready_at`` of an occurrence that came due at ``came_due``, or will, and may be executed from ``now`` on.

    What was missed long ago joins the backlog at its end, so that no instance that has missed much keeps the others of
    the backlog waiting; and it does not stand among what is on time, which goes first.
    """
    return max(came_due, now - LATE)


def repeats_missed(record: Record) -> bool:
    """Whether what waits is a further attempt of an occurrence that began late: it came due a moment ago, and so stands
    among what is on time, but belongs to the backlog."""
    if not record.attempt or record.locked_by is not None:
        return False
    first = State(record.state).attempts(record.due_at, record.attempt).first
    return first is not None and first - record.due_at > RECENT


def to_backlog(record: Record, now: int, revision: str) -> Change:
    """A further attempt that is due goes where other occurrences are that are caught up with: to its end."""
    return lease.retry(record, at=min(record.ready_at, now - LATE), revision=revision)
