"""Errors when an app starts: invalid options, unusable servers, tables of other programs."""

# ruff: noqa: S608 -- the statements are made of constants and of names that the tests make

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from pyncette.errors import RepositoryException, RepositoryUnavailableException, StorageVersionException
from pyncette.postgres import backend, postgres_repository, schema_sql
from tests.helpers import postgres as helpers
from tests.helpers import pyncette_1
from tests.helpers.postgres import fresh, refusal, start
from tests.servers.model import Server

SECRET = "hunter2"


@pytest.fixture
def table(postgres_server: Server) -> Iterator[str]:
    with helpers.table(postgres_server.url) as name:
        yield name


def changed(url: str, **parts: Any) -> str:
    return urlsplit(url)._replace(**parts).geturl()


def with_login(url: str, user: str, password: str) -> str:
    return changed(url, netloc=f"{quote(user)}:{quote(password)}@{urlsplit(url).netloc.rpartition('@')[2]}")


@pytest.mark.parametrize(
    "options, error, said",
    [
        ({"postgres_url": 1}, TypeError, "postgres_url must be text"),
        ({"postgres_url": "mysql://host/db"}, ValueError, "postgresql://user:password@host:port/database"),
        ({"postgres_url": "postgresql:host/db"}, ValueError, "begin with postgresql://"),
        ({"postgres_url": "host=a dbname=b"}, ValueError, "begin with postgresql://"),
        ({"postgres_url": "postgresql://host:port/db"}, ValueError, "host or port"),
        ({"postgres_url": "postgresql://host:99999/db"}, ValueError, "host or port"),
        ({"postgres_url": "postgresql://[::1/db"}, ValueError, "no valid URL"),
        ({"postgres_url": "postgresql://::1/db"}, ValueError, "host or port"),
        ({"postgres_url": "postgresql://host/a/b"}, ValueError, "name of a database"),
        ({"postgres_url": "postgresql://host/db?sslmode"}, ValueError, "no valid URL"),
        ({"postgres_table_name": "My-Table"}, ValueError, "lower-case letters"),
        ({"postgres_table_name": "a.b.c"}, ValueError, "schema.table"),
        ({"postgres_table_name": ".a"}, ValueError, "schema.table"),
        ({"postgres_table_name": "1a"}, ValueError, "beginning with a digit"),
        ({"postgres_table_name": "a; DROP TABLE b"}, ValueError, "lower-case letters"),
        ({"postgres_table_name": "t\n"}, ValueError, "lower-case letters"),
        ({"postgres_table_name": "ß"}, ValueError, "lower-case letters"),
        ({"postgres_table_name": "t" * 57}, ValueError, "at most 56"),
        ({"postgres_table_name": None}, TypeError, "must be text"),
        ({"postgres_skip_table_create": "yes"}, TypeError, "True or False"),
        ({"postgres_pool_size": 0}, ValueError, "from 1 to 1000, not 0"),
        ({"postgres_pool_size": 10**5_000}, ValueError, "from 1 to 1000, not an object of type int"),
        ({"postgres_pool_size": 2.5}, TypeError, "whole number"),
        ({"postgres_pool_size": True}, TypeError, "whole number"),
        ({"postgres_statement_cache_size": -1}, ValueError, "from 0 to 100000, not -1"),
    ],
)
def test_invalid_options(options: dict[str, Any], error: type[Exception], said: str) -> None:
    """They are refused when the factory is called, before anything else happens."""
    with pytest.raises(error, match=said):
        postgres_repository(**{"postgres_url": "postgresql://host/db", **options})


@pytest.mark.parametrize("character", "@#/?")
def test_a_password_that_is_not_percent_encoded(character: str) -> None:
    """The message says what to do without showing the password, part of which the parser takes for a host."""
    for password in (f"{SECRET}{character}x", f"12{character}{SECRET}", f"x{character}{SECRET}"):
        url = f"postgresql://user:{password}@host/db"
        for check in (backend.options_from_url, lambda url: postgres_repository(postgres_url=url)):
            with pytest.raises(ValueError, match="percent-encoded") as caught:
                check(url)
            assert SECRET not in "".join(traceback.format_exception_only(caught.value))
            assert caught.value.__context__ is None or caught.value.__suppress_context__
        postgres_repository(postgres_url=f"postgresql://user:{quote(password, safe='')}@host/db")


