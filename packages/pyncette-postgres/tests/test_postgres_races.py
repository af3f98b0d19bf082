"""Several clients that want the same rows: who wins, who waits, and what is locked."""

# ruff: noqa: S608 -- the statements are made of constants and of names that the tests make

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import anyio
import pytest

from pyncette.errors import RepositoryUnavailableException
from pyncette.postgres import connection as database
from pyncette.postgres import postgres_repository
from pyncette.postgres.settings import Table
from pyncette.postgres.statements import Queries
from pyncette.record import LEAST, Change, Queue, Record, Swap
from pyncette.repository import Repository
from pyncette.testing.contract.base import take
from tests.helpers import postgres as helpers
from tests.helpers.postgres import MINUTE, NOW, TASK, eventually, fresh, record, want
from tests.servers.model import Server

ONE = "key = 'task:one'"


@pytest.fixture
def table(postgres_server: Server) -> Iterator[str]:
    with helpers.table(postgres_server.url) as name:
        yield name


@pytest.fixture
async def repository(postgres_server: Server, table: str) -> AsyncIterator[Repository]:
    async with postgres_repository(postgres_url=postgres_server.url, postgres_table_name=table) as repository:
        yield repository


@pytest.fixture
async def watcher(postgres_server: Server) -> AsyncIterator[Any]:
    """A connection that observes the other sessions."""
    async with helpers.connection(postgres_server.url) as connection:
        yield connection


async def waits_for_a_lock(watcher: Any, table: str) -> None:
    await eventually(watcher, f"wait_event_type = 'Lock' AND query LIKE '%{table}%'", 1)


def moved(one: Record, **fields: Any) -> Record:
    return replace(one, revision=fresh(), **fields)


@pytest.mark.parametrize(
    "meanwhile",
    [
        "UPDATE {table} SET revision = 'other' WHERE {one}",
        "DELETE FROM {table} WHERE {one}",
        "SELECT FROM {table} WHERE {one} FOR UPDATE",
        "UPDATE {table} SET attempt = attempt WHERE {one}",
    ],
)
@pytest.mark.parametrize("delete", [False, True])
async def test_swap_waits_for_nobody(
    repository: Repository, other: Any, table: str, meanwhile: str, delete: bool
) -> None:
    """A row that another transaction has locked is busy, and the rest of the batch is applied."""
    one, mate, outdated = record("one"), record("two"), record("three")
    await repository.swap([Change(None, each) for each in (one, mate, outdated)])
    new = None if delete else moved(one)
    batch = [Change(one, new), Change(mate, moved(mate)), Change(moved(outdated), None), Change(None, record("four"))]
    await other.execute(f"BEGIN; {meanwhile.format(table=table, one=ONE)}")
    with anyio.fail_after(5):
        assert await repository.swap(batch) == [Swap.BUSY, Swap.APPLIED, Swap.CONFLICT, Swap.APPLIED]
    await other.execute("ROLLBACK")
    assert await repository.swap(batch[:1]) == [Swap.APPLIED]
    assert await repository.read([one.ref]) == [new]


@pytest.mark.parametrize("ends, swap", [("COMMIT", Swap.CONFLICT), ("ROLLBACK", Swap.APPLIED)])
async def test_an_insert_that_meets_another_insert(
    repository: Repository, other: Any, table: str, ends: str, swap: Swap
) -> None:
    """It waits briefly; then it is busy, and the rest of the batch is applied."""
    await repository.swap([Change(None, record("first"))])
    columns = "due_at, ready_at, locked_until, fence, attempt, queue, revision, locked_by, spec, state"
    await other.execute(f"BEGIN; INSERT INTO {table} (key, {columns}) SELECT 'task:one', {columns} FROM {table}")
    batch = [Change(None, record(name)) for name in ("one", "two", "three")]
    with anyio.fail_after(20):
        assert await repository.swap(batch) == [Swap.BUSY, Swap.APPLIED, Swap.APPLIED]
    await other.execute(ends)
    assert await repository.swap(batch[:1]) == [swap]


async def test_a_claim_skips_rows_that_others_have_locked(repository: Repository, other: Any, table: str) -> None:
    """It never waits."""
    records = [record(f"{number}", ready_at=NOW - 10 + number) for number in range(10)]
    await repository.swap([Change(None, one) for one in records])
    await other.execute(f"BEGIN; SELECT FROM {table} WHERE ready_at < {NOW - 6} FOR UPDATE")
    taken = await take(repository, want(TASK, limit=3), now=NOW, limit=100, token=fresh(), holder="me")
    assert [one.key for one in taken] == [one.key for one in records[4:7]]
    await other.execute("COMMIT")


