"""Runs: none is executed again once it has ended, and no manual run is lost."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from pyncette import ExecutionMode
from tests.simulation.history import Execution, History, Stored
from tests.simulation.plan import Plan, TaskPlan

from .story import SECOND, InstanceHistory, Life, fields, holder, instance_histories, is_claim, seconds, task_of

OVER = ("succeeded", "Skip")


def is_once(task: TaskPlan) -> bool:
    return task.policies.get("execution_mode") is ExecutionMode.AT_MOST_ONCE


def by_run(each: InstanceHistory) -> dict[Any, list[Execution]]:
    """The executions of each run, in order."""
    found: defaultdict[Any, list[Execution]] = defaultdict(list)
    for execution in each.executions:
        found[execution.trigger, execution.run_id, execution.due].append(execution)
    return found


def end_of_lease(life: Life, token: int) -> Stored | None:
    """The change that ended the lease with this token."""
    held = False
    for change in life.changes:
        record = change.new
        if record is not None and record.fence == token and record.locked_by is not None:
            held = True
        elif held:
            return change
    return None


def is_excused(history: History, task: TaskPlan, execution: Execution, life: Life, until: int) -> bool:
    """Whether the execution may have lost its lease, because its process was disturbed or doesn't renew leases."""
    claim = life.claim_of(execution.token)
    since = execution.at if claim is None else claim.sent_at
    if history.faulted(execution.by, since - 30 * SECOND, until):
        return True
    lease = task.policies["lease_duration"].total_seconds() * SECOND
    lasted = (execution.until or until) - since
    return task.policies.get("heartbeat") is False and lasted > lease - SECOND


def duplicates(plan: Plan, history: History) -> Iterator[str]:
    """A run is executed again only if it has failed, or if a fault cost its process the lease."""
    for each in instance_histories(history):
        task = task_of(plan, each.life.first.queue)
        if task is None:
            continue
        for executions in by_run(each).values():
            for before, after in itertools.pairwise(executions):
                yield from _pair(history, task, each.life, before, after)


def _pair(history: History, task: TaskPlan, life: Life, before: Execution, after: Execution) -> Iterator[str]:
    what = f"{after.by} started {after.key}, due at {seconds(after.due)}, at {seconds(after.at)}"
    earlier = f"again after {before.by} at {seconds(before.at)} ({before.outcome} at {seconds(before.until)})"
    if is_once(task):
        yield f"{what} {earlier}, in spite of at most once"
        return
    overlaps = before.until is None or before.until > after.at
    if overlaps and before.by == after.by:
        yield f"{what} {earlier}, while its own execution was still running"
        return
    over = before.outcome in OVER
    if not (overlaps or over):
        return
    ended = end_of_lease(life, before.token)
    cut = "timeout" in task.policies or "overlap" in task.policies
    stored = ended is not None and ended.old is not None and holder(ended.old) == ended.by == before.by
    if over and not overlaps and not cut and stored and ended is not None and ended.at >= (before.until or 0):
        yield f"{what} {earlier}, though its end was stored at {seconds(ended.at)}"
        return
    if not cut and not is_excused(history, task, before, life, after.at):
        yield f"{what} {earlier}, though no fault hit {before.by}"


def runs_asked_for(plan: Plan, history: History) -> Iterator[str]:
    """A confirmed trigger leads to exactly one run, unless its instance is gone."""
    everything = instance_histories(history)
    ids: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for each in everything:
        for execution in each.executions:
            if execution.trigger == "manual" and execution.run_id is not None:
                ids[each.life.key, execution.args["number"]].add(execution.run_id)
    for (key, number), found in ids.items():
        if len(found) > 1:
            yield f"{key} was triggered once, by {number}, but had the runs {sorted(found)}"
    for operation in history.operations:
        if operation.what != "trigger" or operation.outcome != "done":
            continue
        each_ = _alive(plan, everything, operation.task, operation.name, operation.at, operation.until or 0)
        if each_ is not None and each_.life.until > history.ended_at:
            yield from _asked_for(plan, history, each_, operation.result)


def _alive(
    plan: Plan, everything: list[InstanceHistory], task: str, name: str | None, since: int, until: int
) -> InstanceHistory | None:
    """The instance that existed throughout, if any."""
    for each in everything:
        mine = task_of(plan, each.life.first.queue)
        named = each.life.key.rpartition(":")[2]
        if mine is None or mine.name != task or (name is not None and named != name):
            continue
        if each.life.since < since and each.life.until > until:
            return each
    return None


def _asked_for(plan: Plan, history: History, each: InstanceHistory, run_id: str) -> Iterator[str]:
    task = task_of(plan, each.life.first.queue)
    assert task is not None
    mine = [execution for execution in each.executions if execution.run_id == run_id]
    outcomes = [
        change.line.outcome
        for change in each.life.changes
        if change.line is not None and json.loads(change.line.text).get("id") == run_id
    ]
    if outcomes or (is_once(task) and (mine or history.faults)):
        if outcomes.count("succeeded") > 1:
            yield f"The log of {each.life.key} has the run {run_id} {len(outcomes)} times"
        return
    yield f"{each.life.key} has lost the run {run_id}, executed {len(mine)} times"


def backfills(plan: Plan, history: History) -> Iterator[str]:
    """Each moment of a confirmed backfill is executed, unless the backfill is cancelled or its instance is gone."""
    everything = instance_histories(history)
    cancelled = {(each.task, each.name) for each in history.operations if each.what == "cancel_backfill"}
    for operation in history.operations:
        if operation.what != "backfill" or operation.outcome != "done" or (operation.task, operation.name) in cancelled:
            continue
        each = _alive(plan, everything, operation.task, operation.name, operation.at, operation.until or 0)
        if each is None or each.life.until <= history.ended_at:
            continue
        task = task_of(plan, each.life.first.queue)
        fill = f"fill {operation.arguments['number']}"
        logged = {
            text["due"]
            for change in each.life.changes
            if change.line is not None and (text := json.loads(change.line.text)).get("id") == fill
        }
        done = logged | {execution.due for execution in each.executions if execution.run_id == fill}
        excuse = len(history.faults) if task is not None and is_once(task) else 0
        if not operation.result - excuse <= len(done) <= operation.result:
            yield f"{each.life.key} has {operation.result} moments to backfill, but {len(done)} were executed"


def abandoned(plan: Plan, history: History) -> Iterator[str]:
    """No lease simply expires, unless a fault hit its process, or its attempt has failed."""
    for each in instance_histories(history):
        task = task_of(plan, each.life.first.queue)
        if task is None:
            continue
        for change in each.life.changes:
            old, new = change.old, change.new
            if not is_claim(change) or old is None or new is None or old.locked_by is None:
                continue
            process = holder(old)
            if fields(old).get("fence") == old.fence or history.faulted(process, 0, change.at):
                continue
            if task.policies.get("heartbeat") is False:
                continue
            yield f"{process} let its lease on {new.key} expire, and {change.by} took it at {seconds(change.at)}"
