"""Turns batches of the repository interface into script calls, and their replies into records. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pyncette.errors import RecordRefusedException
from pyncette.record import Change, QueueClaim, Record, Ref

from . import codec, run_log, scripts
from .keys import Keys, QueueKeys
from .wire import Call, bulk, number

MAX_PARTS = 5000
MAX_BYTES = 8 * 1024 * 1024
"""The largest batch for one script call. A running script blocks the server, so a larger batch becomes several calls in
one round trip."""

_ONE, _ZERO = bulk(b"1"), bulk(b"0")
_STATIC, _DYNAMIC = bulk(b"static"), bulk(b"dynamic")
_PARTS = 5
_LINE_PARTS = 4
_CHANGE = b"$%d\r\n%b\r\n" * _PARTS


@dataclass(slots=True)
class Section:
    """The part of a batch that concerns one queue: the arguments of each of its records."""

    queue: QueueKeys
    parts: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Batch:
    """The content of one call.

    :ivar positions: the index in the repository's call of each item, in the order of the reply.
    :ivar lines: lines for logs of runs: the index of the change, the log's key, the line's score, and the line.
    :ivar grows: whether the call makes the stored data grow.
    """

    slot: int
    sections: list[Section] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    lines: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    size: int = 0
    grows: bool = False

    def takes(self, slot: int, size: int) -> bool:
        return self.slot == slot and len(self.positions) < MAX_PARTS and self.size + size <= MAX_BYTES

    def add(self, queue: QueueKeys, position: int, part: bytes, *, grows: bool = False) -> None:
        sections = self.sections
        if not sections or sections[-1].queue is not queue:
            sections.append(Section(queue))
        sections[-1].parts.append(part)
        self.positions.append(position)
        self.size += len(part)
        self.grows |= grows

    def log(self, key: bytes, line: bytes) -> None:
        """Append a line to a log along with the change that was added last."""
        self.lines.append((len(self.positions), key, line))
        self.size += len(line)

    def read(self) -> Call:
        keys, arguments = self.asked()
        return Call(scripts.READ, self.slot, keys, arguments, len(arguments))

    def asked(self) -> tuple[list[bytes], list[bytes]]:
        """Keys and arguments of a script that reads."""
        keys = [section.queue.rows for section in self.sections]
        return keys, [piece for section in self.sections for piece in (number(len(section.parts)), *section.parts)]

    def swap(self) -> Call:
        keys: list[bytes] = []
        arguments: list[bytes] = [number(len(self.sections))]
        for section in self.sections:
            queue = section.queue
            keys += (queue.rows, queue.ready, queue.order)
            arguments += (number(len(section.parts)), _ONE if queue.ordered else _ZERO, *section.parts)
        logs: dict[bytes, int] = {}
        for change, key, line in self.lines:
            log = logs.setdefault(key, len(keys) + len(logs) + 1)
            arguments += (number(change), number(log), line)
        keys += logs
        count = 1 + 2 * len(self.sections) + _PARTS * len(self.positions) + _LINE_PARTS * len(self.lines)
        return Call(scripts.INSERT if self.grows else scripts.SETTLE, self.slot, keys, arguments, count)


def reads(keys: Keys, refs: Sequence[Ref]) -> list[Batch]:
    batches: list[Batch] = []
    for queue, places in _by_queue(keys, refs):
        for position, member in places:
            part = bulk(member)
            _batch(batches, queue.slot, len(part)).add(queue, position, part)
    return batches


def swaps(keys: Keys, changes: Sequence[Change], max_row: int) -> list[Batch]:
    """
    :param max_row: how many bytes a row may have.
    :raises RecordRefusedException: a record is larger.
    """
    batches: list[Batch] = []
    for queue, places in _by_queue(keys, [change.either for change in changes]):
        for position, member in places:
            change = changes[position]
            part = _change(change, member, max_row)
            batch = _batch(batches, queue.slot, len(part))
            batch.add(queue, position, part, grows=grows(change))
            if change.run is not None:
                batch.log(*run_log.appended(keys, change.run))
    return batches


def _by_queue(keys: Keys, refs: Iterable[Ref | Record]) -> list[tuple[QueueKeys, list[tuple[int, bytes]]]]:
    """Positions and members by queue, with the queues of each slot side by side."""
    queues: dict[bytes, tuple[QueueKeys, list[tuple[int, bytes]]]] = {}
    for position, ref in enumerate(refs):
        if ref.queue == ref.key:
            queue, member = keys.static, codec.encoded(ref.key)
        else:
            queue, member = keys.dynamic(ref.queue), codec.member_of(ref.queue, ref.key)
        queues.setdefault(queue.rows, (queue, []))[1].append((position, member))
    return sorted(queues.values(), key=lambda entry: entry[0].slot)


def _batch(batches: list[Batch], slot: int, size: int) -> Batch:
    if not batches or not batches[-1].takes(slot, size):
        batches.append(Batch(slot))
    return batches[-1]


def grows(change: Change) -> bool:
    """Whether a change makes the stored data grow, so that a server without free memory refuses it."""
    old, new = change.old, change.new
    return new is not None and (old is None or (old.spec != new.spec and len(old.spec) < len(new.spec)))


def _change(change: Change, member: bytes, max_row: int) -> bytes:
    """The arguments of a change. An unchanged spec is not sent."""
    old, new = change.old, change.new
    row = spec = ready_at = b""
    kind = b"-"
    if new is not None:
        row, ready_at = codec.head(new), codec.score(new.ready_at)
        kind = b"="
        if old is None or old.spec != new.spec:
            kind = b"!"
            tail, spec = codec.tail(_spec(new, max_row - len(row) - 1))
            row += tail
    condition = b"+" if old is None else kind + codec.encoded(old.revision)
    return _CHANGE % (
        *(len(member), member, len(condition), condition),
        *(len(row), row, len(spec), spec, len(ready_at), ready_at),
    )


def _spec(record: Record, most: int) -> bytes:
    spec = record.spec.encode()
    if len(spec) > most:
        raise RecordRefusedException(
            f"The schedule and arguments of {record.key!r} take {len(spec):,} bytes; this Redis takes {most:,} at most "
            "(proto-max-bulk-len)."
        )
    return spec


def claims_by_slot(keys: Keys, claims: Iterable[QueueClaim]) -> dict[int, list[QueueClaim]]:
    slots: dict[int, list[QueueClaim]] = {}
    for claim in claims:
        if claim.limit > 0:
            queue = keys.static if claim.queue.static else keys.dynamic(claim.queue.name)
            slots.setdefault(queue.slot, []).append(claim)
    return slots


@dataclass(slots=True)
class Question:
    """A call about queues in one slot.

    :ivar queues: the names of the dynamic queues; the reply numbers them from 1 on, in this order.
    """

    keys: list[bytes] = field(default_factory=list)
    arguments: list[bytes] = field(default_factory=list)
    queues: list[str] = field(default_factory=list)

    def call(self, script: scripts.Script, slot: int, *first: bytes) -> Call:
        arguments = [*map(bulk, first), *self.arguments]
        return Call(script, slot, self.keys, arguments, len(arguments))

    def records(self, reply: bytes) -> Iterator[Record]:
        for queue_number, found in codec.pages(reply):
            if queue_number == 0:
                for member, stored in found:
                    key = codec.decoded(member)
                    yield codec.record(key, key, stored)
            else:
                queue = self.queues[queue_number - 1]
                for member, stored in found:
                    yield codec.record(queue, codec.key_of(queue, member), stored)


def ask_about(keys: Keys, claims: Sequence[QueueClaim], now: int, tails: dict[int, bytes] | None = None) -> Question:
    """
    Consecutive queues whose claims are otherwise equal are sent as one run, as a typical call is about hundreds of
    queues.

    :param tails: by the end of the lease, the end of the header that a row gets when it is claimed.
    """
    question = Question()
    run: list[str] = []
    for position, claim in enumerate(claims):
        run.append(claim.queue.name)
        following = claims[position + 1] if position + 1 < len(claims) else None
        if following is None or not _alike(claim, following):
            _add_run(question, keys, claim, run, now, tails[claim.locked_until] if tails else b"")
            run = []
    return question


def _alike(one: QueueClaim, other: QueueClaim) -> bool:
    return (
        one.queue.static == other.queue.static
        and one.locked_until == other.locked_until
        and (one.since, one.before) == (other.since, other.before)
        and (one.limit == other.limit or one.queue.static)
    )


def _add_run(question: Question, keys: Keys, claim: QueueClaim, names: list[str], now: int, tail: bytes) -> None:
    joined = b""
    if claim.queue.static:
        question.keys += (keys.static.rows, keys.static.ready)
        joined = "\0".join(names).encode()
    else:
        for queue in map(keys.dynamic, names):
            question.keys += (queue.rows, queue.ready)
        question.queues += names
    question.arguments += (
        _STATIC if claim.queue.static else _DYNAMIC,
        number(len(names)),
        number(claim.limit),
        bulk(codec.score(claim.locked_until)),
        bulk(tail),
        bulk(joined),
        bulk(codec.lower_bound(claim.since)),
        bulk(codec.upper_bound(claim.before, now)),
    )
