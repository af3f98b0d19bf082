"""The repository: scripts in, records out."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from pyncette.bridge import asyncio_only
from pyncette.errors import RecordRefusedException, RepositoryException, RepositoryUnavailableException
from pyncette.findings import Finding
from pyncette.record import HELD, LEAST, Change, Count, Look, Queue, QueueClaim, Record, Ref, RunLine, RunQuestion, Swap
from pyncette.repository import Repository

from .codec import Batch, batches, decoded, record, record_before
from .connection import Connections, Database, Rows, Server
from .diagnosis import diagnose
from .errors import IS_LOCKED, LOCK_WAIT_TIMEOUT, number
from .run_log import answer, asking
from .schema import Schema, prepare
from .settings import Settings
from .statements import Statements
from .transaction import borrow

_SWAPS = {0: Swap.CONFLICT, 1: Swap.APPLIED, 2: Swap.BUSY}


class MySQLRepository(Repository):
    """Records in a table of MySQL or MariaDB; every method is one round trip.

    There are two exceptions. A swap of more than 500 changes or 4 MB is one round trip for each 500 or 4 MB, and a
    claim of many dynamic queues that finds something due is two on MySQL.
    """

    keeps_runs = True
    _in_order = False  # whether all that is behind what is busy counts as busy

    def __init__(self, database: Server, statements: Statements, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._statements = statements

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        if not refs:
            return []
        found = {one.ref: one for one in await self._records(self._statements.read(refs))}
        return [found.get(ref) for ref in refs]

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        """A change whose row another transaction has locked is busy at once; one that inserts what another transaction
        is inserting, after a second."""
        try:
            planned = list(batches(changes, self._database.max_packet))
            scripts = [self._script(batch) for batch in planned]
        except UnicodeEncodeError as error:
            raise RecordRefusedException("MySQL stores valid Unicode text only, no lone surrogates.") from error
        swaps = [Swap.CONFLICT if change.new is None else Swap.APPLIED for change in changes]
        for batch, script in zip(planned, scripts, strict=True):
            if self._in_order and Swap.BUSY in swaps:
                outcomes = [(position, Swap.BUSY) for position in batch.positions]
            else:
                outcomes = await self._swap(changes, batch, script)
            for position, outcome in outcomes:
                swaps[position] = outcome
        return swaps

    def _script(self, batch: Batch) -> str:
        return self._statements.swap(batch)

    async def _swap(self, changes: Sequence[Change], batch: Batch, script: str) -> list[tuple[int, Swap]]:
        try:
            replies = await self._database.run(script)
        except RepositoryUnavailableException as error:
            if number(error.__cause__) != LOCK_WAIT_TIMEOUT or not batch.inserts:
                raise
        else:
            return outcomes_in(replies)
        # The server has undone all of it for the sake of inserts that would have waited for too long.
        outcomes = await self._inserts_that_wait(changes, batch)
        rest = [position for position in batch.positions if position not in outcomes]
        if len(rest) == len(batch.positions):  # what it waited for has gone, or hides: nothing is inserted this time
            outcomes = {position: Swap.BUSY for position in rest if changes[position].old is None}
            rest = [position for position in rest if position not in outcomes]
        outcomes |= zip(rest, await self.swap([changes[position] for position in rest]), strict=True)
        return list(outcomes.items())

    async def _inserts_that_wait(self, changes: Sequence[Change], batch: Batch) -> dict[int, Swap]:
        """The inserts of records that are there or that other transactions are inserting; without waiting."""
        inserts = [position for position in batch.positions if changes[position].old is None]
        refs = [changes[position].ref for position in inserts]
        _, uncommitted, committed = await self._database.run(self._statements.met(refs))
        busy = {inserts[n]: Swap.BUSY for (n,) in uncommitted}
        return busy | {inserts[n]: Swap.CONFLICT for (n,) in committed}

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
        return [decoded(name) for (name,) in rows]

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

    async def look(
        self,
        queues: Sequence[Queue],
        refs: Sequence[Ref],
        *,
        after: int | None = None,
        until: int = LEAST,
        limit: int = 1,
    ) -> Look:
        """Takes a second round trip if a queue that is not static has something up to ``until``."""
        times = self._statements.next_ready(queues, after, until)
        script = ";".join([self._statements.clock(), *times, *([self._statements.read(refs)] if refs else [])])
        clock, *replies = await self._database.run(script)
        firsts = [(queues[place], int(ready_at)) for place, ready_at in _all(replies[: len(times)])]
        found = {one.ref: one for one in map(record, _all(replies[len(times) :]))}
        moments = {queue.name: [first] for queue, first in firsts if first <= until}
        more = [queue for queue, first in firsts if first <= until and not queue.static] if limit > 1 else []
        for place, rest in (
            _all(await self._database.run(self._statements.soon(more, after, until, limit))) if more else ()
        ):
            moments[more[place].name].append(int(rest))
        next_ready = min((first for _, first in firsts), default=None)
        return Look(next_ready, [found.get(ref) for ref in refs], int(clock[0][0]), moments)

    async def runs(self, question: RunQuestion) -> list[RunLine]:
        script = asking(question, self._statements)
        return answer(question, await self._database.run(script)) if script else []

    async def prune_runs(self, *, before: int, limit: int) -> int:
        """Leaves lines that another process is pruning to it."""
        ((count,),) = _all(await self._database.run(self._statements.prune_runs(before, limit)))
        return int(count)

    async def within(self, connection: Any) -> Repository:
        """Takes a connection of asyncmy. A deadlock, as InnoDB sees it, rolls the whole transaction back."""
        borrowed = await borrow(connection, self._database, self._statements.identity(), self._settings.where)
        return _InTransaction(borrowed, self._statements, self._settings, self)

    async def diagnose(self) -> list[Finding]:
        return await diagnose(self._database, self._settings)

    async def clock(self) -> int:
        ((now,),) = _all(await self._database.run(self._statements.clock()))
        return int(now)

    async def _records(self, script: str) -> list[Record]:
        return [record(row) for row in _all(await self._database.run(script))]


class _InTransaction(MySQLRepository):
    """Reads and writes on a connection of the caller.

    At REPEATABLE READ, MySQL's default, statements that read see a snapshot, and those that write see what is there.
    At SERIALIZABLE, statements that read lock as well, and wait for others.
    """

    _in_order = True

    def __init__(self, database: Server, statements: Statements, settings: Settings, outer: MySQLRepository) -> None:
        super().__init__(database, statements, settings)
        self._outer = outer
        self._held: set[Ref] = set()  # what it has locked, at least

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        """Locks what is there, up to the first that another transaction has locked: then the answer is what the
        transaction sees. A key that is nowhere is not asked for with a lock, which would keep others from inserting
        around it."""
        committed = await self._outer.read(refs)
        there = [ref for ref, one in zip(refs, committed, strict=True) if one]
        hidden = [ref for ref, one in zip(refs, committed, strict=True) if not one]
        try:
            found = await self._locked(there)
            found |= await self._locked([one.ref for one in await super().read(hidden) if one])
        except RepositoryException as error:
            _see_that_it_is_locked(error)
            return await self._seen(refs, committed)
        return [found.get(ref) for ref in refs]

    async def _locked(self, refs: Sequence[Ref]) -> dict[Ref, Record]:
        """Lock what is there, in this order, up to the first that another transaction has locked.

        :raises RepositoryException: there is one. The locks before it stay, whatever is rolled back to a savepoint.
        """
        if not refs:
            return {}
        found = {one.ref: one for one in await self._records(self._statements.read(refs, lock=True))}
        self._held |= found.keys()
        return found

    async def _seen(self, refs: Sequence[Ref], committed: list[Record | None]) -> list[Record | None]:
        """What is committed where the transaction can't see without waiting."""
        try:
            return await super().read(refs)
        except RepositoryException as error:
            _see_that_it_is_locked(error)
            return committed

    def _script(self, batch: Batch) -> str:
        return self._statements.swap_within(batch)

    async def _swap(self, changes: Sequence[Change], batch: Batch, script: str) -> list[tuple[int, Swap]]:
        """Locks first, in the order of the keys, what is to be changed, and what it conflicts with as well, which would
        otherwise have to be locked after what is behind it."""
        read = {position: changes[position].ref for position in batch.positions if changes[position].old is not None}
        try:
            await self._locked([ref for ref in read.values() if ref not in self._held])
            outcomes = outcomes_in(await self._database.run(script))
        except RepositoryException as error:
            _see_that_it_is_locked(error)
        else:
            # It is locked by nobody else. The snapshot may show what it was when others changed it.
            return [(n, Swap.CONFLICT if outcome is Swap.BUSY and n in read else outcome) for n, outcome in outcomes]
        positions, middle = batch.positions, len(batch.positions) // 2
        if await self._are_there(changes, batch):
            return [(position, Swap.CONFLICT) for position in positions]
        if middle == 0:
            return [(positions[0], Swap.BUSY)]
        # All of it is undone for the sake of one: find that. Nothing behind it is locked.
        swaps = await self.swap([changes[position] for position in positions[:middle]])
        if Swap.BUSY in swaps:
            swaps += [Swap.BUSY] * (len(positions) - middle)
        else:
            swaps += await self.swap([changes[position] for position in positions[middle:]])
        return list(zip(positions, swaps, strict=True))

    async def _are_there(self, changes: Sequence[Change], batch: Batch) -> bool:
        """Whether the batch inserts only, without having looked, and some are there: an insert waits for a lock, where
        what was read is changed or busy at once."""
        if any(changes[position].old is not None for position in batch.positions):
            return False
        refs = [changes[position].ref for position in batch.positions]
        return any(await self._seen(refs, await self._outer.read(refs)))


