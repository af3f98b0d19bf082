"""This version, with the options that it has by default."""

from __future__ import annotations

import asyncio
from typing import Any

from measuring import run

from pyncette import Context, Pyncette
from pyncette.postgres import postgres_repository
from pyncette.redis import redis_repository


async def main() -> None:
    factory: Any = redis_repository if run.url.startswith("redis") else postgres_repository
    app = Pyncette(repository_factory=factory, **{f"{run.url.partition('ql:')[0].partition(':')[0]}_url": run.url})
    done = asyncio.Event()

    @app.dynamic_task()
    async def fire(context: Context) -> None:
        if run.fired(context.scheduled_at.timestamp()):
            done.set()

    async with app.create() as context:
        await context.schedule_tasks(fire, ((str(i), {"execute_at": at}) for i, at in enumerate(run.moments())))
        run.begin()
        running = asyncio.create_task(context.run())
        await done.wait()
        context.shutdown()
        await running  # all is settled
    run.report()


asyncio.run(main())
