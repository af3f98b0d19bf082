"""The layout of records in the table.

The table's keys are ``pk``, the *place* of a group of records, and ``sk``, the record's key. Those of the index are
``pk`` and ``ready_at``. The instances of a dynamic task are spread over :data:`SHARDS` places by a hash of their keys.
A partition has one place, as the author of a partitioned task decides how far to spread it. All static tasks share one
place, so that one request finds those that are due, however many there are.

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
"""The index by time. The number is the format of the table that introduced it."""

PROJECTED = ("revision", "fence", "attempt")
"""The attributes that a claim needs. The write returns the rest, so the index need not store it a second time."""

LARGEST_SPEC = 400_000
"""The maximum size of a spec in bytes of UTF-8. An item has at most 409,600, including names, keys and other
attributes."""

Value = Mapping[str, Any]
"""A value in the form of DynamoDB's protocol, such as ``{"N": "7"}``."""

Item = Mapping[str, Value]

_NOTHING: Value = {"NULL": True}

NO_REVISION = ""
"""The revision of a damaged record without a readable one."""

_NUMBERS = ("due_at", "ready_at", "fence", "attempt")
_TEXTS = ("revision", "spec", "state")


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as the index shows it, which may be outdated."""

    ref: Ref
    ready_at: int
    revision: str
    fence: int
    attempt: int


_METADATA: Value = {"S": ":table"}  # no prefix results in this place

FORMAT: Item = {"pk": _METADATA, "sk": {"S": "format"}}
"""The item that holds the table's format. It is not in the index."""

LOCK: Item = {"pk": _METADATA, "sk": {"S": "lock"}}
"""The item of the process that is upgrading the table."""


class Layout:
    """The places of one app's records; apps with different prefixes don't see each other's."""

    def __init__(self, prefix: str) -> None:
        escaped = prefix.replace(":", "::")
        self.static: str = f"{escaped}:static"
        self.registry: str = f"{escaped}:queues"
        """The place of the names of all queues that ever had a record. They are the keys of otherwise empty items."""
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
        """The reference to the record of an item of the table or of the index."""
        place, key = item["pk"]["S"], item["sk"]["S"]
        return Ref(key if place == self.static else place[self._cut :], key)

    def key(self, ref: Ref) -> Item:
        return {"pk": text(self.place(ref)), "sk": text(ref.key)}

    def record(self, item: Item) -> Record:
        """A record from its item. If the item is damaged, unreadable fields are left out and the spec is invalid, so
        that core sets the record aside."""
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
        """An entry of the index. A damaged record has one too, so that it can be claimed and set aside."""
        return Entry(
            self.ref(item),
            moment(item.get("ready_at")),
            _string(item.get("revision")) or NO_REVISION,
            _integer(item.get("fence")) or 0,
            _integer(item.get("attempt")) or 0,
        )


def moment(value: Value | None) -> int:
    """The time of a ``ready_at`` in the index; that of a damaged record might not be a whole number."""
    try:
        found = math.ceil(Decimal((value or {})["N"]))
    except (KeyError, ArithmeticError):
        return 0
    return min(max(found, LEAST), MAX_FENCE)


def _integer(value: Value | None) -> int | None:
    """The value as an integer within the range of every store, else None."""
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
    """The number of places of a dynamic queue. Colons in a template's name are doubled, so a single colon separates the
    template from its partition."""
    return 1 if ":" in queue.replace("::", "") else SHARDS
