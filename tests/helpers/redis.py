"""Helpers for tests of the Redis storage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pyncette import lease
from pyncette.errors import RepositoryUnavailableException
from pyncette.record import Change, Queue, Record
from pyncette.redis import redis_repository
from pyncette.repository import Repository
from pyncette.testing.contract.base import MINUTE, NOW, TASK, fresh, stored, take, want
from tests.servers.model import Server

LONGEST_WAIT = 100

SECRET = "s3cret"
USER = "pyncette-test"

# The permissions that the documentation tells users to grant.
GRANTS = (
    "~pyncette:*",
    "+evalsha",
    "+script|load",
    *("+hmget", "+hset", "+hdel", "+zadd", "+zrem", "+zcount", "+zmscore", "+zrangebyscore", "+zrangebylex"),
    *("+zrank", "+zrange"),
    *("+get", "+set", "+del", "+exists", "+time", "+hello", "+select", "+info"),
)


@asynccontextmanager
async def opened(server: Server, **options: Any) -> AsyncIterator[Repository]:
    """A repository on a server, in a cluster, or behind sentinels."""
    given: dict[str, Any] = {"redis_url": server.url}
    if server.sentinels:
        hosts = ",".join(f"{sentinel.host}:{sentinel.port}" for sentinel in server.sentinels)
        given = {
            "redis_url": f"redis://{hosts}",
            "redis_mode": "sentinel",
            "redis_sentinel_service": server.service,
        }
    elif server.nodes:
        given["redis_mode"] = "cluster"
    async with redis_repository(**{**given, **options}) as repository:
        yield repository


async def claim(repository: Repository, *queues: Queue, limit: int = 100, now: int = NOW) -> list[Record]:
    claims = want(*(queues or [TASK]), limit=limit, locked_until=now + MINUTE)
    return await take(repository, claims, now=now, limit=limit, token=fresh(), holder="me")


def settled(taken: list[Record]) -> list[Change]:
    return [lease.complete(one, next_due=NOW + MINUTE, revision=fresh()) for one in taken]


async def until_it_works(repository: Repository, records: list[Record]) -> list[Record | None]:
    """Read, as soon as the storage is reachable again."""
    async with asyncio.timeout(LONGEST_WAIT):
        while True:
            try:
                return await stored(repository, records)
            except RepositoryUnavailableException:
                await asyncio.sleep(0.05)
