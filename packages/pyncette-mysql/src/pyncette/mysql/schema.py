"""Opens the storage: knows the server, makes the table where there is none, and refuses one that isn't ours."""

from __future__ import annotations

import re
from dataclasses import dataclass

from asyncmy.connection import Connection

from pyncette.errors import RepositoryException, StorageVersionException

from .connections import Connections, Rows, execute
from .failures import (
    ACCESS_DENIED,
    COMMAND_DENIED,
    DRIVER_ERRORS,
    TABLE_EXISTS,
    UNKNOWN_DATABASE,
    number,
    translated,
    words,
)
from .settings import Settings
from .sql import SCHEMA, Dialect

VERSION = 1
_COMMENT = re.compile(r"pyncette schema (\d+)")
_OLDEST = {Dialect.MYSQL: (8, 0, 22), Dialect.MARIADB: (10, 6, 0)}

_COLUMNS = {
    "queue": "varbinary(1024)",
    "key": "varbinary(1024)",
    "due_at": "bigint",
    "ready_at": "bigint",
    "locked_until": "bigint",
    "locked_by": "varbinary(255)",
    "revision": "varbinary(255)",
    "fence": "bigint",
    "attempt": "bigint",
    "spec": "longtext",
    "state": "longtext",
    "was": "varbinary(1200)",
}
_INDEXES = {"PRIMARY": "queue,key", "due": "queue,ready_at,key"}
_COLUMNS_OF_1_1_0 = {"name", "parent_name", "locked_until", "locked_by", "execute_after", "task_spec"}

_INSPECT = """
SELECT VERSION(), @@SESSION.max_allowed_packet;
SELECT engine, table_comment FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = '{name}';
SELECT column_name, column_type FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = '{name}';
SELECT index_name, column_name FROM information_schema.statistics
WHERE table_schema = DATABASE() AND table_name = '{name}' ORDER BY index_name, seq_in_index
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What there is before we begin.

    :ivar max_packet: the largest packet that the server takes, in bytes.
    :ivar exists: whether there is a table, or a view, of that name.
    :ivar engine: of the table, None of a view.
    :ivar columns: the table's columns with their types.
    :ivar indexes: the table's indexes with their columns.
    """

    version: str
    max_packet: int
    exists: bool
    engine: str | None
    comment: str
    columns: dict[str, str]
    indexes: dict[str, str]

    @property
    def dialect(self) -> Dialect:
        return Dialect.MARIADB if "mariadb" in self.version.lower() else Dialect.MYSQL


async def prepare(connections: Connections, settings: Settings) -> Found:
    """Make sure that there is a table that can be used.

    :raises StorageVersionException: the table is of another version of Pyncette.
    :raises RepositoryUnavailableException: the server can't be reached, or is not able to serve at the moment.
    :raises RepositoryException: anything else that is in the way; says what to do.
    """
    try:
        async with connections.lend() as connection:
            found = await _inspect(connection, settings)
            _check_server(found)
            if not found.exists and not settings.skip_table_create:
                await _create(connection, settings)
                found = await _inspect(connection, settings)
    except DRIVER_ERRORS as error:
        raise _at_start(error, settings) from error
    _check_table(found, settings)
    return found


async def _inspect(connection: Connection, settings: Settings) -> Found:
    server, table, columns, indexes = await execute(connection, _INSPECT.format(name=settings.table_name))
    version, max_packet = server[0]
    engine, comment = table[0] if table else (None, "")
    return Found(version, int(max_packet), bool(table), engine, comment, _types(columns), _ordered(indexes))


def _types(rows: Rows) -> dict[str, str]:
    """MariaDB tells a width of whole numbers, which means nothing."""
    return {name: re.sub(r"^bigint\(\d+\)", "bigint", kind) for name, kind in rows}


def _ordered(rows: Rows) -> dict[str, str]:
    indexes: dict[str, list[str]] = {}
    for name, column in rows:
        indexes.setdefault(name, []).append(column)
    return {name: ",".join(columns) for name, columns in indexes.items()}


