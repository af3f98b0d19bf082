"""Closing an app ends, however often asyncio cancels it; its own cancellation ignores shields."""

from __future__ import annotations

import asyncio
import datetime
import threading

import anyio
import pytest

from pyncette import Context, Pyncette, healthcheck
from pyncette.healthcheck import use_healthcheck_server
from pyncette.memory import memory_repository
from pyncette.testing import FaultPlan
from pyncette.testing.faults import Call


async def hang(call: Call) -> None:
    await anyio.sleep_forever()


SOON = datetime.timedelta(milliseconds=1)


@pytest.mark.parametrize("with_healthcheck", [False, True])
def test_cancelled_again_and_again_while_the_storage_hangs(with_healthcheck: bool) -> None:
    plan = FaultPlan()
    app = Pyncette(plan.wrap(memory_repository))
    if with_healthcheck:
        use_healthcheck_server(app, port=0, bind_address="127.0.0.1")
    executed = asyncio.Event()

    @app.task(interval=SOON)
    async def work(context: Context) -> None:
        plan.always(hang, "swap")  # the end of the execution can't be stored
        executed.set()

    async def program() -> None:
        async with app.create() as context:
            await context.run()

    async def main() -> None:
        running = asyncio.create_task(program())
        await executed.wait()
        while not running.done():
            running.cancel()
            await asyncio.wait({running}, timeout=0.02)
        assert running.cancelled()

    asyncio.run(main())
    assert healthcheck.__name__ not in {thread.name for thread in threading.enumerate()}
