"""A claim locks only the records that it takes, and no statement reads more than it needs."""
# ruff: noqa: S608 - names of tables that the tests made themselves

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from asyncmy.connection import Connection

from pyncette.mysql.codec import Dialect, batches
from pyncette.mysql.statements import Statements
from pyncette.record import HELD, LEAST, Change, Queue, QueueClaim, Record, Ref
from pyncette.testing.contract.base import applied, claimed, ready, take
from tests.helpers.mysql import Store
from tests.servers.plugin import StartServer

NOW = 1_800_000_000_000_000
LATER = NOW + 60_000_000


def record(queue: str, name: str, ready_at: int) -> Record:
    key = name if name == queue else f"{queue}:{name}"
    return Record(queue, key, ready_at, ready_at, None, None, uuid.uuid4().hex, 0, 0, '{"v": 1}')


def contents() -> list[Record]:
    """Some records of every queue are due and some are not. The names put due records next to others in the index."""
    records = [record(name, f"{n:02}", NOW - 100 + 10 * n) for name in "bdf" for n in range(20)]
    records += [record(f"{name}{n:02}", f"{name}{n:02}", NOW - n % 2 * 5 + 1) for name in "ace" for n in range(20)]
    return records


def statements(store: Store) -> Statements:
    return Statements(store.table, Dialect.MARIADB if store.server.kind == "mariadb" else Dialect.MYSQL)


def claim(store: Store, claims: Sequence[QueueClaim], limit: int, name: str = "mine") -> str:
    """The script of a claim without its commit."""
    script = statements(store).claim(claims, now=NOW, limit=limit, token=name, holder=name)
    return script.removesuffix(";COMMIT")


def want(*names: str, limit: int = 100) -> list[QueueClaim]:
    """Queues with a number in their names are static."""
    return [QueueClaim(Queue(name, static=name[-1].isdigit()), limit, LATER) for name in names]


def keys(rows: Sequence[tuple[Any, ...]]) -> set[str]:
    return {row[0].decode() for row in rows}


async def locked(store: Store, somebody: Connection, index: str) -> set[str]:
    """The keys of the records that another client can't lock by this index."""
    script = (
        f"START TRANSACTION; SELECT `key` FROM {store.table};"
        f"SELECT `key` FROM {store.table} FORCE INDEX ({index}) WHERE queue >= '' FOR UPDATE SKIP LOCKED; ROLLBACK"
    )
    _, everything, free, _ = await store.send(somebody, script)
    return keys(everything) - keys(free)


@pytest.mark.parametrize(
    "claims, limit, taken",
    [
        (want("b", limit=4), 100, 4),
        (want("b", limit=11), 100, 11),
        (want("b"), 100, 11),
        (want("b"), 5, 5),
        (want("nothing"), 100, 0),
        (want("b", "d", "f"), 100, 33),
        (want("f", "b", "d", limit=7), 16, 16),
        (want("d", "b"), 12, 12),
        (want(*(f"c{n:02}" for n in range(20))), 100, 10),
        (want(*(f"c{n:02}" for n in reversed(range(20)))), 3, 3),
        (want("f", *(f"c{n:02}" for n in range(20)), "b", limit=4), 12, 12),
        (want("a00", "b", "c01", "c02", "d", "e01", limit=3), 100, 8),
        (want("a00", "c02", "e04"), 100, 0),
    ],
)
async def test_claims_lock_only_what_they_take(store: Store, claims: list[QueueClaim], limit: int, taken: int) -> None:
    """Records that are not due, beyond a limit or adjacent stay unlocked, both in the primary key and in the index."""
    async with store.open() as repository, store.connect() as claimant, store.connect() as somebody:
        assert applied(await repository.swap([Change(None, one) for one in contents()]))
        *_, rows = await store.send(claimant, claim(store, claims, limit))
        assert len(rows) == taken
        mine = {row[1].decode() for row in rows}
        assert await locked(store, somebody, "PRIMARY") == mine
        assert await locked(store, somebody, "due") == mine
        await claimant.rollback()


