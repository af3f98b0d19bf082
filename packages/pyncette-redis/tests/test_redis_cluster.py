"""Redis Cluster: the slots of keys, claims over several servers, slots that move, servers that are down."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from redis.crc import key_slot

from pyncette import lease
from pyncette.errors import RepositoryUnavailableException
from pyncette.record import Change, Queue, QueueClaim, Record, Swap
from pyncette.redis import redis_repository
from pyncette.redis.keys import Keys
from pyncette.repository import Repository
from pyncette.testing.contract import strategies
from pyncette.testing.contract.base import (
    MINUTE,
    NOW,
    all_of,
    applied,
    fresh,
    insert,
    next_ready,
    numbered,
    record,
    static,
    stored,
    take,
    want,
)
from tests.helpers.redis import opened, until_it_works
from tests.servers.model import Server
from tests.servers.plugin import StartServer
from tests.servers.redis import command

PARTITIONS = [Queue(f"task:{n}") for n in range(64)]


def scripts(cluster: Server) -> list[int]:
    """How many scripts each server has executed since the statistics were reset."""
    found = []
    for node in cluster.nodes:
        lines = command(node.port, "INFO", "commandstats").splitlines()
        counts = [line.split("calls=")[1].split(",")[0] for line in lines if line.startswith("cmdstat_evalsha:")]
        found.append(int(counts[0]) if counts else 0)
    return found


def reset(cluster: Server) -> None:
    for node in cluster.nodes:
        command(node.port, "CONFIG", "RESETSTAT")


def owner_of(cluster: Server, slot: int) -> Server:
    for first, last, (_, port, *_), *_ in command(cluster.nodes[0].port, "CLUSTER", "SLOTS"):
        if first <= slot <= last:
            return next(node for node in cluster.nodes if node.port == port)
    raise AssertionError(f"nobody has the slot {slot}")


def slot_of(queue: str, namespace: str = "") -> int:
    return Keys(namespace, spread=True).dynamic(queue).slot


@pytest.mark.parametrize("namespace", ["", "app:a"])
def test_all_keys_of_a_queue_have_one_slot(namespace: str) -> None:
    """Whatever characters the queue's name has, braces in particular. No two queues share a key."""
    names = [*strategies.LOOKALIKES, "}", "{", "}{", "{}", "a}", "}a", "{a}b", "x}:rows", "|", "static", "schema"]
    keys = Keys(namespace, spread=True)
    seen: Counter[bytes] = Counter({keys.static.rows: 1, keys.static.ready: 1, keys.marker.encode(): 1})
    for name in set(names):
        queue = keys.dynamic(name)
        bare = [key.split(b"\r\n", 1)[1][:-2] for key in (queue.rows, queue.ready, queue.order)]
        assert {key_slot(key) for key in bare} == {queue.slot}
        seen.update(bare)
    assert set(seen.values()) == {1}
    assert key_slot(keys.marker.encode()) == keys.static.slot


async def test_partitions_scale_out_and_static_tasks_stay_together(redis_cluster: Server) -> None:
    """A claim sends one script for each slot, pipelined for each server: partitions use all servers."""
    statics = [static(f"static{n}") for n in range(50)]
    queues = [*PARTITIONS, *(Queue(one.queue, static=True) for one in statics)]
    namespace = fresh()
    slots = {slot_of(queue.name, namespace) for queue in PARTITIONS} | {Keys(namespace, spread=True).static.slot}
    async with opened(redis_cluster, redis_namespace=namespace) as repository:
        records = [*statics, *(one for queue in PARTITIONS for one in numbered(10, queue.name))]
        await insert(repository, records)
        reset(redis_cluster)
        assert await stored(repository, records) == records
        counted = scripts(redis_cluster)
        assert sum(counted) == len(slots)
        assert min(counted) >= 10
        reset(redis_cluster)
        claims = want(*queues, limit=10)
        taken = await take(repository, claims, now=NOW, limit=690, token=fresh(), holder="me")
        assert {one.key for one in taken} == {one.key for one in records}
        assert sum(scripts(redis_cluster)) == len(slots)


