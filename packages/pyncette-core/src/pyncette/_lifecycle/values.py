"""The values that decisions take and return: how attempts end, what is skipped, what to store.

Times are microseconds since the epoch.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from pyncette._enums import plain_members
from pyncette._tasks.state import Run
from pyncette.events import RunOutcome
from pyncette.record import Change
from pyncette.schedule import SkippedRange


@plain_members
class AttemptEnd(enum.Enum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    """Cancelled by ``timeout``; the error is a ``TimeoutError``."""
    SUPERSEDED = "superseded"
    """Cancelled, or not repeated, because the next occurrence has come due."""
    LOST = "lost"
    """Its worker died, or lost its lease. The next claim detects it."""
    CANCELLED = "cancelled"
    """Cancelled at the drain deadline."""
    RELEASED = "released"
    """Not started; the occurrence stays."""
    PASSED = "passed"
    """Not started, and will not be: the instance continues with another occurrence."""


@dataclass(frozen=True, slots=True)
class Skipped(SkippedRange):
    """Occurrences that are not executed, and why."""

    reason: str = ""


@dataclass(slots=True)
class Attempt:
    """An attempt that has ended.

    :ivar due_at: the occurrence.
    :ivar ended_at: when it ended; the change may be stored much later.
    :ivar started_at: when it began; None if it never did.
    :ivar error: the exception that the task raised.
    :ivar worker: the process that executed it.
    :ivar skips: occurrences that were skipped before it.
    :ivar go_to: for ``PASSED``: the occurrence to continue with; None if there is none.
    :ivar moved: whether the occurrence is moved there because the rules of its timezone have changed.
    :ivar pauses: the pauses of the task's template, as pairs of begin and end.
    """

    end: AttemptEnd
    due_at: int
    ended_at: int
    started_at: int | None = None
    error: BaseException | None = None
    worker: str = ""
    skips: Sequence[Skipped] = ()
    go_to: int | None = None
    moved: bool = False
    pauses: Sequence[tuple[int, int]] = ()


@dataclass(slots=True)
class Ended:
    """The decision after an attempt has ended.

    :ivar change: None if there is nothing to store.
    :ivar outcome: the run's outcome; None if the run continues.
    :ivar reason: why, if the outcome alone doesn't say it.
    :ivar skips: occurrences that the change skips.
    :ivar again_at: when the next attempt is due, if there is one.
    :ivar unknown: earlier runs whose outcome is now unknown.
    """

    change: Change | None
    outcome: RunOutcome | None = None
    reason: str = ""
    skips: Sequence[Skipped] = ()
    again_at: int | None = None
    unknown: Sequence[Run] = ()
