"""When an execution may start, and by which claim."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.simulation.history import Execution, History, Operation, Stored
from tests.simulation.plan import Plan, TaskPlan

from .story import SECOND, Life, is_claim, lives, seconds, task_of


def beginnings(plan: Plan, history: History) -> Iterator[str]:
    """Each execution has its own claim by the same process, and none starts before it is due."""
    claims = {
        (change.new.key, change.new.fence): (life, change)
        for life in lives(history)
        for change in life.changes
        if change.new is not None and is_claim(change)
    }
    for (key, token), count in Counter((each.key, each.token) for each in history.executions).items():
        if count > 1:
            yield f"{key} was executed {count} times by the same claim, {token}"
    for execution in history.executions:
        task = next(task for task in plan.tasks if task.name == execution.task)
        what = f"{execution.by} started {execution.key}, due at {seconds(execution.due)}, at {seconds(execution.at)}"
        found = claims.get((execution.key, execution.token))
        if found is None or found[1].by != execution.by:
            yield f"{what}, without a claim"
            continue
        if execution.trigger == "schedule" and execution.at < execution.due + _offset(task, execution, found[0]):
            yield f"{what}, too early"
        if found[1].new is not None and '"why"' in found[1].new.state and execution.trigger == "schedule":
            yield f"{what}, though it was paused when it was claimed"


def _offset(task: TaskPlan, execution: Execution, life: Life) -> int:
    """The delay by ``jitter``, if the time to the next occurrence does not limit it."""
    jitter = task.policies.get("jitter")
    spec = json.loads(life.first.spec)
    if jitter is None or execution.trigger != "schedule" or any(name in spec for name in ("from", "to", "runs")):
        return 0
    step = spec.get("every")
    if step is None or len({change.new.spec for change in life.changes if change.new is not None}) > 1:
        return 0
    number = int.from_bytes(hashlib.sha1(execution.key.encode(), usedforsecurity=False).digest(), "big")
    return int(number * min(round(jitter.total_seconds() * SECOND), int(step)) // 2**160)


def pauses(plan: Plan, history: History) -> Iterator[str]:
    """Two poll intervals after a template was paused, none of its instances is claimed, except for manual runs."""
    paused: dict[str, int] = {}
    bound = round(2 * plan.settings.poll_interval * SECOND)
    for change in history.stored:
        record = change.new or change.old
        assert record is not None
        if record.key == ":control":
            control: Any = json.loads(change.new.spec) if change.new is not None else {}
            now = control.get("paused", {})
            paused = {name: paused.get(name, change.at) for name in now}
            continue
        if not (paused and is_claim(change)) or change.old is None or '"extra"' in change.old.state:
            continue
        task = task_of(plan, record.queue)
        since = None if task is None else paused.get(_control_name(task))
        if since is not None and change.sent_at > since + bound and not _delayed(history, change.by, since, change.at):
            yield f"{change.by} claimed {record.key} at {seconds(change.at)}, though it was paused at {seconds(since)}"


def _control_name(task: TaskPlan) -> str:
    return f":static:{task.name}" if task.kind == "static" else task.name


def _delayed(history: History, process: str, since: int, until: int) -> bool:
    """Whether the process was suspended in between, so that it may have read the control record before the pause."""
    return any(
        fault.process == process and fault.kind == "frozen" and fault.since <= until and fault.until >= since
        for fault in history.faults
    )


def pause_changes(plan: Plan, history: History) -> Iterator[str]:
    """A template that an operator has paused or resumed stays so until an operator changes it."""
    paused: set[str] = set()
    for change in history.stored:
        record = change.new or change.old
        if record is None or record.key != ":control":
            continue
        now = set(json.loads(change.new.spec).get("paused", {})) if change.new is not None else set()
        for name in paused - now:
            if not any(_resumes(plan, each, name, change) for each in history.operations):
                yield f"{change.by} resumed {name} at {seconds(change.at)} without being asked to"
        for name in now - paused:
            if not any(each.what == "pause" and each.by == change.by for each in history.operations):
                yield f"{change.by} paused {name} at {seconds(change.at)} without being asked to"
        paused = now


def _resumes(plan: Plan, operation: Operation, name: str, change: Stored) -> bool:
    """Whether an operation that was under way when a change was stored resumes the template."""
    task = next(task for task in plan.tasks if task.name == operation.task)
    mine = operation.what in ("resume", "purge") and operation.by == change.by and _control_name(task) == name
    return mine and operation.at <= change.at
