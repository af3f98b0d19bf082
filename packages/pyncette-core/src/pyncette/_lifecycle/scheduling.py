"""Scheduling an instance that may already exist. Pure.

Times are microseconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pyncette import lease
from pyncette._tasks.existing import IfExists, Scheduling
from pyncette._tasks.spec import LaterSpec, Spec, UndecodableSpec, decode, encode, keep_unknown
from pyncette._tasks.state import State, check_version
from pyncette.record import Change, Record, Ref
from pyncette.schedule import Once

from .extra import on_schedule
from .steering import pause


@dataclass(frozen=True, slots=True)
class Scheduled:
    """The change to store, None if there is nothing to store; and what scheduling amounted to."""

    change: Change | None
    how: Scheduling


def schedule(
    old: Record | None,
    ref: Ref,
    spec: Spec,
    first: int,
    *,
    ready_at: int,
    if_exists: IfExists,
    now: int,
    revision: str,
) -> Scheduled:
    """Schedule an instance whose first occurrence is at ``first``.

    :param old: the stored record.
    :param ready_at: when the first occurrence may be claimed.
    :raises LaterSpec: a later version wrote what is stored; only ``"replace"`` overwrites that.
    """
    if old is None:
        return Scheduled(_rescheduled(None, ref, spec, first, ready_at, revision), Scheduling.CREATED)
    if if_exists == "error":
        return Scheduled(None, Scheduling.EXISTS)
    if if_exists == "keep":
        return Scheduled(None, Scheduling.KEPT)
    if if_exists == "replace":
        return Scheduled(_rescheduled(old, ref, spec, first, ready_at, revision), Scheduling.REPLACED)
    try:
        check_version(old.state)
        decode(old.spec)
    except LaterSpec:
        raise
    except UndecodableSpec:
        return Scheduled(_rescheduled(old, ref, spec, first, ready_at, revision), Scheduling.UPDATED)
    how = Scheduling.UPDATED

    def change(side: Record) -> Change | None:
        nonlocal how
        stored, _ = decode(side.spec)
        if stored.schedule == spec.schedule and stored.bounds == spec.bounds:
            scheduled = _update(side, stored, spec, now, revision)
            how = scheduled.how
            return scheduled.change
        return _reschedule(side, spec, first, ready_at, now, revision)

    return Scheduled(on_schedule(old, change, now=now), how)


def _update(old: Record, stored: Spec, spec: Spec, now: int, revision: str) -> Scheduled:
    """Schedule and bounds are unchanged. Keep the next occurrence, so that repeated calls can't postpone it."""
    # The carried context only changes along with something else.
    text = keep_unknown(old.spec, encode(replace(spec, since=stored.since, carried=stored.carried)))
    if text != old.spec:
        text = keep_unknown(old.spec, encode(replace(spec, since=stored.since)))
    running = lease.state_of(old, now) is lease.State.LEASED
    too_late = running and isinstance(spec.schedule, Once) and text != old.spec
    how = Scheduling.UNDER_WAY if too_late else Scheduling.UPDATED
    return Scheduled(None if text == old.spec else lease.update(old, spec=text, revision=revision), how)


def _reschedule(old: Record, spec: Spec, first: int, ready_at: int, now: int, revision: str) -> Change:
    """The schedule or its bounds have changed."""
    state = lease.state_of(old, now)
    open_or_overdue = old.attempt > 0 or old.due_at <= now
    moves = isinstance(spec.schedule, Once) or not open_or_overdue
    if state is lease.State.LEASED or (state not in _ENDED and not moves):
        # What is being executed, or is overdue, is still executed once; the new schedule applies from now on.
        text = keep_unknown(old.spec, encode(replace(spec, since=now)))
        return lease.update(old, spec=text, revision=revision)
    text = keep_unknown(old.spec, encode(spec))
    kept = State(old.state)
    kept.record_attempts(None)
    if state is lease.State.COMPLETED:
        kept.past.pop("began", None)
    written = kept.text(old.fence) if old.state else ""
    return lease.move(old, due_at=first, ready_at=ready_at, spec=text, state=written, revision=revision)


_ENDED = frozenset({lease.State.DEAD, lease.State.COMPLETED, lease.State.UNREADABLE})
"""The states in which a new schedule revives an instance."""


def _rescheduled(old: Record | None, ref: Ref, spec: Spec, first: int, ready_at: int, revision: str) -> Change:
    return lease.register(old, ref, due_at=first, ready_at=ready_at, spec=encode(spec), revision=revision)


def paused(scheduled: Scheduled, old: Record | None, *, now: int, revision: str) -> Scheduled:
    """Like ``scheduled``, and paused as well."""
    if scheduled.how in (Scheduling.KEPT, Scheduling.EXISTS):
        return scheduled
    record = old if scheduled.change is None else scheduled.change.new
    if record is None or (change := pause(record, "", now=now, revision=revision).change) is None:
        return scheduled
    return Scheduled(Change(old, change.new), scheduled.how)