async def test_claim_of_more_than_the_limit_asks_first(redis_cluster: Server) -> None:
    """It never takes more than the limit, in the order given, and needs a second round trip for that unless idle."""
    a, b, c = (numbered(10, name) for name in ("a", "b", "c"))
    queues = [Queue(name) for name in ("nothing", "c", "a", "b")]
    async with opened(redis_cluster, redis_namespace=fresh()) as repository:
        await insert(repository, [*a, *b, *c, static("s", ready_at=NOW)])
        claims = [QueueClaim(queue, limit, NOW + MINUTE) for queue, limit in zip(queues, (9, 4, 9, 9), strict=True)]
        claims.insert(3, QueueClaim(Queue("s", static=True), 7, NOW + MINUTE))
        taken = await take(repository, claims, now=NOW, limit=15, token=fresh(), holder="me")
        expected = [*c[:4], *a[:9], static("s"), *b[:1]]
        assert {one.key for one in taken} == {one.key for one in expected}
        assert len(taken) == 15
        reset(redis_cluster)
        assert await take(repository, want(*PARTITIONS), now=NOW, limit=3, token=fresh(), holder="me") == []
        assert sum(scripts(redis_cluster)) == len({slot_of(queue.name) for queue in PARTITIONS})


async def test_clients_that_claim_at_once_stay_within_limits(redis_cluster: Server) -> None:
    records = [one for queue in PARTITIONS for one in numbered(20, queue.name)]
    executed: Counter[str] = Counter()

    async def work(repository: Repository) -> None:
        while executed.total() < len(records):
            taken = await take(repository, want(*PARTITIONS), now=NOW, limit=37, token=fresh(), holder="me")
            assert len(taken) <= 37
            executed.update(one.key for one in taken)
            settled = [lease.complete(one, next_due=NOW + MINUTE, revision=fresh()) for one in taken]
            assert applied(await repository.swap(settled))

    async with opened(redis_cluster, redis_namespace=fresh()) as repository, asyncio.timeout(60):
        await insert(repository, records)
        await asyncio.gather(*(work(repository) for _ in range(4)))
    assert executed == Counter(one.key for one in records)


class Mover:
    """Moves a slot from its server to the next one, step by step as redis-cli does."""

    def __init__(self, cluster: Server, slot: int, target: Server | None = None) -> None:
        self.cluster = cluster
        self.slot = slot
        self.source = owner_of(cluster, slot)
        self.target = target or cluster.nodes[(cluster.nodes.index(self.source) + 1) % len(cluster.nodes)]
        self.ids = {node.port: command(node.port, "CLUSTER", "MYID") for node in (*cluster.nodes, self.target)}

    def open(self) -> None:
        self._set(self.target, "IMPORTING", self.ids[self.source.port])
        self._set(self.source, "MIGRATING", self.ids[self.target.port])

    def keys_left(self) -> list[str]:
        found: list[str] = command(self.source.port, "CLUSTER", "GETKEYSINSLOT", self.slot, 100)
        return sorted(found)

    def move(self, *keys: str) -> None:
        command(self.source.port, "MIGRATE", self.target.host, self.target.port, "", 0, 5000, "KEYS", *keys)

    def close(self) -> None:
        for node in (self.target, self.source, *self.cluster.nodes):
            self._set(node, "NODE", self.ids[self.target.port])

    def _set(self, node: Server, *words: str) -> None:
        command(node.port, "CLUSTER", "SETSLOT", self.slot, *words)


async def test_calls_during_a_slot_migration(cluster: Server) -> None:
    """Calls find the data before, during and after the move. While only some keys have moved, they wait."""
    async with opened(cluster, redis_namespace="") as repository, asyncio.timeout(30):
        records = numbered(30)
        await insert(repository, records)
        mover = Mover(cluster, slot_of("task"))
        mover.open()
        assert await stored(repository, records) == records
        order, ready, rows = mover.keys_left()
        mover.move(ready)
        torn = asyncio.create_task(stored(repository, records))
        claiming = asyncio.create_task(
            repository.claim(want(Queue("task"), limit=5), now=NOW, limit=5, token=fresh(), holder="me")
        )
        await asyncio.sleep(0.3)
        assert not claiming.done()  # the server would say TRYAGAIN
        mover.move(order, rows)
        assert len(await claiming) == 5
        assert len(await torn) == 30
        # All keys are at the target, which serves them only after ASKING, on the same connection.
        results = await asyncio.gather(*(stored(repository, records) for _ in range(20)))
        assert all(result == results[0] for result in results)
        absent = record("task", "new")
        await insert(repository, [absent])
        mover.close()
        assert owner_of(cluster, mover.slot) == mover.target
        assert await stored(repository, [absent]) == [absent]
        assert len(await all_of(repository, Queue("task"))) == 31
        reset(cluster)
        await asyncio.sleep(0.6)
        await stored(repository, [absent])
        reset(cluster)
        await stored(repository, [absent])
        assert sum(scripts(cluster)) == 1  # the client has learned the slot's new server


