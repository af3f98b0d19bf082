"""The server stops, restarts, refuses or is slow; calls are cancelled. Nothing leaks, and recovery is automatic."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from pyncette.errors import RecordRefusedException, RepositoryException, RepositoryUnavailableException
from pyncette.postgres import codec as columns
from pyncette.postgres import errors as failures
from pyncette.postgres import postgres_repository
from pyncette.postgres.connection import Background
from pyncette.record import Change, Record, Swap
from pyncette.repository import Repository
from pyncette.testing.contract.base import applied, take
from pyncette.testing.faults import at_checkpoint
from tests.helpers import postgres as helpers
from tests.helpers.postgres import NOW, TASK, Wire, eventually, fresh, record, want
from tests.servers.model import Server
from tests.servers.plugin import StartServer


@pytest.fixture
def table(postgres_server: Server) -> Iterator[str]:
    with helpers.table(postgres_server.url) as name:
        yield name


@asynccontextmanager
async def opened(server: Server, table: str, query: str = "", **options: Any) -> AsyncIterator[Repository]:
    url = f"{server.url}?application_name={table}{query}"
    async with postgres_repository(postgres_url=url, postgres_table_name=table, **options) as repository:
        yield repository


async def use_all_connections(repository: Repository) -> None:
    await asyncio.gather(*(repository.clock() for _ in range(30)))


@pytest.mark.parametrize("kill", [False, True])
async def test_restart(start_server: StartServer, kill: bool) -> None:
    """Acknowledged writes are there afterwards, and the first call works."""
    with start_server("postgres") as server:
        async with opened(server, "tasks") as repository:
            await use_all_connections(repository)
            records = [record(f"{number}") for number in range(100)]
            assert applied(await repository.swap([Change(None, one) for one in records]))
            await asyncio.to_thread(server.restart, kill=kill)
            assert await repository.read([one.ref for one in records]) == records


async def test_restart_under_load(start_server: StartServer) -> None:
    """Writers survive a crash: each call soon succeeds or reports that the outcome is unknown."""
    with start_server("postgres") as server:
        async with opened(server, "tasks") as repository:
            acknowledged: list[Record] = []
            unknown: list[Record] = []
            slowest = 0.0
            stop = asyncio.Event()

            async def write() -> None:
                nonlocal slowest
                while not stop.is_set():
                    one = record(fresh())
                    began = time.monotonic()
                    try:
                        assert await repository.swap([Change(None, one)]) == [Swap.APPLIED]
                        acknowledged.append(one)
                    except RepositoryUnavailableException:
                        unknown.append(one)
                        await asyncio.sleep(0.01)
                    slowest = max(slowest, time.monotonic() - began)

            async with asyncio.TaskGroup() as tasks:
                for _ in range(20):
                    tasks.create_task(write())
                await asyncio.sleep(0.5)
                await asyncio.to_thread(server.restart, kill=True)
                before = len(acknowledged)
                async with asyncio.timeout(10):
                    while len(acknowledged) < before + 200:  # noqa: ASYNC110 -- nothing reports it
                        await asyncio.sleep(0.01)
                stop.set()
            assert unknown
            assert slowest < 5
            assert await repository.read([one.ref for one in acknowledged]) == acknowledged


async def test_unreachable_server(start_server: StartServer, caplog: pytest.LogCaptureFixture) -> None:
    """Each call fails at once and logs nothing, since the caller does. Once the server is back, calls work."""
    with start_server("postgres") as server:
        async with opened(server, "tasks") as repository:
            await use_all_connections(repository)
            await asyncio.to_thread(server.stop, kill=True)
            began = time.monotonic()
            for _ in range(20):
                with pytest.raises(RepositoryUnavailableException) as caught:
                    await repository.clock()
                assert caught.value.__cause__ is not None
            assert time.monotonic() - began < 5
            await asyncio.to_thread(server.start)
            await use_all_connections(repository)
    assert caplog.records == []


async def test_sessions_that_an_administrator_ends(postgres_server: Server, table: str, other: Any) -> None:
    async with opened(postgres_server, table) as repository:
        for _ in range(3):
            await use_all_connections(repository)
            await other.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", table
            )
            await eventually(other, f"application_name = '{table}'", 0)
            await use_all_connections(repository)


async def test_session_that_ends_in_the_middle(postgres_server: Server, table: str, other: Any) -> None:
    one = record("one")
    async with opened(postgres_server, table) as repository:
        await repository.swap([Change(None, one)])
        await other.execute(f"BEGIN; LOCK TABLE {table}")
        swap = asyncio.create_task(repository.swap([Change(one, None)]))
        blocked = f"application_name = '{table}' AND wait_event_type = 'Lock'"
        await eventually(other, blocked, 1)
        await other.fetch(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {blocked}")  # noqa: S608 -- ours
        with pytest.raises(RepositoryUnavailableException, match="administrator"):
            await swap
        await other.execute("ROLLBACK")
        assert await repository.swap([Change(one, None)]) == [Swap.APPLIED]


async def test_time_limits_of_the_server(postgres_server: Server, table: str, other: Any) -> None:
    """They can be set in the URL. The statement is rolled back, and the connection is reused."""
    one = record("one")
    limits = "&statement_timeout=100&lock_timeout=0"
    async with opened(postgres_server, table, limits, postgres_pool_size=1) as repository:
        await repository.swap([Change(None, one)])
        await other.execute(f"BEGIN; LOCK TABLE {table}")
        with pytest.raises(RepositoryUnavailableException, match="timeout"):
            await repository.swap([Change(one, None)])
        await other.execute("ROLLBACK")
        assert await repository.swap([Change(one, None)]) == [Swap.APPLIED]


async def test_a_server_that_has_become_a_standby(postgres_server: Server, table: str, other: Any) -> None:
    """Its connections are closed, so that new ones can find the new primary (target_session_attrs=read-write)."""
    one = record("one")
    async with opened(postgres_server, table, postgres_pool_size=1) as repository:
        await repository.swap([Change(None, one)])
        name = await other.fetchval("SELECT current_database()")
        session = "SELECT pid FROM pg_stat_activity WHERE application_name = $1"
        before = await other.fetchval(session, table)
        await other.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        try:
            await other.fetch("SELECT pg_terminate_backend($1)", before)
            await eventually(other, f"application_name = '{table}'", 0)
            said = ""
            while "read-only transaction" not in said:  # the first call may only see that the session has ended
                with pytest.raises(RepositoryUnavailableException) as caught:
                    await repository.swap([Change(one, None)])
                said = str(caught.value)
        finally:
            await other.execute("SET default_transaction_read_only = off")
            await other.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        assert await repository.swap([Change(one, None)]) == [Swap.APPLIED]


async def test_too_many_connections(start_server: StartServer) -> None:
    with start_server("postgres", "-c", "max_connections=6", "-c", "superuser_reserved_connections=0") as server:
        async with opened(server, "tasks", postgres_pool_size=20) as repository:
            outcomes = await asyncio.gather(
                *(repository.swap([Change(None, record(f"{number}"))]) for number in range(20)), return_exceptions=True
            )
            refused = [one for one in outcomes if one != [Swap.APPLIED]]
            assert all(isinstance(one, RepositoryUnavailableException) for one in refused)
            assert await repository.clock() is not None


async def test_cancelled_calls_leave_no_session_and_no_lock(postgres_server: Server, table: str, other: Any) -> None:
    """Calls are cancelled at random moments, some while they wait for a lock, which others must then still get."""
    chance = random.Random(3)
    hot = record("hot")
    async with opened(postgres_server, table, postgres_pool_size=5) as repository:
        await repository.swap([Change(None, hot)])

        async def call(number: int) -> None:
            changes = [Change(hot, hot), Change(None, record(f"{number}-{fresh()}"))]
            calls = (
                lambda: repository.swap(changes),
                lambda: repository.claim(want(TASK), now=NOW, limit=1, token=fresh(), holder="me"),
                lambda: repository.scan(TASK, after=None, limit=10),
            )
            try:
                async with asyncio.timeout(chance.random() * 0.02):
                    await calls[number % 3]()
            except TimeoutError:
                return

        for round_ in range(12):
            if round_ % 3 == 0:
                await other.execute(f"BEGIN; SELECT FROM {table} WHERE key = 'task:hot' FOR UPDATE")
            await asyncio.gather(*(call(number) for number in range(40)))
            if round_ % 3 == 0:
                await eventually(other, f"application_name = '{table}' AND state <> 'idle'", 0)
                await other.execute("ROLLBACK")
        await use_all_connections(repository)
        await eventually(other, f"application_name = '{table}' AND state <> 'idle'", 0)
        await eventually(other, f"application_name = '{table}'", 5)
    await eventually(other, f"application_name = '{table}'", 0)


@pytest.mark.parametrize("cache_size", [0, 100])
async def test_cancelled_at_any_step(postgres_server: Server, table: str, other: Any, cache_size: int) -> None:
    """On a new connection, which prepares the statement first, and on a used one: no transaction stays open."""
    url = f"{postgres_server.url}?application_name={table}"
    reached = True
    step = 0
    while reached:
        step += 1
        reached = False
        async with postgres_repository(
            postgres_url=url,
            postgres_table_name=table,
            postgres_pool_size=1,
            postgres_statement_cache_size=cache_size,
        ) as repository:
            for _ in range(2):
                with anyio.CancelScope() as scope:
                    await at_checkpoint(step, scope.cancel, repository.read([record("one").ref]))
                reached |= scope.cancel_called
                await eventually(other, f"application_name = '{table}' AND state <> 'idle'", 0)
            assert await repository.clock() is not None
    assert step > 2


async def test_a_statement_whose_client_has_gone(postgres_server: Server, table: str, other: Any) -> None:
    """If the request to cancel it does not get through, lock_timeout limits how long it waits for a lock."""
    one = record("one")
    async with Wire(postgres_server.url) as wire:
        url = f"{wire.url}&application_name={table}&lock_timeout=1000"
        async with postgres_repository(postgres_url=url, postgres_table_name=table) as repository:
            await repository.swap([Change(None, one)])
            await other.execute(f"BEGIN; LOCK TABLE {table}")
            swap = asyncio.create_task(repository.swap([Change(one, None)]))
            await eventually(other, f"application_name = '{table}' AND wait_event_type = 'Lock'", 1)
            wire.cut()
            with pytest.raises(RepositoryUnavailableException):
                await swap
            await eventually(other, f"application_name = '{table}'", 0)
            await other.execute("ROLLBACK")
            assert await repository.read([one.ref]) == [one]


async def test_records_that_the_server_will_never_accept(postgres_server: Server, table: str) -> None:
    async with opened(postgres_server, table) as repository:
        for spec in ("\0", "\ud800"):
            with pytest.raises(RecordRefusedException, match="can't take a record"):
                await repository.swap([Change(None, record("one", spec=spec))])
        with pytest.raises(RecordRefusedException, match="can't take a record"):
            await repository.swap([Change(None, record("one", ready_at=2**63))])
        assert await repository.swap([Change(None, record("one"))]) == [Swap.APPLIED]


async def test_an_oversized_record(postgres_server: Server, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size is counted in bytes, and the error names it."""
    for module in (columns, failures):
        monkeypatch.setattr(module, "LARGEST_SPEC", 1000)
    async with opened(postgres_server, table) as repository:
        with pytest.raises(RecordRefusedException, match=r"'task:one' has 1,002 bytes.*may have 1,000 bytes"):
            await repository.swap([Change(None, record("two")), Change(None, record("one", spec="ü" * 501))])
        one = record("one", spec="ü" * 500)
        assert await repository.swap([Change(None, one)]) == [Swap.APPLIED]
        assert await repository.read([one.ref]) == [one]


