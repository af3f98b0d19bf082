"""The harness that cancels a repository at every point reaches each of them, and detects leaks."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest

from pyncette.bridge import asyncio_only
from pyncette.memory import MemoryRepository
from pyncette.record import Record, Ref
from pyncette.repository import Repository
from pyncette.testing.cancellation import cancel_everywhere

OnCancel = Callable[[], Awaitable[None] | None]


class Waiting(MemoryRepository):
    """Its ``read`` waits three times, and runs the test's code when it is cancelled."""

    def __init__(self, on_cancel: OnCancel) -> None:
        super().__init__()
        self.on_cancel = on_cancel
        self.cancelled_at: list[str] = []

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        for place in ("first", "second", "third"):
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                self.cancelled_at.append(place)
                answer = self.on_cancel()
                if answer is not None:
                    await answer
                raise
        return await super().read(refs)


def factory_of(repository: Waiting) -> Callable[[], AbstractAsyncContextManager[Repository]]:
    @asyncio_only
    @asynccontextmanager
    async def factory() -> AsyncIterator[Repository]:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        yield repository
        await asyncio.sleep(0)

    return factory


async def test_every_point_is_reached_once(anyio_backend_name: str) -> None:
    repository = Waiting(lambda: None)
    points = await cancel_everywhere(factory_of(repository))
    assert points == {
        **dict.fromkeys(("swap", "scan", "scan_ready", "queues", "count", "claim", "clock"), 0),
        "read": 3,
        "look": 0,
        "open": 2,
        "close": 1,
    }
    assert repository.cancelled_at == ["first", "second", "third"] * 2


@pytest.mark.parametrize("what", ["open files and sockets", "threads", "tasks", "connections"])
async def test_leaks_are_found(what: str) -> None:
    release = threading.Event()
    ends: list[int] = []
    threads: list[threading.Thread] = []
    tasks: list[asyncio.Task[bool]] = []
    connections = 0

    def leak() -> None:
        nonlocal connections
        if what == "open files and sockets":
            ends.extend(os.pipe())
        elif what == "threads":
            threads.append(threading.Thread(target=release.wait))
            threads[-1].start()
        elif what == "tasks":
            tasks.append(asyncio.create_task(asyncio.Event().wait()))
        else:
            connections += 1

    async def count() -> int:
        return connections

    repository = Waiting(leak)
    try:
        with pytest.raises(AssertionError, match=f"{what} .*: [0-9]+, of which [1-9][0-9]* are left behind"):
            await cancel_everywhere(factory_of(repository), connections=count, timeout=0.5)
    finally:
        release.set()
        for thread in threads:
            thread.join()
        for end in ends:
            os.close(end)
        for task in tasks:
            with suppress(RuntimeError):  # on trio, it ended with its event loop
                task.cancel()


async def test_a_leaked_lock_is_found() -> None:
    lock = asyncio.Lock()

    class Locking(Waiting):
        async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
            await lock.acquire()
            result = await super().read(refs)
            lock.release()
            return result

    with pytest.raises(TimeoutError):
        await cancel_everywhere(factory_of(Locking(lambda: None)), timeout=0.5)
