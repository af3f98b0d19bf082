"""Behind PgBouncer, which pools transactions. The older version does not support prepared statements."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from pyncette.errors import RepositoryException
from pyncette.postgres import postgres_repository
from pyncette.postgres.connection import session_settings
from pyncette.postgres.settings import Settings, Table
from pyncette.record import Change
from pyncette.testing.contract.base import applied, next_ready, take
from tests.helpers import postgres as helpers
from tests.helpers.postgres import MINUTE, NOW, TASK, fresh, record, want
from tests.servers.model import Server
from tests.servers.plugin import StartServer

PROXIES = ["pgbouncer", "pgbouncer1.18"]


@pytest.fixture
def table(postgres_server: Server) -> Iterator[str]:
    with helpers.table(postgres_server.url) as name:
        yield name


@pytest.fixture
def target(postgres_server: Server) -> str:
    return f"{postgres_server.host}:{postgres_server.port}"


@pytest.mark.parametrize("kind", PROXIES)
async def test_without_statement_cache(start_server: StartServer, target: str, table: str, kind: str) -> None:
    """Everything works with more clients than connections, and no prepared statement is left behind."""
    with start_server(kind, target) as proxy:
        async with postgres_repository(
            postgres_url=proxy.url, postgres_table_name=table, postgres_statement_cache_size=0
        ) as repository:
            records = [record(f"{number}") for number in range(200)]

            async def work(number: int) -> int:
                part = records[number::20]
                assert applied(await repository.swap([Change(None, one) for one in part]))
                assert await next_ready(repository, [TASK]) == NOW
                taken = await take(repository, want(TASK), now=NOW, limit=10, token=fresh(), holder="me")
                settled = [Change(one, replace(one, ready_at=NOW + MINUTE, revision=fresh())) for one in taken]
                assert applied(await repository.swap(settled))
                return len(taken)

            for _ in range(3):
                assert sum(await asyncio.gather(*(work(number) for number in range(20)))) == 200
                found = await repository.scan(TASK, after=None, limit=1000)
                assert len(found) == 200
                assert applied(await repository.swap([Change(one, None) for one in found]))
        async with AsyncExitStack() as stack:
            for _ in range(3):  # all connections of the proxy to the server
                connection = await stack.enter_async_context(helpers.connection(proxy.url))
                await connection.execute("BEGIN")
                await connection.execute("DO 'BEGIN ASSERT NOT EXISTS (SELECT FROM pg_prepared_statements); END'")


@pytest.mark.parametrize("kind", PROXIES)
async def test_with_statement_cache(start_server: StartServer, target: str, table: str, kind: str) -> None:
    """The error at the start says which option to set."""
    with start_server(kind, target) as proxy:
        with pytest.raises(RepositoryException, match="set postgres_statement_cache_size=0"):
            await use(proxy.url, table)


async def test_prepared_statements_on_another_connection(start_server: StartServer, target: str, table: str) -> None:
    """If the proxy ignores unknown settings, the error of the first call that fails says it."""
    settings = Settings(
        url="postgresql://", table=Table.parse(table), skip_table_create=False, pool_size=1, statement_cache_size=1
    )
    ignored = f"ignore_startup_parameters={','.join(session_settings(settings))}"
    with start_server("pgbouncer1.18", target, ignored) as proxy:
        with pytest.raises(RepositoryException, match="set postgres_statement_cache_size=0"):
            await use(proxy.url, table)


async def use(url: str, table: str) -> None:
    async with postgres_repository(postgres_url=url, postgres_table_name=table) as repository:
        for _ in range(10):
            await asyncio.gather(*(repository.clock() for _ in range(10)))
