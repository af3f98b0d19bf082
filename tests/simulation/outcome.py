"""One simulation, from its seed to the problems found."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import check
from .plan import Plan, make_plan
from .simulation import simulate


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a plan.

    :ivar found: the problems found.
    :ivar digest: equal if everything happened in the same way.
    :ivar occurrences: the number of executions.
    :ivar faults: the number of faults at processes and connections.
    """

    plan: Plan
    found: tuple[str, ...]
    digest: str
    occurrences: int
    faults: int
    operations: int


def outcome_of(plan: Plan, *, digest: bool = False) -> Outcome:
    """Run a plan, and check what happened. An error that ends the simulation is a problem, too."""
    try:
        history = simulate(plan)
    except Exception as e:  # noqa: BLE001 - whatever it is, it belongs to this seed
        return Outcome(plan, (f"the simulation ended by {e!r}",), "", 0, 0, 0)
    return Outcome(
        plan,
        tuple(check(plan, history)),
        history.digest() if digest else "",
        len(history.executions),
        len(history.faults),
        len(history.operations),
    )


def outcome(seed: int, *, digest: bool = False) -> Outcome:
    """The outcome of the plan that a seed generates."""
    return outcome_of(make_plan(seed), digest=digest)
