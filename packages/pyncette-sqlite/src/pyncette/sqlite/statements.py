"""The operations on the table, as functions of a connection. They run in the driver's thread."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from pyncette.errors import RepositoryException
from pyncette.record import (
    LEAST,
    LONGEST_KEY,
    Change,
    Count,
    Look,
    Queue,
    QueueClaim,
    Record,
    Ref,
    RunLine,
    RunQuestion,
    Swap,
)
from pyncette.resources import load_statements

from .codec import bound, columns, reads_records
from .connection import writing
from .run_log import prune, runs
from .settings import Settings

Statement = tuple[str, tuple[Any, ...]]
"""A statement and its parameters."""

BEYOND_UTF8 = b"\xff"
"""A byte that does not occur in UTF-8."""


def statements_of(table: str) -> Mapping[str, str]:
    """The statements of ``statements.sql`` by their names, for one table."""
    return {name: sql.replace("{table}", table) for name, sql in load_statements(__package__).items()}


def file_identity(path: str) -> tuple[int, int]:
    """Identifies the file at a path, independent of how the path is written."""
    try:
        status = os.stat(path)
    except OSError:
        return (-1, -1)
    return (status.st_dev, status.st_ino)


class Statements:
    """The repository's operations, to be called in the connection's thread.

    :ivar locking: the statement that takes the write lock.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._sql = statements_of(settings.table)
        self.locking: str = self._sql["lock"]
        self._file: tuple[int, int] | None = None

    def is_in(self, path: str) -> bool:
        """Whether the table is in the file."""
        return self._file is not None and file_identity(path) == self._file

    def opened(self) -> None:
        """Remember which file the database is."""
        self._file = self._identity()

    def read(self, refs: Sequence[Ref], connection: sqlite3.Connection) -> list[Record | None]:
        self.check_file()
        cursor, record = connection.cursor(), reads_records(connection)
        rows = [cursor.execute(*self.reading(ref)).fetchone() for ref in refs]
        return [None if row is None else record(row) for row in rows]

    def reading(self, ref: Ref) -> Statement:
        """The statement that returns the columns of a record."""
        return self._sql["read"], (ref.queue, bound(ref.key))

    def swap(self, changes: Sequence[Change], connection: sqlite3.Connection) -> list[Swap]:
        self.check_file()
        with writing(connection) as cursor:
            return [Swap.APPLIED if self._swap(cursor, change) else Swap.CONFLICT for change in changes]

    def runs(self, question: RunQuestion, connection: sqlite3.Connection) -> list[RunLine]:
        self.check_file()
        return runs(self._sql, question, connection)

    def prune_runs(self, before: int, limit: int, connection: sqlite3.Connection) -> list[int]:
        self.check_file()
        return prune(self._sql, before, limit, connection)

    def claim(
        self,
        claims: Sequence[QueueClaim],
        now: int,
        limit: int,
        token: str,
        holder: str,
        connection: sqlite3.Connection,
    ) -> list[Record]:
        self.check_file()
        ready = self._ready(connection.cursor(), claims, now)
        taken: list[Record] = []
        if not ready or limit < 1:  # so that an idle app never takes the write lock
            return taken
        with writing(connection) as cursor:
            for claim in ready:
                wanted = {
                    "queue": claim.queue.name,
                    "until": claim.locked_until,
                    "limit": min(claim.limit, limit - len(taken)),
                    "since": claim.since,
                    "before": min(claim.before, now + 1),
                    "now": now,
                    "token": token,
                    "holder": holder,
                }
                rows = cursor.execute(self._sql["claimed"], wanted).fetchall()
                if rows:
                    cursor.execute(self._sql["claim"], wanted)
                    taken += map(reads_records(connection), rows)
                if len(taken) >= limit:
                    break
        return taken

    def look(
        self,
        queues: Sequence[Queue],
        refs: Sequence[Ref],
        after: int | None,
        until: int,
        limit: int,
        connection: sqlite3.Connection,
    ) -> list[Look]:
        names = json.dumps([queue.name for queue in queues])
        wanted = {"queues": names, "since": LEAST if after is None else after + 1, "until": until, "limit": limit}
        records = self.read(refs, connection)
        cursor = connection.cursor()
        (next_ready,) = cursor.execute(self._sql["next_ready"], wanted).fetchone()
        moments: dict[str, list[int]] = {}
        if next_ready is not None and next_ready <= until:
            for queue, _ in cursor.execute(self._sql["soon"], wanted).fetchall():
                rows = cursor.execute(self._sql["moments"], {**wanted, "queue": queue})
                if found := [ready_at for (ready_at,) in rows]:  # empty if others have claimed it in the meantime
                    moments[queue] = found
        return [Look(next_ready, records, None, moments)]

    def scan(
        self, queue: Queue, after: str | None, limit: int, prefix: str, connection: sqlite3.Connection
    ) -> list[Record]:
        self.check_file()
        wanted = {
            "queue": queue.name,
            "after": bound(after or ""),  # keys are never empty, so all of them are greater
            "prefix": bound(prefix),
            "beyond": prefix.encode(errors="surrogateescape") + BEYOND_UTF8 * (1 if prefix else LONGEST_KEY + 1),
            "limit": limit,
        }
        return [*map(reads_records(connection), connection.cursor().execute(self._sql["scan"], wanted))]

    def scan_ready(
        self,
        queue: Queue,
        since: int,
        before: int,
        after: tuple[int, str] | None,
        limit: int,
        connection: sqlite3.Connection,
    ) -> list[Record]:
        self.check_file()
        at, key = after or (since, "")
        wanted = {
            "queue": queue.name,
            "since": max(since, at),
            "before": before,
            "at": at,
            "after": bound(key),
            "limit": limit,
        }
        return [*map(reads_records(connection), connection.cursor().execute(self._sql["scan_ready"], wanted))]

    def queues(self, after: str | None, limit: int, connection: sqlite3.Connection) -> list[str]:
        self.check_file()
        rows = connection.cursor().execute(self._sql["queues"], {"after": after or "", "limit": limit})
        return [name for (name,) in rows]

    def count(self, queue: Queue, since: int, before: int, limit: int, connection: sqlite3.Connection) -> list[Count]:
        """Counts one row more than the limit, to know whether the result is exact."""
        self.check_file()
        wanted = {"queue": queue.name, "since": since, "before": before, "limit": limit + 1}
        (found,) = connection.cursor().execute(self._sql["count"], wanted).fetchone()
        return [Count(min(found, limit), exact=found <= limit)]

    def _swap(self, cursor: sqlite3.Cursor, change: Change) -> bool:
        applied = cursor.execute(*self.writing(change)).rowcount == 1
        if applied and change.run is not None:
            cursor.execute(*self.logging(change.run))
        return applied

    def writing(self, change: Change) -> Statement:
        """The statement that applies a change: to one row, or to none if there is a conflict."""
        old, new = change.old, change.new
        if new is None:
            ref, revision = change.ref, old.revision if old else ""
            return self._sql["delete"], (ref.queue, bound(ref.key), bound(revision))
        if old is None:
            return self._sql["insert"], (new.queue, new.key, *columns(new)[:-1], new.spec, new.state)
        place = (new.queue, bound(new.key), bound(old.revision))
        if new.spec == old.spec:
            return self._sql["update"], (*columns(new), *place)
        return self._sql["update_spec"], (*columns(new), new.spec, *place)

    def logging(self, run: RunLine) -> Statement:
        """The statement that appends a line to the log of runs."""
        return self._sql["log_run"], (run.ended_at, run.id, run.queue, run.key, run.outcome, run.text)

    def _ready(self, cursor: sqlite3.Cursor, claims: Sequence[QueueClaim], now: int) -> list[QueueClaim]:
        """The claims that would get something, in the order given."""
        windows = json.dumps([[claim.queue.name, claim.since, min(claim.before, now + 1)] for claim in claims])
        rows = cursor.execute(self._sql["ready_claims"], {"claims": windows})
        return [claims[index] for (index,) in sorted(rows) if claims[index].limit > 0]

    def _identity(self) -> tuple[int, int] | None:
        return None if self.settings.in_memory else file_identity(self.settings.database)

    def check_file(self) -> None:
        """Raise if the file was deleted or replaced while it was open: writes to the old file would be lost."""
        if self._identity() != self._file:
            raise RepositoryException(
                f"The file of SQLite database {self.settings.database!r} was deleted or replaced while it was in use. "
                "Nothing was written. Restart to use the file that is there now."
            )
