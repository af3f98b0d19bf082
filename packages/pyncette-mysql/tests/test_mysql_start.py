"""Opening the storage: the table is created or recognized, or the error names the obstacle."""
# ruff: noqa: S608 - names of tables that the tests made themselves

from __future__ import annotations

import asyncio
import logging
import ssl
import sys
import traceback
import uuid
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import pytest

from pyncette.errors import RepositoryException, RepositoryUnavailableException, StorageVersionException
from pyncette.mysql import MySQLRepository, mysql_repository, schema_sql
from pyncette.mysql.schema import Found, _check_server
from pyncette.record import Change, Queue, QueueClaim, Record, Swap
from pyncette.repository import Repository
from pyncette.testing.contract.base import next_ready, ready, take
from tests.helpers import pyncette_1
from tests.helpers.mysql import Store
from tests.servers.model import Server
from tests.servers.plugin import StartServer

NOW = 1_800_000_000_000_000
TASK = Queue("task")


def record(name: str, **fields: Any) -> Record:
    values = {"due_at": NOW, "ready_at": NOW, "locked_until": None, "locked_by": None} | fields
    spec = '{"\u6f22": "\\u0000 \' \U0001f600"}'
    return Record("task", f"task:{name}", revision=uuid.uuid4().hex, fence=0, attempt=0, spec=spec, **values)


async def opening(manager: AbstractAsyncContextManager[Repository]) -> None:
    async with manager:
        pass


async def works(repository: Repository) -> None:
    """An instance is stored, claimed and settled."""
    one = record("one")
    assert await repository.swap([Change(None, one)]) == [Swap.APPLIED]
    assert await ready(repository, [QueueClaim(TASK, 1, NOW + 1)], now=NOW, limit=1) == [one]
    claims = [QueueClaim(TASK, 1, NOW + 1)]
    (taken,) = await take(repository, claims, now=NOW, limit=1, token="t", holder="h")
    assert await next_ready(repository, [TASK]) == NOW + 1
    assert await repository.scan(TASK, after=None, limit=5) == [taken]
    assert await repository.read([one.ref]) == [taken]
    moved = record("one", ready_at=NOW + 5)
    assert await repository.swap([Change(taken, moved)]) == [Swap.APPLIED]
    assert await repository.swap([Change(moved, None)]) == [Swap.APPLIED]
    assert await repository.clock()


async def refused(
    manager: AbstractAsyncContextManager[Repository], error: type[RepositoryException], *words: str
) -> RepositoryException:
    """Opening fails with exactly this error. Its cause is the driver's error, and it contains no secrets."""
    with pytest.raises(RepositoryException) as caught:
        await opening(manager)
    assert type(caught.value) is error
    for word in words:
        assert word in str(caught.value)
    assert "test-pw" not in "".join(traceback.format_exception(caught.value))
    return caught.value


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"mysql_password": "wrong"}, RepositoryException, ["denied", "mysql_user", "mysql_password"]),
        ({"mysql_password": "\u6f22\u00fc"}, RepositoryException, ["denied"]),
        ({"mysql_password": None}, RepositoryException, ["denied"]),
        ({"mysql_user": "nobody"}, RepositoryException, ["denied", "nobody"]),
        ({"mysql_database": "nowhere"}, RepositoryException, ["nowhere", "mysql_database"]),
        ({"mysql_host": "nowhere.invalid"}, RepositoryUnavailableException, ["nowhere.invalid"]),
        ({"mysql_port": 1}, RepositoryUnavailableException, ["127.0.0.1:1"]),
    ],
)
async def test_cannot_connect(
    store: Store, options: dict[str, Any], error: type[RepositoryException], words: list[str]
) -> None:
    assert (await refused(store.open(**options), error, *words)).__cause__ is not None


async def test_passwords_are_utf8(store: Store) -> None:
    """A password may have any characters. It is sent as the server's own clients send it."""
    user, password = f"u{uuid.uuid4().hex[:20]}", "\u6f22\u00fc'\\\"%s"
    quoted = f"_utf8mb4 0x{password.encode().hex()}"
    async with store.connect() as connection:
        await store.send(connection, "SET NAMES utf8mb4")
        escaped = password.replace("\\", "\\\\").replace("'", "\\'")
        await store.send(
            connection,
            f"CREATE USER {user}@'%' IDENTIFIED BY '{escaped}'; GRANT ALL ON {store.server.database}.* TO {user}@'%'",
        )
        assert (await store.send(connection, f"SELECT {quoted} = '{escaped}'"))[0] == ((1,),)
        try:
            async with store.open(mysql_user=user, mysql_password=password) as repository:
                await works(repository)
        finally:
            await store.send(connection, f"DROP USER {user}@'%'")


