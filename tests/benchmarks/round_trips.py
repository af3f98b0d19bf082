"""The number of requests to a server, by its own counters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """A server's counter.

    :ivar unit: what it counts.
    :ivar served: returns the count so far, without the requests that query it.
    """

    unit: str
    served: Callable[[], int]


def of_redis(url: str) -> RoundTrips:
    """Commands received from clients. Most of Redis's counters also include the commands that scripts call."""
    import redis

    client = redis.Redis.from_url(url)

    def served() -> int:
        stats: dict[str, dict[str, int]] = client.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha", "time"))

    return RoundTrips("commands", served)


def of_postgres(url: str) -> RoundTrips:
    """Transactions of the database. The counter is queried from another database, so that the query is not counted.
    Those of autovacuum are: a few per minute, more after many writes.

    The server's processes report once per second while they are busy, and after at most ten seconds when they are idle.
    """
    parts = urlsplit(url)
    name = parts.path.lstrip("/")

    async def served() -> int:
        import asyncpg

        connection = await asyncpg.connect(urlunsplit(parts._replace(path="/template1")))
        try:
            query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1"
            total: int = await connection.fetchval(query, name)
        finally:
            await connection.close()
        return total

    return RoundTrips("transactions", lambda: asyncio.run(served()))


def of_mysql(options: dict[str, Any]) -> RoundTrips:
    """Statements, including those within a multi-statement."""
    own = 0

    async def questions(cursor: Any, scope: str) -> int:
        await cursor.execute(f"SHOW {scope} STATUS LIKE 'Questions'")
        ((_, value),) = await cursor.fetchall()
        return int(value)

    async def served() -> int:
        import asyncmy

        nonlocal own
        connection = await asyncmy.connect(
            host=options["mysql_host"],
            port=options["mysql_port"],
            user=options["mysql_user"],
            password=options["mysql_password"],
        )
        try:
            cursor = connection.cursor()
            total = await questions(cursor, "GLOBAL")
            mine = await questions(cursor, "SESSION")
        finally:
            connection.close()
        others = total - own - (mine - 1)
        own += mine
        return others

    return RoundTrips("statements", lambda: asyncio.run(served()))
