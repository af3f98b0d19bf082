"""The repository: what is asked of it as scripts, and the replies as records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pyncette.errors import RecordRefusedException, RepositoryUnavailableException
from pyncette.record import HELD, LEAST, Change, Count, Look, Queue, QueueClaim, Record, Ref, Swap
from pyncette.repository import Repository

from .changes import batches
from .connections import Rows
from .database import Database
from .failures import LOCK_WAIT_TIMEOUT, number
from .sql import record, record_before
from .statements import Statements

_SWAPS = {0: Swap.CONFLICT, 1: Swap.APPLIED, 2: Swap.BUSY}


class MySQLRepository(Repository):
    """Records in a table of MySQL or MariaDB; every method is one round trip.

    There are two exceptions. A swap of more than 500 changes or 4 MB is one round trip for each 500 or 4 MB, and a
    claim of many dynamic queues that finds something due is two on MySQL.
    """

    def __init__(self, database: Database, statements: Statements) -> None:
        self._database = database
        self._statements = statements

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        if not refs:
            return []
        found = {one.ref: one for one in await self._records(self._statements.read(refs))}
        return [found.get(ref) for ref in refs]

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        """A change whose row another transaction has locked is busy at once; one that inserts what another transaction
        is inserting, after a second."""
        swaps = [Swap.CONFLICT if change.new is None else Swap.APPLIED for change in changes]
        try:
            scripts = [
                (batch.positions, batch.script(self._statements))
                for batch in batches(changes, self._database.max_packet)
            ]
        except UnicodeEncodeError as error:
            raise RecordRefusedException("MySQL stores valid Unicode text only, no lone surrogates.") from error
        for positions, script in scripts:
            try:
                replies = await self._database.run(script)
            except RepositoryUnavailableException as error:
                if number(error.__cause__) != LOCK_WAIT_TIMEOUT:
                    raise
                for position, swap in await self._one_by_one(changes, positions):
                    swaps[position] = swap
                continue
            for position, outcome in _all(replies):
                swaps[position] = _SWAPS[outcome]
        return swaps

    async def _one_by_one(self, changes: Sequence[Change], positions: Sequence[int]) -> list[tuple[int, Swap]]:
        """The server has undone a batch for the sake of one change that would have waited for too long."""
        if len(positions) == 1:
            return [(positions[0], Swap.BUSY)]
        middle = len(positions) // 2
        found: list[tuple[int, Swap]] = []
        for part in (positions[:middle], positions[middle:]):
            found += zip(part, await self.swap([changes[position] for position in part]), strict=True)
        return found

    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        return await self._records(self._statements.scan(queue, after, limit, prefix))

    async def scan_ready(
        self,
        queue: Queue,
        *,
        since: int = LEAST,
        before: int = HELD,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> list[Record]:
        return await self._records(self._statements.scan_ready(queue, since, before, after, limit))

    async def queues(self, *, after: str | None, limit: int) -> list[str]:
        rows = _all(await self._database.run(self._statements.queues(after, limit)))
        return [name.decode() for (name,) in rows]

    async def count(self, queue: Queue, *, since: int = LEAST, before: int = HELD, limit: int = 10_000) -> Count:
        """Looks at one row more than the limit, to know whether the limit is exact."""
        ((found,),) = _all(await self._database.run(self._statements.count(queue, since, before, limit + 1)))
        return Count(min(int(found), limit), exact=found <= limit)

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        wanted = [claim for claim in claims if claim.limit > 0]
        if wanted and limit > 0 and self._statements.wants_narrowing(wanted):
            replies = await self._database.run(self._statements.ready_claims(wanted, now))
            wanted = [wanted[n] for n in sorted(n for (n,) in _all(replies))]
        if not wanted or limit <= 0:
            return []
        script = self._statements.claim(wanted, now=now, limit=limit, token=token, holder=holder)
        taken = [record_before(row) for row in _all(await self._database.run(script))]
        windows: dict[str, list[tuple[int, QueueClaim]]] = {}
        for place, claim in enumerate(wanted):
            windows.setdefault(claim.queue.name, []).append((place, claim))

        def order(one: Record) -> tuple[int, int, str]:
            places = [place for place, claim in windows[one.queue] if claim.since <= one.ready_at < claim.before]
            return places[0], one.ready_at, one.key

        return sorted(taken, key=order)

    async def look(self, queues: Sequence[Queue], refs: Sequence[Ref], *, after: int | None = None) -> Look:
        times = self._statements.next_ready(queues, after)
        script = ";".join([self._statements.clock(), *times, *([self._statements.read(refs)] if refs else [])])
        clock, *replies = await self._database.run(script)
        moments = [ready_at for (ready_at,) in _all(replies[: len(times)]) if ready_at is not None]
        found = {one.ref: one for one in map(record, _all(replies[len(times) :]))}
        return Look(min(moments, default=None), [found.get(ref) for ref in refs], int(clock[0][0]))

    async def clock(self) -> int:
        ((now,),) = _all(await self._database.run(self._statements.clock()))
        return int(now)

    async def _records(self, script: str) -> list[Record]:
        return [record(row) for row in _all(await self._database.run(script))]


def _all(replies: Iterable[Rows]) -> list[tuple[Any, ...]]:
    return [row for rows in replies for row in rows]
