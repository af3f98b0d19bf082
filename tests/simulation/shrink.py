"""Reduces a failing plan to fewer steps, tasks, workers and policies, as long as the same check fails."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from .outcome import outcome_of
from .plan import Plan

TIMEOUT = 60.0
"""Seconds."""


def shrunk(plan: Plan, *, timeout: float = TIMEOUT) -> Plan:
    """A smaller plan that fails the same check; the plan itself if none is found within ``timeout`` seconds."""
    wanted = _checks(plan)
    until = time.monotonic() + timeout

    def fails(candidate: Plan) -> bool:
        return bool(wanted & _checks(candidate))

    smaller = True
    while smaller and time.monotonic() < until:
        smaller = False
        for candidate in _candidates(plan):
            if time.monotonic() > until:
                break
            if fails(candidate):
                plan, smaller = candidate, True
                break
    return plan


def _checks(plan: Plan) -> set[str]:
    return {found.partition(":")[0] for found in outcome_of(plan).found}


def _candidates(plan: Plan) -> Iterator[Plan]:
    """Smaller plans, with the largest cuts first: without half of the steps, a quarter, down to one; then without other
    parts."""
    steps = plan.steps
    size = len(steps)
    while size > 1:
        size = (size + 1) // 2
        for at in range(0, len(steps), size):
            yield replace(plan, steps=steps[:at] + steps[at + size :])
        if size == 1:
            break
    for number, task in enumerate(plan.tasks):
        yield replace(plan, tasks=plan.tasks[:number] + plan.tasks[number + 1 :])
        yield from (_with_task(plan, number, names=task.names[:-1]) for _ in task.names[1:2])
        for name in task.policies:
            if name != "lease_duration":
                left = {key: value for key, value in task.policies.items() if key != name}
                yield _with_task(plan, number, policies=left)
    settings = plan.settings
    if settings.workers > 1:
        yield replace(plan, settings=replace(settings, workers=settings.workers - 1))
    for change in ({"latency": 0}, {"shuffled": False}, {"tells_time": False}, {"registers": False}):
        if any(getattr(settings, name) != value for name, value in change.items()):
            yield replace(plan, settings=replace(settings, **change))


def _with_task(plan: Plan, number: int, **changes: object) -> Plan:
    # The names are those of its fields.
    task = replace(plan.tasks[number], **changes)  # type: ignore[arg-type]
    return replace(plan, tasks=(*plan.tasks[:number], task, *plan.tasks[number + 1 :]))
