"""The index lags behind, so its entries are only hints; and other apps' records are stored between ours."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta

import anyio
import pytest

from pyncette import Context, Pyncette, lease
from pyncette.dynamodb.codec import INDEX, SHARDS
from pyncette.record import Change, Queue, Record, Swap
from pyncette.repository import Repository
from pyncette.testing.contract.base import applied, next_ready, ready, take
from tests.helpers.dynamodb import (
    MINUTE,
    NOW,
    TASK,
    Answer,
    Body,
    Request,
    Wire,
    call,
    fresh,
    numbered,
    record,
    want,
)

Factory = Callable[..., AbstractAsyncContextManager[Repository]]

pytestmark = pytest.mark.anyio


class Frozen:
    """Freezes the index: queries see it as it is now, whatever is written later."""

    def __init__(self, proxy: Wire, table: str) -> None:
        items = call(proxy.server, "Scan", TableName=table, IndexName=INDEX)["Items"]
        self._items: list[Body] = sorted(items, key=_moment_of)
        self.asked = 0
        proxy.script = self._answer

    def _answer(self, request: Request) -> Answer | None:
        if "IndexName" not in request.body:
            return None
        self.asked += 1
        start, limit = request.body.get("ExclusiveStartKey"), request.body.get("Limit", len(self._items))
        rest = [item for item in self._items if self._meets(item, request.body)]
        if start is not None:
            rest = [item for item in rest if _moment_of(item) > _moment_of(start)]
        if len(rest) <= limit:
            return Answer({"Items": rest})
        return Answer({"Items": rest[:limit], "LastEvaluatedKey": rest[limit - 1]})

    @staticmethod
    def _meets(item: Body, question: Body) -> bool:
        values = question["ExpressionAttributeValues"]
        first = int(values[":first"]["N"]) if ":first" in values else 0
        return bool(item["pk"] == values[":place"]) and first <= int(item["ready_at"]["N"]) <= int(values[":last"]["N"])


def _moment_of(item: Body) -> tuple[int, str]:
    return int(item["ready_at"]["N"]), item["sk"]["S"]


def tried(proxy: Wire) -> int:
    """How many records claims have tried since the last call. Inserts and deletions of apps don't count."""
    batches = [request for request in proxy.requests if request.operation == "BatchExecuteStatement"]
    proxy.requests.clear()
    statements = [one["Statement"] for request in batches for one in request.statements]
    return sum(one.startswith("UPDATE") for one in statements)


async def insert(repository: Repository, records: list[Record]) -> None:
    assert applied(await repository.swap([Change(None, one) for one in records]))


async def claim(repository: Repository, limit: int = 100, *queues: Queue) -> list[Record]:
    token = fresh()
    wanted = want(*(queues or (TASK,)), limit=limit)
    return await take(repository, wanted, now=NOW, limit=limit, token=token, holder=token)


class TestStaleEntries:
    async def test_a_record_leased_to_another_is_tried_once(
        self, direct: Factory, watched: Factory, proxy: Wire, table_name: str
    ) -> None:
        """And never claimed twice, however often the index shows it as ready."""
        async with direct() as one, watched() as other:
            await insert(one, numbered(20))
            Frozen(proxy, table_name)
            taken = await claim(one)
            assert len(taken) == 20
            tried(proxy)
            assert await claim(other) == []
            assert tried(proxy) == 20
            for _ in range(3):
                assert await claim(other) == []
                assert tried(proxy) == 0
            assert await one.read([each.ref for each in taken]) == taken

    async def test_a_record_changed_by_this_client_is_not_tried_at_all(
        self, watched: Factory, proxy: Wire, table_name: str
    ) -> None:
        async with watched() as repository:
            await insert(repository, numbered(30))
            Frozen(proxy, table_name)
            for _ in range(3):
                tried(proxy)
                taken = await claim(repository, 10)
                assert len(taken) == 10
                assert tried(proxy) == 10
                done = [lease.complete(one, next_due=NOW + MINUTE, revision=fresh()) for one in taken]
                assert applied(await repository.swap(done))

    async def test_a_claim_looks_beyond_them(
        self, direct: Factory, watched: Factory, proxy: Wire, table_name: str
    ) -> None:
        """The same call finds free records after those that others have claimed."""
        async with direct() as one, watched() as other:
            records = numbered(30)
            await insert(one, records)
            Frozen(proxy, table_name)
            assert len(await claim(one, 20)) == 20
            taken = await claim(other, 10)
            assert {each.key for each in taken} == {each.key for each in records[20:]}

    async def test_a_recreated_record(self, direct: Factory, watched: Factory, proxy: Wire, table_name: str) -> None:
        """The entry of its predecessor can't be used to claim it: its lease holds."""
        async with direct() as one, watched() as other:
            before = record("a")
            await insert(one, [before])
            Frozen(proxy, table_name)
            again = replace(before, revision=fresh())
            assert await one.swap([Change(before, None)]) == [Swap.APPLIED]
            await insert(one, [again])
            (held,) = await claim(one)
            assert await claim(other) == []
            assert await one.read([before.ref]) == [held]

    async def test_due_records_are_read_from_the_table(
        self, direct: Factory, watched: Factory, proxy: Wire, table_name: str
    ) -> None:
        async with direct() as one, watched() as other:
            a, b, c = numbered(3)
            await insert(one, [a, b, c])
            Frozen(proxy, table_name)
            assert await ready(other, want(TASK), now=NOW, limit=100) == [a, b, c]
            sooner = replace(c, ready_at=NOW - MINUTE, revision=fresh())
            later = replace(b, ready_at=NOW + MINUTE, revision=fresh())
            await one.swap([Change(a, None), Change(b, later), Change(c, sooner)])
            assert await ready(other, want(TASK), now=NOW, limit=100) == []
            assert await other.read([c.ref]) == [sooner]

    async def test_a_record_that_is_not_in_the_index_yet(
        self, direct: Factory, watched: Factory, proxy: Wire, table_name: str
    ) -> None:
        async with direct() as one, watched() as other:
            Frozen(proxy, table_name)
            await insert(one, [record("a")])
            assert await claim(other) == []
            proxy.script = None
            assert len(await claim(other)) == 1

    async def test_an_app_does_not_spin(self, direct: Factory, watched: Factory, proxy: Wire, table_name: str) -> None:
        """It sees leased records as ready, but queries no more often than usual, and tries each only once."""
        executed: list[str] = []
        app = Pyncette(repository_factory=watched, poll_interval=timedelta(seconds=0.2))

        @app.dynamic_task(name="task")
        async def task(context: Context) -> None:
            executed.append(context.task.name)

        async with direct() as other:
            await insert(other, [replace(one, ready_at=0) for one in numbered(8)])
            frozen = Frozen(proxy, table_name)
            assert len(await claim(other)) == 8
        started = anyio.current_time()
        async with app.create() as context, anyio.create_task_group() as tasks:
            tasks.start_soon(context.run)
            await anyio.sleep(2)
            context.shutdown()
        elapsed = anyio.current_time() - started  # on a busy machine, longer than the sleep
        assert executed == []
        assert tried(proxy) == 8
        passes = elapsed / 0.2 + 2
        assert 8 < frozen.asked <= passes * 3 * SHARDS  # for the next, the ready and the following ones


