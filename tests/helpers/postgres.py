"""Helpers for tests of the PostgreSQL storage: separate tables, and a proxy that watches the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self
from urllib.parse import urlsplit

import asyncpg
import pytest

from pyncette.errors import StorageVersionException
from pyncette.postgres import postgres_repository
from pyncette.record import Change, Queue, QueueClaim, Record, Swap
from pyncette.testing import Caller

NOW = 1_800_000_000_000_000
SECOND = 1_000_000
MINUTE = 60 * SECOND

TASK = Queue("task")


def fresh() -> str:
    return uuid.uuid4().hex


def record(name: str, *, queue: str = "task", ready_at: int = NOW, spec: str = "{}") -> Record:
    """A record without a lease; of a static task if the queue equals the name."""
    key = name if name == queue else f"{queue}:{name}"
    return Record(queue, key, ready_at, ready_at, None, None, fresh(), 0, 0, spec)


def want(*queues: Queue, limit: int = 100) -> list[QueueClaim]:
    return [QueueClaim(queue, limit, NOW + MINUTE) for queue in queues]


def run(url: str, statement: str, *arguments: Any) -> list[Any]:
    """Run a statement without an event loop."""

    async def on_its_own() -> list[Any]:
        async with connection(url) as own:
            rows: list[Any] = await own.fetch(statement, *arguments)
            return rows

    return asyncio.run(on_its_own())


@contextlib.asynccontextmanager
async def connection(url: str) -> AsyncIterator[Any]:
    own = await asyncpg.connect(url)
    try:
        yield own
    finally:
        await own.close()


@contextlib.asynccontextmanager
async def caller(url: str) -> AsyncIterator[Caller]:
    async with connection(url) as own:
        yield Caller(own, own.execute, own.close)


@contextlib.contextmanager
def table(url: str) -> Iterator[str]:
    """An unused table name. The table is dropped in the end."""
    name = f"test_{fresh()}"
    yield name
    run(url, f"DROP TABLE IF EXISTS {name}, {name}_runs")


async def start(url: str, table: str = "pyncette_tasks", **options: Any) -> None:
    """Open the storage, and use it."""
    async with postgres_repository(postgres_url=url, postgres_table_name=table, **options) as repository:
        one = record(fresh())
        assert await repository.swap([Change(None, one)]) == [Swap.APPLIED]
        assert await repository.swap([Change(one, None)]) == [Swap.APPLIED]


async def refusal(url: str, table: str) -> list[str]:
    """The sentences of the error message."""
    with pytest.raises(StorageVersionException) as caught:
        await start(url, table)
    return str(caught.value).replace(": ", ". ").split(". ")


class Wire:
    """A proxy in front of a server that counts the messages of the protocol by their letters, and can fail.

    :ivar sent: messages from clients: Q (a script), P (parse), B (bind), E (execute), S (sync), H (flush) ...
        A client waits for an answer after Q, S and H.
    :ivar connections: the number of connections opened.
    """

    def __init__(self, server_url: str) -> None:
        parts = urlsplit(server_url)
        self._server = (parts.hostname, parts.port)
        self._parts = parts
        self._open: set[asyncio.StreamWriter] = set()
        self._answers = asyncio.Event()
        self._answers.set()
        self._requested = asyncio.Event()
        self._closed = asyncio.Event()
        self.sent: Counter[str] = Counter()
        self.connections = 0
        self.bytes_sent = 0
        self.url = ""

    @property
    def round_trips(self) -> int:
        return self.sent["Q"] + self.sent["S"] + self.sent["H"]

    async def next_request(self) -> None:
        """Wait until a client has sent a request that the server will answer."""
        self._requested.clear()
        await self._requested.wait()

    async def all_closed(self) -> None:
        """Wait until no connection is left."""
        await self._closed.wait()

    def withhold_answers(self) -> None:
        """Forward requests, but hold back the answers."""
        self._answers.clear()

    def cut(self) -> None:
        """Cut all connections, discard the answers held back, and forward answers on new connections."""
        for writer in self._open:
            writer.transport.abort()
        self._answers.set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._listener.sockets[0].getsockname()[1]
        login = self._parts.netloc.rpartition("@")[0]
        self.url = self._parts._replace(netloc=f"{login}@127.0.0.1:{port}", query="sslmode=disable").geturl()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()
        await asyncio.sleep(0)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self.connections += 1
        server, to_server = await asyncio.open_connection(*self._server)
        ends = {to_client, to_server}
        self._open |= ends
        self._closed.clear()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._requests(client, to_server))
                tasks.create_task(self._replies(server, to_client))
        except* (OSError, EOFError):
            pass
        finally:
            self._open -= ends
            for writer in ends:
                writer.transport.abort()
            if not self._open:
                self._closed.set()

    async def _requests(self, client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        letter = b""  # the first message has no letter
        while True:
            length = await client.readexactly(4)
            body = await client.readexactly(int.from_bytes(length) - 4)
            self.sent[letter.decode()] += 1
            self.bytes_sent += len(body)
            server.write(letter + length + body)
            await server.drain()
            if letter in b"SQ":
                self._requested.set()
            letter = await client.readexactly(1)

    async def _replies(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while data := await server.read(65536):
            await self._answers.wait()
            client.write(data)
            await client.drain()
        raise EOFError


async def sessions(own: Any, condition: str) -> int:
    """How many other sessions of the server meet a condition on pg_stat_activity."""
    await own.execute("SELECT pg_stat_clear_snapshot()")  # within a transaction, the statistics would not change
    query = f"SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND {condition}"  # noqa: S608 -- constants
    number: int = await own.fetchval(query)
    return number


async def eventually(own: Any, condition: str, expected: int) -> None:
    """Wait until as many sessions meet the condition."""
    async with asyncio.timeout(20):
        while await sessions(own, condition) != expected:  # noqa: ASYNC110 -- nothing signals it
            await asyncio.sleep(0.01)
