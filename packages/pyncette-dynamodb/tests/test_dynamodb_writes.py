"""Batches of conditional writes: what is throttled comes again, what is unknown is said, and nothing is lost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest

from pyncette import lease
from pyncette.dynamodb import database
from pyncette.errors import (
    RecordRefusedException,
    RepositoryException,
    RepositoryUnavailableException,
)
from pyncette.record import Change, Record, Ref
from pyncette.repository import Repository
from tests.dynamodb_kit import (
    MINUTE,
    NOW,
    TASK,
    Answer,
    Body,
    Cut,
    Request,
    Script,
    Wire,
    call,
    fresh,
    numbered,
    record,
    want,
)
from tests.servers.model import Server

Factory = Callable[..., AbstractAsyncContextManager[Repository]]

pytestmark = pytest.mark.anyio

THROTTLED = ("ProvisionedThroughputExceeded", "ThrottlingError", "RequestLimitExceeded", "TransactionConflict")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BACKOFF", 0.001)


def inserts(records: list[Record]) -> list[Change]:
    return [Change(None, one) for one in records]


def settlements(records: list[Record]) -> list[Change]:
    """Half of them are over, the others go on."""
    return [
        lease.complete(one, next_due=NOW + MINUTE if number % 2 else None, revision=fresh())
        for number, one in enumerate(records)
    ]


async def claim(repository: Repository, limit: int = 100) -> list[Record]:
    token = fresh()
    return await repository.claim(want(TASK, limit=limit), now=NOW, limit=limit, token=token, holder=token)


def for_writes(script: Script) -> Script:
    return lambda request: script(request) if request.operation == "BatchExecuteStatement" else None


def failing(proxy: Wire, codes: Iterator[str | None], *, executed: bool = False) -> Script:
    """Statement by statement an error in place of the outcome, None: none.

    :param executed: whether the statement is carried out nevertheless.
    """

    def script(request: Request) -> Answer:
        chosen = [next(codes) for _ in request.statements]
        sent = [one for one, code in zip(request.statements, chosen, strict=True) if executed or code is None]
        answers = iter(request.forward(proxy.server, Statements=sent).body["Responses"]) if sent else iter(())
        responses: list[Body] = []
        for code in chosen:
            real = next(answers) if executed or code is None else {}
            responses.append(real if code is None else {"Error": {"Code": code, "Message": "injected"}})
        return Answer({"Responses": responses})

    return for_writes(script)


def half_and_then_none(proxy: Wire) -> Script:
    """Each second statement of the first batch gets through, and nothing later."""
    scripts = itertools.chain(
        [failing(proxy, itertools.cycle([None, "ThrottlingError"]))],
        itertools.repeat(failing(proxy, itertools.repeat("ProvisionedThroughputExceeded"))),
    )

    def script(request: Request) -> Answer | None:
        return next(scripts)(request)

    return for_writes(script)


class TestThrottling:
    @pytest.mark.parametrize("code", THROTTLED)
    async def test_statements_come_again_until_they_are_through(self, watched: Factory, proxy: Wire, code: str) -> None:
        """Each is throttled twice, and nothing is lost or done twice."""
        async with watched() as repository:
            records = numbered(60)
            attempts: dict[str, int] = {}

            def script(request: Request) -> Answer:
                keys = [str(one["Parameters"]) for one in request.statements]
                for key in keys:
                    attempts[key] = attempts.get(key, 0) + 1
                codes = iter([code if attempts[key] <= 2 else None for key in keys])
                answer = failing(proxy, codes)(request)
                assert answer is not None
                return answer

            proxy.script = for_writes(script)
            assert await repository.swap(inserts(records)) == [True] * 60
            changes = settlements(records)
            assert await repository.swap(changes) == [True] * 60
            assert set(attempts.values()) == {3}
            assert await repository.read([one.ref for one in records]) == [change.new for change in changes]

    async def test_only_what_was_throttled_is_sent_again(self, watched: Factory, proxy: Wire) -> None:
        async with watched() as repository:
            await repository.swap(inserts(numbered(50)))
            proxy.requests.clear()
            codes = itertools.chain(([None] * 9 + ["ThrottlingError"]) * 5, itertools.repeat(None))
            proxy.script = failing(proxy, codes)
            assert len(await claim(repository)) == 50
            sizes = [len(r.statements) for r in proxy.requests if r.operation == "BatchExecuteStatement"]
            assert sorted(sizes) == [5, 25, 25]

    @pytest.mark.parametrize(
        "code",
        ["ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"],
    )
    async def test_whole_requests(self, watched: Factory, proxy: Wire, code: str) -> None:
        async with watched() as repository:
            refused = iter([code] * 6)

            def script(request: Request) -> Answer | None:
                return Answer.error(one) if (one := next(refused, None)) else None

            proxy.script = script
            records = numbered(60)
            assert await repository.swap(inserts(records)) == [True] * 60
            refused = iter([code] * 6)
            assert await repository.read([one.ref for one in records]) == records
            refused = iter([code] * 6)
            assert await repository.next_ready([TASK]) == NOW - 59
            refused = iter([code] * 6)
            assert await repository.scan(TASK, after=None, limit=60) != []

    async def test_without_end(self, watched: Factory, proxy: Wire) -> None:
        """Said in time, and what was done meanwhile is there to be read."""
        async with watched() as repository:
            records = numbered(20)
            proxy.script = half_and_then_none(proxy)
            with pytest.raises(RepositoryUnavailableException, match="more than its capacity"):
                await repository.swap(inserts(records))
            proxy.script = None
            found = await repository.read([one.ref for one in records])
            assert found == [one if number % 2 == 0 else None for number, one in enumerate(records)]

    async def test_a_claim_takes_what_it_can_get(self, watched: Factory, proxy: Wire) -> None:
        """The rest stays for later, and is not lost."""
        async with watched() as repository:
            records = numbered(40)
            await repository.swap(inserts(records))
            proxy.script = half_and_then_none(proxy)
            taken = await claim(repository, limit=25)
            assert len(taken) == 13
            assert await repository.read([one.ref for one in taken]) == taken
            with pytest.raises(RepositoryUnavailableException, match="capacity"):
                await claim(repository)
            proxy.script = None
            assert len(await claim(repository)) == 27


class TestUnknownOutcomes:
    async def test_a_reply_that_is_lost(self, watched: Factory, proxy: Wire) -> None:
        """One request of several: all of the others end before the caller hears of it."""
        async with watched() as repository:
            records = numbered(100)
            places = itertools.count()

            def script(request: Request) -> Answer:
                answer = request.forward(proxy.server)
                if next(places) == 1:
                    raise Cut
                return answer

            proxy.script = for_writes(script)
            with pytest.raises(RepositoryUnavailableException, match="can't be reached") as lost:
                await repository.swap(inserts(records))
            assert lost.value.__cause__ is not None
            assert proxy.count()["BatchExecuteStatement"] == 4, "the driver has tried nothing again"
            assert await repository.read([one.ref for one in records]) == records

    async def test_a_request_that_is_lost(self, watched: Factory, proxy: Wire) -> None:
        async with watched() as repository:

            def cut(request: Request) -> Answer:
                raise Cut

            proxy.script = for_writes(cut)
            one = record("a")
            with pytest.raises(RepositoryUnavailableException):
                await repository.swap(inserts([one]))
            proxy.script = None
            assert await repository.read([one.ref]) == [None]
            assert await repository.swap(inserts([one])) == [True]

    async def test_dynamodb_fails_in_a_statement(self, watched: Factory, proxy: Wire) -> None:
        """It may have been carried out: sent again it would meet itself, and be reported as lost."""
        async with watched() as repository:
            records = numbered(30)
            proxy.script = failing(proxy, itertools.cycle([None, None, "InternalServerError"]), executed=True)
            with pytest.raises(RepositoryUnavailableException, match="unknown"):
                await repository.swap(inserts(records))
            assert proxy.count()["BatchExecuteStatement"] == 2
            proxy.script = None
            assert await repository.read([one.ref for one in records]) == records

    @pytest.mark.parametrize("status, code", [(500, "InternalServerError"), (503, "ServiceUnavailable")])
    async def test_dynamodb_fails_in_a_request(self, watched: Factory, proxy: Wire, status: int, code: str) -> None:
        """Writes are not sent again, questions are."""
        async with watched() as repository:
            one = record("a")
            proxy.script = for_writes(lambda request: Answer.error(code, status=status))
            with pytest.raises(RepositoryUnavailableException, match=code):
                await repository.swap(inserts([one]))
            assert proxy.count()["BatchExecuteStatement"] == 1
            answers = iter([Answer.error(code, status=status)] * 2)
            proxy.script = lambda request: next(answers, None)
            assert await repository.read([one.ref]) == [None]

    async def test_a_claim_returns_what_it_has_won(self, watched: Factory, proxy: Wire) -> None:
        """One of its requests is lost on the way back: the others' leases are taken up, its own expire."""
        async with watched() as repository:
            records = numbered(100)
            await repository.swap(inserts(records))
            places = itertools.count()

            def script(request: Request) -> Answer:
                answer = request.forward(proxy.server)
                if next(places) == 2:
                    raise Cut
                return answer

            proxy.script = for_writes(script)
            taken = await claim(repository)
            assert len(taken) == 75
            assert await repository.read([one.ref for one in taken]) == taken
            assert await claim(repository) == []
            again = await repository.claim(want(TASK), now=NOW + MINUTE, limit=100, token=fresh(), holder=fresh())
            assert len(again) == 100

    async def test_a_claim_that_won_nothing_says_why(self, watched: Factory, proxy: Wire) -> None:
        async with watched() as repository:
            await repository.swap(inserts(numbered(3)))
            proxy.script = for_writes(lambda request: Answer.error("AccessDeniedException"))
            with pytest.raises(RepositoryException, match="policy"):
                await claim(repository)
            proxy.script = failing(proxy, itertools.repeat("AccessDenied"))
            with pytest.raises(RepositoryException, match="policy"):
                await claim(repository)

    async def test_a_claim_keeps_what_it_won_before_the_trouble(self, watched: Factory, proxy: Wire) -> None:
        """Half of its entries are lost to others, and the search for more fails."""
        async with watched() as repository:
            await repository.swap(inserts(numbered(60)))
            first = failing(proxy, itertools.cycle([None, "ConditionalCheckFailed"]))

            def script(request: Request) -> Answer | None:
                if request.operation == "BatchExecuteStatement":
                    proxy.script = lambda request: Answer.error("AccessDeniedException")
                    return first(request)
                return None

            proxy.script = script
            assert len(await claim(repository, limit=10)) == 5


