"""Queries of a history, for the checks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pyncette.record import HELD, Record
from tests.simulation.history import Execution, History, Stored
from tests.simulation.plan import Plan, TaskPlan

SECOND = 1_000_000

NEVER = 1 << 62
"""Later than every moment."""


def seconds(moment: int | None) -> str:
    """Seconds since the beginning of the simulation, for messages."""
    return "never" if moment is None else f"{(moment - 1_767_571_200_000_000) / SECOND:.6f}"


def tolerance(plan: Plan) -> int:
    """Microseconds by which a worker's time may differ from the true time: none if it follows the storage's."""
    return 0


def task_of(plan: Plan, queue: str) -> TaskPlan | None:
    """The task that a queue belongs to."""
    for task in plan.tasks:
        if queue in (task.name, f":static:{task.name}") or queue.startswith(f"{task.name}:"):
            return task
    return None


def fields(record: Record) -> dict[str, Any]:
    """The fields in the state of a record."""
    found = json.loads(record.state) if record.state else {}
    return found if isinstance(found, dict) else {}


def is_live(record: Record, now: int) -> bool:
    """Whether the record has an unexpired lease."""
    return record.locked_by is not None and record.locked_until is not None and record.locked_until > now


def is_held(record: Record) -> bool:
    return record.ready_at >= HELD


def holder(record: Record) -> str:
    """The process that owns its lease."""
    return (record.locked_by or "").rpartition(":")[0]


def is_claim(change: Stored) -> bool:
    """Whether the change starts a lease."""
    old, new = change.old, change.new
    return old is not None and new is not None and new.locked_by is not None and new.fence != old.fence


@dataclass(slots=True)
class Life:
    """Everything stored for one instance, from its creation (or replacement) to its end.

    :ivar number: the number of earlier instances with the same key.
    :ivar until: when it was replaced or removed; by default never.
    """

    key: str
    number: int
    until: int = NEVER
    changes: list[Stored] = field(default_factory=list)

    @property
    def first(self) -> Record:
        record = self.changes[0].new
        assert record is not None
        return record

    @property
    def since(self) -> int:
        return self.changes[0].at

    @property
    def last(self) -> Record | None:
        return self.changes[-1].new

    def claim_of(self, token: int) -> Stored | None:
        """The claim with this token, with which an execution started."""
        for change in self.changes:
            if change.new is not None and change.new.fence == token and is_claim(change):
                return change
        return None


def is_again(change: Stored) -> bool:
    """Whether the change replaces an instance, rather than updating it."""
    old, new = change.old, change.new
    if old is None or new is None or new.state or new.locked_by is not None or new.attempt:
        return False
    return change.by.startswith("operator") and (
        bool(old.state) or old.locked_by is not None or old.due_at != new.due_at
    )


def lives(history: History) -> Iterator[Life]:
    """All instances that have existed."""
    for key, changes in history.by_key().items():
        if key.startswith(":") and not key.startswith(":static:"):
            continue
        number, life = 0, None
        for change in changes:
            if life is None or is_again(change):
                if life is not None:
                    life.until = change.at
                    yield life
                life = Life(key, number)
                number += 1
            if change.new is not None or life.changes:
                life.changes.append(change)
            if change.new is None:
                life.until = change.at
                yield life
                life = None
        if life is not None:
            yield life


@dataclass(slots=True)
class InstanceHistory:
    """An instance with its executions."""

    life: Life
    executions: list[Execution] = field(default_factory=list)


def instance_histories(history: History) -> list[InstanceHistory]:
    """Each instance with its executions, which are those claimed during its life."""
    found = [InstanceHistory(life) for life in lives(history)]
    by_token = {
        (each.life.key, change.new.fence): each
        for each in found
        for change in each.life.changes
        if change.new is not None and is_claim(change)
    }
    for execution in history.executions:
        owner = by_token.get((execution.key, execution.token))
        if owner is not None:
            owner.executions.append(execution)
    return found
