"""The executions in progress in this process, and those that have ended but aren't stored yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from pyncette._lifecycle.begin import holds_lease
from pyncette.record import Record

from .held import HeldLease


class Active:
    """The leases whose execution has not ended; each takes a slot. An occurrence stays known until its end is stored.

    :ivar running: the number of executions of each template that sets ``concurrency``.
    """

    def __init__(self) -> None:
        self._all: dict[HeldLease, None] = {}  # an ordered set
        self.running: Counter[str] = Counter()
        self._by_key: dict[str, HeldLease] = {}  # at most once, occurrences may overlap: the latest

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[HeldLease]:
        return iter(self._all)

    def add(self, held: HeldLease) -> None:
        self._all[held] = None
        if held.task.policies.concurrency is not None:
            self.running[held.task.template.canonical_name] += 1
        self._by_key[held.record.key] = held

    def ended(self, held: HeldLease) -> None:
        """Free the slot."""
        if held.task.policies.concurrency is not None and held in self._all:
            self.running[held.task.template.canonical_name] -= 1
        self._all.pop(held, None)

    def running_with(self, claimed: Iterable[HeldLease]) -> Counter[str]:
        """Like :attr:`running`, plus the claimed leases that are about to be executed."""
        names = (held.task.template.canonical_name for held in claimed if held.task.policies.concurrency is not None)
        return self.running + Counter(names)

    def release(self, held: HeldLease) -> None:
        """Forget the occurrence: this process is done with it."""
        if self._by_key.get(held.record.key) is held:
            del self._by_key[held.record.key]

    def clear(self) -> None:
        self._all.clear()
        self.running.clear()
        self._by_key.clear()

    def executing(self, record: Record) -> HeldLease | None:
        """This process's execution of the occurrence in ``record``, if it is in progress or its end is not stored yet.

        If the instance has been rescheduled for another time, that is a different occurrence. If several were missed,
        the record may be due at the first of them, or at the one that is executed: another worker that had it in the
        meantime has counted the others. At most once, the occurrence is stored as over before it is executed, so there
        is never one.
        """
        held = self._by_key.get(record.key)
        if held is None or not holds_lease(held.task.policies):
            return None
        return held if record.due_at in (held.record.due_at, held.due_at) else None
