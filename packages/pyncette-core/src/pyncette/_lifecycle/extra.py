"""Runs beside the schedule take turns with the scheduled occurrence. Pure.

While such a run is current, ``attempt`` and ``ready_at`` of the record, and the attempts in ``state``, belong to it,
and those of the scheduled occurrence wait in ``state``. ``due_at`` and ``spec`` are the schedule's always. What
operators and updates do to an instance concerns the schedule: :func:`on_schedule` applies it, whatever is current.

Times are microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pyncette._tasks.extra import (
    MOST_WAITING,
    REMEMBERED,
    Extra,
    ExtraRun,
    Waits,
    current_run,
    extra_of,
    has_extra,
)
from pyncette._tasks.state import State
from pyncette.errors import TooManyRunsException
from pyncette.record import Band, Change, Record

from .values import Ended


def ask(record: Record, run: ExtraRun, *, now: int, revision: str) -> Change | None:
    """A run is asked for: it begins at once, or after what is under way. None if that is stored already.

    :raises TooManyRunsException: too many wait.
    """
    state = State(record.state)
    extra = extra_of(state)
    if extra.knows(run.id):
        return None
    waiting = len(extra.asked) + (extra.run is not None and not record.attempt)
    if waiting >= MOST_WAITING:
        raise TooManyRunsException(f"{MOST_WAITING} manual runs of {record.key!r} wait already: trigger it later.")
    extra.asked.append(run)
    extra.store(state)
    return Change(record, proceed(replace(record, revision=revision, state=_text(state)), now))


def in_turn(ended: Ended, now: int, revision: str) -> Ended:
    """Runs that wait have their turn, now that an attempt has ended."""
    change = ended.change
    if change is None or change.old is None or not has_extra(change.old.state):
        return ended
    if change.new is not None:
        ended.change = replace(change, new=proceed(change.new, now))
    elif current_run(change.old.state) is None:
        ended.change = replace(change, new=outlives(replace(change.old, revision=revision), now))
    return ended


def proceed(record: Record, now: int) -> Record:
    """The next run that was asked for becomes current, if nothing is under way.

    A lease that has expired counts as under way, as it is for the next claim to find that its worker died; but not one
    that only stays until a retry.
    """
    if not has_extra(record.state):
        return record
    state = State(record.state)
    extra = extra_of(state)
    extra.forget(now - REMEMBERED)
    begins = extra.run is None and extra.asked and (record.locked_until is None or state.count("fence") == record.fence)
    if not begins or Band.of(record.ready_at) is Band.UNREADABLE:
        extra.store(state)
        return replace(record, state=_text(state))
    return _make_current(record, state, extra, Waits(record.attempt, record.ready_at, state.fields.get("now")), now)


def outlives(record: Record, now: int) -> Record | None:
    """Nothing is left of the schedule: what remains of the record for the sake of runs that wait; None if none do."""
    if not has_extra(record.state):
        return None
    state = State(record.state)
    extra = extra_of(state)
    if not extra.asked:
        return None
    return _make_current(record, state, extra, Waits(0, Band.COMPLETED.since), now)


def _make_current(record: Record, state: State, extra: Extra, waits: Waits, now: int) -> Record:
    extra.run, extra.waits = extra.asked.pop(0), waits
    extra.store(state)
    state.record_attempts(None)
    return replace(record, attempt=0, ready_at=now, locked_until=None, locked_by=None, state=_text(state))


def over(record: Record, state: State, *, now: int, revision: str) -> Record | None:
    """The run that is current has ended: back to the scheduled occurrence, or on to the next run that was asked for.
    None if nothing is left.

    :param state: what becomes of ``record.state`` otherwise.
    """
    extra = extra_of(state)
    if extra.run is not None:
        extra.done[extra.run.id] = now
    waits, extra.run, extra.waits = extra.waits, None, None
    extra.store(state)
    if waits is None:
        waits = Waits(0, Band.COMPLETED.since)
    back = replace(_back(record, state, waits, record.fence), revision=revision)
    if Band.COMPLETED.since <= waits.ready_at <= Band.COMPLETED.at(now) and not extra.asked:
        return None  # it was only kept for this
    return proceed(back, now)


def on_schedule(record: Record, change: Callable[[Record], Change | None]) -> Change | None:
    """Apply a change of the schedule's side of a record, whatever run is current; a run that is stays so."""
    if not has_extra(record.state):
        return change(record)
    state = State(record.state)
    extra = extra_of(state)
    run, waits = extra.run, extra.waits
    if run is None or waits is None:
        return change(record)
    own = state.fields.get("now")
    extra.run = extra.waits = None
    extra.store(state)
    changed = change(_back(record, state, waits, state.count("fence")))
    if changed is None or changed.new is None:
        return changed if changed is None else Change(record, None)
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
    return Change(record, joined, changed.run)


def schedule_side(record: Record) -> Record:
    """The record as it would be if no run beside the schedule was current."""
    found = record

    def look(side: Record) -> None:
        nonlocal found
        found = side

    on_schedule(record, look)
    return found


def _back(record: Record, state: State, waits: Waits, fence: int) -> Record:
    state.set("now", waits.now)
    return replace(
        record,
        attempt=waits.attempt,
        ready_at=waits.ready_at,
        locked_until=None,
        locked_by=None,
        state=state.text(fence),
    )


def _text(state: State) -> str:
    """The fence that was settled last stays."""
    return state.text(state.count("fence"))
