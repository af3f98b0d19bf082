"""What the diagnosis of a server finds. The tests cause each fault for real."""

# ruff: noqa: S608 -- the statements are made of constants and of names that the tests make

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import pytest

from pyncette.findings import Finding
from pyncette.postgres import diagnosis, postgres_repository
from pyncette.record import Change, Swap
from pyncette.repository import Repository
from tests.helpers import postgres as helpers
from tests.helpers.postgres import fresh, record
from tests.servers.model import Server
from tests.servers.plugin import Servers

DURABLE = ("-c", "fsync=on", "-c", "full_page_writes=on", "-c", "max_prepared_transactions=5")


@pytest.fixture(scope="module")
def durable(servers: Servers) -> Iterator[Server]:
    """A server with the recommended settings."""
    with servers.private("postgres", *DURABLE) as server:
        yield server


@pytest.fixture
def table(durable: Server) -> Iterator[str]:
    with helpers.table(durable.url) as name:
        yield name


@pytest.fixture
def other_table(postgres_server: Server) -> Iterator[str]:
    with helpers.table(postgres_server.url) as name:
        yield name


@pytest.fixture
async def other(durable: Server) -> AsyncIterator[Any]:
    """A connection of another program."""
    async with helpers.connection(durable.url) as connection:
        yield connection


@pytest.fixture
async def repository(durable: Server, table: str) -> AsyncIterator[Repository]:
    async with postgres_repository(postgres_url=durable.url, postgres_table_name=table) as repository:
        yield repository


async def bad(repository: Repository) -> dict[str, Finding]:
    """The findings that are not OK, by the name of the check."""
    return {each.check: each for each in await repository.diagnose() if each.verdict != "ok"}


async def eventually(repository: Repository, check: str) -> Finding:
    """The finding of a check, once the server's statistics show it."""
    async with asyncio.timeout(30):
        while check not in (found := await bad(repository)):  # noqa: ASYNC110 -- nothing signals it
            await asyncio.sleep(0.05)
    return found[check]


async def test_a_healthy_server(repository: Repository) -> None:
    found = {each.check: each for each in await repository.diagnose()}
    assert {each.verdict for each in found.values()} == {"ok"}, found
    assert found.keys() == {
        *("server", "durability", "isolation", "connections", "permissions", "format", "indexes", "bloat"),
        "transactions",
    }
    assert found["server"].found.startswith("PostgreSQL 15")


async def test_a_server_that_may_lose_what_it_acknowledged(postgres_server: Server, other_table: str) -> None:
    """The other tests' server is an example: it doesn't sync to disk."""
    async with postgres_repository(postgres_url=postgres_server.url, postgres_table_name=other_table) as repository:
        found = (await bad(repository))["durability"]
    assert (found.verdict, found.advice) == ("problem", "set fsync and full_page_writes on")


@pytest.mark.parametrize(
    "setting, check, said",
    [
        ("synchronous_commit=off", "durability", "the last moments"),
        ("default_transaction_isolation=serializable", "isolation", "serializable"),
    ],
)
async def test_sessions(durable: Server, table: str, setting: str, check: str, said: str) -> None:
    url = f"{durable.url}?{setting}"
    async with postgres_repository(postgres_url=url, postgres_table_name=table) as repository:
        found = await bad(repository)
    assert found.keys() == {check}
    assert (found[check].verdict, said in found[check].found) == ("warning", True)


async def test_an_old_transaction(repository: Repository, other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forgotten one that has only read, one that has written, and a prepared one."""
    monkeypatch.setattr(diagnosis, "OLD", 0.0)
    process = await other.fetchval("SELECT pg_backend_pid()")
    async with other.transaction(isolation="repeatable_read"):
        await other.fetchval("SELECT 1")
        found = (await bad(repository))["transactions"]
        assert found.verdict == "warning"
        assert f"process {process}, idle in transaction" in found.found
    await other.execute("BEGIN; CREATE TEMPORARY TABLE t (n int) ON COMMIT DROP")
    assert f"process {process}" in (await bad(repository))["transactions"].found
    await other.execute("ROLLBACK")
    await other.execute("BEGIN; SELECT txid_current(); PREPARE TRANSACTION 'forgotten'")
    assert "the prepared transaction 'forgotten'" in (await bad(repository))["transactions"].found
    await other.execute("ROLLBACK PREPARED 'forgotten'")
    monkeypatch.undo()
    assert await bad(repository) == {}


async def test_dead_rows(repository: Repository, other: Any, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "DEAD_ROWS", 50)
    await other.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    records = [record(fresh()) for _ in range(100)]
    assert set(await repository.swap([Change(None, one) for one in records])) == {Swap.APPLIED}
    await other.execute(f"UPDATE {table} SET attempt = attempt + 1")
    found = await eventually(repository, "bloat")
    assert (found.verdict, found.found) == ("warning", "100 dead rows, 100 others")
    off = (await bad(repository))["vacuum"]
    assert (off.verdict, off.advice) == ("problem", f"ALTER TABLE {table} RESET (autovacuum_enabled)")


async def test_indexes(repository: Repository, other: Any, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await other.execute(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{table}_ready'::regclass")
    found = (await bad(repository))["indexes"]
    assert (found.verdict, found.advice) == ("problem", f"REINDEX INDEX CONCURRENTLY {table}_ready")
    await other.execute(f"REINDEX INDEX CONCURRENTLY {table}_ready")
    assert await bad(repository) == {}
    monkeypatch.setattr(diagnosis, "LARGE_INDEX", 100)  # an empty index has a page, and an empty table has none
    assert f"{table}_key" in (await bad(repository))["indexes"].found
    await other.execute(f"DROP INDEX {table}_static")
    assert f"{table}_static: missing" in (await bad(repository))["indexes"].found


async def test_connections(durable: Server, repository: Repository, other: Any) -> None:
    others = [await asyncpg.connect(durable.url) for _ in range(165)]  # of 197
    try:
        found = await eventually(repository, "connections")
        assert (found.verdict, found.found.endswith(" of 197")) == ("warning", True)
    finally:
        for each in others:
            await each.close()


async def test_permissions(durable: Server, repository: Repository, other: Any, table: str) -> None:
    """A user who lacks one, and may not see the activity of others."""
    user = f"user_{fresh()}"
    await other.execute(f"CREATE USER {user} PASSWORD 'pw'")
    try:
        await other.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {user}")
        netloc = f"{quote(user)}:pw@{urlsplit(durable.url).netloc.rpartition('@')[2]}"
        url = urlsplit(durable.url)._replace(netloc=netloc).geturl()
        async with postgres_repository(postgres_url=url, postgres_table_name=table) as limited:
            found = await bad(limited)
            assert (found["permissions"].verdict, found["transactions"].verdict) == ("warning", "unknown")
            assert found["permissions"].advice == f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table}_runs"
            await other.execute(f"REVOKE UPDATE ON {table} FROM {user}")
            assert (await bad(limited))["permissions"].verdict == "problem"
    finally:
        await other.execute(f"DROP OWNED BY {user}; DROP USER {user}")


async def test_an_upgrade_that_a_newer_release_has_begun(repository: Repository, other: Any, table: str) -> None:
    comment = "Tasks of Pyncette, format 2, readable from 1. Pyncette reads this; keep it."
    await other.execute(f"COMMENT ON TABLE {table} IS '{comment}'")
    assert (await bad(repository))["format"].verdict == "warning"
