"""Names of keys. All keys of a queue are in the same slot of a cluster, and all static tasks share one slot."""

from __future__ import annotations

import re
from dataclasses import dataclass

from redis.crc import key_slot

from .wire import bulk

MAX_NAMESPACE = 128

_NAMESPACE = re.compile(r"[A-Za-z0-9_.:/@-]*")


def check_namespace(namespace: object) -> str:
    """:raises TypeError: it is no string.
    :raises ValueError: it can't be a part of a key."""
    if not isinstance(namespace, str):
        raise TypeError(f"redis_namespace must be a string, not {type(namespace).__name__}.")
    if len(namespace) > MAX_NAMESPACE or not _NAMESPACE.fullmatch(namespace):
        raise ValueError(
            f"redis_namespace={namespace[:60]!r} can't be used: write up to {MAX_NAMESPACE} ASCII letters, digits and "
            "_ . : / @ -, for example 'myapp' or 'myapp:staging'."
        )
    return namespace


@dataclass(frozen=True, slots=True)
class QueueKeys:
    """Where the records of a queue are.

    :ivar slot: 0 where there are no slots.
    :ivar rows, ready, order: keys, packed by :func:`~pyncette.redis.wire.bulk`.
    :ivar ordered: whether ``order`` is used; static tasks are not listed.
    """

    slot: int
    rows: bytes
    ready: bytes
    order: bytes
    ordered: bool = True


class Keys:
    """The keys of one namespace.

    The text between the braces determines the slot. A brace in a queue's name may cut that text short, but in the same
    way in all keys of the queue.

    :ivar lock, progress: the keys used during an upgrade of the format.
    :ivar spread: whether the queues are spread over the slots of a cluster.
    """

    def __init__(self, namespace: str, *, spread: bool) -> None:
        self.namespace = namespace
        self.spread = spread
        self._queues: dict[str, QueueKeys] = {}
        tag = f"pyncette:{{{namespace}|}}:"
        rows, ready = f"{tag}static".encode(), f"{tag}static-ready".encode()
        self.static: QueueKeys = QueueKeys(self._slot(rows), bulk(rows), bulk(ready), bulk(ready), ordered=False)
        self.marker: str = f"{tag}schema"
        self.lock: str = f"{tag}upgrade"
        self.progress: str = f"{tag}upgraded"
        self.queues_name: str = f"{tag}queues"
        """The names of all queues that ever had a record: a sorted set, in which all have the same score."""

    def known(self, queue: str) -> bool:
        return queue in self._queues

    def dynamic(self, queue: str) -> QueueKeys:
        keys = self._queues.get(queue)
        if keys is None:
            tag = self._tag(queue)
            keys = QueueKeys(self._slot(tag), bulk(tag + b"rows"), bulk(tag + b"ready"), bulk(tag + b"order"))
            self._queues[queue] = keys
        return keys

    def slot(self, queue: str) -> int:
        """The slot of a dynamic queue. Unlike other methods, this does not add the queue to those known."""
        return self._slot(self._tag(queue))

    def _tag(self, queue: str) -> bytes:
        return f"pyncette:{{{self.namespace}|{queue}}}:".encode(errors="surrogateescape")

    def ready_name(self, queue: str) -> str:
        """The index by time of a dynamic queue, not packed."""
        return f"pyncette:{{{self.namespace}|{queue}}}:ready"

    def order_name(self, queue: str) -> str:
        """The index by name of a dynamic queue, not packed."""
        return f"pyncette:{{{self.namespace}|{queue}}}:order"

    def runs_name(self, queue: str, *, static: bool) -> str:
        """The log of runs of a queue, not packed; in the same slot as its records."""
        tag = f"pyncette:{{{self.namespace}|"
        return f"{tag}}}:static-runs:{queue}" if static else f"{tag}{queue}}}:runs"

    def _slot(self, key: bytes) -> int:
        return key_slot(key) if self.spread else 0

    def legacy(self, queue: str | None = None) -> str:
        """An index of version 1: that of its static tasks, or of the instances of a template or partition."""
        index = f"pyncette:{self.namespace}:index"
        return index if queue is None else f"{index}:{queue}"