async def test_other_commands_than_scripts_during_a_slot_migration(cluster: Server) -> None:
    """They are redirected as scripts are, both during the move and after it."""
    async with opened(cluster, redis_namespace="") as repository, opened(cluster) as other, asyncio.timeout(30):
        records = numbered(30)
        await insert(repository, records)
        for slot in (slot_of("task"), Keys("", spread=True).static.slot):
            mover = Mover(cluster, slot)
            mover.open()
            mover.move(*mover.keys_left())
            assert (await repository.count(Queue("task"))).value == 30
            assert await repository.queues(after=None, limit=9) == ["task"]
            mover.close()
            assert (await other.count(Queue("task"))).value == 30
            assert await other.queues(after=None, limit=9) == ["task"]
        mover = Mover(cluster, Keys("", spread=True).static.slot)
        mover.open()
        mover.move(*mover.keys_left())
        await insert(repository, [record("new")])
        mover.close()
        await insert(other, [record("newer")])
        assert await repository.queues(after=None, limit=9) == ["new", "newer", "task"]


async def test_slots_that_move_under_load(cluster: Server) -> None:
    """Nothing is lost, duplicated or refused while partitions move from server to server."""
    executed: Counter[str] = Counter()
    stop = asyncio.Event()
    queues = PARTITIONS[:12]
    records = [one for queue in queues for one in numbered(40, queue.name)]

    async def work(repository: Repository) -> None:
        while not stop.is_set():
            taken = await take(repository, want(*queues), now=NOW, limit=20, token=fresh(), holder="me")
            executed.update(one.key for one in taken)
            settled = [lease.release(one, revision=fresh()) for one in taken]
            assert applied(await repository.swap(settled))

    async with opened(cluster, redis_namespace="") as repository, asyncio.timeout(60):
        await insert(repository, records)
        workers = [asyncio.create_task(work(repository)) for _ in range(3)]
        for queue in queues:
            mover = Mover(cluster, slot_of(queue.name))
            for step in (
                mover.open,
                *([lambda key=key, mover=mover: mover.move(key) for key in mover.keys_left()]),
                mover.close,
            ):
                await asyncio.to_thread(step)
                await asyncio.sleep(0.01)
        stop.set()
        await asyncio.gather(*workers)
        found = [one for queue in queues for one in await all_of(repository, queue)]
    assert {one.key for one in found} == {one.key for one in records}
    assert all(one.locked_by is None for one in found)
    assert set(executed) <= {one.key for one in records}
    assert executed.total() > 100


