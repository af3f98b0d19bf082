# /// script
# requires-python = ">=3.11"
# dependencies = ["fastapi", "pyncette[dashboard]", "uvicorn"]
# ///
"""The dashboard within an application, behind the application's own check: uvicorn dashboard_in_fastapi:web

http://127.0.0.1:8000/enter/ada lets you operate, /enter/eve lets you look.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import anyio
from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from starlette.requests import HTTPConnection

from pyncette import Context, Pyncette
from pyncette_dashboard import Dashboard, Role, Visitor

app = Pyncette("sqlite:///jobs.db", history=timedelta(days=7))


@app.dynamic_task()
async def remind(context: Context) -> None:
    print("reminder:", context.args["text"])


@app.task(schedule="30 2 * * *", timezone="Europe/Berlin")
async def clean_up(context: Context) -> None:
    print("cleaning up")


def who_is_it(request: HTTPConnection) -> Visitor:
    """The application knows its users. A real one would look at its own session."""
    user = request.cookies.get("user", "")
    return Visitor(Role.OPERATE if user == "ada" else Role.READ if user else Role.NONE, user)


dashboard = Dashboard(app, access=who_is_it)


@asynccontextmanager
async def lifespan(web: FastAPI) -> AsyncIterator[None]:
    async with app.create() as context, dashboard.opened(context), anyio.create_task_group() as group:
        group.start_soon(context.run)
        at = datetime.now(UTC) + timedelta(hours=1)
        await context.schedule_task(remind, "Ada", execute_at=at, text="drink some water")
        yield
        context.shutdown()


web = FastAPI(lifespan=lifespan)
web.mount("/jobs", dashboard)


@web.get("/enter/{user}")
async def enter(user: str) -> RedirectResponse:
    answer = RedirectResponse("/jobs/")
    answer.set_cookie("user", user, httponly=True, samesite="strict")
    return answer
