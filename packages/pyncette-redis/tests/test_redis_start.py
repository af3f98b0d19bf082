"""The checks when a repository is opened, on real servers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
from redis.exceptions import ResponseError

from pyncette import lease
from pyncette.errors import RepositoryException, RepositoryUnavailableException, StorageVersionException
from pyncette.record import Change, Queue, Swap
from pyncette.redis import redis_repository, server
from pyncette.redis.settings import Mode, check
from pyncette.repository import Repository
from pyncette.testing.contract.base import (
    MINUTE,
    NOW,
    TASK,
    all_of,
    fresh,
    insert,
    next_ready,
    numbered,
    ready,
    static,
    stored,
    take,
    want,
)
from tests.helpers.redis import GRANTS, SECRET, USER
from tests.servers.model import Server
from tests.servers.plugin import StartServer
from tests.servers.redis import command

MARKER = "Pyncette, format 1, readable from 1"


async def error_of(**options: Any) -> RepositoryException:
    """The error of opening the repository. Neither it nor its causes contain secrets."""
    with pytest.raises(RepositoryException) as caught:
        async with redis_repository(**options):
            pass
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in repr(error)
        assert SECRET not in str(error)
        error = error.__cause__ or error.__context__
    return caught.value


@asynccontextmanager
async def answering(reply: bytes) -> AsyncIterator[str]:
    """A server that is not Redis: it sends ``reply`` to every request. Yields a URL with a password."""

    handlers: list[asyncio.Task[None] | None] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        await reader.read(1)
        writer.write(reply)
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"redis://:{SECRET}@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await asyncio.gather(*(task for task in handlers if task))


async def test_wrong_password(redis_server: Server) -> None:
    address = f"{redis_server.host}:{redis_server.port}"
    for login in (f":{SECRET}", f"nobody:{SECRET}"):
        error = await error_of(redis_url=f"redis://{login}@{address}")
        assert type(error) is RepositoryException
        assert f"Redis at {address} refuses the user or password in redis_url" in str(error)
        assert error.__cause__ is not None


async def test_missing_password(start_server: StartServer) -> None:
    with start_server("redis", "--requirepass", "") as server:
        command(server.port, "CONFIG", "SET", "requirepass", SECRET)
        error = await error_of(redis_url=server.url)
        assert type(error) is RepositoryException
        assert "wants a password" in str(error)
        url = server.url.replace("redis://", f"redis://:{SECRET}@")
        async with redis_repository(redis_url=url) as repository:
            await use(repository)


async def test_wrong_password_repeated_by_the_server() -> None:
    async with answering(f"-ERR unknown command 'AUTH', with args beginning with: '{SECRET}'\r\n".encode()) as url:
        error = await error_of(redis_url=url)
    assert "beginning with: '***'" in str(error)


@pytest.mark.parametrize("mode", ["single", "cluster", "sentinel"])
async def test_nobody_listens(mode: str) -> None:
    service = "mymaster" if mode == "sentinel" else None
    for host in ("127.0.0.1:1", "no-such-host.invalid"):
        error = await error_of(redis_url=f"redis://:{SECRET}@{host}", redis_mode=mode, redis_sentinel_service=service)
        assert isinstance(error, RepositoryUnavailableException)
        assert host in str(error)


async def test_not_a_redis() -> None:
    async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        error = await error_of(redis_url=url)
    assert type(error) is RepositoryException
    assert "does not speak Redis's protocol" in str(error)


async def test_a_server_that_never_answers() -> None:
    async with answering(b"") as url:
        error = await error_of(redis_url=url, redis_timeout=0.3)
        assert isinstance(error, RepositoryUnavailableException)
        assert "did not answer within 0.3 s (redis_timeout)" in str(error)
        error = await error_of(redis_url=url.replace("redis:", "rediss:"), redis_timeout=0.3)
        assert "TLS" in str(error)


async def test_tls_where_there_is_none() -> None:
    async with answering(b"+OK\r\n") as url:
        error = await error_of(redis_url=url.replace("redis:", "rediss:"))
    assert isinstance(error, RepositoryUnavailableException)
    assert "does not speak TLS on this port; use redis://" in str(error)


async def test_database_that_does_not_exist(redis_server: Server) -> None:
    error = await error_of(redis_url=f"redis://{redis_server.host}:{redis_server.port}/99")
    assert type(error) is RepositoryException
    assert "choose another database" in str(error)


async def test_the_wrong_mode(redis_server: Server, redis_cluster: Server, redis_sentinel: Server) -> None:
    single = f"redis://{redis_server.host}:{redis_server.port}"
    cluster = f"redis://{redis_cluster.host}:{redis_cluster.port}"
    watcher = redis_sentinel.sentinels[0]
    sentinel = f"redis://{watcher.host}:{watcher.port}"
    for url, options, says in (
        (cluster, {}, "use redis_mode='cluster'"),
        (sentinel, {}, "use redis_mode='sentinel'"),
        (single, {"redis_mode": "cluster"}, "use redis_mode='single'"),
        (sentinel, {"redis_mode": "cluster"}, "no server of a cluster"),
        (single, {"redis_mode": "sentinel", "redis_sentinel_service": "mymaster"}, "use redis_mode='single'"),
        (sentinel, {"redis_mode": "sentinel", "redis_sentinel_service": "other"}, "sentinels don't know this service"),
    ):
        assert says in str(await error_of(redis_url=url, **options))


async def test_replica(redis_sentinel: Server) -> None:
    roles = [(command(node.port, "ROLE")[0], node) for node in redis_sentinel.nodes]
    (replica,) = (node for role, node in roles if role == "slave")
    error = await error_of(redis_url=replica.url)
    assert "is a replica" in str(error)
    assert "redis_mode='sentinel'" in str(error)


def hello(**about: str) -> list[bytes]:
    """A server's answer to HELLO."""
    return [word.encode() for pair in {"server": "redis", "version": "7.0.0", **about}.items() for word in pair]