async def test_an_unreachable_server(cluster: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Its queues are unavailable until it is back, which is logged once. Those of the other servers keep working."""
    options = {"redis_timeout": 1, "redis_namespace": ""}
    async with opened(cluster, **options) as repository:
        records = [one for queue in PARTITIONS for one in numbered(3, queue.name)]
        await insert(repository, records)
        for node in cluster.nodes:
            command(node.port, "CONFIG", "SET", "cluster-require-full-coverage", "no")
        lost = cluster.nodes[2]
        gone = {queue.name for queue in PARTITIONS if owner_of(cluster, slot_of(queue.name)) is lost}
        lost.stop(kill=True)
        caplog.set_level(logging.WARNING, "pyncette.redis")
        taken: list[Record] = []
        for _ in range(3):
            taken += await take(repository, want(*PARTITIONS, limit=1), now=NOW, limit=100, token=fresh(), holder="me")
        here = [one for one in records if one.queue not in gone]
        assert {one.key for one in taken} == {one.key for one in here}
        assert [entry.message.partition(":")[0] for entry in caplog.records] == [
            "A part of the cluster fails; its tasks wait until it is back"
        ]
        assert await next_ready(repository, PARTITIONS) == NOW + MINUTE
        with pytest.raises(RepositoryUnavailableException):
            await stored(repository, records)
        with pytest.raises(RepositoryUnavailableException):
            await take(repository, want(Queue(min(gone))), now=NOW, limit=1, token=fresh(), holder="me")
        lost.start()
        found = await until_it_works(repository, records)
        assert [one for one in found if one and one.queue in gone] == [one for one in records if one.queue in gone]


@contextmanager
def another_node(start_server: StartServer, cluster: Server) -> Iterator[Server]:
    """A server that has joined the cluster and has no slots."""
    with socket.create_server(("127.0.0.1", 0)) as reservation:
        bus = reservation.getsockname()[1]
    settings = {"cluster-enabled": "yes", "cluster-config-file": "nodes.conf", "cluster-node-timeout": "2000"}
    options = [word for name, value in settings.items() for word in (f"--{name}", value)]
    with start_server("redis", *options, "--cluster-port", str(bus)) as node:
        first = cluster.nodes[0]
        bus_of_first = command(first.port, "CONFIG", "GET", "cluster-port")[1]
        command(node.port, "CLUSTER", "MEET", first.host, first.port, bus_of_first)
        for each in (node, *cluster.nodes):
            wait_for(lambda each=each: "cluster_known_nodes:4" in command(each.port, "CLUSTER", "INFO"))  # type: ignore[misc] # mypy can't infer a default's type
            wait_for(lambda each=each: "cluster_state:ok" in command(each.port, "CLUSTER", "INFO"))  # type: ignore[misc] # mypy can't infer a default's type
        yield node


def replication(node: Server) -> dict[str, str]:
    lines = command(node.port, "INFO", "replication").splitlines()
    return {name: value for name, _, value in (line.partition(":") for line in lines)}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_slot_that_moves_to_a_server_without_slots(cluster: Server, start_server: StartServer) -> None:
    """The client's map of the cluster does not have that server yet."""
    with another_node(start_server, cluster) as node:
        async with opened(cluster, redis_namespace="") as repository:
            records = numbered(30)
            await insert(repository, records)
            mover = Mover(cluster, slot_of("task"), node)
            mover.open()
            mover.move(*mover.keys_left())
            assert await stored(repository, records) == records
            results = await asyncio.gather(*(stored(repository, records) for _ in range(20)))
            assert all(result == records for result in results)
            mover.close()
            assert await stored(repository, records) == records


async def test_replica_takes_over(cluster: Server, start_server: StartServer) -> None:
    lost = cluster.nodes[1]
    queue = next(queue for queue in PARTITIONS if owner_of(cluster, slot_of(queue.name)) is lost)
    with another_node(start_server, cluster) as replica:
        command(replica.port, "CLUSTER", "REPLICATE", command(lost.port, "CLUSTER", "MYID"))
        async with opened(cluster, redis_namespace="", redis_timeout=1) as repository:
            records = numbered(20, queue.name)
            await insert(repository, records)
            wait_for(lambda: replication(replica)["master_link_status"] == "up")
            wait_for(lambda: replication(replica)["slave_repl_offset"] == replication(lost)["master_repl_offset"])
            lost.stop(kill=True)
            with pytest.raises(RepositoryUnavailableException):
                await stored(repository, records)
            assert await until_it_works(repository, records) == records
            assert command(replica.port, "ROLE")[0] == "master"
            taken = await take(repository, want(queue), now=NOW, limit=100, token=fresh(), holder="me")
            assert len(taken) == 20


async def test_opens_when_some_servers_are_unreachable(cluster: Server) -> None:
    async with opened(cluster, redis_namespace="a"):
        pass
    first, *others = cluster.nodes
    for node in cluster.nodes:
        command(node.port, "CONFIG", "SET", "cluster-require-full-coverage", "no")
    hosts = ",".join(f"{node.host}:{node.port}" for node in cluster.nodes)
    first.stop(kill=True)
    with pytest.raises(RepositoryUnavailableException):
        async with opened(cluster, redis_timeout=1):
            pass
    async with redis_repository(redis_url=f"redis://{hosts}", redis_mode="cluster", redis_timeout=1) as repository:
        here = next(q for q in PARTITIONS if owner_of_known(others, slot_of(q.name)))
        await insert(repository, numbered(3, here.name))


def owner_of_known(nodes: list[Server], slot: int) -> bool:
    found = command(nodes[0].port, "CLUSTER", "SLOTS")
    return any(
        first <= slot <= last and port in {node.port for node in nodes} for first, last, (_, port, *_), *_ in found
    )


async def test_scripts_that_servers_forgot(redis_cluster: Server) -> None:
    async with opened(redis_cluster, redis_namespace=fresh()) as repository:
        records = [one for queue in PARTITIONS for one in numbered(2, queue.name)]
        await insert(repository, records)
        for node in redis_cluster.nodes:
            command(node.port, "SCRIPT", "FLUSH")
        assert await stored(repository, records) == records
        for node in redis_cluster.nodes:
            command(node.port, "SCRIPT", "FLUSH")
        assert await repository.swap([Change(one, None) for one in records]) == [Swap.APPLIED] * len(records)
