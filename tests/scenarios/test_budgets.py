"""How often an app goes to its storage: counted by the servers, held against a budget."""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable

import anyio
import asyncpg
import pytest
import redis

from pyncette import Context, Pyncette
from tests.servers.model import Server

Count = Callable[[], Awaitable[int]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the clients that count speak it alone


@pytest.fixture(params=["redis", "postgres"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture
def app(server: Server) -> Pyncette:
    if server.kind == "redis":
        return Pyncette(server.url, redis_namespace="budgets")
    return Pyncette(server.url, postgres_table_name="budgets")


@pytest.fixture
def trips(server: Server) -> Count:
    """How many requests the server has served."""
    if server.kind == "redis":

        async def count_commands() -> int:
            with redis.Redis.from_url(server.url) as client:
                stats = client.info("commandstats")
            # Commands that scripts call are none that travel.
            return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval", "time"))

        return count_commands

    async def count_statements() -> int:
        connection = await asyncpg.connect(server.url)
        try:
            # Each statement of the storage is a transaction of its own. What backends have not reported yet is flushed.
            await connection.execute("SELECT pg_stat_force_next_flush()")
            await anyio.sleep(1.1)  # the interval at which PostgreSQL's processes report
            query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
            total: int = await connection.fetchval(query)
            return total
        finally:
            await connection.close()

    return count_statements


async def test_a_burst_of_5000(app: Pyncette, trips: Count) -> None:
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
        before = await trips()
        async with anyio.create_task_group() as group:
            group.start_soon(context.run)
            with anyio.fail_after(60):
                await all_done.wait()
            context.shutdown()
        spent = await trips() - before
    assert spent <= 500, f"{spent / 5000} round trips per execution"


async def test_an_idle_app(app: Pyncette, trips: Count) -> None:
    """500 static tasks and 100,000 instances, none of them due."""

    async def body(context: Context) -> None: ...

    for i in range(500):
        app.task(name=f"static {i}", schedule="0 0 29 2 *")(body)
    work = app.dynamic_task(name="work")(body)
    in_a_year = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=365)
    async with app.create() as context:
        result = await context.schedule_tasks(
            work, ((f"instance {i}", {"execute_at": in_a_year}) for i in range(100_000))
        )
        assert result.done == 100_000
        async with anyio.create_task_group() as group:
            group.start_soon(context.run)
            while context.last_tick is None:  # noqa: ASYNC110 - the loop tells nobody that it has begun
                await anyio.sleep(0.01)
            await anyio.sleep(1)
            before = await trips()
            await anyio.sleep(10)
            spent = await trips() - before
            context.shutdown()
    # Ten poll intervals of a second, and what counting takes of time and of requests.
    assert 5 <= spent <= 2 * 12, spent
