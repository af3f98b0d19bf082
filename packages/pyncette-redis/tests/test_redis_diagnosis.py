"""What the diagnosis of a server finds. The tests cause each fault for real, on a separate server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from pyncette.findings import Finding
from pyncette.record import Change, Queue, Record
from pyncette.repository import Repository
from pyncette.testing.contract.base import TASK, insert, numbered
from tests.helpers.redis import GRANTS, SECRET, USER, opened
from tests.servers.model import Server
from tests.servers.plugin import StartServer
from tests.servers.redis import command

Configure = Callable[..., None]


async def bad(repository: Repository) -> dict[str, Finding]:
    """The findings that are not OK, by the name of the check."""
    return {each.check: each for each in await repository.diagnose() if each.verdict != "ok"}


async def test_a_healthy_server(server: Server) -> None:
    async with opened(server) as repository:
        await insert(repository, numbered(3))
        found = {each.check: each for each in await repository.diagnose()}
        assert {each.verdict for each in found.values()} == {"ok"}
        assert found.keys() == {
            *("server", "eviction", "persistence", "memory", "connections", "permissions", "format", "indexes"),
        }
        assert found["server"].found.startswith("Redis 7")


@pytest.mark.parametrize(
    "settings, check, verdict, said",
    [
        ({"maxmemory-policy": "allkeys-lru"}, "eviction", "problem", "may evict tasks"),
        ({"appendonly": "no"}, "persistence", "problem", "persists nothing"),
        ({"appendonly": "no", "save": "3600 1"}, "persistence", "warning", "its last snapshot"),
        ({"appendfsync": "no"}, "persistence", "warning", "half a minute"),
        ({"maxmemory": "1mb"}, "memory", "problem", "takes no new instances"),
        ({"maxclients": "1"}, "connections", "warning", "clients of 1"),
    ],
)
async def test_settings(server: Server, settings: dict[str, str], check: str, verdict: str, said: str) -> None:
    async with opened(server) as repository:
        for name, value in settings.items():
            command(server.port, "CONFIG", "SET", name, value)
        (found,) = (await bad(repository)).values()
        assert (found.check, found.verdict) == (check, verdict)
        assert said in found.found
        assert found.advice


async def test_a_snapshot_that_failed(start_server: StartServer, tmp_path: Path) -> None:
    options = ("--appendonly", "no", "--save", "3600 1", "--enable-protected-configs", "yes")
    with start_server("redis", *options) as server:
        async with opened(server) as repository:
            folder = tmp_path / "gone"
            folder.mkdir()
            command(server.port, "CONFIG", "SET", "dir", str(folder))
            folder.rmdir()
            command(server.port, "BGSAVE")
            async with asyncio.timeout(20):
                while "the last snapshot failed" not in (await bad(repository))["persistence"].found:  # noqa: ASYNC110 -- nothing signals it
                    await asyncio.sleep(0.01)


async def test_permissions(server: Server) -> None:
    """A permission revoked since the start is reported; what the user may not query is unknown."""
    url = f"redis://{USER}:{SECRET}@{server.host}:{server.port}"
    command(server.port, "ACL", "SETUSER", USER, "reset", "on", f">{SECRET}", *GRANTS)
    async with opened(server, redis_url=url) as repository:
        assert await bad(repository) == {}
        command(server.port, "ACL", "SETUSER", USER, "-zadd", "-info")
        found = await bad(repository)
        assert (found["server"].verdict, found["server"].advice) == ("unknown", "allow +info")
        assert found["permissions"].verdict == "problem"
        assert "zadd" in found["permissions"].found
        assert SECRET not in str(found)


async def test_an_index_that_lost_an_instance(server: Server) -> None:
    async with opened(server) as repository:
        await insert(repository, numbered(3))
        name = f"pyncette:{{|{TASK.name}}}:ready"
        (member,) = command(server.port, "ZRANGE", name, "0", "0")
        command(server.port, "ZREM", name, member)
        found = (await bad(repository))["indexes"]
        assert found.verdict == "problem"
        assert repr(TASK.name) in found.found


async def test_a_newer_release_has_expanded_it(server: Server) -> None:
    async with opened(server) as repository:
        command(server.port, "SET", "pyncette:{|}:schema", "Pyncette, format 2, readable from 1")
        found = (await bad(repository))["format"]
        assert (found.verdict, "format 2" in found.found) == ("warning", True)


async def test_a_cluster(cluster: Server) -> None:
    """All servers are checked; a finding that they share is reported once."""
    async with opened(cluster) as repository:
        queues = [f"task{number}" for number in range(20)]
        records = [Record(queue, f"{queue}:a", 0, 0, None, None, "r", 0, 0, "{}") for queue in queues]
        await repository.swap([Change(None, record) for record in records])
        assert await bad(repository) == {}
        node = cluster.nodes[-1]
        command(node.port, "CONFIG", "SET", "maxmemory-policy", "allkeys-random")
        assert (await bad(repository)).keys() == {"eviction"}
        assert await repository.count(Queue("task1"))
