"""Tables for tests of plans, and the plans of statements on them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from pyncette.postgres import postgres_repository
from pyncette.postgres.connection import Background, Database, session_settings
from pyncette.postgres.repository import PostgresRepository
from pyncette.postgres.settings import Settings, Table
from pyncette.postgres.statements import Queries
from pyncette.repository import Repository
from tests.helpers import postgres as helpers

EXPLAIN = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_format": "json",
    "client_min_messages": "log",
}


@contextmanager
def made(url: str) -> Iterator[str]:
    """An empty table whose statistics are never updated."""

    async def make() -> None:
        async with postgres_repository(postgres_url=url, postgres_table_name=name):
            pass

    with helpers.table(url) as name:
        asyncio.run(make())
        helpers.run(url, f"ALTER TABLE {name} SET (autovacuum_enabled = off)")
        yield name


@dataclass(frozen=True)
class Access:
    """How a plan accesses the table.

    :ivar ways: the indexes used; "by place" for access by a row's location; or the kind of scan.
    :ivar rows: the number of rows read.
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
            await asyncio.sleep(0)  # the driver calls listeners in the next iteration of the event loop
            connection.remove_log_listener(self._hear)
            return rows

    def _hear(self, _: Any, message: Any) -> None:
        _, begin, rest = message.message.partition("{")
        plan = json.loads(begin + rest)
        if self._table in plan["Query Text"]:  # the driver sends other queries too
            self.plans.append(plan["Plan"])


@asynccontextmanager
async def explained(url: str, table: str, cache_size: int) -> AsyncIterator[tuple[Repository, list[Any]]]:
    """A repository on the table, and the plans of all statements that it has run."""
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
        yield PostgresRepository(database, Queries.of(settings.table), settings), database.plans
