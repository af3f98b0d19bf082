"""What must be true of every history. The checks are independent of core: they use none of its modules but the record.

Each check takes a plan and the history of its simulation, and yields the problems that it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tests.simulation.history import History
from tests.simulation.plan import Plan

from .beginnings import beginnings, pause_changes, pauses
from .endings import endings, gone, operations
from .leases import leases
from .policies import policies
from .runs import abandoned, backfills, duplicates, runs_asked_for
from .totals import occurrences, totals

Check = Callable[[Plan, History], Iterable[str]]

CHECKS: tuple[Check, ...] = (
    leases,
    beginnings,
    pauses,
    duplicates,
    runs_asked_for,
    backfills,
    abandoned,
    pause_changes,
    gone,
    policies,
    occurrences,
    totals,
    endings,
    operations,
)


def check(plan: Plan, history: History) -> list[str]:
    """All problems found."""
    found = list(history.problems)
    for each in CHECKS:
        found += [f"{each.__name__}: {problem}" for problem in each(plan, history)]
    return found
