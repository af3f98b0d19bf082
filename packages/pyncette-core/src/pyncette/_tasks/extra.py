"""Runs beside the schedule: those that operators ask for. What is stored of them, within ``state``. Pure functions.

The field ``extra`` of the state holds, each if there is any:

=========  ===========================================================================================================
``run``    the run that is current: id, moment, arguments of its own, what caused it. The record's ``attempt`` and
           ``ready_at``, and ``now`` in the state, are about it
``waits``  the same three of the scheduled occurrence meanwhile
``asked``  runs that wait for their turn, oldest first
``done``   the latest runs that have ended, and when: a call whose answer was lost finds its run there
=========  ===========================================================================================================

Times are microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .state import State

MOST_WAITING = 10
"""Manual runs of one instance that wait."""

REMEMBERED = 600_000_000
"""How long the id of a run that has ended is kept: longer than any call is retried."""

_MARK = '"extra":'
"""In the text of each state that has the field: a quote within a string would be escaped."""


@dataclass(frozen=True, slots=True)
class ExtraRun:
    """A run that is no occurrence of the schedule.

    :ivar id: random.
    :ivar at: the moment that it stands for: of a manual run, when it was asked for.
    :ivar args: arguments of its own, beside those of the instance.
    :ivar trigger: what caused it.
    """

    id: str
    at: int
    args: Mapping[str, Any] = field(default_factory=dict)
    trigger: Literal["manual", "backfill"] = "manual"


@dataclass(frozen=True, slots=True)
class Waits:
    """What the record says of the scheduled occurrence, kept while another run is current.

    :ivar attempt, ready_at: of the record.
    :ivar now: attempts that are recorded in the state.
    """

    attempt: int
    ready_at: int
    now: Any = None


@dataclass(slots=True)
class Extra:
    """The decoded field.

    :ivar run: the one that is current, None if that is the scheduled occurrence.
    :ivar waits: what is kept of that; None if ``run`` is.
    :ivar asked: those that wait.
    :ivar done: when those ended that are remembered, by id.
    """

    run: ExtraRun | None = None
    waits: Waits | None = None
    asked: list[ExtraRun] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)

    def knows(self, run_id: str) -> bool:
        """Whether a run was stored, be it over or not."""
        return run_id in self.done or self.is_open(run_id)

    def is_open(self, run_id: str) -> bool:
        """Whether a run waits, or is current."""
        return any(run.id == run_id for run in self.open)

    @property
    def open(self) -> list[ExtraRun]:
        """The runs that have not ended, in their order."""
        return self.asked if self.run is None else [self.run, *self.asked]

    def forget(self, before: int) -> None:
        """Drop the ids of runs that ended before a moment."""
        self.done = {run_id: ended_at for run_id, ended_at in self.done.items() if ended_at >= before}

    def store(self, state: State) -> None:
        """Write the field, or remove it if there is nothing in it."""
        fields: dict[str, Any] = {}
        if self.run is not None and self.waits is not None:
            fields["run"] = _packed(self.run)
            fields["waits"] = [self.waits.attempt, self.waits.ready_at, self.waits.now]
        if self.asked:
            fields["asked"] = [_packed(run) for run in self.asked]
        if self.done:
            fields["done"] = self.done
        if fields:
            state.fields["extra"] = fields
        else:
            state.fields.pop("extra", None)


def has_extra(text: str) -> bool:
    """Whether a state has the field: costs next to nothing."""
    return _MARK in text


def extra_of(state: State) -> Extra:
    """The decoded field, empty if there is none or it was damaged."""
    fields = state.fields.get("extra")
    if not isinstance(fields, dict):
        return Extra()
    try:
        run = fields.get("run")
        return Extra(
            None if run is None else _unpacked(run),
            None if run is None else Waits(*fields["waits"]),
            [_unpacked(each) for each in fields.get("asked", ())],
            {str(run_id): int(ended_at) for run_id, ended_at in fields.get("done", {}).items()},
        )
    except (TypeError, ValueError, KeyError, AttributeError):
        return Extra()


def current_run(text: str) -> ExtraRun | None:
    """The run that is current according to a state, None if that is the scheduled occurrence."""
    return extra_of(State(text)).run if has_extra(text) else None


def _packed(run: ExtraRun) -> list[Any]:
    return [run.id, run.at, dict(run.args), run.trigger]


def _unpacked(packed: Any) -> ExtraRun:
    run_id, at, args, trigger = packed
    if not (isinstance(run_id, str) and type(at) is int and isinstance(args, dict)):
        raise TypeError("damaged")
    return ExtraRun(run_id, at, args, "backfill" if trigger == "backfill" else "manual")
