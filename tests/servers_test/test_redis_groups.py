"""Redis Cluster, Sentinel and the other servers that speak Redis's protocol."""

from __future__ import annotations

import time

import anyio
import pytest
from redis.asyncio import Redis, RedisCluster

from tests.servers.model import Server
from tests.servers.plugin import StartServer

pytestmark = pytest.mark.anyio
KEYS = [f"key-{number}" for number in range(50)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def version(server: Server) -> tuple[str, int]:
    """Return the server's name and its major version."""
    async with Redis.from_url(server.url) as client:
        info = await client.info("server")
    name = info.get("server_name", "redis")
    return name, int(str(info[f"{name}_version"]).split(".")[0])


@pytest.mark.parametrize("kill", [False, True])
async def test_cluster_keeps_data(start_server: StartServer, kill: bool) -> None:
    with start_server("redis-cluster") as server:
        async with RedisCluster.from_url(server.url) as client:
            for key in KEYS:
                await client.set(key, key)
        server.restart(kill=kill)
        async with RedisCluster.from_url(server.url) as client:
            assert [await client.get(key) for key in KEYS] == [key.encode() for key in KEYS]
        for node in server.nodes:
            async with Redis.from_url(node.url) as client:
                assert await client.dbsize() > 0


async def test_sentinels_fail_over(start_server: StartServer) -> None:
    with start_server("redis-sentinel") as server:
        master, replica = server.nodes
        assert await masters(server) == {master.port}
        master.stop(kill=True)
        deadline = time.monotonic() + 20
        while await masters(server) != {replica.port}:
            assert time.monotonic() < deadline
            await anyio.sleep(0.05)


async def masters(server: Server) -> set[int]:
    """Return the ports of the master as the sentinels know it."""
    ports = set()
    for sentinel in server.sentinels:
        async with Redis(host=sentinel.host, port=sentinel.port) as client:
            address = await client.sentinel_get_master_addr_by_name(server.service)
            assert isinstance(address, tuple)
            ports.add(int(address[1]))
    return ports


async def test_versions(redis_server: Server, redis8_server: Server, valkey_server: Server) -> None:
    assert await version(redis_server) == ("redis", 7)
    assert await version(redis8_server) == ("redis", 8)
    assert await version(valkey_server) == ("valkey", 9)