@pytest.mark.parametrize(
    "url",
    [
        "postgres://",
        "postgresql://host",
        "postgresql://user@/db",
        "postgresql://u:p@[::1]:5432/db",
        "postgresql://u:p@one:5432,two:5433/db?target_session_attrs=read-write",
        "postgresql:///db?host=/run/postgresql",
    ],
)
def test_urls_that_the_driver_understands(url: str) -> None:
    assert backend.options_from_url(url) == {"postgres_url": url}
    postgres_repository(postgres_url=url)


async def test_wrong_password(postgres_server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RepositoryException, match="refuses the user or the password of postgres_url") as caught:
        await start(with_login(postgres_server.url, "test", SECRET))
    assert not isinstance(caught.value, RepositoryUnavailableException)
    assert caught.value.__cause__ is not None
    assert SECRET not in f"{caught.value} {caught.value.__cause__} {caplog.text}"


async def test_unknown_host() -> None:
    with pytest.raises(RepositoryUnavailableException, match=r"database\.example\.invalid") as caught:
        await start(f"postgresql://user:{SECRET}@database.example.invalid/db")
    assert isinstance(caught.value.__cause__, OSError)
    assert SECRET not in str(caught.value)


async def test_nobody_listens(unused_port: int) -> None:
    with pytest.raises(
        RepositoryUnavailableException, match=f"127.0.0.1:{unused_port}, database 'db' can't be reached"
    ):
        await start(f"postgresql://user:{SECRET}@127.0.0.1:{unused_port}/db")


@pytest.fixture
async def unused_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def test_several_hosts(postgres_server: Server, table: str, unused_port: int) -> None:
    """The first one that accepts writes is used."""
    login, _, address = urlsplit(postgres_server.url).netloc.rpartition("@")
    hosts = f"{login}@127.0.0.1:{unused_port},{address}"
    await start(changed(postgres_server.url, netloc=hosts, query="target_session_attrs=read-write"), table)


async def test_missing_database(postgres_server: Server) -> None:
    with pytest.raises(RepositoryException, match="no such database; create it"):
        await start(changed(postgres_server.url, path="/nowhere"))


async def test_unusable_parameters(postgres_server: Server) -> None:
    with pytest.raises(RepositoryException, match="sslmode"):
        await start(changed(postgres_server.url, query="sslmode=perhaps"))
    with pytest.raises(RepositoryException, match="connect_timeout"):
        await start(changed(postgres_server.url, query="connect_timeout=3"))


async def test_missing_schema(postgres_server: Server) -> None:
    with pytest.raises(RepositoryException, match="no such schema; create it"):
        await start(postgres_server.url, "nowhere.tasks")


async def test_a_table_in_a_separate_schema(postgres_server: Server, other: Any, table: str) -> None:
    await other.execute(f"CREATE SCHEMA {table}")
    try:
        for name in (f"{table}.order", f"{table}.{'t' * 56}"):
            await start(postgres_server.url, name)
            await start(postgres_server.url, name)
    finally:
        await other.execute(f"DROP SCHEMA {table} CASCADE")


