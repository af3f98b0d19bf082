"""A failing plan is reduced, and still fails in the same way."""

from __future__ import annotations

import pytest

from . import shrink
from .__main__ import run
from .outcome import Outcome
from .plan import Plan, make_plan


def kills(plan: Plan) -> bool:
    return any(step.what == "kill" for step in plan.steps)


def test_what_does_not_matter_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this test, a simulation fails if a process is killed, and for another reason if the plan has no steps."""

    def outcome_of(plan: Plan) -> Outcome:
        found = ("leases: lost",) if kills(plan) else () if plan.steps else ("totals: none",)
        return Outcome(plan, found, "", 0, 0, 0)

    monkeypatch.setattr(shrink, "outcome_of", outcome_of)
    plan = next(plan for plan in map(make_plan, range(1000)) if kills(plan) and len(plan.steps) > 5)
    small = shrink.shrunk(plan)
    assert [step.what for step in small.steps] == ["kill"]
    assert (small.tasks, small.settings.workers) == ((), 1)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(range(3, 5), seconds=60, jobs=1, shrinks=True) == 0
    assert capsys.readouterr().out.startswith("2 runs (seeds 3..5) with ")
