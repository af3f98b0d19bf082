"""Policies: concurrency, the number and duration of attempts, and what happens after failures."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from pyncette import CatchUp, OnExhausted, Overlap, Retry
from pyncette.record import Band
from tests.simulation.history import Execution, History, Stored
from tests.simulation.plan import Plan, TaskPlan

from .runs import by_run, is_excused, is_once
from .story import NEVER, SECOND, InstanceHistory, Life, instance_histories, seconds, task_of

SLACK = 2 * SECOND
"""The delay that a worker may have: its latency, and a write before the execution."""


def policies(plan: Plan, history: History) -> Iterator[str]:
    """Each policy of a task is followed, as far as a healthy process can."""
    for each in instance_histories(history):
        task = task_of(plan, each.life.first.queue)
        if task is None:
            continue
        yield from _side_by_side(history, task, each)
        yield from _bounds(each)
        yield from _failures(plan, task, each)
        yield from _retried(each)
        yield from _lateness(history, task, each)
        for execution in each.executions:
            yield from _timeout(history, task, execution)
    yield from _limits(plan, history)


def _microseconds(delta: Any) -> int:
    return int(delta.total_seconds() * SECOND)


def _side_by_side(history: History, task: TaskPlan, each: InstanceHistory) -> Iterator[str]:
    """Even at least once, an instance has only one execution at a time."""
    if is_once(task):
        return
    ordered = sorted(each.executions, key=lambda execution: execution.at)
    for before, after in itertools.pairwise(ordered):
        overlaps = before.until is None or before.until > after.at
        if overlaps and before.due != after.due and not is_excused(history, task, before, each.life, after.at):
            other = f"alongside the one due at {seconds(before.due)}"
            yield f"{after.key}, due at {seconds(after.due)}, started at {seconds(after.at)}, {other}"


def _bounds(each: InstanceHistory) -> Iterator[str]:
    specs = {change.new.spec for change in each.life.changes if change.new is not None}
    if len(specs) != 1:
        return
    spec = json.loads(next(iter(specs)))
    dues = {execution.due for execution in each.executions if execution.trigger == "schedule"}
    if "runs" in spec and len(dues) > spec["runs"]:
        yield f"{each.life.key} was executed {len(dues)} times, but may run {spec['runs']} times"
    for due in dues:
        if due > spec.get("to", due) or due < spec.get("from", due):
            yield f"{each.life.key} was executed for {seconds(due)}, outside its bounds"


def _failures(plan: Plan, task: TaskPlan, each: InstanceHistory) -> Iterator[str]:
    retry = task.policies.get("retry")
    # How far a process's reading of the storage's clock may be behind.
    behind = plan.settings.latency if plan.settings.tells_time else 0
    if isinstance(retry, Retry):
        for executions in by_run(each).values():
            yield from _retries(retry, executions, each.life, int((0.01 + behind) * SECOND))
    row = 0
    for change in each.life.changes:
        if change.new is not None and change.by.startswith("operator") and '"row"' not in change.new.state:
            row = 0  # it was resumed
        if change.line is None or change.new is None or "id" in json.loads(change.line.text):
            continue
        row = 0 if change.line.outcome == "succeeded" else row + (change.line.outcome == "failed")
        if change.line.outcome != "failed" or is_once(task):
            continue
        band = Band.of(change.new.ready_at)
        if band is None and task.policies.get("on_exhausted") is OnExhausted.HOLD and '"extra"' not in change.new.state:
            yield f"{change.new.key} is not dead after its failure at {seconds(change.at)}"
        limit = task.policies.get("pause_after")
        if limit is not None and row >= limit and band is None and '"why"' not in change.new.state:
            yield f"{change.new.key} is not paused after {row} failures in a row, at {seconds(change.at)}"


def _retried(each: InstanceHistory) -> Iterator[str]:
    """A dead instance that is retried is executed, unless its schedule changes."""
    changes = each.life.changes
    if each.life.last is not None and each.life.until < NEVER:  # it was replaced
        return
    for number, change in enumerate(changes):
        old, new = change.old, change.new
        if old is None or new is None or old.due_at != new.due_at or '"extra"' in new.state:
            continue
        if Band.of(old.ready_at) is not Band.DEAD or Band.of(new.ready_at) is Band.DEAD:
            continue
        moved = any(later.by.startswith("operator") and _moves(later, new.due_at) for later in changes[number:])
        executed = any(execution.due == new.due_at and execution.at >= change.at for execution in each.executions)
        if not (moved or executed):
            yield f"{new.key}, due at {seconds(new.due_at)}, was not executed after the retry at {seconds(change.at)}"


def _moves(change: Stored, due_at: int) -> bool:
    return change.new is None or change.new.due_at != due_at


def _was_taken(attempt: Execution, life: Life) -> bool:
    """Whether another process claimed the record before the attempt had ended."""
    until = attempt.until or 0
    return any(
        change.new is not None and change.new.fence > attempt.token and change.at <= until for change in life.changes
    )


def _was_steered(life: Life, since: int, until: int) -> bool:
    """Whether it was paused or got another schedule. A pending retry is executed when the instance is resumed, and
    waits no longer than until the next occurrence that would supersede it."""
    return any(
        change.old is not None
        and change.new is not None
        and (Band.of(change.new.ready_at) is Band.PAUSED or change.old.spec != change.new.spec)
        for change in life.changes
        if since <= change.at <= until
    )


def _retries(retry: Retry, executions: list[Execution], life: Life, slack: int) -> Iterator[str]:
    for before, after in itertools.pairwise(executions):
        if before.outcome != "TheTaskFails" or before.until is None or after.attempt != before.attempt + 1:
            continue
        if _was_taken(before, life):  # the delay is that after a lost attempt
            continue
        if _was_steered(life, before.until, after.at):
            continue
        shortest = _microseconds(retry.delay) * (1 - retry.jitter)
        if after.at - before.until < shortest - slack:
            yield f"{after.key}, due at {seconds(after.due)}, was retried too early, at {seconds(after.at)}"
    failed = [execution for execution in executions if execution.outcome == "TheTaskFails"]
    revived = sum(1 for change in life.changes if change.old is not None and Band.of(change.old.ready_at) is Band.DEAD)
    lost = len({execution.by for execution in failed}) - 1
    if len(failed) > retry.max_attempts * (1 + revived) + lost:
        yield f"{failed[0].key}, due at {seconds(failed[0].due)}, has failed {len(failed)} times"


def _lateness(history: History, task: TaskPlan, each: InstanceHistory) -> Iterator[str]:
    latest = task.policies.get("max_lateness")
    jitter = _microseconds(task.policies["jitter"]) if "jitter" in task.policies else 0
    newest = task.policies.get("catch_up") is CatchUp.LATEST and task.policies.get("overlap") is not Overlap.CANCEL
    specs = {change.new.spec for change in each.life.changes if change.new is not None}
    every = json.loads(next(iter(specs))).get("every") if len(specs) == 1 else None
    revived = {
        change.new.due_at
        for change in each.life.changes
        if change.old is not None and change.new is not None and Band.of(change.old.ready_at) is Band.DEAD
    }
    for execution in each.executions:
        if execution.trigger != "schedule" or execution.attempt > 1 or execution.due in revived:
            continue  # a dead run that is retried gets fresh attempts, and lateness does not apply any more
        late = execution.at - execution.due - jitter - SLACK
        if history.faulted(execution.by, execution.at - 60 * SECOND, execution.at):
            continue
        what = f"{execution.key}, due at {seconds(execution.due)}, started at {seconds(execution.at)}"
        if latest is not None and late > _microseconds(latest):
            yield f"{what}, late by more than {latest}"
        if newest and every is not None and late > every and not _window(each.life):
            yield f"{what}, though there was a later one"


def _window(life: Life) -> bool:
    """Whether occurrences were skipped ahead of time, or there could be no later one."""
    return any(
        change.new is not None
        and ('"window"' in change.new.state or '"now"' in change.new.state or "to" in json.loads(change.new.spec))
        for change in life.changes
    )


def _timeout(history: History, task: TaskPlan, execution: Execution) -> Iterator[str]:
    timeout = task.policies.get("timeout")
    if timeout is None or execution.until is None:
        return
    too_long = execution.until - execution.at > _microseconds(timeout) + SLACK
    if too_long and not history.faulted(execution.by, execution.at, execution.until):
        yield f"{execution.key} was executed from {seconds(execution.at)} to {seconds(execution.until)}"


def _limits(plan: Plan, history: History) -> Iterator[str]:
    """Concurrency limits: how many executions a process has at a time."""
    limits = {task.name: task.policies.get("concurrency") for task in plan.tasks}
    by_process: dict[str, list[Execution]] = {}
    for execution in history.executions:
        by_process.setdefault(execution.by, []).append(execution)
    for process, executions in by_process.items():
        open_: list[Execution] = []
        for execution in executions:
            open_ = [each for each in open_ if each.until is None or each.until > execution.at]
            open_.append(execution)
            mine = sum(1 for each in open_ if each.task == execution.task)
            limit = limits[execution.task]
            if len(open_) > plan.settings.concurrency_limit or (limit is not None and mine > limit):
                number = f"{len(open_)} at a time, {mine} of {execution.task}"
                yield f"{process} executed {number}, at {seconds(execution.at)}"