async def test_server_that_is_not_in_utf8(postgres_server: Server, other: Any, table: str) -> None:
    await other.execute(f"CREATE DATABASE {table} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(RepositoryException, match=r"encoding LATIN1.*ENCODING 'UTF8'"):
            await start(changed(postgres_server.url, path=f"/{table}"))
    finally:
        await other.execute(f"DROP DATABASE {table}")


async def test_rights(postgres_server: Server, other: Any, table: str) -> None:
    """A user who may not create the table is told how to get it, and needs only read and write access to it."""
    user = f"user_{fresh()}"
    url = with_login(postgres_server.url, user, SECRET)
    await other.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{SECRET}'")
    try:
        await other.execute(f"REVOKE CREATE ON SCHEMA public FROM {user}, PUBLIC")
        with pytest.raises(RepositoryException, match=r"may not make .*GRANT CREATE ON SCHEMA .*schema_sql\("):
            await start(url, table)
        await other.execute(schema_sql(table))
        with pytest.raises(RepositoryException, match="lacks a permission; it needs USAGE on the schema"):
            async with postgres_repository(postgres_url=url, postgres_table_name=table):
                pass
        await other.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {user}")
        await start(url, table)
        await start(url, table, postgres_skip_table_create=True)
    finally:
        await other.execute(f"DROP TABLE IF EXISTS {table}; DROP ROLE {user}")


async def test_skipped_table_creation(postgres_server: Server, other: Any, table: str) -> None:
    with pytest.raises(RepositoryException, match=f"schema_sql\\('{table}'\\)"):
        await start(postgres_server.url, table, postgres_skip_table_create=True)
    assert await other.fetchval("SELECT to_regclass($1)", table) is None
    await other.execute(schema_sql(table))
    await start(postgres_server.url, table, postgres_skip_table_create=True)


@pytest.mark.parametrize("version", [-1, 2, 7])
def test_schema_sql_of_an_impossible_format(version: int) -> None:
    with pytest.raises(ValueError, match="from_format must be from 0 to 1"):
        schema_sql(from_format=version)


async def test_many_start_at_once(postgres_server: Server, table: str, caplog: pytest.LogCaptureFixture) -> None:
    """One of them creates the table."""
    with caplog.at_level(logging.INFO, "pyncette.postgres"):
        await asyncio.gather(*(start(postgres_server.url, table, postgres_pool_size=2) for _ in range(16)))
    assert [one.message for one in caplog.records] == [f"The table {table}: 0001_expand_tables.sql is done."]


async def test_the_start_waits_for_another_process_that_creates_the_table(
    postgres_server: Server, table: str, other: Any
) -> None:
    """Even longer than ``lock_timeout``."""
    lock = f"pyncette schema of {table}"
    await other.execute("BEGIN")
    await other.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", lock)
    starting = asyncio.create_task(start(changed(postgres_server.url, query="lock_timeout=100"), table))
    async with helpers.connection(postgres_server.url) as watcher:
        await helpers.eventually(watcher, "wait_event = 'advisory' AND now() - query_start > '0.3s'", 1)
    await other.execute("COMMIT")
    await starting


async def test_table_of_1_1_0(postgres_server: Server, other: Any, table: str) -> None:
    await other.execute(pyncette_1.POSTGRES.format(table=table))
    for options in ({}, {"postgres_skip_table_create": True}):
        with pytest.raises(StorageVersionException, match=r"written by Pyncette 1\.x.*RENAME TO"):
            await start(postgres_server.url, table, **options)
    assert await other.fetchval(f"SELECT count(*) FROM {table}") == 2
    rename = next(part for part in await refusal(postgres_server.url, table) if part.startswith("ALTER TABLE"))
    await other.execute(rename)
    await start(postgres_server.url, table)
    await other.execute(f"DROP TABLE {table}_1x")


async def test_a_table_of_another_program(postgres_server: Server, other: Any, table: str) -> None:
    await other.execute(f"CREATE TABLE {table} (queue text); COMMENT ON TABLE {table} IS 'Our queue'")
    assert "It was left as it is" in await refusal(postgres_server.url, table)


async def test_table_whose_comment_was_lost(postgres_server: Server, other: Any, table: str) -> None:
    """The statement in the message restores it."""
    await start(postgres_server.url, table)
    await other.execute(f"COMMENT ON TABLE {table} IS NULL")
    with pytest.raises(StorageVersionException) as caught:
        await start(postgres_server.url, table)
    await other.execute(str(caught.value).partition("restore it: ")[2])
    await start(postgres_server.url, table)
