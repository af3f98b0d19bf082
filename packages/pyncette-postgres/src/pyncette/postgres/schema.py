"""The table: its format, and how it is created or upgraded.

The format is stored in the table's comment. That needs no second table with permissions of its own, anyone can read
it, it is written in the transaction that changes the table, and it survives dumps and renames.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from pyncette.errors import RepositoryException
from pyncette.migrations import Format, Migration, TableSchema, by_hand, filled
from pyncette.resources import load_migrations

from .connection import Database
from .errors import DRIVER_ERRORS, LACKS_RIGHTS, translated
from .settings import Settings, Table

logger: logging.Logger = logging.getLogger(__name__)

OLDEST_SERVER = (14, 0)

_DDL_TIMEOUT = 24 * 3600.0
"""Seconds. Building an index on millions of rows takes long, whether we do it or wait for a process that does."""


_LOOK = """
SELECT obj_description(c.oid, 'pg_class') AS comment, c.relkind::text AS kind,
       ARRAY(SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0) AS columns,
       (SELECT bool_and(has_table_privilege(c.oid, r)) FROM unnest($2::text[]) AS r) AS usable
FROM pg_class AS c
WHERE c.oid = to_regclass($1)
"""


def migrations() -> Sequence[Migration[str]]:
    """All migrations that this release knows."""
    return load_migrations(__package__)


@dataclass(frozen=True, slots=True)
class Schema(TableSchema[Table]):
    """The table as this release needs it."""

    backend = "postgres"

    @classmethod
    def of(cls, table: Table) -> Schema:
        return cls(table, migrations())

    def script(self, step: Migration[str], stored: Format | None) -> str:
        """The statements of one migration, including the one that records it."""
        names = {
            "table": self.table.sql,
            "key_index": f'"{self.table.name}_key"',
            "ready_index": f'"{self.table.name}_ready"',
            "static_index": f'"{self.table.name}_static"',
            "runs": self.table.runs.sql,
            # Not longer than this: the server would truncate the names, and they would collide.
            "runs_queue_index": f'"{self.table.name}_runs_q"',
            "runs_key_index": f'"{self.table.name}_runs_k"',
            "runs_failed_index": f'"{self.table.name}_runs_f"',
            "runs_queue_failed_index": f'"{self.table.name}_runs_g"',
        }
        return f"{filled(step, names)}\n\nCOMMENT ON TABLE {self.table.sql} IS '{step.after(stored).mark}';\n"


def schema_sql(table_name: str = "pyncette_tasks", from_format: int = 0, *, contract: bool = True) -> str:
    """The SQL that creates or updates the table, for people who run it themselves before they deploy.

    :param from_format: the format of an existing table; 0 creates a new one.
    :param contract: whether to include the steps after which older releases can't use the table any more.
    :raises ValueError: the table's name or the format is invalid.
    """
    return _script(Schema.of(Table.parse(table_name)), from_format, contract=contract)


def _script(schema: Schema, from_format: int, *, contract: bool) -> str:
    return "\n".join(
        f"-- {step.name}\nBEGIN;\n\n{schema.script(step, stored)}\nCOMMIT;\n"
        for step, stored in by_hand(from_format, schema.steps, contract=contract)
    )


async def prepare(database: Database, settings: Settings, schema: Schema) -> None:
    """See that the table is there in the right version; make it, or bring it up to date, unless that is to be skipped.

    Several processes may do this at the same time.

    :raises StorageVersionException: the table is not Pyncette's, or of a version that this release can't handle. It was
        left unchanged.
    :raises RepositoryException: the table is missing and can't be created, or the server can't be used.
    """
    try:
        async with database.connection() as connection:
            _check_server(connection, database.where)
            stored = await _format(connection, schema, database.where)
            finish, skip = settings.finish_upgrade, settings.skip_table_create
            if schema.pending(stored, database.where, finish=finish, skip=skip):
                await _change(connection, schema, database.where, finish=finish)
    except DRIVER_ERRORS as error:
        raise translated(error, database.where) from error


def _check_server(connection: Any, where: str) -> None:
    version = connection.get_server_version()
    if (version.major, version.minor) < OLDEST_SERVER:
        raise RepositoryException(
            f"{where} is of version {version.major}.{version.minor}; Pyncette needs {OLDEST_SERVER[0]} or later."
        )


async def _format(connection: Any, schema: Schema, where: str) -> Format | None:
    """The table's format; None if there is no table."""
    if (encoding := await connection.fetchval("SHOW server_encoding")) != "UTF8":
        raise RepositoryException(
            f"{where} has the encoding {encoding}, which can't store all names; use a database with ENCODING 'UTF8'."
        )
    rows = await connection.fetch(_LOOK, schema.table.sql, ["SELECT", "INSERT", "UPDATE", "DELETE"])
    if not rows:
        return None
    stored = recognised(schema, rows[0]["comment"], rows[0]["kind"], rows[0]["columns"], where)
    if not rows[0]["usable"]:
        raise RepositoryException(f"{where}: {LACKS_RIGHTS} ({schema.table}).")
    return stored


def recognised(schema: Schema, comment: str | None, kind: str, columns: Sequence[str], where: str) -> Format:
    """The format of the table that has this comment.

    :raises StorageVersionException: it is not a table of Pyncette's.
    """
    table = schema.table
    return schema.recognised(
        comment if kind in {"r", "p"} else None,  # ordinary and partitioned tables
        columns,
        where,
        rename=f"ALTER TABLE {table.sql} RENAME TO {table.name}_1x",
        restore=f"COMMENT ON TABLE {table.sql} IS",
    )


async def _change(connection: Any, schema: Schema, where: str, *, finish: bool) -> None:
    """Create or upgrade the table step by step, each step in a transaction of its own, one process at a time."""
    try:
        while await _step(connection, schema, where, finish=finish):
            pass
    except asyncpg.InsufficientPrivilegeError as error:
        raise RepositoryException(
            f"{where}: the user of postgres_url may not make or change the table {schema.table} ({error.args[0]}). "
            "Grant it (GRANT CREATE ON SCHEMA ...), or have an owner of the schema run what "
            f"pyncette.postgres.schema_sql({str(schema.table)!r}) returns, and GRANT SELECT, INSERT, UPDATE, DELETE "
            "on the table."
        ) from error


async def _step(connection: Any, schema: Schema, where: str, *, finish: bool) -> bool:
    """Run the next migration, if there is one; for a new table all of them at once, as nothing uses it yet."""
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SET LOCAL lock_timeout = 0")  # another process that migrates first may take long
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
            f"pyncette schema of {schema.table}",
            timeout=_DDL_TIMEOUT,
        )
        await connection.execute("SET LOCAL lock_timeout TO DEFAULT")
        stored = await _format(connection, schema, where)
        pending = schema.pending(stored, where, finish=finish)
        if not pending:
            return False
        steps = pending if stored is None else pending[:1]
        for step in steps:
            await connection.execute(schema.script(step, stored), timeout=_DDL_TIMEOUT)
            stored = step.after(stored)
    for step in steps:
        logger.info("The table %s: %s is done.", schema.table, step.name)
    return len(pending) > len(steps)
