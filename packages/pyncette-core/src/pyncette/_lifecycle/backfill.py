"""Backfills: executing a schedule's past moments. Pure.

Times are microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pyncette._tasks.extra import BACKFILL_REMEMBERED, MAX_BACKFILLS, Backfill, extra_of
from pyncette._tasks.names import name_of
from pyncette._tasks.spec import Spec, encode
from pyncette._tasks.state import State
from pyncette.errors import TooManyRunsException
from pyncette.record import Band, Change, Record
from pyncette.schedule import Interval

from .extra import proceed


def moments(record: Record, spec: Spec, start: int, end: int) -> Iterator[int]:
    """The schedule's moments from ``start`` to ``end``, both inclusive, that are before the next occurrence. An
    interval's moments are counted backwards from there."""
    completed = Band.of(record.ready_at) is Band.COMPLETED
    end = min(end, record.due_at - (not completed))
    spec = replace(spec, since=None)
    if isinstance(spec.schedule, Interval) and spec.bounds.start_at is None:
        period = spec.schedule.period
        moment: int | None = record.due_at - (record.due_at - start) // period * period
    else:
        moment = spec.following(start - 1)
    while moment is not None and moment <= end:
        yield moment
        moment = spec.following(moment)


def schedule_text(spec: Spec) -> str:
    """The encoded schedule, without arguments."""
    return encode(replace(spec, args="{}", since=None))


def add(record: Record, fill: Backfill, *, now: int, revision: str) -> Change | None:
    """Request a backfill. None if there has been one with its id.

    :raises TooManyRunsException: too many backfills are waiting.
    """
    state = State(record.state)
    extra = extra_of(state)
    if extra.knows(fill.id):
        return None
    if len(extra.fills) >= MAX_BACKFILLS:
        name = name_of(record.key)
        raise TooManyRunsException(f"{MAX_BACKFILLS} backfills of {name!r} are already waiting: cancel some of them.")
    extra.fills.append(fill)
    extra.store(state)
    return _changed(record, state, now, revision)


def drop(record: Record, backfill_id: str, *, now: int, revision: str) -> Change | None:
    """Cancel a backfill. A run that has begun ends as usual. None if there is no such backfill."""
    state = State(record.state)
    extra = extra_of(state)
    left = [fill for fill in extra.fills if fill.id != backfill_id]
    if len(left) == len(extra.fills):
        return None
    extra.fills = left
    extra.done[backfill_id] = now + BACKFILL_REMEMBERED
    extra.store(state)
    return _changed(record, state, now, revision)


def _changed(record: Record, state: State, now: int, revision: str) -> Change:
    text = state.text(state.count("fence"))
    return Change(record, proceed(replace(record, revision=revision, state=text), now))