async def test_a_claim_locks_only_what_it_takes(repository: Repository, other: Any, watcher: Any, table: str) -> None:
    """Neither records beyond a limit, nor those of queues that are not reached."""
    queues = [Queue("a"), Queue("static", static=True), Queue("b"), Queue("late", static=True)]
    records = [record(f"{number}", queue=queue, ready_at=NOW - number) for queue in "ab" for number in range(50)]
    records += [record("static", queue="static"), record("late", queue="late", ready_at=NOW + 1)]
    await repository.swap([Change(None, one) for one in records])
    claim = Queries.of(Table.parse(table)).claim
    async with other.transaction():
        rows = await other.fetch(
            claim,
            [q.name for q in queues],
            [q.static for q in queues],
            [20, 1, 20, 1],
            [NOW + MINUTE] * 4,
            [LEAST] * 4,
            [""] * 4,
            [NOW + 1] * 4,
            NOW,
            30,
            "token",
            "me",
        )
        free = {row[0] for row in await watcher.fetch(f"SELECT key FROM {table} FOR UPDATE SKIP LOCKED")}
    taken = {row["key"] for row in rows}
    assert Counter(row["queue"] for row in rows) == {"a": 20, "static": 1, "b": 9}
    assert free == {one.key for one in records} - taken


async def test_crossing_batches_do_not_deadlock(postgres_server: Server, table: str, watcher: Any) -> None:
    """Batches that list the same records in different orders lock them in one order."""
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await watcher.fetchval(deadlocks)
    chance = random.Random(1)
    records = [record(f"{number:02}") for number in range(40)]
    current = {one.key: one for one in records}
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                postgres_repository(postgres_url=postgres_server.url, postgres_table_name=table)
            )
            for _ in range(4)
        ]
        await clients[0].swap([Change(None, one) for one in records])
        for _ in range(60):
            batches = []
            for _ in clients:
                chosen = chance.sample(records, 30)
                batches.append([Change(current[one.key], moved(current[one.key])) for one in chosen])
            outcomes = await asyncio.gather(*(c.swap(b) for c, b in zip(clients, batches, strict=True)))
            wins = Counter(
                change.ref.key
                for batch, outcome in zip(batches, outcomes, strict=True)
                for change, won in zip(batch, outcome, strict=True)
                if won is Swap.APPLIED
            )
            assert set(wins.values()) == {1}
            assert wins.keys() == {change.ref.key for batch in batches for change in batch}
            found = await clients[0].read([one.ref for one in records])
            current = {one.key: one for one in found if one}
    await watcher.execute("SELECT pg_stat_clear_snapshot()")
    assert await watcher.fetchval(deadlocks) == before


async def test_deadlocks_without_end(
    repository: Repository, other: Any, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call fails in the end."""
    await repository.swap([Change(None, record("one"))])
    await other.execute(f"""
        CREATE FUNCTION {table}_fails() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE 'again and again' USING ERRCODE = 'deadlock_detected'; END $$;
        CREATE TRIGGER fails BEFORE INSERT ON {table} EXECUTE FUNCTION {table}_fails();
    """)
    with pytest.raises(RepositoryUnavailableException, match="again and again"):
        await repository.swap([Change(None, record("two"))])
    await other.execute(f"DROP FUNCTION {table}_fails CASCADE")
    assert database.ATTEMPTS > 1
    assert await repository.swap([Change(None, record("two"))]) == [Swap.APPLIED]


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
async def test_nothing_is_lost_or_done_twice(postgres_server: Server, table: str, isolation: str) -> None:
    """Claims and writes of several clients at once, at every isolation level that a database may default to.

    Each claim counts in ``attempt`` and each write in ``due_at``. If a proxy pools
    transactions, Pyncette can't choose the level. The server then aborts conflicting ones, and the test retries them.
    """
    url = f"{postgres_server.url}?default_transaction_isolation={isolation.replace(' ', '%20')}"
    records = [replace(record(f"{number:02}"), due_at=0) for number in range(30)]
    claimed, written = Counter[str](), Counter[str]()

    async def claim(client: Repository, chance: random.Random) -> None:
        for _ in range(25):
            now = NOW + chance.randrange(1000)
            taken = await take(client, want(TASK, limit=7), now=now, limit=7, token=fresh(), holder="me")
            claimed.update(one.key for one in taken)
            assert all(one.locked_until == NOW + MINUTE for one in taken)

    async def write(client: Repository, chance: random.Random) -> None:
        for _ in range(25):
            found = [one for one in await client.read([one.ref for one in chance.sample(records, 12)]) if one]
            changes = [Change(one, moved(one, ready_at=NOW, locked_until=None, due_at=one.due_at + 1)) for one in found]
            outcome = await client.swap(changes)
            written.update(one.key for one, won in zip(found, outcome, strict=True) if won is Swap.APPLIED)

    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                postgres_repository(postgres_url=url, postgres_table_name=table, postgres_statement_cache_size=0)
            )
            for _ in range(6)
        ]
        await clients[0].swap([Change(None, one) for one in records])
        async with asyncio.TaskGroup() as tasks:
            for number, client in enumerate(clients):
                tasks.create_task((claim if number % 2 else write)(client, random.Random(number)))
        found = await clients[0].read([one.ref for one in records])
    assert {one.key: one.attempt for one in found if one} == {one.key: claimed[one.key] for one in records}
    assert {one.key: one.due_at for one in found if one} == {one.key: written[one.key] for one in records}
    assert claimed.total() > 0
    assert written.total() > 0
