"""Deadlocks, locks of other clients, and cancelled calls."""
# ruff: noqa: S608 - names of tables that the tests made themselves

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from pyncette.errors import RepositoryUnavailableException
from pyncette.mysql import connection
from pyncette.mysql.statements import Statements
from pyncette.record import Change, Record, Swap
from pyncette.repository import Repository
from tests.helpers.mysql import TASK, Store, becomes, claim, insert, numbered, record


@pytest.mark.parametrize("delete", [False, True])
@pytest.mark.parametrize(
    "meanwhile",
    ["UPDATE {table} SET revision = 'other' WHERE {one}", "DELETE FROM {table} WHERE {one}", "{locked}"],
)
async def test_swap_waits_for_nobody(store: Store, meanwhile: str, delete: bool) -> None:
    """A row that another transaction has locked is busy, and the rest of the batch is applied."""
    one, other, outdated = numbered(3)
    new = None if delete else record(one.key[5:])
    batch = [Change(one, new), Change(other, None), Change(record(outdated.key[5:]), None), Change(None, record("new"))]
    where = f"queue = 'task' AND `key` = '{one.key}'"
    locked = f"SELECT 1 FROM {store.table} WHERE {where} FOR UPDATE"
    async with store.open() as repository, store.connect() as somebody:
        await insert(repository, [one, other, outdated])
        await store.send(
            somebody, f"START TRANSACTION; {meanwhile.format(table=store.table, one=where, locked=locked)}"
        )
        with anyio.fail_after(0.9):
            assert await repository.swap(batch) == [Swap.BUSY, Swap.APPLIED, Swap.CONFLICT, Swap.APPLIED]
        await store.send(somebody, "ROLLBACK")
        assert await repository.swap(batch[:1]) == [Swap.APPLIED]
        assert await repository.read([one.ref]) == [new]


async def test_an_insert_that_meets_another_insert(store: Store) -> None:
    """It waits briefly; then it is busy, and the rest of the batch is applied."""
    values = "0, 0, 'x', 0, 0, '{}', ''"
    async with store.open() as repository, store.connect() as somebody:
        await store.send(
            somebody,
            f"START TRANSACTION; INSERT INTO {store.table} "
            "(queue, `key`, due_at, ready_at, revision, fence, attempt, spec, state) "
            f"VALUES ('task', 'task:one', {values})",
        )
        batch = [Change(None, record(name)) for name in ("one", "three", "two")]
        with anyio.fail_after(20):
            assert await repository.swap(batch) == [Swap.BUSY, Swap.APPLIED, Swap.APPLIED]
        await store.send(somebody, "ROLLBACK")
        assert await repository.swap(batch[:1]) == [Swap.APPLIED]


async def test_a_large_batch_that_meets_open_inserts(store: Store) -> None:
    """It waits once, whatever its size: those are busy, existing records are conflicts, and the rest is applied."""
    values = "0, 0, 'x', 0, 0, '{}', ''"
    columns = "queue, `key`, due_at, ready_at, revision, fence, attempt, spec, state"
    changed, *others, locked, gone = numbered(300)
    busy = ("00007", "00150", "00290")
    async with store.open() as repository, store.connect() as somebody:
        await insert(repository, [changed, locked, gone])
        rows = ", ".join(f"('task', 'task:{name}', {values})" for name in busy)
        await store.send(somebody, f"START TRANSACTION; INSERT INTO {store.table} ({columns}) VALUES {rows}")
        await store.send(somebody, f"UPDATE {store.table} SET fence = 7 WHERE `key` = '{locked.key}'")
        await store.send(somebody, f"DELETE FROM {store.table} WHERE `key` = '{gone.key}'")
        batch = [Change(changed, record("00000")), *(Change(None, one) for one in (*others, locked, gone))]
        with anyio.fail_after(2.5):  # a second of waiting, plus the work
            outcomes = await repository.swap(batch)
        expected = dict.fromkeys((one.key for one in others), Swap.APPLIED)
        expected |= {f"task:{name}": Swap.BUSY for name in busy}
        expected |= {changed.key: Swap.APPLIED, locked.key: Swap.CONFLICT, gone.key: Swap.CONFLICT}
        assert {change.ref.key: outcome for change, outcome in zip(batch, outcomes, strict=True)} == expected
        await store.send(somebody, "ROLLBACK")
        again = [change for change, outcome in zip(batch, outcomes, strict=True) if outcome is Swap.BUSY]
        assert await repository.swap(again) == [Swap.APPLIED] * len(busy)


