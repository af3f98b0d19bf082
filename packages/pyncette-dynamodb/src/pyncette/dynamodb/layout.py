"""Where records are in the table, and how they are written there.

The table is keyed by ``pk``, the *place* of a group of records, and ``sk``, the record's key. The index has the same
``pk`` and ``ready_at``. The instances of a dynamic task are spread over :data:`SHARDS` places by a hash of their keys,
those of a partition have one place, since whoever partitions a task has chosen himself how far to spread it, and all
static tasks share one, so that one request finds those that are due, however many there are.

Neither the places nor the hash may ever change: records are stored under them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyncette.record import Record, Ref

SHARDS = 4
"""Places of a dynamic task that is not partitioned."""

INDEX = "pyncette-ready-1"
"""The index by time. Its number is the version of all that is written here."""

PROJECTED = ("revision", "fence", "attempt")
"""What a claim has to know of a record. The rest comes back from the write, so that it need not be stored twice."""

LARGEST_SPEC = 400_000
"""Bytes of UTF-8 in a spec. An item has 409,600 at most, names, keys and the other attributes included."""

Value = Mapping[str, Any]
"""A value in the form of DynamoDB's protocol, such as ``{"N": "7"}``."""

Item = Mapping[str, Value]

_NOTHING: Value = {"NULL": True}


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index says of a record; it may be outdated."""

    ref: Ref
    ready_at: int
    revision: str
    fence: int
    attempt: int


class Layout:
    """The places of one app's records; apps with different prefixes don't see each other's."""

    def __init__(self, prefix: str) -> None:
        escaped = prefix.replace(":", "::")
        self.static: str = f"{escaped}:static"
        self.registry: str = f"{escaped}:queues"
        """Where the names of all queues are that ever had a record, as keys of items without anything else."""
        self._shards = [f"{escaped}:{shard}:" for shard in range(SHARDS)]
        self._cut = len(self._shards[0])

    def places(self, queue: str) -> list[str]:
        """All places of a dynamic queue, in the order in which it is scanned."""
        return [shard + queue for shard in self._shards[: _width(queue)]]

    def place(self, ref: Ref) -> str:
        if ref.static:
            return self.static
        return self._shards[zlib.crc32(ref.key.encode()) % _width(ref.queue)] + ref.queue

    def ref(self, item: Item) -> Ref:
        """The record that an item of the table or of the index stands for."""
        place, key = item["pk"]["S"], item["sk"]["S"]
        return Ref(key if place == self.static else place[self._cut :], key)

    def key(self, ref: Ref) -> Item:
        return {"pk": text(self.place(ref)), "sk": text(ref.key)}

    def record(self, item: Item) -> Record:
        """A record from its item. What can't be read of a damaged one is left out, and its spec is none."""
        ref = self.ref(item)
        try:
            return self._record(ref, item)
        except (KeyError, ValueError):
            revision = item.get("revision", {}).get("S", "")
            return Record(ref.queue, ref.key, 0, 0, None, None, revision, 0, 0, f"damaged: {sorted(item)}")

    @staticmethod
    def _record(ref: Ref, item: Item) -> Record:
        return Record(
            ref.queue,
            ref.key,
            due_at=int(item["due_at"]["N"]),
            ready_at=int(item["ready_at"]["N"]),
            locked_until=int(item["locked_until"]["N"]) if "N" in item["locked_until"] else None,
            locked_by=item["locked_by"].get("S"),
            revision=item["revision"]["S"],
            fence=int(item["fence"]["N"]),
            attempt=int(item["attempt"]["N"]),
            spec=item["spec"]["S"],
            state=item["state"]["S"],
        )

    def entry(self, item: Item) -> Entry:
        return Entry(
            self.ref(item),
            int(item["ready_at"]["N"]),
            item["revision"]["S"],
            int(item["fence"]["N"]),
            int(item["attempt"]["N"]),
        )


def text(value: str | None) -> Value:
    return _NOTHING if value is None else {"S": value}


def number(value: int | None) -> Value:
    return _NOTHING if value is None else {"N": str(value)}


def _width(queue: str) -> int:
    """How many places a dynamic queue has. Templates double the colons of their names, so a single one is what stands
    between a template and its partition."""
    return 1 if ":" in queue.replace("::", "") else SHARDS
