"""How long an app's shutdown may wait for a storage that doesn't answer: one budget for all of its steps.

An orchestrator kills the process soon after SIGTERM. So a shutdown takes at most 2 s beyond ``drain_timeout``, or 10 s
if none is set and nothing is running. Backends take at most a second to close their connections.
"""

from __future__ import annotations

import datetime

import anyio

AFTER_DRAIN = 0.8
"""Seconds beyond ``drain_timeout`` that the storage gets to confirm what has been executed."""

WITHOUT_DRAIN = 5.0
"""Seconds that it gets after the last execution if there is no ``drain_timeout``."""

LEAST = 0.1
"""The minimum number of seconds for each step, so that what can be done immediately is done."""


class SettleBudget:
    """The time left for settlements.

    :param drain: ``drain_timeout``; None if it is not set.
    """

    def __init__(self, drain: datetime.timedelta | None) -> None:
        self._drain = None if drain is None else drain.total_seconds()
        self._stopped_at: float | None = None
        self._until: float | None = None

    def renew(self) -> None:
        """Start over: the loop runs, or runs again."""
        self._stopped_at = self._until = None

    def stopped(self) -> None:
        """The app is shutting down."""
        self._stopped_at = anyio.current_time()

    def left(self) -> float:
        """Seconds that the next step may wait. The first call means that all executions have ended."""
        now = anyio.current_time()
        if self._until is None:
            self._until = now + WITHOUT_DRAIN
            if self._drain is not None:
                since = now if self._stopped_at is None else self._stopped_at
                self._until = max(now, since + self._drain) + AFTER_DRAIN
        return max(LEAST, self._until - now)
