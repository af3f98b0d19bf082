"""The overview: all tasks, problems, upcoming occurrences and recent runs."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from starlette.responses import Response

from pyncette_dashboard import questions
from pyncette_dashboard.cache import Question
from pyncette_dashboard.page import Page
from pyncette_dashboard.questions import Run

from .shown import (
    Row,
    is_partial,
    newest_of,
    next_day_of,
    occurrences_chart,
    outcomes_chart,
    rate_of,
    rows_of,
    states_of,
)

PER_PAGE = 50
"""Tasks on a page."""

MOST_FINDINGS = 12


async def overview(page: Page) -> Response:
    services = page.services
    wanted = page.asked("q").casefold()
    stored = await services.tasks()
    matching = [each for each in stored if wanted in each.name.casefold()]
    number = max(int(page.asked("page") or 1), 1) if (page.asked("page") or "1").isdecimal() else 1
    shown = matching[(number - 1) * PER_PAGE : number * PER_PAGE]
    log = Question("log", lambda: questions.runs_of(services.context, limit=questions.LOGGED), every=10)
    logged = services.cache.begin(log, must=False)
    rows = await rows_of(page, shown, logged)
    workers = await services.workers()
    seen = await next_day_of(page, "day", rows)
    runs = logged.value or newest_of(states_of(rows), questions.LOGGED)
    known = [(row.stored, row.status, row.size) for row in rows if row.status is not None]
    found = questions.findings(
        services.context, stored, workers, await services.orphans(), known, await services.checked()
    )
    return page.render(
        "overview.html",
        partial=is_partial(rows, seen),
        rows=rows,
        tiles=_tiles(rows, runs),
        workers=workers,
        running=sum(worker.running for worker in workers),
        limit=sum(worker.concurrency_limit for worker in workers),
        occurrences=occurrences_chart(seen, page.zone, "The next 24 hours"),
        seen=seen,
        outcomes=outcomes_chart(runs, page.zone),
        findings=found[:MOST_FINDINGS],
        more_findings=max(len(found) - MOST_FINDINGS, 0),
        matching=len(matching),
        number=number,
        pages=-(-len(matching) // PER_PAGE),
    )


def _tiles(rows: list[Row], runs: Sequence[Run]) -> dict[str, object]:
    """The numbers at the top."""
    return {
        "instances": sum(row.count.value for row in rows if row.count is not None),
        "exact": all(row.count.exact for row in rows if row.count is not None),
        "dead": sum(row.status.dead.value for row in rows if row.status is not None),
        "paused": sum(row.stored.paused_since is not None for row in rows),
        "paused_instances": sum(row.paused.value for row in rows if row.paused is not None),
        "late": max((row.late for row in rows), default=datetime.timedelta(0)),
        "rate": rate_of(runs),
    }
