"""A database with orders next to the storage's table, for tests of callers' transactions."""

from __future__ import annotations

import datetime
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiosqlite
import asyncmy
import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from pyncette import Context, Pyncette, Task

KINDS = ("postgres", "mysql", "mariadb", "sqlite")

_DRIVERS = {"postgres": "postgresql+asyncpg", "mysql": "mysql+asyncmy", "mariadb": "mysql+asyncmy"}


@dataclass(frozen=True)
class Shop:
    """
    :ivar kind: the kind of database.
    :ivar options: the options of the app, as JSON values.
    :ivar isolation: the isolation level of SQLAlchemy's connections; None for the database's default.
    :ivar orders: the name of a table with the columns ``id``, a text that is the primary key, and ``paid``, a number.
    """

    kind: str
    options: dict[str, Any]
    orders: str
    url: str
    isolation: str | None = None

    @property
    def repeatable_read(self) -> bool:
        return self.isolation == "REPEATABLE READ"

    @asynccontextmanager
    async def engine(self, **options: Any) -> AsyncIterator[AsyncEngine]:
        """An engine of SQLAlchemy."""
        if self.kind == "sqlite":
            options = {"connect_args": {"timeout": 60}, **options}
        if self.isolation is not None:
            options = {"isolation_level": self.isolation, **options}
        engine = create_async_engine(self.url, **options)
        try:
            yield engine
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A session of SQLAlchemy with a transaction, which is rolled back."""
        async with self.engine() as engine, AsyncSession(engine) as session:
            yield session

    def connect(self, **options: Any) -> AbstractAsyncContextManager[Any]:
        """A connection of the driver, with its default settings."""
        return {"postgres": self._asyncpg, "sqlite": self._aiosqlite}.get(self.kind, self._asyncmy)(**options)

    async def insert(self, connection: AsyncConnection, order: str) -> None:
        await connection.execute(text(f"INSERT INTO {self.orders} (id, paid) VALUES (:id, 0)"), {"id": order})  # noqa: S608 -- the table is ours

    async def stored(self) -> set[str]:
        """The committed orders."""
        async with self.engine() as engine, engine.connect() as connection:
            rows = await connection.execute(text(f"SELECT id FROM {self.orders}"))  # noqa: S608 -- the table is ours
            return {row[0] for row in rows}

    async def create(self) -> None:
        async with self.engine() as engine, engine.begin() as connection:
            await connection.execute(text(f"CREATE TABLE {self.orders} (id VARCHAR(60) PRIMARY KEY, paid INTEGER)"))

    async def drop(self) -> None:
        async with self.engine() as engine, engine.begin() as connection:
            for table in (self.orders, self.tasks, f"{self.tasks}_runs"):
                await connection.execute(text(f"DROP TABLE IF EXISTS {table}"))

    @property
    def tasks(self) -> str:
        """The storage's table."""
        (name,) = (value for option, value in self.options.items() if option.endswith("_table_name"))
        return str(name)

    @asynccontextmanager
    async def _asyncpg(self, **options: Any) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(self.options["url"], **options)
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def _asyncmy(self, **options: Any) -> AsyncIterator[Any]:
        parts = urlsplit(self.url)
        connection = await asyncmy.connect(
            host=parts.hostname,
            port=parts.port,
            user=parts.username,
            password=parts.password or "",
            database=parts.path[1:],
            **options,
        )
        try:
            yield connection
        finally:
            await connection.ensure_closed()

    @asynccontextmanager
    async def _aiosqlite(self, **options: Any) -> AsyncIterator[Any]:
        async with aiosqlite.connect(self.url.partition(":///")[2], **{"timeout": 60, **options}) as connection:
            yield connection


def shop_of(kind: str, request: pytest.FixtureRequest, folder: Path, isolation: str | None = None) -> Shop:
    """A shop with separate tables on a shared server."""
    name = f"tasks_{uuid.uuid4().hex}"
    if kind == "sqlite":
        file = folder / "shop.db"
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        options = {"url": f"sqlite:///{file}", "sqlite_table_name": name}
        return Shop(kind, options, f"orders_{name}", f"sqlite+aiosqlite:///{file}")
    url = request.getfixturevalue(f"{kind}_server").url.replace("mariadb://", "mysql://")
    option = "postgres_table_name" if kind == "postgres" else "mysql_table_name"
    driver = f"{_DRIVERS[kind]}://{url.partition('://')[2]}"
    return Shop(kind, {"url": url, option: name}, f"orders_{name}", driver, isolation)


def hourly(shop: Shop) -> tuple[Pyncette, Task]:
    """An app on the shop's database, and a template that does nothing."""
    app = Pyncette(**{"repository_factory" if key == "url" else key: of for key, of in shop.options.items()})

    @app.dynamic_task(interval=datetime.timedelta(hours=1))
    async def work(context: Context) -> None: ...

    return app, work
