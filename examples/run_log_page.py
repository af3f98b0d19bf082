# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette", "starlette", "uvicorn"]
# ///
"""What has run, as a web page: uvicorn run_log_page:web, then http://127.0.0.1:8000/?outcome=failed"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from html import escape
from typing import TypedDict

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from pyncette import Context, FailureMode, LoggedRun, Pyncette, PyncetteContext

app = Pyncette("sqlite:///runs.db", history=timedelta(days=7))


@app.task(interval=timedelta(milliseconds=200), failure_mode=FailureMode.COMMIT)
async def import_prices(context: Context) -> None:
    if context.scheduled_at.microsecond // 200_000 % 2:
        raise ConnectionError("the price server is down")


class State(TypedDict):
    scheduler: PyncetteContext


@asynccontextmanager
async def lifespan(web: Starlette) -> AsyncIterator[State]:
    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        yield {"scheduler": context}
        context.shutdown()


def row(run: LoggedRun) -> str:
    cells = (run.ended_at.isoformat(), run.task, run.instance or "", run.outcome, str(run.attempts), run.error)
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


async def show(request: Request) -> HTMLResponse:
    outcome = request.query_params.get("outcome")
    page = await request.state.scheduler.runs(
        outcomes=[outcome] if outcome else None,
        containing=request.query_params.get("text"),
        continuation_token=request.query_params.get("after"),
        limit=20,
    )
    rows = "".join(map(row, page.runs))
    more = "" if page.continuation_token is None else f'<a href="?after={page.continuation_token}">older</a>'
    return HTMLResponse(f"<table>{rows}</table>{more}")


web = Starlette(routes=[Route("/", show)], lifespan=lifespan)