async def test_the_table_is_created_once(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Ten clients open at the same time. All of them work, and the driver issues no warning."""
    with caplog.at_level(logging.WARNING):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(opening, store.open())
        async with store.open() as repository:
            await works(repository)
    assert not caplog.records
    found = await store.ask(f"SELECT table_comment FROM information_schema.tables WHERE table_name = '{store.table}'")
    assert found == (("Tasks of Pyncette, format 1, readable from 1. Pyncette reads this; keep it.",),)


async def test_skipped_creation(store: Store) -> None:
    """Nothing is created. The error names the function that returns the right statements."""
    said = f"schema_sql('{store.table}')"
    await refused(store.open(mysql_skip_table_create=True), RepositoryException, store.table, said)
    assert await store.ask(f"SHOW TABLES LIKE '{store.table}'") == ()
    await store.ask(schema_sql(store.table))
    async with store.open(mysql_skip_table_create=True) as repository:
        await works(repository)


async def test_privileges(store: Store) -> None:
    """Without CREATE, the error says what to do. SELECT, INSERT, UPDATE and DELETE on the tables are enough."""
    user = f"u{uuid.uuid4().hex[:20]}"
    other = {"mysql_user": user, "mysql_password": "pw"}
    async with store.connect() as connection:
        await store.send(connection, f"CREATE USER {user}@'%' IDENTIFIED BY 'pw'")
        try:
            await refused(store.open(**other), RepositoryException, "denied", "mysql_database")
            where = f"{store.server.database}.{store.table}"
            await store.send(
                connection, f"GRANT SELECT, INSERT, UPDATE, DELETE ON {store.server.database}.* TO {user}@'%'"
            )
            await refused(store.open(**other), RepositoryException, user, "CREATE", "mysql_skip_table_create=True")
            await opening(store.open())
            await store.send(
                connection,
                f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {user}@'%';"
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON {where} TO {user}@'%'",
            )
            await refused(
                store.open(mysql_skip_table_create=True, **other), RepositoryException, "_runs", "no privilege on it"
            )
            await store.send(connection, f"GRANT SELECT, INSERT, UPDATE, DELETE ON {where}_runs TO {user}@'%'")
            async with store.open(mysql_skip_table_create=True, **other) as repository:
                await works(repository)
        finally:
            await store.send(connection, f"DROP USER {user}@'%'")


async def test_a_table_of_1_1_0(store: Store) -> None:
    """It is refused and left alone until it is renamed as the message says."""
    made = pyncette_1.MYSQL if store.server.kind == "mysql" else pyncette_1.MARIADB
    await store.ask(made.format(table=store.table))
    before = await store.ask(f"SELECT * FROM {store.table} ORDER BY name")
    error = ""
    for options in ({}, {"mysql_skip_table_create": True}, {"finish_upgrade": True}):
        words = ["written by Pyncette 1.x", "Give another mysql_table_name"]
        error = str(await refused(store.open(**options), StorageVersionException, *words))
        assert await store.ask(f"SELECT * FROM {store.table} ORDER BY name") == before
    rename = error.partition("rename the old table first: ")[2].partition(". ")[0]
    await store.ask(rename)
    async with store.open() as repository:
        await works(repository)
    assert await store.ask(f"SELECT * FROM {store.table}_1x ORDER BY name") == before
    await store.ask(f"DROP TABLE {store.table}_1x")


async def test_a_table_whose_comment_was_lost(store: Store) -> None:
    """The statement in the message restores it."""
    await opening(store.open())
    await store.ask(f"ALTER TABLE {store.table} COMMENT = ''")
    error = await refused(store.open(), StorageVersionException)
    await store.ask(str(error).partition("restore it: ")[2])
    async with store.open() as repository:
        await works(repository)


async def test_an_index_on_an_expression(mysql_server: Server) -> None:
    """An additional one is allowed. If it replaces one of ours, the error shows it."""
    store = Store(mysql_server)
    await opening(store.open())
    await store.ask(f"CREATE INDEX more ON {store.table} ((attempt + 1))")
    await opening(store.open())
    await store.ask(f"ALTER TABLE {store.table} DROP INDEX due, ADD INDEX due (queue, (ready_at + 1))")
    await refused(store.open(), RepositoryException, "index due is on queue,an expression, not queue,ready_at,key")
    await store.ask(f"DROP TABLE {store.table}, {store.table}_runs")


@pytest.mark.parametrize(
    "table, change, error, words",
    [
        ("CREATE TABLE {} (id INT PRIMARY KEY)", "", StorageVersionException, ["its comment does not say"]),
        ("CREATE VIEW {} AS SELECT 1 AS x", "", StorageVersionException, ["its comment does not say"]),
        (None, "COMMENT = ''", StorageVersionException, ["its comment does not say", "restore it"]),
        (None, "DROP INDEX due", RepositoryException, ["index due is on nothing"]),
        (None, "DROP PRIMARY KEY, ADD PRIMARY KEY (`key`)", RepositoryException, ["index PRIMARY is on key"]),
        (None, "MODIFY spec TEXT", RepositoryException, ["column spec is text, not longtext"]),
        (None, "DROP COLUMN fence", RepositoryException, ["column fence is missing"]),
        (None, "MODIFY revision VARCHAR(255)", RepositoryException, ["column revision is varchar(255)"]),
        (None, "ENGINE = MyISAM, DROP PRIMARY KEY, DROP INDEX due", RepositoryException, ["MyISAM, not InnoDB"]),
    ],
)
async def test_tables_that_are_not_ours(
    store: Store, table: str | None, change: str, error: type[RepositoryException], words: list[str]
) -> None:
    """Tables of another version, of another program, and altered ones are refused and left alone."""
    if table:
        await store.ask(table.format(store.table))
    else:
        await opening(store.open())
        await store.ask(f"ALTER TABLE {store.table} {change}")
    before = await store.ask(f"SHOW CREATE TABLE {store.table}")
    await refused(store.open(), error, store.table, *words)
    assert await store.ask(f"SHOW CREATE TABLE {store.table}") == before
    if table and "VIEW" in table:
        await store.ask(f"DROP VIEW {store.table}")


async def test_more_columns_are_fine(store: Store) -> None:
    """An additional column is allowed if it has a default."""
    await opening(store.open())
    await store.ask(f"ALTER TABLE {store.table} ADD written_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP")
    async with store.open() as repository:
        await works(repository)


@pytest.mark.parametrize(
    "version, fine",
    [
        ("9.7.4-2", True),
        ("8.0.22", True),
        ("8.0.21", False),
        ("5.7.44-log", False),
        ("8.0.11-TiDB-v7.5.0", False),
        ("10.6.0-MariaDB", True),
        ("5.5.5-10.11.19-MariaDB-0+deb12u1", True),
        ("10.5.29-MariaDB-log", False),
        ("11.8.2-MariaDB", True),
    ],
)
def test_old_servers_are_refused(version: str, fine: bool) -> None:
    found = Found(version, 2**24, False, None, "", {}, {})
    if fine:
        _check_server(found)
        return
    with pytest.raises(RepositoryException, match="Pyncette needs"):
        _check_server(found)


async def cipher(store: Store, **options: Any) -> str:
    """The cipher of a repository's connections. Checks that the repository works."""
    async with store.open(**options) as repository:
        await works(repository)
        assert isinstance(repository, MySQLRepository)
        ((_, name),) = (await repository._database.run("SHOW STATUS LIKE 'Ssl_cipher'"))[0]
        return str(name)


@pytest.mark.parametrize("encrypted", [False, True])
async def test_caching_sha2_password(mysql_server: Server, encrypted: bool) -> None:
    """The server's standard method works over TLS and over plain TCP, even if the server has not cached the password
    since it started, and requests all of it."""
    store = Store(mysql_server)
    found = await store.ask(f"SELECT plugin FROM mysql.user WHERE user = '{mysql_server.user}'")
    assert found == (("caching_sha2_password",),)
    await store.ask("FLUSH PRIVILEGES")  # clears the cache of passwords
    for _ in range(2):
        assert bool(await cipher(store, mysql_ssl=encrypted)) is encrypted
    await store.ask(f"DROP TABLE {store.table}, {store.table}_runs")


async def test_certificates_are_checked(mysql_server: Server) -> None:
    """With a custom context, the certificate must be valid. The error says how to trust an authority."""
    store = Store(mysql_server)
    if mysql_server.certificate_authority is None:
        pytest.skip("the server's certificate authority is not known")
    words = ["certificate", "ssl.create_default_context(cafile="]
    await refused(store.open(mysql_ssl=ssl.create_default_context()), RepositoryUnavailableException, *words)
    trusting = ssl.create_default_context(cafile=mysql_server.certificate_authority)
    # The server's self-made certificates have no name, and fail the strict checks of Python 3.13.
    trusting.check_hostname = False
    trusting.verify_flags &= ~ssl.VERIFY_X509_STRICT
    assert await cipher(store, mysql_ssl=trusting)
    await store.ask(f"DROP TABLE {store.table}, {store.table}_runs")


async def test_server_without_tls(mariadb_server: Server) -> None:
    store = Store(mariadb_server)
    if (await store.ask("SELECT @@have_ssl"))[0][0] == "YES":
        pytest.skip("this MariaDB speaks TLS")
    await refused(store.open(mysql_ssl=True), RepositoryUnavailableException, "TLS", "mysql_ssl")


@pytest.mark.parametrize("plugin", [b"client_ed25519", b"authentication_kerberos_client"])
async def test_authentication_methods_that_the_driver_lacks(plugin: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries would not help, so the error is not one of availability."""
    monkeypatch.setitem(sys.modules, "nacl", None)  # a library that one of them needs
    switch = b"\xfe" + plugin + b"\0" + b"s" * 32
    greeting = b"\x0a10.11.0-MariaDB\0" + b"\1\0\0\0" + b"s" * 8 + b"\0" + b"\xff\xf7\x2d\2\0\xff\x81\x15" + b"\0" * 10
    greeting += b"s" * 12 + b"\0mysql_native_password\0"

    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(len(greeting).to_bytes(3, "little") + b"\0" + greeting)
        await reader.read(1000)
        writer.write(len(switch).to_bytes(3, "little") + b"\2" + switch)
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        manager = mysql_repository(mysql_host="127.0.0.1", mysql_port=port, mysql_user="u", mysql_database="d")
        await refused(manager, RepositoryException, "log in", plugin.decode().removeprefix("client_"))
        await ended.wait()


async def test_a_server_that_requires_tls(start_server: StartServer) -> None:
    with start_server("mysql", "--require-secure-transport=ON") as server:
        store = Store(server)
        await refused(store.open(), RepositoryException, "mysql_ssl=True")
        assert await cipher(store, mysql_ssl=True)


@pytest.mark.parametrize("kind", ["mysql", "mariadb"])
async def test_a_server_with_replicas(start_server: StartServer, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """With a binary log in the server's default format, no statement is unsafe for replicas."""
    with start_server(kind, "--skip-skip-log-bin", "--log-bin=log", "--server-id=1") as server:
        store = Store(server)
        assert await store.ask("SELECT @@log_bin") == ((1,),)
        with caplog.at_level(logging.WARNING):
            async with store.open() as repository:
                await works(repository)
        assert not caplog.records


STRANGE = (
    "--sql-mode=ANSI,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH",
    "--transaction-isolation=SERIALIZABLE",
    "--autocommit=0",
    "--character-set-server=latin1",
    "--collation-server=latin1_swedish_ci",
    "--default-time-zone=+05:45",
    "--default-storage-engine=MyISAM",
    "--lower-case-table-names=0",
    "--innodb-lock-wait-timeout=50",
    "--max-sort-length=8",
    "--eq-range-index-dive-limit=1",
    "--init-connect=SET NAMES latin1; SET sql_select_limit=1, sql_safe_updates=1",
)


@pytest.mark.parametrize("kind", ["mysql", "mariadb"])
async def test_settings_of_the_server_do_not_matter(start_server: StartServer, kind: str) -> None:
    """Each session sets its own SQL modes, isolation, autocommit, character sets, time zone and engine."""
    options = [one for one in STRANGE if kind == "mysql" or "PAD_CHAR" not in one]
    if kind == "mariadb":
        options.append("--sql-mode=ANSI,NO_BACKSLASH_ESCAPES,ORACLE")
    with start_server(kind, *options) as server:
        store = Store(server)
        user = "CREATE USER plain@'%' IDENTIFIED BY 'pw'; GRANT ALL ON test.* TO plain@'%'; COMMIT"
        await store.ask(user)  # init-connect does not apply to administrators
        async with store.open(mysql_user="plain", mysql_password="pw") as repository:
            await works(repository)
            before = await repository.clock()
            names = ["a", "A", "a ", "\u00e4", "\\", "'", '"', "\\'", "\U0001f600", "x'41'", "--"]
            records = [record(name, locked_by=name, locked_until=-1) for name in names]
            assert await repository.swap([Change(None, one) for one in records]) == [Swap.APPLIED] * len(names)
            assert await repository.read([one.ref for one in records]) == records
            found = await repository.scan(TASK, after=None, limit=100)
            assert sorted(found, key=lambda one: names.index(one.key.removeprefix("task:"))) == records
            claims = [QueueClaim(TASK, 100, NOW + 1)]
            taken = await take(repository, claims, now=NOW, limit=100, token="t", holder="h")
            assert len(taken) == len(names)
            assert await repository.swap([Change(one, None) for one in records]) == [Swap.CONFLICT] * len(names)
            assert await repository.swap([Change(one, None) for one in taken]) == [Swap.APPLIED] * len(names)
            assert 0 <= int(await repository.clock() or 0) - int(before or 0) < 60_000_000
            (seconds,) = (await store.ask("SELECT UNIX_TIMESTAMP()"))[0]
            assert abs(int(before or 0) // 1_000_000 - seconds) < 60
