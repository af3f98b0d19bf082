"""The number of an app's requests to its storage, counted at the server or on the network, stays within a budget."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Callable, Iterator

import anyio
import pytest
import redis

from pyncette import Context, Pyncette
from tests.helpers.postgres import Wire, table
from tests.servers.model import Server

Count = Callable[[], int]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the clients that count support nothing else


@pytest.fixture
def postgres_table(postgres_server: Server) -> Iterator[str]:
    with table(postgres_server.url) as name:
        yield name


@pytest.fixture(params=["redis", "postgres"])
async def counted(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Pyncette, Count]]:
    """An app, and a function that counts the requests that have reached its server."""
    server: Server = request.getfixturevalue(f"{request.param}_server")
    if server.kind == "redis":
        yield Pyncette(server.url, redis_namespace="budgets"), lambda: commands(server.url)
        return
    # The server's own counter of transactions would include those of autovacuum.
    name = request.getfixturevalue("postgres_table")
    async with Wire(server.url) as wire:
        yield Pyncette(wire.url, postgres_table_name=name), lambda: wire.round_trips


def commands(url: str) -> int:
    """The number of commands, by Redis's own counter."""
    with redis.Redis.from_url(url) as client:
        stats = client.info("commandstats")
    # Without the commands that scripts call, as these cause no network traffic.
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval", "time"))


async def test_a_burst_of_5000(counted: tuple[Pyncette, Count]) -> None:
    app, round_trips = counted
    done, all_done = 0, anyio.Event()

    @app.dynamic_task()
    async def work(context: Context) -> None:
        nonlocal done
        done += 1
        if done == 5000:
            all_done.set()

    now = datetime.datetime.now(datetime.UTC)
    async with app.create() as context:
        await context.schedule_tasks(work, ((f"instance {i}", {"execute_at": now}) for i in range(5000)))
        before = round_trips()
        async with anyio.create_task_group() as group:
            group.start_soon(context.run)
            with anyio.fail_after(60):
                await all_done.wait()
            context.shutdown()
        spent = round_trips() - before
    assert spent <= 500, f"{spent / 5000} round trips per execution"


async def test_an_idle_app(counted: tuple[Pyncette, Count], pytestconfig: pytest.Config) -> None:
    """500 static tasks and 20,000 instances (100,000 with --thorough), none of them due."""
    app, round_trips = counted
    count = 100_000 if pytestconfig.option.thorough else 20_000

    async def body(context: Context) -> None: ...

    for i in range(500):
        app.task(name=f"static {i}", schedule="0 0 29 2 *")(body)
    work = app.dynamic_task(name="work")(body)
    in_a_year = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=365)
    async with app.create() as context:
        result = await context.schedule_tasks(
            work, ((f"instance {i}", {"execute_at": in_a_year}) for i in range(count))
        )
        assert result.done == count
        async with anyio.create_task_group() as group:
            group.start_soon(context.run)
            while context.last_tick is None:  # noqa: ASYNC110 - nothing signals it
                await anyio.sleep(0.01)
            await anyio.sleep(1)
            before = round_trips()
            await anyio.sleep(10)
            spent = round_trips() - before
            context.shutdown()
    # Ten poll intervals of a second, plus the time and the requests that counting takes.
    assert 5 <= spent <= 2 * 12, spent
