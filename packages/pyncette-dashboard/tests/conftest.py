"""Sites in memory and on SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from pyncette_dashboard import Dashboard
from tests.helpers.dashboard import Open, Site, make_app


@pytest.fixture(params=["memory", "sqlite"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return None if request.param == "memory" else f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def opened(source: str | None) -> Open:
    """Opens a site: ``async with opened(access=…) as site``. ``running`` says whether its tasks are executed, and
    ``history`` for how many days the log of runs is kept."""

    @asynccontextmanager
    async def open_site(running: bool = True, history: int | None = 1, **options: Any) -> AsyncIterator[Site]:
        app, report, cleanup, ran, broken = make_app(
            source, history=timedelta(days=history) if history else None, worker_name="eu-1"
        )
        dashboard = Dashboard(app, **options)
        async with app.create() as context, dashboard.opened(context), anyio.create_task_group() as group:
            if running:
                group.start_soon(context.run)
                while await context.get_task(cleanup) is None or not await context.workers():  # noqa: ASYNC110 -- nothing signals it
                    await anyio.sleep(0.02)
            yield Site(app, report, cleanup, context, dashboard, ran, broken)
            context.shutdown()

    return open_site
