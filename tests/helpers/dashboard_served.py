"""A dashboard on a real HTTP server in a separate thread, and a real browser."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvicorn
from anyio.from_thread import BlockingPortal, start_blocking_portal
from playwright.sync_api import Browser, Page, sync_playwright

from pyncette import PyncetteContext, Task
from pyncette.sqlite import sqlite_repository
from pyncette.testing import FaultPlan, ManualClock
from pyncette.testing.faults import fail
from pyncette_dashboard import Dashboard
from tests.helpers.dashboard import Site, make_app
from tests.servers import chromium
from tests.servers.cache import Unavailable
from tests.servers.plugin import must_fail

HOST = "127.0.0.1"


@dataclass
class Served:
    """A site, its address, and the thread in which it runs.

    :ivar clock: the app's clock, which stands still until it is moved.
    """

    site: Site
    url: str
    plan: FaultPlan
    clock: ManualClock
    portal: BlockingPortal

    def call(self, function: Any, *arguments: Any) -> Any:
        """Call a function in the site's event loop."""
        return self.portal.call(function, *arguments)

    def pass_time(self, **span: float) -> None:
        """Advance the app's clock."""
        self.call(self.clock.advance, datetime.timedelta(**span))

    def make_storage_unreachable(self) -> None:
        self.plan.always(fail())

    def storage_comes_back(self) -> None:
        self.plan.clear()

    def dead(self) -> int:
        """The number of dead reports."""

        async def count() -> int:
            return (await self.site.context.count_tasks(self.site.report, state="dead")).value

        return int(self.call(count))


@asynccontextmanager
async def _serving(folder: Path, start: datetime.datetime, options: dict[str, Any]) -> AsyncIterator[Any]:
    plan, clock = FaultPlan(), ManualClock(start)
    app, report, cleanup, ran, broken = make_app(
        plan.wrap(sqlite_repository),
        sqlite_database=str(folder / "jobs.db"),
        history=datetime.timedelta(days=1),
        worker_name="eu-1",
        clock=clock,
    )
    dashboard = Dashboard(app, **options)
    config = uvicorn.Config(dashboard, HOST, 0, lifespan="off", log_config=None, ws="none")
    server = uvicorn.Server(config)
    async with app.create() as context, dashboard.opened(context), anyio.create_task_group() as group:
        group.start_soon(context.run)
        group.start_soon(server.serve)
        while not server.started or await context.get_task(cleanup) is None:  # noqa: ASYNC110 -- nothing signals it
            await anyio.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        site = Site(app, report, cleanup, context, dashboard, ran, broken)
        yield site, f"http://{HOST}:{port}", plan, clock
        plan.clear()
        context.shutdown()
        server.should_exit = True


@contextmanager
def served(folder: Path, start: datetime.datetime, **options: Any) -> Iterator[Served]:
    """A served site whose clock starts at ``start``."""
    with start_blocking_portal("asyncio") as portal:
        with portal.wrap_async_context_manager(_serving(folder, start, options)) as (site, url, plan, clock):
            yield Served(site, url, plan, clock, portal)


@contextmanager
def chromium_browser() -> Iterator[Browser]:
    """A browser. If it isn't available, the test is skipped, or fails if the environment has ``CI``."""
    try:
        executable, arguments = chromium.executable(), chromium.arguments()
    except Unavailable as error:
        if must_fail(error):
            raise
        pytest.skip(f"no browser: {error}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def open_page(browser: Browser, **options: Any) -> tuple[Page, list[str]]:
    """A page of a new profile, and what goes wrong in it: errors of scripts, and what the policy has refused."""
    page = browser.new_page(timezone_id="Europe/Berlin", locale="en-GB", **options)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
    page.set_default_timeout(15_000)
    return page, wrong


def serious(page: Page, axe: str) -> list[str]:
    """What axe finds on a page that is serious, or worse."""
    page.evaluate(axe)
    found = page.evaluate("async () => (await axe.run(document)).violations")
    return [
        f"{each['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


async def schedule(context: PyncetteContext, task: Task, names: list[str], **timing: Any) -> None:
    """Instances with the same schedule."""
    result = await context.schedule_tasks(task, [(name, timing) for name in names])
    assert not result.refused
