"""The page of a task: its policies, its figures, and a page of its instances."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from pyncette import ListTasksResponse, StoredTask, Task
from pyncette_dashboard.page import Page, Refused
from pyncette_dashboard.questions import FAR

from .acting import fitting
from .instance import declared_policies, show_one
from .shown import is_partial, next_day_of, occurrences_chart, rows_of

PER_PAGE = 50

STATES = ("dead", "paused", "completed", "unreadable")

LONGEST_PREFIX = 200
"""The maximum number of characters of a prefix."""


async def task(page: Page) -> Response:
    services = page.services
    stored = await services.stored(page.asked("name"), page.asked("kind"))
    if stored.kind == "static":
        return await show_one(page, stored, None)
    template = await services.template(stored.name, stored.kind)
    found = await _listed(page, template)
    (row,) = await rows_of(page, [stored])
    seen = await next_day_of(page, f"day of {stored.name}", [row])
    return page.render(
        "task.html",
        partial=is_partial([row], seen),
        row=row,
        stored=stored,
        verbs=await fitting(services, stored, template, None, None),
        declared=declared_policies(template) if stored.declared else [],
        workers=[each for each in await services.workers() if _executes(each.tasks, each.kinds, stored)],
        listed=found.tasks,
        token=found.continuation_token,
        states=STATES,
        occurrences=occurrences_chart(seen, page.zone, "The next 24 hours"),
        seen=seen,
    )


def _executes(tasks: tuple[str, ...], kinds: tuple[str, ...], stored: StoredTask) -> bool:
    return (stored.name, stored.kind) in zip(tasks, kinds, strict=False)


async def _listed(page: Page, template: Task) -> ListTasksResponse:
    """A page of the instances; one filter at a time, as the storage has an index for each."""
    services, context = page.services, page.services.context
    prefix, state, by = page.asked("prefix")[:LONGEST_PREFIX], page.asked("state"), page.asked("by", "next")
    token = page.asked("after") or None
    filters: dict[str, Any] = {}
    if prefix:
        filters["prefix"] = prefix
    elif state:
        if state not in STATES:
            raise Refused(400, f"There is no list of what is {state!r}", "Choose one of " + ", ".join(STATES))
        filters["state"] = state
    elif by == "next":
        filters["due_before"] = services.now.replace(second=0, microsecond=0) + FAR
    key = ("list", template.name, template.kind, prefix, state, by, token)
    return await services.shared(key, lambda: context.list_tasks(template, PER_PAGE, token, **filters), every=3)
