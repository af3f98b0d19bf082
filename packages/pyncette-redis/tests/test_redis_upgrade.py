"""Namespaces in the format of another release: rolling upgrades to a format that the tests invent."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

import pytest

from pyncette.errors import RepositoryException, StorageVersionException
from pyncette.migrations import Migration, Phase
from pyncette.record import Change, Swap
from pyncette.redis import redis_repository, schema, upgrade
from pyncette.testing.contract.base import TASK, all_of, insert, numbered, record, static, stored
from tests.helpers.redis import opened
from tests.servers.model import Server
from tests.servers.redis import command

WORKER = Path(__file__).with_name("redis_upgrade.py")

COUNT = "for _, member in ipairs(ARGV) do redis.call('HINCRBY', KEYS[1] .. ':{}', member, 1) end"
EXPAND = Migration(2, Phase.EXPAND, "0002_expand_b.lua", COUNT.format("expanded"))
CONTRACT = Migration(2, Phase.CONTRACT, "0002_contract_b.lua", COUNT.format("contracted"))


class NextRelease:
    """A context in which repositories are those of a release with more steps."""

    def __init__(self, *steps: Migration[str]) -> None:
        self._patch = pytest.MonkeyPatch()
        self._steps = (*schema.migrations(), *steps)

    def __enter__(self) -> None:
        self._patch.setattr(schema, "migrations", lambda: self._steps)

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


async def start(server: Server, namespace: str, *, times: int = 1, finish: bool = False) -> None:
    async def once() -> None:
        async with opened(server, redis_namespace=namespace, finish_upgrade=finish):
            pass

    await asyncio.gather(*(once() for _ in range(times)))


def marker(server: Server, namespace: str) -> str:
    node = owner(server, f"pyncette:{{{namespace}|}}:schema")
    found: str = command(node.port, "GET", f"pyncette:{{{namespace}|}}:schema")
    return found


def owner(server: Server, key: str) -> Server:
    """The server that stores a key."""
    if not server.nodes or server.sentinels:
        return server
    slot = command(server.nodes[0].port, "CLUSTER", "KEYSLOT", key)
    for first, last, (_, port, *_), *_ in command(server.nodes[0].port, "CLUSTER", "SLOTS"):
        if first <= slot <= last:
            return next(node for node in server.nodes if node.port == port)
    raise AssertionError("nobody has the slot")


def counted(server: Server, namespace: str, queue: str, what: str) -> dict[str, int]:
    """How often a step processed each member of a queue, or of the static tasks if there is no queue."""
    key = f"pyncette:{{{namespace}|{queue}}}:{'rows' if queue else 'static'}:{what}"
    flat = command(owner(server, key).port, "HGETALL", key)
    return {member: int(count) for member, count in zip(flat[::2], flat[1::2], strict=True)}


def in_format(written_by: int, readable_from: int) -> str:
    return f"Pyncette, format {written_by}, readable from {readable_from}"


@pytest.fixture(params=["redis_server", "redis_cluster"])
def any_server(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(request.param)
    return server


async def test_a_rolling_upgrade(
    any_server: Server, namespace: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step processes each record once, however many processes start at once; old and new releases work side by
    side until the upgrade is finished, and a rollback needs no steps."""
    monkeypatch.setattr(upgrade, "BATCH", 7)
    caplog.set_level(logging.INFO, "pyncette.redis")
    records = numbered(50)
    names = [one.key.removeprefix("task") for one in records]
    async with opened(any_server, redis_namespace=namespace) as running:
        await insert(running, [*records, *numbered(3, "other"), static("static"), static("task")])
        assert marker(any_server, namespace) == in_format(1, 1)
        with NextRelease(EXPAND, CONTRACT):
            await start(any_server, namespace, times=8)
            assert marker(any_server, namespace) == in_format(2, 1)
            assert counted(any_server, namespace, "task", "expanded") == dict.fromkeys(names, 1)
            assert len(counted(any_server, namespace, "other", "expanded")) == 3
            assert counted(any_server, namespace, "", "expanded") == {"other": 1, "static": 1, "task": 1}
            assert counted(any_server, namespace, "task", "contracted") == {}
            await start(any_server, namespace)
        assert await all_of(running, TASK) == records
        await start(any_server, namespace)  # a rollback
        assert await running.swap([Change(None, record("another"))]) == [Swap.APPLIED]
        with NextRelease(EXPAND, CONTRACT):
            await start(any_server, namespace, times=8, finish=True)
        assert marker(any_server, namespace) == in_format(2, 2)
        assert counted(any_server, namespace, "task", "expanded") == dict.fromkeys(names, 1)
        assert counted(any_server, namespace, "task", "contracted") == dict.fromkeys(names, 1)
        done = [one.message for one in caplog.records]
        assert done == [f"The Redis namespace {namespace!r}: {step.name} is done." for step in (EXPAND, CONTRACT)]
        for left in ("upgrade", "upgraded"):
            key = f"pyncette:{{{namespace}|}}:{left}"
            assert command(owner(any_server, key).port, "EXISTS", key) == 0
    with pytest.raises(StorageVersionException, match="can be read from format 2 on"):
        await start(any_server, namespace)


