"""Deadlocks, locks that others hold, and calls that are cancelled."""
# ruff: noqa: S608 - names of tables that the tests made themselves

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from pyncette.errors import RepositoryUnavailableException
from pyncette.mysql import connections, database
from pyncette.record import Change, Record, Swap
from pyncette.repository import Repository
from tests.mysql_lab import TASK, Lab, becomes, claim, insert, numbered, record


async def test_deadlocks_are_retried(lab: Lab) -> None:
    """The server chose our transaction as the victim and undid it: the call does it again."""
    one, other = numbered(2)
    async with lab.open() as repository, lab.connect() as somebody:
        await insert(repository, [one, other, *(record(f"more {n}") for n in range(50))])
        # Has written more than the other, which makes that one the victim.
        await lab.send(somebody, f"START TRANSACTION; UPDATE {lab.table} SET attempt = 9 WHERE `key` LIKE 'task:more%'")
        await lab.send(somebody, f"UPDATE {lab.table} SET fence = 7 WHERE `key` = '{other.key}' AND queue = 'task'")
        before = await deadlocks(lab)
        outcome: list[Swap] = []

        async def swap() -> None:
            outcome.extend(await repository.swap([Change(each, record(each.key[5:])) for each in (one, other)]))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(swap)
            await becomes(lambda: waiting(lab), 1)
            await lab.send(somebody, f"UPDATE {lab.table} SET fence = 7 WHERE `key` = '{one.key}' AND queue = 'task'")
            await lab.send(somebody, "COMMIT")
        assert outcome == [Swap.APPLIED, Swap.APPLIED]
        assert await deadlocks(lab) > before


async def test_batches_in_any_order_do_not_deadlock(lab: Lab) -> None:
    """All clients lock records in one order, whatever the order that they are given in."""
    async with lab.open() as one, lab.open() as other:
        current = numbered(200)
        await insert(one, current)
        before = await deadlocks(lab)
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
        assert await deadlocks(lab) == before


async def deadlocks(lab: Lab) -> int:
    if lab.server.kind == "mariadb":
        return int((await lab.ask("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'"))[0][1])
    return int(
        (await lab.ask("SELECT count FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'"))[0][0]
    )


async def waiting(lab: Lab) -> int:
    return int(
        (await lab.ask("SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"))[0][0]
    )


async def test_waits_for_locks_are_retried(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody holds a record for longer than the server lets others wait for it."""
    short = connections.SESSION.replace("innodb_lock_wait_timeout = 5", "innodb_lock_wait_timeout = 1")
    monkeypatch.setattr(connections, "SESSION", short)
    one, new = record("one"), record("one", attempt=3)
    async with lab.open() as repository, lab.connect() as somebody:
        await insert(repository, [one])
        await lab.send(somebody, f"START TRANSACTION; UPDATE {lab.table} SET fence = 7")

        async def swap() -> None:
            assert await repository.swap([Change(one, new)]) == [Swap.APPLIED]

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(swap)
            await anyio.sleep(1.6)
            await lab.send(somebody, "ROLLBACK")
        assert await repository.read([one.ref]) == [new]


async def test_locks_that_are_never_released(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call is given up in time; nothing of it is left on the server, and it has not been carried out."""
    monkeypatch.setattr(database, "CALL_SECONDS", 0.5)
    one = record("one")
    async with lab.open(**await lab.own_user()) as repository, lab.connect() as somebody:
        await insert(repository, [one])
        await lab.send(somebody, f"START TRANSACTION; UPDATE {lab.table} SET fence = 7")
        with pytest.raises(RepositoryUnavailableException, match="in time"):
            await repository.swap([Change(one, record("one"))])
        # Reading, and claiming past the lock, go on meanwhile.
        assert await repository.read([one.ref]) == [one]
        assert await claim(repository) == []
        await becomes(lab.transactions, 0)
        await lab.send(somebody, "ROLLBACK")
        assert await repository.read([one.ref]) == [one]


async def test_cancelled_calls(lab: Lab) -> None:
    """Calls of all kinds, cancelled at any moment: no connection or transaction is left, nor more than the pool has."""
    async with lab.open(mysql_pool_size=4, **await lab.own_user()) as repository:
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
            return max(0, await lab.connected() - 4)

        async def one_after_the_other() -> None:
            for _ in range(60):
                with anyio.move_on_after(random.uniform(0, 0.006)):
                    await random.choice(calls)()

        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(one_after_the_other)
        await becomes(lab.transactions, 0)
        assert len(await repository.scan(TASK, after=None, limit=200)) == 100
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(repository.clock)
        await becomes(surplus, 0)
    await becomes(lab.connected, 0)
