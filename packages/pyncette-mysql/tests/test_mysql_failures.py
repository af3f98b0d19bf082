"""Servers and connections that stop, hang or lose state: the repository recovers by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NoReturn

import anyio
import pytest

from pyncette.errors import RepositoryUnavailableException
from pyncette.mysql import MySQLRepository, connection
from pyncette.record import Change, Queue, QueueClaim, Record, Swap
from pyncette.repository import Repository
from tests.helpers.mysql import MINUTE, NOW, TASK, Proxy, Store, becomes, claim, insert, numbered, record
from tests.servers.plugin import StartServer


async def again(call: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat a call until the server is back."""
    with anyio.fail_after(30):
        while True:
            try:
                return await call()
            except RepositoryUnavailableException:
                await anyio.sleep(0.05)


async def test_one_round_trip_for_each_call(store: Store, proxy: Proxy) -> None:
    records = numbered(100)
    async with store.open(mysql_port=proxy.port) as repository:
        await insert(repository, records)
        settled: list[Change] = []

        async def settle() -> None:
            outcomes = await repository.swap(settled)
            assert outcomes == [Swap.APPLIED] * 99 + [Swap.CONFLICT]

        async def take() -> None:
            taken = await claim(repository, 99)
            settled[:] = [Change(one, record(one.key[5:], ready_at=NOW + MINUTE)) for one in taken[:50]]
            settled[50:] = [Change(one, None) for one in taken[50:]]
            settled.append(Change(records[0], None))

        statics = [QueueClaim(Queue(f"static {n}", static=True), 1, NOW + MINUTE) for n in range(500)]
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: repository.read([one.ref for one in records]),
            lambda: repository.scan(TASK, after=None, limit=100),
            lambda: repository.scan_ready(TASK, limit=100),
            lambda: repository.look([TASK, *(one.queue for one in statics)], [one.ref for one in records]),
            lambda: repository.queues(after=None, limit=9),
            lambda: repository.count(TASK),
            repository.clock,
            lambda: repository.claim([*statics, QueueClaim(TASK, 0, NOW)], now=NOW, limit=9, token="t", holder="h"),
            take,
            settle,
            lambda: repository.swap([Change(None, one) for one in records]),
        ]
        for call in calls:
            before = proxy.round_trips
            await call()
            assert proxy.round_trips == before + 1
        many = [QueueClaim(Queue(f"task {n}"), 5, NOW + MINUTE) for n in range(100)]
        before = proxy.round_trips
        assert await repository.claim(many, now=NOW, limit=9, token="t", holder="h") == []
        assert proxy.round_trips == before + 1


async def test_round_trips_of_a_new_connection(store: Store, proxy: Proxy) -> None:
    """A connection costs the handshake and one round trip for its settings."""
    async with store.open():
        pass
    async with store.open(mysql_port=proxy.port):
        assert proxy.round_trips <= 5  # up to three for logging in, one for the settings, one for checking the table


async def test_lost_replies(store: Store, proxy: Proxy) -> None:
    """The connection ends while a call waits: the outcome is unknown, and the call is not repeated."""
    async with store.open(mysql_port=proxy.port) as repository:
        first, second = record("one"), record("one", attempt=1)
        await insert(repository, [first])
        proxy.lose_replies = True
        for call in (
            lambda: repository.swap([Change(first, second)]),
            lambda: claim(repository),
            lambda: repository.read([first.ref]),
            repository.clock,
        ):
            with pytest.raises(RepositoryUnavailableException) as caught:
                await call()
            assert caught.value.__cause__ is not None
        proxy.lose_replies = False
        (found,) = await repository.read([first.ref])
        assert found is not None
        assert found.revision in (first.revision, second.revision) or found.attempt == 2
        assert found.attempt <= 2


async def test_idle_connections_that_the_server_has_closed(store: Store) -> None:
    """Connections that the server has closed while they were idle are noticed before they are used: no call fails."""
    async with store.open(**await store.own_user()) as repository:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(repository.clock)
        for number in await store.own_connections():
            await store.ask(f"KILL {number}")
        await becomes(store.connected, 0)
        await anyio.sleep(0.05)  # until the client sees the connections close
        await insert(repository, [record("one")])
        assert await store.connected() == 1


async def test_a_cancelled_app_closes_its_connections_cleanly(store: Store) -> None:
    """Otherwise the server would log aborted connections. The cancellation reaches the scope that caused it."""
    aborted = await store.ask("SHOW GLOBAL STATUS LIKE 'Aborted_clients'")
    user = await store.own_user()
    with anyio.CancelScope() as scope:
        async with store.open(**user) as repository:
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(repository.clock)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    await becomes(store.connected, 0)
    assert await store.ask("SHOW GLOBAL STATUS LIKE 'Aborted_clients'") == aborted


