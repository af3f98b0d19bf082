"""When a lease is renewed, and when an execution counts as unusually long. Pure; times are microseconds.

The lease of an execution that ends within half of it is never renewed, so it costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

LOOKS = 4
"""How often executions are checked during the shortest lease, so that one that begins just after a check is renewed in
time."""

UNUSUAL = 10
"""After this many lease durations a running execution is logged as a warning, even though its lease is renewed."""

_SECOND = 1_000_000
_SHORTEST_LOOK = 1_000


def is_due(until: int, lease: int, now: int) -> bool:
    """Whether to renew a lease of duration ``lease`` that ends at ``until``.

    If it ends more than a whole lease from now, the clock was set back after it was taken. It is renewed too, so that
    renewals are never more than a lease apart, whatever the clock says.
    """
    left = until - now
    return left <= lease // 2 or left > lease


def next_look(leases: Iterable[tuple[int, int]], interval: int, now: int) -> int:
    """When to check again: as soon as one of ``leases`` has to be renewed, and after ``interval`` at the latest.

    :param leases: pairs of end and duration.
    """
    first = min((until - lease // 2 for until, lease in leases), default=now + interval)
    return max(now + _SHORTEST_LOOK, min(first, now + interval))


def look_interval(leases: Iterable[int]) -> int:
    """The time between two checks, given the lease durations of all tasks."""
    return max(_SHORTEST_LOOK, min(leases, default=60 * _SECOND) // LOOKS)


def is_unusual(running: int, lease: int, *, expired: bool) -> bool:
    """Whether an execution has been running long enough to log a warning."""
    return expired or running >= UNUSUAL * lease


def put_back_delay(lease: int) -> int:
    """How long an occurrence that this process is still executing is put back. Others may claim it afterwards."""
    return max(lease // 4, _SECOND)
