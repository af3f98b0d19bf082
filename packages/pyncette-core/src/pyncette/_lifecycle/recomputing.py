"""Moves next occurrences after a change of timezone rules. Pure; times are microseconds since the epoch."""

from __future__ import annotations

from pyncette import lease
from pyncette._tasks.policies import Policies
from pyncette._tasks.spec import Spec, UndecodableSpec, decode
from pyncette._tasks.state import State, check_version
from pyncette.record import Change, Record
from pyncette.schedule import Cron

from .extra import on_schedule
from .moments import came_due


def recompute(record: Record, policies: Policies, *, now: int, revision: str) -> Change | None:
    """Move a next occurrence that is no longer on the schedule to the nearest one that is.

    None if it is on the schedule, is being executed or overdue, was moved before, or the schedule was stored later.
    """
    try:
        check_version(record.state)
        spec, _ = decode(record.spec, record.due_at)
    except UndecodableSpec:
        return None
    return on_schedule(record, lambda side: _moved(side, spec, policies, now, revision), now=now)


def _moved(record: Record, spec: Spec, policies: Policies, now: int, revision: str) -> Change | None:
    due_at, waits = record.due_at, lease.state_of(record, now) in (lease.State.WAITING, lease.State.PAUSED)
    if not waits or record.attempt or due_at <= now or not isinstance(spec.schedule, Cron) or spec.includes(due_at):
        return None
    state = State(record.state)
    if state.count("moved") == due_at or (spec.since is not None and spec.since > due_at):
        return None
    target = nearest(spec, due_at, now)
    if target is None:
        return None
    state.set("moved", target)
    ready_at = came_due(spec, policies, record.key, target)
    text = state.text(state.count("fence"))
    return lease.move(record, due_at=target, ready_at=ready_at, spec=record.spec, state=text, revision=revision)


def nearest(spec: Spec, due_at: int, now: int) -> int | None:
    """The occurrence after ``now`` that is nearest to ``due_at``, so that a daily one stays on its day."""
    first = spec.following(now)
    if first is None or first >= due_at:
        return first
    before = spec.latest(first, due_at)
    after = spec.following(before)
    return before if after is None or due_at - before <= after - due_at else after
