"""Translates errors of the driver and of the server into Pyncette's."""

from __future__ import annotations

import ssl

import asyncpg

from pyncette.errors import RecordRefusedException, RepositoryException, RepositoryUnavailableException

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""Everything that the driver raises; a timeout is an ``OSError`` too."""

LARGEST_SPEC = 64 * 1024 * 1024
"""The maximum size of a record's spec in bytes of UTF-8. The server would accept more, but too slowly."""

_UNDONE = frozenset({"40001", "40P01"})  # serialization failure, deadlock

LACKS_RIGHTS = (
    "the user of postgres_url lacks a permission; it needs USAGE on the schema, and SELECT, INSERT, UPDATE and DELETE "
    "on the table"
)

_PROXY = "set postgres_statement_cache_size=0, which keeps Pyncette from leaving anything behind on a connection"

# SQLSTATE codes, and classes of them (the first two characters), after which trying again later may succeed.
_TRANSIENT = frozenset(
    {
        "08",  # connection
        "25006",  # read-only transaction: the server has become a standby
        "25P04",  # transaction_timeout
        "40",  # transaction rollback
        "53",  # out of connections, memory or disk
        "55P03",  # lock_timeout
        "57",  # shutdown, crash of another process, statement_timeout
        "58",  # errors of the operating system
    }
)

_REFUSED = frozenset({"22021", "22P05", "54000"})  # not in the encoding, not translatable, too large

_PERMANENT = {
    "26000": f"a prepared statement is gone: a proxy in between gives each transaction another connection. To "
    f"continue, {_PROXY}",
    "28000": "it does not let the user of postgres_url in",
    "28P01": "it refuses the user or the password of postgres_url",
    "3D000": "there is no such database; create it, or correct postgres_url",
    "3F000": "there is no such schema; create it (CREATE SCHEMA), or correct postgres_table_name",
    "42501": LACKS_RIGHTS,
    "42P01": "the table is gone; it is made when an app starts",
    "42P05": f"a prepared statement is there already: a proxy in between gives each transaction another connection. "
    f"To continue, {_PROXY}",
}


def translated(error: Exception, where: str) -> RepositoryException:
    """The exception to raise from ``error``.

    :param where: a description of the server for the message.
    """
    code: str = getattr(error, "sqlstate", None) or ""
    said = words(error)
    if code == "08P01" and "startup parameter" in said:
        return RepositoryException(f"{where}: a proxy in between refuses settings of the session ({said}); {_PROXY}.")
    if code in _PERMANENT:
        return RepositoryException(f"{where}: {_PERMANENT[code]} ({said}).")
    if code in _TRANSIENT or code[:2] in _TRANSIENT:
        return RepositoryUnavailableException(f"{where} can't be used for now ({said}).")
    if code in _REFUSED or isinstance(error, asyncpg.DataError):
        return RecordRefusedException(f"{where} can't take a record ({said}). {largest()}")
    if isinstance(error, ssl.SSLCertVerificationError):
        return RepositoryException(f"{where}: its certificate can't be verified ({said}); see sslrootcert.")
    if isinstance(error, TimeoutError):
        return RepositoryUnavailableException(f"{where} did not answer in time.")
    if isinstance(error, OSError):
        return RepositoryUnavailableException(f"{where} can't be reached ({said}).")
    if isinstance(error, asyncpg.ClientConfigurationError):
        return RepositoryException(f"{where}: postgres_url can't be used as it is ({said}).")
    if is_out_of_step(error):
        return RepositoryUnavailableException(f"The connection to {where} was lost ({said}).")
    return RepositoryException(f"{where} refused an operation ({said}).")


def nothing_was_done(error: Exception) -> bool:
    """Whether the statement certainly had no effect, and will probably succeed if it is sent again.

    Either the server rolled it back, or the driver didn't send it because the server had just closed the connection.
    """
    never_sent = isinstance(error, asyncpg.InternalClientError) and "cannot switch to state" in str(error)
    return never_sent or getattr(error, "sqlstate", None) in _UNDONE


def is_out_of_step(error: BaseException) -> bool:
    """Whether the driver refuses to use a connection, such as one that the server has just closed."""
    misuse = isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError)
    return misuse or isinstance(error, asyncpg.InternalClientError)


def largest() -> str:
    return f"Schedule and arguments of an instance may have {LARGEST_SPEC:,} bytes."


def words(error: Exception) -> str:
    """What the error says, in one line."""
    text = str(error.args[0]) if isinstance(error, asyncpg.PostgresError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__
