"""The repository: statements in, records out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg

from pyncette.bridge import asyncio_only
from pyncette.errors import RepositoryException
from pyncette.findings import Finding
from pyncette.record import (
    HELD,
    LEAST,
    Change,
    Count,
    Look,
    Queue,
    QueueClaim,
    Record,
    Ref,
    RunLine,
    RunQuestion,
    Swap,
    end_of_prefix,
)
from pyncette.repository import Remembered, Repository

from .codec import (
    MOST_ROWS,
    batches,
    by_queue,
    claim_columns,
    delete_columns,
    dynamic_and_static,
    read_columns,
    record,
    swap_columns,
)
from .connection import Server, connected
from .diagnosis import diagnose
from .places import Places
from .run_log import asking, line, run_columns
from .schema import Schema, prepare
from .settings import Settings, Table
from .statements import Queries
from .transaction import borrow


class PostgresRepository(Repository):
    """Task instances in one table of a PostgreSQL database.

    Each method sends one statement, which is a transaction of its own; a batch of more than 5,000 records, or with
    more than 16 million characters of arguments, takes several. A statement that ends in a deadlock or a
    serialization failure has had no effect, and is sent again.
    """

    keeps_runs = True

    def __init__(self, database: Server, queries: Queries, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._queries = queries
        self._places = Places()
        self._names = Remembered(dynamic_and_static)

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        found: list[Record | None] = [None] * len(refs)
        for start in range(0, len(refs), MOST_ROWS):
            columns = read_columns(refs[start : start + MOST_ROWS])
            for place, *row in await self._database.fetch(self._queries.read, *columns):
                found[start + place - 1] = record(row)
        return found

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        """A change of a row that another transaction has locked is busy immediately. An insert of a key that another
        transaction is inserting is busy after :data:`~pyncette.postgres.connection.LOCK_TIMEOUT`."""
        if not changes:
            return []
        self._places.stored(changes)
        keys = [change.either.key for change in changes]
        in_order = [changes[place] for place in sorted(range(len(keys)), key=keys.__getitem__)]
        found = await self._in_turn(list(batches(in_order)))
        return [found.get(key, Swap.CONFLICT) for key in keys]

    async def _swap(self, batch: Sequence[Change]) -> dict[str, Swap]:
        try:
            rows = await self._database.fetch(*self._changing(batch))
        except RepositoryException as error:
            if not isinstance(error.__cause__, asyncpg.LockNotAvailableError):
                raise
            if len(batch) == 1:
                return {batch[0].either.key: Swap.BUSY}
            # The server rolled all of it back because of one change: find that one, and apply the others.
            middle = len(batch) // 2
            return await self._in_turn([batch[:middle], batch[middle:]])
        return {key: Swap.APPLIED if applied else Swap.BUSY for key, applied in rows}

    def _changing(self, batch: Sequence[Change]) -> tuple[Any, ...]:
        """The statement for a batch, and its arguments."""
        gone = delete_columns(batch)
        if gone is not None:
            return self._queries.delete, *gone
        lines = run_columns(batch)
        if lines is None:
            return self._queries.swap, *swap_columns(batch)
        return self._queries.swap_logged, *swap_columns(batch), *lines

    async def _in_turn(self, parts: Iterable[Sequence[Change]]) -> dict[str, Swap]:
        found: dict[str, Swap] = {}
        for batch in parts:
            found |= await self._swap(batch)
        return found

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        """If many records are ready, it continues after those that it claimed last. Records that others have stored
        before that place are claimed at most a second later, or as soon as fewer records are ready than it asks for."""
        wanted = [claim for claim in claims if claim.limit > 0]
        if not wanted or limit <= 0:
            return []
        begun = self._places.begin(wanted)
        columns = claim_columns(wanted, now, begun)
        rows = await self._database.fetch(self._queries.claim, *columns, now, limit, token, holder)
        found = [record(row) for row in rows]
        left = self._places.claimed(wanted, begun, found, limit)
        if left:
            found += await self.claim(left, now=now, limit=limit - len(found), token=token, holder=holder)
        return found

    async def look(
        self,
        queues: Sequence[Queue],
        refs: Sequence[Ref],
        *,
        after: int | None = None,
        until: int = LEAST,
        limit: int = 1,
    ) -> Look:
        since = LEAST if after is None else after + 1
        dynamic, static = self._names.of(queues)
        rows = await self._database.fetch(self._queries.look, dynamic, static, since, *read_columns(refs), until, limit)
        records: list[Record | None] = [None] * len(refs)
        next_ready, now, soon, moments = rows[0][:4]
        for _, _, _, _, place, *row in rows:
            if place is not None and row[0] is not None:
                records[place - 1] = record(row)
        return Look(next_ready, records, now, by_queue(soon, moments))

    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        rows = await self._database.fetch(
            self._queries.scan, queue.name, after or "", prefix, end_of_prefix(prefix), limit
        )
        return [record(row) for row in rows]

    async def scan_ready(
        self,
        queue: Queue,
        *,
        since: int = LEAST,
        before: int = HELD,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> list[Record]:
        at, key = after or (since, "")
        rows = await self._database.fetch(self._queries.scan_ready, queue.name, max(since, at), before, at, key, limit)
        return [record(row) for row in rows]

    async def queues(self, *, after: str | None, limit: int) -> list[str]:
        rows = await self._database.fetch(self._queries.queues, after or "", limit)
        return [row[0] for row in rows]

    async def count(self, queue: Queue, *, since: int = LEAST, before: int = HELD, limit: int = 10_000) -> Count:
        """Counts one row more than the limit, to know whether the result is exact."""
        rows = await self._database.fetch(self._queries.count, queue.name, since, before, limit + 1)
        found: int = rows[0][0]
        return Count(min(found, limit), exact=found <= limit)

    async def runs(self, question: RunQuestion) -> list[RunLine]:
        statement, arguments = asking(question, self._queries)
        return [line(row) for row in await self._database.fetch(statement, *arguments)]

    async def prune_runs(self, *, before: int, limit: int) -> int:
        """Skips lines that another process is pruning."""
        rows = await self._database.fetch(self._queries.prune_runs, before, limit)
        count: int = rows[0][0]
        return count

    async def diagnose(self) -> list[Finding]:
        return await diagnose(self._database, self._settings)

    async def within(self, connection: Any) -> Repository:
        """Takes a connection of asyncpg or psycopg 3. Above READ COMMITTED, the transaction fails if it changes
        something that others have changed since it began."""
        borrowed = await borrow(connection, self._database, self._queries.identity, self._settings.table.sql)
        return _InTransaction(borrowed, Queries.of(self._settings.table, within=True), self._settings)

    async def clock(self) -> int:
        """The server's time."""
        rows = await self._database.fetch(self._queries.clock)
        now: int = rows[0][0]
        return now


