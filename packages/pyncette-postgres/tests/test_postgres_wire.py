"""The wire protocol: one round trip for each call, and what happens to calls whose answer is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from pyncette.errors import RepositoryUnavailableException
from pyncette.postgres import connection as database
from pyncette.postgres import postgres_repository
from pyncette.record import Change, Queue, Swap
from pyncette.repository import Repository
from pyncette.testing.contract.base import applied, take
from tests.helpers import postgres as helpers
from tests.helpers.postgres import MINUTE, NOW, TASK, Wire, fresh, record, want
from tests.servers.model import Server

STATICS = [Queue(f"static{number}", static=True) for number in range(500)]


@pytest.fixture
def table(postgres_server: Server) -> Iterator[str]:
    with helpers.table(postgres_server.url) as name:
        yield name


@pytest.fixture
async def wire(postgres_server: Server) -> AsyncIterator[Wire]:
    async with Wire(postgres_server.url) as wire:
        yield wire


@pytest.fixture
async def repository(wire: Wire, table: str) -> AsyncIterator[Repository]:
    async with postgres_repository(postgres_url=wire.url, postgres_table_name=table) as repository:
        yield repository


def calls(repository: Repository) -> dict[str, Callable[[], Awaitable[Any]]]:
    """One call of each kind, with hundreds of records and queues where it takes several."""
    records = [record(f"{number}", ready_at=NOW + 1) for number in range(300)]
    return {
        "read": lambda: repository.read([one.ref for one in records]),
        "swap": lambda: repository.swap(
            [
                change
                for one in records
                for change in (Change(one, replace(one, revision=fresh())), Change(None, record(fresh())))
            ]
        ),
        "scan_ready": lambda: repository.scan_ready(TASK, limit=100),
        "queues": lambda: repository.queues(after=None, limit=100),
        "count": lambda: repository.count(TASK),
        "claim": lambda: repository.claim(want(*STATICS, TASK), now=NOW, limit=100, token=fresh(), holder="me"),
        "scan": lambda: repository.scan(TASK, after=None, limit=100),
        "look": lambda: repository.look([*STATICS, TASK], [records[0].ref]),
        "clock": repository.clock,
    }


async def test_one_round_trip_for_each_call(repository: Repository, wire: Wire) -> None:
    for name, call in calls(repository).items():
        await call()  # the first call prepares the statement
        before = wire.sent.copy()
        await call()
        assert wire.sent - before == {"B": 1, "E": 1, "S": 1}, name
    assert wire.connections == 1


async def test_two_round_trips_without_a_statement_cache(wire: Wire, table: str) -> None:
    async with postgres_repository(
        postgres_url=wire.url, postgres_table_name=table, postgres_statement_cache_size=0
    ) as repository:
        for name, call in calls(repository).items():
            await call()  # on a new connection, the driver looks up types first
            before = wire.round_trips
            await call()
            assert wire.round_trips - before == 2, name


async def test_claim_and_settlement_of_a_hundred(repository: Repository, wire: Wire) -> None:
    await repository.swap([Change(None, record(f"{number}")) for number in range(300)])

    async def cycle() -> int:
        taken = await take(repository, want(TASK), now=NOW, limit=100, token=fresh(), holder="me")
        settled = [Change(one, replace(one, ready_at=NOW + MINUTE, revision=fresh())) for one in taken]
        assert applied(await repository.swap(settled))
        return len(taken)

    assert await cycle() == 100
    before = wire.round_trips
    assert await cycle() == 100
    assert wire.round_trips - before == 2


async def test_batches_of_any_size(repository: Repository, wire: Wire) -> None:
    records = [record(f"{number}") for number in range(12_000)]
    await repository.swap([])
    assert await repository.swap([Change(None, one) for one in records]) == [Swap.APPLIED] * 12_000
    before = wire.round_trips
    doubled = [*records, *records[:10], record("absent")]
    assert await repository.read([one.ref for one in doubled]) == [*doubled[:-1], None]
    assert wire.round_trips - before <= 4
    assert await repository.swap([Change(one, None) for one in reversed(records)]) == [Swap.APPLIED] * 12_000


async def test_an_unchanged_spec_is_not_sent_again(repository: Repository, wire: Wire, table: str) -> None:
    large = record("large", spec="x" * 3_000_000)
    await repository.swap([Change(None, large)])
    after = replace(large, attempt=1, revision=fresh())
    bytes_before = wire.bytes_sent
    assert await repository.swap([Change(large, after)]) == [Swap.APPLIED]
    assert wire.bytes_sent - bytes_before < 4_000  # includes the statement, which is prepared
    assert await repository.read([large.ref]) == [after]


async def test_many_large_records_in_one_batch(repository: Repository) -> None:
    records = [record(f"{number}", spec=f"{number}" * 4_000_000) for number in range(9)]
    assert await repository.swap([Change(None, one) for one in records]) == [Swap.APPLIED] * 9
    assert await repository.read([one.ref for one in records]) == records


async def test_lost_reply(repository: Repository, wire: Wire, postgres_server: Server, table: str) -> None:
    """The outcome is unknown, the write took place, and the next call finds it."""
    one = record("one")
    await repository.swap([Change(None, record("warm"))])
    wire.withhold_answers()
    swap = asyncio.create_task(repository.swap([Change(None, one)]))
    await wire.next_request()
    async with helpers.connection(postgres_server.url) as other:
        await helpers.eventually(other, f"query LIKE 'WITH given%{table}%' AND state = 'active'", 0)
    wire.cut()
    with pytest.raises(RepositoryUnavailableException) as caught:
        await swap
    assert caught.value.__cause__ is not None
    assert await repository.read([one.ref]) == [one]


async def test_idle_connections_that_were_cut_are_replaced(repository: Repository, wire: Wire) -> None:
    await asyncio.gather(*(repository.clock() for _ in range(5)))
    wire.cut()
    await wire.all_closed()
    await asyncio.sleep(0)  # lets the driver notice
    for _ in range(10):
        assert await repository.clock() is not None


async def test_a_server_that_does_not_answer(wire: Wire, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "COMMAND_TIMEOUT", 0.3)
    monkeypatch.setattr(database, "CONNECT_TIMEOUT", 0.3)
    monkeypatch.setattr(database, "LEAVE_TIMEOUT", 0.2)
    async with postgres_repository(postgres_url=wire.url, postgres_table_name=table) as repository:
        await asyncio.gather(*(repository.clock() for _ in range(5)))
        wire.withhold_answers()
        for _ in range(3):
            async with asyncio.timeout(2):
                with pytest.raises(RepositoryUnavailableException, match="did not answer in time"):
                    await repository.clock()
        wire.cut()
        async with asyncio.timeout(2):
            assert await repository.clock() is not None


async def test_closing_without_an_answer(wire: Wire, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app stops although the server does not answer."""
    monkeypatch.setattr(database, "CLOSE_TIMEOUT", 0.3)
    async with asyncio.timeout(5):
        async with postgres_repository(postgres_url=wire.url, postgres_table_name=table) as repository:
            call = asyncio.create_task(repository.clock())
            await call
            wire.withhold_answers()
            call = asyncio.create_task(repository.clock())
            await asyncio.sleep(0.1)
        with pytest.raises(RepositoryUnavailableException):
            await call
