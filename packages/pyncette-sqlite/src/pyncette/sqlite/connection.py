"""Runs operations of several statements in the driver's thread.

aiosqlite switches to its connection's thread for every statement, which costs far more than most statements. Its
public hook is ``factory``: the class of the :mod:`sqlite3` connection that it calls in that thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, cast

import aiosqlite

from pyncette import backoff
from pyncette.cancellation import completed

from .codec import text
from .errors import LOCK_TIMEOUT, is_contention, is_damaged_text, translated
from .settings import Settings

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.004
"""Seconds between attempts while another connection holds the lock."""

_RUN = "-- run the operation that is the parameter"


class Session(sqlite3.Connection):
    """A connection that runs an :class:`Operation`, which is passed as the parameter of a placeholder statement."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql is _RUN:
            (operation,) = parameters
            return cast(sqlite3.Cursor, _Rows(operation.run(self)))
        return super().execute(sql, parameters)


class _Rows:
    """The part of a cursor that aiosqlite uses."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def fetchall(self) -> list[Any]:
        return self._rows


class Operation(Generic[T]):
    """A function of the connection. It is called again if another connection held the lock, so it must do all its
    writing inside :func:`writing`."""

    def __init__(self, settings: Settings, function: Callable[[sqlite3.Connection], list[T]]) -> None:
        self._settings = settings
        self._function = function
        self._abandoned = False
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()

    def run(self, connection: sqlite3.Connection) -> list[T]:
        if not self._ended.set_running_or_notify_cancel():
            return []
        try:
            return self._run(connection)
        finally:
            connection.text_factory = str
            self._ended.set_result(None)

    async def abandon(self) -> None:
        """Keep the operation from starting; if it has started, wait until it has ended."""
        self._abandoned = True
        if not self._ended.cancel():
            await completed(asyncio.wrap_future(self._ended))

    def _run(self, connection: sqlite3.Connection) -> list[T]:
        deadline = time.monotonic() + LOCK_TIMEOUT
        failures = 0
        while not self._abandoned:
            try:
                return self._function(connection)
            except (sqlite3.Error, OverflowError, UnicodeError) as error:
                if is_damaged_text(error) and connection.text_factory is str:
                    connection.text_factory = text  # it is slow, so it is set only when it is needed
                    continue
                contention = isinstance(error, sqlite3.Error) and is_contention(error)
                if not contention or time.monotonic() > deadline:
                    max_size = connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
                    raise translated(error, self._settings, max_size) from error
            failures += 1
            time.sleep(backoff.pause(failures, first=FIRST_PAUSE, longest=LONGEST_PAUSE, least=0.5))
        return []


async def run(connection: aiosqlite.Connection, operation: Operation[T]) -> list[T]:
    """Run the operation in the connection's thread.

    If the caller is cancelled, an operation that has started is awaited first, so that nothing is written later. It
    then stops waiting for other connections.
    """
    try:
        return cast(list[T], await connection.execute_fetchall(_RUN, (operation,)))
    except asyncio.CancelledError:
        await operation.abandon()
        raise


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[sqlite3.Cursor]:
    """A transaction that holds the write lock from its beginning. A transaction that reads first and writes later would
    fail if another one wrote in between, and two of them could deadlock."""
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    try:
        yield cursor
        cursor.execute("COMMIT")
    finally:
        if connection.in_transaction:
            cursor.execute("ROLLBACK")