async def test_a_claim_does_not_block_others(store: Store) -> None:
    """While one client is in the middle of its claim, others can claim and write all other records."""
    async with store.open() as repository, store.connect() as claimant:
        records = contents()
        assert applied(await repository.swap([Change(None, one) for one in records]))
        *_, rows = await store.send(claimant, claim(store, want("b", "d", limit=6), 9))
        mine = {row[1].decode() for row in rows}
        assert len(mine) == 9
        with anyio.fail_after(3):
            names = sorted({one.queue for one in records})
            claims = want(*names)
            before = await take(repository, claims, now=NOW, limit=100, token="other", holder="other")
            taken = claimed(before, claims, now=NOW, token="other", holder="other")
            due = {one.key for one in records if one.ready_at <= NOW}
            assert {one.key for one in taken} == due - mine
            rest = [one for one in records if one.ready_at > NOW]
            moved = [Change(one, record(one.queue, one.key.removeprefix(f"{one.queue}:"), LATER)) for one in rest]
            assert applied(await repository.swap(moved))
            assert applied(await repository.swap([Change(one, None) for one in taken]))
        await store.send(claimant, "COMMIT")
        assert {one.key for one in await ready(repository, want("b", "d"), now=LATER, limit=100)} >= mine


async def test_simultaneous_claims_share_a_queue(store: Store) -> None:
    """Of two simultaneous claims of a queue, the second takes the next records, up to its own limit."""
    async with store.open() as repository, store.connect() as first, store.connect() as second:
        assert applied(await repository.swap([Change(None, one) for one in contents()]))
        *_, one = await store.send(first, claim(store, want("b", limit=4), 100, "first"))
        *_, two = await store.send(second, claim(store, want("b", limit=4), 100, "second"))
        assert [row[1].decode() for row in one] == [f"b:{n:02}" for n in range(4)]
        assert [row[1].decode() for row in two] == [f"b:{n:02}" for n in range(4, 8)]
        await first.rollback()
        await second.rollback()


async def test_locks_listed_by_the_server(start_server: StartServer) -> None:
    """MySQL lists its locks: for each record that was taken, one in each index, on the record and never on a gap."""
    with start_server("mysql", "--performance-schema=ON") as server:
        store = Store(server)
        async with store.open() as repository, store.connect() as claimant:
            assert applied(await repository.swap([Change(None, one) for one in contents()]))
            claims = want("b", *(f"c{n:02}" for n in range(20)), "f", limit=5)
            *_, rows = await store.send(claimant, claim(store, claims, 17))
            locks = await store.ask(
                "SELECT index_name, lock_mode, COUNT(DISTINCT lock_data) FROM performance_schema.data_locks "
                f"WHERE object_name = '{store.table}' AND lock_type = 'RECORD' GROUP BY index_name, lock_mode"
            )
            await claimant.rollback()
    assert len(rows) == 17
    assert {(index, mode) for index, mode, _ in locks} == {("PRIMARY", "X,REC_NOT_GAP"), ("due", "X,REC_NOT_GAP")}
    # The entry that was found is locked. The new one, at the end of the lease, may have an explicit lock or not.
    assert {number for index, _, number in locks if index == "PRIMARY"} == {17}
    assert {number for index, _, number in locks if index == "due"} <= {17, 34}


async def reads(store: Store, connection: Connection, script: str) -> tuple[int, int]:
    """How many index entries and rows the server reads for a script, and how many it sorts."""
    await store.send(connection, "FLUSH STATUS")
    await store.send(connection, script)
    rows = (await store.send(connection, "SHOW SESSION STATUS WHERE variable_name REGEXP '^(Handler_read|Sort_rows)'"))[
        0
    ]
    count = {name: int(value) for name, value in rows}
    sorted_rows = count.pop("Sort_rows")
    return sum(
        value for name, value in count.items() if re.fullmatch("Handler_read_(first|key|next|prev|last)", name)
    ), sorted_rows


SIZE = 20_000


