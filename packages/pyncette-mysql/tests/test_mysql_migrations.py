"""Tables of other formats: a rolling upgrade to a fictitious release, and what may happen in the middle of it."""
# ruff: noqa: S608 - names of tables that the tests made themselves

from __future__ import annotations

import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from asyncmy.connection import Connection

from pyncette.errors import RepositoryException, RepositoryUnavailableException, StorageVersionException
from pyncette.migrations import Migration, Phase
from pyncette.mysql import connection as connections
from pyncette.mysql import mysql_repository, schema, schema_sql
from pyncette.mysql.settings import Settings
from pyncette.record import Change, Swap
from tests.helpers.mysql import Store, becomes, record

EXPAND = Migration(
    2,
    Phase.EXPAND,
    "0002_expand_b.sql",
    "UPDATE {table} SET attempt = attempt WHERE queue = 'none';\n"
    "ALTER TABLE {table} ADD COLUMN b INT NULL, ADD KEY b (b), ALGORITHM = INPLACE, LOCK = NONE, COMMENT = {format};",
)
CONTRACT = Migration(
    2, Phase.CONTRACT, "0002_contract_b.sql", "ALTER TABLE {table} ADD COLUMN c INT NULL, COMMENT = {format};"
)
STEPS = (EXPAND, CONTRACT)
TODAY = tuple(schema.migrations())

MIGRATOR = Path(__file__).with_name("mysql_migrator.py")


@pytest.fixture
def next_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, this process opens storages as the next release does."""
    monkeypatch.setattr(schema, "migrations", lambda: (*TODAY, *STEPS))


async def upgrade(store: Store, *steps: Migration[str], **options: Any) -> None:
    """Open like a release that has these additional steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "migrations", lambda: (*TODAY, *steps))
        manager = store.open(**options)
        async with manager:
            pass


async def many(store: Store, count: int, **options: Any) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(_opened, store, options)


async def _opened(store: Store, options: dict[str, Any]) -> None:
    async with store.open(mysql_pool_size=1, **options):
        pass


async def columns(store: Store) -> set[str]:
    rows = await store.ask(f"SELECT column_name FROM information_schema.columns WHERE table_name = '{store.table}'")
    return {name for (name,) in rows}


async def comment(store: Store) -> str:
    ((text,),) = await store.ask(
        f"SELECT table_comment FROM information_schema.tables WHERE table_name = '{store.table}'"
    )
    return str(text).partition(". ")[0]


@asynccontextmanager
async def in_use(store: Store) -> AsyncIterator[Connection]:
    """A transaction that has read the table, so that statements that alter it wait."""
    async with store.connect() as somebody:
        await store.send(somebody, f"START TRANSACTION; SELECT COUNT(*) FROM {store.table}")
        yield somebody
        await somebody.rollback()


async def waiting(store: Store, *, state: str = "metadata lock") -> int:
    rows = await store.ask(f"SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE '%{state}%'")
    return int(rows[0][0])


