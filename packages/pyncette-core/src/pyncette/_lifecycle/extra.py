"""How manual runs and backfills take turns with the scheduled occurrence. Pure.

While such a run is current, the record's ``attempt`` and ``ready_at``, and the attempts in ``state``, belong to it;
those of the scheduled occurrence are kept in ``state``. ``due_at`` and ``spec`` always belong to the schedule. What
operators and updates do to an instance concerns the schedule: :func:`on_schedule` applies it, whichever is current.

Times are microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pyncette._tasks.extra import (
    BACKFILL_REMEMBERED,
    MAX_WAITING,
    REMEMBERED,
    Extra,
    ExtraRun,
    Waits,
    current_run,
    extra_of,
    has_extra,
)
from pyncette._tasks.names import name_of
from pyncette._tasks.spec import decode
from pyncette._tasks.state import State
from pyncette.errors import TooManyRunsException
from pyncette.record import Band, Change, Record

from .queueing import queued
from .values import Ended


def request(record: Record, run: ExtraRun, *, now: int, revision: str) -> Change | None:
    """Request a manual run. It begins immediately, or after the execution in progress. None if it is stored already.

    :raises TooManyRunsException: too many runs are waiting.
    """
    state = State(record.state)
    extra = extra_of(state)
    if extra.knows(run.id):
        return None
    waiting = len(extra.requested) + (extra.run is not None and not record.attempt)
    if waiting >= MAX_WAITING:
        name = name_of(record.key)
        raise TooManyRunsException(f"{MAX_WAITING} manual runs of {name!r} are already waiting: trigger it later.")
    extra.requested.append(run)
    extra.store(state)
    return Change(record, proceed(replace(record, revision=revision, state=_text(state)), now))


def in_turn(ended: Ended, now: int, revision: str) -> Ended:
    """Give waiting runs their turn after an attempt has ended."""
    change = ended.change
    if change is None or change.old is None:
        return ended
    if change.new is not None:
        new = proceed(change.new, now)
        if new is not change.new:  # usually it is the same, and at most once this delays every execution
            ended.change = replace(change, new=new)
    elif current_run(change.old.state) is None:
        ended.change = replace(change, new=remainder(replace(change.old, revision=revision), now))
    return ended


def proceed(record: Record, now: int) -> Record:
    """Make the next waiting run current, unless an execution is in progress.

    An expired lease counts as an execution in progress, so that the next claim notices that its worker died. A settled
    lease that is only kept to delay a retry does not.
    """
    if not has_extra(record.state):
        return record
    state = State(record.state)
    extra = extra_of(state)
    extra.forget(now - REMEMBERED)
    free = record.locked_until is None or state.count("fence") == record.fence
    if (
        free
        and extra.run is not None
        and extra.waits is not None
        and _gives_way(record, extra, extra.run, extra.waits, now)
    ):
        record = _to_schedule(record, state, extra, extra.waits)
    run = _next_run(record, extra, now, paused=state.why is not None) if free and extra.run is None else None
    if run is not None:
        extra.run, extra.waits = run, Waits(record.attempt, record.ready_at, state.fields.get("now"))
        state.record_attempts(None)
        ready_at = queued(run.at, now) if run.trigger == "backfill" else now
        record = replace(record, attempt=0, ready_at=ready_at, locked_until=None, locked_by=None)
    extra.store(state)
    return replace(record, state=_text(state))


def _next_run(record: Record, extra: Extra, now: int, *, paused: bool) -> ExtraRun | None:
    """The next run: a manual one; otherwise, if no scheduled occurrence is due, one of a backfill."""
    band = Band.of(record.ready_at)
    if band is Band.UNREADABLE:
        return None
    if extra.requested:
        return extra.requested.pop(0)
    if extra.fills and not paused and record.ready_at > now and band in (None, Band.COMPLETED):
        fill = extra.fills[0]
        return ExtraRun(fill.id, fill.next_at, trigger="backfill", carried=fill.carried)
    return None


def _gives_way(record: Record, extra: Extra, run: ExtraRun, waits: Waits, now: int) -> bool:
    """Whether the current run, if it is part of a backfill, goes back to waiting.

    It does if the instance is paused or dead; then it starts over later. It also does if it has not begun, and the
    schedule or a manual run takes precedence, or its backfill was cancelled.
    """
    if run.trigger != "backfill":
        return False
    if waits.held:
        return True
    cancelled = all(fill.id != run.id for fill in extra.fills)
    return not record.attempt and (bool(extra.requested) or waits.ready_at <= now or cancelled)


def remainder(record: Record, now: int) -> Record | None:
    """What to keep of a record whose schedule has ended, for the runs that are waiting; None if there are none."""
    if not (has_extra(record.state) and extra_of(State(record.state)).pending):
        return None
    state = State(record.state)
    state.record_attempts(None)
    left = replace(record, attempt=0, ready_at=Band.COMPLETED.since, locked_until=None, locked_by=None)
    return proceed(replace(left, state=_text(state)), now)


def end_run(record: Record, state: State, *, now: int, revision: str) -> Record | None:
    """End the current run: return to the scheduled occurrence, or continue with the next run. None if nothing is left.

    :param state: the new state, except for what this function changes.
    """
    extra = extra_of(state)
    waits = extra.waits or Waits(0, Band.COMPLETED.since)
    if extra.run is not None:
        _mark_done(extra, extra.run, now)
    back = _to_schedule(record, state, extra, waits)
    if Band.COMPLETED.since <= waits.ready_at <= Band.COMPLETED.at(now) and not extra.pending:
        return None  # the record was only kept for this run
    return proceed(replace(back, revision=revision, state=state.text(record.fence)), now)


def _mark_done(extra: Extra, run: ExtraRun, now: int) -> None:
    if run.trigger != "backfill":
        extra.done[run.id] = now
    elif extra.fills and (extra.fills[0].id, extra.fills[0].next_at) == (run.id, run.at):
        fill = extra.fills[0]
        spec, _ = decode(fill.spec)
        following = spec.following(run.at)
        extra.step(None if following is None or following > fill.last else following)
        if following is None or following > fill.last:
            extra.done[run.id] = now + BACKFILL_REMEMBERED


def on_schedule(record: Record, change: Callable[[Record], Change | None], *, now: int) -> Change | None:
    """Apply a change to the schedule's side of a record, whichever run is current. A current run stays current."""
    if not has_extra(record.state):
        return change(record)
    state = State(record.state)
    extra = extra_of(state)
    run, waits, own = extra.run, extra.waits, state.fields.get("now")
    if run is None or waits is None:
        changed = change(record)
        new = None if changed is None else changed.new
        return changed if changed is None or new is None else replace(changed, new=proceed(new, now))
    side = _to_schedule(record, state, extra, waits)
    changed = change(replace(side, state=_text(state)))
    if changed is None or changed.new is None:
        return changed if changed is None else replace(changed, old=record)
    new = changed.new
    state = State(new.state)
    extra = extra_of(state)
    extra.run, extra.waits = run, Waits(new.attempt, new.ready_at, state.fields.get("now"))
    extra.store(state)
    state.set("now", own)
    joined = replace(
        new,
        attempt=record.attempt,
        ready_at=record.ready_at,
        locked_until=record.locked_until,
        locked_by=record.locked_by,
        state=_text(state),
    )
    return replace(changed, old=record, new=proceed(joined, now))


def schedule_side(record: Record) -> Record:
    """The record as it would be without a current manual run or backfill."""
    if not has_extra(record.state):
        return record
    state = State(record.state)
    extra = extra_of(state)
    if extra.waits is None:
        return record
    return replace(_to_schedule(record, state, extra, extra.waits), state=_text(state))


def _to_schedule(record: Record, state: State, extra: Extra, waits: Waits) -> Record:
    """Make the scheduled occurrence current again. The caller has to encode ``state`` into the record."""
    state.set("now", waits.now)
    extra.run = extra.waits = None
    extra.store(state)
    return replace(record, attempt=waits.attempt, ready_at=waits.ready_at, locked_until=None, locked_by=None)


def _text(state: State) -> str:
    """Encode ``state``, keeping the fencing token that was settled last."""
    return state.text(state.count("fence"))
