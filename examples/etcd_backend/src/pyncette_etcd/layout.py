"""What is stored where: each record below its queue, and below its queue an index by time that holds nothing but keys.

etcd sorts keys by their bytes, and UTF-8 sorts as its characters do. Names hold no NUL, so it separates them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TypeVar

from pyncette.record import Queue, Record, Ref

_T = TypeVar("_T")

MIDDLE = 2**63
"""Added to a time, which may be negative, so that it sorts as 16 hexadecimal digits."""


class Layout:
    def __init__(self, namespace: str) -> None:
        self._records = f"{namespace}\0records\0".encode()
        self._times = f"{namespace}\0times\0".encode()

    def queue(self, name: str) -> bytes:
        """What the keys of its records begin with."""
        return self._records + name.encode() + b"\0"

    def record(self, ref: Ref) -> bytes:
        return self.queue(ref.queue) + ref.key.encode()

    def time(self, queue: Queue | str, ready_at: int, key: str = "") -> bytes:
        """The place in the index; without a key the first one of that moment."""
        name = queue if isinstance(queue, str) else queue.name
        return self._times + name.encode() + f"\0{ready_at + MIDDLE:016x}{key}".encode()

    def key_of(self, place: bytes, queue: Queue) -> tuple[int, str]:
        """``ready_at`` and key of a place in the index."""
        rest = place[len(self._times) + len(queue.name.encode()) + 1 :].decode()
        return int(rest[:16], 16) - MIDDLE, rest[16:]

    def all_queues(self, after: str | None) -> tuple[bytes, bytes]:
        """From the first record of a queue after this one to the end of all."""
        start = self._records if after is None else self._records + after.encode() + b"\1"
        return start, end_of(self._records)

    def queue_of(self, place: bytes) -> str:
        return place[len(self._records) :].partition(b"\0")[0].decode()


def end_of(prefix: bytes) -> bytes:
    """The least key behind all that begin with the prefix, which doesn't end in 0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def to_value(record: Record) -> bytes:
    """A line of JSON with what is short, then ``spec`` and ``state`` as they are: no escape makes them longer."""
    spec = record.spec.encode()
    short = [
        record.queue, record.key, record.due_at, record.ready_at, record.locked_until, record.locked_by,
        record.revision, record.fence, record.attempt, len(spec),
    ]  # fmt: skip
    return json.dumps(short).encode() + b"\n" + spec + record.state.encode()


def to_record(value: bytes) -> Record:
    line, _, texts = value.partition(b"\n")
    queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, length = json.loads(line)
    spec, state = texts[:length].decode(), texts[length:].decode()
    return Record(queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec, state)


def pieces(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