class TestDeleting:
    async def test_what_is_not_there(self, watched: Factory, proxy: Wire) -> None:
        """DynamoDB calls that a success, unlike DynamoDB Local: only what was deleted comes back."""

        def script(request: Request) -> Answer:
            answer = request.forward(proxy.server)
            for statement, response in zip(request.statements, answer.body["Responses"], strict=True):
                if statement["Statement"].startswith("DELETE") and "absent" in str(statement["Parameters"]):
                    response.pop("Error")
            return answer

        async with watched() as repository:
            one, other, absent = record("one"), record("other"), record("absent")
            await repository.swap(inserts([one, other]))
            proxy.script = for_writes(script)
            changes = [Change(one, None), Change(absent, None), Change(replace(other, revision=fresh()), None)]
            assert await repository.swap(changes) == [True, False, False]


class TestSizes:
    async def test_what_the_server_refuses(self, watched: Factory, proxy: Wire) -> None:
        """Should DynamoDB count otherwise than we do."""
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
            assert await repository.swap(inserts([one])) == [True]
            (taken,) = await repository.claim(
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

    async def test_large_batches_are_cut(self, watched: Factory, proxy: Wire) -> None:
        """Requests stay below what the driver writes to the network at once."""
        async with watched() as repository:
            proxy.requests.clear()
            records = [record(f"{n}", spec="x" * 30_000) for n in range(40)]
            assert await repository.swap(inserts(records)) == [True] * 40
            assert [len(str(request.body)) < 2**20 for request in proxy.requests] == [True] * 3
            assert await repository.swap([Change(one, None) for one in records]) == [True] * 40

    async def test_answers_that_are_cut(self, direct: Factory) -> None:
        """100 records of 300 KB are more than DynamoDB gives at once."""
        records = [record(f"{n}", spec=f"{n:03}" + "x" * 300_000) for n in range(60)]
        async with direct() as repository:
            assert all(await repository.swap(inserts(records)))
            assert await repository.read([one.ref for one in records]) == records
            assert len(await repository.scan(TASK, after=None, limit=100)) == 60

    async def test_records_that_the_server_has_no_time_for(self, watched: Factory, proxy: Wire) -> None:
        """Keys that come back unprocessed are asked for again, also if all of them do."""
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
    """Requests that a call costs."""

    async def test_of_every_method(self, watched: Factory, proxy: Wire) -> None:
        async with watched() as repository:
            proxy.requests.clear()
            records = numbered(100)
            await repository.swap(inserts(records))
            assert proxy.count() == {"BatchExecuteStatement": 4}
            taken = await claim(repository)
            assert len(taken) == 100
            assert proxy.count() == {"Query": 4, "BatchExecuteStatement": 4}
            await repository.swap(settlements(taken))
            assert proxy.count() == {"BatchExecuteStatement": 4}
            await repository.next_ready([TASK])
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
            assert await repository.next_ready(queues) == NOW - 499
            assert proxy.count() == {"Query": 1}
            assert await repository.claim(want(*queues), now=NOW - 1000, limit=100, token="t", holder="h") == []
            assert proxy.count() == {"Query": 1}
            taken = await repository.claim(want(*queues), now=NOW, limit=50, token="t", holder="h")
            assert [one.key for one in taken] == [one.key for one in statics[:50]]
            assert proxy.count() == {"Query": 1, "BatchExecuteStatement": 2}


async def test_the_table_is_gone(direct: Factory, table_name: str, dynamodb_server: Server) -> None:
    """Said plainly by every method; and once it is there again all goes on."""
    one = record("a")
    async with direct() as repository:
        await repository.swap(inserts([one]))
        call(dynamodb_server.endpoint, "DeleteTable", TableName=table_name)
        for attempt in (
            lambda: repository.read([one.ref]),
            lambda: repository.swap([Change(one, None)]),
            lambda: claim(repository),
            lambda: repository.scan(TASK, after=None, limit=1),
            lambda: repository.next_ready([TASK]),
        ):
            with pytest.raises(RepositoryException, match="it is gone"):
                await attempt()
        async with direct():
            assert await repository.read([Ref("task", "task:a")]) == [None]
            assert await repository.swap(inserts([one])) == [True]
