"""The repository: what is asked of it as scripts, and the replies as records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pyncette.errors import RecordRefusedException
from pyncette.record import Change, Queue, QueueClaim, Record, Ref
from pyncette.repository import Repository

from .changes import batches
from .connections import Rows
from .database import Database
from .sql import record
from .statements import Statements


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

    async def swap(self, changes: Sequence[Change]) -> list[bool]:
        outcomes = [change.new is not None for change in changes]
        try:
            scripts = [batch.script(self._statements) for batch in batches(changes, self._database.max_packet)]
        except UnicodeEncodeError as error:
            raise RecordRefusedException("MySQL stores valid Unicode text only, no lone surrogates.") from error
        for script in scripts:
            for position, applied in _all(await self._database.run(script)):
                outcomes[position] = bool(applied)
        return outcomes

    async def due(self, claims: Sequence[QueueClaim], *, now: int, limit: int) -> list[Record]:
        wanted = [claim for claim in claims if claim.limit > 0]
        if not wanted or limit <= 0:
            return []
        found = await self._records(self._statements.due(wanted, now, limit))
        place = {claim.queue.name: n for n, claim in enumerate(wanted)}
        found.sort(key=lambda one: (place[one.queue], one.ready_at, one.key))
        return found[:limit]

    async def scan(self, queue: Queue, *, after: str | None, limit: int) -> list[Record]:
        return await self._records(self._statements.scan(queue, after, limit))

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        wanted = [claim for claim in claims if claim.limit > 0]
        if wanted and limit > 0 and self._statements.wants_narrowing(wanted):
            replies = await self._database.run(self._statements.due_queues(wanted, now))
            wanted = [wanted[n] for n in sorted(n for (n,) in _all(replies))]
        if not wanted or limit <= 0:
            return []
        script = self._statements.claim(wanted, now=now, limit=limit, token=token, holder=holder)
        taken = await self._records(script)
        place = {claim.queue.name: n for n, claim in enumerate(wanted)}
        taken.sort(key=lambda one: (place[one.queue], one.due_at, one.key))
        return taken

    async def next_ready(self, queues: Sequence[Queue], *, after: int | None = None) -> int | None:
        if not queues:
            return None
        replies = await self._database.run(self._statements.next_ready(queues, after))
        return min((ready_at for (ready_at,) in _all(replies) if ready_at is not None), default=None)

    async def clock(self) -> int:
        ((now,),) = _all(await self._database.run(self._statements.clock()))
        return int(now)

    async def _records(self, script: str) -> list[Record]:
        return [record(row) for row in _all(await self._database.run(script))]


def _all(replies: Iterable[Rows]) -> list[tuple[Any, ...]]:
    return [row for rows in replies for row in rows]
