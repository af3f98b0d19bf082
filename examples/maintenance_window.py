# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-core"]
# ///
"""A night of maintenance, in virtual time: what was missed is executed once, unless it is too late for that."""

import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio

from pyncette import CatchUp, Context, Pyncette
from pyncette.memory import MemoryRepository
from pyncette.testing import ManualClock

clock = ManualClock(datetime.datetime(2030, 1, 1, 20, tzinfo=datetime.UTC))
app = Pyncette(clock=clock)


@app.task(schedule="0 * * * *", catch_up=CatchUp.LATEST)
async def summary(context: Context) -> None:
    print(f"{clock.time:%H:%M} summary of {context.scheduled_at:%H:%M}")


@app.task(schedule="0 * * * *", max_lateness=timedelta(minutes=45))
async def alarm(context: Context) -> None:
    print(f"{clock.time:%H:%M} alarm of {context.scheduled_at:%H:%M}")


async def work(repository: MemoryRepository, until: datetime.datetime) -> None:
    @asynccontextmanager
    async def stored() -> AsyncIterator[MemoryRepository]:  # as a database, it outlives the app
        yield repository

    async with app.create(repository_factory=stored) as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        await clock.advance_to(until)
        context.shutdown()


async def main() -> None:
    repository = MemoryRepository()
    await work(repository, until=clock.time + timedelta(hours=1, minutes=10))
    await clock.advance(timedelta(hours=6, minutes=20))
    print("maintenance is over")
    await work(repository, until=clock.time + timedelta(minutes=40))


if __name__ == "__main__":
    anyio.run(main)
