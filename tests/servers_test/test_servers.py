"""The servers themselves: each takes clients, and keeps its data over a restart."""

from __future__ import annotations

import asyncpg
import pytest
import redis.asyncio

from tests.servers.model import Server
from tests.servers.plugin import StartServer

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("kill", [False, True])
async def test_redis_keeps_data(start_server: StartServer, kill: bool) -> None:
    with start_server("redis") as server:
        async with redis.asyncio.from_url(server.url) as client:
            await client.set("key", "value")
        server.restart(kill=kill)
        async with redis.asyncio.from_url(server.url) as client:
            assert await client.get("key") == b"value"


@pytest.mark.parametrize("kill", [False, True])
async def test_postgres_keeps_data(start_server: StartServer, kill: bool) -> None:
    with start_server("postgres") as server:
        connection = await asyncpg.connect(server.url)
        await connection.execute("CREATE TABLE kept AS SELECT 1 AS value")
        server.restart(kill=kill)
        await connection.close()
        connection = await asyncpg.connect(server.url)
        assert await connection.fetchval("SELECT value FROM kept") == 1
        await connection.close()


async def test_shared(redis_server: Server, postgres_server: Server) -> None:
    async with redis.asyncio.from_url(redis_server.url) as client:
        assert await client.ping()
    connection = await asyncpg.connect(postgres_server.url)
    assert await connection.fetchval("SELECT version()")
    await connection.close()