@pytest.mark.parametrize(
    "about, fits",
    [
        ({}, True),
        ({"version": "10.2.1"}, True),
        ({"server": "valkey", "version": "9.0.0"}, True),
        ({"server": "somebody's", "version": "1"}, True),
        ({"version": "6.2.14"}, False),
    ],
)
def test_version_of_the_server(about: dict[str, str], fits: bool) -> None:
    settings = check(
        redis_url="redis://", redis_namespace="", redis_timeout=1, redis_mode="single", redis_sentinel_service=None
    )
    with (
        nullcontext() if fits else pytest.raises(RepositoryException, match=r"is Redis 6.2.14; Pyncette needs Redis 7")
    ):
        server.check_server(hello(**about), settings)
    by_sentinels = replace(settings, mode=Mode.SENTINEL)
    for each, kind in ((settings, RepositoryException), (by_sentinels, RepositoryUnavailableException)):
        with pytest.raises(RepositoryException, match="a replica") as caught:
            server.check_server(hello(role="replica"), each)
        assert type(caught.value) is kind
    with pytest.raises(RepositoryException, match="too old"):
        server.check_server(ResponseError("unknown command 'HELLO'"), settings)


@pytest.fixture
def user(redis_server: Server) -> Iterator[str]:
    """The URL of a user with exactly the documented permissions."""
    command(redis_server.port, "ACL", "SETUSER", USER, "reset", "on", f">{SECRET}", *GRANTS)
    yield f"redis://{USER}:{SECRET}@{redis_server.host}:{redis_server.port}/0"
    command(redis_server.port, "ACL", "DELUSER", USER)


async def use(repository: Repository) -> None:
    """Call every method, with static and dynamic queues."""
    records = [*numbered(5), static("static")]
    queue = Queue("static", static=True)
    await insert(repository, records)
    assert await ready(repository, want(TASK, queue), now=NOW, limit=10) == records
    taken = await take(repository, want(TASK, queue), now=NOW, limit=10, token=fresh(), holder="me")
    settled = [lease.complete(one, next_due=NOW + MINUTE, revision=fresh()) for one in taken]
    assert await repository.swap(settled) == [Swap.APPLIED] * 6
    assert await stored(repository, records) == [change.new for change in settled]
    assert await all_of(repository, TASK) == [change.new for change in settled[:5]]
    assert await next_ready(repository, [TASK, queue]) == NOW + MINUTE
    assert await repository.clock() is not None
    assert await repository.swap([Change(change.new, None) for change in settled]) == [Swap.APPLIED] * 6


async def test_documented_permissions_suffice(user: str, namespace: str) -> None:
    async with redis_repository(redis_url=user, redis_namespace=namespace) as repository:
        await use(repository)


@pytest.mark.parametrize("rule", [grant for grant in GRANTS if grant.startswith("+")])
async def test_missing_permission_is_named(redis_server: Server, user: str, namespace: str, rule: str) -> None:
    """At the start, not at the first write. Permissions that only serve warnings are optional."""
    command(redis_server.port, "ACL", "SETUSER", USER, f"-{rule[1:]}")
    if rule in ("+hello", "+info", "+select"):  # HELLO and INFO only help to find mistakes
        async with redis_repository(redis_url=user, redis_namespace=namespace) as repository:
            await use(repository)
    else:
        error = await error_of(redis_url=user, redis_namespace=namespace)
        assert type(error) is RepositoryException
        assert rule[1:].partition("|")[0] in str(error).lower()


async def test_missing_key_permission(redis_server: Server, user: str) -> None:
    command(redis_server.port, "ACL", "SETUSER", USER, "resetkeys", "~other:*")
    error = await error_of(redis_url=user)
    assert type(error) is RepositoryException
    assert "keys pyncette:*" in str(error)


