"""On to the next occurrence. Pure; part of :mod:`pyncette._lifecycle.end`.

Times are microseconds since the epoch.
"""

from __future__ import annotations

from pyncette import lease
from pyncette._tasks.policies import Policies
from pyncette._tasks.spec import Spec
from pyncette.record import Change, Record


def next_occurrence(spec: Spec, policies: Policies, due_at: int, now: int) -> int | None:
    """The occurrence after the one at ``due_at``, None if that was the last."""
    return spec.following(due_at, now, fast_forward=policies.fast_forward)


def why_paused(failed_in_a_row: int) -> str:
    """Why ``pause_after`` has paused an instance."""
    return f"{failed_in_a_row} failed runs in a row"


def go_on(record: Record, following: int | None, now: int, revision: str, state: str) -> Change:
    """The change that goes on with ``following``. One that was missed queues behind what is ready already."""
    ready_at = None if following is None else max(following, now)
    return lease.complete(record, next_due=following, ready_at=ready_at, revision=revision, state=state)