class TestContention:
    async def test_claims_that_compete_spread_out(
        self, direct: Factory, watched: Factory, proxy: Wire, table_name: str
    ) -> None:
        """A client that lost picks its next records at random from more entries, and later the earliest ones again."""
        async with direct() as one, watched() as other:
            records = numbered(200)
            await insert(one, records)
            Frozen(proxy, table_name)
            assert len(await claim(one, 60)) == 60
            assert await claim(other, 10) == []
            proxy.script = None
            spread = {each.key for each in await claim(other, 10)}
            assert len(spread) == 10
            assert spread <= {each.key for each in records[60:140]}
            assert spread != {each.key for each in records[60:70]}
            for _ in range(3):
                await claim(other, 1)
            left = await ready(one, want(TASK, limit=200), now=NOW, limit=200)
            assert [each.key for each in await claim(other, 5)] == [each.key for each in left[:5]]


class TestNeighbours:
    async def test_static_tasks_of_other_apps(self, watched: Factory, proxy: Wire) -> None:
        """Those of other apps and of removed tasks share the partition key, and are overdue forever."""
        async with watched() as repository:
            others = [record(f"other{n:03}", queue=f"other{n:03}", ready_at=NOW - 10_000 + n) for n in range(300)]
            ours = [record(f"own{n}", queue=f"own{n}", ready_at=NOW - 5 + 10 * n) for n in range(2)]
            await insert(repository, [*others, *ours])
            queues = [Queue(one.queue, static=True) for one in ours]
            proxy.requests.clear()
            assert await next_ready(repository, queues) == NOW - 5
            assert proxy.count() == {"Query": 2}
            assert await next_ready(repository, queues, after=NOW) == NOW + 5
            assert await next_ready(repository, queues[1:], after=NOW + 5) is None
            assert await ready(repository, want(*queues), now=NOW, limit=100) == ours[:1]
            (taken,) = await claim(repository, 100, *queues)
            assert taken.key == "own0"
            assert await next_ready(repository, queues) == NOW + 5

    async def test_static_tasks_on_several_pages(self, watched: Factory, proxy: Wire) -> None:
        """DynamoDB returns a megabyte at a time."""

        def short_pages(request: Request) -> Answer | None:
            if request.operation != "Query":
                return None
            limit = min(7, request.body.get("Limit", 7))
            return request.forward(proxy.server, Limit=limit)

        async with watched() as repository:
            statics = [record(f"static{n}", queue=f"static{n}", ready_at=NOW - n) for n in range(60)]
            await insert(repository, [*statics, *numbered(60)])
            proxy.script = short_pages
            queues = [Queue(one.queue, static=True) for one in statics]
            assert await ready(repository, want(*queues), now=NOW, limit=100) == statics
            assert len(await claim(repository, 60)) == 60
            assert len(await repository.scan(TASK, after=None, limit=100)) == 60
            assert await next_ready(repository, [queues[3]]) == NOW - 3

    async def test_prefixes_isolate_apps(self, direct: Factory) -> None:
        """Apps with different prefixes share a table, and have tasks of the same names."""
        prefixes = ("", "a", "a:", ":0", "b")
        for prefix in prefixes:
            async with direct(dynamodb_partition_prefix=prefix) as repository:
                records = [record("same", spec=prefix), record("static", queue="static", spec=prefix)]
                await insert(repository, records)
        for prefix in prefixes:
            async with direct(dynamodb_partition_prefix=prefix) as repository:
                queues = (TASK, Queue("static", static=True))
                assert {one.spec for one in await repository.scan(TASK, after=None, limit=10)} == {prefix}
                taken = await claim(repository, 10, *queues)
                assert [one.spec for one in taken] == [prefix] * 2
                assert await claim(repository, 10, *queues) == []