async def test_data_of_version_1_of_static_tasks(redis_server: Server, namespace: str) -> None:
    index = f"pyncette:{namespace}:index"
    command(redis_server.port, "ZADD", index, 0, f"2026-01-01T00:00:00+00:00_pyncette:{namespace}:task:hello")
    error = await error_of(redis_url=redis_server.url, redis_namespace=namespace)
    assert isinstance(error, StorageVersionException)
    assert f"'{namespace}-v2'" in str(error)
    assert command(redis_server.port, "KEYS", f"*{namespace}*") == [index]
    assert command(redis_server.port, "ZCARD", index) == 1


async def test_data_of_version_1_of_dynamic_tasks(redis_server: Server, namespace: str) -> None:
    """The names of their templates are known only when they are used. Nothing is written before."""
    index = f"pyncette:{namespace}:index:old"
    command(redis_server.port, "ZADD", index, 0, f"2026-01-01T00:00:00+00:00_pyncette:{namespace}:task:old:1")
    async with redis_repository(redis_url=redis_server.url, redis_namespace=namespace) as repository:
        (one,) = numbered(1, "old")
        for _ in range(2):
            with pytest.raises(StorageVersionException, match="pyncette 1"):
                await repository.swap([Change(None, one)])
            with pytest.raises(StorageVersionException, match="pyncette 1"):
                await take(repository, want(Queue("new"), Queue("old")), now=NOW, limit=1, token=fresh(), holder="me")
            with pytest.raises(StorageVersionException, match="pyncette 1"):
                await next_ready(repository, [Queue("old")])
            with pytest.raises(StorageVersionException, match="pyncette 1"):
                await repository.scan(Queue("old"), after=None, limit=1)
            with pytest.raises(StorageVersionException, match="pyncette 1"):
                await repository.read([one.ref])
        await insert(repository, numbered(1, "new"))
    keys = set(command(redis_server.port, "KEYS", f"*{namespace}*"))
    assert not any("|old" in key for key in keys)
    assert command(redis_server.port, "ZCARD", index) == 1


@pytest.mark.parametrize("schema", ["3", "1", "27b", ""])
async def test_other_schema(redis_server: Server, namespace: str, schema: str) -> None:
    marker = f"pyncette:{{{namespace}|}}:schema"
    command(redis_server.port, "SET", marker, schema)
    error = await error_of(redis_url=redis_server.url, redis_namespace=namespace)
    assert isinstance(error, StorageVersionException)
    assert "left as it is" in str(error)
    assert command(redis_server.port, "GET", marker) == schema


async def test_a_marker_of_another_program(redis_server: Server, namespace: str) -> None:
    command(redis_server.port, "SADD", f"pyncette:{{{namespace}|}}:schema", "x")
    error = await error_of(redis_url=redis_server.url, redis_namespace=namespace)
    assert type(error) is RepositoryException
    assert "WRONGTYPE" in str(error)


async def test_every_process_finds_the_same_namespace(redis_server: Server, namespace: str) -> None:
    for _ in range(3):
        async with redis_repository(redis_url=redis_server.url, redis_namespace=namespace):
            assert command(redis_server.port, "GET", f"pyncette:{{{namespace}|}}:schema") == MARKER


async def warnings_of(caplog: pytest.LogCaptureFixture, **options: Any) -> str:
    caplog.clear()
    with caplog.at_level(logging.WARNING, "pyncette.redis"):
        async with redis_repository(**options):
            pass
    return caplog.text


async def test_warning_of_eviction(start_server: StartServer, caplog: pytest.LogCaptureFixture) -> None:
    with start_server("redis", "--maxmemory", "100mb") as server:
        for policy, warns in (
            ("noeviction", False),
            ("volatile-lru", False),  # none of Pyncette's keys expires
            ("allkeys-lru", True),
            ("allkeys-random", True),
        ):
            command(server.port, "CONFIG", "SET", "maxmemory-policy", policy)
            said = await warnings_of(caplog, redis_url=server.url)
            assert ("may evict" in said) is warns, policy
            assert (policy in said) is warns
        # INFO or CONFIG is enough. A user who may run neither gets no warning.
        url = f"redis://{USER}:{SECRET}@{server.host}:{server.port}"
        for rules, warns in ((["+info"], True), (["-info", "+config|get"], True), (["-info"], False)):
            command(server.port, "ACL", "SETUSER", USER, "reset", "on", f">{SECRET}", *GRANTS, *rules)
            assert ("may evict" in await warnings_of(caplog, redis_url=url)) is warns, rules


async def test_warning_of_missing_persistence(start_server: StartServer, caplog: pytest.LogCaptureFixture) -> None:
    with start_server("redis") as server:
        assert not await warnings_of(caplog, redis_url=server.url)
        command(server.port, "CONFIG", "SET", "appendonly", "no")
        assert "persists nothing" in await warnings_of(caplog, redis_url=server.url)
        command(server.port, "CONFIG", "SET", "save", "3600 1")
        assert "back to its last snapshot" in await warnings_of(caplog, redis_url=server.url)
