"""The log of runs, with filters that are part of the URL."""

from __future__ import annotations

import datetime
from typing import Any, get_args

from starlette.responses import Response

from pyncette.events import RunOutcome
from pyncette_dashboard import questions
from pyncette_dashboard.page import Page

PER_PAGE = 50

OUTCOMES: tuple[str, ...] = get_args(RunOutcome)

LONGEST = 200
"""The maximum number of characters of a search text."""

SPANS = {"1h": datetime.timedelta(hours=1), "24h": datetime.timedelta(hours=24), "7d": datetime.timedelta(days=7)}


async def runs(page: Page) -> Response:
    services = page.services
    outcome, within, text = page.asked("outcome"), page.asked("within"), page.asked("containing")[:LONGEST]
    name, instance, token = page.asked("task"), page.asked("instance"), page.asked("after") or None
    question: dict[str, Any] = {"limit": PER_PAGE, "continuation_token": token}
    if outcome:
        question["outcomes"] = [outcome]
    if within in SPANS:
        question["since"] = services.now.replace(second=0, microsecond=0) - SPANS[within]
    if text:
        question["containing"] = text
    template = await services.template(name, page.asked("kind")) if name else None
    if instance and template is not None and template.dynamic:
        question["instance"] = instance
    key = ("runs", name, page.asked("kind"), instance, outcome, within, text, token)
    found = await services.shared(key, lambda: questions.runs_page(services.context, template, **question))
    return page.render(
        "runs.html",
        runs=found.runs,
        token=found.continuation_token,
        outcomes=OUTCOMES,
        spans=SPANS,
        tasks=await services.tasks(),
    )
