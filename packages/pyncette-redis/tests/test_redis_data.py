"""What a server stores and what it refuses: memory, disk, large records, keys of other programs."""

from __future__ import annotations

import asyncio
import threading
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from pyncette.errors import RecordRefusedException, RepositoryException, RepositoryUnavailableException
from pyncette.record import Change, Queue, Swap
from pyncette.testing.contract.base import (
    NOW,
    TASK,
    all_of,
    fresh,
    insert,
    numbered,
    ready,
    record,
    static,
    stored,
    want,
)
from tests.helpers.redis import claim, opened, settled
from tests.servers.model import Server
from tests.servers.plugin import StartServer
from tests.servers.redis import command


async def test_memory_is_full(server: Server) -> None:
    """A full server refuses new records and loses none; existing ones are executed, settled and deleted."""
    async with opened(server) as repository:
        records = numbered(100)
        await insert(repository, records)
        command(server.port, "CONFIG", "SET", "maxmemory", "1mb")
        new = [record(name=f"new{n}") for n in range(50)]
        with pytest.raises(RepositoryUnavailableException, match="maxmemory"):
            await repository.swap([Change(None, one) for one in new])
        assert await stored(repository, new) == [None] * 50
        assert await all_of(repository, TASK) == records
        taken = await claim(repository)
        assert len(taken) == 100
        changes = settled(taken[:50])
        assert await repository.swap(changes) == [Swap.APPLIED] * 50
        # Of a batch with both, the inserts are refused, but the settlements take place.
        mixed = settled(taken[50:98])
        with pytest.raises(RepositoryUnavailableException, match="maxmemory"):
            await repository.swap([*mixed, *(Change(None, one) for one in new)])
        assert await stored(repository, taken[50:98]) == [change.new for change in mixed]
        assert await repository.swap([Change(one, None) for one in taken[98:]]) == [Swap.APPLIED, Swap.APPLIED]
        assert len(await all_of(repository, TASK)) == 98
        command(server.port, "CONFIG", "SET", "maxmemory", "0")
        await insert(repository, new)
        assert len(await all_of(repository, TASK)) == 148


async def test_memory_is_full_and_a_queue_is_new(server: Server) -> None:
    """Its first instance is refused with a clear error; settlements in the same batch succeed, and apps still start."""
    async with opened(server) as repository:
        records = numbered(5)
        await insert(repository, records)
        taken = await claim(repository)
        command(server.port, "CONFIG", "SET", "maxmemory", "1mb")
        changes = settled(taken)
        shorter = Change(changes[4].old, replace(changes[4].new or taken[4], spec="{}"))
        with pytest.raises(RepositoryUnavailableException, match=r"has reached its maxmemory and takes no new data"):
            await repository.swap([Change(None, record("another")), *changes[:4], shorter])
        assert await stored(repository, taken) == [change.new for change in [*changes[:4], shorter]]
        async with opened(server, redis_namespace="another") as other:
            assert await stored(other, taken) == [None] * 5


async def test_disk_is_full(start_server: StartServer, tmp_path: Path) -> None:
    """A server that can't persist refuses writes; calls work again once it can."""
    options = ("--appendonly", "no", "--save", "3600 1", "--enable-protected-configs", "yes")
    with start_server("redis", *options) as server:
        async with opened(server) as repository:
            one = record()
            await insert(repository, [one])
            folder = tmp_path / "gone"
            folder.mkdir()
            command(server.port, "CONFIG", "SET", "dir", str(folder))
            folder.rmdir()
            await bgsave(server, "err")
            with pytest.raises(RepositoryUnavailableException, match="can't persist"):
                await claim(repository)
            command(server.port, "CONFIG", "SET", "dir", str(tmp_path))
            await bgsave(server, "ok")
            assert len(await claim(repository)) == 1


async def bgsave(server: Server, outcome: str) -> None:
    command(server.port, "BGSAVE")
    async with asyncio.timeout(10):
        while True:
            info = command(server.port, "INFO", "persistence")
            if "rdb_bgsave_in_progress:0" in info and f"rdb_last_bgsave_status:{outcome}" in info:
                return
            await asyncio.sleep(0.01)


async def test_a_server_that_is_loading_its_data(server: Server) -> None:
    async with opened(server, redis_timeout=30) as repository:
        one = record()
        await insert(repository, [one])
        command(server.port, "DEBUG", "POPULATE", "3000")
        command(server.port, "CONFIG", "SET", "key-load-delay", "300")
        command(server.port, "CONFIG", "SET", "loading-process-events-interval-bytes", "1024")
        reloading = threading.Thread(target=command, args=(server.port, "DEBUG", "RELOAD"))
        reloading.start()
        try:
            while True:
                try:
                    assert await stored(repository, [one]) == [one]
                except RepositoryUnavailableException as error:
                    assert "loading its data" in str(error)  # noqa: PT017 - this ends the loop
                    break
        finally:
            await asyncio.to_thread(reloading.join)
        assert await stored(repository, [one]) == [one]


async def test_largest_record(start_server: StartServer) -> None:
    """A record for which the server would close the connection is refused before it is sent, with the reason."""
    with start_server("redis", "--proto-max-bulk-len", "1mb") as server:
        async with opened(server) as repository:
            most = 2**20 - 200
            fits = record(spec="x" * most)
            await insert(repository, [fits])
            assert await stored(repository, [fits]) == [fits]
            with pytest.raises(RecordRefusedException, match=r"this Redis takes 1,048,\d+ at most"):
                await repository.swap([Change(None, record(name="large", spec="x" * (2**20 + 1)))])
            assert await stored(repository, [fits]) == [fits]


