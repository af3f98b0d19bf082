"""What is stored of one task instance, and the values that the repository interface is made of.

All times are integers: microseconds since the epoch, in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass

NEVER = 2**63 - 1
"""A ``ready_at`` that never comes: the largest integer that every store can hold."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A group of records that is polled together: the instances of a dynamic task, those of one partition, or one
    static task.

    :ivar name: canonical name of the template, of the partition, or of the static task.
    :ivar static: whether the queue holds a single record, whose key is the queue's name. Stores that spread queues
        over nodes keep all static queues together.
    """

    name: str
    static: bool = False


@dataclass(frozen=True, slots=True)
class Ref:
    """Where a record is stored.

    :ivar queue: the queue's name.
    :ivar key: canonical name of the instance, unique over all queues. Equal to ``queue`` for a static task.
    """

    queue: str
    key: str

    @property
    def static(self) -> bool:
        return self.queue == self.key


@dataclass(frozen=True, slots=True)
class Record:
    """One task instance as it is stored. :mod:`pyncette.lease` computes every field; stores only keep them.

    :ivar due_at: the occurrence that is due next.
    :ivar ready_at: when the record may be claimed: ``due_at``, the end of the lease, or the time of a retry.
    :ivar locked_until: end of the lease, or None when nobody holds it.
    :ivar locked_by: who holds the lease; different for each claim.
    :ivar revision: random token of the write that made this state; what compare-and-swap compares.
    :ivar fence: grows with every claim of the key; what tasks see as the fencing token.
    :ivar attempt: how often this occurrence has been claimed.
    :ivar spec: schedule and arguments, as text that stores don't look into.
    """

    queue: str
    key: str
    due_at: int
    ready_at: int
    locked_until: int | None
    locked_by: str | None
    revision: str
    fence: int
    attempt: int
    spec: str

    @property
    def ref(self) -> Ref:
        return Ref(self.queue, self.key)


@dataclass(frozen=True, slots=True)
class Change:
    """One compare-and-swap: ``old`` is replaced by ``new`` if the stored revision is still the one of ``old``.

    ``old=None`` inserts and fails if the key exists; ``new=None`` deletes. At least one of them is a record, and both
    have the same key and queue.
    """

    old: Record | None
    new: Record | None

    @property
    def ref(self) -> Ref:
        record = self.old or self.new
        if record is None:
            raise ValueError("A change needs an old record, a new one, or both.")
        return record.ref


@dataclass(frozen=True, slots=True)
class QueueClaim:
    """What is wanted of one queue in a claim.

    :ivar limit: at most so many records of this queue.
    :ivar locked_until: end of the leases that this claim takes.
    """

    queue: Queue
    limit: int
    locked_until: int
