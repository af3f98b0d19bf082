"""What the decisions are made of: how attempts end, what is skipped, what is stored of it.

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
    """Its worker died, or lost its lease: noticed by the next claim."""
    CANCELLED = "cancelled"
    """Cancelled at the drain deadline."""
    RELEASED = "released"
    """Never started."""
    PASSED = "passed"
    """Never started, nor will it be: the instance continues with another occurrence."""


@dataclass(frozen=True, slots=True)
class Skipped(SkippedRange):
    """Occurrences that are not executed, and why."""

    reason: str = ""


@dataclass(slots=True)
class Attempt:
    """An attempt that has ended.

    :ivar due_at: the occurrence.
    :ivar ended_at: when it ended; the change may be stored long after.
    :ivar started_at: when it began; None if it never did.
    :ivar error: what the task raised.
    :ivar worker: the process that executed it.
    :ivar skips: occurrences that were skipped before it.
    :ivar go_to: of one that is passed over, the occurrence to continue with; None if there is none.
    :ivar moved: whether the occurrence is moved there, as the rules of its timezone have changed.
    :ivar pauses: since when, and until when, the task's template was paused.
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
    """What becomes of a record.

    :ivar change: None if there is nothing to store.
    :ivar outcome: of the run, None if it continues.
    :ivar reason: why, where the outcome does not say it.
    :ivar skips: occurrences that are skipped with this change.
    :ivar again_at: when there will be a further attempt.
    :ivar unknown: earlier runs whose end will never be known.
    """

    change: Change | None
    outcome: RunOutcome | None = None
    reason: str = ""
    skips: Sequence[Skipped] = ()
    again_at: int | None = None
    unknown: Sequence[Run] = ()
