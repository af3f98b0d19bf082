"""The table: which version of it is there, and how it is made or brought up to date.

The version stands in the table's comment. A comment needs no second table with rights of its own, anybody may read
it, it is written in the transaction that changes the table, and moves with it through dumps and renames.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from pyncette.errors import RepositoryException, StorageVersionException

from .database import Database
from .failures import DRIVER_ERRORS, LACKS_RIGHTS, translated
from .queries import schema_steps
from .settings import Settings, Table

logger: logging.Logger = logging.getLogger(__name__)

OLDEST_SERVER = (14, 0)

_DDL_TIMEOUT = 24 * 3600.0
"""Seconds. An index on millions of rows takes its time, for us or for the process that we wait for."""

_COMMENT = "Tasks of Pyncette, schema version {version}. Pyncette reads this comment; keep it as it is."
_VERSION = re.compile(r"Tasks of Pyncette, schema version (\d+)\.")

_COLUMNS_OF_1_1_0 = {"name", "parent_name", "locked_until", "locked_by", "execute_after", "task_spec"}

_LOOK = """
SELECT obj_description(c.oid, 'pg_class') AS comment, c.relkind::text AS kind,
       ARRAY(SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0) AS columns,
       (SELECT bool_and(has_table_privilege(c.oid, r)) FROM unnest($2::text[]) AS r) AS usable
FROM pg_class AS c
WHERE c.oid = to_regclass($1)
"""


@dataclass(frozen=True, slots=True)
class Schema:
    """What the table is to be like: the steps from nothing to the newest version, of which each is one version."""

    table: Table
    steps: Sequence[str]

    @classmethod
    def of(cls, table: Table) -> Schema:
        return cls(table, schema_steps())

    @property
    def version(self) -> int:
        return len(self.steps)

    def script(self, from_version: int) -> str:
        """The statements that bring the table from a version (0: there is none) to the newest."""
        names = {
            "{table}": self.table.sql,
            "{key_index}": f'"{self.table.name}_key"',
            "{ready_index}": f'"{self.table.name}_ready"',
            "{static_index}": f'"{self.table.name}_static"',
        }
        text = "\n".join(self.steps[from_version:])
        for placeholder, name in names.items():
            text = text.replace(placeholder, name)
        comment = _COMMENT.format(version=self.version)
        return f"{text.strip()}\n\nCOMMENT ON TABLE {self.table.sql} IS '{comment}';\n"


def schema_sql(table_name: str = "pyncette_tasks", from_version: int = 0) -> str:
    """The SQL that makes the table, for those who use ``postgres_skip_table_create`` and run it themselves.

    :param from_version: the schema version of a table that is there already.
    :raises ValueError: the table's name or the version is impossible.
    """
    schema = Schema.of(Table.parse(table_name))
    if not 0 <= from_version < schema.version:
        raise ValueError(f"from_version must be from 0 to {schema.version - 1}, not {from_version}.")
    return f"BEGIN;\n\n{schema.script(from_version)}\nCOMMIT;\n"


async def prepare(database: Database, settings: Settings, schema: Schema) -> None:
    """See that the table is there in the right version; make it, or bring it up to date, unless that is to be skipped.

    Several processes may do this at the same time.

    :raises StorageVersionException: it is not ours, or of a version that this one can't handle. It is left as it is.
    :raises RepositoryException: it is not there and can't be made, or the server can't be used.
    """
    try:
        async with database.connection() as connection:
            _check_server(connection, database.where)
            if await _version(connection, schema, database.where) == schema.version:
                return
            if settings.skip_table_create:
                raise await _not_prepared(connection, schema, database.where)
            await _change(connection, schema, database.where)
    except DRIVER_ERRORS as error:
        raise translated(error, database.where) from error


def _check_server(connection: Any, where: str) -> None:
    version = connection.get_server_version()
    if (version.major, version.minor) < OLDEST_SERVER:
        raise RepositoryException(
            f"{where} is of version {version.major}.{version.minor}; Pyncette needs {OLDEST_SERVER[0]} or later."
        )


async def _version(connection: Any, schema: Schema, where: str) -> int:
    """The table's version, 0 if it is not there."""
    if (encoding := await connection.fetchval("SHOW server_encoding")) != "UTF8":
        raise RepositoryException(
            f"{where} has the encoding {encoding}, which can't store all names; use a database with ENCODING 'UTF8'."
        )
    rows = await connection.fetch(_LOOK, schema.table.sql, ["SELECT", "INSERT", "UPDATE", "DELETE"])
    if not rows:
        return 0
    version = recognised(schema, rows[0]["comment"], rows[0]["kind"], rows[0]["columns"], where)
    if not rows[0]["usable"]:
        raise RepositoryException(f"{where}: {LACKS_RIGHTS} ({schema.table}).")
    return version


