"""When a lease is renewed, and what counts as running for unusually long. Pure; times are microseconds.

An execution that ends within half of its lease costs nothing of this.
"""

from __future__ import annotations

from collections.abc import Iterable

LOOKS = 4
"""How often executions are looked at within the shortest lease: what begins right after a look is seen in time."""

UNUSUAL = 10
"""The number of leases after which a running execution is warned about, though its lease is renewed."""

_SECOND = 1_000_000
_SHORTEST_LOOK = 1_000


def is_due(until: int, lease: int, now: int) -> bool:
    """Whether a lease of the duration ``lease`` that ends at ``until`` is to be renewed.

    One that ends later than a whole lease from now was taken before the clock went back: it is renewed too, so that no
    more than a lease passes between renewals, whatever the clock says.
    """
    left = until - now
    return left <= lease // 2 or left > lease


def next_look(leases: Iterable[tuple[int, int]], interval: int, now: int) -> int:
    """When to look again: as soon as one of ``leases``, ends and durations, is to be renewed, and after ``interval`` at
    the latest."""
    first = min((until - lease // 2 for until, lease in leases), default=now + interval)
    return max(now + _SHORTEST_LOOK, min(first, now + interval))


def look_interval(leases: Iterable[int]) -> int:
    """The time between two looks, given the leases of all tasks."""
    return max(_SHORTEST_LOOK, min(leases, default=60 * _SECOND) // LOOKS)


def is_unusual(running: int, lease: int, *, expired: bool) -> bool:
    """Whether an execution has been running for so long that a warning is due."""
    return expired or running >= UNUSUAL * lease


def put_back_delay(lease: int) -> int:
    """For how long an occurrence is put back that this process still executes. Others may take it afterwards."""
    return max(lease // 4, _SECOND)
