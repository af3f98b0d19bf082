"""Connections: how statements get to the server and what comes back when it is not there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import asyncpg

from .failures import DRIVER_ERRORS, NOTHING_DONE, is_out_of_step, translated
from .settings import Settings

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection."""

COMMAND_TIMEOUT = 30.0
"""Seconds to wait for the answer to a statement."""

RELEASE_TIMEOUT = 5.0
"""Seconds that a cancelled statement may take to end before its connection is cut."""

CLOSE_TIMEOUT = 5.0
"""Seconds to take leave of the server."""

ATTEMPTS = 6
"""How often a statement is sent that ended in a deadlock."""

_BACKOFF = 0.01

_SERVER_IS_GONE = frozenset({"25006", "57P01", "57P02", "57P03"})  # a standby by now, shut down, crashed, starting up

_SESSION = {
    # Plans are made once for a connection and kept, maybe while the table is empty: whatever its size was then, they
    # must be good for millions of rows. The statements are written so that the indexes serve all that they do.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_sort": "off",
    "jit": "off",
    # At a higher level, records that others have just changed would be errors instead of lost races.
    "default_transaction_isolation": "read committed",
}


class Database:
    """A pool of connections to one server.

    :ivar where: the server, for people to read.
    """

    def __init__(self, pool: asyncpg.Pool, where: str) -> None:
        self._pool = pool
        self.where = where

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Run one statement, which is a transaction of its own, and return its rows.

        :raises RepositoryException: as :func:`~pyncette.postgres.failures.translated` has it.
        """
        attempt = 1
        while True:
            try:
                async with self.connection() as connection:
                    rows: list[Any] = await connection.fetch(query, *arguments)
                    return rows
            except DRIVER_ERRORS as error:
                if attempt == ATTEMPTS or getattr(error, "sqlstate", None) not in NOTHING_DONE:
                    raise translated(error, self.where) from error
            await asyncio.sleep(random.uniform(0, _BACKOFF * 2**attempt))  # noqa: S311 -- spreads retries, no secret
            attempt += 1

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection for as long as the block lasts; the driver's errors come out as they are.

        When the server is lost the pool's other connections, most likely lost as well, are not tried any more.
        """
        connection = await self._pool.acquire(timeout=CONNECT_TIMEOUT)
        try:
            yield connection
        except DRIVER_ERRORS as error:
            if _ends_connections(error):
                await self._pool.expire_connections()
            raise
        finally:
            with suppress(*DRIVER_ERRORS):  # a connection that can't be released is cut by the pool, and replaced
                await self._pool.release(connection, timeout=RELEASE_TIMEOUT)


class Connector:
    """Makes the pool's connections.

    An attempt that nobody waits for any more goes on to its end in the background. Cancelled half-way, the driver
    would leave a future behind whose exception nobody retrieves, which the event loop then complains of.
    """

    def __init__(self) -> None:
        self._attempts: set[asyncio.Task[Any]] = set()

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        attempt = asyncio.create_task(asyncpg.connect(*args, **kwargs))
        self._attempts.add(attempt)
        attempt.add_done_callback(self._attempts.discard)
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            attempt.add_done_callback(_cut)
            raise

    async def close(self) -> None:
        """Wait for the attempts that are still under way, until their own time limit at most."""
        await asyncio.gather(*self._attempts, return_exceptions=True)


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Database]:
    """The pool, open as long as the block lasts. Connections are made when they are first needed."""
    connector = Connector()
    pool = await asyncpg.create_pool(
        settings.url,
        connect=connector.connect,
        min_size=0,
        max_size=settings.pool_size,
        statement_cache_size=settings.statement_cache_size,
        command_timeout=COMMAND_TIMEOUT,
        timeout=CONNECT_TIMEOUT,
        server_settings=session_settings(settings),
        reset=_leave_as_it_is,
    )
    try:
        yield Database(pool, settings.where)
    finally:
        # Shielded, as a cancelled app has to take leave as well; the pool cuts its connections if time runs out.
        with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
            await pool.close()
            await connector.close()


def session_settings(settings: Settings) -> dict[str, str]:
    """What is set for each session. Proxies refuse most of it, and there each statement is planned anew anyway."""
    if settings.behind_proxy:
        return {}
    given = parse_qs(urlsplit(settings.url).query)
    return {**({} if "application_name" in given else {"application_name": "pyncette"}), **_SESSION}


async def _leave_as_it_is(_: Any) -> None:
    """Nothing that we do leaves a trace in a session. The driver's own clean-up would cost a round trip each time."""


def _cut(attempt: asyncio.Task[Any]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()


def _ends_connections(error: Exception) -> bool:
    """Whether the server, not just the statement, is in trouble."""
    if isinstance(error, asyncpg.PostgresError):
        code = error.sqlstate or ""
        return code.startswith("08") or code in _SERVER_IS_GONE
    return isinstance(error, OSError) or is_out_of_step(error)
