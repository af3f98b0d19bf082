"""Sizes that DynamoDB refuses or splits into pages, and the round trips of calls."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest

from pyncette.dynamodb import connection
from pyncette.errors import RecordRefusedException, RepositoryException
from pyncette.record import Change, Swap
from pyncette.repository import Repository
from pyncette.testing.contract.base import applied, next_ready, take
from tests.helpers.dynamodb import (
    NOW,
    TASK,
    Answer,
    Request,
    Wire,
    claim,
    failing,
    for_writes,
    fresh,
    inserts,
    introduce,
    numbered,
    record,
    settlements,
    want,
)

Factory = Callable[..., AbstractAsyncContextManager[Repository]]

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_LONGEST_PAUSE", 0.01)


class TestSizes:
    async def test_a_record_that_only_the_server_refuses(self, watched: Factory, proxy: Wire) -> None:
        """In case DynamoDB computes sizes differently."""
        async with watched() as repository:
            message = "Item size has exceeded the maximum allowed size"

            def script(request: Request) -> Answer:
                return Answer({"Responses": [{"Error": {"Code": "ValidationError", "Message": message}}]})

            proxy.script = for_writes(script)
            with pytest.raises(RecordRefusedException, match="may have 400,000 bytes"):
                await repository.swap(inserts([record("large")]))
            proxy.script = failing(proxy, iter(["ValidationError"]))
            with pytest.raises(RepositoryException, match="ValidationError: injected"):
                await repository.swap(inserts([record("odd")]))

    @pytest.mark.parametrize("letter", ["x", '"', "ü", "あ", "\U0001f600"])
    async def test_the_largest_record(self, direct: Factory, letter: str) -> None:
        """400,000 bytes fit with the longest names and the largest numbers; one more is refused before it is sent."""
        size = len(letter.encode())
        queue, prefix = "q" * 510, "p:" * 127
        spec = letter * (400_000 // size)
        one = replace(
            record(""),
            queue=queue,
            key=f"{queue}:{'k' * 513}",
            due_at=2**63 - 1,
            ready_at=NOW,
            fence=2**62,
            attempt=2**31,
            revision="r" * 64,
            spec=spec,
        )
        async with direct(dynamodb_partition_prefix=prefix) as repository:
            assert await repository.swap(inserts([one])) == [Swap.APPLIED]
            (taken,) = await take(
                repository,
                [replace(want(TASK)[0], queue=replace(TASK, name=queue))],
                now=NOW,
                limit=1,
                token="t" * 64,
                holder="h" * 300,
            )
            assert taken.spec == spec
            with pytest.raises(RecordRefusedException, match="400,000 bytes"):
                await repository.swap([Change(taken, replace(taken, spec=spec + letter, revision=fresh()))])
            assert await repository.read([one.ref]) == [taken]

    async def test_large_batches_are_split(self, watched: Factory, proxy: Wire) -> None:
        """Requests stay below the size that the driver writes to the network at once."""
        async with watched() as repository:
            await introduce(repository)
            proxy.requests.clear()
            records = [record(f"{n}", spec="x" * 30_000) for n in range(40)]
            assert await repository.swap(inserts(records)) == [Swap.APPLIED] * 40
            assert [len(str(request.body)) < 2**20 for request in proxy.requests] == [True] * 3
            assert await repository.swap([Change(one, None) for one in records]) == [Swap.APPLIED] * 40

    async def test_answers_in_several_pages(self, direct: Factory) -> None:
        """100 records of 300 KB are more than DynamoDB returns at once."""
        records = [record(f"{n}", spec=f"{n:03}" + "x" * 300_000) for n in range(60)]
        async with direct() as repository:
            assert applied(await repository.swap(inserts(records)))
            assert await repository.read([one.ref for one in records]) == records
            assert len(await repository.scan(TASK, after=None, limit=100)) == 60

    async def test_unprocessed_keys(self, watched: Factory, proxy: Wire) -> None:
        """Keys that come back unprocessed are requested again, even if all of them do."""
        async with watched() as repository:
            records = numbered(30)
            await repository.swap(inserts(records))
            table = proxy.requests[0].body["TableName"]
            rounds = itertools.count()

            def script(request: Request) -> Answer:
                keys = request.body["RequestItems"][table]["Keys"]
                served = [] if next(rounds) % 3 else keys[:7]
                left = {table: {"Keys": keys[len(served) :], "ConsistentRead": True}}
                if not served:
                    return Answer({"Responses": {table: []}, "UnprocessedKeys": left})
                items = {table: {"Keys": served, "ConsistentRead": True}}
                body = request.forward(proxy.server, RequestItems=items).body
                return Answer({**body, "UnprocessedKeys": left if keys[7:] else {}})

            proxy.script = script
            assert await repository.read([one.ref for one in records]) == records


class TestRoundTrips:
    """How many requests a call sends."""

    async def test_requests_of_every_method(self, watched: Factory, proxy: Wire) -> None:
        async with watched() as repository:
            await introduce(repository)
            proxy.requests.clear()
            records = numbered(100)
            await repository.swap(inserts(records))
            assert proxy.count() == {"BatchExecuteStatement": 4}
            taken = await claim(repository)
            assert len(taken) == 100
            assert proxy.count() == {"Query": 4, "BatchExecuteStatement": 4}
            await repository.swap(settlements(taken))
            assert proxy.count() == {"BatchExecuteStatement": 4}
            await next_ready(repository, [TASK])
            assert proxy.count() == {"Query": 4}
            await repository.read([one.ref for one in records] * 2)
            assert proxy.count() == {"BatchGetItem": 1}
            await repository.scan(TASK, after=None, limit=5)
            assert proxy.count() == {"Query": 1}
            await repository.clock()
            assert await repository.swap([]) == []
            assert await repository.read([]) == []
            assert proxy.count() == {}

    async def test_500_static_tasks_cost_one(self, watched: Factory, proxy: Wire) -> None:
        async with watched() as repository:
            statics = [record(f"static{n}", queue=f"static{n}", ready_at=NOW - n) for n in range(500)]
            await repository.swap(inserts(statics))
            queues = [replace(TASK, name=one.queue, static=True) for one in statics]
            proxy.requests.clear()
            assert await next_ready(repository, queues) == NOW - 499
            assert proxy.count() == {"Query": 1}
            assert await take(repository, want(*queues), now=NOW - 1000, limit=100, token="t", holder="h") == []
            assert proxy.count() == {"Query": 1}
            taken = await take(repository, want(*queues), now=NOW, limit=50, token="t", holder="h")
            assert [one.key for one in taken] == [one.key for one in statics[:50]]
            assert proxy.count() == {"Query": 1, "BatchExecuteStatement": 2}
