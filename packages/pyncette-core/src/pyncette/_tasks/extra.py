"""How manual runs and backfills are stored within ``state``. Pure functions.

The state's field ``extra`` contains the following, each only if it is not empty:

=========  ===========================================================================================================
``run``    the current run: id, moment, its own arguments, trigger. The record's ``attempt`` and ``ready_at``, and
           ``now`` in the state, belong to it
``waits``  the same three values of the scheduled occurrence, kept while ``run`` is current
``asked``  manual runs that wait for their turn, oldest first
``fills``  backfills, oldest first: id, next and last moment, number of moments in total and done, schedule
``done``   the latest runs that have ended, and when, so that a call whose reply was lost finds its run
=========  ===========================================================================================================

Times are microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pyncette.record import Band

from .state import State

MAX_WAITING = 10
"""The maximum number of waiting manual runs per instance."""

MAX_BACKFILLS = 10
"""The maximum number of backfills per instance."""

REMEMBERED = 600_000_000
"""How long the id of an ended run is kept: longer than any call is retried."""

BACKFILL_REMEMBERED = 30 * 86_400_000_000
"""The same for a backfill's id, which users choose."""

_MARK = '"extra":'
"""Occurs in the text of a state exactly if it has the field: a quote within a string would be escaped."""


@dataclass(frozen=True, slots=True)
class ExtraRun:
    """A manual run, or one of a backfill.

    :ivar id: random.
    :ivar at: the moment that it is executed for; for a manual run, when it was requested.
    :ivar args: its own arguments, in addition to those of the instance.
    :ivar trigger: what caused it.
    :ivar carried: the carrier's context from the request.
    """

    id: str
    at: int
    args: Mapping[str, Any] = field(default_factory=dict)
    trigger: Literal["manual", "backfill"] = "manual"
    carried: str | None = None


@dataclass(frozen=True, slots=True)
class Backfill:
    """Past moments that are executed one after another.

    :ivar id: also the id of its runs.
    :ivar next_at: the next moment, or the one being executed.
    :ivar last: the last moment.
    :ivar total: how many moments there are; a lower bound above 100,000 for a cron expression.
    :ivar done: how many of them are done.
    :ivar spec: the encoded schedule as it was at the request.
    :ivar carried: the carrier's context from the request.
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
    """The values of the scheduled occurrence, kept while another run is current.

    :ivar attempt, ready_at: as in the record.
    :ivar now: the attempts recorded in the state.
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

    :ivar run: the current run; None if the scheduled occurrence is current.
    :ivar waits: the values of the scheduled occurrence; None if ``run`` is None.
    :ivar requested: the manual runs that are waiting.
    :ivar fills: the backfills that have not ended.
    :ivar done: when recently ended runs ended, by id.
    """

    run: ExtraRun | None = None
    waits: Waits | None = None
    requested: list[ExtraRun] = field(default_factory=list)
    fills: list[Backfill] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)

    @property
    def pending(self) -> bool:
        """Whether runs are waiting for their turn."""
        return bool(self.requested or self.fills)

    def step(self, following: int | None) -> None:
        """A run of the oldest backfill has ended: continue it at ``following``; None if that was its last."""
        fill = self.fills.pop(0)
        if following is not None:
            self.fills.insert(0, replace(fill, next_at=following, done=fill.done + 1))

    def knows(self, run_id: str) -> bool:
        """Whether a run was stored, whether or not it has ended."""
        return run_id in self.done or self.is_open(run_id) or any(fill.id == run_id for fill in self.fills)

    def is_open(self, run_id: str) -> bool:
        """Whether a manual run is waiting or current."""
        return any(run.id == run_id for run in self.open)

    @property
    def open(self) -> list[ExtraRun]:
        """The runs that have not ended, in order of execution; backfills only if current."""
        return self.requested if self.run is None else [self.run, *self.requested]

    def forget(self, before: int) -> None:
        """Drop the ids of runs that ended before a moment."""
        self.done = {run_id: ended_at for run_id, ended_at in self.done.items() if ended_at >= before}

    def store(self, state: State) -> None:
        """Write the field, or remove it if it is empty."""
        fields: dict[str, Any] = {}
        if self.run is not None and self.waits is not None:
            fields["run"] = _packed(self.run)
            fields["waits"] = [self.waits.attempt, self.waits.ready_at, self.waits.now]
        if self.requested:
            fields["asked"] = [_packed(run) for run in self.requested]
        if self.fills:
            fields["fills"] = [_packed_fill(fill) for fill in self.fills]
        if self.done:
            fields["done"] = self.done
        if fields:
            state.fields["extra"] = fields
        else:
            state.fields.pop("extra", None)


def has_extra(text: str) -> bool:
    """Whether a state has the field. Doesn't decode it, for speed."""
    return _MARK in text


def extra_of(state: State) -> Extra:
    """The decoded field; empty if there is none or it is damaged."""
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
    """The current run according to a state; None if the scheduled occurrence is current."""
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
