"""Python's sqlite3 alone, without threads, with the same durability and the same rare checkpoints as the storage: with
SQLite's default it would sync a fifth more often.

The statements compare nothing and ignore the outcomes. Each batch is two transactions, each synced to the disk, so the
disk determines the speed.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from .common import BATCH, LEASE, NEXT, Driver, fresh, moments, records

SETUP = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA wal_autocheckpoint = 4000;
CREATE TABLE tasks (key TEXT NOT NULL UNIQUE, due INTEGER NOT NULL, ready INTEGER NOT NULL, revision TEXT, spec TEXT);
CREATE INDEX ready ON tasks (ready, key);
"""
TAKE = """
UPDATE tasks SET ready = ?, revision = ?
WHERE rowid IN (SELECT rowid FROM tasks WHERE ready <= ? ORDER BY ready LIMIT ?) RETURNING rowid, key, due, spec
"""
SETTLE = "UPDATE tasks SET due = ?, ready = ?, revision = ? WHERE rowid = ?"


class ByHand(Driver):
    async def connect(self) -> None:
        self._database = Path(self.options["sqlite_database"])
        self._connection = sqlite3.connect(self._database, isolation_level=None)

    async def close(self) -> None:
        self._connection.close()
        for file in self._database.parent.glob(f"{self._database.name}*"):
            file.unlink()

    async def fill(self, number: int) -> None:
        self._connection.executescript(SETUP)
        rows = [(one.key, one.due_at, one.ready_at, one.revision, one.spec) for one in records(number)]
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT INTO tasks VALUES (?, ?, ?, ?, ?)", rows)

    async def batch(self) -> int:
        now = next(moments)
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            taken = self._connection.execute(TAKE, (now + LEASE, fresh(), now, BATCH)).fetchall()
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(SETTLE, [(NEXT, NEXT, fresh(), row[0]) for row in taken])
        return len(taken)
