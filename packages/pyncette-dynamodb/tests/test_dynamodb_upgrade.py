"""A table is upgraded while others use it, to a format of a fictitious next release.

That format adds a note to each record. The step that expands writes the notes. The step that contracts removes an
attribute that supposedly only this release needs.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest

from pyncette.dynamodb import schema, upgrade
from pyncette.dynamodb.codec import FORMAT, LOCK, Item, Value
from pyncette.dynamodb.connection import Database, connected
from pyncette.dynamodb.schema import prepare
from pyncette.dynamodb.settings import Settings
from pyncette.dynamodb.upgrade import Step, Upgrade
from pyncette.errors import RepositoryException, StorageVersionException
from pyncette.migrations import Migration, Phase
from pyncette.record import Change, Record, Swap
from pyncette.repository import Repository
from pyncette.testing.contract.base import applied
from tests.helpers.dynamodb import REGION, TASK, Answer, Cut, Request, Wire, call, fresh, numbered, record
from tests.servers.model import Server

Factory = Callable[..., AbstractAsyncContextManager[Repository]]

pytestmark = pytest.mark.anyio

NOTED: Value = {"S": "noted"}


def noted(item: Item) -> dict[str, Value | None]:
    return {} if "note" in item else {"note": NOTED}


def ended(item: Item) -> dict[str, Value | None]:
    return {"note": {"S": "ended"}, "old": None} if item.get("note") != {"S": "ended"} else {}


async def expand(work: Upgrade) -> None:
    await work.rewrite(noted)


async def contract(work: Upgrade) -> None:
    await work.rewrite(ended)


STEPS: tuple[Migration[Step], ...] = (
    Migration(2, Phase.EXPAND, "0002_expand_note", expand),
    Migration(2, Phase.CONTRACT, "0002_end", contract),
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "PAGE", 3)
    monkeypatch.setattr(upgrade, "_WAIT", 0.05)
    monkeypatch.setattr(schema, "_LOOK_AGAIN", 0.05)


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function after whose call processes start as the release that writes the given format."""
    ours = schema.migrations()

    def become(written: int) -> None:
        steps = tuple(each for each in (*ours, *STEPS) if each.version <= written)
        monkeypatch.setattr(schema, "migrations", lambda: steps)

    return become


@pytest.fixture
def items(dynamodb_server: Server, table_name: str) -> Callable[[], list[Item]]:
    """A function that returns all stored items but the names of queues."""

    def read() -> list[Item]:
        found: list[Item] = call(dynamodb_server.endpoint, "Scan", TableName=table_name, ConsistentRead=True)["Items"]
        return [item for item in found if len(item) > 2]

    return read


def notes(items: list[Item]) -> set[Any]:
    return {json.dumps(item.get("note")) for item in items if "spec" in item}


def formats(items: list[Item]) -> tuple[str, str]:
    (item,) = (one for one in items if {"pk": one["pk"], "sk": one["sk"]} == FORMAT)
    return item["written_by"]["N"], item["readable_from"]["N"]


@pytest.fixture
async def ours(dynamodb_server: Server, table_name: str) -> AsyncIterator[Database]:
    """One client for all starts, because creating one takes longer than the rest of a test."""
    async with connected(settings(dynamodb_server.endpoint, table_name)) as database:
        yield database


@pytest.fixture
async def killable(proxy: Wire, table_name: str) -> AsyncIterator[Database]:
    """A client of another process."""
    async with connected(settings(proxy.endpoint, table_name)) as database:
        yield database


def settings(endpoint: str, table: str, **options: Any) -> Settings:
    values = {"skip_table_create": False, "partition_prefix": "", **options}
    return Settings(endpoint=endpoint, region=REGION, table=table, **values)


async def start(database: Database, **options: Any) -> None:
    """The start of a process."""
    await prepare(database, settings("http://127.0.0.1", database.table, **options))


async def filled(factory: Factory, count: int = 10) -> list[Record]:
    records = numbered(count)
    async with factory() as repository:
        assert applied(await repository.swap([Change(None, one) for one in records]))
    return records


