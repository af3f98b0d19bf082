"""What is done with an occurrence that was claimed. Pure; the only place that reads policies to decide it.

Times are microseconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyncette._tasks.policies import ExecutionMode, Policies


@dataclass(frozen=True, slots=True)
class Execute:
    """Execute it.

    :ivar advance: at most once: end the occurrence first, and execute only if that is known to be stored.
    """

    advance: bool


@dataclass(frozen=True, slots=True)
class PutBack:
    """Give it back as if it had not been claimed.

    :ivar at: when it may be claimed again; None for at once.
    :ivar reason: for the log.
    """

    at: int | None
    reason: str


Begin = Execute | PutBack


def begin(policies: Policies, *, claimed_at: int, now: int) -> Begin:
    """Decide what to do with an occurrence when there is room for it.

    :param claimed_at: when the answer to the claim arrived. How long the claim itself took does not count: a claim that
        takes longer than half of a lease would never get to execute anything.
    """
    if 2 * (now - claimed_at) > policies.lease_microseconds:
        return PutBack(None, "waited too long for a free slot")
    return Execute(advance=not holds_lease(policies))


def holds_lease(policies: Policies) -> bool:
    """Whether the lease is held while an occurrence is executed, so that it is repeated if the worker dies. At most
    once, the occurrence has ended by then."""
    return policies.execution_mode is ExecutionMode.AT_LEAST_ONCE


def renews_lease(policies: Policies) -> bool:
    """Whether the worker renews the lease of what it executes."""
    return policies.heartbeat is not False and holds_lease(policies)
