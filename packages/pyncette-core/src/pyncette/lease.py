"""The lease state machine: pure functions from a record, an event and the time to the change to store.

This is the only place that decides states; ``docs/state_machine.md`` draws it. Times are microseconds since the epoch.
"""

from __future__ import annotations

import enum
from dataclasses import replace

from .record import MAX_ATTEMPT, MAX_FENCE, Band, Change, Record, Ref


class State(enum.Enum):
    """What a record is, at a given moment."""

    ABSENT = "absent"
    """Does not exist."""
    WAITING = "waiting"
    """Not due yet, or due and backing off before a retry."""
    READY = "ready"
    """Can be claimed: due, or its lease has expired."""
    LEASED = "leased"
    """Being executed: a worker holds the lease, and it has not expired."""
    DEAD = "dead"
    """Out of attempts; kept until it is retried, rescheduled or removed."""
    PAUSED = "paused"
    """Paused individually, until it is resumed."""
    COMPLETED = "completed"
    """Has no further occurrence; kept for a while."""
    UNREADABLE = "unreadable"
    """Damaged; set aside until it is overwritten."""


_HELD = {
    Band.DEAD: State.DEAD,
    Band.PAUSED: State.PAUSED,
    Band.COMPLETED: State.COMPLETED,
    Band.UNREADABLE: State.UNREADABLE,
}


def state_of(record: Record | None, now: int) -> State:
    if record is None:
        return State.ABSENT
    if (band := Band.of(record.ready_at)) is not None:
        return _HELD[band]
    if record.ready_at <= now:
        return State.READY
    return State.WAITING if record.locked_until is None else State.LEASED


def holds(lease: Record, stored: Record | None) -> bool:
    """Whether the lease that was taken as ``lease`` is still the one in storage.

    True also after a change of the rest of the record, such as its schedule, without touching the lease. An
    expired lease still holds until another worker claims.
    """
    return stored is not None and stored.locked_by == lease.locked_by and stored.fence == lease.fence


def register(
    old: Record | None, ref: Ref, *, due_at: int, spec: str, revision: str, ready_at: int | None = None
) -> Change:
    """Create an instance, or overwrite an existing one entirely, including its lease. Only the fence is kept, because
    it must never repeat.

    :param ready_at: when it may be claimed; ``due_at`` by default.
    """
    fence, ready = old.fence if old else 0, due_at if ready_at is None else ready_at
    return Change(old, Record(ref.queue, ref.key, due_at, ready, None, None, revision, fence, 0, spec))


def update(old: Record, *, spec: str, revision: str) -> Change:
    """Change the stored schedule and arguments; next occurrence, lease and state stay."""
    return Change(old, replace(old, spec=spec, revision=revision))


def move(old: Record, *, due_at: int, spec: str, state: str, revision: str, ready_at: int | None = None) -> Change:
    """Move to another occurrence, of which no attempt has begun. A lease ends; a paused instance stays paused.

    :param ready_at: when it may be claimed; ``due_at`` by default.
    """
    moved = _waiting(old, due_at, revision, spec=spec, state=state, ready_at=ready_at)
    paused = Band.of(old.ready_at) is Band.PAUSED
    return Change(old, replace(moved, ready_at=old.ready_at) if paused else moved)


def adopt(
    old: Record,
    *,
    due_at: int,
    spec: str,
    now: int,
    revision: str,
    ready_at: int | None = None,
    state: str | None = None,
) -> Change:
    """A static task's schedule changed in code: store the new one, due at ``due_at``.

    A lease that is held stays, and its holder settles by the new schedule. An overdue occurrence stays due, and a
    paused or dead task stays so. A completed or unreadable one no longer is.

    :param state: of a task that starts over; unchanged by default.
    """
    was = state_of(old, now)
    stays = was in {State.LEASED, State.PAUSED, State.DEAD}
    if stays or (old.due_at <= now and was not in {State.COMPLETED, State.UNREADABLE}):
        return Change(old, replace(old, spec=spec, revision=revision))
    return Change(old, _waiting(old, due_at, revision, spec=spec, ready_at=ready_at, state=state))


