# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette", "starlette", "uvicorn"]
# ///
"""A scheduler inside a web application: uvicorn web_application:web"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypedDict

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from pyncette import Context, Pyncette, PyncetteContext

app = Pyncette("sqlite:///web.db")


@app.dynamic_task()
async def remind(context: Context) -> None:
    print("reminder:", context.args["text"])


class State(TypedDict):
    scheduler: PyncetteContext


@asynccontextmanager
async def lifespan(web: Starlette) -> AsyncIterator[State]:
    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        yield {"scheduler": context}
        context.shutdown()


async def create_reminder(request: Request) -> JSONResponse:
    body = await request.json()
    at = datetime.now(UTC) + timedelta(seconds=body["seconds"])
    await request.state.scheduler.schedule_task(remind, body["name"], execute_at=at, text=body["text"])
    return JSONResponse({"at": at.isoformat()}, status_code=201)


web = Starlette(routes=[Route("/reminders", create_reminder, methods=["POST"])], lifespan=lifespan)