async def test_connections_that_went_silent(store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that has been idle for long is tested before a call uses it."""
    monkeypatch.setattr(connection, "TESTED_WHEN_IDLE_SECONDS", 0.0)
    monkeypatch.setattr(connection, "PING_SECONDS", 0.2)
    async with store.open(mysql_port=proxy.port) as repository:
        await insert(repository, [record("one")])
        proxy.forget()
        assert await repository.swap([Change(None, record("two"))]) == [Swap.APPLIED]


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("kind", ["mysql", "mariadb"])
async def test_restart(start_server: StartServer, kind: str, kill: bool) -> None:
    """The server stops under load and comes back: acknowledged writes are there, and the same repository works."""
    with start_server(kind) as server:
        store = Store(server)
        async with store.open() as repository:
            known: dict[str, Record] = {one.key: one for one in numbered(200)}
            await insert(repository, list(known.values()))
            uncertain: dict[str, set[str]] = {}
            failures = 0
            done = anyio.Event()

            async def rewrite(share: int) -> None:
                nonlocal failures
                mine = [key for n, key in enumerate(known) if n % 4 == share]
                while not done.is_set():
                    changes = [Change(known[key], record(key[5:], attempt=known[key].attempt + 1)) for key in mine]
                    try:
                        outcomes = await repository.swap(changes)
                    except RepositoryUnavailableException:
                        failures += 1
                        uncertain.update(
                            {c.ref.key: {c.old.revision, c.new.revision} for c in changes if c.old and c.new}
                        )
                        return
                    assert all(outcomes)
                    known.update({c.ref.key: c.new for c in changes if c.new})

            async with anyio.create_task_group() as tasks:
                for share in range(4):
                    tasks.start_soon(rewrite, share)
                await anyio.sleep(0.3)
                await anyio.to_thread.run_sync(lambda: server.restart(kill=kill))
                done.set()
            assert failures
            found = await again(lambda: repository.read([one.ref for one in known.values()]))
            for key, one in zip(known, found, strict=True):
                assert one.revision in uncertain.get(key, {known[key].revision})
            taken = await again(lambda: claim(repository, 200))
            assert len(taken) == 200
            assert await repository.swap([Change(one, None) for one in taken]) == [Swap.APPLIED] * 200


async def test_server_that_hangs(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls and closing time out, and everything works again afterwards."""
    monkeypatch.setattr(connection, "CALL_SECONDS", 0.5)
    monkeypatch.setattr(connection, "CLOSE_SECONDS", 0.3)
    with start_server("mysql") as server:
        store = Store(server)
        async with store.open(mysql_pool_size=3) as repository, store.open(mysql_ssl=True) as closed_while_hanging:
            await insert(repository, numbered(5))
            server.pause()
            try:
                for call in (
                    repository.clock,
                    lambda: claim(repository),
                    lambda: repository.scan(TASK, after=None, limit=1),
                ):
                    with anyio.fail_after(5), pytest.raises(RepositoryUnavailableException, match="in time"):
                        await call()
                with anyio.fail_after(5):
                    async with anyio.create_task_group() as tasks:
                        for _ in range(12):
                            tasks.start_soon(unavailable, repository)
                with anyio.fail_after(2):
                    assert isinstance(closed_while_hanging, MySQLRepository)
                    assert isinstance(closed_while_hanging._database, connection.Database)
                    await closed_while_hanging._database._connections.close()
            finally:
                server.resume()
            assert len(await again(lambda: repository.scan(TASK, after=None, limit=9))) == 5


async def test_a_driver_that_loses_a_cancellation(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call still times out."""

    async def log_in(settings: object) -> NoReturn:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)
        raise AssertionError("was not cancelled again")

    monkeypatch.setattr(connection, "CALL_SECONDS", 0.2)
    async with store.open() as repository:
        assert isinstance(repository, MySQLRepository)
        assert isinstance(repository._database, connection.Database)
        repository._database._connections._drop_idle()
        monkeypatch.setattr(connection, "_log_in", log_in)
        with anyio.fail_after(5), pytest.raises(RepositoryUnavailableException, match="in time"):
            await repository.clock()


async def unavailable(repository: Repository) -> None:
    with pytest.raises(RepositoryUnavailableException):
        await repository.clock()


async def test_several_event_loops_in_sequence(store: Store) -> None:
    """Nothing is bound to the first event loop."""

    def use() -> int:
        async def main() -> int:
            async with store.open() as repository:
                return await repository.clock() or 0

        return asyncio.run(main())

    assert 0 < await anyio.to_thread.run_sync(use) <= await anyio.to_thread.run_sync(use)
