"""The repository: requests in, records out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from pyncette.bridge import asyncio_only
from pyncette.errors import RepositoryException
from pyncette.findings import Finding
from pyncette.record import HELD, LEAST, Change, Count, Look, Queue, QueueClaim, Record, Ref, RunLine, RunQuestion, Swap
from pyncette.repository import Repository

from .codec import Entry, Item, Layout, text
from .connection import Database, connected, pause, together
from .diagnosis import diagnose
from .errors import Outcome
from .index import Index, Supply
from .run_log import RunLog
from .schema import prepare
from .settings import Settings
from .statements import Statements, carry_out

MOST_KEYS = 100
"""The number of records that DynamoDB reads in one request at most."""

ROUNDS = 4
"""How often a claim looks for replacements of records that it lost to others."""

CLAIM_ATTEMPTS = 3
"""How often a throttled claim is sent; the records that it does not get are left for later."""

MOST_SPREAD = 8
"""Claims that compete with others choose from up to this many times as many records."""

_Accept = Callable[[Sequence[Entry]], Awaitable[tuple[list[Record | None], bool]]]
"""Returns the record of each entry, or None if the entry is outdated, and whether to look for replacements of those."""


class DynamoDBRepository(Repository):
    """Task instances in one table of DynamoDB.

    Writes are conditional on the revision, 25 per request, and the requests of a batch are sent concurrently. Ready
    records are found in an index that may lag behind, so an attempt to claim an entry may fail.
    """

    keeps_runs = True

    def __init__(self, database: Database, layout: Layout) -> None:
        self._database = database
        self._layout = layout
        self._index = Index(database, layout)
        self._statements = Statements(database.table, layout)
        self._spread = 1
        self._registered: set[str] = set()
        self._run_log = RunLog(database, layout, self.queues)

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
            records += await self._records(more)
            # What exceeds the size of an answer or the capacity of the table is missing.
            keys = answer.get("UnprocessedKeys", {}).get(self._database.table, {}).get("Keys", [])
            attempt = 0 if more else attempt + 1
            if keys and not more:
                await pause(attempt)
        return records

    async def _records(self, items: Sequence[Item]) -> list[Record]:
        """The records of items of the table. An item that has lost its ``ready_at`` is not in the index, so it gets a
        new one; the next process to claim it sets it aside."""
        records = [self._layout.record(item) for item in items]
        lost = [record for record, item in zip(records, items, strict=True) if "ready_at" not in item]
        if lost:  # if that fails, the next read tries again
            await carry_out(self._database, [self._statements.restore(record) for record in lost], attempts=1)
        return records

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        """Nothing is ever busy, as no transaction in DynamoDB holds a lock. Lines of the log of runs are written after
        the changes that they belong to."""
        await self._register({change.ref.queue for change in changes if change.old is None} - self._registered)
        outcomes = await carry_out(self._database, [self._statements.change(change) for change in changes])
        swaps = [
            Swap.APPLIED
            if outcome is Outcome.APPLIED and (change.new is not None or item is not None)
            else Swap.CONFLICT
            for change, outcome, item in zip(changes, outcomes.of, outcomes.items, strict=True)
        ]
        for change, outcome in zip(changes, outcomes.of, strict=True):
            if change.old is not None and outcome in {Outcome.APPLIED, Outcome.LOST}:
                self._index.outdated.add(change.old.key, change.old.revision)
        lines = [change.run for change, swap in zip(changes, swaps, strict=True) if change.run and swap]
        if lines:
            await self._run_log.append(lines)
        if outcomes.error is not None:
            raise outcomes.error
        return swaps

    async def _register(self, queues: Collection[str]) -> None:
        """Store the names of queues that get their first record from this process."""
        if queues:
            outcomes = await carry_out(self._database, [self._statements.register(queue) for queue in sorted(queues)])
            if outcomes.error is not None:
                raise outcomes.error
            self._registered.update(queues)

    async def runs(self, question: RunQuestion) -> list[RunLine]:
        """Lines are ordered by task and time. Other instances, outcomes and texts are read and left out."""
        return await self._run_log.runs(question)

    async def prune_runs(self, *, before: int, limit: int) -> int:
        """Removes the oldest lines of some queues, then of others."""
        return await self._run_log.prune(before, limit)

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
        """Adapt the spread to how many of the records went to competing claims."""
        if 2 * lost > tried > 1:
            self._spread = min(2 * self._spread, MOST_SPREAD)
        elif lost == 0:
            self._spread = max(self._spread // 2, 1)

    async def _collect(
        self, claims: Sequence[QueueClaim], accept: _Accept, *, now: int, limit: int, spread: int = 1
    ) -> list[Record]:
        """Accepted records among those that the index shows as ready, with replacements for those not accepted."""
        wanted = {place: claim.limit for place, claim in enumerate(claims) if claim.limit > 0}
        supply = Supply(self._index, self._layout, claims, now=now)
        found: dict[int, list[Record]] = {place: [] for place in wanted}
        for _ in range(ROUNDS):
            try:
                chosen = await self._choose(supply, wanted, limit, spread)
                records, go_on = await accept([entry for _, entry in chosen]) if chosen else ([], False)
            except RepositoryException:
                if any(found.values()):
                    break  # keep what was claimed so far; the next call will raise the same error
                raise
            accepted = [(place, one) for (place, _), one in zip(chosen, records, strict=False) if one is not None]
            for place, record in accepted:
                found[place].append(record)
                wanted[place] -= 1
            limit -= len(accepted)
            if not go_on or len(accepted) == len(records):
                break
        return [record for place in found for record in sorted(found[place], key=lambda one: one.ready_at)]

    @staticmethod
    async def _choose(supply: Supply, wanted: dict[int, int], limit: int, spread: int) -> list[tuple[int, Entry]]:
        """The next entries of each claim, in the order of the claims, up to the limit of each and the total limit."""
        taken = await supply.take({place: min(count, limit) for place, count in wanted.items()}, spread=spread)
        chosen: list[tuple[int, Entry]] = []
        for place in wanted:
            room = limit - len(chosen)
            entries = taken.get(place, [])
            chosen += [(place, entry) for entry in entries[:room]]
            supply.put_back(place, entries[room:])
        return chosen

    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        if queue.static:
            records = await self._static(queue)
            behind = [one for one in records if one.key.startswith(prefix) and (after is None or one.key > after)]
            return behind[:limit]
        places = self._layout.places(queue.name)
        if after is not None:
            places = places[places.index(self._layout.place(Ref(queue.name, after))) :]
        found: list[Record] = []
        for place in places:
            if len(found) < limit:
                found += await self._scan(place, after, limit - len(found), prefix)
            after = None
        return found

    async def _scan(self, place: str, after: str | None, limit: int, prefix: str) -> list[Record]:
        found: list[Record] = []
        start: Item | None = None
        if after is not None and after.startswith(prefix):
            start = {"pk": text(place), "sk": text(after)}
        elif after is not None and after > prefix:
            return []
        condition, values = "pk = :place", {":place": text(place)}
        if prefix:
            condition, values = f"{condition} AND begins_with(sk, :prefix)", {**values, ":prefix": text(prefix)}
        while True:
            answer = await self._database.ask(
                "query",
                TableName=self._database.table,
                ConsistentRead=True,
                Limit=limit - len(found),
                KeyConditionExpression=condition,
                ExpressionAttributeValues=values,
                **({} if start is None else {"ExclusiveStartKey": start}),
            )
            found += await self._records(answer["Items"])
            start = answer.get("LastEvaluatedKey")
            if start is None or len(found) == limit:
                return found

    async def scan_ready(
        self,
        queue: Queue,
        *,
        since: int = LEAST,
        before: int = HELD,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> list[Record]:
        if queue.static:
            behind = (since, "") if after is None else after
            found = await self._static(queue)
            return [one for one in found if since <= one.ready_at < before and (one.ready_at, one.key) > behind][:limit]
        found, more = [], True
        while more and len(found) < limit:
            entries, more = await self._index.page(
                queue.name, since=since, before=before, after=after, limit=limit - len(found)
            )
            records = await self.read([entry.ref for entry in entries])
            # A record that has moved since the index was written is found at its new time, or left out.
            found += [r for r, entry in zip(records, entries, strict=True) if r and r.ready_at == entry.ready_at]
            if entries:
                after = (entries[-1].ready_at, entries[-1].ref.key)
        return found

    async def queues(self, *, after: str | None, limit: int) -> list[str]:
        """Includes queues that have become empty."""
        names: list[str] = []
        start = None if after is None else {"pk": text(self._layout.registry), "sk": text(after)}
        while len(names) < limit:
            answer = await self._database.ask(
                "query",
                TableName=self._database.table,
                ConsistentRead=True,
                Limit=limit - len(names),
                KeyConditionExpression="pk = :place",
                ExpressionAttributeValues={":place": text(self._layout.registry)},
                **({} if start is None else {"ExclusiveStartKey": start}),
            )
            names += [item["sk"]["S"] for item in answer["Items"]]
            start = answer.get("LastEvaluatedKey")
            if start is None:
                break
        return names

    async def count(self, queue: Queue, *, since: int = LEAST, before: int = HELD, limit: int = 10_000) -> Count:
        """Counts one entry more than the limit, to know whether the result is exact."""
        if queue.static:
            return Count(sum(since <= one.ready_at < before for one in await self._static(queue)), exact=True)
        places = self._layout.places(queue.name)
        counting = [partial(self._index.count, one, since=since, before=before, most=limit + 1) for one in places]
        found = sum(await together(counting))
        return Count(min(found, limit), exact=found <= limit)

    async def look(
        self,
        queues: Sequence[Queue],
        refs: Sequence[Ref],
        *,
        after: int | None = None,
        until: int = LEAST,
        limit: int = 1,
    ) -> Look:
        """Sends its requests concurrently."""
        answers: list[Any] = await together(
            [
                partial(self._index.next_ready, queues, after=after, until=until, most=limit),
                partial(self.read, refs),
            ]
        )
        (first, moments), records = answers
        return Look(first, records, None, moments)

    async def _static(self, queue: Queue) -> list[Record]:
        """The record of a static task, if there is one."""
        return [record for record in await self.read([Ref(queue.name, queue.name)]) if record is not None]

    async def diagnose(self) -> list[Finding]:
        return await diagnose(self._database)

    async def clock(self) -> None:
        """None: DynamoDB gives the time only to the second. That is enough to check this machine's clock.

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
    finish_upgrade: bool = False,
) -> AbstractAsyncContextManager[Repository]:
    """Stores task instances in DynamoDB. Credentials come from where AWS's tools look for them.

    :param dynamodb_endpoint: ``http://host:port`` of another service that speaks DynamoDB's protocol; AWS by default.
    :param dynamodb_region_name: for example ``eu-west-1``; by default, the region that AWS's tools use.
    :param dynamodb_table_name: the table, which is created if it doesn't exist.
    :param dynamodb_skip_table_create: never create or change the table; :func:`pyncette.dynamodb.table_definition`
        returns its definition.
    :param dynamodb_partition_prefix: apps with different prefixes share a table without seeing each other.
    :param finish_upgrade: confirms that no process of an older release uses the table, or will: the upgrade to the
        format of this release is finished.
    :raises TypeError, ValueError: immediately, for invalid options.
    :raises RepositoryException: on opening, if DynamoDB or the table can't be used, or if this machine's clock is
        wrong.
    """
    return _opened(
        Settings(
            endpoint=dynamodb_endpoint,
            region=dynamodb_region_name,
            table=dynamodb_table_name,
            skip_table_create=dynamodb_skip_table_create,
            partition_prefix=dynamodb_partition_prefix,
            finish_upgrade=finish_upgrade,
        )
    )


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Repository]:
    async with connected(settings) as database:
        await prepare(database, settings)
        yield DynamoDBRepository(database, Layout(settings.partition_prefix))