async def _create(connection: Connection, settings: Settings) -> None:
    try:
        await execute(connection, SCHEMA.format(table=f"`{settings.table_name}`"))
    except DRIVER_ERRORS as error:
        if number(error) != TABLE_EXISTS:  # another process was faster
            raise


def _check_server(found: Found) -> None:
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", found.version.removeprefix("5.5.5-"))
    oldest = _OLDEST[found.dialect]
    if numbers and tuple(map(int, numbers.groups())) < oldest:
        needed = ".".join(map(str, oldest))
        raise RepositoryException(
            f"The server is {found.dialect.value} {found.version}; Pyncette needs {needed} or newer "
            "(SKIP LOCKED, tables of values, and locking parts of a UNION)."
        )


def _check_table(found: Found, settings: Settings) -> None:
    table = f"The table {settings.table_name!r} in the MySQL database {settings.database!r}"
    if not found.exists:
        raise RepositoryException(
            f"{table} does not exist, and mysql_skip_table_create=True forbids to create it. Create it with:\n"
            f"{SCHEMA.format(table=f'`{settings.table_name}`')}"
        )
    if found.columns.keys() >= _COLUMNS_OF_1_1_0:
        raise StorageVersionException(
            f"{table} was written by Pyncette 1. It has been left as it is. Give another mysql_table_name to start "
            "with an empty table; the migration page of the documentation says how to take the tasks along."
        )
    mark = _COMMENT.fullmatch(found.comment)
    if mark is None:
        raise RepositoryException(f"{table} is not one of Pyncette's. Give another mysql_table_name.")
    if int(mark[1]) != VERSION:
        raise StorageVersionException(
            f"{table} has version {mark[1]} of Pyncette's schema, and this is a release for version {VERSION}. "
            "It has been left as it is. Install the release of pyncette-mysql that wrote it, or give another "
            "mysql_table_name."
        )
    if faults := _faults(found):
        raise RepositoryException(f"{table} has been changed: {'; '.join(faults)}. Undo that, or make a new table.")


def _faults(found: Found) -> list[str]:
    faults = [
        f"column {name} is {found.columns.get(name, 'missing')}, not {kind}"
        for name, kind in _COLUMNS.items()
        if found.columns.get(name) != kind
    ]
    faults += [
        f"index {name} is on {found.indexes.get(name, 'nothing')}, not {columns}"
        for name, columns in _INDEXES.items()
        if found.indexes.get(name) != columns
    ]
    if found.engine != "InnoDB":
        faults.append(f"the engine is {found.engine}, not InnoDB")
    return faults


def _at_start(error: Exception, settings: Settings) -> RepositoryException:
    server = f"the MySQL server at {settings.host}:{settings.port}"
    if number(error) in ACCESS_DENIED:
        return RepositoryException(
            f"Access to {server} was denied: {words(error)} "
            "Check mysql_user and mysql_password, and what the user may do in mysql_database."
        )
    if number(error) == UNKNOWN_DATABASE:
        return RepositoryException(
            f"There is no database {settings.database!r} on {server}: create it, or give another mysql_database."
        )
    if number(error) in COMMAND_DENIED:
        return RepositoryException(
            f"The user {settings.user!r} may not create the table {settings.table_name!r} on {server}: {words(error)} "
            "Grant CREATE, or create the table as the documentation says and give mysql_skip_table_create=True."
        )
    ours = translated(error)
    hint = _hint_with_tls(error) if settings.tls else _hint_without_tls(error)
    return type(ours)(f"Could not open the storage on {server}. {ours}{hint}")


def _hint_with_tls(error: Exception) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return (
            " The certificate is not trusted: give mysql_ssl=ssl.create_default_context(cafile=...) with the file "
            "of the authority that signed it."
        )
    if "SSL" in str(error):
        return " The server may not offer TLS: remove mysql_ssl, or set TLS up on the server."
    return ""


def _hint_without_tls(error: Exception) -> str:
    if "secure transport" in str(error).lower():
        return " The server takes encrypted connections only: give mysql_ssl=True or an ssl.SSLContext."
    return ""
