"""An occurrence's position in its queue, which keeps the backlog apart from what is on time. Pure.

Times are microseconds.
"""

from __future__ import annotations

from pyncette import lease
from pyncette._tasks.state import State
from pyncette.record import Change, Record

RECENT = 5_000_000
"""What became ready within this time counts as on time; the rest is the backlog."""

LATE = 2 * RECENT
"""How far back missed occurrences are placed: far enough to be in the backlog by every worker's clock."""


def queued(came_due: int, now: int) -> int:
    """The ``ready_at`` of an occurrence that came or comes due at ``came_due`` and may be executed from ``now`` on.

    What was missed long ago is put at the end of the backlog, so that an instance that has missed many occurrences
    doesn't delay the others there. It stays apart from what is on time, which takes precedence.
    """
    return max(came_due, now - LATE)


def is_retry_of_missed(record: Record) -> bool:
    """Whether the record waits for a retry of an occurrence that began late. The retry came due just now and so sorts
    among what is on time, but it belongs to the backlog."""
    if not record.attempt or record.locked_by is not None:
        return False
    first = State(record.state).attempts(record.due_at, record.attempt).first
    return first is not None and first - record.due_at > RECENT


def to_backlog(record: Record, now: int, revision: str) -> Change:
    """Move a retry that is due to the end of the backlog."""
    return lease.retry(record, at=min(record.ready_at, now - LATE), revision=revision)
