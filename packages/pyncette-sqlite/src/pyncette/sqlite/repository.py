"""The SQLite repository."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import aiosqlite
import anyio.to_thread

from pyncette.bridge import asyncio_only
from pyncette.cancellation import completed
from pyncette.errors import RepositoryException
from pyncette.findings import Finding
from pyncette.record import HELD, LEAST, Change, Count, Look, Queue, QueueClaim, Record, Ref, RunLine, RunQuestion, Swap
from pyncette.repository import Repository

from .connection import Operation, Session, run
from .diagnosis import diagnose
from .errors import translated
from .schema import prepare, prepare_reader
from .settings import MEMORY, Settings
from .statements import Statements
from .transaction import Borrowed, prepare_borrowed

T = TypeVar("T")

_OLDEST_SQLITE = (3, 37, 0)
"""The first version with STRICT tables."""


class SqliteRepository(Repository):
    """Records in one table.

    Each call switches to a connection's thread once. A call that writes is one transaction, which is on disk when the
    call returns. If the database is a file, reads have a separate connection, so that they wait neither for the disk
    nor for other processes that write.
    """

    keeps_runs = True

    def __init__(self, statements: Statements, *, writer: aiosqlite.Connection, reader: aiosqlite.Connection) -> None:
        self._statements = statements
        self._writer = writer
        self._reader = reader
        self.closed = False

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        return await self._run(self._reader, partial(self._statements.read, refs))

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        """SQLite locks the whole database and no single record, so no change is ever busy."""
        return await self._run(self._writer, partial(self._statements.swap, changes))

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        return await self._run(self._writer, partial(self._statements.claim, claims, now, limit, token, holder))

    async def look(
        self,
        queues: Sequence[Queue],
        refs: Sequence[Ref],
        *,
        after: int | None = None,
        until: int = LEAST,
        limit: int = 1,
    ) -> Look:
        (answer,) = await self._run(self._reader, partial(self._statements.look, queues, refs, after, until, limit))
        return answer

    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        return await self._run(self._reader, partial(self._statements.scan, queue, after, limit, prefix))

    async def scan_ready(
        self,
        queue: Queue,
        *,
        since: int = LEAST,
        before: int = HELD,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> list[Record]:
        return await self._run(self._reader, partial(self._statements.scan_ready, queue, since, before, after, limit))

    async def queues(self, *, after: str | None, limit: int) -> list[str]:
        return await self._run(self._reader, partial(self._statements.queues, after, limit))

    async def count(self, queue: Queue, *, since: int = LEAST, before: int = HELD, limit: int = 10_000) -> Count:
        (found,) = await self._run(self._reader, partial(self._statements.count, queue, since, before, limit))
        return found

    async def runs(self, question: RunQuestion) -> list[RunLine]:
        return await self._run(self._reader, partial(self._statements.runs, question))

    async def prune_runs(self, *, before: int, limit: int) -> int:
        (count,) = await self._run(self._writer, partial(self._statements.prune_runs, before, limit))
        return count

    async def within(self, connection: Any) -> Repository:
        """Takes a connection of aiosqlite to the same file. From its first write on, the transaction holds the lock of
        the whole database, and all other writers wait."""
        await prepare_borrowed(connection, self._statements)
        return _InTransaction(self._statements, writer=self._writer, reader=self._reader, borrowed=connection)

    async def diagnose(self) -> list[Finding]:
        """Uses a separate connection if the database is a file, so that nothing waits for it."""
        settings = self._statements.settings
        look = partial(diagnose, settings)
        if settings.in_memory:
            return await self._run(self._writer, look)
        async with _session(settings, prepare_reader) as connection:
            return await self._run(connection, look)

    async def _run(
        self, connection: aiosqlite.Connection, function: Callable[[sqlite3.Connection], list[T]]
    ) -> list[T]:
        if self.closed:
            raise RepositoryException("The repository is closed.")
        return await run(connection, Operation(self._statements.settings, function))


class _InTransaction(SqliteRepository):
    """Reads and writes on a connection of the caller."""

    def __init__(
        self,
        statements: Statements,
        *,
        writer: aiosqlite.Connection,
        reader: aiosqlite.Connection,
        borrowed: aiosqlite.Connection,
    ) -> None:
        super().__init__(statements, writer=writer, reader=reader)
        self._borrowed = Borrowed(borrowed, statements)

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        return await self._borrowed.read(refs)

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        return await self._borrowed.swap(changes)


@asyncio_only
def sqlite_repository(
    *,
    sqlite_database: str | os.PathLike[str] = MEMORY,
    sqlite_table_name: str = "pyncette_tasks",
    finish_upgrade: bool = False,
) -> AbstractAsyncContextManager[Repository]:
    """A repository in an SQLite database.

    :param sqlite_database: path of the file, which is created if it doesn't exist and may be shared by the processes of
        one machine; ":memory:" is a private database of this repository, which is lost with it.
    :param sqlite_table_name: name of the table, which is created if it doesn't exist; letters, digits and underscores.
    :param finish_upgrade: confirms that no process of an older release uses the table, or will: the upgrade to the
        format of this release is finished.
    """
    return _opened(Settings.checked(sqlite_database, sqlite_table_name, finish_upgrade))


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Repository]:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise RepositoryException(
            f"The SQLite library that Python uses here is {sqlite3.sqlite_version}; Pyncette needs 3.37 or newer."
        )
    settings.check_path()
    statements = Statements(settings)
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(_session(settings, partial(prepare, settings)))
        statements.opened()
        reader = writer
        if not settings.in_memory:
            reader = await stack.enter_async_context(_session(settings, prepare_reader))
        repository = SqliteRepository(statements, writer=writer, reader=reader)
        try:
            yield repository
        finally:
            repository.closed = True


@asynccontextmanager
async def _session(
    settings: Settings, prepare: Callable[[sqlite3.Connection], list[None]]
) -> AsyncIterator[aiosqlite.Connection]:
    # A connection that is only half open or half closed would leave its thread behind.
    threads: list[threading.Thread] = []

    def session(*args: Any, **kwargs: Any) -> Session:
        threads.append(threading.current_thread())
        return Session(*args, **kwargs)

    connection = aiosqlite.connect(settings.database, factory=session, isolation_level=None, timeout=0)
    try:
        await completed(_connect(connection, settings, threads))
        await run(connection, Operation(settings, prepare))
        yield connection
    finally:
        await completed(connection.close())


async def _connect(connection: aiosqlite.Connection, settings: Settings, threads: Sequence[threading.Thread]) -> None:
    try:
        _ = await connection
    except sqlite3.Error as error:
        for thread in threads:  # they may still have to call back into the event loop
            await anyio.to_thread.run_sync(thread.join)
        raise translated(error, settings, max_size=0) from error
