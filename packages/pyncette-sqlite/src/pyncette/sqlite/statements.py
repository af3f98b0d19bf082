"""The operations on the table, as functions of a connection. They run in the driver's thread."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence

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

BEYOND_UTF8 = b"\xff"
"""A byte that no text has."""


def statements_of(table: str) -> Mapping[str, str]:
    """The statements of ``statements.sql`` by their names, for one table."""
    return {name: sql.replace("{table}", table) for name, sql in load_statements(__package__).items()}


class Statements:
    """What the repository does, without the crossing to the thread that it is done in."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._sql = statements_of(settings.table)
        self._file: tuple[int, int] | None = None

    def opened(self) -> None:
        """Remember which file the database is."""
        self._file = self._identity()

    def read(self, refs: Sequence[Ref], connection: sqlite3.Connection) -> list[Record | None]:
        self._check_file()
        cursor, record = connection.cursor(), reads_records(connection)
        rows = [cursor.execute(self._sql["read"], (ref.queue, bound(ref.key))).fetchone() for ref in refs]
        return [None if row is None else record(row) for row in rows]

    def swap(self, changes: Sequence[Change], connection: sqlite3.Connection) -> list[Swap]:
        self._check_file()
        with writing(connection) as cursor:
            return [Swap.APPLIED if self._swap(cursor, change) else Swap.CONFLICT for change in changes]

    def runs(self, question: RunQuestion, connection: sqlite3.Connection) -> list[RunLine]:
        self._check_file()
        return runs(self._sql, question, connection)

    def prune_runs(self, before: int, limit: int, connection: sqlite3.Connection) -> list[int]:
        self._check_file()
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
        self, queues: Sequence[Queue], refs: Sequence[Ref], after: int | None, connection: sqlite3.Connection
    ) -> list[Look]:
        names = json.dumps([queue.name for queue in queues])
        wanted = {"queues": names, "since": LEAST if after is None else after + 1}
        records = self.read(refs, connection)
        (next_ready,) = connection.cursor().execute(self._sql["next_ready"], wanted).fetchone()
        return [Look(next_ready, records, None)]

    def scan(
        self, queue: Queue, after: str | None, limit: int, prefix: str, connection: sqlite3.Connection
    ) -> list[Record]:
        self._check_file()
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
        self._check_file()
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
        self._check_file()
        rows = connection.cursor().execute(self._sql["queues"], {"after": after or "", "limit": limit})
        return [name for (name,) in rows]

    def count(self, queue: Queue, since: int, before: int, limit: int, connection: sqlite3.Connection) -> list[Count]:
        """Counts one more than the limit, to know whether the limit is exact."""
        self._check_file()
        wanted = {"queue": queue.name, "since": since, "before": before, "limit": limit + 1}
        (found,) = connection.cursor().execute(self._sql["count"], wanted).fetchone()
        return [Count(min(found, limit), exact=found <= limit)]

    def _swap(self, cursor: sqlite3.Cursor, change: Change) -> bool:
        old, new = change.old, change.new
        if new is None:
            ref, revision = change.ref, old.revision if old else ""
            cursor.execute(self._sql["delete"], (ref.queue, bound(ref.key), bound(revision)))
        elif old is None:
            cursor.execute(self._sql["insert"], (new.queue, new.key, *columns(new)[:-1], new.spec, new.state))
        else:
            place = (new.queue, bound(new.key), bound(old.revision))
            if new.spec == old.spec:
                cursor.execute(self._sql["update"], (*columns(new), *place))
            else:
                cursor.execute(self._sql["update_spec"], (*columns(new), new.spec, *place))
        applied = cursor.rowcount == 1
        if applied and (run := change.run) is not None:
            line = (run.ended_at, run.id, run.queue, run.key, run.outcome, run.text)
            cursor.execute(self._sql["log_run"], line)
        return applied

    def _ready(self, cursor: sqlite3.Cursor, claims: Sequence[QueueClaim], now: int) -> list[QueueClaim]:
        """Those that would get something, in the order given."""
        windows = json.dumps([[claim.queue.name, claim.since, min(claim.before, now + 1)] for claim in claims])
        rows = cursor.execute(self._sql["ready_claims"], {"claims": windows})
        return [claims[index] for (index,) in sorted(rows) if claims[index].limit > 0]

    def _identity(self) -> tuple[int, int] | None:
        if self.settings.in_memory:
            return None
        try:
            status = os.stat(self.settings.database)
        except OSError:
            return (-1, -1)
        return (status.st_dev, status.st_ino)

    def _check_file(self) -> None:
        """A file that is deleted or replaced while it is open would take writes that nobody ever sees again."""
        if self._identity() != self._file:
            raise RepositoryException(
                f"The file of SQLite database {self.settings.database!r} was deleted or replaced while it was in use. "
                "Nothing was written. Restart to use the file that is there now."
            )
