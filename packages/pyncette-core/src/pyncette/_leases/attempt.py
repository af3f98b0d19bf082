"""How long one attempt to store a batch may take.

If the other end of a connection is gone, the driver may wait half a minute for a reply, while leases expire whose
renewals and settlements are queued behind it. So an attempt is cancelled in time for another one, on another
connection.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import anyio

from pyncette.clock import Clock
from pyncette.errors import RepositoryUnavailableException

SHORTEST = 0.4
"""Seconds that an attempt gets, however little is left of a lease. Doubles with each failed attempt, so that a storage
that is merely slow succeeds in the end."""

LONGEST = 30.0
"""Seconds. Beyond that, the drivers' own timeouts apply."""

PART = 4
"""An attempt gets this fraction (1/PART) of what is left of a lease, so that several fit."""

OVERDUE = 1.0
"""Seconds after which an attempt in progress counts as overdue."""


def time_limit(left: int | None, failures: int) -> float:
    """Seconds that an attempt may take.

    :param left: microseconds until the first of the leases that it concerns ends; None if it concerns none.
    :param failures: attempts that have failed since the last one that succeeded.
    """
    if left is None:
        return math.inf
    shortest: float = SHORTEST * 2 ** min(failures, 10)
    return min(LONGEST, max(shortest, left / PART / 1_000_000))


class Attempt:
    """One attempt: a block that is cancelled when its time is up.

    :param clock: the clock that decides when leases end.
    :param failures: attempts that have failed since the last one that succeeded.
    :ivar ends: microseconds; when the first of the leases that depend on it ends.
    """

    def __init__(self, clock: Clock, failures: int) -> None:
        self.ends: float = math.inf
        self._clock = clock
        self._failures = failures
        self._began = anyio.current_time()
        self._scope = anyio.CancelScope()

    def hurry(self, ends: Iterable[int | None]) -> None:
        """Shorten the attempt: writes for leases that end at ``ends`` are waiting for it."""
        first = min([end for end in ends if end is not None], default=None)
        if first is not None and first < self.ends:
            self.ends = first
            limit = self._clock.call_limit(time_limit(first - self._clock.now(), self._failures))
            self._scope.deadline = min(self._scope.deadline, anyio.current_time() + limit)

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return anyio.current_time() - self._began

    def __enter__(self) -> Self:
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """:raises RepositoryUnavailableException: the attempt was cancelled."""
        handled = self._scope.__exit__(kind, error, traceback)
        if self._scope.cancelled_caught:
            raise RepositoryUnavailableException(
                f"The storage did not answer within {self.age:.1f} s, and leases are about to expire: "
                "trying another connection."
            ) from None
        return handled
