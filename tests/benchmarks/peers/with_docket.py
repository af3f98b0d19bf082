"""docket."""

from __future__ import annotations

import asyncio

from docket import Docket, Worker
from measuring import PARALLEL, fire_async, run


async def main() -> None:
    async with Docket(name="bench", url=f"{run.url}?max_connections={3 * PARALLEL}") as docket:
        docket.register(fire_async)
        for number, at in enumerate(run.moments()):
            await docket.add(fire_async, when=at, key=str(number))(at.timestamp())
        run.begin()
        async with Worker(docket, concurrency=PARALLEL) as worker:
            await worker.run_until_finished()


asyncio.run(main())
