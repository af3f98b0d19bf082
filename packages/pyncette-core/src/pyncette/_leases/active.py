"""The executions under way in this process, and those whose end is not stored yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from pyncette._lifecycle.begin import holds_lease
from pyncette.record import Record

from .held import HeldLease


class Active:
    """Leases whose execution has not ended; each takes a slot. Occurrences are known until their end is stored.

    :ivar running: how many there are of each template with ``concurrency``.
    """

    def __init__(self) -> None:
        self._all: dict[HeldLease, None] = {}  # in order
        self.running: Counter[str] = Counter()
        self._by_key: dict[str, HeldLease] = {}  # the latest, where occurrences overlap, as they may at most once

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
        """The slot is free."""
        if held.task.policies.concurrency is not None and held in self._all:
            self.running[held.task.template.canonical_name] -= 1
        self._all.pop(held, None)

    def running_with(self, claimed: Iterable[HeldLease]) -> Counter[str]:
        """As :attr:`running`, with those that are about to be executed."""
        names = (held.task.template.canonical_name for held in claimed if held.task.policies.concurrency is not None)
        return self.running + Counter(names)

    def release(self, held: HeldLease) -> None:
        """This process has nothing more to do with the occurrence."""
        if self._by_key.get(held.record.key) is held:
            del self._by_key[held.record.key]

    def clear(self) -> None:
        self._all.clear()
        self.running.clear()
        self._by_key.clear()

    def executing(self, record: Record) -> HeldLease | None:
        """The execution of the occurrence in ``record``, if it is under way here, or its end is yet to be stored.

        An instance that was scheduled again meanwhile, for another moment, is another occurrence. At most once, an
        occurrence has ended before it is executed.
        """
        held = self._by_key.get(record.key)
        if held is None or held.record.due_at != record.due_at or not holds_lease(held.task.policies):
            return None
        return held
