"""Nothing is lost: each occurrence was executed, or skipped and counted, and the counters are right."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.simulation.history import History
from tests.simulation.plan import Plan, TaskPlan

from .runs import OVER, is_once
from .story import InstanceHistory, Life, fields, instance_histories, seconds, task_of

SKIPS = ("paused", "overlap", "late", "coalesced", "dead")


def _spec(life: Life) -> dict[str, Any] | None:
    """The schedule of an instance, if it never changed."""
    specs = [json.loads(change.new.spec) for change in life.changes if change.new is not None]
    schedules = {
        json.dumps({name: value for name, value in spec.items() if name not in ("args", "v")}) for spec in specs
    }
    return specs[0] if len(schedules) == 1 else None


def occurrences(plan: Plan, history: History) -> Iterator[str]:
    """Each occurrence of an instance was executed or skipped."""
    for each in instance_histories(history):
        task = task_of(plan, each.life.first.queue)
        spec = _spec(each.life)
        if task is None or spec is None:
            continue
        if "at" in spec:
            yield from _single(task, history, each)
        elif spec.keys() <= {"v", "every", "args"}:
            yield from _recurring(task, history, each, spec["every"])


def _single(task: TaskPlan, history: History, each: InstanceHistory) -> Iterator[str]:
    """Checks a one-off instance whose moment never changed."""
    last = each.life.changes[-1]
    if each.executions or last.by.startswith("operator") or any(change.line for change in each.life.changes):
        return
    if is_once(task) and history.faults:
        return
    yield f"{each.life.key}, due at {seconds(each.life.first.due_at)}, was never executed"


def _recurring(task: TaskPlan, history: History, each: InstanceHistory, every: int) -> Iterator[str]:
    life = each.life
    first = life.first.due_at
    record = life.last or life.changes[-1].old
    assert record is not None
    if (record.due_at - first) % every:
        yield f"{life.key} is due at {seconds(record.due_at)}, which is not on the grid of {seconds(first)}"
        return
    passed = set(range(first, record.due_at, every))
    executed = {execution.due for execution in each.executions if execution.trigger == "schedule"}
    off = [due for due in executed if due < first or (due - first) % every]
    if off:
        yield f"{life.key} was executed for {[seconds(due) for due in off]}, which are not occurrences"
    logged = set()
    for change in life.changes:
        if change.line is not None and change.line.outcome != "skipped":
            text = json.loads(change.line.text)
            if "id" not in text:
                logged.add(text["due"])
    past = fields(record).get("past", {})
    skipped = sum(past.get(reason, 0) for reason in SKIPS)
    excuse = _excused(task, history, life)
    missing = len(passed - executed - logged) - skipped
    if missing > excuse:
        yield f"{life.key} had {len(passed)} occurrences until {seconds(record.due_at)}, but {missing} are lost: {past}"
    ahead = _ahead(fields(record), record.due_at, every)
    twice = len(executed | logged)  # those whose attempt was lost and which were skipped later
    if missing < -ahead and -missing - ahead > _lost(task, each, twice):
        yield f"{life.key} had {len(passed)} occurrences until {seconds(record.due_at)}, {-missing} too many: {past}"


def _excused(task: TaskPlan, history: History, life: Life) -> int:
    """The number of at-most-once occurrences that may have ended without an execution, including one when the
    simulation ended."""
    if not is_once(task):
        return 0
    return len(history.faults) + (life.changes[-1].at > history.ended_at - 10_000_000)


def _ahead(state: dict[str, Any], due_at: int, every: int) -> int:
    """The number of occurrences that were skipped ahead of time."""
    window = state.get("window")
    if not window:
        return 0
    return int(max(0, (window[1] - max(window[0], due_at - every)) // every))


def _lost(task: TaskPlan, each: InstanceHistory, most: int) -> int:
    """Attempts without an end, or whose end came too late. Their occurrences may have been skipped after all, and so
    may those that were paused in the meantime."""
    stored = {change.old.fence for change in each.life.changes if change.line is not None and change.old is not None}
    without = 0
    for execution in each.executions:
        is_over = execution.outcome in OVER and (is_once(task) or execution.token in stored)
        without += not is_over
    return min(most, without)


def totals(plan: Plan, history: History) -> Iterator[str]:
    """The counters of an instance agree with the log of its runs, and the log with the executions."""
    for each in instance_histories(history):
        life, record = each.life, each.life.last
        task = task_of(plan, life.first.queue)
        if task is None:
            continue
        logged: Counter[str] = Counter()
        runs: Counter[Any] = Counter()
        # Including those of replaced instances with this key.
        mine = history.executions if is_once(task) else each.executions
        succeeded = {(e.due, e.run_id, e.by) for e in mine if e.outcome == "succeeded" and e.key == life.key}
        for change in life.changes:
            if change.line is None:
                continue
            text = json.loads(change.line.text)
            logged[change.line.outcome] += 1
            if change.line.outcome == "succeeded":
                runs[text["due"], text.get("id")] += 1
                if (text["due"], text.get("id"), change.by) not in succeeded:
                    yield f"{change.by} logged that {life.key}, due at {seconds(text['due'])}, succeeded; it did not"
        for (due, run_id), count in runs.items():
            if count > 1:
                yield f"{life.key}, due at {seconds(due)}, run {run_id}, has succeeded {count} times"
        if record is not None:
            yield from _counted(record.key, fields(record), logged)


def _counted(key: str, state: dict[str, Any], logged: Counter[str]) -> Iterator[str]:
    for name, counted in (("succeeded", state.get("ok", 0)), ("failed", state.get("past", {}).get("failed", 0))):
        if counted != logged[name]:
            yield f"{key} counts {counted} runs that have {name}, but its log has {logged[name]}"
