"""The processes that execute tasks."""

from __future__ import annotations

from starlette.responses import Response

from pyncette_dashboard.page import Page


async def workers(page: Page) -> Response:
    return page.render("workers.html", workers=await page.services.workers())