async def test_an_insert_that_meets_an_insert_that_is_rolled_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other transaction ends after the wait, before the call reads the row that was in the way: still busy."""
    values = "0, 0, 'x', 0, 0, '{}', ''"
    columns = "queue, `key`, due_at, ready_at, revision, fence, attempt, spec, state"
    one = record("one")
    async with store.open() as repository, store.connect() as somebody:
        await insert(repository, [one])
        nobody = "SELECT 1 FROM DUAL WHERE FALSE"
        monkeypatch.setattr(Statements, "met", lambda *_: f"DO 0;{nobody};{nobody}")
        await store.send(
            somebody, f"START TRANSACTION; INSERT INTO {store.table} ({columns}) VALUES ('task', 'task:two', {values})"
        )
        batch = [Change(None, record("two")), Change(one, record("one"))]
        assert await repository.swap(batch) == [Swap.BUSY, Swap.APPLIED]
        await store.send(somebody, "ROLLBACK")
        assert await repository.swap(batch[:1]) == [Swap.APPLIED]


async def test_deadlocks_are_retried(store: Store) -> None:
    """The server chose our transaction as the victim and rolled it back: the call repeats it."""
    async with store.open() as repository, store.connect() as somebody:
        await insert(repository, [record(f"more {n}") for n in range(50)])
        new = (
            f"INSERT INTO {store.table} (queue, `key`, due_at, ready_at, revision, fence, attempt, spec, state) VALUES "
        )
        # It has written more than the call, so the server chooses the call's transaction as the victim.
        await store.send(
            somebody, f"START TRANSACTION; UPDATE {store.table} SET attempt = 9 WHERE `key` LIKE 'task:more%'"
        )
        await store.send(somebody, f"{new} ('task', 'task:b', 0, 0, 'x', 0, 0, '{{}}', '')")
        before = await deadlocks(store)
        outcome: list[Swap] = []

        async def swap() -> None:
            outcome.extend(await repository.swap([Change(None, record(name)) for name in "ab"]))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(swap)
            await becomes(lambda: waiting(store), 1)
            await store.send(somebody, f"{new} ('task', 'task:a', 0, 0, 'x', 0, 0, '{{}}', '')")
            await store.send(somebody, "ROLLBACK")
        assert outcome == [Swap.APPLIED, Swap.APPLIED]
        assert await deadlocks(store) > before


async def test_batches_in_any_order_do_not_deadlock(store: Store) -> None:
    """All clients lock records in one order, whatever order the batches have."""
    async with store.open() as one, store.open() as other:
        current = numbered(200)
        await insert(one, current)
        before = await deadlocks(store)
        for _ in range(15):
            won: list[Record] = []

            async def swap(repository: Repository, current: list[Record] = current, won: list[Record] = won) -> None:
                changes = [Change(each, record(each.key[5:])) for each in random.sample(current, len(current))]
                outcomes = await repository.swap(changes)
                won += [
                    change.new
                    for change, ok in zip(changes, outcomes, strict=True)
                    if ok is Swap.APPLIED and change.new
                ]

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(swap, one)
                tasks.start_soon(swap, other)
            assert sorted(each.key for each in won) == sorted(each.key for each in current)
            current = won
        assert await deadlocks(store) == before


async def deadlocks(store: Store) -> int:
    if store.server.kind == "mariadb":
        return int((await store.ask("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'"))[0][1])
    return int(
        (await store.ask("SELECT count FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'"))[0][0]
    )


async def waiting(store: Store) -> int:
    return int(
        (await store.ask("SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"))[0][0]
    )


async def test_locks_that_are_never_released(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call times out; it leaves nothing behind on the server, and its changes have not been made."""
    monkeypatch.setattr(connection, "CALL_SECONDS", 0.5)
    one = record("one")
    async with store.open(**await store.own_user()) as repository, store.connect() as somebody:
        await insert(repository, [one])
        await store.send(somebody, f"START TRANSACTION; UPDATE {store.table} SET fence = 7")
        with pytest.raises(RepositoryUnavailableException, match="in time"):
            await repository.swap([Change(None, record("one"))])
        # Reads continue meanwhile, and claims skip the locked row.
        assert await repository.read([one.ref]) == [one]
        assert await claim(repository) == []
        await becomes(store.transactions, 0)
        await store.send(somebody, "ROLLBACK")
        assert await repository.read([one.ref]) == [one]


async def test_cancelled_calls(store: Store) -> None:
    """Calls of all kinds, cancelled at random moments, leave no transaction and no connection outside the pool."""
    async with store.open(mysql_pool_size=4, **await store.own_user()) as repository:
        records = numbered(100)
        await insert(repository, records)
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: claim(repository),
            lambda: repository.swap([Change(one, record(one.key[5:])) for one in random.sample(records, 20)]),
            lambda: repository.read([one.ref for one in records]),
            lambda: repository.scan(TASK, after=None, limit=50),
            repository.clock,
        ]

        async def surplus() -> int:
            return max(0, await store.connected() - 4)

        async def one_after_the_other() -> None:
            for _ in range(60):
                with anyio.move_on_after(random.uniform(0, 0.006)):
                    await random.choice(calls)()

        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(one_after_the_other)
        await becomes(store.transactions, 0)
        assert len(await repository.scan(TASK, after=None, limit=200)) == 100
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(repository.clock)
        await becomes(surplus, 0)
    await becomes(store.connected, 0)
