"""An app with some of everything, its dashboard, and a simple browser that sends requests without a socket."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from html import unescape
from typing import Any

import anyio
import httpx
from starlette.requests import HTTPConnection

from pyncette import Context, Pyncette, PyncetteContext, Retry, Task
from pyncette_dashboard import Dashboard
from pyncette_dashboard.session import COOKIE, Signer

LOCAL = ("127.0.0.1", 50000)
HOSTILE = "<script>alert(1)</script>\"'&/..%2f\u202e\x07 ?#"
"""The name of an instance that an attacker has chosen."""


def text_of(page: str) -> str:
    """The visible text of a page, in one line."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


@dataclass
class Browser:
    """Requests pages, and sends forms as a browser would."""

    client: httpx.AsyncClient
    dashboard: Dashboard
    last: httpx.Response = field(init=False)

    async def get(self, path: str, **query: str) -> str:
        self.last = await self.client.get(path, params=query or None)
        return self.last.text

    async def post(self, path: str, **form: Any) -> str:
        """Send a form with the token that protects against forgery."""
        self.last = await self.client.post(path, data={"csrf": self.csrf(), **form}, follow_redirects=True)
        return self.last.text

    def csrf(self) -> str:
        """The token of this session's forms, even if the visitor may only read and gets no forms."""
        (cookie,) = {cookie.value for cookie in self.client.cookies.jar if cookie.name == COOKIE}
        signer: Signer = self.dashboard._signer
        header = f"{COOKIE}={cookie}".encode()
        return signer.csrf(signer.session(HTTPConnection({"type": "http", "headers": [(b"cookie", header)]})))

    async def act(self, verb: str, task: str, kind: str, name: str = "", **form: str) -> str:
        """Perform an action through its form."""
        about = {"verb": verb, "task": task, "kind": kind, "name": name}
        await self.get("/act", **about)
        assert self.last.status_code == 200, self.last.text
        return await self.post("/act", **about, **form)


@dataclass
class Site:
    """An open dashboard, its app, and what has run there.

    :ivar broken: whether reports fail.
    """

    app: Pyncette
    report: Task
    cleanup: Task
    context: PyncetteContext
    dashboard: Dashboard
    ran: list[str]
    broken: dict[str, bool]

    def browser(self, peer: tuple[str, int] = LOCAL, **options: Any) -> Browser:
        transport = httpx.ASGITransport(self.dashboard, client=peer)
        return Browser(httpx.AsyncClient(transport=transport, base_url="http://localhost", **options), self.dashboard)

    def look_again(self) -> None:
        """Discard the dashboard's cache, so that pages show the current state."""
        if self.dashboard._services is not None:
            self.dashboard._services.cache.forget()

    async def until(self, reached: Callable[[], Any]) -> None:
        """Wait until a condition holds; ``reached`` may be a coroutine function."""
        with anyio.fail_after(60):
            while True:
                found = reached()
                if await found if hasattr(found, "__await__") else found:
                    return
                await anyio.sleep(0.02)

    async def shows(self, browser: Browser, text: str, path: str, **query: str) -> str:
        """The page, once its text contains this: late answers of the storage show when the page is requested again."""

        async def there() -> bool:
            self.look_again()
            return text in text_of(await browser.get(path, **query))

        await self.until(there)
        return text_of(browser.last.text)


Open = Callable[..., Any]
"""Opens a site: ``async with opened(access=…) as site``."""


def make_app(source: Any = None, **options: Any) -> tuple[Pyncette, Task, Task, list[str], dict[str, bool]]:
    """An app with a template and a static task."""
    options["poll_interval"] = timedelta(milliseconds=50)
    app = Pyncette(source, **options) if source else Pyncette(**options)
    ran: list[str] = []
    broken = {"report": False}

    async def report(context: Context) -> None:
        if broken["report"]:
            raise ConnectionError(f"the printer {len(ran)} does not answer: {HOSTILE}")
        ran.append(context.task.name)

    async def cleanup(context: Context) -> None:
        ran.append("cleanup")

    template = app.dynamic_task(name="report", retry=Retry(max_attempts=1), lease_duration=timedelta(seconds=5))(report)
    static = app.task(name="cleanup", schedule="30 2 * * *", timezone="Europe/Berlin")(cleanup)
    return app, template, static, ran, broken
