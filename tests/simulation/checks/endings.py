"""The state at the end: everything is done, and what is listed and counted agrees with what is stored."""

from __future__ import annotations

from collections.abc import Iterator

from tests.simulation.history import History, Operation
from tests.simulation.plan import Plan

from .story import Life, lives, task_of


def endings(plan: Plan, history: History) -> Iterator[str]:
    """No execution runs forever, and no operation stays open, unless its process is dead."""
    for execution in history.executions:
        lasts = execution.until is None and execution.at < history.ended_at - 60_000_000
        if lasts and not history.faulted(execution.by, 0, history.ended_at):
            yield f"{execution.by} is still executing {execution.key}"
    for operation in history.operations:
        if operation.outcome == "open" and operation.at < history.ended_at - 60_000_000:
            yield f"{operation.by} has not finished its {operation.what}, called at {operation.at}"


def operations(plan: Plan, history: History) -> Iterator[str]:
    """An instance that exists throughout a call is listed once and counted; one that doesn't exist is not."""
    everything = list(lives(history))
    for operation in history.operations:
        if operation.outcome == "done" and operation.what in ("list", "count") and operation.result is not None:
            yield from _seen(plan, everything, operation)


def gone(plan: Plan, history: History) -> Iterator[str]:
    """An instance that was unscheduled is gone, at least for a moment."""
    everything = list(lives(history))
    for operation in history.operations:
        if operation.outcome != "done" or operation.what != "unschedule":
            continue
        until = operation.until or operation.at
        for life in everything:
            task = task_of(plan, life.first.queue)
            named = (
                task is not None
                and task.kind != "static"
                and (task.name, _name(life)) == (operation.task, operation.name)
            )
            if named and life.since < operation.at and life.until > until:
                yield f"{life.key} still exists, though it was unscheduled at {operation.at}"


def _seen(plan: Plan, everything: list[Life], operation: Operation) -> Iterator[str]:
    mine = [life for life in everything if (task := task_of(plan, life.first.queue)) and task.name == operation.task]
    until = operation.until or operation.at
    throughout = {_name(life) for life in mine if life.since < operation.at and life.until > until}
    ever = {_name(life) for life in mine if life.since <= until and life.until >= operation.at}
    if operation.what == "count":
        if not len(throughout) <= operation.result <= len(ever):
            yield f"{operation.task} has {len(throughout)} to {len(ever)} instances, but counted {operation.result}"
        return
    names = operation.result
    kind = next(task.kind for task in plan.tasks if task.name == operation.task)
    if kind == "static":
        return
    if not throughout <= set(names) <= ever or len(names) > len(set(names)):
        yield f"{operation.task} has {sorted(throughout)}, but {names} were listed"


def _name(life: Life) -> str:
    return life.key.rpartition(":")[2]
