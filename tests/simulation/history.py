"""What happened in a simulation, as an all-seeing observer records it. All times are true times in microseconds."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from pyncette.record import Record, RunLine

Run = tuple[str, int, str, Any]
"""A key, the number of the instance that had it, what caused the run, and its moment or id."""


@dataclass(slots=True)
class Stored:
    """A change that the storage has applied.

    :ivar by: the process.
    :ivar sent_at: when that process sent the request.
    """

    at: int
    by: str
    sent_at: int
    old: Record | None
    new: Record | None
    line: RunLine | None


@dataclass(slots=True)
class Execution:
    """A call of a task function.

    :ivar outcome: how it ended; None while it is under way, or if its process was killed.
    """

    at: int
    by: str
    task: str
    name: str
    key: str
    trigger: str
    due: int
    run_id: str | None
    attempt: int
    token: int
    args: dict[str, Any]
    until: int | None = None
    outcome: str | None = None


@dataclass(slots=True)
class Operation:
    """An operation of an operator.

    :ivar outcome: ``done``, ``refused``, ``unknown`` because the storage failed, or ``open``.
    """

    at: int
    by: str
    what: str
    task: str
    name: str | None
    arguments: dict[str, Any]
    until: int | None = None
    outcome: str = "open"
    result: Any = None


@dataclass(slots=True)
class Fault:
    """A fault at a process, and the period in which it may have had an effect."""

    since: int
    until: int
    process: str
    kind: str


@dataclass(slots=True)
class History:
    """The whole history, in the order in which everything happened.

    :ivar problems: the problems noticed during the simulation.
    """

    stored: list[Stored] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    steps: int = 0
    ended_at: int = 0
    paused_until: int = 0

    def digest(self) -> str:
        """A hash of the whole history: equal only if everything happened in exactly the same way."""
        text = repr((self.stored, self.executions, self.operations, self.faults, self.problems, self.steps))
        return hashlib.sha256(text.encode()).hexdigest()

    def faulted(self, process: str, since: int, until: int) -> bool:
        """Whether a fault affected a process between two moments."""
        return any(f.process == process and f.since <= until and f.until >= since for f in self.faults)

    def by_key(self) -> dict[str, list[Stored]]:
        """The changes of each record."""
        found: defaultdict[str, list[Stored]] = defaultdict(list)
        for change in self.stored:
            record = change.new or change.old
            if record is not None:
                found[record.key].append(change)
        return found
