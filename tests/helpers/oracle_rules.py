"""The parameters of the oracle: a task's policies, and times in microseconds."""

from __future__ import annotations

from dataclasses import dataclass

SECOND = 1_000_000
STEP = 10 * SECOND
LEASE = 20 * SECOND
LAST = 200 * STEP
DELAY = 7 * SECOND
"""The delay between attempts."""
BACKLOG = 10 * SECOND
"""By this much, missed occurrences rank behind those on time."""


@dataclass(frozen=True)
class Rules:
    """The policies of a task. Times are seconds."""

    catch_up: str = "all"
    lateness: int | None = None
    overlap: str = "queue"
    attempts: int | None = None  # with retry; None without
    max_lost: int = 2
    failure: str = "none"  # without retry: none, unlock, commit
    hold: bool = False
    pause_after: int | None = None
    end_at: int | None = None
    max_runs: int | None = None
    once: bool = False  # at most once

    @property
    def skips_over(self) -> bool:
        return self.chooses or self.catch_up != "all" or self.overlap != "queue"

    @property
    def chooses(self) -> bool:
        return self.catch_up == "latest" or self.lateness is not None


@dataclass
class Lease:
    """A claim that has not ended."""

    worker: int
    due: int
    began: int
    until: int
    skips: dict[int, str]
