"""When an execution is cut short. Pure; times are microseconds since the epoch."""

from __future__ import annotations

from pyncette._tasks.extra import current_run
from pyncette._tasks.policies import Overlap, Policies
from pyncette._tasks.spec import Spec
from pyncette._tasks.state import State
from pyncette.record import Record

from .choice import Pauses, supersedes_at
from .continuation import stored_window
from .steering import is_paused


def cuts(policies: Policies) -> bool:
    """Whether executions may be cut short."""
    return policies.timeout is not None or may_be_superseded(policies)


def may_be_superseded(policies: Policies) -> bool:
    """Whether an execution is cut short when the next occurrence comes due."""
    return policies.overlap is Overlap.CANCEL


def needs_scope(policies: Policies) -> bool:
    """Whether an execution needs its own cancel scope: it may be cut short, or is cancelled with its lease."""
    return policies.timeout is not None or policies.overlap is Overlap.CANCEL or policies.heartbeat == "cancel"


def cancelled_with_lease(policies: Policies) -> bool:
    """Whether an execution is cancelled when its lease is lost."""
    return policies.heartbeat == "cancel"


def times_out_at(policies: Policies, started_at: int) -> int | None:
    """When an attempt that began at ``started_at`` times out; None for never."""
    timeout = policies.timeout_microseconds
    return None if timeout is None else started_at + timeout


def superseded_at(
    record: Record, spec: Spec, policies: Policies, due_at: int, started_at: int, pauses: Pauses = ()
) -> int | None:
    """When the run of the occurrence at ``due_at`` is cancelled because the next one comes due; None for never.

    :param started_at: when its latest attempt began.
    :param pauses: the pauses of the template.
    """
    if not may_be_superseded(policies) or current_run(record.state) is not None:
        return None
    state = State(record.state)
    if is_paused(state):  # the next occurrence will not be executed, so it supersedes nothing
        return None
    first = state.attempts(due_at, record.attempt).first
    opened = started_at if first is None else first
    window = stored_window(state, record.due_at)
    return supersedes_at(record.key, spec, policies, due_at, opened, window, pauses)
