"""The log of runs is queried and pruned by its indexes, and appended to in the round trip of the settlement."""

# ruff: noqa: S608 -- the statements are made of constants

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pyncette.record import Change, RunQuestion, Swap
from tests.helpers import postgres as helpers
from tests.helpers.postgres import NOW, fresh, record
from tests.helpers.postgres_plans import access, explained, made
from tests.servers.model import Server

pytestmark = pytest.mark.anyio

LINES = 200_000

# One in a thousand has failed.
FILL = f"""
INSERT INTO {{table}}_runs (ended_at, id, queue, key, outcome, text)
SELECT {NOW} + n / 10, lpad(n::text, 9, '0'), 'task' || n % 20, 'task' || n % 20 || ':' || n % 2000,
    CASE WHEN n % 1000 = 7 THEN 'failed' ELSE 'succeeded' END, '{{{{}}}}'
FROM generate_series(1, $1::int) AS n
"""

QUESTIONS: dict[str, tuple[dict[str, Any], int]] = {
    "all": ({}, 100),
    "of a page": ({"after": (NOW + 9_000, "000090003")}, 101),
    "of a range": ({"since": NOW + 5_000, "before": NOW + 6_000}, 100),
    "of a task": ({"queues": ["task3"]}, 100),
    "of a task's partitions": ({"queues": [f"task{n}" for n in range(5)]}, 500),
    "of an instance": ({"key": "task3:3"}, 100),
    "of an instance of a task": ({"key": "task3:3", "queues": ["task3"]}, 2_000),
    "failed": ({"outcomes": ["failed", "late"]}, 100),
    # Behind a proxy, statements are planned each time: with only 200 lines, the server may read and sort all of them.
    "failed of a task": ({"outcomes": ["failed"], "queues": ["task7"]}, 200),
}


@pytest.fixture(scope="module")
def table(postgres_server: Server) -> Iterator[str]:
    with made(postgres_server.url) as name:
        helpers.run(postgres_server.url, FILL.format(table=name), LINES)
        helpers.run(postgres_server.url, f"ANALYZE {name}_runs")
        yield name


@pytest.mark.parametrize("cache_size", [100, 0])
async def test_questions_are_answered_from_indexes(postgres_server: Server, table: str, cache_size: int) -> None:
    """However long the log is, a page reads only the lines that it shows, or those of one instance."""
    async with explained(postgres_server.url, table, cache_size) as (repository, plans):
        for _ in range(6):
            for name, (question, most) in QUESTIONS.items():
                plans.clear()
                assert len(await repository.runs(RunQuestion(**question, limit=100))) == 100, name
                (plan,) = plans
                found = access(plan, f"{table}_runs")
                assert "Seq Scan" not in found.ways, name
                assert 0 < found.rows <= most, name


async def test_appending_and_pruning(postgres_server: Server, table: str) -> None:
    """One statement settles and appends. Pruning reads only the oldest lines."""
    async with explained(postgres_server.url, table, 100) as (repository, plans):
        (line,) = await repository.runs(RunQuestion(limit=1))
        one = record(fresh())
        assert await repository.swap([Change(None, one, replace(line, id=fresh()))]) == [Swap.APPLIED]
        assert await repository.swap([Change(one, None, replace(line, id=fresh()))]) == [Swap.APPLIED]
        plans.clear()
        assert await repository.prune_runs(before=NOW + 10_000, limit=500) == 500
        (plan,) = plans
        assert access(plan, f"{table}_runs").rows <= 1_000, "found, and deleted by its place"
