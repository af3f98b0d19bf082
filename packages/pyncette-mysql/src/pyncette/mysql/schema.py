"""The table: its format, and how it is created or upgraded.

The format is stored in the table's comment. MySQL commits before and after each statement that changes a table, and
each such statement is atomic. So a migration ends with one statement that changes the table and its comment together,
and the statements before that can be repeated.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from asyncmy.connection import Connection

from pyncette.errors import RepositoryException, RepositoryUnavailableException
from pyncette.migrations import Format, Migration, TableSchema, by_hand, filled, newest
from pyncette.resources import load_migrations

from .codec import Dialect
from .connection import Connections, Rows, execute
from .errors import DRIVER_ERRORS, LOCK_WAIT_TIMEOUT, at_start, lost_connection, number
from .settings import Settings, check_table_name, runs_table

logger: logging.Logger = logging.getLogger(__name__)

_OLDEST = {Dialect.MYSQL: (8, 0, 22), Dialect.MARIADB: (10, 6, 0)}

_LONGEST_NAME = 64

_ATTEMPTS = 6
"""How often a migration is tried if it can't lock the table; each attempt takes lock_wait_timeout."""

_WAIT_SECONDS = 10
"""Seconds that a statement waits on the server for another process before it is sent again."""


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
_RUNS_COLUMNS = {
    "ended_at": "bigint",
    "id": "varbinary(255)",
    "queue": "varbinary(1024)",
    "key": "varbinary(1024)",
    "outcome": "varbinary(255)",
    "text": "longtext",
}
_RUNS_INDEXES = {
    "PRIMARY": "ended_at,id",
    "queue": "queue,ended_at,id",
    "instance": "key,ended_at,id",
    "outcome": "outcome,ended_at,id",
    "queue_outcome": "queue,outcome,ended_at,id",
}

_INSPECT_SERVER = "SELECT VERSION(), @@SESSION.max_allowed_packet"
_INSPECT_TABLE = """
SELECT engine, table_comment FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = '{name}';
SELECT column_name, column_type FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = '{name}';
SELECT index_name, column_name FROM information_schema.statistics
WHERE table_schema = DATABASE() AND table_name = '{name}' ORDER BY index_name, seq_in_index
"""


@dataclass(frozen=True, slots=True)
class Found:
    """The state of the server and its tables before any change.

    :ivar max_packet: the largest packet that the server takes, in bytes.
    :ivar exists: whether there is a table or a view of that name.
    :ivar engine: the table's engine; None for a view.
    :ivar columns: the table's columns with their types.
    :ivar indexes: the table's indexes with their columns.
    :ivar runs_engine, runs_columns, runs_indexes: the same for the log of runs; empty if there is none.
    """

    version: str
    max_packet: int
    exists: bool
    engine: str | None
    comment: str
    columns: dict[str, str]
    indexes: dict[str, str]
    runs_engine: str | None = None
    runs_columns: dict[str, str] = field(default_factory=dict)
    runs_indexes: dict[str, str] = field(default_factory=dict)

    @property
    def dialect(self) -> Dialect:
        return Dialect.MARIADB if "mariadb" in self.version.lower() else Dialect.MYSQL


def migrations() -> Sequence[Migration[str]]:
    """All migrations that this release knows."""
    return load_migrations(__package__)


@dataclass(frozen=True, slots=True)
class Schema(TableSchema[str]):
    """The table as this release needs it."""

    backend = "mysql"

    @classmethod
    def of(cls, table: str) -> Schema:
        return cls(table, migrations())

    def script(self, step: Migration[str], stored: Format | None) -> str:
        """The statements of one migration. The last one also changes the comment."""
        comment = f"'{step.after(stored).mark}'"
        return filled(step, {"table": f"`{self.table}`", "runs": f"`{runs_table(self.table)}`", "format": comment})


def schema_sql(table_name: str = "pyncette_tasks", from_format: int = 0, *, contract: bool = True) -> str:
    """The SQL that creates or updates the table, for people who run it themselves before they deploy.

    :param from_format: the format of an existing table; 0 creates a new one.
    :param contract: whether to include the steps after which older releases can't use the table any more.
    :raises ValueError: the table's name or the format is invalid.
    """
    check_table_name(table_name)
    schema = Schema.of(table_name)
    steps = by_hand(from_format, schema.steps, contract=contract)
    return "\n".join(f"-- {step.name}\n{schema.script(step, stored)}\n" for step, stored in steps)


async def prepare(connections: Connections, settings: Settings, schema: Schema) -> Found:
    """Create or upgrade the table if necessary, unless the settings forbid it.

    Several processes may do this at the same time.

    :raises StorageVersionException: the table is not Pyncette's, or has a format that this release can't handle. It was
        left unchanged.
    :raises RepositoryUnavailableException: the server can't be reached, or can't serve at the moment.
    :raises RepositoryException: any other problem; the message says what to do.
    """
    try:
        async with connections.lend() as connection:
            found = await _inspect(connection, settings)
            _check_server(found)
            stored = recognised(found, schema, settings.where)
            finish, skip = settings.finish_upgrade, settings.skip_table_create
            pending = schema.pending(stored, settings.where, finish=finish, skip=skip)
            return await _change(connection, settings, schema) if pending else found
    except DRIVER_ERRORS as error:
        raise at_start(error, settings) from error


async def _inspect(connection: Connection, settings: Settings) -> Found:
    return found_in(await execute(connection, inspection(settings)))


def inspection(settings: Settings) -> str:
    """The script that inspects the server and its tables."""
    names = (settings.table_name, runs_table(settings.table_name))
    return ";".join([_INSPECT_SERVER, *(_INSPECT_TABLE.format(name=name) for name in names)])


