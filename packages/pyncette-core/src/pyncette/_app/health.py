"""Detects what keeps an app from working. Pure; times are microseconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pyncette._leases.held import HeldLease
from pyncette._lifecycle.begin import holds_lease, renews_lease

CLOCK_PART = 2
"""The storage's clock has to be known to within this fraction (1/CLOCK_PART) of the shortest lease."""


def problems(
    *,
    now: int,
    last_tick: int | None,
    poll_interval: int,
    overdue: bool,
    clock_error: int,
    shortest_lease: int | None,
    active: Iterable[HeldLease],
) -> Iterator[str]:
    """A description of each problem; empty if all is well."""
    if last_tick is None:
        yield "the poll loop has not succeeded yet"
    elif now - last_tick >= 2 * poll_interval:
        yield f"the poll loop has not succeeded for {(now - last_tick) / 1e6:.1f} s"
    if overdue:
        yield "writes to the storage are overdue"
    if shortest_lease is not None and clock_error > shortest_lease // CLOCK_PART:
        yield f"the storage's clock is known to {clock_error / 1e6:.1f} s only, too little for the leases"
    for held in active:
        beyond = beyond_lease(held, now)
        if beyond >= held.task.policies.lease_microseconds:
            yield f"{str(held.task)!r} is still executed, and its lease ended {beyond / 1e6:.1f} s ago"


def beyond_lease(held: HeldLease, now: int) -> int:
    """How long an execution has been running since its lease expired; 0 if it has not expired or is not renewed."""
    policies = held.task.policies
    if held.started_at is None or not holds_lease(policies):
        return 0
    if not renews_lease(policies):  # its record may show a later end, from being put back
        return max(0, now - held.started_at - policies.lease_microseconds)
    until = held.record.locked_until
    return 0 if until is None else max(0, now - until)
