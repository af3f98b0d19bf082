# /// script
# dependencies = ["playwright", "pyncette[dashboard,postgres]"]
# ///
"""Makes the pictures of the dashboard in the documentation: what a real browser shows of a million instances.

./dev run docs/screenshots.py                  # those that the documentation uses
./dev run docs/screenshots.py --all FOLDER     # each page, on a desktop and on a phone, light and dark
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import anyio
import uvicorn
from anyio.from_thread import start_blocking_portal
from playwright.sync_api import Browser, sync_playwright

from pyncette import Context, OnExhausted, Pyncette, PyncetteContext, Retry, Task
from pyncette.postgres import postgres_repository
from pyncette_dashboard import Dashboard
from tests.benchmarks.millions import fill
from tests.helpers import postgres
from tests.servers import chromium
from tests.servers.pool import Pool

PICTURES = Path(__file__).with_name("_static")
MILLION = 1_000_000
ZONES = ["Europe/Berlin", "America/New_York", "Asia/Tokyo", "Europe/London"]
USED = {
    "dashboard-overview": ("/", "desktop", "light"),
    "dashboard-dead": ("/dead", "desktop", "light"),
    "dashboard-calendar": ("/calendar", "desktop", "dark"),
    "dashboard-instance": ("/instance?task=invoice&name=shop-0004", "phone", "light"),
}
PAGES = {
    "overview": "/",
    "task": "/task?name=invoice",
    "instance": "/instance?task=invoice&name=shop-0004",
    "static": "/task?name=sync_prices",
    "runs": "/runs",
    "dead": "/dead",
    "calendar": "/calendar",
    "workers": "/workers",
    "actions": "/actions",
    "pause": "/act?verb=pause&task=invoice&kind=dynamic",
    "reschedule": "/act?verb=reschedule&task=invoice&kind=dynamic&name=shop-0100",
}
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}


def make_app(url: str, table: str) -> tuple[Pyncette, Task, Task]:
    """An app of a shop, some of whose tasks fail."""
    app = Pyncette(
        postgres_repository,
        postgres_url=url,
        postgres_table_name=table,
        history=datetime.timedelta(days=7),
        worker_name="worker-eu-1",
    )

    @app.dynamic_task(name="report")
    async def report(context: Context) -> None: ...

    @app.dynamic_task(
        name="invoice", retry=Retry(max_attempts=2, delay=datetime.timedelta(seconds=1)), on_exhausted=OnExhausted.HOLD
    )
    async def invoice(context: Context) -> None:
        await anyio.sleep(0.02 + context.args["shop"] % 14 / 50)
        if "trouble" in context.args:
            raise ConnectionError(context.args["trouble"])

    @app.task(
        name="sync_prices",
        interval=datetime.timedelta(seconds=2),
        timeout=datetime.timedelta(minutes=1),
        retry=Retry(1),
    )
    async def sync_prices(context: Context) -> None:
        turn = int(context.scheduled_at.timestamp()) // 2
        await anyio.sleep(0.1 + turn % 7 / 12)
        if turn % 6 == 1:
            raise TimeoutError("the price server took longer than 30 s")

    @app.task(name="clean_up", schedule="30 2 * * *", timezone="Europe/Berlin")
    async def clean_up(context: Context) -> None: ...

    @app.task(name="close_the_books", schedule="0 6 1 * *", timezone="America/New_York")
    async def close_the_books(context: Context) -> None: ...

    return app, report, invoice


async def seed(context: PyncetteContext, url: str, table: str, report: Task, invoice: Task) -> None:
    """A million reports, and invoices of shops, some of which can't be delivered."""
    await fill(context, url, table, report, MILLION, since=datetime.timedelta(hours=1))
    now = datetime.datetime.now(datetime.UTC)
    shops: list[tuple[str, dict[str, Any]]] = [
        (f"shop-{n:04}", {"schedule": f"0 {n % 5 * 3 + 6} * * *", "timezone": ZONES[n % 4], "shop": n})
        for n in range(900)
    ]
    await context.schedule_tasks(invoice, shops)
    late: list[tuple[str, dict[str, Any]]] = []
    for n in range(300):
        keywords: dict[str, Any] = {
            "execute_at": now + datetime.timedelta(seconds=n / 25),
            "shop": n,
            "currency": "EUR",
        }
        if n % 9 == 4:
            keywords["trouble"] = f"smtp.shop-{n:04}.example: connection refused after {n} ms"
        elif n % 31 == 7:
            keywords["trouble"] = "the template has no field 'vat_id'"
        late.append((f"shop-{n:04}", keywords))
    await context.schedule_tasks(invoice, late, if_exists="replace")
    await context.pause_task(report, "user-000000007", reason="on leave until March")
    await context.note_action("ada", "pause", task="report", instance="user-000000007", detail="on leave until March")
    await context.note_action("bob", "retry", task="invoice", detail="Retry selected: 3 retried, 0 not")


@contextlib.asynccontextmanager
async def serving(url: str, table: str) -> AsyncIterator[str]:
    app, report, invoice = make_app(url, table)
    dashboard = Dashboard(app)
    server = uvicorn.Server(uvicorn.Config(dashboard, "127.0.0.1", 0, lifespan="off", log_level="error", ws="none"))
    async with app.create() as context, dashboard.opened(context), anyio.create_task_group() as group:
        await seed(context, url, table, report, invoice)
        async with postgres.connection(url) as own:
            await own.execute(f"VACUUM ANALYZE {table}", timeout=None)
        group.start_soon(context.run)
        group.start_soon(server.serve)
        await asyncio.sleep(40)  # some runs
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        context.shutdown()
        server.should_exit = True


def take(browser: Browser, address: str, size: str, scheme: Any, file: Path) -> None:
    """A picture of a page, once it knows the viewer's zone and all its numbers."""
    width, height = SIZES[size]
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        timezone_id="Europe/Berlin",
        device_scale_factor=1,
    )
    page.goto(address)
    page.wait_for_timeout(4500)
    page.goto(address)
    page.wait_for_timeout(500)
    page.screenshot(path=file)
    page.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="where to put a picture of each page")
    every = parser.parse_args().all
    pictures = {PICTURES / f"{name}.png": taken for name, taken in USED.items()}
    if every is not None:
        every.mkdir(parents=True, exist_ok=True)
        pictures |= {
            every / f"{name}-{size}-{scheme}.png": (path, size, scheme)
            for name, path in PAGES.items()
            for size, scheme in (("desktop", "light"), ("desktop", "dark"), ("phone", "light"))
        }
    pool = Pool()
    try:
        url = pool.shared("postgres").url
        with postgres.table(url) as table, start_blocking_portal("asyncio") as portal, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium.executable(), args=chromium.arguments())
            with portal.wrap_async_context_manager(serving(url, table)) as address:
                for file, (path, size, scheme) in pictures.items():
                    take(browser, address + path, size, scheme, file)
                    print(file)
            browser.close()
    finally:
        pool.close()


if __name__ == "__main__":
    main()
