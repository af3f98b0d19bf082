"""Where records are in the table, and how they are written there.

The table is keyed by ``pk``, the *place* of a group of records, and ``sk``, the record's key. The index has the same
``pk`` and ``ready_at``. The instances of a dynamic task are spread over :data:`SHARDS` places by a hash of their keys,
those of a partition have one place, since the author of a partitioned task has chosen how far to spread it, and all
static tasks share one, so that one request finds those that are due, however many there are.

Neither the places nor the hash may ever change: records are stored under them.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pyncette.record import LEAST, MAX_FENCE, Record, Ref

SHARDS = 4
"""Places of a dynamic task that is not partitioned."""

INDEX = "pyncette-ready-1"
"""The index by time. Its number is that of the table's format that made it."""

PROJECTED = ("revision", "fence", "attempt")
"""What a claim has to know of a record. The rest comes back from the write, so that it need not be stored twice."""

LARGEST_SPEC = 400_000
"""Bytes of UTF-8 in a spec. An item has 409,600 at most, names, keys and the other attributes included."""

Value = Mapping[str, Any]
"""A value in the form of DynamoDB's protocol, such as ``{"N": "7"}``."""

Item = Mapping[str, Value]

_NOTHING: Value = {"NULL": True}

NO_REVISION = ""
"""Stands for the revision of a damaged record that has none that can be read."""

_NUMBERS = ("due_at", "ready_at", "fence", "attempt")
_TEXTS = ("revision", "spec", "state")


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index says of a record; it may be outdated."""

    ref: Ref
    ready_at: int
    revision: str
    fence: int
    attempt: int


_METADATA: Value = {"S": ":table"}  # no prefix makes such a place

FORMAT: Item = {"pk": _METADATA, "sk": {"S": "format"}}
"""The item that says which format the table has. Not in the index."""

LOCK: Item = {"pk": _METADATA, "sk": {"S": "lock"}}
"""The item of the process that is bringing the table up to date."""


class Layout:
    """The places of one app's records; apps with different prefixes don't see each other's."""

    def __init__(self, prefix: str) -> None:
        escaped = prefix.replace(":", "::")
        self.static: str = f"{escaped}:static"
        self.registry: str = f"{escaped}:queues"
        """Where the names of all queues are that ever had a record, as keys of items without anything else."""
        self._shards = [f"{escaped}:{shard}:" for shard in range(SHARDS)]
        self._cut = len(self._shards[0])
        self._logs = [f"{escaped}:log{shard}:" for shard in range(SHARDS)]

    def places(self, queue: str) -> list[str]:
        """All places of a dynamic queue, in the order in which it is scanned."""
        return [shard + queue for shard in self._shards[: _width(queue)]]

    def place(self, ref: Ref) -> str:
        if ref.static:
            return self.static
        return self._shards[zlib.crc32(ref.key.encode()) % _width(ref.queue)] + ref.queue

    def log_places(self, queue: str) -> list[str]:
        """All places of the log of runs of a queue, static or not."""
        return [log + queue for log in self._logs[: _width(queue)]]

    def log_place(self, queue: str, key: str) -> str:
        return self._logs[zlib.crc32(key.encode()) % _width(queue)] + queue

    def ref(self, item: Item) -> Ref:
        """The record that an item of the table or of the index stands for."""
        place, key = item["pk"]["S"], item["sk"]["S"]
        return Ref(key if place == self.static else place[self._cut :], key)

    def key(self, ref: Ref) -> Item:
        return {"pk": text(self.place(ref)), "sk": text(ref.key)}

    def record(self, item: Item) -> Record:
        """A record from its item. Of a damaged one what can be read; its spec is then none, so that core sets it
        aside."""
        ref = self.ref(item)
        numbers = {name: _integer(item.get(name)) for name in _NUMBERS}
        texts = {name: _string(item.get(name)) for name in _TEXTS}
        until, by = item.get("locked_until"), item.get("locked_by")
        locked_until, locked_by = _integer(until), _string(by)
        sound = (
            None not in numbers.values()
            and None not in texts.values()
            and texts["revision"] != NO_REVISION
            and (locked_until is not None or until == _NOTHING)
            and (locked_by is not None or by == _NOTHING)
        )
        return Record(
            ref.queue,
            ref.key,
            due_at=numbers["due_at"] or 0,
            ready_at=moment(item.get("ready_at")),
            locked_until=locked_until,
            locked_by=locked_by,
            revision=texts["revision"] or NO_REVISION,
            fence=numbers["fence"] or 0,
            attempt=numbers["attempt"] or 0,
            spec=(texts["spec"] or "") if sound else f"damaged: {sorted(item)}",
            state=texts["state"] or "",
        )

    def entry(self, item: Item) -> Entry:
        """What the index says, of a damaged record too, so that it can be claimed and set aside."""
        return Entry(
            self.ref(item),
            moment(item.get("ready_at")),
            _string(item.get("revision")) or NO_REVISION,
            _integer(item.get("fence")) or 0,
            _integer(item.get("attempt")) or 0,
        )


def moment(value: Value | None) -> int:
    """When the index shows what has this ``ready_at``; that of a damaged record need not be whole."""
    try:
        found = math.ceil(Decimal((value or {})["N"]))
    except (KeyError, ArithmeticError):
        return 0
    return min(max(found, LEAST), MAX_FENCE)


def _integer(value: Value | None) -> int | None:
    """A whole number that every store can hold; None for anything else."""
    try:
        found = int((value or {})["N"])
    except (KeyError, ValueError):
        return None
    return found if LEAST <= found <= MAX_FENCE else None


def _string(value: Value | None) -> str | None:
    found = (value or {}).get("S")
    return found if isinstance(found, str) else None


def text(value: str | None) -> Value:
    return _NOTHING if value is None else {"S": value}


def number(value: int | None) -> Value:
    return _NOTHING if value is None else {"N": str(value)}


def _width(queue: str) -> int:
    """How many places a dynamic queue has. Templates double the colons of their names, so a single one is what stands
    between a template and its partition."""
    return 1 if ":" in queue.replace("::", "") else SHARDS
