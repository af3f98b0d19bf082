"""Round trips of a whole app, counted on the wire."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Iterator

import pytest

from pyncette import Context, Pyncette
from pyncette.postgres import postgres_repository, schema_sql
from tests.helpers import postgres as helpers
from tests.helpers.postgres import Wire
from tests.servers.model import Server

INSTANCES = 5_000
POLLS = 15
POLL_INTERVAL = datetime.timedelta(seconds=0.2)
DAY = datetime.timedelta(days=1)


@pytest.fixture
def table(postgres_server: Server) -> Iterator[str]:
    with helpers.table(postgres_server.url) as name:
        yield name


@pytest.fixture
async def wire(postgres_server: Server) -> AsyncIterator[Wire]:
    async with Wire(postgres_server.url) as wire:
        yield wire


async def test_burst(wire: Wire, table: str) -> None:
    """At most a tenth of a round trip for each execution."""
    app = Pyncette(repository_factory=postgres_repository, postgres_url=wire.url, postgres_table_name=table)
    executed = 0
    all_executed = asyncio.Event()

    @app.dynamic_task()
    async def once(_: Context) -> None:
        nonlocal executed
        executed += 1
        if executed == INSTANCES:
            all_executed.set()

    async with app.create() as context:
        now = datetime.datetime.now(datetime.UTC)
        await context.schedule_tasks(once, ((f"{number}", {"execute_at": now}) for number in range(INSTANCES)))
        scheduled = wire.round_trips
        running = asyncio.create_task(context.run())
        await all_executed.wait()
        context.shutdown()
        await running
        used = wire.round_trips - scheduled
        assert await context.list_tasks(once) is not None
    assert executed == INSTANCES
    assert scheduled / INSTANCES <= 0.01
    assert used / INSTANCES <= 0.1


async def test_idle(wire: Wire, table: str, postgres_server: Server) -> None:
    """At most two round trips in each poll interval, with 500 static tasks and 100,000 instances that are not due."""
    app = Pyncette(
        repository_factory=postgres_repository,
        poll_interval=POLL_INTERVAL,
        postgres_url=wire.url,
        postgres_table_name=table,
    )

    async def nothing(_: Context) -> None:
        raise AssertionError("it is not due")

    for number in range(500):
        app.task(name=f"static{number}", interval=DAY)(nothing)
    app.dynamic_task(name="dynamic", interval=DAY)(nothing)
    async with helpers.connection(postgres_server.url) as connection:
        await connection.execute(schema_sql(table))
        await connection.execute(
            f"INSERT INTO {table} "  # noqa: S608 -- the test's own name
            "(queue, key, due_at, ready_at, fence, attempt, revision, spec, state) "
            "SELECT 'dynamic', 'dynamic:' || n, 2^60, 2^60 + n, 0, 0, 'r', '{}', '' FROM generate_series(1, 100000) n"
        )
    async with app.create() as context:
        running = asyncio.create_task(context.run())
        while (ticked := context.last_tick) is None:  # noqa: ASYNC110 -- nothing reports the first tick
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)  # until then, statements are prepared and the table is read for the first time
        before = wire.round_trips
        await asyncio.sleep(POLLS * POLL_INTERVAL.total_seconds())
        used = wire.round_trips - before
        assert context.last_tick is not None
        assert context.last_tick > ticked
        context.shutdown()
        await running
    assert 0 < used <= 2 * POLLS + 1