async def test_a_rolling_upgrade(
    direct: Factory, ours: Database, release: Callable[[int], None], items: Callable[[], list[Item]]
) -> None:
    """Old and new releases work side by side until it is finished, and a rollback needs no steps."""
    records = await filled(direct)
    async with direct() as old:
        release(2)
        await asyncio.gather(*(start(ours) for _ in range(8)))
        assert notes(items()) == {json.dumps(NOTED)}
        assert formats(items()) == ("2", "1")
        assert LOCK["sk"] not in [item["sk"] for item in items()]

        newer = [replace(one, revision=fresh(), spec="new") for one in records]
        assert applied(await old.swap([Change(one, new) for one, new in zip(records, newer, strict=True)]))
        assert await old.swap([Change(None, record("of the old release"))]) == [Swap.APPLIED]

        release(1)  # the rollback
        async with direct() as again:
            assert await again.read([one.ref for one in newer]) == newer

        release(2)
        await asyncio.gather(*(start(ours, finish_upgrade=True) for _ in range(8)))
        assert notes(items()) == {json.dumps({"S": "ended"})}
        assert formats(items()) == ("2", "2")
    release(1)
    with pytest.raises(StorageVersionException, match="can be read from format 2 on"):
        await start(ours)


async def test_several_create_the_table(ours: Database, items: Callable[[], list[Item]]) -> None:
    await asyncio.gather(*(start(ours) for _ in range(8)))
    assert formats(items()) == ("1", "1")


async def test_nothing_to_do(ours: Database, killable: Database, proxy: Wire) -> None:
    """One request besides the one for the table itself."""
    await start(ours)
    await start(killable)
    assert proxy.count() == {"DescribeTable": 1, "BatchGetItem": 1}


