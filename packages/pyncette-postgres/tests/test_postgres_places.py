"""Claims continue after the last record that was claimed, and still miss nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from pyncette.postgres import places, postgres_repository
from pyncette.postgres.places import FULL_LOOK, WORTH_IT, Place, Places
from pyncette.record import Change, QueueClaim, Record
from pyncette.repository import Repository
from pyncette.testing.contract.base import take
from tests.helpers import postgres as helpers
from tests.helpers.postgres import MINUTE, NOW, TASK, fresh, record
from tests.helpers.postgres_plans import explained, made
from tests.servers.model import Server

CLAIM = QueueClaim(TASK, 100, NOW + MINUTE)


def due(first: int, count: int, moment: int = NOW - MINUTE) -> list[Record]:
    return [record(f"{number:06}", ready_at=moment) for number in range(first, first + count)]


class Claimed:
    """Places that see the claims of one queue."""

    def __init__(self) -> None:
        self.time = 0.0
        self.places = Places(lambda: self.time)

    def claim(self, found: list[Record], claim: QueueClaim = CLAIM) -> tuple[Place | None, list[QueueClaim]]:
        """Where the claim begins, and the claims that have to be made again."""
        begun = self.places.begin([claim])
        return begun.get(0), self.places.claimed([claim], begun, found, claim.limit)


@pytest.fixture
def claimed() -> Claimed:
    """After the claim of a hundred records."""
    claimed = Claimed()
    assert claimed.claim(due(0, WORTH_IT)) == (None, [])
    return claimed


def test_the_next_claim_begins_after_the_last_one(claimed: Claimed) -> None:
    assert claimed.claim(due(100, 100)) == ((NOW - MINUTE, "task:000099"), [])
    assert claimed.claim(due(200, 100)) == ((NOW - MINUTE, "task:000199"), [])


def test_missing_records_are_looked_for_from_the_beginning(claimed: Claimed) -> None:
    """A claim from the beginning sees everything, so no place is remembered."""
    _, left = claimed.claim(due(100, 99))
    assert left == [replace(CLAIM, limit=1)]
    assert claimed.claim([]) == (None, [])


def test_a_few_records_cost_no_second_round_trip() -> None:
    claimed = Claimed()
    ten = replace(CLAIM, limit=10)
    assert claimed.claim(due(0, 10), ten) == (None, [])
    assert claimed.claim([], ten) == (None, [])


def test_single_free_slots_lead_to_a_place_too() -> None:
    claimed = Claimed()
    one = replace(CLAIM, limit=1)
    begun = [claimed.claim(due(number, 1), one)[0] for number in range(WORTH_IT + 2)]
    assert begun == [None] * WORTH_IT + [(NOW - MINUTE, "task:000099"), (NOW - MINUTE, "task:000100")]


def test_after_a_second_a_claim_begins_at_the_start(claimed: Claimed) -> None:
    claimed.time += FULL_LOOK
    assert claimed.claim(due(100, 100))[0] is None
    assert claimed.claim(due(200, 100))[0] == (NOW - MINUTE, "task:000199")


def test_records_that_this_process_stores_before_the_place_are_found(claimed: Claimed) -> None:
    [earlier, later] = due(0, 1, NOW - 2 * MINUTE) + due(0, 1, NOW)
    claimed.places.stored([Change(None, later), Change(later, None)])
    assert claimed.places.begin([CLAIM])
    claimed.places.stored([Change(None, earlier)])
    assert not claimed.places.begin([CLAIM])


def test_each_window_has_its_own_place(claimed: Claimed) -> None:
    """One window for the backlog, and one for what has just come due."""
    border = NOW - 10
    late, recent = replace(CLAIM, before=border), replace(CLAIM, since=border)
    assert claimed.claim(due(0, 100, NOW - 5), recent) == (None, [])
    assert claimed.places.begin([late, recent]) == {0: (NOW - MINUTE, "task:000099"), 1: (NOW - 5, "task:000099")}
    assert not claimed.places.begin([replace(recent, since=NOW)])  # the window now begins after the place


def test_a_window_that_was_not_reached_keeps_its_place(claimed: Claimed) -> None:
    """The claim's limit was used up before."""
    border = NOW - 10
    claims = [replace(CLAIM, since=border), replace(CLAIM, before=border)]
    begun = claimed.places.begin(claims)
    assert claimed.places.claimed(claims, begun, due(0, 100, NOW - 5), 100) == []
    assert 1 in claimed.places.begin(claims)


def test_leases_that_expire_before_the_place() -> None:
    claimed = Claimed()
    short = replace(CLAIM, locked_until=NOW - MINUTE)
    claimed.claim(due(0, 100), short)
    assert claimed.claim(due(0, 100), short) == (None, [])


@pytest.fixture
def table(postgres_server: Server) -> Iterator[str]:
    with made(postgres_server.url) as name:
        yield name


@pytest.fixture
async def repository(postgres_server: Server, table: str) -> AsyncIterator[Repository]:
    async with postgres_repository(postgres_url=postgres_server.url, postgres_table_name=table) as repository:
        yield repository


async def test_a_claim_does_not_read_all_dead_rows_that_an_old_transaction_retains(
    postgres_server: Server, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twentieth claim of a hundred records reads as many pages as the third."""
    monkeypatch.setattr(places, "FULL_LOOK", 600.0)
    async with (
        explained(postgres_server.url, table, 100) as (repository, plans),
        helpers.connection(postgres_server.url) as other,
    ):
        # The rows are not stored in the order in which they are due.
        moments = (NOW - MINUTE + 7919 * number % 2_000 for number in range(2_000))
        records = [replace(one, due_at=at, ready_at=at) for one, at in zip(due(0, 2_000), moments, strict=True)]
        await repository.swap([Change(None, one) for one in records])
        transaction = other.transaction(isolation="repeatable_read")
        await transaction.start()
        await other.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 -- the test's own name
        pages = []
        for _ in range(20):
            plans.clear()
            found = await take(repository, [CLAIM], now=NOW, limit=100, token=fresh(), holder="me")
            assert len(found) == 100
            pages.append(plans[0]["Shared Hit Blocks"])
            await repository.swap([Change(one, None) for one in found])
        await transaction.rollback()
    assert pages[-1] < 1.3 * pages[2]


async def test_nothing_that_others_store_earlier_is_missed(
    repository: Repository, postgres_server: Server, table: str
) -> None:
    """It is claimed as soon as a claim finds fewer records than its limit."""
    await repository.swap([Change(None, one) for one in due(0, 250)])
    earlier = due(900, 3, NOW - 2 * MINUTE)
    found = await repository.claim([CLAIM], now=NOW, limit=100, token=fresh(), holder="me")
    async with postgres_repository(postgres_url=postgres_server.url, postgres_table_name=table) as other:
        await other.swap([Change(None, one) for one in earlier])
    for _ in range(2):
        found += await repository.claim([CLAIM], now=NOW, limit=100, token=fresh(), holder="me")
    assert len({one.key for one in found}) == 253