async def test_the_largest(postgres_server: Server, table: str) -> None:
    """A record of the largest size is stored, claimed and read."""
    one = record("one", spec="x" * failures.LARGEST_SPEC)
    async with opened(postgres_server, table) as repository:
        assert await repository.swap([Change(None, one)]) == [Swap.APPLIED]
        (taken,) = await take(repository, want(TASK), now=NOW, limit=1, token=fresh(), holder="me")
        assert taken.spec == one.spec
        assert await repository.swap([Change(taken, None)]) == [Swap.APPLIED]


async def test_a_table_that_is_dropped_while_in_use(postgres_server: Server, table: str, other: Any) -> None:
    async with opened(postgres_server, table) as repository:
        await other.execute(f"DROP TABLE {table}")
        assert await repository.clock() is not None
        with pytest.raises(RepositoryException, match="the table is gone") as caught:
            await repository.read([record("one").ref])
        assert not isinstance(caught.value, RepositoryUnavailableException)


async def test_background_jobs_end_at_the_deadline_of_the_caller_that_waits_for_them() -> None:
    """Even if others have ended before, in whichever order."""
    jobs = Background()
    hanging = jobs.start(asyncio.sleep(3600))
    ended = [jobs.start(asyncio.sleep(0.01)) for _ in range(20)]
    with anyio.move_on_after(0.2) as scope:
        await jobs.ended()
    assert scope.cancelled_caught
    assert hanging.cancelled()
    assert all(job.done() and not job.cancelled() for job in ended)