async def test_each_step_is_done_once(
    direct: Factory, ours: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []

    async def slow(_: Upgrade) -> None:
        done.append("begun")
        await asyncio.sleep(0.3)
        done.append("ended")

    steps = (*schema.migrations(), replace(STEPS[0], step=slow))
    await start(ours)
    monkeypatch.setattr(schema, "migrations", lambda: steps)
    with caplog.at_level("INFO", "pyncette.dynamodb"):
        await asyncio.gather(*(start(ours) for _ in range(8)))
    assert done == ["begun", "ended"]
    assert [one.message for one in caplog.records if "is done" in one.message] == [caplog.records[-1].message]


@pytest.mark.parametrize("step", [0, 1, 2], ids=["made", "expanded", "contracted"])
@pytest.mark.timeout(120)
async def test_killed_at_each_request(
    direct: Factory,
    ours: Database,
    killable: Database,
    proxy: Wire,
    dynamodb_server: Server,
    table_name: str,
    release: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    items: Callable[[], list[Item]],
    step: int,
) -> None:
    """The next process to start does the rest once the killed one's lock has expired."""
    monkeypatch.setattr(upgrade, "LOCK_DURATION", 0.1)
    await (filled(direct, 4) if step else start(ours))
    release(min(step, 1) + 1)
    if step == 2:
        await start(ours)
    before = items() if step else []
    for place in itertools.count():
        restore(dynamodb_server.endpoint, table_name, items(), before)
        proxy.script = killed_at(place)
        try:
            await start(killable, finish_upgrade=step != 1)
        except RepositoryException:
            await start(ours, finish_upgrade=step != 1)
            assert formats(items()) == [("1", "1"), ("2", "1"), ("2", "2")][step]
            assert notes(items()) <= {json.dumps(NOTED if step == 1 else {"S": "ended"})}
        else:
            break
    assert place > 5, "there was something to kill"


def restore(endpoint: str, table_name: str, now: list[Item], before: list[Item]) -> None:
    """Restore the table."""
    for item in now:
        call(endpoint, "DeleteItem", TableName=table_name, Key={"pk": item["pk"], "sk": item["sk"]})
    for item in before:
        call(endpoint, "PutItem", TableName=table_name, Item=item)


def killed_at(place: int) -> Callable[[Request], Answer | None]:
    """From that request on, nothing from the process gets through. A process that is killed before it gets the answer
    to the previous request leaves the same state."""
    count = itertools.count()

    def script(_: Request) -> Answer | None:
        if next(count) >= place:
            raise Cut
        return None

    return script


async def test_it_continues_where_a_killed_one_stopped(
    direct: Factory,
    ours: Database,
    killable: Database,
    proxy: Wire,
    release: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    items: Callable[[], list[Item]],
) -> None:
    await filled(direct, 20)
    release(2)
    scans = itertools.count()

    def killed(request: Request) -> Answer | None:
        if request.operation == "Scan" and next(scans) >= 4:
            proxy.script = killed_at(0)
            raise Cut
        return None

    monkeypatch.setattr(upgrade, "LOCK_DURATION", 1.0)
    proxy.script = killed
    with pytest.raises(RepositoryException):
        await start(killable)
    proxy.script = None
    proxy.requests.clear()
    await start(killable)
    first = next(request for request in proxy.requests if request.operation == "Scan")
    assert first.body["ExclusiveStartKey"]
    assert notes(items()) == {json.dumps(NOTED)}


async def test_other_processes_wait_while_the_lock_is_renewed(
    direct: Factory, ours: Database, release: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was suspended for too long notices that another has taken over, and does no damage."""
    monkeypatch.setattr(upgrade, "LOCK_DURATION", 0.4)
    begun: list[int] = []
    at_work, resume = asyncio.Event(), asyncio.Event()

    async def suspended(work: Upgrade) -> None:
        begun.append(len(begun))
        at_work.set()
        if len(begun) == 1:
            await resume.wait()
        else:
            for _ in range(8):
                await asyncio.sleep(0.1)
                await work.renew(work.lock.step, None)
        await work.rewrite(noted)

    await filled(direct)
    steps = (*schema.migrations(), replace(STEPS[0], step=suspended))
    monkeypatch.setattr(schema, "migrations", lambda: steps)
    first = asyncio.create_task(start(ours))
    await at_work.wait()
    await asyncio.gather(*(start(ours) for _ in range(4)))
    assert begun == [0, 1]
    resume.set()
    await first
    assert begun == [0, 1]


async def test_a_record_that_changes_during_the_upgrade(
    direct: Factory, killable: Database, proxy: Wire, release: Callable[[int], None], items: Callable[[], list[Item]]
) -> None:
    """Its new version is rewritten. A deleted record is not recreated."""
    changed, deleted, *_ = await filled(direct, 9)
    new = replace(changed, revision=fresh(), spec="new")
    async with direct() as old:
        release(2)
        raced = False

        def race(request: Request) -> Answer | None:
            nonlocal raced
            if request.operation == "BatchExecuteStatement" and "note" in str(request.body) and not raced:
                raced = True
                swaps = asyncio.run_coroutine_threadsafe(old.swap([Change(changed, new), Change(deleted, None)]), loop)
                assert applied(swaps.result(10))
            return None

        loop = asyncio.get_running_loop()
        proxy.script = race
        await start(killable)
        assert raced
        assert await old.read([changed.ref, deleted.ref]) == [new, None]
        assert notes(items()) == {json.dumps(NOTED)}
        assert len(await old.scan(TASK, after=None, limit=99)) == 8


async def test_an_error_in_the_middle(
    direct: Factory, ours: Database, release: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is released at once."""

    async def failing(_: Upgrade) -> None:
        raise RepositoryException("nonsense")

    await filled(direct)
    steps = (*schema.migrations(), replace(STEPS[0], step=failing))
    monkeypatch.setattr(schema, "migrations", lambda: steps)
    with pytest.raises(RepositoryException, match="nonsense"):
        await start(ours)
    release(2)
    async with asyncio.timeout(10):
        await start(ours)


class TestRefusals:
    async def test_a_skipped_step(self, direct: Factory, ours: Database, release: Callable[[int], None]) -> None:
        await start(ours)
        release(2)
        with pytest.raises(StorageVersionException, match="start it once without dynamodb_skip_table_create"):
            await start(ours, skip_table_create=True)
        await start(ours)
        await start(ours, skip_table_create=True)

    async def test_a_lost_format(
        self, direct: Factory, ours: Database, dynamodb_server: Server, table_name: str
    ) -> None:
        """The command in the message restores it."""
        await filled(direct)
        call(dynamodb_server.endpoint, "DeleteItem", TableName=table_name, Key=FORMAT)
        with pytest.raises(StorageVersionException) as caught:
            await start(ours)
        item = json.loads(str(caught.value).partition("--item '")[2].removesuffix("'"))
        call(dynamodb_server.endpoint, "PutItem", TableName=table_name, Item=item)
        await start(ours)

    async def test_options(self, direct: Factory) -> None:
        with pytest.raises(TypeError, match="finish_upgrade is 'yes': write True or False"):
            direct(finish_upgrade="yes")


@pytest.fixture(autouse=True)
def nothing_left(proxy: Wire) -> Iterator[None]:
    yield
    proxy.script = None
