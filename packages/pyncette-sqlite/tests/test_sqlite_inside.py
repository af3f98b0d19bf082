"""Internals of the repository, on asyncio, where it needs no bridge."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pyncette.errors import RecordRefusedException, RepositoryUnavailableException
from pyncette.record import Change, Queue, QueueClaim, Record, Swap
from pyncette.sqlite import SqliteRepository, sqlite_repository
from pyncette.sqlite.connection import Operation, run
from pyncette.sqlite.settings import Settings
from pyncette.sqlite.statements import statements_of
from pyncette.testing.contract.base import applied

RECORD = Record("task", "task:a", 1, 1, None, None, "r", 0, 0, "{}")
QUEUE = Queue("task")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "pyncette.db"


@pytest.fixture
async def repository(database: Path) -> AsyncIterator[SqliteRepository]:
    async with sqlite_repository(sqlite_database=database) as repository:
        assert isinstance(repository, SqliteRepository)
        yield repository


async def on(connection: Any, function: Callable[[sqlite3.Connection], Any]) -> Any:
    """Calls a function in the connection's thread, and returns its result."""
    (result,) = await run(connection, Operation(Settings.checked("any", "any"), lambda c: [function(c)]))
    return result


async def pragma(connection: Any, name: str) -> Any:
    return await on(connection, lambda c: c.execute(f"PRAGMA {name}").fetchone()[0])


async def test_acknowledged_writes_survive_a_power_cut(repository: SqliteRepository) -> None:
    """As far as SQLite can ensure it: in WAL mode, commits are synced only with FULL (2)."""
    assert await pragma(repository._writer, "journal_mode") == "wal"
    assert await pragma(repository._writer, "synchronous") == 2
    assert await pragma(repository._writer, "fullfsync") == 1
    assert await pragma(repository._reader, "query_only") == 1


async def test_a_full_disk(repository: SqliteRepository) -> None:
    """Nothing of the batch is written, and writes succeed again once there is room."""
    await pragma(repository._writer, "max_page_count = 8")
    changes = [Change(None, replace(RECORD, key=f"task:{number}", spec="x" * 1000)) for number in range(100)]
    with pytest.raises(RepositoryUnavailableException, match="disk is full"):
        await repository.swap(changes)
    assert await repository.scan(QUEUE, after=None, limit=1) == []
    await pragma(repository._writer, "max_page_count = 100000")
    assert applied(await repository.swap(changes))


async def test_a_record_that_is_too_large(repository: SqliteRepository) -> None:
    """The error names the limit, which is a gigabyte by default."""
    assert await on(repository._writer, lambda c: c.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)) == 10**9
    await on(repository._writer, lambda c: c.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000))
    large = replace(RECORD, spec="x" * 100_001)
    with pytest.raises(RecordRefusedException, match="100,000 bytes"):
        await repository.swap([Change(None, RECORD), Change(None, replace(large, key="task:b"))])
    assert await repository.swap([Change(None, RECORD)]) == [Swap.APPLIED]
    with pytest.raises(RecordRefusedException, match="100,000 bytes"):
        await repository.swap([Change(RECORD, large)])


async def test_text_that_is_not_valid_unicode(repository: SqliteRepository) -> None:
    with pytest.raises(RecordRefusedException):
        await repository.swap([Change(None, replace(RECORD, spec="\ud800"))])


async def test_one_switch_of_threads_for_each_call(
    repository: SqliteRepository, caplog: pytest.LogCaptureFixture
) -> None:
    """aiosqlite logs each function that it runs in the connection's thread."""
    claims = [QueueClaim(QUEUE, 100, 1000), *(QueueClaim(Queue(f"s{n}", static=True), 1, 1000) for n in range(50))]
    changes = [Change(None, replace(RECORD, key=f"task:{number}")) for number in range(50)]
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "swap": lambda: repository.swap(changes),
        "read": lambda: repository.read([change.ref for change in changes]),
        "look": lambda: repository.look([claim.queue for claim in claims], [RECORD.ref]),
        "scan": lambda: repository.scan(QUEUE, after=None, limit=100, prefix="task:1"),
        "scan_ready": lambda: repository.scan_ready(QUEUE, after=(1, "task:1"), limit=100),
        "queues": lambda: repository.queues(after=None, limit=100),
        "count": lambda: repository.count(QUEUE),
        "claim": lambda: repository.claim(claims, now=1, limit=100, token="t", holder="h"),
    }
    for name, call in calls.items():
        with caplog.at_level(logging.DEBUG, "aiosqlite"):
            caplog.clear()
            await call()
        assert sum("executing" in message for message in caplog.messages) == 1, name


