"""What is stored for one task instance, and the values of the repository interface.

All times are integers: microseconds since the epoch, in UTC.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ._enums import plain_members

LEAST = -(2**63)
"""Before every moment: the smallest integer that every store can hold."""

MAX_FENCE = 2**63 - 1

MAX_ATTEMPT = 2**31 - 1
"""Beyond these a claim no longer counts on: only a damaged record gets there."""

HELD = 2**62
"""A record whose ``ready_at`` is this or more is held: it is never ready, whatever the time."""

BAND_WIDTH = 2**59

GRAIN = 1024
"""Microseconds. Moments inside of a band are rounded down to it, so that a store whose index knows only doubles holds
them exactly."""


@plain_members
class Band(enum.Enum):
    """Why a record is held. Each reason has its own range of ``ready_at``, so that an index by ``ready_at`` also finds,
    counts and orders held records."""

    DEAD = 0
    """Out of attempts; the moment is that of its death."""
    PAUSED = 1
    """Paused by an operator or a policy; the moment is that of the pause."""
    COMPLETED = 2
    """Has no further occurrence; the moment is that of its clean-up."""
    UNREADABLE = 3
    """Damaged, set aside until it is overwritten; the moment is that at which it was found."""

    @property
    def since(self) -> int:
        """The first ``ready_at`` of the band."""
        return HELD + self.value * BAND_WIDTH

    @property
    def before(self) -> int:
        """The first ``ready_at`` after the band."""
        return self.since + BAND_WIDTH

    def at(self, moment: int) -> int:
        """The ``ready_at`` of what is held since (or until) ``moment``."""
        return self.since + min(max(moment, 0), BAND_WIDTH - 1) // GRAIN * GRAIN

    @classmethod
    def of(cls, ready_at: int) -> Band | None:
        """The band of a ``ready_at``, None if it is not held."""
        return None if ready_at < HELD else cls(min((ready_at - HELD) // BAND_WIDTH, len(cls) - 1))


@dataclass(frozen=True, slots=True)
class Queue:
    """A group of records that is polled together: the instances of a dynamic task, those of one partition, or one
    static task.

    :ivar name: canonical name of the template or of the partition; that of a static task behind ``:static:``.
    :ivar static: whether the queue holds a single record, whose key is the queue's name. Stores that spread queues
        over nodes keep all static queues together.

    A name is that of a static queue or that of another one, never both: when a deploy turns a dynamic task into a
    static one, or the reverse, neither finds the other's records. Other names that begin with a single ``:``, which
    doubles in canonical names, are reserved for core.
    """

    name: str
    static: bool = False


@dataclass(slots=True, unsafe_hash=True)
class Ref:
    """Where a record is stored. Never changed; not frozen for the same reason as :class:`Record`.

    :ivar queue: the queue's name.
    :ivar key: canonical name of the instance, unique over all queues. Equal to ``queue`` for a static task.
    """

    queue: str
    key: str

    @property
    def static(self) -> bool:
        return self.queue == self.key


@dataclass(slots=True, unsafe_hash=True)
class Record:
    """One task instance as it is stored. :mod:`pyncette.lease` computes every field; stores only keep them.

    Nothing ever changes a record that exists. It is not frozen because that makes it six times as slow to create, and
    each execution creates five.

    :ivar due_at: the occurrence that is due next.
    :ivar ready_at: when the record may be claimed: ``due_at``, the end of the lease, or the time of a retry; from
        :data:`HELD` on, never. An occurrence that is being caught up has one that has just passed: its place in the
        backlog.
    :ivar locked_until: end of the lease, or None if there is no lease.
    :ivar locked_by: the holder of the lease; different for each claim.
    :ivar revision: random token of the write that made this state; what compare-and-swap compares.
    :ivar fence: grows with every claim of the key; what tasks see as the fencing token.
    :ivar attempt: how often this occurrence has been claimed.
    :ivar spec: what was scheduled: schedule and arguments, as opaque text. May be large, and rarely changes.
    :ivar state: what has happened to the instance, as opaque text. Empty at first; changes with almost every write.
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
    state: str = ""

    @property
    def ref(self) -> Ref:
        return Ref(self.queue, self.key)

    @property
    def static(self) -> bool:
        """Whether it is that of a static task."""
        return self.queue == self.key


