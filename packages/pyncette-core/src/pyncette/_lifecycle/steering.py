"""What operators make of a record: pausing, resuming, retrying the dead. Pure.

``why`` in the state says that an instance is to stay out of execution, and why. Whatever ends while it is there leaves
the record paused: see :func:`pyncette._lifecycle.end.end`. Times are microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyncette import lease
from pyncette._tasks.policies import Policies
from pyncette._tasks.spec import Spec
from pyncette._tasks.state import State
from pyncette.record import Band, Change, Record
from pyncette.schedule import Once

from .moments import Moments, Window
from .onward import Onward, add_skips, go_on, store_window, stored_window
from .values import Attempt, AttemptEnd, Skipped

BY_OPERATOR = "paused by an operator"
"""The reason where none was given."""


@dataclass(slots=True)
class Steered:
    """What becomes of a record.

    :ivar change: None if there is nothing to store.
    :ivar skips: occurrences that are skipped with it.
    """

    change: Change | None
    skips: Sequence[Skipped] = ()


def pause(record: Record, reason: str, *, now: int, revision: str) -> Steered:
    """The instance is paused. What is under way ends as usual; what is dead or completed stays so."""
    state = State(record.state)
    reason = reason or BY_OPERATOR
    if state.why == reason:
        return Steered(None)
    state.set("why", reason)
    text = state.text(state.count("fence"))
    if lease.state_of(record, now) in (lease.State.WAITING, lease.State.READY):
        return Steered(lease.hold(record, Band.PAUSED, moment=now, revision=revision, state=text))
    return Steered(lease.note(record, state=text, revision=revision))


def resume(record: Record, spec: Spec, policies: Policies, *, catch_up: bool, now: int, revision: str) -> Steered:
    """The instance goes on.

    :param catch_up: whether what came due during the pause counts as missed. Otherwise it is skipped, but for a
        one-off and an occurrence of which an attempt has begun.
    """
    state = State(record.state)
    if not is_paused(state):
        return Steered(None)
    state.set("why", None)
    state.set("row", None)
    if Band.of(record.ready_at) is not Band.PAUSED:
        return Steered(lease.note(record, state=state.text(state.count("fence")), revision=revision))
    if catch_up or record.attempt or isinstance(spec.schedule, Once):
        ready_at = Moments(spec, policies, record.key).ready(record.due_at)
        to = Onward(record.due_at, max(ready_at, now) if record.attempt else ready_at)
    else:
        to = _after_pause(record, spec, policies, state, record.ready_at - Band.PAUSED.since, now)
    add_skips(state, to.skips, now, policies.keep_runs)
    if to.window is not None:
        store_window(state, to.window)
    text = state.text(state.count("fence"))
    if to.due_at is None:
        return Steered(go_on(record, policies, to, now, revision, text), to.skips)
    change = lease.revive(
        record, due_at=to.due_at, ready_at=to.ready_at, attempt=record.attempt, state=text, revision=revision
    )
    return Steered(change, to.skips)


def retry(record: Record, spec: Spec, policies: Policies, *, now: int, revision: str) -> Steered:
    """A dead instance: its occurrence is executed with fresh attempts. What came due meanwhile is skipped."""
    if Band.of(record.ready_at) is not Band.DEAD:
        return Steered(None)
    state = State(record.state)
    state.record_attempts(None)
    moments = Moments(spec, policies, record.key)
    first = moments.following(record.due_at)
    skips: list[Skipped] = []
    if first is not None and first <= now:
        last = spec.latest(first, now)
        skips = list(moments.skipped("dead", first, last + 1))
        store_window(state, Window(record.due_at, last))
    add_skips(state, skips, now, policies.keep_runs)
    ready_at = Band.PAUSED.at(now) if is_paused(state) else now
    text = state.text(state.count("fence"))
    change = lease.revive(record, due_at=record.due_at, ready_at=ready_at, attempt=0, state=text, revision=revision)
    return Steered(change, skips)


def after_paused_template(record: Record, spec: Spec, policies: Policies, until: int, now: int) -> Attempt | None:
    """An occurrence that came due while its template was paused, until ``until``, is passed over with all that came due
    by then. None if it is to be executed after all: a one-off, or one of which an attempt has begun."""
    if isinstance(spec.schedule, Once):
        return None
    moments = Moments(spec, policies, record.key)
    target = moments.following(spec.latest(record.due_at, until - 1))
    skips = list(moments.skipped("paused", record.due_at, target))
    return Attempt(AttemptEnd.PASSED, record.due_at, now, skips=skips, go_to=target)


def is_paused(state: State) -> bool:
    """Whether the instance is paused, or will be when what is under way has ended."""
    return state.why is not None


def _after_pause(record: Record, spec: Spec, policies: Policies, state: State, since: int, now: int) -> Onward:
    """Where an instance goes on that was paused since ``since``, without what came due meanwhile."""
    due_at = record.due_at
    moments = Moments(spec, policies, record.key, stored_window(state, due_at))
    if due_at >= now:
        return Onward(due_at, moments.ready(due_at))
    if due_at >= since:
        target = moments.following(spec.latest(due_at, now - 1))
        skips = list(moments.skipped("paused", due_at, target))
        return Onward(target, 0 if target is None else moments.ready(target), skips)
    missed = spec.latest(due_at, since - 1)
    first = spec.following(missed, missed, fast_forward=False)
    if first is None or first >= now:
        return Onward(due_at, now)
    last = spec.latest(first, now - 1)
    return Onward(due_at, now, list(moments.skipped("paused", first, last + 1)), Window(missed, last))
