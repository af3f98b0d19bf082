"""A pool of connections to the server, and scripts sent over them: with a deadline, repeated after a deadlock, and with
Pyncette's errors."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import asyncmy
from asyncmy.connection import Connection
from asyncmy.cursors import Cursor

from pyncette import backoff
from pyncette.cancellation import fell_silent

from .errors import (
    DRIVER_ERRORS,
    LOCK_WAIT_TIMEOUT,
    NOTHING_APPLIED,
    lost_connection,
    not_supported,
    number,
    translated,
)
from .settings import Settings

Rows = Sequence[tuple[Any, ...]]

CONNECT_SECONDS = 10.0
PING_SECONDS = 5.0
CLOSE_SECONDS = 1.0
TESTED_WHEN_IDLE_SECONDS = 30.0
"""A connection that has been idle for less than this is not tested before it is used. Most losses show anyway, because
the server or its host closes the connection."""

CALL_SECONDS = 30.0
"""Seconds that a call may take in total, including the wait for a connection."""

ATTEMPTS = 10
FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.5

SQL_MODE = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_ENGINE_SUBSTITUTION"

SESSION = f"""
SET NAMES utf8mb4;
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET SESSION
sql_mode = '{SQL_MODE}',
sql_safe_updates = 0, sql_select_limit = 18446744073709551615, innodb_lock_wait_timeout = 1, lock_wait_timeout = 10
"""
"""The statement that every connection starts with. READ COMMITTED locks no gaps between rows. Lock timeouts are shorter
than a call's, so that an abandoned call doesn't leave a waiting statement behind."""


async def execute(connection: Connection, script: str) -> list[Rows]:
    """Send one or several statements in one packet. The server stops at the first error.

    :return: the rows of each statement; empty for a statement without a result.
    """
    cursor = connection.cursor(Cursor)  # regardless of the default of a caller's connection
    await cursor.execute(script)
    replies: list[Rows] = []
    while True:
        replies.append(await cursor.fetchall())
        if not await cursor.nextset():
            return replies


class Connections:
    """A pool of connections.

    The driver's own pool opens connections under a lock that also guards the idle ones, so a server that doesn't
    answer blocks every caller, and it can't be closed within a time limit.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._free = asyncio.Semaphore(settings.pool_size)
        self._idle: list[Connection] = []
        self._closed = False

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Connection]:
        """A working connection without an open transaction.

        After an error from the server, the transaction is rolled back and the connection is reused. After any other
        exception, including cancellation, the connection is closed, as an unread answer may still arrive. If the server
        didn't answer in time, the idle connections are closed as well.
        """
        async with self._free:
            connection = await self._take()
            since = asyncio.get_running_loop().time()
            try:
                yield connection
            except DRIVER_ERRORS as error:
                await self._give_back_after(error, connection)
                raise
            except BaseException:
                connection.close()
                if fell_silent(since):
                    self._drop_idle()
                raise
            self._give_back(connection)

    async def close(self) -> None:
        """Close all idle connections cleanly. Those in use are closed when they are returned."""
        self._closed = True
        idle, self._idle = self._idle, []
        # Shielded: a cancelled app must close its connections too.
        try:
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                async with anyio.create_task_group() as tasks:
                    for connection in idle:
                        tasks.start_soon(_say_goodbye, connection)
        finally:
            for connection in idle:
                connection.close()

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if await _works(connection):
                return connection
        return await _connect(self._settings)

    def _give_back(self, connection: Connection) -> None:
        if self._closed or not connection.connected:
            connection.close()
        else:
            self._idle.append(connection)

    async def _give_back_after(self, error: BaseException, connection: Connection) -> None:
        if lost_connection(error):
            connection.close()
            return
        try:
            await connection.rollback()
        except DRIVER_ERRORS:
            connection.close()
        except BaseException:
            connection.close()
            raise
        else:
            self._give_back(connection)


class Server(ABC):
    """Where scripts are sent.

    :ivar max_packet: the largest packet, and so the longest script, that the server takes, in bytes.
    """

    max_packet: int

    @abstractmethod
    async def run(self, script: str) -> list[Rows]:
        """Run a script in one round trip: the rows of each statement."""


class Database(Server):
    """A database on a server."""

    def __init__(self, connections: Connections, max_packet: int) -> None:
        self._connections = connections
        self.max_packet = max_packet

    async def run(self, script: str) -> list[Rows]:
        """Run a script in one round trip: the rows of each statement. If more than one writes, it is a transaction.

        A script that the server has rolled back because of a deadlock is run again.

        :raises RepositoryUnavailableException: it is unknown whether the script was executed.
        :raises RecordRefusedException: the server refuses to store a record.
        :raises RepositoryException: any other error.
        """
        try:
            # anyio repeats its cancellation. That is needed because the driver connects within asyncio.wait_for(),
            # which on Python 3.11 loses a cancellation that coincides with the end of the wait.
            with anyio.fail_after(CALL_SECONDS):
                return await self._run(script)
        except DRIVER_ERRORS as error:
            raise translated(error) from error

    async def _run(self, script: str) -> list[Rows]:
        for attempt in range(1, ATTEMPTS):
            try:
                return await self._once(script)
            except DRIVER_ERRORS as error:
                if number(error) not in NOTHING_APPLIED or number(error) == LOCK_WAIT_TIMEOUT:
                    raise
            seconds = backoff.pause(attempt, first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(seconds)
        return await self._once(script)

    async def _once(self, script: str) -> list[Rows]:
        async with self._connections.lend() as connection:
            return await execute(connection, script)


async def _say_goodbye(connection: Connection) -> None:
    with suppress(Exception):  # whatever happens, the connection is closed next
        await connection.ensure_closed()


async def _works(connection: Connection) -> bool:
    broken: bool = connection._stream_broken  # type: ignore[attr-defined]  # noqa: SLF001 - as the driver's own pool asks
    if broken or not connection.connected:
        connection.close()
        return False
    if asyncio.get_running_loop().time() - connection.last_usage < TESTED_WHEN_IDLE_SECONDS:
        return True
    works = False
    try:
        async with asyncio.timeout(PING_SECONDS):
            with suppress(*DRIVER_ERRORS):
                await connection.ping(reconnect=False)
                works = True
    except TimeoutError:
        pass
    finally:
        if not works:
            connection.close()
    return works


async def _connect(settings: Settings) -> Connection:
    async with asyncio.timeout(CONNECT_SECONDS):
        connection = await _log_in(settings)
        try:
            await execute(connection, SESSION)
        except BaseException:
            connection.close()
            raise
        return connection


async def _log_in(settings: Settings) -> Connection:
    try:
        return await asyncmy.connect(
            host=settings.host,
            port=settings.port,
            user=settings.user,
            password=(settings.password or "").encode(),  # as text, the driver would encode it as Latin-1
            database=settings.database,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            program_name="pyncette",
            ssl=settings.tls or None,
        )
    except RuntimeError as error:
        raise not_supported(error) from error
