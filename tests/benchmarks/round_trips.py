"""How often a server has been asked, by its own count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """What a server counts.

    :ivar unit: what it counts.
    :ivar served: how many it has served so far, without those that asked for it.
    """

    unit: str
    served: Callable[[], int]


def of_redis(url: str) -> RoundTrips:
    """Commands that arrived; those that scripts call, which most of Redis' counters include, have not travelled."""
    import redis

    client = redis.Redis.from_url(url)

    def served() -> int:
        stats: dict[str, dict[str, int]] = client.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha", "time"))

    return RoundTrips("commands", served)


def of_postgres(url: str) -> RoundTrips:
    """Transactions of the database; asked from another one, so that asking does not count. Its autovacuum's do: some
    in a minute, more after many writes.

    The server's processes report once a second while they work, and those that rest at the latest after ten seconds.
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
    """Statements, those within a multi-statement included."""
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
