# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-core"]
# ///
"""A worker that lost its lease without noticing can't overwrite what its successor wrote."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio

from pyncette import Context, Pyncette
from pyncette.memory import MemoryRepository

app = Pyncette(concurrency_limit=1)  # a worker that executes something claims nothing else


class Store:
    """Some other system, which remembers the highest token that it has seen."""

    def __init__(self) -> None:
        self.highest = 0
        self.value = ""

    def write(self, value: str, token: int) -> bool:
        if token < self.highest:
            return False
        self.highest, self.value = token, value
        return True


store = Store()
slow = [3.0]  # seconds that the first execution takes
refused = anyio.Event()


@app.task(interval=timedelta(seconds=1), lease_duration=timedelta(seconds=1), heartbeat=False)
async def publish(context: Context) -> None:
    await anyio.sleep(slow.pop() if slow else 0)  # without heartbeats: the first one outlasts its lease
    written = store.write(f"value of {context.scheduled_at}", context.fencing_token)
    print("written" if written else "refused", context.scheduled_at, context.fencing_token)
    if not written:
        refused.set()


async def main() -> None:
    repository = MemoryRepository()

    @asynccontextmanager
    async def shared() -> AsyncIterator[MemoryRepository]:  # as two processes share a database
        yield repository

    async with (
        app.create(repository_factory=shared) as first,
        app.create(repository_factory=shared) as second,
        anyio.create_task_group() as group,
    ):
        group.start_soon(first.run)
        group.start_soon(second.run)
        await refused.wait()
        first.shutdown()
        second.shutdown()


if __name__ == "__main__":
    anyio.run(main)
