"""Records and indexes agree, and no write is lost, whatever runs concurrently, in batches of any size."""

from __future__ import annotations

import functools
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio

from pyncette.record import HELD, Change, Queue, Record
from pyncette.repository import Repository

from .base import (
    APPLIED,
    MINUTE,
    NOW,
    TASK,
    all_of,
    assert_same,
    claimed,
    fresh,
    insert,
    next_ready,
    numbered,
    record,
    stored,
    want,
)
from .cancelling import MAX_CHECKPOINTS, cancelled_at
from .racing import RaceContract

EVERYTHING = 2**63 - 1
CLAIMED = Queue("claimed")


class AgreementContract(RaceContract):
    async def agrees(self, repository: Repository, queue: Queue) -> None:
        """Assert that ``scan_ready``, ``count`` and ``look`` show what ``scan`` finds."""
        records = sorted(await all_of(repository, queue), key=lambda one: (one.ready_at, one.key))
        whole = functools.partial(repository.scan_ready, queue, before=EVERYTHING, limit=10_000)
        await self.shows(whole, records, of=lambda found: sorted(found, key=lambda one: (one.ready_at, one.key)))
        number = functools.partial(repository.count, queue, before=EVERYTHING)
        await self.shows(number, len(records), of=lambda count: count.value)
        times = [one.ready_at for one in records if one.ready_at < HELD]
        await self.shows(lambda: next_ready(repository, [queue]), min(times, default=None))
        for after in times[:3]:
            later = min((time for time in times if time > after), default=None)
            await self.shows(functools.partial(next_ready, repository, [queue], after=after), later)

    async def comes_to_agree(self, repository: Repository, queue: Queue) -> None:
        """The same if a cancelled request may still be executed: what it changes is compared again."""
        before, now = None, await all_of(repository, queue)
        while before != now:
            before = now
            try:
                await self.agrees(repository, queue)
            except AssertionError:
                now = await all_of(repository, queue)
                if now == before:
                    raise

    async def test_cancelled_writes_leave_the_index_right(self, repository: Repository) -> None:
        """Wherever an insert, an update, a deletion or a claim is cancelled, the index shows what is stored."""
        for checkpoint in range(1, MAX_CHECKPOINTS):
            moved, gone, held = (
                record(name=f"{kind} {checkpoint}", ready_at=NOW + checkpoint) for kind in ("moved", "gone", "held")
            )
            ready = [record(CLAIMED.name, f"{checkpoint} {n}", ready_at=NOW - checkpoint) for n in range(3)]
            await insert(repository, [moved, gone, held, *ready])
            changes = [
                Change(moved, replace(moved, ready_at=NOW - checkpoint, revision=fresh())),
                Change(gone, None),
                Change(held, replace(held, ready_at=HELD, revision=fresh())),
                Change(None, record(name=f"new {checkpoint}", ready_at=NOW + MINUTE + checkpoint)),
            ]
            token = fresh()
            claims = want(CLAIMED, locked_until=NOW + MINUTE + checkpoint)
            claim = functools.partial(repository.claim, claims, now=NOW, limit=3, token=token, holder=token)
            reached = await cancelled_at(checkpoint, functools.partial(repository.swap, changes))
            if not (await cancelled_at(checkpoint, claim) or reached):
                break
        for queue in (TASK, CLAIMED):
            await self.comes_to_agree(repository, queue)

    async def test_race_of_deletions(self, clients: list[Repository]) -> None:
        """If a deletion races an update or a claim, exactly one of them wins, nothing comes back to life, and the index
        shows what is left.
        """
        rivals = (_update, _note, _claim)
        for number, (rival, first) in enumerate(itertools.product(rivals, (0, 1))):
            records = numbered(40, f"deleted{number}")
            await insert(clients[0], records)

            async def run(
                number: int,
                client: Repository,
                records: list[Record] = records,
                rival: Callable[[Repository, list[Record]], Awaitable[list[Record]]] = rival,
                first: int = first,
            ) -> list[Record]:
                if number != first:
                    await anyio.lowlevel.checkpoint()
                if number == 1:
                    return await rival(client, records)
                return [one.old for one in await _batches(client, [Change(one, None) for one in records]) if one.old]

            deleted, written = await self.race([clients[0], clients[-1]], run)
            assert {one.key for one in deleted} & {one.key for one in written} == set()
            left = {one.key: one for one in records if one not in deleted} | {one.key: one for one in written}
            assert_same(await stored(clients[0], records), [left.get(one.key) for one in records])
            await self.agrees(clients[0], Queue(f"deleted{number}"))

    async def test_race_of_deletions_with_new_records(self, clients: list[Repository]) -> None:
        """The client that deletes a record recreates it; the others' deletions of the old one don't touch the new
        one.
        """
        records = numbered(30)
        await insert(clients[0], records)

        async def run(number: int, client: Repository) -> list[Record]:
            created: list[Record] = []
            for one in records if number % 2 else records[::-1]:
                if await client.swap([Change(one, None)]) == [APPLIED]:
                    new = replace(one, revision=fresh(), spec=f"client {number}")
                    assert await client.swap([Change(None, new)]) == [APPLIED]
                    created.append(new)
            return created

        shares = [one for share in await self.race(clients, run) for one in share]
        created = {one.key: one for one in shares}
        assert len(created) == len(shares)
        assert_same(await stored(clients[0], records), [created.get(one.key) for one in records])

    async def test_race_of_batches_of_any_size(self, clients: list[Repository]) -> None:
        """1, 2, 10, 30 or 150 records at once (1,000 unless ``quick``), inserted and updated by two clients: each
        change is applied for one of them, and is what is stored."""
        pair = [clients[0], clients[-1]]
        for size in (1, 2, 10, 30, 150, *self.unless_quick(1000)):
            none: list[Record | None] = [None] * size
            current = none
            for _ in range(2):
                versions = [
                    [record(f"batch{size}", f"{n:04}", spec=f"client {client}") for n in range(size)]
                    for client in range(2)
                ]

                async def write(
                    number: int,
                    client: Repository,
                    current: list[Record | None] = current,
                    versions: list[list[Record]] = versions,
                ) -> list[Record]:
                    changes = [Change(old, new) for old, new in zip(current, versions[number], strict=True)]
                    random.Random(number).shuffle(changes)
                    swaps = await client.swap(changes)
                    return [c.new for c, swap in zip(changes, swaps, strict=True) if swap is APPLIED and c.new]

                winners = [one for share in await self.race(pair, write) for one in share]
                applied = Counter(one.key for one in winners)  # not compared as a whole, which takes pytest a minute
                assert [one.key for one in versions[0] if applied[one.key] != 1][:10] == []
                current = [*sorted(winners, key=lambda one: one.key)]
                assert_same(await stored(clients[0], sorted(winners, key=lambda one: one.key)), current)

    async def test_race_of_claims_with_changes_that_keep_the_time(self, clients: list[Repository]) -> None:
        """A claim races changes that leave ``ready_at`` and everything else but one text as they are: for each record
        one of them comes first, and none is overwritten.
        """
        for size, first in itertools.product((1, 10, 100), (0, 1)):
            records = numbered(size, f"kept{size} {first}")
            await insert(clients[0], records)

            async def run(
                number: int, client: Repository, records: list[Record] = records, first: int = first
            ) -> list[Record]:
                if number != first:
                    await anyio.lowlevel.checkpoint()
                if number == 1:
                    return await _claim(client, records)
                return await _note(client, records[::-1])

            shares = await self.race([clients[0], clients[-1]], run)
            found = {one.key: one for one in await stored(clients[0], records) if one}
            noted, leased = ({one.key: one for one in share} for share in shares)
            for one in records:
                if one.key in leased:
                    assert found[one.key] == leased[one.key]  # the change came first, or failed
                    assert one.key not in noted or leased[one.key].state == noted[one.key].state
                else:
                    assert found[one.key] == noted.get(one.key, one)

    async def test_reads_are_never_torn(self, clients: list[Repository]) -> None:
        """A reader sees a record as one write left it, by whichever method, while others write."""
        written = anyio.Event()
        one = _whole(0)
        await insert(clients[0], [one])
        seen: list[Record] = []

        async def run(number: int, client: Repository) -> None:
            nonlocal one
            if number == 0:
                for version in range(1, 41):
                    new = _whole(version)
                    assert await client.swap([Change(one, new)]) == [APPLIED]
                    one = new
                    await anyio.lowlevel.checkpoint()
                written.set()
            while not written.is_set():
                seen.extend(found for found in await client.read([one.ref]) if found)
                seen.extend(await client.scan(TASK, after=None, limit=2))
                seen.extend(await client.scan_ready(TASK, limit=2))
                seen.extend(found for found in (await client.look([TASK], [one.ref])).records if found)
                await anyio.lowlevel.checkpoint()

        await self.race(clients, run)
        assert {replace(found, revision="") for found in seen} <= {
            replace(_whole(version), revision="") for version in range(41)
        }

    async def test_scan_sees_the_writes_of_others(self, clients: list[Repository]) -> None:
        """What another client has just created, changed or deleted shows in the next list of any client."""
        for number, writer in enumerate(clients):
            one = record(name=f"{number}")
            changed = replace(one, revision=fresh(), attempt=1)
            for change in (Change(None, one), Change(one, changed), Change(changed, None)):
                assert await writer.swap([change]) == [APPLIED]
                for reader in clients:
                    found = await reader.scan(TASK, after=None, limit=10)
                    assert found == ([] if change.new is None else [change.new])


