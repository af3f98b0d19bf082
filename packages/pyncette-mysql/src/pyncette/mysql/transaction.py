"""The caller's connection, in whose transaction a call reads and writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncmy.connection import Connection

from pyncette.borrowing import has_none, is_closed, leads_elsewhere, no_connection
from pyncette.cancellation import CANCEL_GRACE, completed
from pyncette.errors import RepositoryException, RepositoryUnavailableException

from .connection import SQL_MODE, Rows, Server, execute
from .errors import (
    COMMAND_DENIED,
    DRIVER_ERRORS,
    LOCK_WAIT_TIMEOUT,
    NO_SUCH_SAVEPOINT,
    NOTHING_APPLIED,
    READ_ONLY,
    lost_connection,
    number,
    translated,
    words,
)

_SESSION = "innodb_lock_wait_timeout = {}, sql_mode = '{}', sql_safe_updates = {}, sql_select_limit = {}"

_BEGIN = f"SET SESSION {_SESSION.format(1, SQL_MODE, 0, 2**64 - 1)};SAVEPOINT pyncette"
_END = "RELEASE SAVEPOINT pyncette"
_UNDO = f"ROLLBACK TO SAVEPOINT pyncette;{_END}"


class Borrowed(Server):
    """A connection of the caller. Each script runs after a savepoint, so that a failure leaves the transaction as it
    was, and with its own session settings, which are restored afterwards."""

    def __init__(self, connection: Connection, max_packet: int, session: Sequence[object]) -> None:
        self._connection = connection
        self._restore = f"SET SESSION {_SESSION.format(*session)}"
        self.max_packet = max_packet

    async def run(self, script: str) -> list[Rows]:
        try:
            return await completed(self._run(script), grace=CANCEL_GRACE)
        except DRIVER_ERRORS as error:
            raise _translated(error) from error

    async def _run(self, script: str) -> list[Rows]:
        try:
            replies = await execute(self._connection, f"{_BEGIN};{script};{_END};{self._restore}")
        except DRIVER_ERRORS as error:
            if not lost_connection(error):
                await self._undo(error)
            raise
        return replies

    async def _undo(self, error: Exception) -> None:
        await execute(self._connection, self._restore)
        if number(error) in NOTHING_APPLIED and number(error) != LOCK_WAIT_TIMEOUT:
            return  # the server has rolled all of it back
        await execute(self._connection, _UNDO)


async def borrow(connection: Any, own: Server, identity: str, where: str) -> Borrowed:
    """
    :param own: the repository's own server.
    :param identity: the script that identifies the server and the database, so that the two can be compared.
    :raises TypeError: it is no connection of the driver.
    :raises ValueError: it can't be used for the table, or has no transaction.
    """
    _check(connection)
    try:
        (((*found, charset, wait, mode, safe, limit),),) = await completed(
            execute(connection, identity), grace=CANCEL_GRACE
        )
    except DRIVER_ERRORS as error:
        raise _translated(error) from error
    (((*expected, _, _, _, _, _),),) = await own.run(identity)
    known = [(one, other) for one, other in zip(found, expected, strict=True) if None not in (one, other)]
    if any(type(one) is not type(other) for one, other in known):
        raise ValueError(
            "The connection passed as transaction= converts what it reads in a way of its own: open it without conv=."
        )
    if found != expected:
        raise leads_elsewhere(where, "open it to the same server and database")
    if charset != "utf8mb4":
        raise ValueError(
            f"The connection passed as transaction= reads texts as {charset}, which has not all characters: open it "
            "with charset='utf8mb4'."
        )
    return Borrowed(connection, own.max_packet, (wait, mode, safe, limit))


def _check(connection: Any) -> None:
    if not isinstance(connection, Connection):
        raise no_connection(
            connection,
            "MySQL",
            "a connection of asyncmy, or SQLAlchemy's AsyncConnection or AsyncSession on mysql+asyncmy",
        )
    if not connection.connected:
        raise is_closed()
    if connection.get_autocommit() and not connection.get_transaction_status():
        raise has_none("await connection.begin() first (SQLAlchemy's isolation level AUTOCOMMIT has none)")


def _translated(error: Exception) -> RepositoryException:
    code = number(error)
    if code == NO_SUCH_SAVEPOINT or (code in NOTHING_APPLIED and code != LOCK_WAIT_TIMEOUT):
        return RepositoryUnavailableException(
            f"The server has rolled the transaction back: {words(error)} Begin it again."
        )
    if code == READ_ONLY:
        return RepositoryException(f"The transaction is read-only: begin it without READ ONLY. ({words(error)})")
    if code in COMMAND_DENIED:
        return RepositoryException(
            f"The user of the connection passed as transaction= lacks a permission: {words(error)} Grant it SELECT, "
            "INSERT, UPDATE and DELETE on the table."
        )
    return translated(error)
