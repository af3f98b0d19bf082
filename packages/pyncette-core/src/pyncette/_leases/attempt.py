"""How long one attempt to store a batch may take.

A connection whose other end is gone is silent, and its driver waits for half a minute, while leases end whose renewals
and settlements wait behind it. So an attempt is cut off in time for another one, on another connection.
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
"""Seconds that an attempt has, however little is left of a lease. Doubles with each attempt that fails, so that a store
that is merely slow finishes in the end."""

LONGEST = 30.0
"""Seconds. Drivers have time limits of their own."""

PART = 4
"""An attempt gets one part in this many of what is left of a lease, so that several fit."""

OVERDUE = 1.0
"""Seconds after which an attempt under way counts as overdue."""


def time_limit(left: int | None, failures: int) -> float:
    """Seconds that an attempt may take.

    :param left: microseconds until the first of the leases ends that it is about; None if it is about none.
    :param failures: attempts that have failed since the last one that succeeded.
    """
    if left is None:
        return math.inf
    shortest: float = SHORTEST * 2 ** min(failures, 10)
    return min(LONGEST, max(shortest, left / PART / 1_000_000))


class Attempt:
    """One attempt: an async block that is cut off when its time is up.

    :param clock: by which leases end.
    :param failures: attempts that have failed since the last one that succeeded.
    :ivar ends: microseconds; when the first of the leases ends that wait for it.
    """

    def __init__(self, clock: Clock, failures: int) -> None:
        self.ends: float = math.inf
        self._clock = clock
        self._failures = failures
        self._began = anyio.current_time()
        self._scope = anyio.CancelScope()

    def hurry(self, ends: Iterable[int | None]) -> None:
        """Writes wait for it whose leases end at ``ends``."""
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
        """:raises RepositoryUnavailableException: it was cut off."""
        handled = self._scope.__exit__(kind, error, traceback)
        if self._scope.cancelled_caught:
            raise RepositoryUnavailableException(
                f"The storage did not answer within {self.age:.1f} s, and leases are about to expire: "
                "trying another connection."
            ) from None
        return handled