def _see_that_it_is_locked(error: RepositoryException) -> None:
    """Raise the error unless it says that others have locked a record."""
    if number(error.__cause__) not in IS_LOCKED:
        raise error


@asyncio_only
def mysql_repository(
    *,
    mysql_host: str,
    mysql_user: str,
    mysql_database: str,
    mysql_password: str | None = None,
    mysql_port: int = 3306,
    mysql_table_name: str = "pyncette_tasks",
    mysql_skip_table_create: bool = False,
    mysql_pool_size: int = 10,
    mysql_ssl: bool | ssl.SSLContext | None = None,
    finish_upgrade: bool = False,
) -> AbstractAsyncContextManager[Repository]:
    """A repository in a table of MySQL (8.0.22 or newer) or MariaDB (10.6 or newer).

    :param mysql_table_name: created on opening if it doesn't exist.
    :param mysql_skip_table_create: never create or change the table; :func:`pyncette.mysql.schema_sql` returns the
        statements to run instead.
    :param mysql_pool_size: the maximum number of open connections. They are opened when needed.
    :param mysql_ssl: True encrypts, and trusts any certificate; an ``ssl.SSLContext`` encrypts, and decides which
        certificates to trust. Otherwise nothing is encrypted except the password.
    :param finish_upgrade: confirms that no process of an older release uses the table, or will: the upgrade to the
        format of this release is finished.
    :raises ValueError, TypeError: an option is invalid.

    Opening raises :class:`~pyncette.errors.RepositoryUnavailableException` if the server can't be reached,
    :class:`~pyncette.errors.StorageVersionException` if another version of Pyncette wrote the table, and otherwise
    :class:`~pyncette.errors.RepositoryException`, which says what to do.
    """
    return _opened(
        Settings(
            host=mysql_host,
            port=mysql_port,
            user=mysql_user,
            password=mysql_password,
            database=mysql_database,
            table_name=mysql_table_name,
            skip_table_create=mysql_skip_table_create,
            pool_size=mysql_pool_size,
            tls=mysql_ssl,
            finish_upgrade=finish_upgrade,
        )
    )


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Repository]:
    connections = Connections(settings)
    try:
        found = await prepare(connections, settings, Schema.of(settings.table_name))
        database = Database(connections, found.max_packet)
        yield MySQLRepository(database, Statements(settings.table_name, found.dialect), settings)
    finally:
        await connections.close()


def outcomes_in(replies: Iterable[Rows]) -> list[tuple[int, Swap]]:
    """What the results of a swap say."""
    return [(position, _SWAPS[outcome]) for position, outcome in _all(replies)]


def _all(replies: Iterable[Rows]) -> list[tuple[Any, ...]]:
    return [row for rows in replies for row in rows]