async def test_namespaces_are_isolated(redis_server: Server) -> None:
    names = [f"{uuid.uuid4().hex}{end}" for end in ("", ":a", ":a:b", "-", ".")]
    for name in names:
        async with opened(redis_server, redis_namespace=name) as repository:
            await insert(repository, [record(spec=name), static("static", spec=name)])
    for name in names:
        async with opened(redis_server, redis_namespace=name) as repository:
            assert [one.spec for one in await all_of(repository, TASK)] == [name]
            taken = await claim(repository, TASK, Queue("static", static=True))
            assert [one.spec for one in taken] == [name, name]
            assert await repository.swap([Change(one, None) for one in taken]) == [Swap.APPLIED, Swap.APPLIED]
        keys = command(redis_server.port, "KEYS", f"pyncette:{{{name}|*")
        # Deleted records leave nothing behind but the names of their queues.
        assert sorted(keys) == [f"pyncette:{{{name}|}}:{kept}" for kept in ("queues", "schema")]


async def test_a_damaged_index(server: Server) -> None:
    """Members without a record are skipped, and a claim removes them, so that later claims need not skip them."""
    async with opened(server) as repository:
        records = numbered(10)
        await insert(repository, records)
        keys = "pyncette:{|task}:"
        for one in records[:4]:
            command(server.port, "HDEL", f"{keys}rows", one.key.removeprefix("task"))
        assert await all_of(repository, TASK, page=3) == records[4:]
        assert await ready(repository, want(TASK), now=NOW, limit=5) == records[4:9]
        assert len(await claim(repository, limit=5)) == 1
        assert len(await claim(repository, limit=5)) == 5
        assert command(server.port, "ZCARD", f"{keys}ready") == 6


async def test_the_cost_of_settling_does_not_depend_on_the_size_of_arguments(server: Server) -> None:
    """As much is sent and written for a large spec as for a small one. Only a claim returns the spec."""

    def settling() -> list[int]:
        """How many bytes the server has received, and by how many its append-only file has grown."""
        lines = [
            *command(server.port, "INFO", "stats").splitlines(),
            *command(server.port, "INFO", "persistence").splitlines(),
        ]
        found = dict(line.split(":", 1) for line in lines if ":" in line)
        return [int(found["total_net_input_bytes"]), int(found["aof_current_size"])]

    costs = {}
    async with opened(server) as repository:
        for size in (1_000, 100_000):
            one = record(name=str(size), spec="x" * size)
            await insert(repository, [one])
            (taken,) = await claim(repository)
            assert taken.spec == one.spec
            before = settling()
            (change,) = settled([taken])
            assert await repository.swap([change]) == [Swap.APPLIED]
            costs[size] = [after - earlier for after, earlier in zip(settling(), before, strict=True)]
            assert await stored(repository, [one]) == [change.new]
            large, small = replace(one, spec="y" * size), replace(one, spec="{}")
            for old, new in ((change.new, large), (large, small), (small, None)):
                fresh_one = replace(new, revision=fresh()) if new else None
                (current,) = await stored(repository, [one])
                assert old is not None
                assert await repository.swap([Change(current, fresh_one)]) == [Swap.APPLIED]
                assert await stored(repository, [one]) == [fresh_one]
            assert command(server.port, "KEYS", "*task*") == []  # deletion leaves nothing behind
    assert all(abs(one - other) < 200 for one, other in zip(*costs.values(), strict=True))


async def test_a_large_spec_in_every_answer(server: Server) -> None:
    async with opened(server) as repository:
        records = [record(name=str(n), ready_at=NOW + n - 9, spec=str(n) * 1000) for n in range(5)]
        one = static("static", ready_at=NOW - 1, spec="s" * 1000)
        await insert(repository, [*records, one])
        assert await repository.scan(TASK, after=None, limit=9) == records
        assert await repository.scan_ready(TASK, limit=9) == records
        assert (await repository.look([TASK], [one.ref, records[2].ref])).records == [one, records[2]]
        taken = await claim(repository, TASK, Queue("static", static=True))
        assert [each.spec for each in taken] == [each.spec for each in [*records, one]]
        for one in records:
            command(server.port, "HDEL", "pyncette:{|task}:rows", f"{one.key.removeprefix('task')}\0")
        assert [one.spec[:8] for one in await repository.scan(TASK, after=None, limit=9)] == ["damaged:"] * 5


async def test_keys_of_another_program(server: Server) -> None:
    async with opened(server) as repository:
        command(server.port, "SET", "pyncette:{|task}:rows", "x")
        with pytest.raises(RepositoryException, match="WRONGTYPE") as caught:
            await insert(repository, [record()])
        assert type(caught.value) is RepositoryException
        assert command(server.port, "GET", "pyncette:{|task}:rows") == "x"


async def test_memory_per_instance(server: Server) -> None:
    """The documented figure: a recurring instance with 64 bytes of arguments."""
    count = 20_000
    spec = '{"v":1,"every":3600000000,"args":{"text":"' + "x" * 53 + '"}}'
    assert len(spec.partition('"args":')[2]) - 1 == 64
    async with opened(server) as repository:
        await insert(repository, [record("report", "0")])
        before = memory(server)
        for start in range(0, count, 1000):
            records = [
                record("report", f"user-{start + n}", ready_at=NOW + n, revision=fresh()[:16], spec=spec)
                for n in range(1000)
            ]
            await insert(repository, records)
        each = (memory(server) - before) / count
    assert 380 < each < 480, f"{each:.0f} bytes"


def memory(server: Server) -> int:
    (line,) = (line for line in command(server.port, "INFO", "memory").splitlines() if line.startswith("used_memory:"))
    return int(line.split(":")[1])
