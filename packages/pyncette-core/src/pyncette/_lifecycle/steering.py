"""What operators do to a record: pausing, resuming, retrying dead instances. Pure.

``why`` in the state marks an instance as paused, and says why. An attempt that ends while it is set leaves the record
paused: see :func:`pyncette._lifecycle.end.end`. Times are microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyncette import lease
from pyncette._tasks.policies import CatchUp, Overlap, Policies
from pyncette._tasks.spec import Spec
from pyncette._tasks.state import Attempts, State
from pyncette.record import HELD, Band, Change, Record
from pyncette.schedule import Once

from .continuation import Continuation, add_skips, continue_or_complete, store_window, stored_window
from .moments import Moments, Window, came_due
from .queueing import queued
from .values import Attempt, AttemptEnd, Skipped

BY_OPERATOR = "paused by an operator"
"""The default reason."""


@dataclass(slots=True)
class Steered:
    """The decision about a record.

    :ivar change: None if there is nothing to store.
    :ivar skips: occurrences that the change skips.
    """

    change: Change | None
    skips: Sequence[Skipped] = ()


def pause(record: Record, reason: str, *, now: int, revision: str) -> Steered:
    """Pause an instance. An execution in progress ends as usual; a dead or completed instance stays as it is."""
    state = State(record.state)
    reason = reason or BY_OPERATOR
    if state.why == reason:
        return Steered(None)
    was, known = lease.state_of(record, now), is_paused(state)
    state.set("why", reason)
    if was in (lease.State.WAITING, lease.State.READY):
        return Steered(hold_paused(record, state, now=now, revision=revision))
    if was is lease.State.LEASED and not known:
        state.set("since", now)
    return Steered(lease.note(record, state=state.text(state.count("fence")), revision=revision))


def resume(record: Record, spec: Spec, policies: Policies, *, catch_up: bool, now: int, revision: str) -> Steered:
    """Resume a paused instance.

    :param catch_up: whether what came due during the pause counts as missed. Otherwise it is skipped, except for a
        one-off and an occurrence that has already been attempted.
    """
    state = State(record.state)
    if not is_paused(state):
        return Steered(None)
    band = Band.of(record.ready_at)
    since = record.ready_at - Band.PAUSED.since if band is Band.PAUSED else state.count("since")
    if band is None and since:  # the worker has what was due at its claim, by its clock
        since = max(since, record.fence + 1)
    for field in ("why", "row", "since"):
        state.set(field, None)
    to = Continuation(record.due_at, Moments(spec, policies, record.key).ready(record.due_at))
    if not catch_up and not isinstance(spec.schedule, Once) and since and band in (None, Band.PAUSED):
        to = _after_pause(record, spec, policies, state, since, now)
    elif _is_open(record, state):
        to.ready_at = queued(to.ready_at, now)
    add_skips(state, to.skips, now, policies.keep_runs)
    if to.window is not None:
        store_window(state, to.window)
    text = state.text(state.count("fence"))
    if band is not Band.PAUSED:  # an execution in progress continues
        return Steered(lease.note(record, state=text, revision=revision), to.skips)
    if to.due_at is None:
        return Steered(continue_or_complete(record, policies, to, now, revision, text), to.skips)
    change = lease.revive(
        record, due_at=to.due_at, ready_at=to.ready_at, attempt=record.attempt, state=text, revision=revision
    )
    return Steered(change, to.skips)


def retry(record: Record, spec: Spec, policies: Policies, *, now: int, revision: str) -> Steered:
    """Execute a dead instance's occurrence with a new set of attempts. What came due in the meantime is skipped."""
    if Band.of(record.ready_at) is not Band.DEAD:
        return Steered(None)
    state = State(record.state)
    state.record_attempts(Attempts(record.due_at))
    window = stored_window(state, record.due_at)
    moments = Moments(spec, policies, record.key, window)
    first = moments.following(record.due_at)
    skips: list[Skipped] = []
    if first is not None and first <= now:
        last = spec.latest(first, now)
        if window is None or window.joins(record.due_at, last):
            skips = list(moments.skipped("dead", first, last + 1))
            store_window(state, Window(record.due_at, last if window is None else max(last, window.until), busy=False))
    add_skips(state, skips, now, policies.keep_runs)
    ready_at = queued(min(moments.ready(record.due_at), now), now)
    ready_at = Band.PAUSED.at(now) if is_paused(state) else ready_at
    text = state.text(state.count("fence"))
    change = lease.revive(record, due_at=record.due_at, ready_at=ready_at, attempt=0, state=text, revision=revision)
    return Steered(change, skips)


