"""A single server: round trips, restarts, hangs, lost connections."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pyncette import Context, Pyncette
from pyncette._leases import workers
from pyncette.errors import RepositoryUnavailableException
from pyncette.record import Change, Count, Queue, Record, Swap
from pyncette.redis import redis_repository
from pyncette.redis.settings import DEFAULT_CONNECTIONS
from pyncette.repository import Repository
from pyncette.testing.contract.base import (
    MINUTE,
    NOW,
    TASK,
    all_of,
    fresh,
    insert,
    next_ready,
    numbered,
    record,
    static,
    stored,
)
from tests.helpers.redis import claim, opened, settled
from tests.servers.model import Server
from tests.servers.plugin import StartServer
from tests.servers.redis import command

TIMEOUT = 0.5


@pytest.fixture
def durable(start_server: StartServer) -> Iterator[Server]:
    """A server that keeps what it acknowledged. With ``everysec``, even a crash of the process can lose two seconds."""
    with start_server("redis", "--appendfsync", "always") as server:
        yield server


def calls(server: Server) -> dict[str, int]:
    """How often each command has been executed since the statistics were reset, including within scripts."""
    lines = command(server.port, "INFO", "commandstats").splitlines()[1:]
    return {name.removeprefix("cmdstat_"): int(rest.split("=")[1].split(",")[0]) for name, rest in map(_halves, lines)}


def _halves(line: str) -> tuple[str, str]:
    name, _, rest = line.partition(":")
    return name, rest


def connections(server: Server) -> int:
    return len(command(server.port, "CLIENT", "LIST", "TYPE", "NORMAL").splitlines()) - 1


async def closed(server: Server) -> None:
    """Wait until the server has noticed that all connections are closed."""
    async with asyncio.timeout(10):
        while connections(server):  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.01)


async def test_round_trips(server: Server) -> None:
    """Each call is one script, even for many queues. A queue that is new to the process is inspected once."""
    queues = [*(Queue(f"static{n}", static=True) for n in range(500)), *(Queue(f"task{n}") for n in range(20))]
    async with opened(server) as repository:
        await insert(repository, [static(queue.name) for queue in queues[:500]])
        await insert(repository, [one for queue in queues[500:] for one in numbered(10, queue.name)])
        assert calls(server)["exists"] == 3  # one of them for the 20 dynamic queues
        command(server.port, "CONFIG", "RESETSTAT")
        taken = await claim(repository, *queues, limit=1000)
        assert len(taken) == 700
        assert calls(server)["evalsha"] == 1
        mixed = [*settled(taken[:300]), *(Change(one, None) for one in taken[300:])]
        mixed += [Change(None, one) for one in numbered(300, "task3", step=7)[:-10]]
        assert await repository.swap(mixed)
        assert calls(server)["evalsha"] == 2
        await stored(repository, taken)
        assert calls(server)["evalsha"] == 3
        await next_ready(repository, queues, after=NOW)
        assert calls(server)["evalsha"] == 4
        await repository.scan(Queue("task3"), after=None, limit=200)
        assert calls(server)["evalsha"] == 5
        await repository.scan_ready(Queue("task3"), limit=200)
        assert calls(server)["evalsha"] == 6
        assert await repository.count(Queue("task3")) == Count(280, exact=True)
        assert len(await repository.queues(after=None, limit=1000)) == 520
        await repository.clock()
        assert calls(server)["time"] == 2  # the second one is part of `look`
    inside_scripts = {
        "hmget",
        "hset",
        "hdel",
        "zadd",
        "zrem",
        "zcount",
        "zmscore",
        "zrangebyscore",
        "zrangebylex",
        "zrange",
    }
    assert set(calls(server)) - inside_scripts == {"evalsha", "time", "info", "config|resetstat"}


async def test_look_is_one_round_trip(server: Server) -> None:
    """It returns the next moment, records, and the server's time."""
    one, other = static("static", ready_at=NOW + 5), record(ready_at=NOW + 3)
    async with opened(server) as repository:
        await insert(repository, [one, other])
        command(server.port, "CONFIG", "RESETSTAT")
        found = await repository.look([TASK, Queue("static", static=True)], [other.ref, record("none").ref, one.ref])
        assert (found.next_ready, found.records) == (NOW + 3, [other, None, one])
        seconds, micros = command(server.port, "TIME")
        assert found.now is not None
        assert 0 <= int(seconds) * 1_000_000 + int(micros) - found.now < 5_000_000
        assert (await repository.look([], [])).now is not None
        assert calls(server)["evalsha"] == 2


