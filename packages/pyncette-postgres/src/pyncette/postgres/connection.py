"""Connections: how statements reach the server, and which errors result if they don't."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import asyncpg

from pyncette import backoff
from pyncette.cancellation import fell_silent

from .errors import DRIVER_ERRORS, is_out_of_step, nothing_was_done, translated
from .settings import Settings

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection."""

COMMAND_TIMEOUT = 30.0
"""Seconds to wait for the answer to a statement."""

LOCK_TIMEOUT = 1.0
"""Seconds that an insert waits for another transaction that inserts the same key; nothing else waits for a lock."""

LEAVE_TIMEOUT = 5.0
"""Seconds that a cancelled statement may take to end before its connection is cut."""

CANCEL_TIMEOUT = 1.0
"""Seconds that background tasks get to finish once they are cancelled."""

CLOSE_TIMEOUT = 1.0
"""Seconds to close the connections cleanly."""

ATTEMPTS = 10
"""How often a statement is sent if it keeps ending in a deadlock or a serialization failure."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5  # seconds

# Read-only since a failover, shut down, crashed, starting up.
_SERVER_IS_GONE = frozenset({"25006", "57P01", "57P02", "57P03"})

_SESSION = {
    "application_name": "pyncette",
    # Each connection plans a statement once, possibly while the table is empty, and keeps the plan, which must still
    # work with millions of rows. The statements are written so that an index serves every part of them.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_sort": "off",
    "jit": "off",
    "lock_timeout": f"{LOCK_TIMEOUT:g}s",
    # At a higher isolation level, a record that someone else has just changed would be an error, not a conflict.
    "default_transaction_isolation": "read committed",
}


class Background:
    """Tasks that run in the background until the pool is closed."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, job: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def ended(self) -> None:
        """Wait for them all; if the caller is cancelled, so are they.

        ``asyncio.gather`` won't do: it loses the cancellation if the last task has just ended.
        """
        try:
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                with anyio.CancelScope(shield=True):
                    await asyncio.wait(self._tasks, timeout=CANCEL_TIMEOUT)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its caller has handled it; this keeps asyncio from reporting it again


class Server(ABC):
    """Where statements are sent.

    :ivar where: a description for messages.
    """

    where: str

    @abstractmethod
    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Run one statement and return its rows."""


class Database(Server):
    """A pool of connections to one server."""

    def __init__(self, pool: asyncpg.Pool, where: str, background: Background) -> None:
        self._pool = pool
        self._background = background
        self.where = where

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Run one statement, which is a separate transaction, and return its rows.

        :raises RepositoryException: as :func:`~pyncette.postgres.errors.translated` has it.
        """
        attempt = 1
        while True:
            try:
                async with self.connection() as connection:
                    rows: list[Any] = await connection.fetch(query, *arguments)
                    return rows
            except DRIVER_ERRORS as error:
                if attempt == ATTEMPTS or not nothing_was_done(error):
                    raise translated(error, self.where) from error
            await asyncio.sleep(backoff.pause(attempt, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE))
            attempt += 1

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection for the duration of the block; the driver's errors are passed on unchanged.

        If the server is lost or doesn't answer, the pool's other connections are discarded too, as they are most likely
        lost as well. The connection of a cancelled block is never reused: if a statement was being prepared, the driver
        would return it to the pool as idle, although it is in a transaction that blocks changes of the table's schema.
        """
        connection = await self._pool.acquire(timeout=CONNECT_TIMEOUT)
        since = asyncio.get_running_loop().time()
        try:
            yield connection
        except BaseException as error:
            cancelled = isinstance(error, asyncio.CancelledError)
            if fell_silent(since) if cancelled else _ends_connections(error):
                await self._pool.expire_connections()
            if cancelled:
                _ = self._background.start(_leave(connection))
            else:
                await self._release(connection)
            raise
        await self._release(connection)

    async def _release(self, connection: Any) -> None:
        with suppress(*DRIVER_ERRORS):  # the pool closes and replaces a connection that can't be released
            await self._pool.release(connection, timeout=LEAVE_TIMEOUT)


async def _leave(connection: Any) -> None:
    """Ask the server to cancel the statement that may be running, then close the connection."""
    with suppress(*DRIVER_ERRORS):  # the connection is dropped either way
        async with asyncio.timeout(LEAVE_TIMEOUT):
            await connection.close()


class Connector:
    """Opens the pool's connections.

    If nobody waits for an attempt any more, it still runs to its end in the background. Cancelled halfway, the driver
    would leave behind a future whose exception is never retrieved, and the event loop would report it.
    """

    def __init__(self, background: Background) -> None:
        self._background = background

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        attempt = self._background.start(asyncpg.connect(*args, **kwargs))
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            attempt.add_done_callback(_cut)
            raise


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Database]:
    """The pool, open for the duration of the block. Connections are opened when they are first needed."""
    background = Background()
    pool = await asyncpg.create_pool(
        settings.url,
        connect=Connector(background).connect,
        min_size=0,
        max_size=settings.pool_size,
        statement_cache_size=settings.statement_cache_size,
        command_timeout=COMMAND_TIMEOUT,
        timeout=CONNECT_TIMEOUT,
        server_settings=session_settings(settings),
        reset=_leave_as_it_is,
    )
    try:
        yield Database(pool, settings.where, background)
    finally:
        # Shielded: a cancelled app must close its connections too. When time runs out, the pool drops them.
        with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
            try:
                await pool.close()
            finally:
                await background.ended()


def session_settings(settings: Settings) -> dict[str, str]:
    """The settings of each session, unless the URL overrides them. Proxies refuse most of them, but behind a proxy each
    statement is planned again anyway."""
    if settings.behind_proxy:
        return {}
    given = parse_qs(urlsplit(settings.url).query)
    return {name: value for name, value in _SESSION.items() if name not in given}


async def _leave_as_it_is(_: Any) -> None:
    """Skips the driver's reset of a session, which costs a round trip each time: our statements leave no session
    state."""


def _cut(attempt: asyncio.Task[Any]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()


def _ends_connections(error: BaseException) -> bool:
    """Whether the server, not just the statement, is in trouble."""
    if isinstance(error, asyncpg.PostgresError):
        code = error.sqlstate or ""
        return code.startswith("08") or code in _SERVER_IS_GONE
    return isinstance(error, OSError) or is_out_of_step(error)
