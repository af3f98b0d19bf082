"""The stored state of an instance, as users see it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pyncette import lease
from pyncette._lifecycle.extra import schedule_side
from pyncette._schedules.moments import EARLIEST, LATEST, to_datetime
from pyncette._tasks.control import Control
from pyncette._tasks.extra import extra_of, has_extra
from pyncette._tasks.spec import UndecodableSpec, decode
from pyncette._tasks.state import Run, State, latest_runs, totals
from pyncette._tasks.task import Task
from pyncette.record import Record

InstanceState = Literal["waiting", "due", "running", "retrying", "paused", "dead", "completed", "unreadable"]
"""``waiting``: for its next occurrence. ``due``: not begun yet. ``running``: being executed. ``retrying``: an
attempt has failed, and the next one is yet to come. ``paused``: by itself, or with its template. ``dead``: its last
occurrence failed, and it waits for an operator. ``completed``: it has no further occurrence. ``unreadable``: what is
stored is damaged; schedule it again, or unschedule it."""

_HELD: dict[lease.State, InstanceState] = {
    lease.State.DEAD: "dead",
    lease.State.PAUSED: "paused",
    lease.State.COMPLETED: "completed",
    lease.State.UNREADABLE: "unreadable",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """How a run of an instance ended. Several occurrences that were skipped together count as one.

    :ivar scheduled_at: the occurrence, in the task's timezone; the first of several.
    :ivar started_at: when its first attempt started, in UTC, if that is known; None if none did.
    :ivar ended_at: when it ended, in UTC; None while an at-most-once run is under way.
    :ivar attempts: how many attempts were started.
    :ivar outcome: a :data:`pyncette.events.RunOutcome`, or ``"running"`` for an at-most-once run that is under way.
    :ivar reason: why it was skipped or ended; empty if the outcome says everything.
    :ivar error: type and message of the last error, up to 500 characters; empty if it succeeded.
    :ivar worker: the worker that executed it last.
    :ivar trigger: what caused it: a :data:`pyncette.events.Trigger`.
    :ivar run_id: the id of a manual or backfill run.
    :ivar count: how many occurrences were skipped together; 1 for a run.
    :ivar exact: False if there were more than ``count``.
    :ivar lost_with: the workers whose attempts were lost.
    """

    scheduled_at: datetime.datetime
    started_at: datetime.datetime | None
    ended_at: datetime.datetime | None
    attempts: int
    outcome: str
    reason: str
    error: str
    worker: str
    trigger: str
    run_id: str | None
    count: int
    exact: bool
    lost_with: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskState:
    """What is stored for a static task or an instance.

    :ivar task: the static task, or the instance with its schedule and arguments. An unreadable one has neither.
    :ivar scheduled_at: the next occurrence, or the one being executed, in the task's timezone.
    :ivar locked_until: end of the lease, None if there is no lease.
    :ivar locked_by: the worker that holds it.
    :ivar state: what it is doing.
    :ivar next_attempt_at: when its next attempt may start, in the task's timezone; None while it is running or held.
    :ivar attempt: how many attempts of this occurrence were started.
    :ivar paused_reason: why the instance is paused, or else its template; None if neither is.
    :ivar runs: its latest runs, oldest first, up to ``keep_runs`` of them.
    :ivar totals: the number of its occurrences by outcome; skipped ones by reason.
    :ivar triggered: how many of its manual runs have not ended. While one of them is executed, the state is
        ``running``.
    """

    task: Task
    scheduled_at: datetime.datetime
    locked_until: datetime.datetime | None
    locked_by: str | None
    state: InstanceState = "waiting"
    next_attempt_at: datetime.datetime | None = None
    attempt: int = 0
    paused_reason: str | None = None
    runs: tuple[TaskRun, ...] = ()
    totals: Mapping[str, int] = field(default_factory=dict)
    triggered: int = 0


def describe(parent: Task, record: Record, control: Control, now: int) -> TaskState:
    """The state of what is stored under ``parent``, a static task, a template or a partition."""
    try:
        spec, args = decode(record.spec, record.due_at)
    except UndecodableSpec:
        task = parent.restore(parent.name_in(record.key), None, {}) if parent.dynamic else parent
        due_at = min(max(record.due_at, EARLIEST), LATEST)  # show even a damaged value
        return TaskState(task, to_datetime(due_at), None, None, "unreadable")
    task = (
        parent.restore(parent.name_in(record.key), spec.schedule, args, bounds=spec.bounds)
        if parent.dynamic
        else parent.as_stored(spec.schedule, spec.bounds)
    )
    tz = spec.schedule.tz
    running = lease.state_of(record, now) is lease.State.LEASED
    side = schedule_side(record)
    pause = control.paused.get(parent.template.queue.name)
    state = "running" if running else _named(side, lease.state_of(side, now))
    if pause is not None and state in ("waiting", "due", "retrying"):
        state = "paused"
    waits = state in ("waiting", "due", "retrying")
    return TaskState(
        task,
        to_datetime(record.due_at, tz),
        to_datetime(record.locked_until) if running and record.locked_until is not None else None,
        record.locked_by if running else None,
        state,
        to_datetime(side.ready_at, tz) if waits else None,
        side.attempt,
        State(record.state).why or (pause.reason if pause else None),
        tuple(_run(run, tz) for run in latest_runs(record.state)),
        totals(record.state) if record.state else {},
        len(extra_of(State(record.state)).open) if has_extra(record.state) else 0,
    )


def _run(run: Run, tz: datetime.tzinfo) -> TaskRun:
    return TaskRun(
        scheduled_at=to_datetime(run.scheduled_at, tz),
        started_at=None if run.started_at is None else to_datetime(run.started_at),
        ended_at=None if run.ended_at is None else to_datetime(run.ended_at),
        attempts=run.attempts,
        outcome=run.outcome,
        reason=run.reason,
        error=run.error,
        worker=run.worker,
        trigger=run.trigger,
        run_id=run.run_id,
        count=run.count,
        exact=run.exact,
        lost_with=run.lost,
    )


def _named(record: Record, state: lease.State) -> InstanceState:
    if state in _HELD:
        return _HELD[state]
    if record.attempt:
        return "retrying"
    return "due" if state is lease.State.READY else "waiting"
