"""Sentinel: planned and unplanned failovers."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from pyncette import lease
from pyncette.errors import RepositoryUnavailableException
from pyncette.record import Swap
from pyncette.repository import Repository
from pyncette.testing.contract.base import (
    MINUTE,
    NOW,
    SECOND,
    TASK,
    all_of,
    fresh,
    insert,
    numbered,
    record,
    stored,
    take,
    want,
)
from tests.helpers.redis import LONGEST_WAIT, claim, opened, settled, until_it_works
from tests.servers.model import Server
from tests.servers.plugin import StartServer
from tests.servers.redis import command

TIMEOUT = 2


pytestmark = pytest.mark.timeout(300)  # on a slow machine, a failover takes half a minute longer


@pytest.fixture
def sentinels(start_server: StartServer) -> Iterator[Server]:
    """A set of servers of the test's own, to break as it likes."""
    with start_server("redis-sentinel") as sentinels:
        yield sentinels


def master(sentinels: Server) -> Server:
    """The master according to the sentinels."""
    _, port = command(sentinels.sentinels[-1].port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinels.service or "")
    return next(node for node in sentinels.nodes if node.port == int(port))


async def caught_up(sentinels: Server) -> None:
    """Wait until the replica has caught up."""

    def offsets() -> set[str]:
        infos = [command(node.port, "INFO", "replication") for node in sentinels.nodes]
        return {re.findall(r"(?:master|slave)_repl_offset:(\d+)", info)[0] for info in infos}

    await until(lambda: len(offsets()) == 1)


async def claimed(repository: Repository, limit: int, now: int = NOW) -> int:
    """How many records are claimed once the storage is back. Claims, since the old master still answers reads."""
    async with asyncio.timeout(LONGEST_WAIT):
        while True:
            try:
                return len(await claim(repository, limit=limit, now=now))
            except RepositoryUnavailableException:
                await asyncio.sleep(0.05)


async def until(condition: Callable[[], bool]) -> None:
    """Retried, because a server that becomes a replica closes its connections."""
    async with asyncio.timeout(LONGEST_WAIT):
        while True:
            with suppress(ConnectionError):
                if condition():
                    return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("how", ["killed", "hanging"])
async def test_failover(sentinels: Server, how: str) -> None:
    """Calls fail while there is no master. Then the same repository works with the new one and finds what was
    replicated. It does not write to the old master, which still claims to be one when it returns."""
    async with opened(sentinels, redis_timeout=TIMEOUT) as repository:
        records = numbered(50)
        await insert(repository, records)
        await asyncio.gather(*(stored(repository, records) for _ in range(10)))  # all connections are open
        await caught_up(sentinels)
        old = master(sentinels)
        old.pause() if how == "hanging" else old.stop(kill=True)
        with pytest.raises(RepositoryUnavailableException):
            await stored(repository, records)
        await until(lambda: master(sentinels) is not old)
        assert await until_it_works(repository, records) == records
        assert command(master(sentinels).port, "ROLE")[0] == "master"
        new = await claim(repository, limit=50)
        assert len(new) == 50
        old.resume() if how == "hanging" else old.start()
        assert await asyncio.gather(*(until_it_works(repository, new) for _ in range(10))) == [new] * 10
        assert await repository.swap(settled(new)) == [Swap.APPLIED] * 50


async def test_planned_failover(sentinels: Server) -> None:
    """The old master keeps answering until it is demoted; the repository follows with at most one error."""
    async with opened(sentinels, redis_timeout=TIMEOUT) as repository:
        records = numbered(50)
        await insert(repository, records)
        await caught_up(sentinels)
        old = master(sentinels)
        await asyncio.to_thread(command, sentinels.sentinels[0].port, "SENTINEL", "FAILOVER", sentinels.service or "")
        await until(lambda: command(old.port, "ROLE")[0] == "slave")
        assert await until_it_works(repository, records) == records
        assert await claimed(repository, limit=50) == 50
        assert await claimed(repository, limit=9, now=NOW + MINUTE) == 9


async def test_failover_under_load(sentinels: Server) -> None:
    """Workers continue by themselves. An acknowledged write may be lost with the old master. If another worker takes
    the lease meanwhile, the first one notices, so no record is settled twice."""
    settlements: dict[str, list[int]] = {}
    done = asyncio.Event()
    outage = 0.0

    async def work(repository: Repository, number: int) -> None:
        nonlocal outage
        last = time.monotonic()
        while not done.is_set():
            try:
                now = time.time_ns() // 1000
                claims = want(TASK, limit=10, locked_until=now + 2 * SECOND)
                taken = await take(repository, claims, now=now, limit=10, token=fresh(), holder=f"worker {number}")
                done_with = [lease.complete(one, next_due=now + SECOND, revision=fresh()) for one in taken]
                for one, won in zip(taken, await repository.swap(done_with), strict=True):
                    if won:
                        settlements.setdefault(one.key, []).append(one.fence)
            except RepositoryUnavailableException:
                await asyncio.sleep(0.02)
            else:
                outage = max(outage, time.monotonic() - last)
                last = time.monotonic()

    async with opened(sentinels, redis_timeout=TIMEOUT) as repository, asyncio.timeout(2 * LONGEST_WAIT):
        records = [record(name=f"{n}", ready_at=n) for n in range(200)]
        await insert(repository, records)
        await caught_up(sentinels)
        async with asyncio.TaskGroup() as workers:
            for number in range(4):
                workers.create_task(work(repository, number))
            await asyncio.sleep(1)
            await asyncio.to_thread(master(sentinels).stop, kill=True)
            before = {key: len(fences) for key, fences in settlements.items()}
            await until(lambda: all(len(settlements.get(one.key, ())) > before.get(one.key, 0) for one in records))
            done.set()
        found = await all_of(repository, TASK)
    assert {one.key for one in found} == {one.key for one in records}
    assert all(len(set(fences)) == len(fences) for fences in settlements.values()), "a lease is settled once"
    assert outage > 0.4


async def test_unreachable_sentinels(sentinels: Server) -> None:
    """A single reachable sentinel is enough, and open connections need none."""
    async with opened(sentinels, redis_timeout=5) as repository:
        records = numbered(5)
        await insert(repository, records)
        dead, hanging, alive = sentinels.sentinels
        dead.stop(kill=True)
        hanging.pause()
        try:
            async with opened(sentinels, redis_timeout=5):
                assert await stored(repository, records) == records
            alive.pause()
            assert await stored(repository, records) == records
            with pytest.raises(RepositoryUnavailableException):
                async with opened(sentinels, redis_timeout=1):
                    pass
        finally:
            hanging.resume()
            alive.resume()
