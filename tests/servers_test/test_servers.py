"""The servers themselves: each takes clients, keeps its data over a restart, and hangs while it is paused."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aioboto3
import asyncmy
import asyncpg
import pytest
import redis.asyncio

from tests.servers.model import Server
from tests.servers.plugin import FIXTURES, StartServer
from tests.servers.postgres import WAYS_WITHOUT_ROOT, without_root

pytestmark = pytest.mark.anyio

Query = Callable[[str], Awaitable[Any]]
LISTENING = "0A"
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, the second time as Java opens it
SQL = ["postgres", "postgres18", "mysql", "mariadb"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def postgres(server: Server, **options: Any) -> AsyncIterator[Query]:
    connection = await asyncpg.connect(server.url, **options)
    try:
        yield connection.fetchval
    finally:
        await connection.close(timeout=5)


@asynccontextmanager
async def mysql(server: Server, **options: Any) -> AsyncIterator[Query]:
    connection = await asyncmy.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        database=server.database,
        autocommit=True,
        **options,
    )

    async def query(statement: str) -> Any:
        async with connection.cursor() as cursor:
            await cursor.execute(statement)
            row = await cursor.fetchone()
            return row[0] if row else None

    try:
        yield query
    finally:
        await connection.ensure_closed()


def connect(server: Server) -> AbstractAsyncContextManager[Query]:
    return postgres(server) if server.kind.startswith("postgres") else mysql(server)


def listeners(server: Server) -> set[str]:
    """Return the addresses at which the server's port is open, as the kernel writes them."""
    lines = [line for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    sockets = [line.split() for line in lines]
    local = [fields[1].split(":") for fields in sockets if fields[3] == LISTENING]
    return {address for address, port in local if int(port, 16) == server.port}


@pytest.mark.parametrize("kill", [False, True])
async def test_redis_keeps_data(start_server: StartServer, kill: bool) -> None:
    with start_server("redis") as server:
        async with redis.asyncio.from_url(server.url) as client:
            await client.set("key", "value")
        server.restart(kill=kill)
        async with redis.asyncio.from_url(server.url) as client:
            assert await client.get("key") == b"value"


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("kind", SQL)
async def test_sql_keeps_data(start_server: StartServer, kind: str, kill: bool) -> None:
    with start_server(kind) as server:
        async with connect(server) as query:
            await query("CREATE TABLE kept AS SELECT 42 AS value")
        server.restart(kill=kill)
        async with connect(server) as query:
            assert await query("SELECT value FROM kept") == 42


async def test_redis_hangs_while_paused(start_server: StartServer) -> None:
    with start_server("redis") as server:
        async with redis.asyncio.from_url(server.url) as client:
            server.pause()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.ping(), 0.2)
            server.resume()
            assert await client.ping()


@pytest.mark.parametrize("kind", SQL)
async def test_sql_hangs_while_paused(start_server: StartServer, kind: str) -> None:
    with start_server(kind) as server:
        async with connect(server) as query:
            server.pause()
            answer = asyncio.ensure_future(query("SELECT 1"))
            done, _ = await asyncio.wait([answer], timeout=0.2)
            assert not done
            server.resume()
            assert await answer == 1


async def test_postgres_sorts_by_language(postgres_server: Server) -> None:
    async with connect(postgres_server) as query:
        assert await query("SELECT string_agg(c, '' ORDER BY c) FROM (VALUES ('a'), ('B'), ('c')) AS t (c)") == "aBc"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs to become another user")
@pytest.mark.parametrize("way", WAYS_WITHOUT_ROOT, ids=lambda way: way.split()[0])
async def test_postgres_as_root(way: str, start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.postgres.WAYS_WITHOUT_ROOT", (way,))
    without_root.cache_clear()
    try:
        with start_server("postgres") as server:
            server.restart(kill=True)
            async with connect(server) as query:
                assert await query("SELECT 1") == 1
    finally:
        without_root.cache_clear()


async def test_mysql_speaks_tls(mysql_server: Server) -> None:
    if mysql_server.certificate_authority is None:
        pytest.skip("the certificate of a server that others run is not known here")
    context = ssl.create_default_context(cafile=str(mysql_server.certificate_authority))
    context.check_hostname = False
    async with mysql(mysql_server, ssl=context) as query:
        cipher = "SELECT VARIABLE_VALUE FROM performance_schema.session_status WHERE VARIABLE_NAME = 'Ssl_cipher'"
        assert await query(cipher)


async def test_options_of_a_private_server(start_server: StartServer) -> None:
    with start_server("mysql", "--performance-schema=ON") as server, start_server("mysql") as other:
        assert server.port != other.port
        async with connect(server) as query:
            assert await query("SELECT @@performance_schema") == 1
        async with connect(other) as query:
            assert await query("SELECT @@performance_schema") == 0


async def test_wrong_options_are_an_error(start_server: StartServer, redis_server: Server) -> None:
    with pytest.raises(RuntimeError, match="redis does not start with --no-such-option 1"):
        with start_server("redis", "--no-such-option", "1"):
            pass
    assert redis_server


async def test_dynamodb(dynamodb_server: Server) -> None:
    session = aioboto3.Session(aws_access_key_id="any", aws_secret_access_key="any", region_name="eu-west-1")
    async with session.client("dynamodb", endpoint_url=dynamodb_server.endpoint) as client:
        assert "TableNames" in await client.list_tables()


@pytest.mark.parametrize("fixture", FIXTURES)
async def test_only_loopback_is_open(fixture: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(fixture)
    for each in (server, *server.nodes, *server.sentinels):
        assert len(listeners(each)) == 1
        assert listeners(each) <= LOOPBACK
