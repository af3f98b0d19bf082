"""What is found when workers, tasks and clocks are looked at, in words. Pure, but for the time."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pyncette import Finding, PyncetteContext, StoredTask, TaskState, Worker

from .values import clean, span

OFFSET = 1.0
"""Seconds that a machine's clock may be off without a warning. Pyncette goes by the storage's, logs do not."""

ALIKE = 0.01
"""Differences of fewer seconds are not reported."""

LATE = timedelta(minutes=5)
"""What has been due for longer than this is not being executed."""

STUCK = timedelta(minutes=2)
"""A loop that has not turned for longer than this is blocked."""

SLOW = 0.25
"""Seconds that an answer of the storage may take without a warning."""


def latency_found(took: float) -> Finding:
    """A reply from the storage took this many seconds."""
    found = f"an answer took {took * 1000:.1f} ms"
    if took < SLOW:
        return Finding("latency", "ok", found)
    return Finding("latency", "warning", found, "run where the storage is near, or see what keeps it busy")


def clock_found(context: PyncetteContext) -> Finding:
    """How far this machine's clock is off."""
    offset = (context.clock.now() - time.time_ns() // 1000) / 1_000_000
    found = f"this machine's is {abs(offset):.3f} s {'behind' if offset > 0 else 'ahead of'} the storage's"
    if abs(offset) < ALIKE:
        return Finding("clock", "ok", "this machine's and the storage's agree")
    if abs(offset) <= OFFSET:
        return Finding("clock", "ok", found)
    return Finding("clock", "warning", found, "synchronise it by NTP; Pyncette goes by the storage's meanwhile")


def workers_found(workers: Sequence[Worker]) -> list[Finding]:
    """Whether there are any, and whether they get on."""
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


def versions_found(workers: Sequence[Worker]) -> Finding:
    """Whether all workers are of one version."""
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


def clocks_found(workers: Sequence[Worker]) -> list[Finding]:
    """Those machines whose clocks are off."""
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


def orphans_found(orphans: Sequence[StoredTask], any_worker: bool) -> Finding:
    """What no worker executes."""
    if not orphans or not any_worker:  # without workers everything is one, and that is said already
        return Finding("orphans", "ok", "none" if any_worker else "not known without a worker")
    names = [f"{clean(task.name)} ({task.kind})" for task in orphans[:5]]
    if len(orphans) > 5:
        names.append("...")
    return Finding("orphans", "warning", f"no worker executes {', '.join(names)}", "start what does, or purge them")


def paused_found(tasks: Sequence[StoredTask]) -> Finding:
    """The static tasks and templates that are paused."""
    paused = [task for task in tasks if task.paused_since is not None]
    if not paused:
        return Finding("paused", "ok", "no task is paused")
    named = [clean(task.name) + (f" ({clean(task.paused_reason)})" if task.paused_reason else "") for task in paused]
    return Finding("paused", "warning", ", ".join(named), "pyncette resume TASK resumes one")


def dead_found(task: str, number: int) -> Finding:
    """This many instances of the task are dead."""
    name = clean(task)
    advice = f"pyncette dead {name} shows why, pyncette retry {name} --all gives fresh attempts"
    return Finding("dead", "problem", f"{number:,} of {name}", advice)


def damaged_found(task: str, number: int) -> Finding:
    """This many instances of the task can't be read."""
    return Finding(
        "damaged", "problem", f"{number:,} records of {clean(task)}", "schedule them again, or unschedule them"
    )


def lateness(state: TaskState | None, now: datetime) -> timedelta:
    """For how long it has been due without anybody executing it."""
    if state is None or state.state not in ("due", "retrying"):
        return timedelta(0)
    return max(now - (state.next_attempt_at or state.scheduled_at), timedelta(0))


def late_found(task: str, late: timedelta, *, static: bool) -> Finding:
    """The task, or the first of its instances, has been due for so long."""
    has = "has" if static else "has instances that have"
    return Finding("late", "problem", f"{clean(task)} {has} been due for {span(late)}", "start more workers")