async def test_pages_of_one_moment(server: Server) -> None:
    """Each page costs the same, wherever it begins, even after a record that has been deleted."""
    async with opened(server) as repository:
        records = [record(name=f"{n:05}", ready_at=NOW) for n in range(5000)]
        for first in range(0, 5000, 1000):
            await insert(repository, records[first : first + 1000])
        names = [record(name=name, ready_at=NOW) for name in ("a", "B", "ab", "Ä", "ä", "a\U0001f600", "~")]
        await insert(repository, names)
        everything = sorted([*records, *names], key=lambda each: each.key.encode())
        for start in (0, 2500, 4999, 5003):
            before = everything[start]
            for gone in (False, True):
                if gone:
                    (found,) = await stored(repository, [before])
                    assert found is not None
                    assert await repository.swap([Change(found, None)]) == [Swap.APPLIED]
                command(server.port, "CONFIG", "RESETSTAT")
                page = await repository.scan_ready(TASK, after=(NOW, before.key), limit=3)
                assert page == everything[start + 1 : start + 4]
                inside = calls(server)
                assert inside.get("zrange", 0) <= 15
                assert not inside.keys() & {"zrangebyscore", "zrangebylex"}
        assert await repository.scan_ready(TASK, since=NOW + 1, after=(NOW, everything[9].key), limit=3) == []


async def test_idle_calls_are_cheap(server: Server) -> None:
    """With 500 static tasks and 100,000 instances that are not due, a poll is two scripts that touch no record."""
    queues = [*(Queue(f"static{n}", static=True) for n in range(500)), TASK]
    async with opened(server) as repository:
        await insert(repository, [static(queue.name, ready_at=NOW + MINUTE) for queue in queues[:-1]])
        for start in range(0, 100_000, 1000):
            await insert(repository, [record(name=str(start + n), ready_at=NOW + MINUTE + n) for n in range(1000)])
        command(server.port, "CONFIG", "RESETSTAT")
        for _ in range(10):
            assert await claim(repository, *queues) == []
            assert await next_ready(repository, queues) == NOW + MINUTE
    counted = calls(server)
    assert counted["evalsha"] == 20
    assert counted["zcount"] == 10  # one for all static tasks
    assert counted["zmscore"] == 10
    assert "hmget" not in counted
    assert "zadd" not in counted


async def test_a_claim_touches_only_what_it_takes(server: Server) -> None:
    async with opened(server) as repository:
        await insert(repository, numbered(1000))
        command(server.port, "CONFIG", "RESETSTAT")
        assert len(await claim(repository, limit=5)) == 5
    counted = calls(server)
    assert (counted["zrangebyscore"], counted["hmget"], counted["hset"], counted["zadd"]) == (1, 1, 1, 1)


async def test_large_batches_are_several_scripts_in_one_round_trip(server: Server) -> None:
    large = [record(name=f"{n:02}", spec="x" * 400_000) for n in range(50)]
    async with opened(server) as repository:
        await insert(repository, [record("other")])
        command(server.port, "CONFIG", "RESETSTAT")
        await insert(repository, large)
        assert calls(server)["evalsha"] == 1 + 3  # one for the queue's name, the others with 8 MiB of records each
        assert await all_of(repository, TASK) == large


