"""What pages ask of the storage. Each question has a key, so that all viewers share its answer."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyncette import (
    Count,
    Finding,
    LoggedRun,
    PyncetteContext,
    RunsPage,
    StoredTask,
    Task,
    TaskRun,
    TaskState,
    Worker,
)
from pyncette.errors import OrphansUnknownException, UnsupportedException
from pyncette_cli.checkup import (
    LATE,
    clock_found,
    clocks_found,
    damaged_found,
    dead_found,
    late_found,
    lateness,
    orphans_found,
    paused_found,
    versions_found,
    workers_found,
)

SAMPLE = 500
"""Instances of a template that are looked at for charts."""

LATEST = 30
"""Runs of a template that its success rate comes from."""

LOGGED = 500
"""Runs that the chart of outcomes shows at most."""

FAR = datetime.timedelta(days=3650)

Run = LoggedRun | TaskRun


@dataclass(frozen=True, slots=True)
class Pulse:
    """How a task is doing: what changes from second to second.

    :ivar state: of a static task; of a template that of the instance that comes next; None if nothing is stored.
    :ivar dead: the number of dead instances.
    :ivar runs: the latest ones, newest first; empty if no log is kept.
    :ivar asked_at: the storage's time when it was asked.
    """

    state: TaskState | None
    dead: Count
    runs: Sequence[Run]
    asked_at: datetime.datetime

    @property
    def late(self) -> datetime.timedelta:
        """For how long it had been due, without being executed, when the storage was asked. What is shown a few seconds
        later is not later by that."""
        return lateness(self.state, self.asked_at)


@dataclass(frozen=True, slots=True)
class Size:
    """What of a template changes slowly.

    :ivar sample: some instances, all of them if there are not more than that.
    :ivar whole: whether it is all of them.
    """

    count: Count
    paused: Count
    unreadable: Count
    sample: Sequence[TaskState]
    whole: bool


async def pulse(context: PyncetteContext, task: Task) -> Pulse:
    """How a task is doing: one question of a static task, three of a template."""
    now = now_of(context)
    if not task.dynamic:
        state = await context.get_task(task)
        dead = int(state is not None and state.state == "dead")
        runs = () if state is None else tuple(reversed(state.runs))
        return Pulse(state, Count(dead, exact=True), runs, now)
    head = await context.list_tasks(task, 1, due_before=now + FAR)
    dead_ones = await context.count_tasks(task, state="dead")
    logged = await runs_of(context, task, limit=LATEST)
    return Pulse(head.tasks[0] if head.tasks else None, dead_ones, logged, now)


async def size(context: PyncetteContext, task: Task) -> Size:
    """What of a template changes slowly: four questions."""
    sample = await context.list_tasks(task, SAMPLE)
    whole = sample.continuation_token is None
    count = Count(len(sample.tasks), exact=True) if whole else await context.count_tasks(task)
    return Size(
        count,
        await context.count_tasks(task, state="paused"),
        await context.count_tasks(task, state="unreadable"),
        sample.tasks,
        whole,
    )


async def runs_of(context: PyncetteContext, task: Task | None = None, **question: Any) -> list[LoggedRun]:
    """Runs of the log, newest first; none if the storage keeps no log."""
    return (await runs_page(context, task, **question)).runs


async def runs_page(context: PyncetteContext, task: Task | None = None, **question: Any) -> RunsPage:
    """A page of the log; an empty one if the storage keeps none."""
    try:
        return await context.runs(task, question.pop("instance", None), **question)
    except UnsupportedException:
        return RunsPage([], None)


async def orphans(context: PyncetteContext) -> list[StoredTask]:
    """What no worker executes; none while that can't be determined."""
    try:
        return await context.orphans()
    except OrphansUnknownException:
        return []


def now_of(context: PyncetteContext) -> datetime.datetime:
    """The storage's time."""
    return datetime.datetime.fromtimestamp(context.clock.now() / 1_000_000, datetime.UTC)


def findings(
    context: PyncetteContext,
    stored: Sequence[StoredTask],
    workers: Sequence[Worker],
    left_over: Sequence[StoredTask],
    known: Sequence[tuple[StoredTask, Pulse, Size | None]],
    checked: Sequence[Finding],
) -> list[Finding]:
    """What `pyncette doctor` would say of this, worst first, without what is as it should be."""
    found = [
        *workers_found(workers),
        clock_found(context),
        *clocks_found(workers),
        versions_found(workers),
        orphans_found(left_over, bool(workers)),
        paused_found(stored),
        *checked,
    ]
    for task, beat, known_size in known:
        if beat.dead.value:
            found.append(dead_found(task.name, beat.dead.value))
        if known_size is not None and known_size.unreadable.value:
            found.append(damaged_found(task.name, known_size.unreadable.value))
        if beat.late > LATE:
            found.append(late_found(task.name, beat.late, static=task.kind == "static"))
    order = {"problem": 0, "warning": 1, "unknown": 2}
    return sorted((each for each in found if each.verdict in order), key=lambda each: order[each.verdict])
