"""The server answers from the indexes, whatever the table's size is now and was when the statements were planned."""

# ruff: noqa: S608 -- the statements are made of constants

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import pytest

from pyncette.postgres import postgres_repository
from pyncette.postgres.connection import Background, Database, session_settings
from pyncette.postgres.repository import PostgresRepository
from pyncette.postgres.settings import Settings, Table
from pyncette.postgres.statements import Queries
from pyncette.record import Change, Queue, QueueClaim
from pyncette.repository import Repository
from pyncette.testing.contract.base import take
from tests.helpers import postgres as helpers
from tests.helpers.postgres import MINUTE, NOW, SECOND, fresh
from tests.servers.model import Server

ROWS = 1_000_000
QUEUES = 20
STATICS = 500

DYNAMIC = [Queue(f"task{number}") for number in range(QUEUES)]
STATIC = [Queue(f"static{number}", static=True) for number in range(STATICS)]

# A tenth of the instances are due.
FILL = f"""
INSERT INTO {{table}} (queue, key, due_at, ready_at, fence, attempt, revision, spec, state)
SELECT 'task' || n % {QUEUES}, 'task' || n % {QUEUES} || ':' || n, r, r, 0, 0, 'first', '{{{{"every": 3600}}}}', ''
FROM generate_series(1, $1::int) AS n, LATERAL (SELECT {NOW} + (n % 1000 - 100) * {SECOND}::bigint) AS ready (r)
"""
FILL_STATIC = f"""
INSERT INTO {{table}} (queue, key, due_at, ready_at, fence, attempt, revision, spec, state)
SELECT 'static' || n, 'static' || n, {NOW} + n, {NOW} + n - 3, 0, 0, 'first', '{{{{}}}}', ''
FROM generate_series(0, {STATICS} - 1) AS n
"""

EXPLAIN = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_format": "json",
    "client_min_messages": "log",
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def large_table(postgres_server: Server) -> Iterator[str]:
    with made(postgres_server.url) as name:
        helpers.run(postgres_server.url, FILL.format(table=name), ROWS)
        helpers.run(postgres_server.url, FILL_STATIC.format(table=name))
        helpers.run(postgres_server.url, f"ANALYZE {name}")
        yield name


@contextmanager
def made(url: str) -> Iterator[str]:
    """An empty table whose statistics nobody brings up to date."""

    async def make() -> None:
        async with postgres_repository(postgres_url=url, postgres_table_name=name):
            pass

    with helpers.table(url) as name:
        asyncio.run(make())
        helpers.run(url, f"ALTER TABLE {name} SET (autovacuum_enabled = off)")
        yield name


@dataclass(frozen=True)
class Access:
    """How a plan gets at the table.

    :ivar ways: indexes, "by place" for what a row's place is known of, or what else there is.
    :ivar rows: how many rows were looked at.
    """

    ways: set[str]
    rows: int


