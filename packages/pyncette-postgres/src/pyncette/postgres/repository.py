"""The repository: statements in, records out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from pyncette.bridge import asyncio_only
from pyncette.record import NEVER, Change, Queue, QueueClaim, Record, Ref
from pyncette.repository import Repository

from .columns import MOST_ROWS, batches, claim_columns, read_columns, record, swap_columns
from .database import Database, connected
from .queries import Queries
from .schema import Schema, prepare
from .settings import Settings, Table

_ALWAYS = -(2**63)


class PostgresRepository(Repository):
    """Task instances in one table of a PostgreSQL database.

    Each method sends one statement, which is a transaction of its own (a batch of more than 5,000 records, or with
    more than 16 million characters of arguments, takes several). Deadlocks and serialization failures, after which
    nothing was applied, are tried again.
    """

    def __init__(self, database: Database, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        found: list[Record | None] = [None] * len(refs)
        for start in range(0, len(refs), MOST_ROWS):
            columns = read_columns(refs[start : start + MOST_ROWS])
            for place, *row in await self._database.fetch(self._queries.read, *columns):
                found[start + place - 1] = record(row)
        return found

    async def swap(self, changes: Sequence[Change]) -> list[bool]:
        if not changes:
            return []
        keys = [change.ref.key for change in changes]
        in_order = [changes[place] for place in sorted(range(len(keys)), key=keys.__getitem__)]
        applied: set[str] = set()
        for batch in list(batches(in_order)):
            rows = await self._database.fetch(self._queries.swap, *swap_columns(batch))
            applied.update(row[0] for row in rows)
        return [key in applied for key in keys]

    async def due(self, claims: Sequence[QueueClaim], *, now: int, limit: int) -> list[Record]:
        wanted = [claim for claim in claims if claim.limit > 0]
        if not wanted or limit <= 0:
            return []
        queues, static, limits, _ = claim_columns(wanted)
        rows = await self._database.fetch(self._queries.due, queues, static, limits, now, limit)
        return [record(row) for row in rows]

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        wanted = [claim for claim in claims if claim.limit > 0]
        if not wanted or limit <= 0:
            return []
        queues, static, limits, ends = claim_columns(wanted)
        rows = await self._database.fetch(self._queries.claim, queues, static, limits, now, limit, ends, token, holder)
        return [record(row) for row in rows]

    async def scan(self, queue: Queue, *, after: str | None, limit: int) -> list[Record]:
        rows = await self._database.fetch(self._queries.scan, queue.name, after or "", limit)
        return [record(row) for row in rows]

    async def next_ready(self, queues: Sequence[Queue], *, after: int | None = None) -> int | None:
        if not queues or after == NEVER:
            return None
        first = _ALWAYS if after is None else after + 1
        dynamic = [queue.name for queue in queues if not queue.static]
        static = [queue.name for queue in queues if queue.static]
        rows = await self._database.fetch(self._queries.next_ready, dynamic, static, first)
        ready_at: int | None = rows[0][0]
        return ready_at

    async def clock(self) -> int:
        """The server's time."""
        rows = await self._database.fetch(self._queries.clock)
        now: int = rows[0][0]
        return now


@asyncio_only
def postgres_repository(
    *,
    postgres_url: str,
    postgres_table_name: str = "pyncette_tasks",
    postgres_skip_table_create: bool = False,
    postgres_pool_size: int = 10,
    postgres_statement_cache_size: int = 100,
) -> AbstractAsyncContextManager[Repository]:
    """Stores task instances in PostgreSQL 14 or later.

    :param postgres_url: ``postgresql://user:password@host:port/database``. What is left out is taken from PostgreSQL's
        own variables (``PGHOST``, ``PGPASSWORD`` ...). Parameters behind a ``?`` are libpq's (``sslmode`` ...) and
        the server's (``statement_timeout`` ...).
    :param postgres_table_name: ``table`` or ``schema.table``.
    :param postgres_skip_table_create: never make or change the table; :func:`pyncette.postgres.schema_sql` returns
        what has to be run instead.
    :param postgres_pool_size: how many connections are open at most.
    :param postgres_statement_cache_size: prepared statements that are kept for each connection. 0 for proxies that
        give each transaction another connection, such as PgBouncer with ``pool_mode=transaction``.
    :raises TypeError, ValueError: at once, for options that can't be right.
    :raises RepositoryException: when it is opened, if the server or the table can't be used.
    """
    return _opened(
        Settings(
            url=postgres_url,
            table=Table.parse(postgres_table_name),
            skip_table_create=postgres_skip_table_create,
            pool_size=postgres_pool_size,
            statement_cache_size=postgres_statement_cache_size,
        )
    )


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Repository]:
    async with connected(settings) as database:
        await prepare(database, settings, Schema.of(settings.table))
        yield PostgresRepository(database, Queries.of(settings.table))
