"""Logging in with a token, and out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
from starlette.responses import Response

from pyncette_dashboard.access import Access
from pyncette_dashboard.page import Page, Refused

PAUSE = 0.5
"""Seconds by which the answer to a wrong token is delayed."""


async def entrance(page: Page) -> Response:
    """The page that asks for a token."""
    return page.render("login.html", next=page.asked("next"), wrong=False)


def entering(access: Access) -> Callable[[Page], Awaitable[Response]]:
    """The handler of the login form."""
    return partial(_enter, access)


async def _enter(access: Access, page: Page) -> Response:
    found = access.by_token(page.given("token").strip())
    if found is None:
        await anyio.sleep(PAUSE)
        return page.render("login.html", 403, next=page.given("next"), wrong=True)
    page.session.renew()
    page.session.token = found[0]
    return page.redirect(_within(page, page.given("next")))


async def leave(page: Page) -> Response:
    """Log out."""
    if not page.session.token:
        raise Refused(400, "You are not logged in by a token")
    page.session.renew()
    return page.redirect(page.url("/login"))


def _within(page: Page, wanted: str) -> str:
    """The page to go to, if it is within the dashboard."""
    own = page.url("/")
    return wanted if wanted.startswith(own) and not wanted.startswith("//") and "\\" not in wanted else own