@pytest.mark.parametrize("analyzed", [False, True])
async def test_reads_are_bounded(store: Store, analyzed: bool) -> None:
    """In a queue with 10,000 records that are due and 10,000 that are not, next to an equally large one, every
    statement reads about as many rows as it returns, whatever the server's statistics say."""
    records = [record(queue, f"{n:06}", NOW + n - SIZE // 2) for queue in ("big", "other") for n in range(SIZE)]
    statics = [record(f"s{n:03}", f"s{n:03}", NOW + 1) for n in range(300)]
    many = [Queue(one.queue, static=True) for one in statics] + [Queue("big"), Queue("empty"), Queue("other")]
    claims = [QueueClaim(queue, 10, LATER) for queue in many]
    idle = [QueueClaim(queue, 10, LATER) for queue in many if queue.static]
    made = statements(store)
    found: dict[str, tuple[int, int]] = {}
    most: dict[str, tuple[int, int]] = {}
    async with store.open() as repository, store.connect() as connection:
        assert applied(await repository.swap([Change(None, one) for one in [*records, *statics]]))
        if analyzed:
            await store.ask(f"ANALYZE TABLE {store.table}")
        refs = [one.ref for one in records[:100]]
        for name, script, most_read, most_sorted in (
            ("read", made.read(refs), 100, 0),
            ("read nothing", made.read([Ref("big", "none")]), 1, 0),
            ("scan", made.scan(Queue("big"), "big:010000", 50, "big:"), 51, 0),
            ("scan ready", made.scan_ready(Queue("big"), NOW - 50, NOW, None, 50), 51, 0),
            ("scan ready after", made.scan_ready(Queue("big"), LEAST, HELD, (NOW - 50, "big:000000"), 50), 52, 0),
            ("count", made.count(Queue("big"), LEAST, HELD, 100), 101, 0),
            ("queues", made.queues(None, 10), 40, 0),
            ("next", ";".join(made.next_ready(many, None, LEAST)), 650, 310),  # MariaDB sorts one row for each queue
            ("next after", ";".join(made.next_ready(many, NOW, LEAST)), 650, 310),
            ("next of one", ";".join(made.next_ready([Queue("big")], NOW, LEAST)), 1, 1),
            ("soon", made.soon([Queue("big")], None, NOW + SIZE, 50), 51, 0),
            ("ready claims", made.ready_claims(claims, NOW), 650, 0),
            ("no ready claims", made.ready_claims(claims, NOW - SIZE), 650, 0),
            # Each record that is taken is read three times: to select, to update and to return it.
            ("claim", made.claim(claims, now=NOW, limit=20, token="a", holder="h"), 1100, 310),
            ("claim nothing", made.claim(idle, now=NOW, limit=20, token="b", holder="h"), 650, 310),
            ("claim of few", made.claim(claims[-3:], now=NOW, limit=20, token="c", holder="h"), 150, 3),
        ):
            found[name] = await reads(store, connection, script)
            most[name] = (most_read, most_sorted)
    assert not {n: (found[n], most[n]) for n in most if found[n][0] > most[n][0] or found[n][1] > most[n][1]}


async def test_swaps_read_only_what_they_write(store: Store) -> None:
    """They read only the records of the batch, whether the changes are applied or not."""
    records = [record("big", f"{n:06}", NOW + n) for n in range(SIZE)]
    again = [record("big", one.key[4:], LATER) for one in records]
    batch = [Change(one, new) for one, new in zip(records[:100], again, strict=False)]
    batch += [Change(one, None) for one in records[100:200]]
    batch += [Change(None, one) for one in again[200:300]]
    batch += [Change(one, None) for one in again[300:400]]
    (made,) = batches(batch, 2**24)
    async with store.open() as repository, store.connect() as connection:
        assert applied(await repository.swap([Change(None, one) for one in records]))
        read, sorted_rows = await reads(store, connection, statements(store).swap(made))
        assert read < 2000
        assert sorted_rows == 0
        assert await repository.read([change.ref for change in batch]) == again[:100] + [None] * 100 + records[200:400]