async def _update(client: Repository, records: list[Record]) -> list[Record]:
    """Move the records in time. Returns what was applied."""
    changes = [Change(one, replace(one, revision=fresh(), ready_at=NOW + MINUTE)) for one in records]
    return [change.new for change in await _batches(client, changes) if change.new]


async def _note(client: Repository, records: list[Record]) -> list[Record]:
    """Change only a text. Returns what was applied."""
    changes = [Change(one, replace(one, revision=fresh(), state="noted")) for one in records]
    return [change.new for change in await _batches(client, changes) if change.new]


async def _claim(client: Repository, records: list[Record]) -> list[Record]:
    """Claim everything. Returns the leases."""
    token = fresh()
    claims = want(Queue(records[0].queue), limit=len(records))
    before = await client.claim(claims, now=NOW, limit=len(records), token=token, holder=token)
    return claimed(before, claims, now=NOW, token=token, holder=token)


async def _batches(client: Repository, changes: list[Change]) -> list[Change]:
    """Swap in a few batches, so that rivals can get in between. Returns what was applied."""
    done: list[Change] = []
    for start in range(0, len(changes), 20):
        batch = changes[start : start + 20]
        swaps = await client.swap(batch)
        done += [change for change, swap in zip(batch, swaps, strict=True) if swap is APPLIED]
    return done


def _whole(version: int) -> Record:
    """A record in which every field shows its version."""
    text = f"{version} " * 500
    return record(
        ready_at=NOW + version,
        locked_until=NOW + version,
        locked_by=f"holder {version}",
        fence=version,
        attempt=version,
        spec=text,
        state=text,
    )
