"""Translates SQLite's errors into Pyncette's."""

from __future__ import annotations

import sqlite3

from pyncette.errors import RecordRefusedException, RepositoryException, RepositoryUnavailableException

from .settings import Settings

LOCK_TIMEOUT = 10.0
"""Seconds that an operation waits for a lock that another process holds."""

_CONTENTION = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}

_TRANSIENT = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "reading or writing the file failed",
    sqlite3.SQLITE_NOMEM: "there is not enough memory",
}

_PERMANENT = {
    sqlite3.SQLITE_READONLY: "it is read-only; Pyncette needs to write to it and to its directory",
    sqlite3.SQLITE_CANTOPEN: "the file, or the -wal and -shm files that SQLite keeps next to it, can't be opened",
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database, or it is encrypted; give another path",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore it from a backup, or move it away to start over",
}


def primary_code(error: BaseException) -> int:
    """SQLite's primary result code; 0 when the error did not come from SQLite."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def is_contention(error: sqlite3.Error) -> bool:
    """Whether another connection held a lock: nothing was done, and another attempt may succeed soon."""
    return primary_code(error) in _CONTENTION


def is_damaged_text(error: Exception) -> bool:
    """Whether the text of a row is not UTF-8. The module has no error code for that."""
    return isinstance(error, sqlite3.OperationalError) and "Could not decode to UTF-8" in str(error)


def translated(error: Exception, settings: Settings, max_size: int) -> RepositoryException:
    """The exception to raise from ``error``.

    :param max_size: the maximum size of a row in bytes.
    """
    code = primary_code(error)
    where = f"SQLite database {settings.database!r}"
    if code in _CONTENTION:
        return RepositoryUnavailableException(
            f"The {where} was locked by another connection for {LOCK_TIMEOUT:g} s. Something holds a write "
            "transaction open: look for one of this program (a call during it needs transaction=), a long import, an "
            "open sqlite3 shell or a backup by copying."
        )
    if code in _TRANSIENT:
        return RepositoryUnavailableException(f"The {where} can't be used for now: {_TRANSIENT[code]} ({error}).")
    if code == sqlite3.SQLITE_TOOBIG or isinstance(error, (sqlite3.DataError, OverflowError, UnicodeError)):
        return RecordRefusedException(
            f"The {where} can't take a record ({error}). A record may have {max_size:,} bytes with its arguments."
        )
    if code in _PERMANENT:
        return RepositoryException(f"The {where} can't be used: {_PERMANENT[code]} ({error}).")
    return RepositoryException(f"The {where} refused an operation: {error}.")
