"""The SQLite repository."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeVar

import aiosqlite

from pyncette.bridge import asyncio_only
from pyncette.errors import RepositoryException
from pyncette.record import Change, Queue, QueueClaim, Record, Ref
from pyncette.repository import Repository

from .failures import translated
from .location import MEMORY, Location
from .session import Operation, Session, completed, run
from .store import Store

T = TypeVar("T")

_OLDEST_SQLITE = (3, 37, 0)
"""The first with STRICT tables."""


class SqliteRepository(Repository):
    """Records in one table.

    Each call is one crossing to a connection's thread, and each call that writes is one transaction, which is on the
    disk when the call returns. Reading has a connection of its own where the database is a file: so it does not wait
    for the disk, nor for other processes that write.
    """

    def __init__(self, store: Store, *, writer: aiosqlite.Connection, reader: aiosqlite.Connection) -> None:
        self._store = store
        self._writer = writer
        self._reader = reader
        self.closed = False

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        return await self._run(self._reader, partial(self._store.read, refs))

    async def swap(self, changes: Sequence[Change]) -> list[bool]:
        return await self._run(self._writer, partial(self._store.swap, changes))

    async def due(self, claims: Sequence[QueueClaim], *, now: int, limit: int) -> list[Record]:
        return await self._run(self._reader, partial(self._store.due, claims, now, limit))

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        return await self._run(self._writer, partial(self._store.claim, claims, now, limit, token, holder))

    async def scan(self, queue: Queue, *, after: str | None, limit: int) -> list[Record]:
        return await self._run(self._reader, partial(self._store.scan, queue, after, limit))

    async def next_ready(self, queues: Sequence[Queue], *, after: int | None = None) -> int | None:
        (first,) = await self._run(self._reader, partial(self._store.next_ready, queues, after))
        return first

    async def _run(
        self, connection: aiosqlite.Connection, function: Callable[[sqlite3.Connection], list[T]]
    ) -> list[T]:
        if self.closed:
            raise RepositoryException("The repository is closed.")
        return await run(connection, Operation(self._store.location, function))


@asyncio_only
def sqlite_repository(
    *,
    sqlite_database: str | os.PathLike[str] = MEMORY,
    sqlite_table_name: str = "pyncette_tasks",
) -> AbstractAsyncContextManager[Repository]:
    """A repository in an SQLite database.

    :param sqlite_database: path of the file, which is made if it does not exist and may be shared by the processes of
        one machine; ":memory:" is a database of this repository alone, which is lost with it.
    :param sqlite_table_name: name of the table, which is made if it does not exist; letters, digits and underscores.
    """
    return _opened(Location.checked(sqlite_database, sqlite_table_name))


@asynccontextmanager
async def _opened(location: Location) -> AsyncIterator[Repository]:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise RepositoryException(
            f"The SQLite library that Python uses here is {sqlite3.sqlite_version}; Pyncette needs 3.37 or newer."
        )
    location.check_path()
    store = Store(location)
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(_session(location, store.open))
        reader = writer
        if not location.in_memory:
            reader = await stack.enter_async_context(_session(location, store.open_reader))
        repository = SqliteRepository(store, writer=writer, reader=reader)
        try:
            yield repository
        finally:
            repository.closed = True


@asynccontextmanager
async def _session(
    location: Location, prepare: Callable[[sqlite3.Connection], list[None]]
) -> AsyncIterator[aiosqlite.Connection]:
    # A connection that is half opened, or half closed, would leave its thread behind.
    connection = aiosqlite.connect(location.database, factory=Session, isolation_level=None, timeout=0)
    try:
        await completed(_connect(connection, location))
        await run(connection, Operation(location, prepare))
        yield connection
    finally:
        await completed(connection.close())


async def _connect(connection: aiosqlite.Connection, location: Location) -> None:
    try:
        _ = await connection
    except sqlite3.Error as error:
        raise translated(error, location, max_size=0) from error
