"""Helpers for tests of the MySQL storage: separate tables, and a proxy that loses connections."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import asyncmy
from asyncmy.connection import Connection

from pyncette.mysql import mysql_repository
from pyncette.mysql.connection import SESSION, execute
from pyncette.record import Change, Queue, QueueClaim, Record, Swap
from pyncette.repository import Repository
from pyncette.testing.contract.base import take
from tests.servers.model import Server

Rows = Sequence[tuple[Any, ...]]

NOW = 1_800_000_000_000_000
MINUTE = 60_000_000
TASK = Queue("task")


def fresh() -> str:
    return uuid.uuid4().hex


def record(name: str, **fields: Any) -> Record:
    """An instance of the task that is due."""
    values: dict[str, Any] = {"due_at": NOW, "ready_at": NOW, "locked_until": None, "locked_by": None, "spec": "{}"}
    values |= {"revision": fresh(), "fence": 0, "attempt": 0} | fields
    return Record("task", f"task:{name}", **values)


def numbered(count: int) -> list[Record]:
    return [record(f"{n:05}") for n in range(count)]


async def insert(repository: Repository, records: Sequence[Record]) -> None:
    assert await repository.swap([Change(None, one) for one in records]) == [Swap.APPLIED] * len(records)


async def claim(repository: Repository, limit: int = 10) -> list[Record]:
    """Claim, and return the records as they are now."""
    token = fresh()
    claims = [QueueClaim(TASK, limit, NOW + MINUTE)]
    return await take(repository, claims, now=NOW, limit=limit, token=token, holder=token)


async def becomes(probe: Callable[[], Awaitable[int]], expected: int) -> None:
    """Wait until the server has noticed as well."""
    with anyio.fail_after(60):
        while await probe() != expected:  # noqa: ASYNC110 - nothing signals it
            await anyio.sleep(0.02)


@dataclass(frozen=True)
class Store:
    """One table on one server."""

    server: Server
    table: str = field(default_factory=lambda: f"store_{uuid.uuid4().hex}")

    @property
    def options(self) -> dict[str, Any]:
        return {
            "mysql_host": self.server.host,
            "mysql_port": self.server.port,
            "mysql_user": self.server.user,
            "mysql_password": self.server.password,
            "mysql_database": self.server.database,
            "mysql_table_name": self.table,
        }

    def open(self, **options: Any) -> AbstractAsyncContextManager[Repository]:
        return mysql_repository(**self.options | options)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        """A connection with the settings of the storage's own."""
        connection = await asyncmy.connect(
            host=self.server.host,
            port=self.server.port,
            user=self.server.user,
            password=self.server.password,
            database=self.server.database,
            autocommit=True,
            init_command=SESSION,
        )
        try:
            yield connection
        finally:
            await connection.ensure_closed()

    async def own_user(self) -> dict[str, str]:
        """Options for a separate user, whose connections can be told from those of others."""
        user = "pyncette_client"
        await self.ask(f"CREATE USER IF NOT EXISTS {user}@'%' IDENTIFIED BY 'pw'; GRANT ALL ON *.* TO {user}@'%'")
        return {"mysql_user": user, "mysql_password": "pw"}

    async def own_connections(self) -> set[int]:
        """The ids of that user's connections on the server."""
        rows = await self.ask("SELECT id FROM information_schema.processlist WHERE user = 'pyncette_client'")
        return {number for (number,) in rows}

    async def connected(self) -> int:
        return len(await self.own_connections())

    async def transactions(self) -> int:
        """The number of open transactions of that user."""
        rows = await self.ask("SELECT trx_mysql_thread_id FROM information_schema.innodb_trx")
        return len({number for (number,) in rows} & await self.own_connections())

    async def ask(self, script: str) -> Rows:
        """The rows of the last statement of a script, on a separate connection."""
        async with self.connect() as connection:
            return (await self.send(connection, script))[-1]

    async def send(self, connection: Connection, script: str) -> list[Rows]:
        """The rows of each statement of a script."""
        return await execute(connection, script)


class Proxy:
    """A proxy that counts round trips, and can make connections fail.

    :ivar round_trips: how often the client sent something after an answer of the server.
    :ivar lose_replies: close the connection instead of passing on the server's answers.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._tasks: set[asyncio.Task[None]] = set()
        self.round_trips = 0
        self.lose_replies = False
        self._forgotten = 0
        self._connections = 0
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def forget(self) -> None:
        """Stop forwarding on the current connections, like a firewall that has lost its state."""
        self._forgotten = self._connections

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        from_server, to_server = await asyncio.open_connection(*self._target)
        self._connections += 1
        number, spoke = self._connections, ["server"]
        try:
            await asyncio.wait(
                [
                    asyncio.ensure_future(self._pass_on(reader, to_server, spoke, "client", number)),
                    asyncio.ensure_future(self._pass_on(from_server, writer, spoke, "server", number)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            writer.close()
            to_server.close()
            self._tasks.discard(task)

    async def _pass_on(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, spoke: list[str], who: str, number: int
    ) -> None:
        while data := await source.read(2**16):
            if who == "client" and spoke[0] == "server":
                self.round_trips += 1
            spoke[0] = who
            if who == "server" and self.lose_replies:
                return
            if number > self._forgotten:
                target.write(data)
