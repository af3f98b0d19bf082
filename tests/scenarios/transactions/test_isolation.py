"""Calls in transactions of their callers: isolation levels, settings of the session, and cancellation."""

from __future__ import annotations

import datetime
from contextlib import suppress
from typing import Any

import anyio
import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection

from pyncette import Task
from pyncette._leases import access
from pyncette.errors import RepositoryException
from pyncette.mysql.connection import Rows
from pyncette.mysql.transaction import Borrowed
from tests.helpers.shops import Shop, hourly

HOUR = datetime.timedelta(hours=1)
ON_MYSQL = pytest.mark.parametrize("shop", ["mysql", "mariadb"], indirect=True)
ISOLATION = pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])


@pytest.mark.anyio
@ISOLATION
@ON_MYSQL
async def test_what_another_transaction_has_locked(shop: Shop, isolation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call raises, and the transaction stays usable, even if reads wait for locks at this isolation level."""
    monkeypatch.setattr(access, "LOCK_TIMEOUT", 0.2)
    app, work = hourly(shop)
    async with app.create() as context, shop.engine(isolation_level=isolation) as engine:
        await context.schedule_tasks(work, [(name, {}) for name in "abc"])
        async with engine.connect() as one, engine.connect() as other:
            await context.pause_task(work, "b", transaction=other)
            with pytest.raises(RepositoryException, match="'work:b' is locked by another transaction"):
                await context.unschedule_task(work, "b", transaction=one)
            wanted = [(name, {"interval": 2 * HOUR}) for name in "abcd"]
            result = await context.schedule_tasks(work, wanted, transaction=one)
            assert [name for name, _ in result.refused] == ["b"]
            await other.rollback()
            await context.unschedule_task(work, "c", transaction=one)
            await one.commit()
        stored = {state.task.name: state.task.interval for state in (await context.list_tasks(work)).tasks}
        assert stored == {"a": 2 * HOUR, "b": HOUR, "d": 2 * HOUR}


@pytest.mark.anyio
@ON_MYSQL
async def test_one_that_is_locked_among_many(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding it by bisection must not cost a lock timeout at each step."""
    monkeypatch.setattr(access, "LOCK_TIMEOUT", 0.2)
    waited: list[str] = []
    original = Borrowed.run

    async def run(self: Borrowed, script: str) -> list[Rows]:
        try:
            return await original(self, script)
        except RepositoryException:
            waited.extend([script] if "NOWAIT" not in script else [])
            raise

    monkeypatch.setattr(Borrowed, "run", run)
    app, work = hourly(shop)
    names = [f"{number:03}" for number in range(500)]
    async with app.create() as context, shop.engine() as engine:
        await context.schedule_tasks(work, [(name, {}) for name in names])
        async with engine.connect() as one, engine.connect() as other:
            await context.pause_task(work, "250", transaction=other)
            result = await context.schedule_tasks(work, [(name, {}) for name in [*names, "new"]], transaction=one)
            assert [name for name, _ in result.refused] == ["250"]
            assert len(waited) == 1


@pytest.mark.anyio
@ON_MYSQL
async def test_a_session_with_a_time_zone_of_its_own(shop: Shop) -> None:
    app, work = hourly(shop)
    async with app.create() as context, shop.engine() as engine, engine.connect() as connection:
        await connection.execute(text("SET time_zone = '+05:00'"))
        await context.schedule_task(work, "here", transaction=connection)
        await connection.commit()
        assert await context.get_task(work, "here") is not None


@pytest.mark.anyio
@ON_MYSQL
async def test_a_connection_that_converts_in_its_own_way(shop: Shop) -> None:
    app, work = hourly(shop)
    async with app.create() as context, shop.connect(conv={}) as connection:
        with pytest.raises(ValueError, match="open it without conv="):
            await context.schedule_task(work, "refused", transaction=connection)


@pytest.mark.anyio
@ON_MYSQL
async def test_a_transaction_that_is_read_only(shop: Shop) -> None:
    app, work = hourly(shop)
    async with app.create() as context, shop.engine() as engine, engine.connect() as connection:
        await connection.execute(text("SET SESSION TRANSACTION READ ONLY"))
        with pytest.raises(RepositoryException, match="is read-only: begin it without READ ONLY"):
            await context.schedule_task(work, "refused", transaction=connection)


@pytest.mark.anyio
async def test_cancelled_calls_leave_the_transaction(shop: Shop) -> None:
    """Whichever statement they are cancelled at, including those of SQLAlchemy."""
    app, work = hourly(shop)
    async with app.create() as context, shop.engine() as engine, engine.connect() as connection:
        for statement in range(8):
            order = f"order {statement}"
            await shop.insert(connection, order)
            with anyio.CancelScope() as scope, suppress(RepositoryException):
                await _cancelled_at(statement, scope, context, work, connection)
            await context.schedule_task(work, order, transaction=connection)
            await connection.commit()
            assert order in await shop.stored()
            assert await context.get_task(work, order) is not None


async def _cancelled_at(
    turn: int, scope: anyio.CancelScope, context: Any, work: Task, connection: AsyncConnection
) -> None:
    """Schedule an instance, and cancel the call after this many turns of the event loop."""

    async def cancel() -> None:
        for _ in range(turn):
            await anyio.lowlevel.checkpoint()
        scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel)
        await context.schedule_task(work, "cancelled", transaction=connection)


@pytest.mark.anyio
async def test_several_calls_at_once(shop: Shop) -> None:
    """A connection serves one call at a time. The others are refused without any effect, and the connection stays
    usable."""
    app, work = hourly(shop)
    refused: list[str] = []
    async with app.create() as context, shop.engine() as engine, engine.connect() as connection:

        async def schedule(name: str) -> None:
            try:
                await context.schedule_task(work, name, transaction=connection)
            except RuntimeError as error:
                refused.append(str(error))

        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(schedule, name)
        assert [error.rpartition(": ")[2] for error in refused] == ["await one call after the other."] * 2
        await context.schedule_task(work, "d", transaction=connection)
        await connection.commit()
        assert {state.task.name for state in (await context.list_tasks(work)).tasks} == {"a", "d"}


@pytest.mark.anyio
async def test_a_savepoint_before_the_first_write(shop: Shop) -> None:
    """Its changes are rolled back with the transaction; on SQLite, if ``BEGIN`` is emitted as SQLAlchemy recommends."""
    app, work = hourly(shop)
    async with app.create() as context, shop.engine() as engine:
        if shop.kind == "sqlite":
            event.listen(engine.sync_engine, "connect", _begin_nothing)
            event.listen(engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        async with engine.connect() as connection:
            async with connection.begin_nested():
                await context.schedule_task(work, "undone", transaction=connection)
            await connection.rollback()
        assert await context.get_task(work, "undone") is None


def _begin_nothing(connection: Any, _: object) -> None:
    """Keep SQLite's driver from beginning transactions, so that SQLAlchemy does."""
    connection.isolation_level = None