async def test_scripts_that_the_server_has_forgotten(server: Server) -> None:
    async with opened(server) as repository:
        await insert(repository, numbered(10))
        for _ in range(3):
            command(server.port, "SCRIPT", "FLUSH")
            taken = await claim(repository, limit=3)
            assert len(taken) == 3
            command(server.port, "SCRIPT", "FLUSH")
            assert await repository.swap(settled(taken)) == [Swap.APPLIED] * 3
            command(server.port, "SCRIPT", "FLUSH")
            results = await asyncio.gather(*(stored(repository, taken) for _ in range(20)))
            assert all(result == results[0] for result in results)


@pytest.mark.parametrize("kill", [False, True])
async def test_restart(durable: Server, kill: bool) -> None:
    """While the server is down, all calls fail at once; afterwards the same repository works, and nothing is lost."""
    server = durable
    async with opened(server) as repository:
        records = numbered(20)
        await insert(repository, records)
        await asyncio.gather(*(stored(repository, records) for _ in range(8)))  # several connections are open
        server.stop(kill=kill)
        for _ in range(3):
            with pytest.raises(RepositoryUnavailableException, match="can't be reached"):
                await stored(repository, records)
            with pytest.raises(RepositoryUnavailableException):
                await claim(repository)
        server.start()
        assert await asyncio.gather(*(stored(repository, records) for _ in range(8))) == [records] * 8
        assert len(await claim(repository)) == 20


class Writers:
    """Each writer rewrites its own record again and again, and knows at any time what may be stored."""

    def __init__(self) -> None:
        self.stop = False
        self.kept: dict[str, Record] = {}
        self.failures = 0

    async def write(self, repository: Repository, number: int) -> None:
        current: Record | None = None
        unanswered: set[Record] = (
            set()
        )  # one of them may still replace the current one, since the server may read it late
        while unanswered or not self.stop:
            new = record(name=str(number), spec=fresh())
            try:
                (swap,) = await repository.swap([Change(current, new)])
            except RepositoryUnavailableException:
                self.failures += 1
                unanswered.add(new)
            else:
                if swap is Swap.APPLIED:
                    current, unanswered = new, set()
                    continue
                assert unanswered
            found = await self._found(repository, new)
            assert found in {current, *unanswered}
            if found != current:
                current, unanswered = found, set()
        assert current is not None
        self.kept[current.key] = current

    @staticmethod
    async def _found(repository: Repository, one: Record) -> Record | None:
        while True:
            await asyncio.sleep(0.01)
            with suppress(RepositoryUnavailableException):
                (found,) = await repository.read([one.ref])
                return found


async def test_restart_under_load(durable: Server) -> None:
    """An acknowledged write is stored; one without an answer either took place or did not; no call hangs."""
    writers = Writers()
    async with opened(durable, redis_timeout=TIMEOUT) as repository, asyncio.timeout(60):
        async with asyncio.TaskGroup() as tasks:
            for number in range(30):
                tasks.create_task(writers.write(repository, number))
            for kill in (True, False, True):
                await asyncio.sleep(0.3)
                await asyncio.to_thread(durable.restart, kill=kill)
            await asyncio.sleep(0.3)
            writers.stop = True
        assert writers.failures >= 3
        assert {one.key: one for one in await all_of(repository, TASK)} == writers.kept


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], ids=["uvloop"])
async def test_restart_on_uvloop(durable: Server, anyio_backend: object) -> None:
    pytest.importorskip("uvloop")
    await test_restart_under_load(durable)
    command(durable.port, "FLUSHALL")
    await test_restart(durable, kill=True)


