"""The log of what operators did."""

from __future__ import annotations

from starlette.responses import Response

from pyncette_dashboard.page import Page

PER_PAGE = 50


async def actions(page: Page) -> Response:
    desk, token = page.desk, page.asked("after") or None
    found = await desk.shared(("actions", token), lambda: desk.context.actions(PER_PAGE, token))
    return page.render("actions.html", actions=found.actions, token=found.continuation_token)
