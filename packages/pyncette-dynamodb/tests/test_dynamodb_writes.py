"""Batches of conditional writes: throttled ones are retried, unknown outcomes are reported, and nothing is lost."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest

from pyncette.dynamodb import connection
from pyncette.errors import (
    RepositoryException,
    RepositoryUnavailableException,
)
from pyncette.record import Change, Ref, Swap
from pyncette.repository import Repository
from pyncette.testing.contract.base import next_ready, take
from tests.helpers.dynamodb import (
    MINUTE,
    NOW,
    TASK,
    Answer,
    Cut,
    Request,
    Script,
    Wire,
    call,
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
from tests.servers.model import Server

Factory = Callable[..., AbstractAsyncContextManager[Repository]]

pytestmark = pytest.mark.anyio

THROTTLED = ("ProvisionedThroughputExceeded", "ThrottlingError", "RequestLimitExceeded", "TransactionConflict")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_LONGEST_PAUSE", 0.01)


def half_and_then_none(proxy: Wire) -> Script:
    """Every second statement of the first batch gets through, and nothing after it."""
    scripts = itertools.chain(
        [failing(proxy, itertools.cycle([None, "ThrottlingError"]))],
        itertools.repeat(failing(proxy, itertools.repeat("ProvisionedThroughputExceeded"))),
    )

    def script(request: Request) -> Answer | None:
        return next(scripts)(request)

    return for_writes(script)


class TestThrottling:
    @pytest.mark.parametrize("code", THROTTLED)
    async def test_throttled_statements_are_retried_until_they_succeed(
        self, watched: Factory, proxy: Wire, code: str
    ) -> None:
        """Each is throttled twice. Nothing is lost or done twice."""
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
            assert await repository.swap(inserts(records)) == [Swap.APPLIED] * 60
            changes = settlements(records)
            assert await repository.swap(changes) == [Swap.APPLIED] * 60
            assert set(attempts.values()) == {3}
            assert await repository.read([one.ref for one in records]) == [change.new for change in changes]

    async def test_only_throttled_statements_are_retried(self, watched: Factory, proxy: Wire) -> None:
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
            assert await repository.swap(inserts(records)) == [Swap.APPLIED] * 60
            refused = iter([code] * 6)
            assert await repository.read([one.ref for one in records]) == records
            refused = iter([code] * 6)
            assert await next_ready(repository, [TASK]) == NOW - 59
            refused = iter([code] * 6)
            assert await repository.scan(TASK, after=None, limit=60) != []

    async def test_without_end(self, watched: Factory, proxy: Wire) -> None:
        """The call fails within its time limit, and the writes that succeeded can be read."""
        async with watched() as repository:
            records = numbered(20)
            await introduce(repository)
            proxy.script = half_and_then_none(proxy)
            with pytest.raises(RepositoryUnavailableException, match="more than its capacity"):
                await repository.swap(inserts(records))
            proxy.script = None
            found = await repository.read([one.ref for one in records])
            assert found == [one if number % 2 == 0 else None for number, one in enumerate(records)]

    async def test_a_claim_returns_what_was_not_throttled(self, watched: Factory, proxy: Wire) -> None:
        """The remaining records can be claimed later."""
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
        """Of several requests, one loses its answer. The others complete before the call fails."""
        async with watched() as repository:
            records = numbered(100)
            places = itertools.count()

            def script(request: Request) -> Answer:
                answer = request.forward(proxy.server)
                if next(places) == 1:
                    raise Cut
                return answer

            await introduce(repository)
            proxy.requests.clear()
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
            assert await repository.swap(inserts([one])) == [Swap.APPLIED]

    async def test_dynamodb_fails_in_a_statement(self, watched: Factory, proxy: Wire) -> None:
        """The statement may have been executed. A retry would conflict with it, and be reported as a conflict."""
        async with watched() as repository:
            records = numbered(30)
            await introduce(repository)
            proxy.requests.clear()
            proxy.script = failing(proxy, itertools.cycle([None, None, "InternalServerError"]), executed=True)
            with pytest.raises(RepositoryUnavailableException, match="unknown"):
                await repository.swap(inserts(records))
            assert proxy.count()["BatchExecuteStatement"] == 2
            proxy.script = None
            assert await repository.read([one.ref for one in records]) == records

    @pytest.mark.parametrize("status, code", [(500, "InternalServerError"), (503, "ServiceUnavailable")])
    async def test_dynamodb_fails_in_a_request(self, watched: Factory, proxy: Wire, status: int, code: str) -> None:
        """Reads are retried, writes are not."""
        async with watched() as repository:
            proxy.requests.clear()
            one = record("a")
            proxy.script = for_writes(lambda request: Answer.error(code, status=status))
            with pytest.raises(RepositoryUnavailableException, match=code):
                await repository.swap(inserts([one]))
            assert proxy.count()["BatchExecuteStatement"] == 1
            answers = iter([Answer.error(code, status=status)] * 2)
            proxy.script = lambda request: next(answers, None)
            assert await repository.read([one.ref]) == [None]

    async def test_a_claim_returns_what_it_has_won(self, watched: Factory, proxy: Wire) -> None:
        """One of its requests loses its answer. The leases of the others are returned, and its own expire."""
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
            again = await take(repository, want(TASK), now=NOW + MINUTE, limit=100, token=fresh(), holder=fresh())
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

    async def test_a_claim_keeps_what_it_won_before_an_error(self, watched: Factory, proxy: Wire) -> None:
        """Others win half of its entries, and the search for more fails."""
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
    async def test_a_record_that_does_not_exist(self, watched: Factory, proxy: Wire) -> None:
        """For DynamoDB, unlike DynamoDB Local, that is a success. Only records that were deleted are returned."""

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
            assert await repository.swap(changes) == [Swap.APPLIED, Swap.CONFLICT, Swap.CONFLICT]


async def test_the_table_is_gone(direct: Factory, table_name: str, dynamodb_server: Server) -> None:
    """Every method reports it clearly, and works again once the table is back."""
    one = record("a")
    async with direct() as repository:
        await repository.swap(inserts([one]))
        call(dynamodb_server.endpoint, "DeleteTable", TableName=table_name)
        for attempt in (
            lambda: repository.read([one.ref]),
            lambda: repository.swap([Change(one, None)]),
            lambda: claim(repository),
            lambda: repository.scan(TASK, after=None, limit=1),
            lambda: next_ready(repository, [TASK]),
        ):
            with pytest.raises(RepositoryException, match="it is gone"):
                await attempt()
        async with direct():
            assert await repository.read([Ref("task", "task:a")]) == [None]
            assert await repository.swap(inserts([one])) == [Swap.APPLIED]
