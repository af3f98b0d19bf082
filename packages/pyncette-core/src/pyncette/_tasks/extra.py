"""Runs outside the schedule: those that operators ask for. What is stored of them, within ``state``. Pure functions.

The field ``extra`` of the state holds, each if there is any:

=========  ===========================================================================================================
``run``    the run that is current: id, moment, its own arguments, what caused it. The record's ``attempt`` and
           ``ready_at``, and ``now`` in the state, are about it
``waits``  the same three of the scheduled occurrence meanwhile
``asked``  runs that wait for their turn, oldest first
``fills``  backfills, oldest first: id, next and last moment, number of moments and of those done, schedule
``done``   the latest runs that have ended, and when: a call whose answer was lost finds its run there
=========  ===========================================================================================================

Times are microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pyncette.record import Band

from .state import State

MOST_WAITING = 10
"""Manual runs of one instance that wait."""

MOST_BACKFILLS = 10
"""Backfills of one instance."""

REMEMBERED = 600_000_000
"""How long the id of a run that has ended is kept: longer than any call is retried."""

BACKFILL_REMEMBERED = 30 * 86_400_000_000
"""The same for the id of a backfill, which people choose."""

_MARK = '"extra":'
"""In the text of each state that has the field: a quote within a string would be escaped."""


@dataclass(frozen=True, slots=True)
class ExtraRun:
    """A run that is no occurrence of the schedule.

    :ivar id: random.
    :ivar at: the moment that it stands for: of a manual run, when it was asked for.
    :ivar args: its own arguments, in addition to those of the instance.
    :ivar trigger: what caused it.
    :ivar carried: what a carrier gave when it was asked for.
    """

    id: str
    at: int
    args: Mapping[str, Any] = field(default_factory=dict)
    trigger: Literal["manual", "backfill"] = "manual"
    carried: str | None = None


@dataclass(frozen=True, slots=True)
class Backfill:
    """Past moments that are executed one after another.

    :ivar id: of its runs, too.
    :ivar next_at: the moment that comes next, or is being executed.
    :ivar last: the last one.
    :ivar total: how many there are; a lower bound above 100,000 for a cron expression.
    :ivar done: how many of them are done.
    :ivar spec: the schedule as it was when the backfill was asked for, as text.
    :ivar carried: what a carrier gave then.
    """

    id: str
    next_at: int
    last: int
    total: int
    done: int
    spec: str
    carried: str | None = None


@dataclass(frozen=True, slots=True)
class Waits:
    """What the record says of the scheduled occurrence, kept while another run is current.

    :ivar attempt, ready_at: of the record.
    :ivar now: attempts that are recorded in the state.
    """

    attempt: int
    ready_at: int
    now: Any = None

    @property
    def held(self) -> bool:
        """Whether the schedule's side is paused or dead, so that no backfill is executed."""
        return Band.of(self.ready_at) not in (None, Band.COMPLETED)


@dataclass(slots=True)
class Extra:
    """The decoded field.

    :ivar run: the one that is current, None if that is the scheduled occurrence.
    :ivar waits: what is kept of that; None if ``run`` is.
    :ivar asked: those that wait.
    :ivar fills: backfills that have not ended.
    :ivar done: when those ended that are remembered, by id.
    """

    run: ExtraRun | None = None
    waits: Waits | None = None
    asked: list[ExtraRun] = field(default_factory=list)
    fills: list[Backfill] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)

    @property
    def pending(self) -> bool:
        """Whether something waits for its turn."""
        return bool(self.asked or self.fills)

    def step(self, following: int | None) -> None:
        """The moment of the oldest backfill has ended; the next one is ``following``, None if that was the last."""
        fill = self.fills.pop(0)
        if following is not None:
            self.fills.insert(0, replace(fill, next_at=following, done=fill.done + 1))

    def knows(self, run_id: str) -> bool:
        """Whether a run was stored, be it over or not."""
        return run_id in self.done or self.is_open(run_id) or any(fill.id == run_id for fill in self.fills)

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
        if self.fills:
            fields["fills"] = [_packed_fill(fill) for fill in self.fills]
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
            [_backfill(each) for each in fields.get("fills", ())],
            {str(run_id): int(ended_at) for run_id, ended_at in fields.get("done", {}).items()},
        )
    except (TypeError, ValueError, KeyError, AttributeError):
        return Extra()


def current_run(text: str) -> ExtraRun | None:
    """The run that is current according to a state, None if that is the scheduled occurrence."""
    return extra_of(State(text)).run if has_extra(text) else None


def _packed(run: ExtraRun) -> list[Any]:
    return [run.id, run.at, dict(run.args), run.trigger, *_carried(run.carried)]


def _unpacked(packed: Any) -> ExtraRun:
    run_id, at, args, trigger, *more = packed
    if not (isinstance(run_id, str) and type(at) is int and isinstance(args, dict)):
        raise TypeError("damaged")
    return ExtraRun(run_id, at, args, "backfill" if trigger == "backfill" else "manual", *map(str, more[:1]))


def _packed_fill(fill: Backfill) -> list[Any]:
    return [fill.id, fill.next_at, fill.last, fill.total, fill.done, fill.spec, *_carried(fill.carried)]


def _backfill(packed: Any) -> Backfill:
    backfill_id, next_at, last, total, done, spec, *more = packed
    carried = map(str, more[:1])
    return Backfill(str(backfill_id), int(next_at), int(last), int(total), int(done), str(spec), *carried)


def _carried(carried: str | None) -> list[str]:
    return [] if carried is None else [carried]