def after_paused_template(record: Record, spec: Spec, policies: Policies, until: int, now: int) -> Attempt | None:
    """Skip an occurrence that came due during a pause of its template, and everything else that came due before the end
    of that pause, ``until``. None for a one-off, which is executed anyway."""
    if isinstance(spec.schedule, Once):
        return None
    moments = Moments(spec, policies, record.key, stored_window(State(record.state), record.due_at))
    target = moments.following(spec.latest(record.due_at, until - 1))
    skips = list(moments.skipped("paused", record.due_at, target))
    return Attempt(AttemptEnd.PASSED, record.due_at, now, skips=skips, go_to=target)


def skip_paused(
    record: Record, spec: Spec, policies: Policies, state: State, due_at: int, pauses: Sequence[tuple[int, int]]
) -> list[Skipped]:
    """Skip occurrences after ``due_at`` that came due in past pauses of the template, ahead of their turn.

    Only needed with policies that choose between missed occurrences, or skip some for reasons of their own. The skipped
    ones are recorded in ``state``.
    """
    found: list[Skipped] = []
    if not (policies.chooses or policies.catching_up is not CatchUp.ALL or policies.overlap is not Overlap.QUEUE):
        return found  # each one is skipped when its turn comes
    for since, until in sorted(pauses):
        if until < HELD and came_due(spec, policies, record.key, due_at) < since:
            to = _after_pause(replace(record, due_at=due_at), spec, policies, state, since, until)
            found += to.skips
            if to.window is not None:
                store_window(state, to.window)
    return found


def is_paused(state: State) -> bool:
    """Whether the instance is paused, or will be once the execution in progress has ended."""
    return state.why is not None


def hold_paused(
    record: Record,
    state: State,
    *,
    now: int,
    revision: str,
    due_at: int | None = None,
    attempt: int | None = None,
    fence: int | None = None,
) -> Change:
    """Hold the record as paused, from when the pause began. Only for an instance that is not being executed.

    :param due_at, attempt: those of the new record; unchanged by default.
    :param fence: the fencing token of the attempt that has ended; by default the one that was settled last.
    """
    since = state.count("since")
    state.set("since", None)
    text = state.text(state.count("fence") if fence is None else fence)
    moment = since or now
    return lease.hold(record, Band.PAUSED, moment=moment, revision=revision, due_at=due_at, attempt=attempt, state=text)


def _is_open(record: Record, state: State) -> bool:
    """Whether the occurrence must not be skipped: an attempt has begun, or it was dead and is being retried."""
    return record.attempt > 0 or state.is_open(record.due_at)


def _after_pause(record: Record, spec: Spec, policies: Policies, state: State, since: int, now: int) -> Continuation:
    """Where an instance that was paused at ``since`` continues, if what came due during the pause is skipped.

    An occurrence that was due before the pause, or is open, stays, and those that came due later are skipped ahead of
    their turn. There is room for one window of such skips. If there is one already, with missed occurrences between the
    two, what came due during the pause counts as missed instead.
    """
    due_at = record.due_at
    window = stored_window(state, due_at)
    moments = Moments(spec, policies, record.key, window)
    ready_at = moments.ready(due_at)
    if ready_at >= since and not _is_open(record, state):
        target = moments.first_ready_from(due_at, now)
        skips = list(moments.skipped("paused", due_at, target))
        return Continuation(None, skips=skips) if target is None else Continuation(target, moments.ready(target), skips)
    stays = Continuation(due_at, queued(ready_at, now))
    missed = moments.last_ready_by(due_at, since - 1)
    first = moments.following(missed)
    if first is None or moments.ready(first) >= now:
        return stays
    last = moments.last_ready_by(first, now - 1)
    if window is not None and not window.joins(missed, last):
        return stays
    stays.skips = list(moments.skipped("paused", first, last + 1))
    busy = window is not None and window.busy and missed <= window.until
    stays.window = Window(missed, last if window is None else max(last, window.until), busy=busy)
    return stays