async def test_an_idle_claim_does_not_write(repository: SqliteRepository, database: Path) -> None:
    await repository.swap([Change(None, RECORD)])
    log = database.with_name("pyncette.db-wal")
    size = log.stat().st_size
    assert await repository.claim([QueueClaim(QUEUE, 9, 9)], now=0, limit=9, token="t", holder="h") == []
    assert log.stat().st_size == size
    assert await repository.claim([QueueClaim(QUEUE, 9, 9)], now=1, limit=9, token="t", holder="h") != []
    assert log.stat().st_size > size


@pytest.mark.parametrize(
    "name",
    [
        "read",
        "update",
        "update_spec",
        "delete",
        "ready_claims",
        "claimed",
        "claim",
        "scan",
        "next_ready",
        "queues",
        "count",
    ],
)
async def test_statements_use_an_index(repository: SqliteRepository, database: Path, name: str) -> None:
    """No statement reads rows that it does not need, and none sorts."""
    sql = statements_of("pyncette_tasks")[name]
    with closing(sqlite3.connect(database)) as connection:
        parameters: Any = dict.fromkeys(re.findall(r":(\w+)", sql), "1")
        if ":" not in sql:
            parameters = ["1"] * sql.count("?")
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
    assert any(re.match(r"SEARCH pyncette_tasks (EXISTS )?USING", step) for step in plan), plan
    assert not [step for step in plan if "SCAN pyncette_tasks" in step or "TEMP B-TREE" in step], plan


@pytest.mark.parametrize(
    "name, search",
    [
        ("next_ready", "USING COVERING INDEX pyncette_tasks_ready (queue=? AND ready_at>? AND ready_at<?)"),
        ("scan_ready", "USING INDEX pyncette_tasks_ready (queue=? AND ready_at>? AND ready_at<?)"),
        ("count", "USING COVERING INDEX pyncette_tasks_ready (queue=? AND ready_at>? AND ready_at<?)"),
        ("queues", "USING COVERING INDEX pyncette_tasks_ready (queue>?)"),
    ],
)
async def test_seeks_in_the_index(repository: SqliteRepository, database: Path, name: str, search: str) -> None:
    sql = statements_of("pyncette_tasks")[name]
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", dict.fromkeys(re.findall(r":(\w+)", sql), "1"))
        plan = " ".join(row[3] for row in rows)
    assert f"SEARCH pyncette_tasks {search}" in plan


DAMAGE = "CAST(x'ff7b7d' AS TEXT)"


@pytest.mark.parametrize("column", ["spec", "state", "revision", "locked_by", "key"])
async def test_damaged_text(repository: SqliteRepository, database: Path, column: str) -> None:
    """A record with invalid UTF-8 blocks nothing: it can be claimed, listed, overwritten and deleted."""
    fine = replace(RECORD, key="task:fine")
    await repository.swap([Change(None, RECORD), Change(None, fine)])
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute(f"UPDATE pyncette_tasks SET {column} = {DAMAGE} WHERE key = 'task:a'")  # noqa: S608 -- the test's own name
    found = {one.key: one for one in await repository.scan(QUEUE, after=None, limit=9)}
    (damaged,) = [one for one in found.values() if one.key != fine.key]
    assert damaged.spec.startswith("damaged")
    claims = [QueueClaim(QUEUE, 9, 1000)]
    taken = await repository.claim(claims, now=1, limit=9, token="t", holder="h")
    assert {one.key for one in taken} == found.keys()
    (stored,) = await repository.read([damaged.ref])
    assert stored is not None
    whole = replace(RECORD, key=stored.key, revision="whole")
    if column != "key":
        assert await repository.swap([Change(stored, whole)]) == [Swap.APPLIED]
        stored = whole
    assert await repository.swap([Change(stored, None)]) == [Swap.APPLIED]
    assert await repository.read([damaged.ref]) == [None]
