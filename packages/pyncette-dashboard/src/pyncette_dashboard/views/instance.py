"""The page of an instance or a static task: its next occurrences, its current state, and its past runs."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import itertools
from collections.abc import Sequence

from starlette.responses import Response

from pyncette import Policies, StoredTask, Task, TaskState
from pyncette_cli.values import span
from pyncette_dashboard import questions
from pyncette_dashboard.page import Page
from pyncette_dashboard.questions import Run

from .acting import fitting
from .rescheduling import PREVIEW

HISTORY = 25
"""The number of runs shown from the log."""


async def instance(page: Page) -> Response:
    stored = await page.services.stored(page.asked("task"), page.asked("kind"))
    return await show_one(page, stored, page.asked("name") if stored.kind != "static" else None)


async def show_one(page: Page, stored: StoredTask, name: str | None) -> Response:
    """The page of an instance, or of a static task.

    :raises LookupError: it is not stored.
    """
    services = page.services
    template = await services.template(stored.name, stored.kind)
    state = await services.instance(template, name)
    if state is None:
        what = f"{stored.name!r} is not stored yet" if name is None else f"{stored.name!r} has no instance {name!r}"
        raise LookupError(f"{what}. It may have been removed, or have finished.")
    key = ("history", stored.name, stored.kind, name)
    history = await services.shared(
        key, lambda: questions.runs_of(services.context, template, instance=name, limit=HISTORY), every=5
    )
    return page.render(
        "instance.html",
        stored=stored,
        name=name,
        state=state,
        verbs=await fitting(services, stored, template, name, state),
        upcoming=next_occurrences(state),
        timeline=timeline(state, history),
        logged=bool(history),
        policies=declared_policies(template) if stored.declared else [],
        workers=[each for each in await services.workers() if stored.name in each.tasks],
    )


def next_occurrences(state: TaskState) -> list[datetime.datetime]:
    """The stored occurrence, and those after it."""
    if state.state in ("completed", "unreadable", "dead"):
        return []
    return [state.scheduled_at, *itertools.islice(state.task.upcoming(state.scheduled_at), PREVIEW - 1)]


def timeline(state: TaskState, history: Sequence[Run]) -> Sequence[Run]:
    """Runs from the log, newest first; without a log, those that the instance remembers."""
    return history or tuple(reversed(state.runs))


def declared_policies(template: Task) -> list[tuple[str, str]]:
    """The policies that are not the defaults, as they were declared."""
    default = Policies()
    found = []
    for each in dataclasses.fields(Policies):
        value = getattr(template.policies, each.name)
        if value != getattr(default, each.name):
            found.append((each.name, _said(value)))
    return found


def _said(value: object) -> str:
    """A value as it is written in code, without defaults."""
    if isinstance(value, datetime.timedelta):
        return span(value)
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, tuple):
        return ", ".join(map(_said, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        given = ((each.name, getattr(value, each.name), each.default) for each in dataclasses.fields(value))
        return ", ".join(f"{name} {_said(own)}" for name, own, default in given if own != default) or "as by default"
    return getattr(value, "__name__", None) or str(value)
