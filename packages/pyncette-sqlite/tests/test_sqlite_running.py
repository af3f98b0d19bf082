"""What happens to a repository in use: other writers, cancellation, a lost file, large batches."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from pyncette.errors import RepositoryException, RepositoryUnavailableException
from pyncette.record import Change, Queue, QueueClaim, Record, Swap
from pyncette.repository import Repository
from pyncette.sqlite import connection as session_module
from pyncette.sqlite import sqlite_repository
from pyncette.testing.contract.base import applied, next_ready

QUEUE = Queue("task")
CLAIM = [QueueClaim(QUEUE, 100, 1000)]


def record(name: str = "a", **fields: Any) -> Record:
    return replace(Record("task", f"task:{name}", 1, 1, None, None, "r", 0, 0, "{}"), **fields)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "pyncette.db"


@pytest.fixture
async def repository(database: Path) -> AsyncIterator[Repository]:
    async with sqlite_repository(sqlite_database=database) as repository:
        yield repository


@contextmanager
def locked(database: Path) -> Iterator[sqlite3.Connection]:
    """Another process in the middle of a write."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


async def test_writing_waits_for_other_writers(repository: Repository, database: Path) -> None:
    with locked(database) as other:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(repository.swap, [Change(None, record())])
            await anyio.sleep(0.2)
            assert await repository.read([record().ref]) == [None]
            other.execute("COMMIT")
    assert await repository.read([record().ref]) == [record()]


async def test_a_lock_that_is_never_released(
    repository: Repository, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads and idle claims continue, writes time out, and once the lock is gone everything works again."""
    assert await repository.swap([Change(None, record())]) == [Swap.APPLIED]
    monkeypatch.setattr(session_module, "LOCK_TIMEOUT", 0.2)
    with locked(database):
        assert await repository.read([record().ref]) == [record()]
        assert await next_ready(repository, [QUEUE]) == 1
        assert await repository.claim(CLAIM, now=0, limit=1, token="t", holder="h") == []
        with pytest.raises(RepositoryUnavailableException, match="locked by another connection") as caught:
            await repository.swap([Change(record(), None)])
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        with pytest.raises(RepositoryUnavailableException, match="locked by another connection"):
            await repository.claim(CLAIM, now=1, limit=1, token="t", holder="h")
    assert await repository.swap([Change(record(), None)]) == [Swap.APPLIED]


async def test_cancelled_while_waiting_for_another_writer(repository: Repository, database: Path) -> None:
    """The cancelled change is not made, and the next one does not wait for the lock's timeout."""
    with locked(database) as other:
        with anyio.move_on_after(0.1):
            await repository.swap([Change(None, record("cancelled"))])
        with anyio.move_on_after(0.1):
            await repository.swap([Change(None, record("cancelled in the queue"))])
        other.execute("COMMIT")
    with anyio.fail_after(5):
        assert await repository.swap([Change(None, record())]) == [Swap.APPLIED]
    assert await repository.scan(QUEUE, after=None, limit=10) == [record()]


async def test_nothing_is_written_after_a_cancelled_call(repository: Repository) -> None:
    chance = random.Random(0)
    records = [record(f"{number:03}") for number in range(100)]
    started = time.monotonic()
    assert applied(await repository.swap([Change(None, one) for one in records]))
    usual = time.monotonic() - started
    for attempt in range(60):
        new = [replace(one, revision=str(attempt)) for one in records]
        with anyio.move_on_after(chance.random() * 2 * usual):
            await repository.swap([Change(*pair) for pair in zip(records, new, strict=True)])
        found = await repository.read([one.ref for one in records])
        await anyio.sleep(0.01)
        assert await repository.read([one.ref for one in records]) == found
        assert found in (records, new)
        records = [one for one in found if one]


async def test_closing_while_calls_wait_for_another_writer(database: Path) -> None:
    with anyio.fail_after(5):
        async with sqlite_repository(sqlite_database=database) as repository:
            with locked(database):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(repository.swap, [Change(None, record())])
                    await anyio.sleep(0.05)
                    tasks.cancel_scope.cancel()
    with pytest.raises(RepositoryException, match="is closed"):
        await repository.read([])


async def test_a_file_that_is_deleted_while_in_use(repository: Repository, database: Path) -> None:
    """Nobody would ever see what is written to it now."""
    assert await repository.swap([Change(None, record())]) == [Swap.APPLIED]
    os.unlink(database)
    for call in (
        partial(repository.swap, [Change(record(), None)]),
        partial(repository.claim, CLAIM, now=1, limit=1, token="t", holder="h"),
        partial(repository.read, [record().ref]),
    ):
        with pytest.raises(RepositoryException, match="deleted or replaced while it was in use"):
            await call()


async def test_a_file_that_is_replaced_while_in_use(repository: Repository, database: Path) -> None:
    os.rename(database, database.with_name("old.db"))
    async with sqlite_repository(sqlite_database=database) as other:
        assert await other.swap([Change(None, record())]) == [Swap.APPLIED]
        with pytest.raises(RepositoryException, match="deleted or replaced while it was in use"):
            await repository.swap([Change(None, record())])


async def test_a_table_that_is_dropped_while_in_use(repository: Repository, database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TABLE pyncette_tasks")
    with pytest.raises(RepositoryException, match="no such table: pyncette_tasks"):
        await repository.swap([Change(None, record())])


async def test_a_batch_larger_than_any_limit_of_sqlite(repository: Repository) -> None:
    """SQLite allows only 32,766 parameters, so records don't have one each."""
    records = [record(f"{number:05}") for number in range(40_000)]
    assert await repository.swap([Change(None, one) for one in records]) == [Swap.APPLIED] * 40_000
    assert await repository.read([one.ref for one in records]) == records
    queues = [Queue(f"static {number}", static=True) for number in range(40_000)]
    assert await next_ready(repository, [*queues, QUEUE]) == 1
    claims = [*(QueueClaim(queue, 1, 1000) for queue in queues), QueueClaim(QUEUE, 40_000, 1000)]
    assert len(await repository.claim(claims, now=1, limit=40_000, token="t", holder="h")) == 40_000
