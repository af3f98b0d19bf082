"""Servers that end, hang, refuse and deadlock; calls that are given up. The repository goes on afterwards."""
# ruff: noqa: S608 - names of tables that the tests made themselves

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from pyncette.errors import RecordRefusedException, RepositoryException, RepositoryUnavailableException
from pyncette.mysql import connections, database
from pyncette.record import Change, Queue, QueueClaim, Record
from pyncette.repository import Repository
from tests.mysql_lab import Lab, Proxy
from tests.servers.model import Server
from tests.servers.plugin import StartServer

NOW = 1_800_000_000_000_000
MINUTE = 60_000_000
TASK = Queue("task")


def fresh() -> str:
    return uuid.uuid4().hex


def record(name: str, **fields: Any) -> Record:
    values: dict[str, Any] = {"due_at": NOW, "ready_at": NOW, "locked_until": None, "locked_by": None, "spec": "{}"}
    values |= {"revision": fresh(), "fence": 0, "attempt": 0} | fields
    return Record("task", f"task:{name}", **values)


def numbered(count: int) -> list[Record]:
    return [record(f"{n:05}") for n in range(count)]


async def insert(repository: Repository, records: list[Record]) -> None:
    assert await repository.swap([Change(None, one) for one in records]) == [True] * len(records)


def claim(repository: Repository, limit: int = 10, now: int = NOW) -> Awaitable[list[Record]]:
    token = fresh()
    claims = [QueueClaim(TASK, limit, now + MINUTE)]
    return repository.claim(claims, now=now, limit=limit, token=token, holder=token)


OURS = "FROM information_schema.processlist WHERE user = 'pyncette_client'"


@pytest.fixture
async def own(lab: Lab) -> dict[str, str]:
    """Options for a user that nobody else is, so that its connections can be counted."""
    await lab.ask(
        "CREATE USER IF NOT EXISTS pyncette_client@'%' IDENTIFIED BY 'pw'; GRANT ALL ON *.* TO pyncette_client@'%'"
    )
    return {"mysql_user": "pyncette_client", "mysql_password": "pw"}


async def connected(lab: Lab) -> int:
    return int((await lab.ask(f"SELECT COUNT(*) {OURS}"))[0][0])


async def transactions(lab: Lab) -> int:
    """How many transactions of ours are open."""
    return int(
        (
            await lab.ask(
                f"SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id IN (SELECT id {OURS})"
            )
        )[0][0]
    )


async def becomes(probe: Callable[[], Awaitable[int]], expected: int) -> None:
    """Wait until the server has noticed as well."""
    with anyio.fail_after(20):
        while await probe() != expected:  # noqa: ASYNC110 - the server tells nobody
            await anyio.sleep(0.02)


async def again(call: Callable[[], Awaitable[Any]]) -> Any:
    """Call until the server is there again."""
    with anyio.fail_after(30):
        while True:
            try:
                return await call()
            except RepositoryUnavailableException:
                await anyio.sleep(0.05)


async def test_one_round_trip_for_each_call(lab: Lab, proxy: Proxy) -> None:
    records = numbered(100)
    async with lab.open(mysql_port=proxy.port) as repository:
        await insert(repository, records)
        settled: list[Change] = []

        async def settle() -> None:
            outcomes = await repository.swap(settled)
            assert outcomes == [True] * 99 + [False]

        async def take() -> None:
            taken = await claim(repository, 99)
            settled[:] = [Change(one, record(one.key[5:], ready_at=NOW + MINUTE)) for one in taken[:50]]
            settled[50:] = [Change(one, None) for one in taken[50:]]
            settled.append(Change(records[0], None))

        statics = [QueueClaim(Queue(f"static {n}", static=True), 1, NOW + MINUTE) for n in range(500)]
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: repository.read([one.ref for one in records]),
            lambda: repository.scan(TASK, after=None, limit=100),
            lambda: repository.due([QueueClaim(TASK, 100, NOW)], now=NOW, limit=100),
            lambda: repository.next_ready([TASK, *(one.queue for one in statics)]),
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


async def test_connecting_is_quick(lab: Lab, proxy: Proxy) -> None:
    """A connection costs the handshake and one round trip for its settings."""
    async with lab.open():
        pass
    async with lab.open(mysql_port=proxy.port):
        assert proxy.round_trips <= 5  # up to three of them to log in, one to look at the table


async def test_lost_replies(lab: Lab, proxy: Proxy) -> None:
    """The connection ends while a call waits: the outcome is unknown, and the call is not repeated."""
    async with lab.open(mysql_port=proxy.port) as repository:
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


async def test_connections_that_the_server_ended(lab: Lab, own: dict[str, str]) -> None:
    """What the server closed while it was idle is noticed before it is used: no call fails."""
    async with lab.open(**own) as repository:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(repository.clock)
        for (number,) in await lab.ask(f"SELECT id {OURS}"):
            await lab.ask(f"KILL {number}")
        await becomes(lambda: connected(lab), 0)
        await anyio.sleep(0.05)  # the ends of the connections arrive
        await insert(repository, [record("one")])
        assert await connected(lab) == 1


