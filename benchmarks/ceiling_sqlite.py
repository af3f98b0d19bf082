"""How near the SQLite storage comes to the driver alone: claim 100, settle 100, until N records are done.

    python benchmarks/ceiling_sqlite.py [folder] [records] [runs]

The driver is Python's sqlite3, called without threads and with the same durability, by statements that somebody would
write by hand for speed: they compare nothing and look at no outcomes. Each batch is two transactions, each of which is
synced to the disk, so the disk of the folder sets the pace: its sync is measured too. The figures are medians.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pyncette.record import Change, Queue, QueueClaim, Record
from pyncette.repository import Repository
from pyncette.sqlite import sqlite_repository

BATCH = 100
NOW = 1_800_000_000_000_000
LEASE = 60_000_000
NEXT = NOW + 3_600_000_000
SPEC = '{"v":1,"every":3600000000,"args":{"data":"' + "x" * 64 + '"}}'

SETUP = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE tasks (key TEXT NOT NULL UNIQUE, due INTEGER NOT NULL, ready INTEGER NOT NULL, revision TEXT, spec TEXT);
CREATE INDEX ready ON tasks (ready, key);
"""
TAKE = """
UPDATE tasks SET ready = ?, revision = ?
WHERE rowid IN (SELECT rowid FROM tasks WHERE ready <= ? ORDER BY ready LIMIT ?) RETURNING rowid, key, due, spec
"""
SETTLE = "UPDATE tasks SET due = ?, ready = ?, revision = ? WHERE rowid = ?"


@dataclass(frozen=True)
class Figure:
    """Of one run: records per second, and microseconds of this process's time for each record."""

    rate: float
    cpu: float


def records(number: int) -> list[Record]:
    """Which one is due when has nothing to do with where it is stored."""
    moments = random.sample(range(number), number)
    return [
        Record(
            "task",
            f"task:{os.urandom(8).hex()}",
            NOW - moment,
            NOW - moment,
            None,
            None,
            os.urandom(8).hex(),
            0,
            0,
            SPEC,
        )
        for moment in moments
    ]


async def by_driver(connection: sqlite3.Connection) -> int:
    """One batch."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        taken = connection.execute(TAKE, (NOW + LEASE, os.urandom(8).hex(), NOW, BATCH)).fetchall()
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(SETTLE, [(NEXT, NEXT, os.urandom(8).hex(), row[0]) for row in taken])
    return len(taken)


async def by_storage(repository: Repository) -> int:
    """One batch."""
    token = os.urandom(8).hex()
    claims = [QueueClaim(Queue("task"), BATCH, NOW + LEASE)]
    taken = await repository.claim(claims, now=NOW, limit=BATCH, token=token, holder=f"benchmark:{token}")
    changes = [
        Change(one, Record(one.queue, one.key, NEXT, NEXT, None, None, os.urandom(8).hex(), one.fence, 0, one.spec))
        for one in taken
    ]
    if not all(await repository.swap(changes)):
        raise AssertionError("a settlement was not applied")
    return len(taken)


async def measure(batch: Callable[[], Awaitable[int]], number: int) -> Figure:
    started, cpu, done = time.perf_counter(), time.process_time(), 0
    while done < number:
        done += await batch()
    seconds, used = time.perf_counter() - started, time.process_time() - cpu
    return Figure(done / seconds, used / done * 1e6)


async def run_driver(database: Path, number: int) -> Figure:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.executescript(SETUP)
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            rows = [(one.key, one.due_at, one.ready_at, one.revision, one.spec) for one in records(number)]
            connection.executemany("INSERT INTO tasks VALUES (?, ?, ?, ?, ?)", rows)
        return await measure(lambda: by_driver(connection), number)


async def run_storage(database: Path | str, number: int) -> Figure:
    async with sqlite_repository(sqlite_database=database) as repository:
        for start in range(0, number, 1000):
            await repository.swap([Change(None, one) for one in records(min(1000, number - start))])
        return await measure(lambda: by_storage(repository), number)


def sync_time(folder: Path) -> float:
    """Milliseconds that the disk takes to sync a page."""
    with (folder / "sync").open("wb", buffering=0) as file:
        times = []
        for _ in range(100):
            file.write(bytes(4096))
            started = time.perf_counter()
            os.fsync(file)
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def tell(name: str, figures: list[Figure]) -> float:
    rate = statistics.median(figure.rate for figure in figures)
    cpu = statistics.median(figure.cpu for figure in figures)
    print(f"{name:18} {rate:8,.0f} records/s claimed and settled   {cpu:6.1f} µs of CPU per record")
    return rate


async def main(folder: str, number: int, runs: int) -> None:
    raw: list[Figure] = []
    ours: list[Figure] = []
    memory: list[Figure] = []
    with tempfile.TemporaryDirectory(dir=folder or None) as name:
        for run in range(runs):
            raw.append(await run_driver(Path(name, f"driver{run}.db"), number))
            ours.append(await run_storage(Path(name, f"pyncette{run}.db"), number))
            memory.append(await run_storage(":memory:", number))
        print(f"sync of a page     {sync_time(Path(name)):8.2f} ms")
    ratio = tell("pyncette", ours) / tell("sqlite3", raw)
    print(f"ratio              {ratio:8.2f}")
    tell("pyncette, :memory:", memory)


if __name__ == "__main__":
    given = sys.argv[1:]
    asyncio.run(main(given[0] if given else "", *(map(int, given[1:]) if len(given) > 2 else (5000, 7))))
