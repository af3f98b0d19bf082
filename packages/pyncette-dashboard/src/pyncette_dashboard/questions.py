"""The pages' questions to the storage. Each has a key, so that all viewers share its answer."""

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
"""The number of a template's instances sampled for charts."""

LATEST = 30
"""The number of runs from which a template's success rate is computed."""

LOGGED = 500
"""The maximum number of runs in the chart of outcomes."""

FAR = datetime.timedelta(days=3650)

Run = LoggedRun | TaskRun


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """How a task is doing: what changes from second to second.

    :ivar state: the state of a static task, or of a template's next instance; None if nothing is stored.
    :ivar dead: the number of dead instances.
    :ivar runs: the latest runs, newest first; empty if no log is kept.
    :ivar asked_at: the storage's time of the query.
    """

    state: TaskState | None
    dead: Count
    runs: Sequence[Run]
    asked_at: datetime.datetime

    @property
    def late(self) -> datetime.timedelta:
        """How long the task had been due without being executed at the time of the query. An answer that is shown some
        seconds later must not count these as lateness."""
        return lateness(self.state, self.asked_at)


@dataclass(frozen=True, slots=True)
class Size:
    """Properties of a template that change slowly.

    :ivar sample: some of the instances, or all of them if they are few.
    :ivar whole: whether the sample includes all instances.
    """

    count: Count
    paused: Count
    unreadable: Count
    sample: Sequence[TaskState]
    whole: bool


async def status(context: PyncetteContext, task: Task) -> TaskStatus:
    """How a task is doing: one query for a static task, three for a template."""
    now = now_of(context)
    if not task.dynamic:
        state = await context.get_task(task)
        dead = int(state is not None and state.state == "dead")
        runs = () if state is None else tuple(reversed(state.runs))
        return TaskStatus(state, Count(dead, exact=True), runs, now)
    head = await context.list_tasks(task, 1, due_before=now + FAR)
    dead_ones = await context.count_tasks(task, state="dead")
    logged = await runs_of(context, task, limit=LATEST)
    return TaskStatus(head.tasks[0] if head.tasks else None, dead_ones, logged, now)


async def size(context: PyncetteContext, task: Task) -> Size:
    """Properties of a template that change slowly: four queries."""
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
    """Runs from the log, newest first; empty if the storage keeps no log."""
    return (await runs_page(context, task, **question)).runs


async def runs_page(context: PyncetteContext, task: Task | None = None, **question: Any) -> RunsPage:
    """A page of the log; an empty one if the storage keeps none."""
    try:
        return await context.runs(task, question.pop("instance", None), **question)
    except UnsupportedException:
        return RunsPage([], None)


async def orphans(context: PyncetteContext) -> list[StoredTask]:
    """The tasks that no worker executes; empty while that can't be determined."""
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
    known: Sequence[tuple[StoredTask, TaskStatus, Size | None]],
    checked: Sequence[Finding],
) -> list[Finding]:
    """The findings of `pyncette doctor`, worst first, except those that are ok."""
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
