"""Where an instance continues after a run, and what is skipped. Pure; part of :mod:`pyncette._lifecycle.end`.

Times are microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyncette import lease
from pyncette._tasks.policies import CatchUp, Overlap, Policies
from pyncette._tasks.spec import Spec
from pyncette._tasks.state import Run, State
from pyncette.record import BAND_WIDTH, Band, Change, Record

from .moments import Moments, Window
from .queueing import queued
from .values import Skipped


@dataclass(slots=True)
class Continuation:
    """Where an instance continues.

    :ivar due_at: its next occurrence; None if there is none.
    :ivar ready_at: when that may be claimed.
    :ivar skips: the occurrences that are skipped on the way.
    :ivar window: occurrences after the next one that are skipped ahead of their turn.
    """

    due_at: int | None
    ready_at: int = 0
    skips: Sequence[Skipped] = ()
    window: Window | None = None


def continuation(
    record: Record,
    spec: Spec,
    policies: Policies,
    due_at: int,
    now: int,
    *,
    opened: int,
    state: State | None = None,
    superseded: bool = False,
) -> Continuation:
    """Where an instance continues after the run of its occurrence at ``due_at``.

    :param opened: when the first attempt of the run began.
    :param state: the record's state; None if nothing in it matters here.
    :param superseded: whether the run was superseded, so that no missed occurrence has been executed yet.
    """
    if state is None:
        following = spec.following(due_at)
        if following is None:
            return Continuation(None)
        if policies.follows_schedule_exactly:
            return Continuation(following, queued(following, now))
    window = None if state is None else stored_window(state, due_at)
    moments = Moments(spec, policies, record.key, window)
    following = moments.following(due_at)
    if following is None:
        return Continuation(None)
    ready_at = moments.ready(following)
    coalesces = policies.catching_up is CatchUp.EARLIEST and not superseded
    if ready_at > now or (policies.overlap is not Overlap.SKIP and not coalesces):
        return Continuation(following, queued(ready_at, now), window=_ahead(window, following))
    if policies.overlap is Overlap.SKIP:
        return _skip_overlapping(moments, policies, following, now, opened, window)
    return _skip_to(moments, "coalesced", following, moments.first_ready_from(following, now), now, window)


def _skip_overlapping(
    moments: Moments, policies: Policies, following: int, now: int, opened: int, window: Window | None
) -> Continuation:
    """Skip what came due while the run was open. ``catch_up`` decides about what had been missed before."""
    if window is not None and window.busy:  # the instance counts as busy until it has caught up
        opened = window.until
    opened = min(opened, now)  # the clock may have been set back
    if moments.ready(following) > opened:
        return _skip_to(moments, "overlap", following, moments.first_ready_from(following, now + 1), now, window)
    missed = moments.last_ready_by(following, opened)
    first = moments.following(missed)
    beyond, overlapping = missed, list[Skipped]()
    if first is not None and moments.ready(first) <= now:
        beyond = moments.last_ready_by(first, now)
        overlapping = list(moments.skipped("overlap", first, beyond + 1))
    if policies.catching_up is CatchUp.ALL:
        ready_at = queued(moments.ready(following), now)
        if window is None or following > window.until:
            return Continuation(following, ready_at, overlapping, Window(missed, beyond))
        if missed <= window.since <= beyond:
            return Continuation(following, ready_at, overlapping, Window(missed, max(window.until, beyond)))
        return Continuation(following, ready_at, window=window)  # the window is taken: what overlaps counts as missed
    coalesced = list(moments.skipped("coalesced", following, missed + 1))
    target = moments.following(beyond)
    ready_at = now if target is None else queued(moments.ready(target), now)
    return Continuation(target, ready_at, [*coalesced, *overlapping], _ahead(window, target))


def _skip_to(
    moments: Moments, reason: str, following: int, target: int | None, now: int, window: Window | None
) -> Continuation:
    """Continue at ``target``, skipping everything from ``following`` on."""
    skips = list(moments.skipped(reason, following, target))
    ready_at = now if target is None else queued(moments.ready(target), now)
    return Continuation(target, ready_at, skips, _ahead(window, target))


def _ahead(window: Window | None, due_at: int | None) -> Window | None:
    """The window, if it is still ahead of the occurrence at ``due_at``."""
    return window if window is not None and due_at is not None and due_at <= window.since else None


def continue_or_complete(
    record: Record, policies: Policies, to: Continuation, now: int, revision: str, state: str
) -> Change:
    """The change that continues the instance, or completes it: then it is removed, or kept as completed."""
    if to.due_at is not None:
        return lease.complete(record, next_due=to.due_at, ready_at=to.ready_at, revision=revision, state=state)
    if not keeps_completed(record, policies):
        return lease.complete(record, next_due=None, revision=revision)
    kept = policies.retain_microseconds
    moment = BAND_WIDTH if kept is None or record.static else now + kept
    return lease.hold(record, Band.COMPLETED, moment=moment, revision=revision, attempt=0, state=state)


def keeps_completed(record: Record, policies: Policies) -> bool:
    """Whether a completed instance is kept. A static task always is; otherwise it would start over."""
    return record.static or policies.retain_microseconds is not None


def pause_reason(failed_in_a_row: int) -> str:
    """The reason shown for an instance that ``pause_after`` has paused."""
    return f"{failed_in_a_row} consecutive failed runs"


def add_skips(state: State, skips: Sequence[Skipped], now: int, keep: int) -> None:
    """Add skips to the totals and to the latest runs."""
    for skip in skips:
        run = Run(
            scheduled_at=skip.first,
            started_at=None,
            ended_at=now,
            attempts=0,
            outcome="skipped",
            worker="",
            reason=skip.reason,
            last=skip.last if skip.count > 1 else None,
            count=skip.count,
            exact=skip.exact,
        )
        state.add(run, keep)


def store_window(state: State, window: Window | None) -> None:
    """Record what was skipped ahead of its turn."""
    kept = None if window is None else [window.since, window.until]
    state.set("window", kept if kept is None or (window and window.busy) else [*kept, 0])


def stored_window(state: State, due_at: int) -> Window | None:
    """The window in ``state``, unless the occurrence at ``due_at`` is after it."""
    found = state.fields.get("window")
    if isinstance(found, list) and len(found) in (2, 3) and all(isinstance(each, int) for each in found):
        window = Window(found[0], found[1], busy=len(found) == 2)
        return window if due_at <= window.until else None
    return None