async def test_an_upgrade_that_is_killed(redis_server: Server, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next process to start waits until the lock has expired, and continues where the other one stopped: no record
    is left out, and only those of the interrupted batch are changed again."""
    async with opened(redis_server, redis_namespace=namespace) as running:
        records = numbered(50)
        await insert(running, records)
        arguments = json.dumps({"url": redis_server.url, "namespace": namespace, "step": EXPAND.step})
        worker = await asyncio.create_subprocess_exec(sys.executable, WORKER, arguments, stdout=asyncio.subprocess.PIPE)
        assert worker.stdout is not None
        assert await worker.stdout.readline() == b"3 batches\n"
        worker.kill()
        await worker.wait()
        before = counted(redis_server, namespace, "task", "expanded")
        assert 0 < len(before) < 50
        assert marker(redis_server, namespace) == in_format(1, 1)
        assert await stored(running, records) == records
        monkeypatch.setattr(upgrade, "BATCH", 10)
        with NextRelease(EXPAND, CONTRACT):
            await start(redis_server, namespace, times=3)
        after = counted(redis_server, namespace, "task", "expanded")
        assert after.keys() == {one.key.removeprefix("task") for one in records}
        assert sum(after.values()) <= 50 + 10
        assert marker(redis_server, namespace) == in_format(2, 1)


async def test_an_upgrade_whose_lock_is_lost(
    redis_server: Server, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was too slow does not overwrite the other's work, but waits for it to finish."""
    monkeypatch.setattr(upgrade, "BATCH", 10)
    lock = f"pyncette:{{{namespace}|}}:upgrade"
    stealing = EXPAND.step + (
        f" if redis.call('EXISTS', '{lock}:once') == 0 then redis.call('SET', '{lock}:once', 1)"
        f" redis.call('SET', '{lock}', 'another', 'PX', 300) end"
    )
    async with opened(redis_server, redis_namespace=namespace) as running:
        await insert(running, numbered(50))
        with NextRelease(Migration(2, Phase.EXPAND, EXPAND.name, stealing)):
            await start(redis_server, namespace)
        assert marker(redis_server, namespace) == in_format(2, 1)
        assert len(counted(redis_server, namespace, "task", "expanded")) == 50


async def test_an_upgrade_that_fails(redis_server: Server, namespace: str) -> None:
    """It can be retried at once; until then everything works as before."""
    async with opened(redis_server, redis_namespace=namespace) as running:
        records = numbered(5)
        await insert(running, records)
        with NextRelease(Migration(2, Phase.EXPAND, EXPAND.name, "redis.call('NONSENSE')")):
            for _ in range(2):
                with pytest.raises(RepositoryException, match=r"(?i)unknown.*command"):
                    await start(redis_server, namespace)
        assert marker(redis_server, namespace) == in_format(1, 1)
        assert await all_of(running, TASK) == records
        with NextRelease(EXPAND):
            await start(redis_server, namespace)
        assert marker(redis_server, namespace) == in_format(2, 1)


async def test_a_lost_marker(redis_server: Server, namespace: str) -> None:
    """The command in the message restores it."""
    async with opened(redis_server, redis_namespace=namespace) as running:
        await insert(running, numbered(1))
        command(redis_server.port, "DEL", f"pyncette:{{{namespace}|}}:schema")
        with pytest.raises(StorageVersionException, match="Restore the key") as caught:
            await start(redis_server, namespace)
        _, key, text = str(caught.value).partition("wrote the data: ")[2].split(" ", 2)
        command(redis_server.port, "SET", key, text.strip("'"))
        await start(redis_server, namespace)


async def test_finish_upgrade_is_a_flag() -> None:
    with pytest.raises(TypeError, match="finish_upgrade"):
        redis_repository(redis_url="redis://", finish_upgrade="yes")  # type: ignore[arg-type]  # on purpose
