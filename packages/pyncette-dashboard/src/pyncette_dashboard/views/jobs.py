"""The page that shows the progress of a job."""

from __future__ import annotations

from starlette.responses import Response

from pyncette_dashboard.page import Page


async def job(page: Page) -> Response:
    found = page.services.jobs.get(page.asked("id"))
    if found is None:
        raise LookupError("This job is unknown: the dashboard keeps the last 100, until it restarts.")
    return page.render("job.html", job=found)
