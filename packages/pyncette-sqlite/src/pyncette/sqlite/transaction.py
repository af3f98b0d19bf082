"""The caller's connection, in whose transaction a call reads and writes."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar

import aiosqlite
import anyio

from pyncette.borrowing import has_none, is_closed, leads_elsewhere, no_connection
from pyncette.cancellation import CANCEL_GRACE, completed
from pyncette.errors import RepositoryException, RepositoryUnavailableException
from pyncette.record import Change, Record, Ref, Swap

from .errors import is_contention, translated
from .settings import Settings
from .statements import Statements

T = TypeVar("T")

LARGEST = 1_000_000_000
"""The maximum size of a row in bytes, unless the library was built with another limit."""


class Borrowed:
    """A connection of the caller. Each statement switches to its thread, as the caller's own do. A failed operation is
    rolled back, and leaves the transaction as it was."""

    def __init__(self, connection: aiosqlite.Connection, statements: Statements) -> None:
        self._connection = connection
        self._statements = statements

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        return await self._run(self._read(refs))

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        return await self._run(self._swap(changes))

    async def _run(self, work: Awaitable[T]) -> T:
        self._statements.check_file()
        with plain(self._connection), translating(self._statements.settings):
            return await completed(work, grace=CANCEL_GRACE)

    async def _read(self, refs: Sequence[Ref]) -> list[Record | None]:
        found = [list(await self._connection.execute_fetchall(*self._statements.reading(ref))) for ref in refs]
        return [Record(*rows[0]) if rows else None for rows in found]

    async def _swap(self, changes: Sequence[Change]) -> list[Swap]:
        async with self._savepoint():
            return [Swap.APPLIED if await self._applies(change) else Swap.CONFLICT for change in changes]

    async def _applies(self, change: Change) -> bool:
        applied = (await self._connection.execute(*self._statements.writing(change))).rowcount == 1
        if applied and change.run is not None:
            await self._connection.execute(*self._statements.logging(change.run))
        return applied

    @asynccontextmanager
    async def _savepoint(self) -> AsyncIterator[None]:
        await self._connection.execute("SAVEPOINT pyncette")
        try:
            yield
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(sqlite3.Error):
                await self._connection.execute("ROLLBACK TO pyncette")
                await self._connection.execute("RELEASE pyncette")
            raise
        await self._connection.execute("RELEASE pyncette")


async def prepare_borrowed(connection: Any, statements: Statements) -> None:
    """Make sure that the caller's connection has an open transaction, or begin one if the driver would do so with the
    first write. Then take the write lock: without it, if others wrote after our reads, our writes would fail.

    :raises RepositoryException: the database is in memory, or in use.
    :raises TypeError: it is no connection of the driver.
    :raises ValueError: it can't be used for the table, or has no transaction.
    """
    settings = statements.settings
    if settings.in_memory:
        raise RepositoryException(
            "A database in memory belongs to one connection, so no other transaction can include it: give the "
            "storage a file, or leave transaction out."
        )
    if not isinstance(connection, aiosqlite.Connection):
        raise no_connection(
            connection,
            "SQLite",
            "a connection of aiosqlite, or SQLAlchemy's AsyncConnection or AsyncSession on sqlite+aiosqlite",
        )
    try:
        inside = connection.in_transaction
    except ValueError:
        raise is_closed() from None
    with plain(connection), translating(settings):
        databases = await connection.execute_fetchall("PRAGMA database_list")
        if not any(name == "main" and statements.is_in(path) for _, name, path in databases):
            raise leads_elsewhere(repr(settings.database), "keep both in one file")
        if not inside and _never_begins(connection):
            raise has_none('await connection.execute("BEGIN IMMEDIATE") first')
        await completed(connection.execute(statements.locking if inside else "BEGIN IMMEDIATE"), grace=CANCEL_GRACE)


def _never_begins(connection: aiosqlite.Connection) -> bool:
    autocommit = getattr(connection._conn, "autocommit", None)  # noqa: SLF001 - of Python 3.12; the driver has no other way
    return connection.isolation_level is None or autocommit is True


@contextmanager
def translating(settings: Settings) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OverflowError, UnicodeError) as error:
        if isinstance(error, sqlite3.Error) and is_contention(error):
            raise RepositoryUnavailableException(
                "Another connection writes to the SQLite database, or has since the transaction has read. Begin with "
                "BEGIN IMMEDIATE, keep transactions short, and wait longer (timeout= of the connection)."
            ) from error
        raise translated(error, settings, LARGEST) from error


@contextmanager
def plain(connection: aiosqlite.Connection) -> Iterator[None]:
    """Rows are tuples and texts are strings for the duration of the block, whatever the caller has set."""
    rows, texts = connection.row_factory, connection.text_factory
    connection.row_factory, connection.text_factory = None, str
    try:
        yield
    finally:
        connection.row_factory, connection.text_factory = rows, texts