def access(plan: Any, table: str) -> Access:
    ways, rows = set(), 0.0
    for node in nodes(plan):
        if "Index Name" in node:
            ways.add(node["Index Name"].removeprefix(f"{table}_"))
        elif node.get("Relation Name") == table and node["Node Type"] not in {"ModifyTable", "Bitmap Heap Scan"}:
            ways.add("by place" if node["Node Type"] == "Tid Scan" else node["Node Type"])
        if node.get("Relation Name") == table and node["Node Type"] != "ModifyTable":
            rows += (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    return Access(ways, round(rows))


def nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


class Explained(Database):
    """Collects the plans of the statements that it runs."""

    def __init__(self, pool: Any, table: str) -> None:
        super().__init__(pool, "here", Background())
        self.plans: list[Any] = []
        self._table = table

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        async with self.connection() as connection:
            connection.add_log_listener(self._hear)
            rows: list[Any] = await connection.fetch(query, *arguments)
            await asyncio.sleep(0)  # the driver calls listeners in the next turn of the loop
            connection.remove_log_listener(self._hear)
            return rows

    def _hear(self, _: Any, message: Any) -> None:
        _, begin, rest = message.message.partition("{")
        plan = json.loads(begin + rest)
        if self._table in plan["Query Text"]:  # the driver asks for other things
            self.plans.append(plan["Plan"])


@asynccontextmanager
async def explained(url: str, table: str, cache_size: int) -> AsyncIterator[tuple[Repository, list[Any]]]:
    """A repository on the table, and the plans of all that it has done."""
    settings = Settings(
        url=url, table=Table.parse(table), skip_table_create=True, pool_size=1, statement_cache_size=cache_size
    )
    async with asyncpg.create_pool(
        url,
        min_size=1,
        max_size=1,
        statement_cache_size=cache_size,
        server_settings={**session_settings(settings), **EXPLAIN},
    ) as pool:
        database = Explained(pool, table)
        yield PostgresRepository(database, Queries.of(settings.table)), database.plans


def calls(repository: Repository) -> dict[str, tuple[Callable[[], Awaitable[Any]], set[str], int]]:
    """Each call, the ways that it may take to the table, and how many rows it may look at."""
    claims = [QueueClaim(queue, 100, NOW + MINUTE) for queue in (*STATIC, *DYNAMIC)]
    records = [helpers.record(f"{number}", queue=f"task{number % QUEUES}") for number in range(1, 101)]
    moved = [
        change
        for one in records
        for change in (
            Change(replace(one, revision="first"), replace(one, revision=fresh())),
            Change(None, replace(one, key=fresh())),
        )
    ]
    return {
        "read": (lambda: repository.read([one.ref for one in records]), {"key"}, 100),
        "scan_ready": (lambda: repository.scan_ready(DYNAMIC[3], limit=100), {"ready"}, 100),
        "scan_ready of a page": (
            lambda: repository.scan_ready(DYNAMIC[3], after=(NOW - 5 * SECOND, "task3:3"), limit=100),
            {"ready"},
            101,
        ),
        "count": (lambda: repository.count(DYNAMIC[3], since=NOW, limit=100), {"ready"}, 101),
        "queues": (lambda: repository.queues(after="static490", limit=5), {"key"}, 10),
        "scan of a prefix": (lambda: repository.scan(DYNAMIC[3], after=None, limit=5, prefix="task3:1"), {"key"}, 5),
        "claim": (
            lambda: repository.claim(claims, now=NOW, limit=100, token=fresh(), holder="me"),
            {"ready", "static", "by place"},
            210,
        ),
        "swap": (lambda: repository.swap(moved), {"key", "by place"}, 200),
        "scan": (lambda: repository.scan(DYNAMIC[3], after="task3:3", limit=100), {"key"}, 100),
        "look": (lambda: repository.look([*STATIC, *DYNAMIC], [records[0].ref]), {"ready", "static", "key"}, 22),
        "look after now": (
            lambda: repository.look([*STATIC, *DYNAMIC], [records[0].ref], after=NOW + MINUTE),
            {"ready", "static", "key"},
            22,
        ),
    }


async def check(repository: Repository, plans: list[Any], table: str) -> None:
    for name, (call, ways, most) in calls(repository).items():
        plans.clear()
        result = await call()
        (plan,) = plans
        assert result, name
        found = access(plan, table)
        assert found.ways <= ways, name
        assert 0 < found.rows <= most, name


@pytest.mark.parametrize("cache_size", [100, 0])
async def test_indexes_serve_everything(postgres_server: Server, large_table: str, cache_size: int) -> None:
    """No call looks at more rows than it returns, but for one static task or so, in a table of a million."""
    async with explained(postgres_server.url, large_table, cache_size) as (repository, plans):
        for _ in range(2):
            await check(repository, plans, large_table)


@pytest.fixture
def small_table(postgres_server: Server, request: pytest.FixtureRequest) -> Iterator[str]:
    with made(postgres_server.url) as name:
        if request.param is not None:
            helpers.run(postgres_server.url, FILL.format(table=name), request.param)
            helpers.run(postgres_server.url, f"ANALYZE {name}")
        yield name


@pytest.mark.parametrize("cache_size", [100, 0])
@pytest.mark.parametrize("small_table", [None, 1, 30], indirect=True)
async def test_plans_from_when_the_table_was_small(postgres_server: Server, small_table: str, cache_size: int) -> None:
    """An app starts with an empty table and fills it, while its connections keep the plans that they made."""
    async with explained(postgres_server.url, small_table, cache_size) as (repository, plans):
        for _ in range(8):  # left to itself the server plans the first five times anew
            for call, _, _ in calls(repository).values():
                await call()
        async with helpers.connection(postgres_server.url) as other:
            await other.execute(f"TRUNCATE {small_table}")
            await other.execute(FILL.format(table=small_table).replace("$1", "100000"))
            await other.execute(FILL_STATIC.format(table=small_table))
            if not cache_size:
                await other.execute(f"ANALYZE {small_table}")  # as the server does by itself within a minute
        await check(repository, plans, small_table)


async def test_rows_of_others_are_not_looked_at(postgres_server: Server, large_table: str) -> None:
    """A claim of a queue without anything due costs the same however much is due in others."""
    async with explained(postgres_server.url, large_table, 100) as (repository, plans):
        nothing = [QueueClaim(Queue("none"), 100, NOW), QueueClaim(Queue("no", static=True), 1, NOW)]
        assert await take(repository, nothing, now=NOW, limit=100, token="t", holder="h") == []
        (plan,) = plans
        assert access(plan, large_table).rows <= 5
