"""How long the end of an app may wait for a storage that does not answer: one budget for all of its steps.

An orchestrator that has sent SIGTERM kills soon after: the whole end takes 2 s beyond ``drain_timeout``, or 10 s where
none is set and nothing runs. Backends take a second at most to close their connections.
"""

from __future__ import annotations

import datetime

import anyio

AFTER_DRAIN = 0.8
"""Seconds beyond ``drain_timeout`` that the storage gets to confirm what has been executed."""

WITHOUT_DRAIN = 5.0
"""Seconds that it gets after the last execution where there is no ``drain_timeout``."""

LEAST = 0.1
"""Seconds that each step gets, so that what can be done at once is done."""


class SettleBudget:
    """What is left for settlements.

    :param drain: ``drain_timeout``, None if it is not set.
    """

    def __init__(self, drain: datetime.timedelta | None) -> None:
        self._drain = None if drain is None else drain.total_seconds()
        self._stopped_at: float | None = None
        self._until: float | None = None

    def renew(self) -> None:
        """The loop runs (again)."""
        self._stopped_at = self._until = None

    def stopped(self) -> None:
        """The app was told to shut down."""
        self._stopped_at = anyio.current_time()

    def left(self) -> float:
        """Seconds that the next step may wait. The first call says that executions have ended."""
        now = anyio.current_time()
        if self._until is None:
            self._until = now + WITHOUT_DRAIN
            if self._drain is not None:
                since = now if self._stopped_at is None else self._stopped_at
                self._until = max(now, since + self._drain) + AFTER_DRAIN
        return max(LEAST, self._until - now)