async def test_static_tasks_outlive_a_server_that_forgets_everything(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server without persistence comes back empty: they are stored again, even if no call has failed."""
    monkeypatch.setattr(workers, "RENEWAL", 500_000)
    runs: asyncio.Queue[None] = asyncio.Queue()
    with start_server("redis", "--appendonly", "no") as server:
        app = Pyncette(server.url, redis_timeout=TIMEOUT, poll_interval=datetime.timedelta(milliseconds=100))

        @app.task(interval=datetime.timedelta(seconds=1))
        async def task(context: Context) -> None:
            runs.put_nowait(None)

        async with app.create() as context, asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(context.run())
            await runs.get()
            await asyncio.to_thread(server.restart, kill=True)
            for _ in range(3):
                await runs.get()
            context.shutdown()


async def test_server_that_hangs(server: Server) -> None:
    """A call ends after ``redis_timeout``, and a late answer is discarded."""
    async with opened(server, redis_timeout=TIMEOUT) as repository:
        records = numbered(5)
        await insert(repository, records)
        server.pause()
        try:
            started = time.monotonic()
            with pytest.raises(RepositoryUnavailableException, match=r"did not answer within 0.5 s"):
                await repository.read([records[0].ref])
            assert time.monotonic() - started < 3 * TIMEOUT
            results = await asyncio.gather(
                *(stored(repository, records) for _ in range(40)), return_exceptions=True
            )  # including calls that wait for a connection
            assert all(isinstance(result, RepositoryUnavailableException) for result in results)
            assert time.monotonic() - started < 6 * TIMEOUT
        finally:
            server.resume()
        assert await stored(repository, records[1:3]) == records[1:3]
        assert await asyncio.gather(*(stored(repository, [one]) for one in records)) == [[one] for one in records]


async def test_cancelled_while_the_server_hangs(server: Server) -> None:
    """The late answer to a cancelled call is not mistaken for that of another, and no connection is lost."""
    async with opened(server) as repository:
        records = numbered(40)
        await insert(repository, records)
        for _ in range(5):
            server.pause()
            tasks = [asyncio.create_task(stored(repository, [one])) for one in records]
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)
            server.resume()
            assert await asyncio.gather(*(stored(repository, [one]) for one in records)) == [[one] for one in records]
        assert connections(server) <= DEFAULT_CONNECTIONS
    await closed(server)


async def test_connections_are_bounded(server: Server) -> None:
    async with opened(server) as repository:
        one = record()
        await insert(repository, [one])
        assert await asyncio.gather(*(stored(repository, [one]) for _ in range(500))) == [[one]] * 500
        assert 1 < connections(server) <= DEFAULT_CONNECTIONS
    async with redis_repository(redis_url=f"{server.url}?max_connections=2") as repository:
        await asyncio.gather(*(stored(repository, [one]) for _ in range(100)))
        assert connections(server) == 2
    await closed(server)


async def test_connections_that_the_server_closed(server: Server) -> None:
    """Servers close idle connections; that is noticed before a connection is reused."""
    async with opened(server) as repository:
        one = record()
        await insert(repository, [one])
        for _ in range(3):
            await asyncio.gather(*(stored(repository, [one]) for _ in range(20)))
            command(server.port, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(0.1)  # until the client sees the connections close
            assert await asyncio.gather(*(stored(repository, [one]) for _ in range(20))) == [[one]] * 20


async def test_unix_socket(start_server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with start_server("redis", "--unixsocket", str(path)):
        async with redis_repository(redis_url=f"unix://{path}?db=3") as repository:
            one = record()
            await insert(repository, [one])
            assert await stored(repository, [one]) == [one]


async def test_replica_at_run_time(server: Server) -> None:
    """A server that has become a replica is not used, since it may lack what was acknowledged elsewhere."""
    async with opened(server) as repository:
        one = record()
        await insert(repository, [one])
        command(server.port, "REPLICAOF", "127.0.0.1", "1")
        for call in (lambda: repository.read([one.ref]), lambda: claim(repository), lambda: insert(repository, [one])):
            with pytest.raises(RepositoryUnavailableException, match="replica"):
                await call()
        await closed(server)  # by then, the name may resolve to the new master
        command(server.port, "REPLICAOF", "NO", "ONE")
        assert await stored(repository, [one]) == [one]
