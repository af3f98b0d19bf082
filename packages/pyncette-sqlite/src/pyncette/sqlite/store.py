"""The operations on the table, as functions of a connection. They run in the driver's thread."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Mapping, Sequence
from importlib import resources

from pyncette.errors import RepositoryException, StorageVersionException
from pyncette.record import Change, Queue, QueueClaim, Record, Ref

from .location import Location
from .session import writing

SCHEMA_VERSION = 1
"""Grows when a table that another version wrote could be misunderstood."""

_BEFORE_ALL = -(2**63)

_COLUMNS = frozenset(Record.__dataclass_fields__)
_COLUMNS_OF_PYNCETTE_1 = frozenset({"name", "parent_name", "locked_until", "locked_by", "execute_after", "task_spec"})


def load_statements(table: str) -> Mapping[str, str]:
    """The statements of ``statements.sql`` by their names."""
    text = resources.files(__package__).joinpath("statements.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: sql.format(table=table).strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)}


class Store:
    """What the repository does, without the crossing to the thread that it is done in."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self._sql = load_statements(location.table)
        self._file: tuple[int, int] | None = None

    def open(self, connection: sqlite3.Connection) -> list[None]:
        """Set the connection up and create the table if it is missing.

        :raises StorageVersionException: the table is of another version. Nothing was changed.
        """
        exists = self._check_schema(connection.cursor())
        self._configure(connection)
        if not exists:
            with writing(connection) as cursor:
                if not self._check_schema(cursor):
                    self._create(cursor)
        self._file = self._identity()
        return []

    def open_reader(self, connection: sqlite3.Connection) -> list[None]:
        """Set up a connection that only reads, after another one was opened."""
        connection.execute("PRAGMA query_only = ON")
        return []

    def read(self, refs: Sequence[Ref], connection: sqlite3.Connection) -> list[Record | None]:
        self._check_file()
        cursor = connection.cursor()
        rows = [cursor.execute(self._sql["read"], (ref.queue, ref.key)).fetchone() for ref in refs]
        return [None if row is None else Record(*row) for row in rows]

    def swap(self, changes: Sequence[Change], connection: sqlite3.Connection) -> list[bool]:
        self._check_file()
        with writing(connection) as cursor:
            return [self._swap(cursor, change) for change in changes]

    def due(self, claims: Sequence[QueueClaim], now: int, limit: int, connection: sqlite3.Connection) -> list[Record]:
        self._check_file()
        cursor = connection.cursor()
        found: list[Record] = []
        for claim in self._ready(cursor, claims, now):
            wanted = {"queue": claim.queue.name, "now": now, "limit": min(claim.limit, limit - len(found))}
            found += [Record(*row) for row in cursor.execute(self._sql["due"], wanted)]
        return found

    def claim(
        self,
        claims: Sequence[QueueClaim],
        now: int,
        limit: int,
        token: str,
        holder: str,
        connection: sqlite3.Connection,
    ) -> list[Record]:
        self._check_file()
        ready = self._ready(connection.cursor(), claims, now)
        taken: list[Record] = []
        if not ready or limit < 1:  # so an idle app never takes the write lock
            return taken
        with writing(connection) as cursor:
            for claim in ready:
                wanted = {
                    "queue": claim.queue.name,
                    "until": claim.locked_until,
                    "limit": min(claim.limit, limit - len(taken)),
                    "now": now,
                    "token": token,
                    "holder": holder,
                }
                rows = cursor.execute(self._sql["claimed"], wanted).fetchall()
                if rows:
                    cursor.execute(self._sql["claim"], wanted)
                    taken += [Record(*row) for row in rows]
                if len(taken) >= limit:
                    break
        return taken

    def scan(self, queue: Queue, after: str | None, limit: int, connection: sqlite3.Connection) -> list[Record]:
        self._check_file()
        # Keys are never empty, so all of them are greater than "".
        rows = connection.cursor().execute(self._sql["scan"], (queue.name, after or "", limit))
        return [Record(*row) for row in rows]

    def next_ready(
        self, queues: Sequence[Queue], after: int | None, connection: sqlite3.Connection
    ) -> list[int | None]:
        self._check_file()
        wanted = {
            "queues": json.dumps([queue.name for queue in queues]),
            "after": _BEFORE_ALL if after is None else after,
        }
        row = connection.cursor().execute(self._sql["next_ready"], wanted).fetchone()
        return [row[0]]

    def _swap(self, cursor: sqlite3.Cursor, change: Change) -> bool:
        old, new = change.old, change.new
        if new is None:
            ref = change.ref
            cursor.execute(self._sql["delete"], (ref.queue, ref.key, old.revision if old else None))
        elif old is None:
            cursor.execute(self._sql["insert"], (new.queue, new.key, *_state(new)))
        else:
            cursor.execute(self._sql["update"], (*_state(new), new.queue, new.key, old.revision))
        return cursor.rowcount == 1

    def _ready(self, cursor: sqlite3.Cursor, claims: Sequence[QueueClaim], now: int) -> list[QueueClaim]:
        """Those whose queue has something that is due, in the order given."""
        queues = json.dumps([claim.queue.name for claim in claims])
        rows = cursor.execute(self._sql["ready_queues"], {"queues": queues, "now": now})
        return [claims[index] for (index,) in sorted(rows) if claims[index].limit > 0]

    def _configure(self, connection: sqlite3.Connection) -> None:
        if not self.location.in_memory:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise RepositoryException(
                    f"SQLite database {self.location.database!r} can't be used by several processes, because its "
                    f"file system lacks shared memory (journal mode {mode!r}). Put it on a local disk."
                )
        # In WAL mode a commit survives a power cut with FULL only; on macOS it takes fullfsync as well.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
        # Each checkpoint syncs the database file too, and a page that changed several times since is written once.
        connection.execute("PRAGMA wal_autocheckpoint = 4000")

    def _check_schema(self, cursor: sqlite3.Cursor) -> bool:
        """Whether the table is there, as this version makes it.

        :raises StorageVersionException: it is there, but otherwise.
        """
        columns = {name for (name,) in cursor.execute(self._sql["columns"])}
        if not columns:
            return False
        table, database = self.location.table, self.location.database
        if columns == _COLUMNS_OF_PYNCETTE_1:
            raise StorageVersionException(
                f"Table {table!r} in {database!r} was written by Pyncette 1.x, which this version can't read. It was "
                "left as it is. Give another sqlite_table_name (or sqlite_database) and schedule the instances anew."
            )
        version = None
        if cursor.execute(self._sql["has_versions"]).fetchone():
            (version,) = cursor.execute(self._sql["read_version"]).fetchone() or (None,)
        if version == SCHEMA_VERSION and columns == _COLUMNS:
            return True
        if version is not None and version > SCHEMA_VERSION:
            raise StorageVersionException(
                f"Table {table!r} in {database!r} was written by a newer version of Pyncette (schema {version}; this "
                f"version knows {SCHEMA_VERSION}). It was left as it is. Upgrade pyncette-sqlite, or give another "
                "sqlite_table_name."
            )
        raise StorageVersionException(
            f"Table {table!r} in {database!r} was not made by Pyncette, or was changed. It was left as it is. Give "
            "another sqlite_table_name."
        )

    def _create(self, cursor: sqlite3.Cursor) -> None:
        cursor.execute(self._sql["create_versions"])
        cursor.execute(self._sql["create_table"])
        cursor.execute(self._sql["create_index"])
        cursor.execute(self._sql["write_version"], (SCHEMA_VERSION,))

    def _identity(self) -> tuple[int, int] | None:
        if self.location.in_memory:
            return None
        try:
            status = os.stat(self.location.database)
        except OSError:
            return (-1, -1)
        return (status.st_dev, status.st_ino)

    def _check_file(self) -> None:
        """A file that is deleted or replaced while it is open would take writes that nobody ever sees again."""
        if self._identity() != self._file:
            raise RepositoryException(
                f"The file of SQLite database {self.location.database!r} was deleted or replaced while it was in use. "
                "Nothing was written. Restart to use the file that is there now."
            )


def _state(record: Record) -> tuple[int, int, int | None, str | None, str, int, int, str]:
    return (
        record.due_at,
        record.ready_at,
        record.locked_until,
        record.locked_by,
        record.revision,
        record.fence,
        record.attempt,
        record.spec,
    )
