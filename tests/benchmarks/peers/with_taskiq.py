"""taskiq: its scheduler and a worker in one process."""

from __future__ import annotations

import asyncio

from measuring import PARALLEL, fire_async, run
from taskiq import TaskiqScheduler
from taskiq.api import run_receiver_task, run_scheduler_task
from taskiq_redis import ListQueueBroker, ListRedisScheduleSource

broker = ListQueueBroker(run.url)
source = ListRedisScheduleSource(run.url)


@broker.task
async def job(due: float) -> None:
    await fire_async(due)


async def main() -> None:
    await broker.startup()
    await source.startup()
    for at in run.moments():
        await job.schedule_by_time(source, at, at.timestamp())
    run.begin()
    scheduler = asyncio.create_task(run_scheduler_task(TaskiqScheduler(broker, [source])))
    await asyncio.gather(scheduler, run_receiver_task(broker, max_async_tasks=PARALLEL))


asyncio.run(main())
