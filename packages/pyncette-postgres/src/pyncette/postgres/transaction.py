"""The caller's connection, in whose transaction a call reads and writes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import asyncpg
from asyncpg.pool import PoolConnectionProxy

from pyncette.borrowing import has_none, is_closed, leads_elsewhere, no_connection
from pyncette.cancellation import CANCEL_GRACE, completed
from pyncette.errors import RepositoryException, RepositoryUnavailableException

from .connection import Server
from .errors import DRIVER_ERRORS, translated, words
from .synchronous import Psycopg, psycopg

LOCK_TIMEOUT = 0.2
"""Seconds that an insert waits for another transaction that inserts the same key. It is less than the server's
``deadlock_timeout`` and less than our own statements wait, so that the caller's transaction never falls victim."""

_BEGIN = f"SAVEPOINT pyncette; SET LOCAL lock_timeout = '{LOCK_TIMEOUT:g}s'"
_UNDO = "ROLLBACK TO SAVEPOINT pyncette; RELEASE SAVEPOINT pyncette"
_END = "SET LOCAL lock_timeout = '{}'; RELEASE SAVEPOINT pyncette"

_KINDS = (
    "a connection of asyncpg, or SQLAlchemy's AsyncConnection or AsyncSession on postgresql+asyncpg; in a synchronous "
    "program, one of psycopg 3, which SQLAlchemy's Session has as session.connection().connection.driver_connection"
)

_ENDED = {
    "25P02": "The transaction has failed before this call: roll it back.",
    "25006": "The transaction is read-only: begin it without READ ONLY.",
    "57014": "The server has cancelled the statement, by statement_timeout of your session or on request: "
    "roll back, and give it more time.",
}
"""By SQLSTATE code: the message of an error in the caller's transaction."""


class Borrowed(Server):
    """A connection of the caller. Each statement has a savepoint, so that one that fails leaves the transaction as it
    was."""

    def __init__(self, connection: Any, where: str, lock_timeout: str) -> None:
        self._connection = connection
        self._end = _END.format(lock_timeout)
        self.where = where

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        try:
            return await completed(self._fetch(query, *arguments), grace=CANCEL_GRACE)
        except DRIVER_ERRORS as error:
            raise _translated(error, self.where) from error

    async def _fetch(self, query: str, *arguments: Any) -> list[Any]:
        async with self._savepoint():
            rows: list[Any] = await self._connection.fetch(query, *arguments)
            return rows

    @asynccontextmanager
    async def _savepoint(self) -> AsyncIterator[None]:
        await self._connection.execute(_BEGIN)
        try:
            yield
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(*DRIVER_ERRORS):
                await self._connection.execute(_UNDO)
            raise
        await self._connection.execute(self._end)


async def borrow(connection: Any, own: Server, identity: str, table: str) -> Borrowed:
    """
    :param connection: a connection of asyncpg or of psycopg 3.
    :param own: the repository's own server.
    :param identity: the statement that identifies the database and the table, so that the two can be compared.
    :raises TypeError: it is no connection of the driver.
    :raises ValueError: it can't be used for the table, or has no transaction.
    """
    connection = psycopg(connection) or connection
    _check(connection)
    try:
        ((*found, lock_timeout),) = await connection.fetch(identity, table)
    except DRIVER_ERRORS as error:
        raise _translated(error, own.where) from error
    ((*expected, _),) = await own.fetch(identity, table)
    if found != expected:
        raise leads_elsewhere(
            f"the table {table} of {own.where}",
            "open it to the same server and database. If it is, the search paths differ: write "
            'postgres_table_name="schema.table"',
        )
    return Borrowed(connection, own.where, lock_timeout)


def _check(connection: Any) -> None:
    if not isinstance(connection, (asyncpg.Connection, PoolConnectionProxy, Psycopg)):
        raise no_connection(connection, "PostgreSQL", _KINDS)
    try:
        closed, inside = connection.is_closed(), connection.is_in_transaction()
    except asyncpg.InterfaceError:  # it was returned to its pool
        closed, inside = True, False
    if closed:
        raise is_closed()
    if not inside:
        raise has_none(
            "write async with connection.transaction() around the call (SQLAlchemy's isolation level AUTOCOMMIT has "
            "none, nor has Django outside of transaction.atomic())"
        )


def _translated(error: Exception, where: str) -> RepositoryException:
    code: str = getattr(error, "sqlstate", None) or ""
    if code in _ENDED:
        return RepositoryException(f"{_ENDED[code]} ({words(error)})")
    if code.startswith("40"):
        return RepositoryUnavailableException(f"The transaction can't continue ({words(error)}): begin it again.")
    if code == "42501":
        return RepositoryException(
            f"The user of the connection passed as transaction= lacks a permission on the storage ({words(error)}): "
            "grant it SELECT, INSERT, UPDATE and DELETE on the table."
        )
    if isinstance(error, asyncpg.InterfaceError):
        return RepositoryException(f"The connection passed as transaction= can't be used ({words(error)}).")
    return translated(error, where)
