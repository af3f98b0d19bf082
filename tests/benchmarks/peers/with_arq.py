"""arq: no results are kept."""

from __future__ import annotations

import asyncio
from typing import Any

from arq import create_pool, func
from arq.connections import RedisSettings
from arq.worker import Worker
from measuring import PARALLEL, fire_async, run


async def job(_: dict[Any, Any], due: float) -> None:
    await fire_async(due)


async def main() -> None:
    pool = await create_pool(RedisSettings.from_dsn(run.url))
    for at in run.moments():
        await pool.enqueue_job("job", at.timestamp(), _defer_until=at)
    run.begin()
    worker = Worker(
        functions=[func(job, keep_result=0)],
        redis_pool=pool,
        max_jobs=PARALLEL,
        queue_read_limit=PARALLEL * 5,
        poll_delay=0.05,
        handle_signals=False,
    )
    await worker.async_run()


asyncio.run(main())
