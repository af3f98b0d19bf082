"""Dead letters: dead instances, grouped by their error, and forms to retry them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.responses import Response

from pyncette import Count, ListTasksResponse, Task, TaskState
from pyncette_dashboard.jobs import Job, each_of, new_job
from pyncette_dashboard.page import Page, Refused
from pyncette_dashboard.questions import now_of
from pyncette_dashboard.services import Services

from .shown import is_partial, rows_of

LOOKED_AT = 500
"""The maximum number of a task's dead instances that are grouped. Any others are only counted."""

SHOWN = 50
"""The maximum number of instances of a group that can be selected individually."""

BATCH = 1000
"""The number of dead instances read at a time while all that match are retried."""

_DIFFERS = re.compile(r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\d+")


@dataclass(frozen=True, slots=True)
class Group:
    """Dead instances whose errors are equal except for numbers and ids.

    :ivar error: the error of one of them.
    :ivar whole: whether all dead instances of the task were examined.
    """

    key: str
    error: str
    states: Sequence[TaskState]
    whole: bool

    @property
    def shown(self) -> Sequence[TaskState]:
        return self.states[:SHOWN]


@dataclass(frozen=True, slots=True)
class DeadOfTask:
    """The dead instances of one task, or the dead static tasks."""

    name: str
    kind: str
    count: Count
    groups: Sequence[Group]


async def dead(page: Page) -> Response:
    services, wanted, kind = page.services, page.asked("task"), page.asked("kind")
    tasks = [each for each in await services.tasks() if wanted in ("", each.name) and kind in ("", each.kind)]
    found, static = [], []
    rows = await rows_of(page, tasks, with_sizes=False)
    for row in rows:
        if row.status is None or not row.status.dead.value:
            continue
        stored = row.stored
        if stored.kind == "static":
            static += [row.status.state] if row.status.state is not None else []
        elif (listed := await _dead_of(services, await services.template(stored.name, stored.kind))).tasks:
            groups = _grouped(listed.tasks, listed.continuation_token is None)
            found.append(DeadOfTask(stored.name, stored.kind, row.status.dead, groups))
    if static:
        found.insert(0, DeadOfTask("Static tasks", "static", Count(len(static), exact=True), _grouped(static, True)))
    jobs = [job for job in services.jobs.all() if job.ended_at is None]
    return page.render("dead.html", found=found, jobs=jobs, task=wanted, partial=is_partial(rows))


async def _dead_of(services: Services, template: Task) -> ListTasksResponse:
    key = ("dead", template.name, template.kind)
    return await services.shared(key, lambda: services.context.list_tasks(template, LOOKED_AT, state="dead"), every=4)


def error_of(state: TaskState) -> str:
    """The error of a dead instance."""
    last = next((run for run in reversed(state.runs) if run.error or run.reason), None)
    return "" if last is None else last.error or last.reason


def key_of(state: TaskState) -> str:
    """A key that is equal for errors which differ only in numbers and ids."""
    first = error_of(state).partition("\n")[0]
    return _DIFFERS.sub("#", first)[:200]


def _grouped(states: Sequence[TaskState], whole: bool) -> list[Group]:
    """The largest group first."""
    groups: dict[str, list[TaskState]] = {}
    for state in states:
        groups.setdefault(key_of(state), []).append(state)
    found = [Group(key, error_of(own[0]), own, whole) for key, own in groups.items()]
    return sorted(found, key=lambda group: -len(group.states))


class Targets(Protocol):
    """A set of instances or tasks that can be retried together."""

    task: str | None

    async def count(self) -> int | None:
        """The number of dead ones; None if unknown."""

    def dead(self, key: str | None) -> AsyncIterator[str]:
        """The names of the dead ones, or only of those with this error."""

    async def retry(self, name: str) -> bool:
        """Retry one. Returns whether it was still dead."""


class Instances:
    """The instances of a template."""

    def __init__(self, services: Services, template: Task) -> None:
        self.task: str | None = template.name
        self._context = services.context
        self._template = template

    async def count(self) -> int | None:
        return (await self._context.count_tasks(self._template, state="dead")).value

    async def dead(self, key: str | None) -> AsyncIterator[str]:
        """Stops at instances that died after the start. They come last, and would otherwise be retried forever."""
        token, began = None, now_of(self._context)
        while True:
            listed = await self._context.list_tasks(self._template, BATCH, token, state="dead")
            for state in listed.tasks:
                ended = max((run.ended_at for run in state.runs if run.ended_at is not None), default=None)
                if ended is not None and ended >= began:
                    return
                if key is None or key_of(state) == key:
                    yield state.task.name
            token = listed.continuation_token
            if token is None:
                return

    async def retry(self, name: str) -> bool:
        return await self._context.retry_task(self._template, name)


class StaticTasks:
    """All static tasks."""

    task: str | None = None

    def __init__(self, services: Services) -> None:
        self._services = services

    async def count(self) -> int | None:
        return None

    async def dead(self, key: str | None) -> AsyncIterator[str]:
        for stored in await self._services.tasks():
            if stored.kind == "static":
                state = await self._services.context.get_task(await self._services.template(stored.name, "static"))
                if state is not None and state.state == "dead" and key in (None, key_of(state)):
                    yield stored.name

    async def retry(self, name: str) -> bool:
        return await self._services.context.retry_task(await self._services.template(name, "static"))


async def retry_many(page: Page) -> Response:
    """Retries a selection, all with one error, or all, in the background."""
    services = page.services
    targets: Targets = StaticTasks(services)
    if page.given("kind") != "static":
        template = await services.template(page.given("task"), page.given("kind"))
        targets = Instances(services, template) if template.dynamic else targets
    chosen = [value for key, value in page.form if key == "instance"]
    error, how = page.given("error"), page.given("how")
    total: int | None
    if how == "selected":
        if not chosen:
            raise Refused(400, "Nothing is selected", "Go back and select what to retry.")
        what, names, total = f"Retry {len(chosen):,} selected", _these(chosen), len(chosen)
    elif how == "group":
        what, names = f"Retry all with: {error}", targets.dead(error)
        total = int(page.given("count", "0") or 0)
    elif how == "all":
        what, names, total = "Retry all that are dead", targets.dead(None), await targets.count()
    else:
        raise Refused(400, "Say what to retry", "Go back and choose a button.")
    job = new_job(what, "retried", targets.task, page.visitor.name, total)

    async def ended(done: Job) -> None:
        services.cache.forget()
        note = f"{done.done:,} retried, {done.refused:,} not" + (f"; stopped: {done.error}" if done.error else "")
        await services.note(done.who, "retry", targets.task, None, f"{done.what}: {note}")

    await services.note(page.visitor.name, "retry", targets.task, None, f"{what}: begun")
    services.jobs.start(job, each_of(names, targets.retry), ended)
    return page.redirect(page.url("/job", id=job.id))


async def _these(names: Sequence[str]) -> AsyncIterator[str]:
    for name in names:
        yield name
