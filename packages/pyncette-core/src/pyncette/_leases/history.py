"""The run log as one process writes and prunes it."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Awaitable, Callable
from dataclasses import replace

from pyncette._lifecycle.log import line
from pyncette._lifecycle.values import Attempt, Ended
from pyncette.clock import Clock
from pyncette.errors import RepositoryException
from pyncette.record import Change, Record

from .store import Store

PRUNE_INTERVAL = 60_000_000
"""Microseconds between two searches for expired lines."""

PRUNE_BATCH = 1000
"""Lines per deletion: few enough not to delay other operations."""


class History:
    """Writes lines of the run log.

    :ivar kept: how long lines are kept.
    :param errors_only: leave out runs that succeeded or were skipped.
    """

    def __init__(self, store: Store, clock: Clock, kept: datetime.timedelta, *, errors_only: bool) -> None:
        self._store = store
        self._clock = clock
        self.kept: datetime.timedelta = kept
        self._errors_only = errors_only

    def attached(self, change: Change | None, record: Record, attempt: Attempt, ended: Ended) -> Change | None:
        """The change with its log line, which the store appends if and only if it applies the change."""
        if change is None or (logged := line(record, attempt, ended, errors_only=self._errors_only)) is None:
            return change
        return replace(change, run=logged)

    async def prune(self, is_mine: Callable[[], Awaitable[bool]]) -> None:
        """Delete expired lines once a minute, in bounded batches, until cancelled.

        :param is_mine: whether pruning is this process's job.
        """
        while True:
            began = self._clock.now()
            with contextlib.suppress(RepositoryException):  # the store has logged it; retried in a minute
                if await is_mine():
                    await self._prune()
            await self._clock.wait_until(began + PRUNE_INTERVAL, background=True)

    async def _prune(self) -> None:
        """Delete batch by batch. Pause after each for as long as it took, to leave the storage half of its time."""
        kept = self.kept // datetime.timedelta(microseconds=1)
        began = self._clock.now()
        while (asked := self._clock.now()) - began < PRUNE_INTERVAL:
            if await self._store.prune_runs(before=asked - kept, limit=PRUNE_BATCH) < PRUNE_BATCH:
                break
            now = self._clock.now()
            await self._clock.wait_until(2 * now - asked, background=True)