async def test_connections_that_went_silent(lab: Lab, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was idle for long is tested before a call is entrusted to it."""
    monkeypatch.setattr(connections, "TESTED_WHEN_IDLE_SECONDS", 0.0)
    monkeypatch.setattr(connections, "PING_SECONDS", 0.2)
    async with lab.open(mysql_port=proxy.port) as repository:
        await insert(repository, [record("one")])
        proxy.forget()
        assert await repository.swap([Change(None, record("two"))]) == [True]


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("kind", ["mysql", "mariadb"])
async def test_restart(start_server: StartServer, kind: str, kill: bool) -> None:
    """The server ends under load and comes back: what was acknowledged is there, and the same repository works on."""
    with start_server(kind) as server:
        lab = Lab(server)
        async with lab.open() as repository:
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
            assert await repository.swap([Change(one, None) for one in taken]) == [True] * 200


async def test_server_that_hangs(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls end in time, so does closing, and everything works again afterwards."""
    monkeypatch.setattr(database, "CALL_SECONDS", 0.5)
    monkeypatch.setattr(connections, "CLOSE_SECONDS", 0.3)
    with start_server("mysql") as server:
        lab = Lab(server)
        async with lab.open(mysql_pool_size=3) as repository, lab.open(mysql_ssl=True) as closed_while_hanging:
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
                    await closed_while_hanging._database._connections.close()  # type: ignore[attr-defined]
            finally:
                server.resume()
            assert len(await again(lambda: repository.scan(TASK, after=None, limit=9))) == 5


async def unavailable(repository: Repository) -> None:
    with pytest.raises(RepositoryUnavailableException):
        await repository.clock()


async def test_deadlocks_are_retried(lab: Lab) -> None:
    """The server chose our transaction as the victim and undid it: the call does it again."""
    one, other = numbered(2)
    async with lab.open() as repository, lab.connect() as somebody:
        await insert(repository, [one, other, *(record(f"more {n}") for n in range(50))])
        # Has written more than the other, which makes that one the victim.
        await lab.send(somebody, f"START TRANSACTION; UPDATE {lab.table} SET attempt = 9 WHERE `key` LIKE 'task:more%'")
        await lab.send(somebody, f"UPDATE {lab.table} SET fence = 7 WHERE `key` = '{other.key}' AND queue = 'task'")
        before = await deadlocks(lab)
        outcome: list[bool] = []

        async def swap() -> None:
            outcome.extend(await repository.swap([Change(each, record(each.key[5:])) for each in (one, other)]))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(swap)
            await becomes(lambda: waiting(lab), 1)
            await lab.send(somebody, f"UPDATE {lab.table} SET fence = 7 WHERE `key` = '{one.key}' AND queue = 'task'")
            await lab.send(somebody, "COMMIT")
        assert outcome == [True, True]
        assert await deadlocks(lab) > before


async def test_batches_in_any_order_do_not_deadlock(lab: Lab) -> None:
    """All clients lock records in one order, whatever the order that they are given in."""
    async with lab.open() as one, lab.open() as other:
        current = numbered(200)
        await insert(one, current)
        before = await deadlocks(lab)
        for _ in range(15):
            won: list[Record] = []

            async def swap(repository: Repository, current: list[Record] = current, won: list[Record] = won) -> None:
                changes = [Change(each, record(each.key[5:])) for each in random.sample(current, len(current))]
                outcomes = await repository.swap(changes)
                won += [change.new for change, ok in zip(changes, outcomes, strict=True) if ok and change.new]

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(swap, one)
                tasks.start_soon(swap, other)
            assert sorted(each.key for each in won) == sorted(each.key for each in current)
            current = won
        assert await deadlocks(lab) == before


async def deadlocks(lab: Lab) -> int:
    if lab.server.kind == "mariadb":
        return int((await lab.ask("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'"))[0][1])
    return int(
        (await lab.ask("SELECT count FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'"))[0][0]
    )


async def waiting(lab: Lab) -> int:
    return int(
        (await lab.ask("SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"))[0][0]
    )


async def test_waits_for_locks_are_retried(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody holds a record for longer than the server lets others wait for it."""
    short = connections.SESSION.replace("innodb_lock_wait_timeout = 5", "innodb_lock_wait_timeout = 1")
    monkeypatch.setattr(connections, "SESSION", short)
    one, new = record("one"), record("one", attempt=3)
    async with lab.open() as repository, lab.connect() as somebody:
        await insert(repository, [one])
        await lab.send(somebody, f"START TRANSACTION; UPDATE {lab.table} SET fence = 7")

        async def swap() -> None:
            assert await repository.swap([Change(one, new)]) == [True]

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(swap)
            await anyio.sleep(1.6)
            await lab.send(somebody, "ROLLBACK")
        assert await repository.read([one.ref]) == [new]


async def test_locks_that_are_never_released(lab: Lab, own: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The call is given up in time; nothing of it is left on the server, and it has not been carried out."""
    monkeypatch.setattr(database, "CALL_SECONDS", 0.5)
    one = record("one")
    async with lab.open(**own) as repository, lab.connect() as somebody:
        await insert(repository, [one])
        await lab.send(somebody, f"START TRANSACTION; UPDATE {lab.table} SET fence = 7")
        with pytest.raises(RepositoryUnavailableException, match="in time"):
            await repository.swap([Change(one, record("one"))])
        # Reading, and claiming past the lock, go on meanwhile.
        assert await repository.read([one.ref]) == [one]
        assert await claim(repository) == []
        await becomes(lambda: transactions(lab), 0)
        await lab.send(somebody, "ROLLBACK")
        assert await repository.read([one.ref]) == [one]


async def test_cancelled_calls(lab: Lab, own: dict[str, str]) -> None:
    """Calls of all kinds, cancelled at any moment: no connection or transaction is left, nor more than the pool has."""
    async with lab.open(mysql_pool_size=4, **own) as repository:
        records = numbered(100)
        await insert(repository, records)
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: claim(repository),
            lambda: repository.swap([Change(one, record(one.key[5:])) for one in random.sample(records, 20)]),
            lambda: repository.read([one.ref for one in records]),
            lambda: repository.scan(TASK, after=None, limit=50),
            repository.clock,
        ]

        async def surplus() -> int:
            return max(0, await connected(lab) - 4)

        async def one_after_the_other() -> None:
            for _ in range(60):
                with anyio.move_on_after(random.uniform(0, 0.006)):
                    await random.choice(calls)()

        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(one_after_the_other)
        await becomes(lambda: transactions(lab), 0)
        assert len(await repository.scan(TASK, after=None, limit=200)) == 100
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(repository.clock)
        await becomes(surplus, 0)
    await becomes(lambda: connected(lab), 0)


async def test_errors_of_the_server_cost_no_connection(lab: Lab, own: dict[str, str]) -> None:
    """After an error the transaction is rolled back, and the connection used again."""
    one = record("one")
    async with lab.open(mysql_pool_size=1, **own) as repository:
        await insert(repository, [one])
        ids = await lab.ask(f"SELECT id {OURS}")
        with pytest.raises(RecordRefusedException, match="too long"):
            await repository.swap([Change(None, record("other")), Change(one, record("one", locked_by="x" * 300))])
        assert await transactions(lab) == 0
        assert await repository.scan(TASK, after=None, limit=9) == [one]
        assert await lab.ask(f"SELECT id {OURS}") == ids
        await lab.ask(f"RENAME TABLE {lab.table} TO {lab.table}_away")
        with pytest.raises(RepositoryException, match="doesn't exist") as caught:
            await claim(repository)
        assert type(caught.value) is RepositoryException
        await lab.ask(f"RENAME TABLE {lab.table}_away TO {lab.table}")
        assert len(await claim(repository)) == 1
        assert await lab.ask(f"SELECT id {OURS}") == ids


async def test_lone_surrogates_are_refused(lab: Lab) -> None:
    """They are no text; JSON as the application writes it has none."""
    async with lab.open() as repository:
        with pytest.raises(RecordRefusedException, match="surrogates"):
            await repository.swap([Change(None, record("one", spec='"\ud800"'))])
        await insert(repository, [record("one")])


@pytest.mark.parametrize("kind", ["mysql", "mariadb"])
async def test_the_largest_spec(start_server: StartServer, kind: str) -> None:
    """The error tells the largest size that is taken: so much is, one byte more is not, and others are not affected."""
    with start_server(kind, "--max-allowed-packet=2M") as server:
        async with Lab(server).open() as repository:
            with pytest.raises(RecordRefusedException, match="max_allowed_packet is 2097152") as caught:
                await repository.swap([Change(None, record("large", spec="x" * 2**22))])
            most = int(str(caught.value).partition("at most ")[2].split()[0])
            assert 1_000_000 < most < 2**20
            largest = record("large", spec="\u00fc" * (most // 2) + "x" * (most % 2))
            with pytest.raises(RecordRefusedException, match=f"take {most + 1} bytes"):
                await repository.swap([Change(None, record("large", spec=largest.spec + "x"))])
            await insert(repository, [record("small"), largest])
            (found,) = await repository.read([largest.ref])
            assert found == largest
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(repository.clock)
            changed = record("large", spec=largest.spec[:-20])
            assert await repository.swap([Change(largest, changed)]) == [True]
            assert {one.spec for one in await claim(repository)} == {"{}", changed.spec}


async def test_specs_of_many_packets(mysql_server: Server) -> None:
    """A record that is larger than one packet of the protocol, 16 MB."""
    lab = Lab(mysql_server)
    async with lab.open() as repository:
        one = record("one", spec="x" * (20 * 2**20))
        await insert(repository, [one])
        assert await repository.read([one.ref]) == [one]
        assert [each.spec for each in await claim(repository)] == [one.spec]
    await lab.ask(f"DROP TABLE {lab.table}")


async def test_event_loops_one_after_the_other(lab: Lab) -> None:
    """Nothing is bound to the first event loop that ran."""

    def use() -> int:
        async def main() -> int:
            async with lab.open() as repository:
                return await repository.clock() or 0

        return asyncio.run(main())

    assert 0 < await anyio.to_thread.run_sync(use) <= await anyio.to_thread.run_sync(use)
