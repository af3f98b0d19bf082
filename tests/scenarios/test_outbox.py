"""An order and the task instance for it are stored in one transaction: exactly the committed ones are executed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from pyncette import PyncetteContext, Task
from pyncette.errors import RepositoryUnavailableException
from tests.helpers.shops import Shop, shop_of

from .worker import make_app
from .workers import Worker, Workers

CLIENTS = 8


class Undone(Exception):
    """Rolls the client's transaction back."""


class Clients:
    """Clients that place orders, and roll back every third one.

    At REPEATABLE READ, InnoDB rolls back one of two transactions that have waited for the same gap between records.
    """

    def __init__(self, shop: Shop, engine: AsyncEngine, context: PyncetteContext, task: Task) -> None:
        self._shop = shop
        self._engine = engine
        self._context = context
        self._task = task
        self.committed: set[str] = set()

    async def place(self, numbers: Sequence[int]) -> None:
        again: list[int] = []
        for number in numbers:
            try:
                await self._order(number)
            except Undone:
                continue
            except RepositoryUnavailableException as error:
                if not self._shop.repeatable_read or "Begin it again" not in str(error):
                    raise
                again.append(number)
            else:
                self.committed.add(f"order {number}")
        if again:
            await self.place(again)

    async def _order(self, number: int) -> None:
        """Stores the order first or the instance first; some orders keep only the second of two savepoints."""
        order, at = f"order {number}", datetime.now(UTC) + timedelta(milliseconds=random.randrange(300))
        async with self._engine.begin() as connection:
            if number % 2:
                await self._shop.insert(connection, order)
            if number % 5 == 0:
                savepoint = await connection.begin_nested()
                await self._context.schedule_task(self._task, order, execute_at=at, transaction=connection)
                await savepoint.rollback()
            await self._context.schedule_task(self._task, order, execute_at=at, transaction=connection)
            if number % 2 == 0:
                await self._shop.insert(connection, order)
            if number % 3 == 0:
                raise Undone


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "kind, isolation, orders",
    [
        ("postgres", None, 1000),
        ("mysql", "READ COMMITTED", 300),
        ("mysql", "REPEATABLE READ", 150),
        ("mariadb", "READ COMMITTED", 150),
        ("sqlite", None, 150),
    ],
)
def test_exactly_what_is_committed_is_executed(
    workers_of: Callable[[dict[str, Any]], Workers],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    kind: str,
    isolation: str | None,
    orders: int,
) -> None:
    shop = shop_of(kind, request, tmp_path, isolation)
    anyio.run(shop.create)
    workers = workers_of({**shop.options, "lease_seconds": 5, "poll_interval_seconds": 0.5})
    try:
        committed = anyio.run(_place_orders, shop, workers, orders)
        assert len(committed) == orders - (orders + 2) // 3
        assert anyio.run(shop.stored) == committed
        workers.wait_until_executed(committed)
        workers.stop()
        workers.check_executed_again()
        assert {name for worker in workers.workers for name, _ in worker.executed()} == committed
    finally:
        workers.abandon()
        anyio.run(shop.drop)


async def _place_orders(shop: Shop, workers: Workers, count: int) -> set[str]:
    app, task, _ = make_app(dict(shop.options))
    async with app.create() as context, shop.engine() as engine:
        started = workers.start(3)
        clients = Clients(shop, engine, context, task)
        async with anyio.create_task_group() as tasks:
            for client in range(CLIENTS):
                tasks.start_soon(clients.place, range(client, count, CLIENTS))
            tasks.start_soon(_kill_one, workers, started)
        return clients.committed


async def _kill_one(workers: Workers, started: Sequence[Worker]) -> None:
    while not any(worker.executed() for worker in started):  # noqa: ASYNC110 - nothing signals it
        await anyio.sleep(0.05)
    workers.kill_the_busiest()
