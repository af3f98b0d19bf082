"""Apps in several threads of one process: what they share by way of modules, they share without harm."""

from __future__ import annotations

import datetime
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest
from prometheus_client import CollectorRegistry

from pyncette import Context, Pyncette
from pyncette.prometheus import use_prometheus

LOOPS = ("asyncio", "trio") * 2
INSTANCES = 40
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe", "Africa/Cairo")


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns a thousand times as often as usual. Without a GIL they run at once anyway."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(usual / 1000)
    yield
    sys.setswitchinterval(usual)


async def runs_of_an_app(registry: CollectorRegistry) -> list[str]:
    """The names of its instances, as often as they were executed, once those have been that are due at once."""
    over, runs = anyio.Event(), list[str]()
    app = Pyncette()
    use_prometheus(app, registry=registry)

    @app.dynamic_task()
    def work(context: Context) -> None:
        runs.append(context.task.name)
        context.app_context.from_thread(counted)

    async def counted() -> None:
        if sum(name.startswith("once") for name in runs) >= INSTANCES:
            over.set()

    async with app.create() as context, anyio.create_task_group() as tasks:
        tasks.start_soon(context.run)
        now = datetime.datetime.now(datetime.UTC)
        for number in range(INSTANCES):
            zone = ZONES[number % len(ZONES)]
            await context.schedule_task(work, f"daily {number}", schedule=f"{number} 3 * * *", timezone=zone)
            await context.schedule_task(work, f"once {number}", execute_at=now)
        with anyio.fail_after(60):
            await over.wait()
        context.shutdown()
    return runs


@pytest.mark.usefixtures("restless")
def test_apps_in_several_threads() -> None:
    registry = CollectorRegistry()
    together = threading.Barrier(len(LOOPS), timeout=30)

    def run(loop: str) -> Counter[str]:
        together.wait()
        runs = anyio.run(runs_of_an_app, registry, backend=loop)
        return Counter(name for name in runs if name.startswith("once"))

    with ThreadPoolExecutor(len(LOOPS)) as threads:
        found = list(threads.map(run, LOOPS))

    assert found == [Counter(f"once {number}" for number in range(INSTANCES))] * len(LOOPS)