async def test_a_rolling_upgrade(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each step is done once, however many processes start at once; old and new releases work side by side until the
    upgrade is finished, and a rollback needs no steps."""
    caplog.set_level(logging.INFO, "pyncette.mysql")
    async with store.open() as running:
        one = record("one")
        assert await running.swap([Change(None, one)]) == [Swap.APPLIED]
        with monkeypatch.context() as patch:
            patch.setattr(schema, "migrations", lambda: (*TODAY, *STEPS))
            await many(store, 8)
        assert "b" in await columns(store)
        assert "c" not in await columns(store)
        assert await comment(store) == "Tasks of Pyncette, format 2, readable from 1"
        assert await running.read([one.ref]) == [one]
        async with store.open() as rolled_back:
            changed = record("one")
            assert await rolled_back.swap([Change(one, changed)]) == [Swap.APPLIED]
        with monkeypatch.context() as patch:
            patch.setattr(schema, "migrations", lambda: (*TODAY, *STEPS))
            await many(store, 8, finish_upgrade=True)
        assert {"b", "c"} <= await columns(store)
        assert await comment(store) == "Tasks of Pyncette, format 2, readable from 2"
        assert await running.swap([Change(changed, None)]) == [Swap.APPLIED]
    with pytest.raises(StorageVersionException, match=r"can be read from format 2 on.*Upgrade pyncette-mysql"):
        await _opened(store, {})
    done = [one.message.rpartition(": ")[2] for one in caplog.records if one.message.endswith(" is done.")]
    assert done == ["0001_expand_tables.sql is done.", "0002_expand_b.sql is done.", "0002_contract_b.sql is done."]


@pytest.mark.usefixtures("next_release")
async def test_a_new_table_gets_all_steps(store: Store) -> None:
    await many(store, 8)
    assert {"b", "c"} <= await columns(store)
    assert await comment(store) == "Tasks of Pyncette, format 2, readable from 2"


async def test_a_skipped_upgrade(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the statements to run instead, and they complete the upgrade."""
    await _opened(store, {})
    monkeypatch.setattr(schema, "migrations", lambda: (*TODAY, *STEPS))
    with pytest.raises(StorageVersionException, match=f"schema_sql\\('{store.table}', from_format=1\\)"):
        await _opened(store, {"mysql_skip_table_create": True})
    await store.ask(schema_sql(store.table, from_format=1, contract=False))
    assert "c" not in await columns(store)
    await _opened(store, {"mysql_skip_table_create": True})
    assert await comment(store) == "Tasks of Pyncette, format 2, readable from 1"
    assert schema_sql(store.table, from_format=2) == ""


@pytest.mark.usefixtures("next_release")
async def test_schema_sql_creates_the_same_tables_as_opening(store: Store) -> None:
    await store.ask(schema_sql(store.table))
    await _opened(store, {"mysql_skip_table_create": True})
    by_hand = await store.ask(f"SHOW CREATE TABLE {store.table}")
    await store.ask(f"DROP TABLE {store.table}")
    await _opened(store, {})
    assert await store.ask(f"SHOW CREATE TABLE {store.table}") == by_hand


@pytest.mark.parametrize("version", [-1, 2])
def test_schema_sql_of_an_impossible_format(version: int) -> None:
    with pytest.raises(ValueError, match="from_format must be from 0 to 1"):
        schema_sql(from_format=version)
    with pytest.raises(ValueError, match="mysql_table_name must be"):
        schema_sql("a`b")


def test_steps_can_be_repeated() -> None:
    """Each ends with the only statement that alters the table, which also records the new format."""
    for step in TODAY:
        *before, last = [part.strip() for part in step.step.split(";") if part.strip()]
        assert "COMMENT = {format}" in last, step.name
        # The statements before it can be repeated.
        parts = [part.replace("CREATE TABLE IF NOT EXISTS", "") for part in before]
        assert not any("ALTER TABLE" in part or "CREATE TABLE" in part for part in parts), step.name


@pytest.mark.parametrize("step", ["expand", "contract"])
async def test_a_migrator_that_is_killed(store: Store, step: str) -> None:
    """By SIGKILL, while its statement waits for a transaction that uses the table. Whether or not the server still
    executes the statement, the next process to start continues from either state."""
    await _opened(store, {})
    if step == "contract":
        await upgrade(store, *STEPS)
    async with in_use(store):
        arguments = [json.dumps(store.options | {"finish_upgrade": step == "contract"}), *(one.step for one in STEPS)]
        async with await anyio.open_process([sys.executable, str(MIGRATOR), *arguments]) as migrator:
            try:
                await becomes(lambda: waiting(store), 1)
            finally:
                migrator.kill()
    with anyio.fail_after(30):
        await upgrade(store, *STEPS, finish_upgrade=step == "contract")
    assert await comment(store) == f"Tasks of Pyncette, format 2, readable from {2 if step == 'contract' else 1}"
    assert ("c" in await columns(store)) is (step == "contract")


async def test_a_statement_that_the_server_ends(store: Store) -> None:
    """In the middle of a step, just before its last statement: the step is repeated."""
    await _opened(store, {})
    slow = replace(EXPAND, step=EXPAND.step.replace(";\n", "; DO SLEEP(600);\n"))
    async with anyio.create_task_group() as tasks:

        async def interrupted() -> None:
            with pytest.raises(RepositoryUnavailableException):
                await upgrade(store, slow)

        tasks.start_soon(interrupted)
        await becomes(lambda: waiting(store, state="user sleep"), 1)
        query = "SELECT id FROM information_schema.processlist WHERE state LIKE '%user sleep%'"
        ((number,),) = await store.ask(query)
        await store.ask(f"KILL {number}")
    assert "b" not in await columns(store)
    assert await comment(store) == "Tasks of Pyncette, format 1, readable from 1"
    await upgrade(store, *STEPS)
    assert await comment(store) == "Tasks of Pyncette, format 2, readable from 1"


async def test_a_step_that_fails(store: Store) -> None:
    """Its last statement leaves no changes, and the lock is released."""
    await _opened(store, {})
    with pytest.raises(RepositoryException, match="error in your SQL syntax"):
        await upgrade(store, replace(EXPAND, step="ALTER TABLE {table} ADD COLUMN b INT, NONSENSE, COMMENT = {format}"))
    assert "b" not in await columns(store)
    with anyio.fail_after(5):
        await upgrade(store, *STEPS)


async def test_a_table_in_use(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long transaction of another client blocks a step, which is retried."""
    monkeypatch.setattr(connections, "SESSION", connections.SESSION + "; SET SESSION lock_wait_timeout = 1")
    await _opened(store, {})
    async with in_use(store) as somebody, anyio.create_task_group() as tasks:
        tasks.start_soon(upgrade, store, *STEPS)
        await anyio.sleep(1.5)  # longer than the statement's timeout
        await somebody.rollback()
    assert "b" in await columns(store)


async def test_a_table_in_use_for_too_long(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SESSION", connections.SESSION + "; SET SESSION lock_wait_timeout = 1")
    monkeypatch.setattr(schema, "_ATTEMPTS", 2)
    await _opened(store, {})
    async with in_use(store):
        with pytest.raises(RepositoryUnavailableException, match="Lock wait timeout"):
            await upgrade(store, *STEPS)
    await upgrade(store, *STEPS)


async def test_two_servers_that_both_take_writes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """They don't share locks: the second process finds the step done."""

    @asynccontextmanager
    async def no_lock(*_: Any) -> AsyncIterator[None]:
        yield

    monkeypatch.setattr(schema, "_alone", no_lock)
    await many(store, 8)
    monkeypatch.setattr(schema, "migrations", lambda: (*TODAY, *STEPS))
    await many(store, 8)
    await many(store, 8, finish_upgrade=True)
    assert await comment(store) == "Tasks of Pyncette, format 2, readable from 2"


async def test_the_start_waits_for_another_process_that_changes_the_table(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even longer than the timeout of a statement."""
    monkeypatch.setattr(schema, "_WAIT_SECONDS", 1)
    async with store.connect() as somebody, anyio.create_task_group() as tasks:
        async with schema._alone(somebody, schema_settings(store)):
            tasks.start_soon(_opened, store, {})
            await becomes(lambda: waiting(store, state="user lock"), 1)
            await anyio.sleep(1.2)  # longer than the timeout of one statement
            assert await columns(store) == set()
    assert await comment(store) == "Tasks of Pyncette, format 1, readable from 1"


def schema_settings(store: Store) -> Settings:
    parts = {name.removeprefix("mysql_"): value for name, value in store.options.items()}
    return Settings(**parts, skip_table_create=False, pool_size=1, tls=None)


async def test_later_formats(store: Store) -> None:
    """A later release may have expanded the table. It is refused only if it says that this release can't read it."""
    await _opened(store, {})
    text = "Tasks of Pyncette, format {}, readable from {}. Pyncette reads this; keep it."
    await store.ask(f"ALTER TABLE {store.table} MODIFY spec LONGBLOB, COMMENT = '{text.format(2, 1)}'")
    await _opened(store, {})
    await _opened(store, {"finish_upgrade": True})
    assert await comment(store) == "Tasks of Pyncette, format 2, readable from 1"
    await store.ask(f"ALTER TABLE {store.table} COMMENT = '{text.format(3, 2)}'")
    with pytest.raises(StorageVersionException, match="has format 3, which can be read from format 2 on"):
        await _opened(store, {})


def test_finish_upgrade_is_true_or_false() -> None:
    with pytest.raises(TypeError, match="finish_upgrade is 'yes': write True or False"):
        mysql_repository(mysql_host="h", mysql_user="u", mysql_database="d", finish_upgrade="yes")  # type: ignore[arg-type]  # the point
