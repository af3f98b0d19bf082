"""Dead letters: what is out of attempts, grouped by its error, and retried."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from pyncette import Count, PyncetteContext, Task, TaskState
from pyncette_dashboard.desk import Desk
from pyncette_dashboard.jobs import Job, new_job
from pyncette_dashboard.page import Page, Refused
from pyncette_dashboard.questions import now_of

from .shown import rows_of

LOOKED_AT = 500
"""Dead instances of a task that are grouped; of further ones the number is known."""

SHOWN = 50
"""Instances of a group that can be chosen one by one."""

BATCH = 1000
"""Dead instances that are read at once when all that match are retried."""

_DIFFERS = re.compile(r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\d+")


@dataclass(frozen=True, slots=True)
class Group:
    """Dead instances of one task with the same error, but for numbers and ids in its text.

    :ivar error: as one of them has it.
    :ivar whole: whether all dead instances of the task were looked at.
    """

    task: str
    kind: str
    key: str
    error: str
    states: Sequence[TaskState]
    whole: bool

    @property
    def shown(self) -> Sequence[TaskState]:
        return self.states[:SHOWN]


@dataclass(frozen=True, slots=True)
class DeadOfTask:
    """What is dead of one task."""

    name: str
    kind: str
    count: Count
    groups: Sequence[Group]


async def dead(page: Page) -> Response:
    desk, wanted, kind = page.desk, page.asked("task"), page.asked("kind")
    tasks = [each for each in await desk.tasks() if wanted in ("", each.name) and kind in ("", each.kind)]
    found = []
    for row in await rows_of(desk, tasks):
        if row.pulse is not None and row.pulse.dead.value:
            stored = row.stored
            template = await desk.template(stored.name, stored.kind)
            states, whole = await _dead_of(desk, template)
            if states:
                groups = _grouped(stored.name, stored.kind, states, whole)
                found.append(DeadOfTask(stored.name, stored.kind, row.pulse.dead, groups))
    jobs = [job for job in desk.jobs.all() if job.ended_at is None]
    return page.render("dead.html", found=found, jobs=jobs, task=wanted)


async def _dead_of(desk: Desk, template: Task) -> tuple[Sequence[TaskState], bool]:
    if not template.dynamic:
        state = await desk.instance(template, None)
        return ([state] if state is not None and state.state == "dead" else []), True
    key = ("dead", template.name, template.kind)
    listed = await desk.shared(key, lambda: desk.context.list_tasks(template, LOOKED_AT, state="dead"), every=4)
    return listed.tasks, listed.continuation_token is None


def error_of(state: TaskState) -> str:
    """Why it is dead."""
    last = next((run for run in reversed(state.runs) if run.error or run.reason), None)
    return "" if last is None else last.error or last.reason


def key_of(state: TaskState) -> str:
    """The same for errors that differ in numbers and ids alone."""
    first = error_of(state).partition("\n")[0]
    return _DIFFERS.sub("#", first)[:200]


def _grouped(task: str, kind: str, states: Sequence[TaskState], whole: bool) -> list[Group]:
    """The largest group first."""
    groups: dict[str, list[TaskState]] = {}
    for state in states:
        groups.setdefault(key_of(state), []).append(state)
    found = [Group(task, kind, key, error_of(own[0]), own, whole) for key, own in groups.items()]
    return sorted(found, key=lambda group: -len(group.states))


async def retry_many(page: Page) -> Response:
    """Retries a selection, all with one error, or all of a task; in the background."""
    desk, context = page.desk, page.desk.context
    template = await desk.template(page.given("task"), page.given("kind"))
    chosen = [value for key, value in page.form if key == "instance"]
    error, how = page.given("error"), page.given("how")
    if not template.dynamic:
        raise Refused(400, "A static task has no instances", "Retry it on its own page.")
    if how == "selected":
        if not chosen:
            raise Refused(400, "Nothing is selected", "Go back, and mark what is to be retried.")
        what, names, total = f"Retry {len(chosen):,} selected", _these(chosen), len(chosen)
    elif how == "group":
        what, names, total = (
            f"Retry all with: {error}",
            _dead_names(context, template, error),
            int(page.given("count", "0") or 0),
        )
    elif how == "all":
        total = (await context.count_tasks(template, state="dead")).value
        what, names = "Retry all that are dead", _dead_names(context, template, None)
    else:
        raise Refused(400, "Say what is to be retried", "Go back, and choose a button.")
    job = new_job(what, template.name, page.visitor.name, total)

    async def ended(done: Job) -> None:
        desk.board.forget()
        note = f"{done.done:,} retried, {done.refused:,} not" + (f"; stopped: {done.error}" if done.error else "")
        await desk.note(done.who, "retry", template.name, None, f"{done.what}: {note}")

    await desk.note(page.visitor.name, "retry", template.name, None, f"{what}: begun")
    desk.jobs.start(job, names, lambda name: context.retry_task(template, name), ended)
    return page.redirect(page.url("/job", id=job.id))


async def _these(names: Sequence[str]) -> AsyncIterator[str]:
    for name in names:
        yield name


async def _dead_names(context: PyncetteContext, template: Task, key: str | None) -> AsyncIterator[str]:
    """The names of dead instances, of those with an error alone if it is given. What dies from now on is left alone: it
    comes last, and would be retried forever."""
    token, began = None, now_of(context)
    while True:
        listed = await context.list_tasks(template, BATCH, token, state="dead")
        for state in listed.tasks:
            ended = max((run.ended_at for run in state.runs if run.ended_at is not None), default=None)
            if ended is not None and ended >= began:
                return
            if key is None or key_of(state) == key:
                yield state.task.name
        token = listed.continuation_token
        if token is None:
            return
