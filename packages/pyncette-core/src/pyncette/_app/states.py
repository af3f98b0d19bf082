"""What is stored of an instance, as users see it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Literal

from pyncette import lease
from pyncette._schedules.moments import EARLIEST, LATEST, to_datetime
from pyncette._tasks.control import Control
from pyncette._tasks.spec import UndecodableSpec, decode
from pyncette._tasks.task import Task
from pyncette.record import Record

InstanceState = Literal["waiting", "due", "running", "retrying", "paused", "dead", "completed", "unreadable"]
"""``waiting``: for its next occurrence. ``due``: nobody has begun it yet. ``running``: being executed. ``retrying``: an
attempt has failed, and the next one is yet to come. ``paused``: by itself, or with its template. ``dead``: its last
occurrence failed, and it waits for an operator. ``completed``: it has no further occurrence. ``unreadable``: what is
stored is damaged; schedule it anew, or unschedule it."""

_HELD: dict[lease.State, InstanceState] = {
    lease.State.DEAD: "dead",
    lease.State.PAUSED: "paused",
    lease.State.COMPLETED: "completed",
    lease.State.UNREADABLE: "unreadable",
}


@dataclass(frozen=True, slots=True)
class TaskState:
    """What is stored of a static task or an instance.

    :ivar task: the static task, or the instance with its schedule and arguments. One that is unreadable has neither.
    :ivar scheduled_at: the next occurrence, or the one being executed, in the task's timezone.
    :ivar locked_until: end of the lease, None when nobody holds it.
    :ivar locked_by: who holds it.
    :ivar state: what it is doing.
    :ivar next_attempt_at: when its next attempt may begin, in the task's timezone; None while it is running or held.
    :ivar attempt: how many attempts of this occurrence have begun.
    :ivar paused_reason: why it, or else its template, is paused; None if neither is.
    """

    task: Task
    scheduled_at: datetime.datetime
    locked_until: datetime.datetime | None
    locked_by: str | None
    state: InstanceState = "waiting"
    next_attempt_at: datetime.datetime | None = None
    attempt: int = 0
    paused_reason: str | None = None


def describe(home: Task, record: Record, control: Control, now: int) -> TaskState:
    """The state of what is stored under ``home``, a static task, a template or a partition."""
    try:
        spec, args = decode(record.spec, record.due_at)
    except UndecodableSpec:
        task = home.restore(home.name_in(record.key), None, {}) if home.dynamic else home
        due_at = min(max(record.due_at, EARLIEST), LATEST)  # whatever is there is shown
        return TaskState(task, to_datetime(due_at), None, None, "unreadable")
    task = home.restore(home.name_in(record.key), spec.schedule, args, bounds=spec.bounds) if home.dynamic else home
    tz = spec.schedule.tz
    held = lease.state_of(record, now)
    running = held is lease.State.LEASED
    pause = control.paused.get(home.template.canonical_name)
    state = _named(record, held)
    if pause is not None and state in ("waiting", "due", "retrying"):
        state = "paused"
    waits = state in ("waiting", "due", "retrying")
    return TaskState(
        task,
        to_datetime(record.due_at, tz),
        to_datetime(record.locked_until) if running and record.locked_until is not None else None,
        record.locked_by if running else None,
        state,
        to_datetime(record.ready_at, tz) if waits else None,
        record.attempt,
        pause.reason if pause else None,
    )


def _named(record: Record, state: lease.State) -> InstanceState:
    if state is lease.State.LEASED:
        return "running"
    if state in _HELD:
        return _HELD[state]
    if record.attempt:
        return "retrying"
    return "due" if state is lease.State.READY else "waiting"
