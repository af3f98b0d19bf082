"""Which of several occurrences that were missed is executed. Pure; part of :mod:`pyncette._lifecycle.begin`.

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

from .moments import Moments, Window
from .onward import stored_window
from .values import Skipped

Pauses = Sequence[tuple[int, int]]
"""Since when, and until when, the template was paused."""


@dataclass(slots=True)
class Chosen:
    """What is to be done with what was missed.

    :ivar due_at: the occurrence to continue with; None if there is none.
    :ivar ready: whether it has come due.
    :ivar skips: what is skipped before it.
    """

    due_at: int | None
    ready: bool
    skips: list[Skipped]


def choose(record: Record, spec: Spec, policies: Policies, now: int, *, begun: bool) -> Chosen:
    """Skip what is too late, then what ``catch_up`` leaves out. Only for runs without the end of an attempt stored.

    :param begun: whether an attempt has begun, so that the run is not too late.
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
    # What was claimed is ready, whatever this process's clock says.
    return Chosen(target, ready=target == record.due_at or moments.ready(target) <= now, skips=skips)


def superseded(
    record: Record, spec: Spec, policies: Policies, attempts: Attempts, opened: int, now: int, pauses: Pauses
) -> bool:
    """Whether the next occurrence has come due since a run was opened that is still without an outcome."""
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

    Those that had come due when the run was opened don't count: they had been missed. Nor do those in ``window``, which
    were skipped ahead of time, and those that came due while the template was paused: they are not executed, so that
    they are no reason to cancel anything.
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
    """Where an occurrence belongs that is no longer on its schedule, as the rules of its timezone have changed.

    None to execute it: it is on the schedule, its next moment has come, the schedule was stored after it, or it was
    moved before. Workers with different rules must not push it around forever.
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
    """Shared by all instances that are due at that moment."""
    return schedule.includes(moment)
