"""Rows damaged by hand: they are logged once, set aside, and don't keep anything else from running."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

import pytest
import redis

from pyncette import lease
from pyncette.record import Band, Change, Queue, Swap
from pyncette.redis import redis_repository
from pyncette.repository import Repository
from pyncette.testing import Capabilities
from pyncette.testing.contract.app.bench import AppBase, Bench, duration, moment
from pyncette.testing.contract.base import NOW, TASK, insert, record, stored
from tests.helpers.redis import claim, opened
from tests.servers.model import Server

Damage = Callable[[bytes], bytes]


def over(first: int, new: bytes) -> Damage:
    return lambda row: row[:first] + new + row[first + len(new) :]


def text(old: bytes, new: bytes) -> Damage:
    def change(row: bytes) -> bytes:
        assert old in row
        return row.replace(old, new)

    return change


STRUCTURE: dict[str, Damage] = {
    "empty": lambda row: b"",
    "cut in the length": lambda row: row[:1],
    "cut in the header": lambda row: row[:12],
    "cut in the revision": lambda row: row[:26],
    "cut behind the header": lambda row: row[: int.from_bytes(row[:2], "big")],
    "cut in the spec": lambda row: row[:-5],
    "the last byte": lambda row: row[:-1],
    "a header that is too long": over(0, b"\xff\xff"),
    "a header that is too short": over(0, b"\0\0"),
    "a revision that is too long": over(22, b"\xff"),
    "a state that is too long": lambda row: over(int.from_bytes(row[:2], "big"), b"\xff\xff")(row),
    "a spec that is lost": lambda row: row[:-1] + b"\1",
    "no UTF-8 in the spec": text(b'"every"', b'"\xff\xfery"'),
    "other bytes": lambda row: b"somebody else's",
}
FIELDS: dict[str, Damage] = {
    "every is infinite": text(b'"every":', b'"every":1e999,"e":'),
    "every is Infinity": text(b'"every":', b'"every":Infinity,"e":'),
    "every is zero": text(b'"every":', b'"every":0,"e":'),
    "every is negative": text(b'"every":', b'"every":-5,"e":'),
    "since is out of range": text(b'"every":', b'"since":1e999,"every":'),
    "at is out of range": text(b'"every":', b'"at":1e999,"e":'),
    "due before the year 1": over(2, struct.pack(">q", -(2**62))),
    "due after the year 9999": over(2, struct.pack(">q", 2**61)),
}
HARMLESS: dict[str, Damage] = {
    "a fence at the end": over(10, struct.pack(">q", 2**63 - 1)),
    "a negative fence": over(10, struct.pack(">q", -(2**63))),
    "an attempt at the end": over(18, b"\xff\xff\xff\xff"),
    "no UTF-8 in the state": lambda row: _with_state(row, b"\xff\xff"),
    "no UTF-8 in the revision": over(23, b"\xff\xfe"),
}


def _with_state(row: bytes, state: bytes) -> bytes:
    header = int.from_bytes(row[:2], "big")
    (length,) = struct.unpack_from(">I", row, header)
    return row[:header] + struct.pack(">I", len(state)) + state + row[header + 4 + length :]


class TestDamagedRows(AppBase):
    capabilities: ClassVar[Capabilities] = Capabilities(server_clock=True)
    namespace: ClassVar[str] = ""

    @pytest.fixture
    def repository_factory(
        self, redis_server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[], AbstractAsyncContextManager[Repository]]:
        monkeypatch.setattr(TestDamagedRows, "namespace", uuid.uuid4().hex)
        return lambda: redis_repository(redis_url=redis_server.url, redis_namespace=self.namespace)

    def damage(self, server: Server, instance: str, damage: Damage) -> None:
        with redis.Redis(port=server.port) as client:
            key, member = f"pyncette:{{{self.namespace}|template}}:rows", f":{instance}"
            row = client.hget(key, member)
            assert isinstance(row, bytes)
            assert damage(row) != row
            client.hset(key, member, damage(row))

    @pytest.mark.parametrize("damage", [*STRUCTURE.values(), *FIELDS.values()], ids=[*STRUCTURE, *FIELDS])
    async def test_an_instance(
        self, bench: Bench, redis_server: Server, damage: Damage, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            for name in ("before", "broken", "removed", "whole"):
                await context.schedule_task(template, name, interval=duration(10))
        for name in ("broken", "removed"):
            self.damage(redis_server, name, damage)
        async with bench.running(app) as worker:
            await bench.advance(45)
            assert set(bench.log.names()) == {"template:before", "template:whole"}
            assert len(bench.log.names()) == 8
            about = [each.message for each in caplog.records if "template:broken" in each.message]
            assert len(about) == 1, about
            assert len((await worker.context.list_tasks(template)).tasks) >= 2
            await worker.context.unschedule_task(template, "removed")
            await worker.context.schedule_task(template, "broken", force=True, execute_at=moment(50))
            await bench.advance(10)
            assert bench.log.names().count("template:broken") == 1
        assert await bench.stored(template.instantiate("removed", interval=duration(10))) is None
        assert await bench.stored(template.instantiate("broken", interval=duration(10))) is None  # ran once

    @pytest.mark.parametrize("damage", [*HARMLESS.values()], ids=[*HARMLESS])
    async def test_harmless_damage(self, bench: Bench, redis_server: Server, damage: Damage) -> None:
        app = bench.app()
        template = app.dynamic_task(name="template")(bench.log.note)
        async with app.create() as context:
            await context.schedule_task(template, "broken", interval=duration(10))
        self.damage(redis_server, "broken", damage)
        async with bench.running(app):
            await bench.advance(45)
        assert bench.log.names() == ["template:broken"] * 4


@pytest.mark.parametrize("damage", STRUCTURE.values(), ids=STRUCTURE)
async def test_every_method(redis_server: Server, namespace: str, damage: Damage) -> None:
    """A damaged row is returned with the others, claimed, set aside, overwritten and deleted."""
    async with opened(redis_server, redis_namespace=namespace) as repository:
        broken, whole = (record(name=name, ready_at=NOW - 1, spec='{"v":1,"every":5}') for name in ("broken", "whole"))
        await insert(repository, [broken, whole])
        with redis.Redis(port=redis_server.port) as client:
            key = f"pyncette:{{{namespace}|task}}:rows"
            row = client.hget(key, ":broken")
            assert isinstance(row, bytes)
            client.hset(key, ":broken", damage(row))
        (found,) = await stored(repository, [broken])
        assert found is not None
        assert found.spec.startswith("damaged")
        assert await repository.scan(TASK, after=None, limit=9) == [found, whole]
        assert await repository.scan_ready(TASK, limit=9) == [found, whole]
        assert (await repository.look([TASK], [broken.ref])).records == [found]
        taken = await claim(repository)
        assert [each.key for each in taken] == [broken.key, whole.key]
        (current,) = await stored(repository, [broken])
        assert current is not None
        assert (current.locked_by, current.revision, current.spec[:7]) == ("me", taken[0].revision, "damaged")
        assert (current.due_at, current.fence, current.attempt) == (taken[0].due_at, taken[0].fence, taken[0].attempt)
        held = lease.hold(current, Band.UNREADABLE, moment=NOW, revision="held")
        assert await repository.swap([held]) == [Swap.APPLIED]
        aside = Band.UNREADABLE.at(NOW)
        (current,) = await repository.scan_ready(Queue("task"), since=aside, before=aside + 1, limit=1)
        assert current.spec.startswith("damaged")
        new = record(name="broken", spec="{}")
        assert await repository.swap([Change(current, new)]) == [Swap.APPLIED]
        assert await stored(repository, [broken]) == [new]
        assert await repository.swap([Change(new, None)]) == [Swap.APPLIED]


async def test_names_that_are_not_valid_utf8(redis_server: Server, namespace: str) -> None:
    """A member with such a name is listed, claimed and deleted; a queue with one is listed."""
    async with opened(redis_server, redis_namespace=namespace) as repository:
        one = record(name="one", ready_at=NOW - 1)
        await insert(repository, [one])
        with redis.Redis(port=redis_server.port) as client:
            tag = f"pyncette:{{{namespace}|task}}:"
            row = client.hget(f"{tag}rows", ":one")
            client.hset(f"{tag}rows", b":\xff", row)
            client.zadd(f"{tag}ready", {b":\xff": NOW - 1})
            client.zadd(f"{tag}order", {b":\xff": 0})
            client.zadd(f"pyncette:{{{namespace}|}}:queues", {b"\xff": 0})
        found = await repository.scan(TASK, after=None, limit=9)
        assert [each.key for each in found] == ["task:one", "task:\udcff"]
        assert len(await claim(repository)) == 2
        assert await repository.queues(after=None, limit=9) == ["task", "\udcff"]
        for each in await repository.scan(TASK, after=None, limit=9):
            assert await repository.swap([Change(each, None)]) == [Swap.APPLIED]
        assert await repository.scan(TASK, after=None, limit=9) == []
