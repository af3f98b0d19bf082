"""The log of what operators did."""

from __future__ import annotations

from starlette.responses import Response

from pyncette_dashboard.page import Page

PER_PAGE = 50


async def actions(page: Page) -> Response:
    services, token = page.services, page.asked("after") or None
    found = await services.shared(("actions", token), lambda: services.context.actions(PER_PAGE, token))
    return page.render("actions.html", actions=found.actions, token=found.continuation_token)