def claim(record: Record, *, now: int, locked_until: int, token: str, holder: str) -> Record:
    """Lease a ready record. Stores that execute claims on the server write exactly this.

    ``token`` becomes the revision. The fence grows even if the clock went back since the last claim. Fence and attempt
    stay within their range, so that a damaged record can be claimed, and set aside.
    """
    fence, attempt = record.fence, record.attempt
    return Record(  # without replace(), which would take longer than everything else
        record.queue,
        record.key,
        record.due_at,
        locked_until,
        locked_until,
        holder,
        token,
        now if fence < now else min(fence, MAX_FENCE - 1) + 1,
        attempt + 1 if attempt < MAX_ATTEMPT else MAX_ATTEMPT,
        record.spec,
        record.state,
    )


def extend(record: Record, *, locked_until: int, revision: str) -> Change:
    """Extend a lease. A lease is never shortened."""
    until = max(locked_until, record.locked_until or 0)
    return Change(record, replace(record, ready_at=until, locked_until=until, revision=revision))


def complete(
    record: Record, *, next_due: int | None, revision: str, state: str | None = None, ready_at: int | None = None
) -> Change:
    """The occurrence is done, or (at most once) about to be executed: move on to the next one, or delete the record.

    :param ready_at: when the next one may be claimed; ``next_due`` by default.
    """
    if next_due is None:
        return Change(record, None)
    return Change(record, _waiting(record, next_due, revision, state=state, ready_at=ready_at))


def retry(
    record: Record,
    *,
    at: int | None,
    revision: str,
    due_at: int | None = None,
    attempt: int | None = None,
    state: str | None = None,
) -> Change:
    """The execution failed: the same occurrence may be claimed again at ``at``; if that is None, the lease stays, and
    it may be claimed when the lease expires.

    :param due_at, attempt, state: those of the new record; unchanged by default.
    """
    new = _changed(record, revision, due_at, attempt, state)
    if at is not None:
        new.ready_at, new.locked_until, new.locked_by = at, None, None  # no other worker has seen it yet
    return Change(record, new)


def release(record: Record, *, revision: str, at: int | None = None) -> Change:
    """The holder did not start the occurrence: give it back as if it had not been claimed, to be claimed again at
    ``at``. The fence stays."""
    back = _waiting(record, record.due_at, revision, attempt=max(record.attempt - 1, 0))
    return Change(record, back if at is None else replace(back, ready_at=at))


def note(record: Record, *, state: str, revision: str) -> Change:
    """Change the state; next occurrence and lease stay."""
    return Change(record, replace(record, state=state, revision=revision))


def revive(record: Record, *, due_at: int, ready_at: int, attempt: int, state: str, revision: str) -> Change:
    """End holding a record; or make a dead instance a paused one."""
    new = _waiting(record, due_at, revision, attempt=attempt, state=state, ready_at=ready_at)
    return Change(record, new)


def hold(
    record: Record,
    band: Band,
    *,
    moment: int,
    revision: str,
    due_at: int | None = None,
    attempt: int | None = None,
    state: str | None = None,
) -> Change:
    """Keep the record, but exclude it from claims.

    :param due_at, attempt, state: those of the new record; unchanged by default.
    """
    new = _changed(record, revision, due_at, attempt, state)
    new.ready_at, new.locked_until, new.locked_by = band.at(moment), None, None
    return Change(record, new)


def _changed(record: Record, revision: str, due_at: int | None, attempt: int | None, state: str | None) -> Record:
    return replace(
        record,
        revision=revision,
        due_at=record.due_at if due_at is None else due_at,
        attempt=record.attempt if attempt is None else attempt,
        state=record.state if state is None else state,
    )


def _waiting(
    record: Record,
    due_at: int,
    revision: str,
    *,
    attempt: int = 0,
    spec: str | None = None,
    state: str | None = None,
    ready_at: int | None = None,
) -> Record:
    return Record(
        record.queue,
        record.key,
        due_at,
        due_at if ready_at is None else ready_at,
        None,
        None,
        revision,
        record.fence,
        attempt,
        record.spec if spec is None else spec,
        record.state if state is None else state,
    )
