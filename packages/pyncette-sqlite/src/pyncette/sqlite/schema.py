"""The table: its format, and how it is created or upgraded.

The formats are stored in a separate table, :data:`~pyncette.sqlite.settings.VERSIONS_TABLE`. In SQLite, changes of
tables are transactional, so a migration and its number are committed together.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence

from pyncette.errors import RepositoryException, StorageVersionException
from pyncette.migrations import COLUMNS_OF_PYNCETTE_1, Format, Migration, by_hand, filled, plan
from pyncette.record import Record
from pyncette.resources import load_migrations

from .connection import writing
from .settings import VERSIONS_TABLE, Settings

logger: logging.Logger = logging.getLogger(__name__)

_COLUMNS = frozenset(Record.__dataclass_fields__)

_VERSIONS = f"""
CREATE TABLE IF NOT EXISTS {VERSIONS_TABLE} (
    table_name TEXT NOT NULL COLLATE NOCASE PRIMARY KEY,
    written_by INTEGER NOT NULL,
    readable_from INTEGER NOT NULL
) STRICT, WITHOUT ROWID"""

_WRITE_FORMAT = f"""
INSERT INTO {VERSIONS_TABLE} (table_name, written_by, readable_from) VALUES (?, ?, ?)
ON CONFLICT (table_name) DO UPDATE SET written_by = excluded.written_by, readable_from = excluded.readable_from"""  # noqa: S608 -- made of a constant


def migrations() -> Sequence[Migration[str]]:
    """All migrations that this release knows."""
    return load_migrations(__package__)


def prepare(settings: Settings, connection: sqlite3.Connection) -> list[None]:
    """Set up the connection, and create or upgrade the table if necessary.

    :raises StorageVersionException: this release can't work with the table, which was left unchanged.
    """
    pending = _pending(settings, connection.cursor())
    _configure(settings, connection)
    while pending:
        with writing(connection) as cursor:
            pending = _pending(settings, cursor)
            is_new = stored_format(settings, cursor, settings.table) is None  # nothing uses it yet
            for step in pending if is_new else pending[:1]:
                _carry_out(settings, cursor, step)
            pending = [] if is_new else pending[1:]
    return []


def prepare_reader(connection: sqlite3.Connection) -> list[None]:
    """Set up a connection for reading only, after :func:`prepare` was called on another one."""
    connection.execute("PRAGMA query_only = ON")
    return []


def schema_sql(table_name: str = "pyncette_tasks", from_format: int = 0, *, contract: bool = True) -> str:
    """The steps that create or update the table, for people who run them by hand before they deploy.

    :param from_format: the format of an existing table; 0 creates a new one.
    :param contract: whether to include the steps after which older releases can't use the table any more.
    :raises ValueError: the table's name or the format is invalid.
    """
    settings = Settings.checked(":memory:", table_name)
    steps = [f"{_VERSIONS.strip()};"]
    for each, stored in by_hand(from_format, migrations(), contract=contract):
        done = each.after(stored)
        numbers = f"('{settings.table}', {done.written_by}, {done.readable_from})"
        steps.append(f"-- {each.name}\n{_sql(settings, each)}\n{_WRITE_FORMAT.strip().replace('(?, ?, ?)', numbers)};")
    return "BEGIN IMMEDIATE;\n\n" + "\n\n".join(steps) + "\n\nCOMMIT;\n"


def _pending(settings: Settings, cursor: sqlite3.Cursor) -> list[Migration[str]]:
    where = f"Table {settings.table!r} in {settings.database!r}"
    stored = stored_format(settings, cursor, where)
    return plan(stored, migrations(), finish=settings.finish_upgrade, where=where, distribution="pyncette-sqlite")


def stored_format(settings: Settings, cursor: sqlite3.Cursor, where: str) -> Format | None:
    """The format of the table; None if there is no table.

    :raises StorageVersionException: the table is not Pyncette's.
    """
    columns = {name for (name,) in cursor.execute("SELECT name FROM pragma_table_info(?)", (settings.table,))}
    if not columns:
        return None
    if columns == COLUMNS_OF_PYNCETTE_1:
        raise StorageVersionException(
            f"{where} was written by Pyncette 1.x, which this release can't read. It was left as it is. Give another "
            "sqlite_table_name (or sqlite_database) and schedule the instances again."
        )
    known = {name for (name,) in cursor.execute("SELECT name FROM pragma_table_info(?)", (VERSIONS_TABLE,))}
    numbers = None
    if known == {"table_name", "written_by", "readable_from"}:
        query = f"SELECT written_by, readable_from FROM {VERSIONS_TABLE} WHERE table_name = ?"  # noqa: S608 -- a constant
        numbers = cursor.execute(query, (settings.table,)).fetchone()
    if numbers is None or (numbers[0] == 1 and columns != _COLUMNS):
        raise StorageVersionException(
            f"{where} was not made by Pyncette, or was changed. It was left as it is. Give another sqlite_table_name."
        )
    return Format(*numbers)


def _carry_out(settings: Settings, cursor: sqlite3.Cursor, migration: Migration[str]) -> None:
    """Run one migration and record it, in the transaction of ``cursor``."""
    stored = stored_format(settings, cursor, settings.table)
    # executescript would commit first.
    for statement in _statements(_sql(settings, migration)):
        cursor.execute(statement)
    cursor.execute(_VERSIONS)
    done = migration.after(stored)
    cursor.execute(_WRITE_FORMAT, (settings.table, done.written_by, done.readable_from))
    logger.info("Table %r in %r: %s is done.", settings.table, settings.database, migration.name)


def _sql(settings: Settings, migration: Migration[str]) -> str:
    return filled(migration, {"table": settings.table})


def _statements(script: str) -> list[str]:
    """The statements of a script, one by one."""
    found: list[str] = []
    part = ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            found.append(part)
            part = ""
    return found


def _configure(settings: Settings, connection: sqlite3.Connection) -> None:
    if not settings.in_memory:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise RepositoryException(
                f"SQLite database {settings.database!r} can't be used by several processes, because its file system "
                f"lacks shared memory (journal mode {mode!r}). Put it on a local disk."
            )
    # In WAL mode, a commit survives a power failure only with FULL; on macOS it needs fullfsync as well.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")
    # Each checkpoint syncs the database file too, and a page that changed several times since is written once.
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
