"""The server answers from the indexes, whatever size the table has now and had when the statements were planned."""

# ruff: noqa: S608 -- the statements are made of constants

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from pyncette.record import Change, Queue, QueueClaim
from pyncette.repository import Repository
from pyncette.testing.contract.base import take
from tests.helpers import postgres as helpers
from tests.helpers.postgres import MINUTE, NOW, SECOND, fresh
from tests.helpers.postgres_plans import access, explained, made
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


@pytest.fixture(scope="module")
def large_table(postgres_server: Server) -> Iterator[str]:
    with made(postgres_server.url) as name:
        helpers.run(postgres_server.url, FILL.format(table=name), ROWS)
        helpers.run(postgres_server.url, FILL_STATIC.format(table=name))
        helpers.run(postgres_server.url, f"ANALYZE {name}")
        yield name


def calls(repository: Repository) -> dict[str, tuple[Callable[[], Awaitable[Any]], set[str], int]]:
    """Each call, the access paths that it may use, and how many rows it may read."""
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
    gone = [Change(change.new, None) for change in moved if change.old is None]
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
        "delete": (lambda: repository.swap(gone), {"key", "by place"}, 200),
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
async def test_every_call_uses_an_index(postgres_server: Server, large_table: str, cache_size: int) -> None:
    """In a table of a million rows, no call reads more rows than it returns, give or take a static task."""
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
async def test_plans_made_when_the_table_was_small(postgres_server: Server, small_table: str, cache_size: int) -> None:
    """An app starts with an empty table and fills it, while its connections keep their plans."""
    async with explained(postgres_server.url, small_table, cache_size) as (repository, plans):
        for _ in range(8):  # by default, the server replans a statement the first five times
            for call, _, _ in calls(repository).values():
                await call()
        async with helpers.connection(postgres_server.url) as other:
            await other.execute(f"TRUNCATE {small_table}")
            await other.execute(FILL.format(table=small_table).replace("$1", "100000"))
            await other.execute(FILL_STATIC.format(table=small_table))
            if not cache_size:
                await other.execute(f"ANALYZE {small_table}")  # as autovacuum does within a minute
        await check(repository, plans, small_table)


async def test_rows_of_other_queues_are_not_read(postgres_server: Server, large_table: str) -> None:
    """A claim of a queue with nothing due costs the same, however much is due in others."""
    async with explained(postgres_server.url, large_table, 100) as (repository, plans):
        nothing = [QueueClaim(Queue("none"), 100, NOW), QueueClaim(Queue("no", static=True), 1, NOW)]
        assert await take(repository, nothing, now=NOW, limit=100, token="t", holder="h") == []
        (plan,) = plans
        assert access(plan, large_table).rows <= 5