def found_in(replies: Sequence[Rows]) -> Found:
    """Parse the replies to :func:`inspection`."""
    server, table, columns, indexes, runs, *of_runs = replies
    version, max_packet = server[0]
    engine, comment = table[0] if table else (None, "")
    return Found(
        version,
        int(max_packet),
        bool(table),
        engine,
        comment,
        _types(columns),
        _ordered(indexes),
        runs[0][0] if runs else None,
        _types(of_runs[0]),
        _ordered(of_runs[1]),
    )


def _types(rows: Rows) -> dict[str, str]:
    """The type of each column, without the meaningless display width that MariaDB reports for integers."""
    return {name: re.sub(r"^bigint\(\d+\)", "bigint", kind) for name, kind in rows}


def _ordered(rows: Rows) -> dict[str, str]:
    """The columns of each index. A part that is an expression has no name."""
    indexes: dict[str, list[str]] = {}
    for name, column in rows:
        indexes.setdefault(name, []).append(column or "an expression")
    return {name: ",".join(columns) for name, columns in indexes.items()}


def _check_server(found: Found) -> None:
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", found.version.removeprefix("5.5.5-"))
    oldest = _OLDEST[found.dialect]
    if numbers and tuple(map(int, numbers.groups())) < oldest:
        needed = ".".join(map(str, oldest))
        raise RepositoryException(
            f"The server is {found.dialect.value} {found.version}; Pyncette needs {needed} or newer "
            "(SKIP LOCKED, tables of values, and locking parts of a UNION)."
        )


def recognised(found: Found, schema: Schema, where: str) -> Format | None:
    """The table's format; None if there is no table.

    :raises StorageVersionException: it is not a table of Pyncette's.
    :raises RepositoryException: it is, but someone has changed it.
    """
    if not found.exists:
        return None
    stored = schema.recognised(
        found.comment,
        found.columns,
        where,
        rename=f"RENAME TABLE `{schema.table}` TO `{schema.table[: _LONGEST_NAME - 3]}_1x`",
        restore=f"ALTER TABLE `{schema.table}` COMMENT =",
    )
    # The columns of other formats are unknown here.
    if stored.written_by == newest(schema.steps) and (faults := _faults(found)):
        raise RepositoryException(
            f"The table {schema.table} ({where}) has been changed: {'; '.join(faults)}. Undo that, or make a new table."
        )
    return stored


def _faults(found: Found) -> list[str]:
    faults = _differences(found.columns, _COLUMNS, found.indexes, _INDEXES, found.engine)
    if not found.runs_columns:
        return [
            *faults,
            "its log of runs, the table whose name ends in _runs, is missing, or this user has no privilege on it",
        ]
    of_runs = _differences(found.runs_columns, _RUNS_COLUMNS, found.runs_indexes, _RUNS_INDEXES, found.runs_engine)
    return faults + [f"of its log of runs, {fault}" for fault in of_runs]


def _differences(
    columns: dict[str, str],
    right_columns: dict[str, str],
    indexes: dict[str, str],
    right_indexes: dict[str, str],
    engine: str | None,
) -> list[str]:
    faults = [
        f"column {name} is {columns.get(name, 'missing')}, not {kind}"
        for name, kind in right_columns.items()
        if columns.get(name) != kind
    ]
    faults += [
        f"index {name} is on {indexes.get(name, 'nothing')}, not {right}"
        for name, right in right_indexes.items()
        if indexes.get(name) != right
    ]
    return faults if engine == "InnoDB" else [*faults, f"the engine is {engine}, not InnoDB"]


async def _change(connection: Connection, settings: Settings, schema: Schema) -> Found:
    """Create or upgrade the table step by step, one process at a time. Returns the state afterwards."""
    finish = settings.finish_upgrade
    async with _alone(connection, settings):
        while True:
            found = await _inspect(connection, settings)
            stored = recognised(found, schema, settings.where)
            finish |= stored is None  # nothing uses it yet
            pending = schema.pending(stored, settings.where, finish=finish)
            if not pending:
                return found
            await _carry_out(connection, settings, schema, pending[0], stored)


async def _carry_out(
    connection: Connection, settings: Settings, schema: Schema, step: Migration[str], stored: Format | None
) -> None:
    """Run one migration. If several servers accept writes, another process may have run it, as they don't share
    locks."""
    attempt = 1
    while True:
        try:
            await execute(connection, schema.script(step, stored))
        except DRIVER_ERRORS as error:
            if lost_connection(error):
                raise
            if recognised(await _inspect(connection, settings), schema, settings.where) != stored:
                return
            if number(error) != LOCK_WAIT_TIMEOUT or attempt == _ATTEMPTS:
                raise
            attempt += 1  # a long transaction uses the table
        else:
            logger.info("The table %s: %s is done.", schema.table, step.name)
            return


@asynccontextmanager
async def _alone(connection: Connection, settings: Settings) -> AsyncIterator[None]:
    """Hold a lock that belongs to one connection at a time, and is released when that connection ends.

    If a process is killed, its statement still runs to the end on the server, and so long the lock is held.
    """
    table = f"{settings.database}.{settings.table_name}".encode()
    lock = f"pyncette schema {hashlib.sha256(table).hexdigest()[:40]}"  # a name has 64 characters at most
    while (got := (await execute(connection, f"SELECT GET_LOCK('{lock}', {_WAIT_SECONDS})"))[0][0][0]) == 0:
        logger.info("Another process is creating or changing the table %s; waiting for it.", settings.table_name)
    if got is None:
        raise RepositoryUnavailableException(f"The table {settings.table_name} ({settings.where}) could not be locked.")
    try:
        yield
    finally:
        with suppress(*DRIVER_ERRORS):  # then the connection is lost, and the lock with it
            await execute(connection, f"DO RELEASE_LOCK('{lock}')")