class _InTransaction(PostgresRepository):
    """Writes on a connection of the caller, and stops at the first change that is busy."""

    async def _in_turn(self, parts: Iterable[Sequence[Change]]) -> dict[str, Swap]:
        found: dict[str, Swap] = {}
        for batch in parts:
            if Swap.BUSY in found.values():
                found |= dict.fromkeys((change.either.key for change in batch), Swap.BUSY)
            else:
                found |= await self._swap(batch)
        return found


@asyncio_only
def postgres_repository(
    *,
    postgres_url: str,
    postgres_table_name: str = "pyncette_tasks",
    postgres_skip_table_create: bool = False,
    postgres_pool_size: int = 10,
    postgres_statement_cache_size: int = 100,
    finish_upgrade: bool = False,
) -> AbstractAsyncContextManager[Repository]:
    """Stores task instances in PostgreSQL 14 or later.

    :param postgres_url: ``postgresql://user:password@host:port/database``. What is left out comes from PostgreSQL's own
        variables (``PGHOST``, ``PGPASSWORD`` ...). Parameters after a ``?`` are libpq's (``sslmode`` ...) and the
        server's (``statement_timeout`` ...).
    :param postgres_table_name: ``table`` or ``schema.table``.
    :param postgres_skip_table_create: never create or change the table; :func:`pyncette.postgres.schema_sql` returns
        the statements to run instead.
    :param postgres_pool_size: the maximum number of open connections.
    :param postgres_statement_cache_size: the number of prepared statements kept for each connection. 0 for proxies that
        give each transaction a different connection, such as PgBouncer with ``pool_mode=transaction``.
    :param finish_upgrade: confirms that no process of an older release uses the table, or will: the upgrade to the
        format of this release is finished.
    :raises TypeError, ValueError: immediately, for invalid options.
    :raises RepositoryException: on opening, if the server or the table can't be used.
    """
    return _opened(
        Settings(
            url=postgres_url,
            table=Table.parse(postgres_table_name),
            skip_table_create=postgres_skip_table_create,
            pool_size=postgres_pool_size,
            statement_cache_size=postgres_statement_cache_size,
            finish_upgrade=finish_upgrade,
        )
    )


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Repository]:
    async with connected(settings) as database:
        await prepare(database, settings, Schema.of(settings.table))
        yield PostgresRepository(database, Queries.of(settings.table), settings)
