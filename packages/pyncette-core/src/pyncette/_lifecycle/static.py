"""Keeps the record of a static task in line with its schedule in code. Pure.

Times are microseconds since the epoch.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyncette import lease
from pyncette._schedules.moments import to_datetime
from pyncette._tasks.policies import Policies
from pyncette._tasks.spec import LaterSpec, Spec, UndecodableSpec, decode, encode, keep_unknown
from pyncette._tasks.state import check_version, starting_over
from pyncette.record import Band, Change, Record, Ref

from .extra import on_schedule
from .moments import came_due

SKEW = 10_000_000
"""How far the clock of the worker that stored a next occurrence may be ahead, in microseconds, before the occurrence
counts as too late."""


class Notice(enum.Enum):
    """What was noticed about a record."""

    GONE = "gone"
    UNREADABLE = "unreadable"
    """Its schedule can't be read. Detail: why."""
    CHANGED = "changed"
    """The schedule in code has changed."""
    READABLE = "readable"
    """It was set aside as unreadable, and can be read again."""
    TOO_LATE = "too_late"
    """The stored next occurrence is later than on the schedule. Details: the stored one, and the new one."""
    COMPLETED = "completed"
    """There is no next occurrence. Detail: when the last one was."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The change to store, None if there is nothing to store; and what to log: notices with their details."""

    change: Change | None
    notices: Sequence[tuple[Notice, *tuple[str, ...]]] = ()


def reconcile(
    known: Record | None, ref: Ref, spec: Spec, policies: Policies, *, starting: bool, now: int, revision: str
) -> Reconciled:
    """Restore the record of a static task if it is gone, and correct its next occurrence if it is impossibly late.

    :param known: the stored record.
    :param spec: the schedule in code.
    :param starting: whether the app is starting. If so, its schedule replaces a stored one that differs or can't be
        read. Later on, a different schedule must be left alone: it comes from a release that was started later.
    """
    case = _Case(ref, spec, policies, now, revision, [])
    if known is None:
        if not starting:
            case.note(Notice.GONE)
        return Reconciled(_new(case), case.notices)
    if _is_later(known):
        return Reconciled(None)  # leave it to the later version that wrote it
    existing = _restored if starting else _checked
    change = on_schedule(known, lambda side: existing(case, side), now=now)
    return Reconciled(change, case.notices)


@dataclass(frozen=True, slots=True)
class _Case:
    """What the decision depends on, and what was noticed on the way."""

    ref: Ref
    spec: Spec
    policies: Policies
    now: int
    revision: str
    notices: list[tuple[Notice, *tuple[str, ...]]]

    def note(self, notice: Notice, *details: str) -> None:
        self.notices.append((notice, *details))

    def ready(self, due_at: int) -> int:
        return came_due(self.spec, self.policies, self.ref.key, due_at)


def _checked(case: _Case, record: Record) -> Change | None:
    return _recomputed(case, record) if _is_stored(case, record) else None


def _restored(case: _Case, record: Record) -> Change | None:
    band, now = Band.of(record.ready_at), case.now
    if not _is_stored(case, record):
        case.note(Notice.CHANGED)
    elif band is Band.UNREADABLE:
        case.note(Notice.READABLE)
    else:
        return _recomputed(case, record)
    due_at = _unmoved(case.spec, record) or case.spec.first(now)
    if due_at is not None:
        return _adopted(case, record, due_at)
    if lease.state_of(record, now) is lease.State.LEASED or (band is None and record.due_at <= now):
        # What is being executed, or is overdue, is still completed.
        return Change(record, replace(record, spec=_since(case, record), revision=case.revision))
    return _completed(case, record)


def _new(case: _Case) -> Change:
    due_at = case.spec.first(case.now)
    if due_at is None:
        return _completed(case, None)
    ready_at, text = case.ready(due_at), encode(case.spec)
    return lease.register(None, case.ref, due_at=due_at, ready_at=ready_at, spec=text, revision=case.revision)


def _completed(case: _Case, old: Record | None) -> Change:
    """The last occurrence has passed. The record is kept: a schedule that is extended later must not look like a new
    task."""
    ref, last, text = case.ref, case.spec.latest(0, case.now), encode(case.spec)
    case.note(Notice.COMPLETED, _shown(last))
    record = Record(ref.queue, ref.key, last, last, None, None, "", 0, 0, text, "")
    if old is not None:
        record = replace(record, fence=old.fence, spec=keep_unknown(old.spec, text), state=old.state)
    held = lease.hold(record, Band.COMPLETED, moment=case.now, revision=case.revision)
    return Change(old, held.new)


def _recomputed(case: _Case, record: Record) -> Change | None:
    """Reschedule a record that waits for a later occurrence than the next one on its schedule, because a clock was
    wrong or the rules of a timezone have changed."""
    first, latest = case.spec.first(case.now), case.spec.first(case.now + SKEW)
    waits = lease.state_of(record, case.now) is lease.State.WAITING
    if first is None or latest is None or not waits or record.due_at <= latest:
        return None
    case.note(Notice.TOO_LATE, _shown(record.due_at), _shown(first))
    return _adopted(case, record, first)


def _adopted(case: _Case, record: Record, due_at: int) -> Change:
    return lease.adopt(
        record,
        due_at=due_at,
        ready_at=case.ready(due_at),
        spec=_since(case, record),
        now=case.now,
        revision=case.revision,
        state=starting_over(record.state) if Band.of(record.ready_at) is Band.COMPLETED else None,
    )


def _since(case: _Case, record: Record) -> str:
    """The encoded schedule, starting now: its earlier occurrences must not be caught up with."""
    return keep_unknown(record.spec, encode(replace(case.spec, since=case.now)))


def _unmoved(spec: Spec, record: Record) -> int | None:
    """The stored next occurrence, if only the bounds have changed and it is within them."""
    try:
        stored, _ = decode(record.spec)
    except UndecodableSpec:
        return None
    bounds, due_at = spec.bounds, record.due_at
    inside = (bounds.start_at is None or bounds.start_at <= due_at) and not bounds.ended(due_at)
    held = Band.of(record.ready_at) is not None
    return due_at if stored.schedule == spec.schedule and inside and not held else None


def _is_stored(case: _Case, record: Record) -> bool:
    try:
        stored, _ = decode(record.spec)
    except UndecodableSpec as e:
        case.note(Notice.UNREADABLE, str(e))
        return False
    return stored.schedule == case.spec.schedule and stored.bounds == case.spec.bounds


def _is_later(record: Record) -> bool:
    """Whether a later version wrote the spec or the state."""
    try:
        check_version(record.state)
        decode(record.spec)
    except LaterSpec:
        return True
    except UndecodableSpec:
        pass
    return False


def _shown(moment: int) -> str:
    return to_datetime(moment).isoformat()
