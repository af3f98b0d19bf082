"""Tables of other formats: a rolling upgrade to a fictitious release, and what may happen in the middle of it."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pyncette.errors import RepositoryException, StorageVersionException
from pyncette.migrations import Migration, Phase
from pyncette.postgres import postgres_repository
from pyncette.postgres.connection import connected
from pyncette.postgres.schema import Schema, prepare
from pyncette.postgres.settings import Settings, Table
from pyncette.record import Change, Swap
from tests.helpers import postgres as helpers
from tests.helpers.postgres import record, refusal, start
from tests.servers.model import Server

MIGRATOR = Path(__file__).with_name("postgres_migrator.py")

EXPAND = Migration(2, Phase.EXPAND, "0002_expand_b.sql", "ALTER TABLE {table} ADD COLUMN b int;")
CONTRACT = Migration(2, Phase.CONTRACT, "0002_contract_b.sql", "ALTER TABLE {table} ADD COLUMN c int;")


async def test_newer_table(postgres_server: Server, other: Any, table: str) -> None:
    """A later release may have expanded the table. It is refused only if it says that this release can't read it."""
    await start(postgres_server.url, table)
    comment = await other.fetchval("SELECT obj_description($1::regclass)", table)
    await other.execute(f"COMMENT ON TABLE {table} IS '{comment.replace('format 1', 'format 2')}'")
    await start(postgres_server.url, table)
    later = comment.replace("format 1", "format 3").replace("readable from 1", "readable from 2")
    await other.execute(f"COMMENT ON TABLE {table} IS '{later}'")
    assert any("can be read from format 2 on" in part for part in await refusal(postgres_server.url, table))


async def upgrade(url: str, table: str, *steps: Migration[str], skip: bool = False, finish: bool = False) -> None:
    """Start like a release that has more steps."""
    settings = Settings(
        url=url,
        table=Table.parse(table),
        skip_table_create=skip,
        pool_size=1,
        statement_cache_size=100,
        finish_upgrade=finish,
    )
    async with connected(settings) as database:
        await prepare(database, settings, Schema(settings.table, (*Schema.of(settings.table).steps, *steps)))


async def columns(other: Any, table: str) -> set[str]:
    found = await other.fetch("SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0", table)
    return {row[0] for row in found}


async def test_a_rolling_upgrade(postgres_server: Server, other: Any, table: str) -> None:
    """Each step is done once, however many processes start at once; old and new releases work side by side until the
    upgrade is finished, and a rollback needs no steps."""
    url = postgres_server.url
    async with postgres_repository(postgres_url=url, postgres_table_name=table) as running:
        one = record("one")
        assert await running.swap([Change(None, one)]) == [Swap.APPLIED]
        await asyncio.gather(*(upgrade(url, table, EXPAND, CONTRACT) for _ in range(8)))
        assert await columns(other, table) >= {"b"}
        assert "c" not in await columns(other, table)
        assert await running.read([one.ref]) == [one]
        await start(url, table)
        await asyncio.gather(*(upgrade(url, table, EXPAND, CONTRACT, finish=True) for _ in range(8)))
        assert await columns(other, table) >= {"b", "c"}
        assert await running.swap([Change(one, None)]) == [Swap.APPLIED]
    assert any("can be read from format 2 on" in part for part in await refusal(url, table))


async def test_a_new_table_of_a_later_release_needs_no_contracting(
    postgres_server: Server, other: Any, table: str
) -> None:
    """No older release has used it yet, so it is created in the final format."""
    url = postgres_server.url
    await asyncio.gather(*(upgrade(url, table, EXPAND, CONTRACT) for _ in range(4)))
    assert await columns(other, table) >= {"b", "c"}
    assert any("can be read from format 2 on" in part for part in await refusal(url, table))


async def test_a_skipped_upgrade(postgres_server: Server, table: str) -> None:
    await start(postgres_server.url, table)
    with pytest.raises(StorageVersionException, match=f"schema_sql\\('{table}', from_format=1\\)"):
        await upgrade(postgres_server.url, table, EXPAND, skip=True)


@pytest.mark.parametrize("killed", ["expand", "contract"])
async def test_a_migrator_that_is_killed(postgres_server: Server, other: Any, table: str, killed: str) -> None:
    """By SIGKILL, in the middle of its step: the next process to start waits until the server has rolled it back, and
    repeats it."""
    url = postgres_server.url
    await start(url, table)
    steps = [f"{step.step} SELECT pg_sleep({2 if step.phase.value == killed else 0});" for step in (EXPAND, CONTRACT)]
    migrator = await asyncio.create_subprocess_exec(sys.executable, str(MIGRATOR), url, table, *steps)
    try:
        await helpers.eventually(other, "wait_event = 'PgSleep'", 1)
    finally:
        migrator.kill()
        await migrator.wait()
    done = {"b"} if killed == "contract" else set()
    assert {"b", "c"} & await columns(other, table) == done
    await upgrade(url, table, EXPAND, CONTRACT, finish=True)
    assert await columns(other, table) >= {"b", "c"}


async def test_an_upgrade_that_the_server_ends(postgres_server: Server, other: Any, table: str) -> None:
    """Neither the step's changes nor its lock remain: the next process to start repeats it."""
    url = postgres_server.url
    await start(url, table)
    slow = replace(EXPAND, step=f"{EXPAND.step} SELECT pg_sleep(600);")
    upgrading = asyncio.create_task(upgrade(url, table, slow))
    await helpers.eventually(other, "wait_event = 'PgSleep'", 1)
    await other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    with pytest.raises(RepositoryException):
        await upgrading
    assert "b" not in await columns(other, table)
    await upgrade(url, table, EXPAND)
    assert "b" in await columns(other, table)


async def test_an_upgrade_that_fails(postgres_server: Server, table: str) -> None:
    """None of its changes remain."""
    await start(postgres_server.url, table)
    with pytest.raises(RepositoryException, match="nonsense"):
        await upgrade(postgres_server.url, table, replace(EXPAND, step=f"{EXPAND.step} nonsense;"))
    await start(postgres_server.url, table)
