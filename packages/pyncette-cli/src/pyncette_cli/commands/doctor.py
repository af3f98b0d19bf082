"""Checks storage, workers and tasks, and says what to do."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import click

from pyncette import Finding, PyncetteContext, StoredTask, Task, Worker
from pyncette.errors import RepositoryException
from pyncette_cli import output
from pyncette_cli.failures import Failure, Status, one_line
from pyncette_cli.options import json_option, target_options
from pyncette_cli.target import Target, find, with_context
from pyncette_cli.values import clean, span

OFFSET = 1.0
"""Seconds that a machine's clock may be off without a warning. Pyncette goes by the storage's, logs do not."""

ALIKE = 0.01
"""Seconds of which nothing is said."""

LATE = timedelta(minutes=5)
"""What has been due for longer than this has nobody who executes it."""

ANSWERS = 3
"""So many are measured; the quickest tells how far the storage is."""

STUCK = timedelta(minutes=2)
"""A loop that has not turned for longer than this is blocked."""

SLOW = 0.25
"""Seconds that an answer of the storage may take without a warning."""


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
    yield _latency(min([await _answer(context) for _ in range(ANSWERS)]))
    yield _clock(context)
    for finding in await context.diagnose():
        yield finding
    for finding in (*_workers(workers), _versions(workers), *_clocks(workers)):
        yield finding
    tasks = await context.tasks()
    left_over: list[StoredTask] = []
    try:
        orphans = await context.orphans()
        yield _orphans(orphans, bool(workers))
        left_over = orphans if workers else []
    except RepositoryException as e:
        yield Finding("orphans", "warning", one_line(e))
    yield _paused(tasks)
    async for finding in _instances(context, [task for task in tasks if task.stored and task not in left_over]):
        yield finding


async def _answer(context: PyncetteContext) -> float:
    """The seconds that one took."""
    began = time.perf_counter()
    await context.workers()
    return time.perf_counter() - began


def _latency(took: float) -> Finding:
    found = f"an answer took {took * 1000:.1f} ms"
    if took < SLOW:
        return Finding("latency", "ok", found)
    return Finding("latency", "warning", found, "run where the storage is near, or see what keeps it busy")


def _clock(context: PyncetteContext) -> Finding:
    offset = (context.clock.now() - time.time_ns() // 1000) / 1_000_000
    found = f"this machine's is {abs(offset):.3f} s {'behind' if offset > 0 else 'ahead of'} the storage's"
    if abs(offset) < ALIKE:
        return Finding("clock", "ok", "this machine's and the storage's agree")
    if abs(offset) <= OFFSET:
        return Finding("clock", "ok", found)
    return Finding("clock", "warning", found, "synchronise it by NTP; Pyncette goes by the storage's meanwhile")


def _workers(workers: Sequence[Worker]) -> list[Finding]:
    if not workers:
        return [Finding("workers", "problem", "none is at work", "start one: pyncette run module:app")]
    findings = [Finding("workers", "ok", f"{len(workers):,} at work")]
    now = datetime.now(UTC)
    for worker in workers:
        name = clean(worker.name)
        if worker.running >= worker.concurrency_limit:
            findings.append(
                Finding(
                    "workers",
                    "warning",
                    f"{name} runs {worker.running:,} executions, as many as it may",
                    "start more workers, or raise its concurrency_limit",
                )
            )
        if now - (worker.last_tick or worker.started_at) > STUCK:
            findings.append(
                Finding(
                    "workers",
                    "problem",
                    f"the loop of {name} (process {worker.pid} on {clean(worker.host)}) has not turned for two minutes",
                    "see its log: a task that blocks the event loop is named there",
                )
            )
    return findings


def _versions(workers: Sequence[Worker]) -> Finding:
    own = importlib.metadata.version("pyncette-core")
    versions = sorted({worker.version for worker in workers})
    if len(versions) > 1:
        return Finding(
            "versions",
            "warning",
            f"workers are of the versions {', '.join(map(clean, versions))}",
            "end the deploy; what only the newer ones understand waits for them",
        )
    if versions and versions != [own]:
        return Finding("versions", "ok", f"workers are of version {clean(versions[0])}, this program of {own}")
    return Finding("versions", "ok", f"all are of version {own}")


def _clocks(workers: Sequence[Worker]) -> list[Finding]:
    return [
        Finding(
            "clock",
            "warning",
            f"that of {clean(worker.host)} is off by {abs(worker.clock_offset):.1f} s ({clean(worker.name)})",
            "synchronise it by NTP; Pyncette goes by the storage's meanwhile",
        )
        for worker in workers
        if abs(worker.clock_offset) > OFFSET
    ]


def _orphans(orphans: Sequence[StoredTask], any_worker: bool) -> Finding:
    if not orphans or not any_worker:  # without workers everything is one, and that is said already
        return Finding("orphans", "ok", "none" if any_worker else "not known without a worker")
    names = [f"{clean(task.name)} ({task.kind})" for task in orphans[:5]]
    if len(orphans) > 5:
        names.append("...")
    return Finding("orphans", "warning", f"no worker executes {', '.join(names)}", "start what does, or purge them")


def _paused(tasks: Sequence[StoredTask]) -> Finding:
    paused = [task for task in tasks if task.paused_since is not None]
    if not paused:
        return Finding("paused", "ok", "no task is paused")
    named = [clean(task.name) + (f" ({clean(task.paused_reason)})" if task.paused_reason else "") for task in paused]
    return Finding("paused", "warning", f"paused: {', '.join(named)}", "pyncette resume TASK lets one go on")


async def _instances(context: PyncetteContext, tasks: Sequence[StoredTask]) -> AsyncIterator[Finding]:
    """What is dead, damaged, or due without anybody who executes it."""
    all_well = True
    for stored in tasks:
        task = await find(context, stored.name, stored.kind)
        name = clean(stored.name)
        for found in await _held(context, task, name):
            all_well = False
            yield found
        if task.dynamic and stored.paused_since is None:
            late = await context.list_tasks(task, 1, due_before=datetime.now(UTC) - LATE)
            if late.tasks and late.tasks[0].state in ("due", "retrying"):
                all_well = False
                since = span(datetime.now(UTC) - (late.tasks[0].next_attempt_at or late.tasks[0].scheduled_at))
                yield Finding(
                    "late", "problem", f"{name} has instances that have been due for {since}", "start more workers"
                )
    if all_well:
        yield Finding("instances", "ok", "none is dead, damaged or late")


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
        advice = f"pyncette dead {name} shows why, pyncette retry {name} --all gives fresh attempts"
        found.append(Finding("dead", "problem", f"{counts['dead']:,} of {name}", advice))
    if counts.get("unreadable"):
        advice = "schedule them anew, or unschedule them"
        found.append(Finding("damaged", "problem", f"{counts['unreadable']:,} records of {name}", advice))
    return found
