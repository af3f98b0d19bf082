"""procrastinate: jobs are deleted when they have succeeded."""

from __future__ import annotations

import asyncio

import procrastinate
from measuring import PARALLEL, run

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=run.url, max_size=10))


@app.task(queue="bench")
async def fire(due: float) -> None:
    if run.fired(due):
        run.leave()


async def main() -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for at in run.moments():
            await fire.configure(schedule_at=at).defer_async(due=at.timestamp())
        run.begin()
        await app.run_worker_async(
            concurrency=PARALLEL,
            delete_jobs="successful",
            fetch_job_polling_interval=0.1,
            install_signal_handlers=False,
        )


asyncio.run(main())