SUCCEEDED = "succeeded"
"""The outcome of most lines of the run log. Stores may have an index of the others."""


@dataclass(frozen=True, slots=True)
class RunLine:
    """A line of the run log: how an occurrence ended.

    :ivar id: unique, and the same each time that the same line is made, so that storing it again is harmless. Without
        NUL.
    :ivar queue, key: those of the record whose change carries the line, so that a store can keep both in one place.
    :ivar ended_at: microseconds; lines are listed by it, newest first.
    :ivar outcome: a single word to filter by.
    :ivar text: everything else, as opaque text that stores may search.
    """

    id: str
    queue: str
    key: str
    ended_at: int
    outcome: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuestion:
    """A query of the run log: the newest lines that match all given filters.

    :ivar limit: the maximum number of lines.
    :ivar queues: of these queues; None for all.
    :ivar key: of this instance.
    :ivar outcomes: only runs with one of these outcomes.
    :ivar since, before: with ``since <= ended_at < before``.
    :ivar containing: whose text contains this.
    :ivar after: ``ended_at`` and id of the last line of the previous page: continue after it.
    """

    limit: int
    queues: Sequence[str] | None = None
    key: str | None = None
    outcomes: Sequence[str] | None = None
    since: int = LEAST
    before: int = HELD
    containing: str | None = None
    after: tuple[int, str] | None = None


@dataclass(slots=True, unsafe_hash=True)
class Change:
    """One compare-and-swap: ``old`` is replaced by ``new`` if the stored revision is still the one of ``old``.

    Never changed; not frozen for the same reason as :class:`Record`.

    ``old=None`` inserts and fails if the key exists; ``new=None`` deletes. At least one of them is a record, and both
    have the same key and queue.

    :ivar run: a line that a store with a run log appends if, and only if, the change is applied; others ignore it.
    """

    old: Record | None
    new: Record | None
    run: RunLine | None = None

    @property
    def either(self) -> Record:
        """The old record, or the new one if there is none: for the queue and key, which are the same."""
        record = self.old or self.new
        if record is None:
            raise ValueError("A change needs an old record, a new one, or both.")
        return record

    @property
    def ref(self) -> Ref:
        return self.either.ref


@plain_members
class Swap(enum.Enum):
    """The outcome of a change. True if it was applied."""

    APPLIED = "applied"
    CONFLICT = "conflict"
    """Nothing was changed: the stored revision is another one, there is no record, or one that was to be new exists."""
    BUSY = "busy"
    """Another transaction has locked the record. Nothing was changed; trying again later may succeed."""

    def __bool__(self) -> bool:
        return self is Swap.APPLIED


@dataclass(frozen=True, slots=True)
class QueueClaim:
    """What a claim takes from one queue: the earliest records with ``since <= ready_at < before`` that are ready.

    A claim may name a queue several times, with windows that don't overlap and the same ``locked_until``: for example,
    a share of what has just become due, and the oldest of the rest.

    :ivar limit: the maximum number of records.
    :ivar locked_until: end of the leases that this claim takes.
    """

    queue: Queue
    limit: int
    locked_until: int
    since: int = LEAST
    before: int = HELD


@dataclass(frozen=True, slots=True)
class Look:
    """The result of an idle poll's query.

    :ivar next_ready: the earliest ``ready_at`` in question, None if there is none.
    :ivar moments: by the names of queues, the earliest of each, in order, as far as they were asked for. Queues that
        have none are left out.
    :ivar records: what is stored at the refs, in their order.
    :ivar now: the store's time, None if it has no clock or can't return it in the same round trip.
    """

    next_ready: int | None
    records: list[Record | None]
    now: int | None
    moments: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Count:
    """How many records there are.

    :ivar exact: whether ``value`` is the number; otherwise it is an estimate or a lower bound.
    """

    value: int
    exact: bool


LONGEST_KEY = 1024
"""Bytes of UTF-8."""


def end_of_prefix(prefix: str) -> str:
    """The least text that is greater, in the order of code points, than every key that begins with ``prefix``."""
    for place in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[place])
        if point < 0x10FFFF:
            return prefix[:place] + chr(0xE000 if point == 0xD7FF else point + 1)
    return chr(0x10FFFF) * (LONGEST_KEY // 4 + 1)