def recognised(schema: Schema, comment: str | None, kind: str, columns: Sequence[str], where: str) -> int:
    """The version of the table that has this comment.

    :raises StorageVersionException: it is not a table of ours, or a newer one.
    """
    table = schema.table
    found = _VERSION.match(comment or "")
    if found and kind in {"r", "p"}:
        version = int(found[1])
        if version > schema.version:
            raise StorageVersionException(
                f"The table {table} ({where}) has schema version {version}; this release of pyncette-postgres knows "
                f"versions up to {schema.version}. It was left as it is. Upgrade pyncette-postgres, or give another "
                "postgres_table_name."
            )
        return version
    if set(columns) >= _COLUMNS_OF_1_1_0:
        raise StorageVersionException(
            f"The table {table} ({where}) was written by Pyncette 1.x, and this release can't read it. It was left as "
            "it is. Give another postgres_table_name, or rename the old table first: "
            f"ALTER TABLE {table.sql} RENAME TO {table.name}_1x. Then schedule the instances anew."
        )
    raise StorageVersionException(
        f"{table} ({where}) is there, but its comment does not say that it is a table of Pyncette. It was left as it "
        "is. Give another postgres_table_name. If the table is Pyncette's and only the comment was lost, as "
        f"pg_dump --no-comments does, restore it: COMMENT ON TABLE {table.sql} IS "
        f"'{_COMMENT.format(version=schema.version)}'"
    )


async def _not_prepared(connection: Any, schema: Schema, where: str) -> RepositoryException:
    version = await _version(connection, schema, where)
    how = (
        f"run what pyncette.postgres.schema_sql({str(schema.table)!r}"
        f"{f', from_version={version}' if version else ''}) returns, or leave out postgres_skip_table_create"
    )
    if version:
        return StorageVersionException(
            f"The table {schema.table} ({where}) has schema version {version}, this release of pyncette-postgres needs "
            f"version {schema.version}: {how}."
        )
    return RepositoryException(f"There is no table {schema.table} ({where}), and it is not to be made: {how}.")


async def _change(connection: Any, schema: Schema, where: str) -> None:
    """Make the table or bring it up to date, one process at a time."""
    try:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute("SET LOCAL lock_timeout = 0")  # whoever is faster may need long
            await connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
                f"pyncette schema of {schema.table}",
                timeout=_DDL_TIMEOUT,
            )
            await connection.execute("SET LOCAL lock_timeout TO DEFAULT")
            before = await _version(connection, schema, where)
            if before < schema.version:
                await connection.execute(schema.script(before), timeout=_DDL_TIMEOUT)
    except asyncpg.InsufficientPrivilegeError as error:
        raise RepositoryException(
            f"{where}: the user of postgres_url may not make or change the table {schema.table} ({error.args[0]}). "
            "Grant it (GRANT CREATE ON SCHEMA ...), or have an owner of the schema run what "
            f"pyncette.postgres.schema_sql({str(schema.table)!r}) returns, and GRANT SELECT, INSERT, UPDATE, DELETE "
            "on the table."
        ) from error
    if before < schema.version:
        logger.info("The table %s is now of schema version %s (before: %s).", schema.table, schema.version, before)
