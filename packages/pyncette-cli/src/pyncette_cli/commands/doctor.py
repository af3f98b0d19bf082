"""Checks storage, workers and tasks, and says what to do."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import click

from pyncette import Finding, PyncetteContext, StoredTask, Task
from pyncette.errors import RepositoryException
from pyncette_cli import output
from pyncette_cli.checkup import (
    LATE,
    clock_found,
    clocks_found,
    damaged_found,
    dead_found,
    late_found,
    latency_found,
    lateness,
    orphans_found,
    paused_found,
    versions_found,
    workers_found,
)
from pyncette_cli.failures import Failure, Status, one_line
from pyncette_cli.options import json_option, target_options
from pyncette_cli.target import Target, find, with_context

ANSWERS = 3
"""How many are measured; the quickest shows how far away the storage is."""


@click.command("doctor")
@json_option
@target_options
def doctor_command(target: Target, as_json: bool) -> int:
    """Check storage, workers and tasks, and say what to do.

    What to check of a storage is on its page of the documentation. Nothing is changed. The exit status is 1 if there is
    a problem, 0 if there are at most warnings.
    """

    async def work(context: PyncetteContext) -> list[Finding]:
        return [finding async for finding in examine(context)]

    findings = [Finding("connection", "ok", "the storage answers, and is as this release needs it")]
    try:
        findings += with_context(target, work)
    except RepositoryException as e:
        findings = [Finding("connection", "problem", one_line(e), "see the page of the storage in the documentation")]
    except Failure as e:
        if e.status != Status.STORAGE:
            raise
        findings = [Finding("connection", "problem", e.message, e.hint)]
    _print(findings, as_json)
    return Status.FAILED if any(each.verdict == "problem" for each in findings) else Status.OK


def _print(findings: Sequence[Finding], as_json: bool) -> None:
    if as_json:
        for each in findings:
            output.print_json(
                {"check": each.check, "verdict": each.verdict, "found": each.found, "advice": each.advice or None}
            )
        return
    rows = [(each.verdict, each.check, each.found, each.advice) for each in findings]
    output.print_table(["STATE", "CHECK", "FOUND", "WHAT TO DO"][: 4 if any(row[3] for row in rows) else 3], rows)


async def examine(context: PyncetteContext) -> AsyncIterator[Finding]:
    """All checks, one after the other."""
    workers = await context.workers()
    yield latency_found(min([await _answer(context) for _ in range(ANSWERS)]))
    yield clock_found(context)
    for finding in await context.diagnose():
        yield finding
    for finding in (*workers_found(workers), versions_found(workers), *clocks_found(workers)):
        yield finding
    tasks = await context.tasks()
    left_over: list[StoredTask] = []
    try:
        orphans = await context.orphans()
        yield orphans_found(orphans, bool(workers))
        left_over = orphans if workers else []
    except RepositoryException as e:
        yield Finding("orphans", "warning", one_line(e))
    yield paused_found(tasks)
    async for finding in _instances(context, [task for task in tasks if task.stored and task not in left_over]):
        yield finding


async def _answer(context: PyncetteContext) -> float:
    """The seconds that one took."""
    began = time.perf_counter()
    await context.workers()
    return time.perf_counter() - began


async def _instances(context: PyncetteContext, tasks: Sequence[StoredTask]) -> AsyncIterator[Finding]:
    """What is dead, damaged, or due without anybody who executes it."""
    all_well = True
    for stored in tasks:
        task = await find(context, stored.name, stored.kind)
        for found in await _held(context, task, stored.name):
            all_well = False
            yield found
        late = await _late(context, task) if stored.paused_since is None else timedelta(0)
        if late > LATE:
            all_well = False
            yield late_found(stored.name, late, static=not task.dynamic)
    if all_well:
        yield Finding("instances", "ok", "none is dead, damaged or late")


async def _late(context: PyncetteContext, task: Task) -> timedelta:
    """For how long the task, or the first of its instances, has been due without anybody executing it."""
    now = datetime.now(UTC)
    if not task.dynamic:
        return lateness(await context.get_task(task), now)
    page = await context.list_tasks(task, 1, due_before=now - LATE)
    return max((lateness(state, now) for state in page.tasks), default=timedelta(0))


async def _held(context: PyncetteContext, task: Task, name: str) -> list[Finding]:
    if not task.dynamic:
        state = await context.get_task(task)
        counts = {state.state: 1} if state is not None else {}
    else:
        counts = {}
        for each in ("dead", "unreadable"):
            counts[each] = (await context.count_tasks(task, state=each)).value
    found = []
    if counts.get("dead"):
        found.append(dead_found(name, counts["dead"]))
    if counts.get("unreadable"):
        found.append(damaged_found(name, counts["unreadable"]))
    return found
