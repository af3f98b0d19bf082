"""The repository: requests in, records out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from pyncette.bridge import asyncio_only
from pyncette.errors import RepositoryException
from pyncette.record import NEVER, Change, Queue, QueueClaim, Record, Ref
from pyncette.repository import Repository

from .database import Database, connected, pause, together
from .failures import Outcome
from .index import Index, Supply
from .layout import Entry, Layout, text
from .schema import prepare
from .settings import Settings
from .statements import Statements, carry_out

MOST_KEYS = 100
"""Records that one request reads, by DynamoDB's rules."""

ROUNDS = 4
"""How often a claim looks for others in place of those that it lost."""

CLAIM_ATTEMPTS = 3
"""How often a claim is sent that is too much for the table: what it does not get stays for later."""

MOST_SPREAD = 8
"""Claims that meet others choose from so many times as many records."""

_Accept = Callable[[Sequence[Entry]], Awaitable[tuple[list[Record | None], bool]]]
"""Says of each entry what record it stands for, if it is still good; and whether to go on for those that are not."""


class DynamoDBRepository(Repository):
    """Task instances in one table of DynamoDB.

    Writes are conditional on the revision, 25 in one request, all requests of a batch at the same time. What is ready
    is found in an index that may lag behind; its entries are only tried for.
    """

    def __init__(self, database: Database, layout: Layout) -> None:
        self._database = database
        self._layout = layout
        self._index = Index(database, layout)
        self._statements = Statements(database.table, layout)
        self._spread = 1

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        wanted = list({ref.key: ref for ref in refs}.values())
        parts = [wanted[start : start + MOST_KEYS] for start in range(0, len(wanted), MOST_KEYS)]
        found = {
            record.key: record
            for part in await together(partial(self._read, part) for part in parts)
            for record in part
        }
        return [found.get(ref.key) for ref in refs]

    async def _read(self, refs: Sequence[Ref]) -> list[Record]:
        keys, records, attempt = [self._layout.key(ref) for ref in refs], [], 0
        while keys:
            request = {self._database.table: {"Keys": keys, "ConsistentRead": True}}
            answer = await self._database.ask("batch_get_item", RequestItems=request)
            more = answer["Responses"].get(self._database.table, [])
            records += [self._layout.record(item) for item in more]
            # Left out is what is beyond the size of an answer, or the capacity of the table.
            keys = answer.get("UnprocessedKeys", {}).get(self._database.table, {}).get("Keys", [])
            attempt = 0 if more else attempt + 1
            if keys and not more:
                await pause(attempt)
        return records

    async def swap(self, changes: Sequence[Change]) -> list[bool]:
        outcomes = await carry_out(self._database, [self._statements.change(change) for change in changes])
        applied = [
            outcome is Outcome.APPLIED and (change.new is not None or item is not None)
            for change, outcome, item in zip(changes, outcomes.of, outcomes.items, strict=True)
        ]
        for change, outcome in zip(changes, outcomes.of, strict=True):
            if change.old is not None and outcome in {Outcome.APPLIED, Outcome.LOST}:
                self._index.outdated.add(change.old.key, change.old.revision)
        if outcomes.error is not None:
            raise outcomes.error
        return applied

    async def due(self, claims: Sequence[QueueClaim], *, now: int, limit: int) -> list[Record]:
        async def current(entries: Sequence[Entry]) -> tuple[list[Record | None], bool]:
            records = await self.read([entry.ref for entry in entries])
            return [record if record and record.ready_at <= now else None for record in records], True

        return await self._collect(claims, current, now=now, limit=limit)

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        ends = {claim.queue.name: claim.locked_until for claim in claims}

        async def lease(entries: Sequence[Entry]) -> tuple[list[Record | None], bool]:
            statements = [
                self._statements.claim(entry, now=now, locked_until=ends[entry.ref.queue], token=token, holder=holder)
                for entry in entries
            ]
            outcomes = await carry_out(self._database, statements, attempts=CLAIM_ATTEMPTS)
            for entry, outcome in zip(entries, outcomes.of, strict=True):
                if outcome in {Outcome.APPLIED, Outcome.LOST}:
                    self._index.outdated.add(entry.ref.key, entry.revision)
            records = [None if item is None else self._layout.record(item) for item in outcomes.items]
            if outcomes.error is not None and not any(records):
                raise outcomes.error
            self._meet(lost=outcomes.of.count(Outcome.LOST), tried=len(entries))
            return records, outcomes.error is None

        return await self._collect(claims, lease, now=now, limit=limit, spread=self._spread)

    def _meet(self, *, lost: int, tried: int) -> None:
        """Adapt to how many others try for the same records."""
        if 2 * lost > tried > 1:
            self._spread = min(2 * self._spread, MOST_SPREAD)
        elif lost == 0:
            self._spread = max(self._spread // 2, 1)

    async def _collect(
        self, claims: Sequence[QueueClaim], accept: _Accept, *, now: int, limit: int, spread: int = 1
    ) -> list[Record]:
        """What is ready, according to the index, and is accepted; others for those that are not."""
        wanted = {claim.queue.name: claim.limit for claim in claims if claim.limit > 0}
        supply = Supply(self._index, self._layout, [claim.queue for claim in claims if claim.limit > 0], now=now)
        found: dict[str, list[Record]] = {name: [] for name in wanted}
        for _ in range(ROUNDS):
            try:
                entries = await self._choose(supply, wanted, limit, spread)
                records, go_on = await accept(entries) if entries else ([], False)
            except RepositoryException:
                if any(found.values()):
                    break  # what was won before must not be lost; the next call meets the same trouble
                raise
            accepted = [record for record in records if record is not None]
            for record in accepted:
                found[record.queue].append(record)
                wanted[record.queue] -= 1
            limit -= len(accepted)
            if not go_on or len(accepted) == len(records):
                break
        return [record for name in found for record in sorted(found[name], key=lambda one: one.ready_at)]

    @staticmethod
    async def _choose(supply: Supply, wanted: dict[str, int], limit: int, spread: int) -> list[Entry]:
        """The next entries of each queue, in the order of the queues, up to their limits and to that of all."""
        taken = await supply.take({name: min(count, limit) for name, count in wanted.items()}, spread=spread)
        chosen: list[Entry] = []
        for name in wanted:
            room = limit - len(chosen)
            entries = taken.get(name, [])
            chosen += entries[:room]
            supply.put_back(name, entries[room:])
        return chosen

    async def scan(self, queue: Queue, *, after: str | None, limit: int) -> list[Record]:
        if queue.static:
            records = await self.read([Ref(queue.name, queue.name)]) if after is None else []
            return [record for record in records[:limit] if record is not None]
        places = self._layout.places(queue.name)
        if after is not None:
            places = places[places.index(self._layout.place(Ref(queue.name, after))) :]
        found: list[Record] = []
        for place in places:
            if len(found) < limit:
                found += await self._scan(place, after, limit - len(found))
            after = None
        return found

    async def _scan(self, place: str, after: str | None, limit: int) -> list[Record]:
        found: list[Record] = []
        start = None if after is None else {"pk": text(place), "sk": text(after)}
        while True:
            answer = await self._database.ask(
                "query",
                TableName=self._database.table,
                ConsistentRead=True,
                Limit=limit - len(found),
                KeyConditionExpression="pk = :place",
                ExpressionAttributeValues={":place": text(place)},
                **({} if start is None else {"ExclusiveStartKey": start}),
            )
            found += [self._layout.record(item) for item in answer["Items"]]
            start = answer.get("LastEvaluatedKey")
            if start is None or len(found) == limit:
                return found

    async def next_ready(self, queues: Sequence[Queue], *, after: int | None = None) -> int | None:
        if not queues or after == NEVER:
            return None
        return await self._index.next_ready(queues, after=after)

    async def clock(self) -> None:
        """DynamoDB tells the time to the second only: no clock to go by, but one to check this machine's with.

        :raises RepositoryException: this machine's clock is wrong.
        """
        self._database.check_clock()


@asyncio_only
def dynamodb_repository(
    *,
    dynamodb_endpoint: str | None = None,
    dynamodb_region_name: str | None = None,
    dynamodb_table_name: str = "pyncette_tasks",
    dynamodb_skip_table_create: bool = False,
    dynamodb_partition_prefix: str = "",
) -> AbstractAsyncContextManager[Repository]:
    """Stores task instances in DynamoDB. Credentials are taken from where AWS's tools look for them.

    :param dynamodb_endpoint: ``http://host:port`` of something that speaks DynamoDB's protocol; AWS without it.
    :param dynamodb_region_name: for example ``eu-west-1``; without it, the one that AWS's tools take.
    :param dynamodb_table_name: the table; made when it is not there.
    :param dynamodb_skip_table_create: never make the table; :func:`pyncette.dynamodb.table_definition` says how.
    :param dynamodb_partition_prefix: apps with different ones share a table without seeing each other.
    :raises TypeError, ValueError: at once, for options that can't be right.
    :raises RepositoryException: when it is opened, if DynamoDB or the table can't be used, or this machine's clock is
        wrong.
    """
    return _opened(
        Settings(
            endpoint=dynamodb_endpoint,
            region=dynamodb_region_name,
            table=dynamodb_table_name,
            skip_table_create=dynamodb_skip_table_create,
            partition_prefix=dynamodb_partition_prefix,
        )
    )


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Repository]:
    async with connected(settings) as database:
        await prepare(database, settings)
        yield DynamoDBRepository(database, Layout(settings.partition_prefix))
