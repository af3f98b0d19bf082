"""What the diagnosis of a server finds. The tests cause each fault for real."""
# ruff: noqa: S608 - names of tables that the tests made themselves

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import anyio
import pytest

from pyncette.findings import Finding
from pyncette.mysql import connection, diagnosis
from pyncette.repository import Repository
from tests.helpers.mysql import Store, insert, record
from tests.servers.model import Server
from tests.servers.plugin import Servers

DURABLE = ("--innodb-flush-log-at-trx-commit=1",)


@pytest.fixture(scope="module", params=["mysql", "mariadb"])
def durable(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Server]:
    """A server with the recommended settings."""
    with servers.private(request.param, *DURABLE) as server:
        yield server


@pytest.fixture
async def store(durable: Server) -> AsyncIterator[Store]:
    store = Store(durable)
    yield store
    await store.ask(f"DROP TABLE IF EXISTS {store.table}, {store.table}_runs")


@pytest.fixture
async def repository(store: Store) -> AsyncIterator[Repository]:
    async with store.open() as repository:
        yield repository


async def bad(repository: Repository) -> dict[str, Finding]:
    """The findings that are not OK, by the name of the check."""
    return {each.check: each for each in await repository.diagnose() if each.verdict != "ok"}


async def test_a_healthy_server(repository: Repository) -> None:
    found = {each.check: each for each in await repository.diagnose()}
    assert {each.verdict for each in found.values()} == {"ok"}, found
    assert found.keys() == {
        *("server", "durability", "isolation", "connections", "permissions", "format", "indexes", "bloat"),
        "transactions",
    }


async def test_settings_that_lose_writes_in_a_crash(store: Store, repository: Repository) -> None:
    await store.ask("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    try:
        found = await bad(repository)
    finally:
        await store.ask("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
    assert found.keys() == {"durability"}
    assert "innodb_flush_log_at_trx_commit 2" in found["durability"].found


async def test_connections(store: Store, repository: Repository) -> None:
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(store.connect()) for _ in range(9)]
        await store.send(others[0], "SET GLOBAL max_connections = 10")
        try:
            found = await bad(repository)
        finally:
            await store.send(others[0], "SET GLOBAL max_connections = 300")
    assert found.keys() == {"connections"}


async def test_isolation(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a proxy that loses session settings."""
    forgotten = connection.SESSION.replace("READ COMMITTED", "REPEATABLE READ")
    monkeypatch.setattr(connection, "SESSION", forgotten)
    async with store.open() as repository:
        found = await bad(repository)
    assert found.keys() == {"isolation"}
    assert found["isolation"].found.startswith("REPEATABLE-READ")


async def test_a_statement_based_binary_log(servers: Servers, durable: Server) -> None:
    """It is found without any write, since the server refuses them."""
    options = ("--log-bin=binlog", "--server-id=1", "--sync-binlog=0", "--binlog-format=STATEMENT")
    with servers.private(durable.kind, *DURABLE, *options) as server:
        store = Store(server)
        async with store.open() as repository:
            found = await bad(repository)
    assert (found["binary log"].verdict, found["durability"].verdict) == ("problem", "warning")
    assert "sync_binlog 0" in found["durability"].found


async def test_an_old_transaction(store: Store, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "OLD", -1)
    await insert(repository, [record("a")])
    async with store.connect() as other:
        await store.send(other, f"BEGIN; SELECT * FROM {store.table} FOR UPDATE")
        (((number,),),) = await store.send(other, "SELECT CONNECTION_ID()")
        found = (await bad(repository))["transactions"]
        assert found.verdict == "warning"
        assert str(number) in found.found
        await store.send(other, "ROLLBACK")


async def test_permissions(store: Store, repository: Repository) -> None:
    user = "limited"
    await store.ask(
        f"CREATE USER {user}@'%' IDENTIFIED BY 'pw';"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {store.table} TO {user}@'%';"
        f"GRANT SELECT, INSERT, DELETE ON {store.table}_runs TO {user}@'%'"
    )
    try:
        async with store.open(mysql_user=user, mysql_password="pw") as limited:
            found = await bad(limited)
    finally:
        await store.ask(f"DROP USER {user}@'%'")
    assert found["permissions"].verdict == "problem"
    assert found["permissions"].advice == (f"GRANT UPDATE ON {store.server.database}.{store.table}_runs TO '{user}'")
    assert (found["transactions"].verdict, found["transactions"].advice) == ("unknown", "GRANT PROCESS ON *.*")


async def test_a_file_that_is_mostly_empty(
    store: Store, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "FREE", 2**20)
    await insert(repository, [record(str(number), spec="x" * 100_000) for number in range(200)])
    await store.ask(f"DELETE FROM {store.table}")
    with anyio.fail_after(60):  # the server frees pages when it has time
        while "bloat" not in await bad(repository):  # noqa: ASYNC110 - nothing signals it
            await anyio.sleep(0.1)


async def test_an_altered_table(store: Store, repository: Repository) -> None:
    await store.ask(f"ALTER TABLE {store.table} DROP INDEX due")
    found = (await bad(repository))["table"]
    assert "index due is on nothing" in found.found
    comment = "Tasks of Pyncette, format 2, readable from 1. Pyncette reads this; keep it."
    await store.ask(f"ALTER TABLE {store.table} COMMENT = '{comment}'")
    assert (await bad(repository))["format"].verdict == "warning"
