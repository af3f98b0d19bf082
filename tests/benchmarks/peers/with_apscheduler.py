"""APScheduler 3, with a job store on the server."""

from __future__ import annotations

import asyncio
from datetime import UTC
from typing import Any

from apscheduler.executors.asyncio import AsyncIOExecutor
from apscheduler.jobstores.redis import RedisJobStore
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from measuring import fire_async, run


def store() -> Any:
    if run.url.startswith("redis"):
        port, _, database = run.url.rpartition(":")[2].partition("/")
        return RedisJobStore(host="127.0.0.1", port=int(port), db=int(database))
    return SQLAlchemyJobStore(url=run.url.replace("postgresql", "postgresql+psycopg"))


async def main() -> None:
    scheduler = AsyncIOScheduler(
        jobstores={"default": store()},
        executors={"default": AsyncIOExecutor()},
        job_defaults={"misfire_grace_time": None},
        timezone=UTC,
    )
    scheduler.start(paused=True)
    for number, at in enumerate(run.moments()):
        scheduler.add_job(fire_async, "date", run_date=at, args=[at.timestamp()], id=str(number))
    run.begin()
    scheduler.resume()
    await asyncio.Event().wait()


asyncio.run(main())
