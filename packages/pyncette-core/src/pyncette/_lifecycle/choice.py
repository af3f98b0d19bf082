"""Which of several missed occurrences is executed. Pure; part of :mod:`pyncette._lifecycle.begin`.

Times are microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pyncette._tasks.policies import CatchUp, Overlap, Policies
from pyncette._tasks.spec import Spec
from pyncette._tasks.state import Attempts, State
from pyncette.record import Record
from pyncette.schedule import Cron

from .continuation import stored_window
from .moments import Moments, Window
from .values import Skipped

Pauses = Sequence[tuple[int, int]]
"""The pauses of a template, as pairs of begin and end."""


@dataclass(slots=True)
class Chosen:
    """What to do about missed occurrences.

    :ivar due_at: the occurrence to continue with; None if there is none.
    :ivar ready: whether it has come due.
    :ivar skips: the occurrences that are skipped before it.
    """

    due_at: int | None
    ready: bool
    skips: list[Skipped]


def choose(record: Record, spec: Spec, policies: Policies, now: int, *, begun: bool) -> Chosen:
    """Skip what is too late, then what ``catch_up`` excludes. Only for runs without a stored end of an attempt.

    :param begun: whether an attempt has begun, so that the run can't be too late any more.
    """
    moments = Moments(spec, policies, record.key, stored_window(State(record.state), record.due_at))
    target: int | None = record.due_at
    skips: list[Skipped] = []
    lateness = policies.lateness_microseconds
    if lateness is not None and not begun:
        target = moments.first_ready_from(record.due_at, now - lateness)
        if target != record.due_at:
            skips += moments.skipped("late", record.due_at, target)
    if target is None:
        return Chosen(None, ready=False, skips=skips)
    if policies.catching_up is CatchUp.LATEST:
        latest = moments.last_ready_by(target, now)
        skips += moments.skipped("coalesced", target, latest)
        target = latest
    # A claimed occurrence is ready, even if this process's clock says otherwise.
    return Chosen(target, ready=target == record.due_at or moments.ready(target) <= now, skips=skips)


def superseded(
    record: Record, spec: Spec, policies: Policies, attempts: Attempts, opened: int, now: int, pauses: Pauses
) -> bool:
    """Whether another occurrence has come due since a run without an outcome was opened."""
    window = stored_window(State(record.state), record.due_at)
    at = supersedes_at(record.key, spec, policies, attempts.due, opened, window, pauses)
    return at is not None and at <= now


def supersedes_at(
    key: str,
    spec: Spec,
    policies: Policies,
    due_at: int,
    opened: int,
    window: Window | None = None,
    pauses: Pauses = (),
) -> int | None:
    """When the run of the occurrence at ``due_at`` is cancelled because another one comes due; None for never.

    Occurrences that were due when the run was opened don't count, because they were missed. Those in ``window``, which
    were skipped ahead of their turn, and those that come due while the template is paused don't count either, because
    they are not executed.
    """
    if policies.overlap is not Overlap.CANCEL:
        return None
    moments = Moments(spec, policies, key, window)
    following = moments.following(moments.last_ready_by(due_at, opened))
    for since, until in sorted(pauses):
        if following is not None and since <= following < until:
            following = moments.following(spec.latest(following, until - 1))
    return None if following is None else moments.ready(following)


def moved_to(record: Record, spec: Spec, now: int) -> int | None:
    """Where to move an occurrence that is no longer on its schedule because the rules of its timezone have changed.

    None to execute it where it is: it is on the schedule, the next occurrence is due as well, the schedule was stored
    later, or it has been moved before, since workers with different rules must not move it back and forth forever.
    """
    schedule = spec.schedule
    if not isinstance(schedule, Cron) or schedule.timezone is None or _includes(spec.schedule, record.due_at):
        return None
    if spec.since is not None and spec.since > record.due_at:
        return None
    following = spec.following(record.due_at)
    if following is None or following <= now or State(record.state).count("moved") == record.due_at:
        return None
    return following


@lru_cache(maxsize=4096)
def _includes(schedule: Cron, moment: int) -> bool:
    """Cached, as many instances may be due at the same moment."""
    return schedule.includes(moment)
